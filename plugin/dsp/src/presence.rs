//! How much of each bin is sound and not noise or reverberation.
//!
//! Noise by speech presence probability with a fixed prior (T. Gerkmann & R. C. Hendriks, "Unbiased MMSE-Based Noise
//! Power Estimation With Low Complexity and Low Tracking Delay", IEEE TASLP 20(4), 2012). Late reverberation by a
//! decaying maximum: what is not clearly above the sound of a moment ago is taken for its reverberation, so onsets
//! count most.

use realfft::num_complex::Complex32;

/// Prior signal-to-noise ratio where speech is present (15 dB).
const PRIOR: f32 = 31.622_776;
/// The decaying maximum loses 60 dB in this time, s.
const REVERBERATION_TIME_S: f64 = 0.5;
/// Powers below this are silence; also keeps quotients finite.
const TINY: f32 = 1e-20;

/// Noise power of each bin.
pub struct Noise {
    power: Vec<f32>,
    presence: Vec<f32>,
    keep: f32,
    known: bool,
}

impl Noise {
    /// For `bins` bins, with a memory of `frames` steps.
    pub fn new(bins: usize, frames: f32) -> Self {
        Self { power: vec![TINY; bins], presence: vec![0.0; bins], keep: (-1.0 / frames).exp(), known: false }
    }

    /// Forgets.
    pub fn clear(&mut self) {
        self.known = false;
        self.presence.fill(0.0);
    }

    /// Takes the next spectrum's powers.
    pub fn step(&mut self, power: &[f32]) {
        if !self.known {
            self.power.iter_mut().zip(power).for_each(|(n, p)| *n = p + TINY);
            self.known = true;
        }
        let slope = PRIOR / (1.0 + PRIOR);
        for ((n, s), &p) in self.power.iter_mut().zip(&mut self.presence).zip(power) {
            let mut present = 1.0 / (1.0 + (1.0 + PRIOR) * (-(p / *n * slope).min(60.0)).exp());
            *s = 0.9 * *s + 0.1 * present;
            if *s > 0.99 {
                present = present.min(0.99);
            }
            let estimate = present * *n + (1.0 - present) * p;
            *n = (self.keep * *n + (1.0 - self.keep) * estimate).max(TINY);
        }
    }

    /// Noise power of each bin.
    pub fn power(&self) -> &[f32] {
        &self.power
    }
}

/// Decaying maximum of each bin's power, as it was some steps ago.
pub struct Reverberation {
    /// The newest values and those of the steps before, oldest last.
    steps: Vec<Vec<f32>>,
    newest: usize,
    filled: usize,
    decay: f32,
}

impl Reverberation {
    /// For `bins` bins and steps of `step_s`; [`Self::late`] is `age` steps old.
    pub fn new(bins: usize, step_s: f64, age: usize) -> Self {
        let decay = 10f64.powf(-6.0 / REVERBERATION_TIME_S * step_s) as f32;
        Self { steps: vec![vec![0.0; bins]; age], newest: 0, filled: 0, decay }
    }

    /// Forgets.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.steps.iter_mut().for_each(|s| s.fill(0.0));
    }

    /// What is left now of the sound `age` steps ago and before, bin by bin.
    pub fn late(&self) -> (&[f32], f32) {
        let age = self.steps.len();
        let oldest = &self.steps[(self.newest + 1) % age];
        (oldest, if self.filled >= age { self.decay.powi(age as i32) } else { 0.0 })
    }

    /// Takes the next spectrum's powers.
    pub fn step(&mut self, power: &[f32]) {
        let next = (self.newest + 1) % self.steps.len();
        let bins = power.len();
        for k in 0..bins {
            let (left, right) = (power[k.saturating_sub(1)], power[(k + 1).min(bins - 1)]);
            let smooth = 0.25 * left + 0.5 * power[k] + 0.25 * right;
            let old = self.steps[self.newest][k] * self.decay;
            self.steps[next][k] = smooth.max(old);
        }
        self.newest = next;
        self.filled = (self.filled + 1).min(self.steps.len());
    }
}

/// Power of each bin.
pub fn powers(bins: &[Complex32], into: &mut [f32]) {
    for (p, z) in into.iter_mut().zip(bins) {
        *p = z.norm_sqr();
    }
}
