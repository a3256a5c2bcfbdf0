//! One sound, heard at places by microphones on clocks of their own.
//!
//! Signal model: frame n of a microphone is taken at time t = n / (rate (1 + ppm 1e-6)) and holds
//! `gain · sound(t − delay) + own(t)`. The sound and each microphone's own noise are known at every time, not only at
//! every frame: they are stored at the nominal rate and read between the frames by a windowed sinc. So the true lag
//! between two microphones is known exactly, and each one's own noise can be found again in what was made of them.

use std::sync::Arc;

use super::random::Random;

/// Taps of the interpolation: 32 give an error below -80 dB up to 0.85 of half the rate.
const TAPS: usize = 32;
/// Places between two samples for which taps are stored; between these the taps are interpolated.
const PHASES: usize = 512;
/// Shape of the Kaiser window.
const BETA: f64 = 9.0;

/// A sound known at every time, repeated without end.
#[derive(Clone)]
pub struct Signal {
    samples: Arc<Vec<f32>>,
    kernel: Arc<Vec<[f32; TAPS]>>,
}

impl Signal {
    /// From samples at the nominal rate.
    ///
    /// # Panics
    /// There are fewer than 64.
    pub fn new(samples: Vec<f32>) -> Self {
        assert!(samples.len() >= 2 * TAPS, "a signal needs {} samples or more", 2 * TAPS);
        Self { samples: Arc::new(samples), kernel: Arc::new(kernel()) }
    }

    /// The samples at the nominal rate.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// The value at `position`, counted in samples of the nominal rate.
    pub fn at(&self, position: f64) -> f32 {
        let whole = position.floor();
        let place = (position - whole) * PHASES as f64;
        let phase = place as usize;
        let share = (place - phase as f64) as f32;
        let (low, high) = (&self.kernel[phase], &self.kernel[phase + 1]);
        let length = self.samples.len() as i64;
        let first = whole as i64 - (TAPS as i64 / 2 - 1);
        let mut sum = 0.0;
        for tap in 0..TAPS {
            let sample = self.samples[(first + tap as i64).rem_euclid(length) as usize];
            sum += sample * (low[tap] + share * (high[tap] - low[tap]));
        }
        sum
    }
}

/// Taps for every place between two samples, and for the next sample itself.
fn kernel() -> Vec<[f32; TAPS]> {
    let half = TAPS as f64 / 2.0;
    let tap = |distance: f64| {
        let window = bessel(BETA * (1.0 - (distance / half).powi(2)).max(0.0).sqrt()) / bessel(BETA);
        let x = std::f64::consts::PI * distance;
        if x == 0.0 { window } else { window * x.sin() / x }
    };
    (0..=PHASES)
        .map(|phase| {
            let fraction = phase as f64 / PHASES as f64;
            std::array::from_fn(|i| tap(i as f64 - (half - 1.0) - fraction) as f32)
        })
        .collect()
}

/// Modified Bessel function of the first kind, order zero.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// White noise of root mean square `rms`, for a microphone's own sound.
pub fn noise(seed: u64, seconds: f64, rate_hz: f64, rms: f64) -> Signal {
    let mut random = Random::new(seed);
    // The top of the band cannot be read between the frames: a short average takes most of it away.
    let raw: Vec<f64> = (0..(seconds * rate_hz) as usize + 2).map(|_| random.noise()).collect();
    let samples: Vec<f32> =
        raw.windows(3).map(|w| (rms * (0.5 * w[1] + 0.25 * (w[0] + w[2])) / 0.375_f64.sqrt()) as f32).collect();
    Signal::new(samples)
}

/// Where a microphone is and how its clock runs.
#[derive(Clone)]
pub struct Place {
    /// How much faster its clock runs than it says, ppm.
    pub clock_ppm: f64,
    /// How late the sound arrives, s.
    pub delay_s: f64,
    /// How loud the sound arrives; negative: the other way round.
    pub gain: f32,
    /// What this microphone alone hears.
    pub own: Signal,
}

/// One sound and the rate that all microphones claim to have.
#[derive(Clone)]
pub struct Scene {
    /// Nominal rate, Hz.
    pub rate_hz: f64,
    /// The sound that every microphone hears.
    pub sound: Signal,
}

impl Scene {
    /// The time at which a microphone at `place` takes its frame `frame`, s.
    pub fn time_s(&self, place: &Place, frame: u64) -> f64 {
        frame as f64 / (self.rate_hz * (1.0 + place.clock_ppm * 1e-6))
    }

    /// The sound and the microphone's own noise in frame `frame` at `place`.
    pub fn parts(&self, place: &Place, frame: u64) -> (f32, f32) {
        let position = self.time_s(place, frame) * self.rate_hz;
        (place.gain * self.sound.at(position - place.delay_s * self.rate_hz), place.own.at(position))
    }
}

/// How late `b` is against `a`, frame against frame, when `a` takes frame `frame` (positive: b is late), s.
pub fn true_lag_s(scene: &Scene, a: &Place, b: &Place, frame: u64) -> f64 {
    let heard_s = scene.time_s(a, frame) - a.delay_s + b.delay_s;
    heard_s * (1.0 + b.clock_ppm * 1e-6) - frame as f64 / scene.rate_hz
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_read_between_its_samples_is_the_tone() {
        let frames = 4800;
        let tone = |x: f64| (std::f64::consts::TAU * x * 480.0 / f64::from(frames)).sin() as f32;
        let signal = Signal::new((0..frames).map(|i| tone(f64::from(i))).collect());
        for i in 0..1000 {
            let position = f64::from(i) * 1.37;
            assert!((signal.at(position) - tone(position)).abs() < 1e-4, "at {position}");
        }
    }

    #[test]
    fn the_true_lag_grows_by_the_difference_of_the_clocks() {
        let own = noise(1, 0.1, 16_000.0, 0.1);
        let place = |clock_ppm, delay_s| Place { clock_ppm, delay_s, gain: 1.0, own: own.clone() };
        let scene = Scene { rate_hz: 16_000.0, sound: own.clone() };
        let (a, b) = (place(-60.0, 0.0), place(60.0, 0.08));
        assert!((true_lag_s(&scene, &a, &b, 0) - 0.08).abs() < 1e-5);
        let grown_s = true_lag_s(&scene, &a, &b, 160_000) - true_lag_s(&scene, &a, &b, 0);
        assert!((grown_s - 1.2e-3).abs() < 1e-6, "{grown_s}");
    }
}
