//! Onsets: the moments at which the direct sound stands alone.
//!
//! Problem: in a room the level of a microphone says little about how near the talker is, for reverberation fills
//! both microphones alike. When a sound sets in, the direct sound arrives first and the room answers later, so the
//! rise of the power within the first [`STEP_S`] has the level ratio of the direct sounds. Input are powers of an
//! aligned pair in a band that holds the voiced onsets of speech; output are the rises that stand out from the last
//! [`LOOK_BACK`] steps.

/// Length of a step, s. The first reflections come 1 to 5 ms after the direct sound.
pub const STEP_S: f64 = 0.002;
/// Steps over which an onset has to stand out: 60 ms.
const LOOK_BACK: usize = 30;
/// Memory of the mean powers, steps: 2 s.
const MEAN_STEPS: f64 = 1000.0;
/// Steps before the means can be used: 0.1 s.
const FIRST_STEPS: f64 = 50.0;
/// Rise against the largest power of the look-back from which an onset begins to count...
const RISE_LOW: f64 = 2.0;
/// ...and from which it counts fully.
const RISE_FULL: f64 = 4.0;
/// Least power of an onset, as a share of the sum of both relative powers.
const LEAST: f64 = 0.4;
/// Share of the mean power added to a rise before the logarithm, for a microphone that heard nothing of it.
const LOG_FLOOR: f64 = 0.01;

/// The rise of both powers at an onset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Onset {
    /// Rise of A's power, scaled so that every onset weighs alike.
    pub rise_a: f64,
    /// Rise of B's power, on the same scale.
    pub rise_b: f64,
    /// Cross power of the step, on the same scale.
    pub cross: f64,
    /// Half the logarithm of the ratio of the rises: the level of the direct sound in B against A.
    pub log_level: f64,
    /// How clear the onset is, 0 to 1.
    pub weight: f64,
}

/// Finds onsets in a row of steps.
#[derive(Clone, Debug)]
pub struct OnsetFinder {
    past: [[f64; 2]; LOOK_BACK],
    at: usize,
    mean_a: f64,
    mean_b: f64,
    steps: f64,
}

impl Default for OnsetFinder {
    fn default() -> Self {
        Self { past: [[0.0; 2]; LOOK_BACK], at: 0, mean_a: 0.0, mean_b: 0.0, steps: 0.0 }
    }
}

impl OnsetFinder {
    /// Takes the powers of the next step and its cross power; says whether a sound has set in. Audio thread.
    pub fn step(&mut self, power_a: f64, power_b: f64, cross: f64) -> Option<Onset> {
        let found = self.compare(power_a, power_b, cross);
        self.steps += 1.0;
        let speed = (1.0 / MEAN_STEPS).max(1.0 / self.steps);
        self.mean_a += speed * (power_a - self.mean_a);
        self.mean_b += speed * (power_b - self.mean_b);
        self.past[self.at] = [power_a, power_b];
        self.at = (self.at + 1) % LOOK_BACK;
        found
    }

    fn compare(&self, power_a: f64, power_b: f64, cross: f64) -> Option<Onset> {
        if self.steps < FIRST_STEPS || self.mean_a <= 0.0 || self.mean_b <= 0.0 {
            return None;
        }
        let (per_a, per_b) = (1.0 / self.mean_a, 1.0 / self.mean_b);
        let now = power_a * per_a + power_b * per_b;
        if now <= LEAST {
            return None;
        }
        let (mut past_a, mut past_b, mut past) = (0.0_f64, 0.0_f64, 0.0_f64);
        for &[a, b] in &self.past {
            past_a = past_a.max(a);
            past_b = past_b.max(b);
            past = past.max(a * per_a + b * per_b);
        }
        if now <= RISE_LOW * past {
            return None;
        }
        let rise_a = (power_a - past_a).max(0.0);
        let rise_b = (power_b - past_b).max(0.0);
        let scale = (per_a * per_b).sqrt() / (rise_a * per_a + rise_b * per_b);
        let weight = if now >= RISE_FULL * past { 1.0 } else { (now / past - RISE_LOW) / (RISE_FULL - RISE_LOW) };
        let log_level = 0.5 * ((rise_b + LOG_FLOOR * self.mean_b) / (rise_a + LOG_FLOOR * self.mean_a)).ln();
        (scale.is_finite()).then_some(Onset {
            rise_a: rise_a * scale,
            rise_b: rise_b * scale,
            cross: cross * scale,
            log_level,
            weight,
        })
    }
}
