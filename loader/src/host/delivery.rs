//! Whether a microphone delivers as many frames as it should.
//!
//! The problem: a device that says 48 kHz and runs at 44.1, a cable that loses every tenth packet and a program that
//! floods its source all deliver at a rate that no clock has. Such a microphone cannot be aligned, and whoever waited for it
//! would punch its holes into the others. What a source has taken, by its own times, is known to a few milliseconds, so a
//! rate that is wrong by a few percent shows within two seconds.

use std::collections::VecDeque;

/// Time over which the rate is measured, s.
const WINDOW_S: f64 = 2.0;
/// A rate that is further off than this is no clock's: crystals are within 0.1 %.
const WRONG: f64 = 0.03;
/// One that is nearer than this is right again.
const RIGHT: f64 = 0.01;

/// What is measured of one microphone.
#[derive(Clone, Debug)]
pub struct Delivery {
    rate_hz: f64,
    /// Times, s, and frames taken up to then.
    looks: VecDeque<(f64, f64)>,
    wrong_hz: Option<f64>,
}

impl Delivery {
    /// For a microphone that should deliver `rate_hz` frames a second.
    pub fn new(rate_hz: f64) -> Self {
        Self { rate_hz, looks: VecDeque::new(), wrong_hz: None }
    }

    /// Takes a look: up to the time `at_s` it had taken `frames`.
    pub fn look(&mut self, at_s: f64, frames: f64) {
        self.looks.push_back((at_s, frames));
        while self.looks.len() > 2 && self.looks[1].0 <= at_s - WINDOW_S {
            self.looks.pop_front();
        }
        let (first_s, first) = self.looks[0];
        if at_s - first_s < WINDOW_S {
            return;
        }
        let found_hz = (frames - first) / (at_s - first_s);
        let limit = if self.wrong_hz.is_some() { RIGHT } else { WRONG };
        self.wrong_hz = ((found_hz / self.rate_hz - 1.0).abs() > limit).then_some(found_hz);
    }

    /// Begins to measure anew, because the stream paused; what was found stays until more is known.
    pub fn pause(&mut self) {
        self.looks.clear();
    }

    /// The rate at which it delivers, Hz, where that is wrong.
    pub fn wrong_hz(&self) -> Option<f64> {
        self.wrong_hz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found while a microphone delivers `rates` (each for 4 s) and its times err by up to 5 ms.
    fn found(rates: &[f64]) -> Vec<Option<f64>> {
        let mut random = crate::rig::random::Random::new(5);
        let (mut delivery, mut frames) = (Delivery::new(48_000.0), 0.0);
        let mut all = Vec::new();
        for (part, rate_hz) in rates.iter().enumerate() {
            for look in 0..40 {
                let at_s = part as f64 * 4.0 + f64::from(look) * 0.1;
                frames += rate_hz * 0.1;
                delivery.look(at_s, frames + random.between(-1.0, 1.0) * 0.005 * 48_000.0);
            }
            all.push(delivery.wrong_hz());
        }
        all
    }

    #[test]
    fn starving_and_flooding_microphones_are_found_with_their_rate_and_forgiven_when_they_recover() {
        let found = found(&[48_000.0, 44_100.0, 48_000.0, 480_000.0, 48_020.0, 24_000.0]);
        for (found_hz, wanted_hz) in found.iter().zip([0.0, 44_100.0, 0.0, 480_000.0, 0.0, 24_000.0]) {
            let found_hz = found_hz.unwrap_or(0.0);
            assert!((found_hz - wanted_hz).abs() < 500.0, "{found_hz} Hz for {wanted_hz} Hz");
        }
    }

    #[test]
    fn no_clock_is_taken_for_a_starving_microphone() {
        for ppm in [-1000.0, 0.0, 1000.0] {
            let rate_hz = 48_000.0 * (1.0 + ppm * 1e-6);
            assert_eq!(found(&[rate_hz; 20]), [None; 20]);
        }
    }
}
