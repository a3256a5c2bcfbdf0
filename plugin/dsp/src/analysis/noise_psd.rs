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
        // Comparisons and no calls: the loop becomes one over vectors.
        for ((n, s), &p) in self.power.iter_mut().zip(&mut self.presence).zip(power) {
            let over = p / *n * slope;
            let present = 1.0 / (1.0 + (1.0 + PRIOR) * exp_of_minus(if over < 60.0 { over } else { 60.0 }));
            *s = 0.9 * *s + 0.1 * present;
            let most = if *s > 0.99 { 0.99 } else { 1.0 };
            let present = if present < most { present } else { most };
            let estimate = present * *n + (1.0 - present) * p;
            let power = self.keep * *n + (1.0 - self.keep) * estimate;
            *n = if power > TINY { power } else { TINY };
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
        let (last, newest) = (power.len() - 1, self.newest);
        if let Ok([old, next]) = self.steps.get_disjoint_mut([newest, next]) {
            next.copy_from_slice(old);
        }
        let decay = self.decay;
        let step = |x: &mut f32, left: f32, here: f32, right: f32| {
            let (smooth, old) = (0.25 * left + 0.5 * here + 0.25 * right, *x * decay);
            *x = if smooth > old { smooth } else { old };
        };
        let values = &mut self.steps[next];
        step(&mut values[0], power[0], power[0], power[1]);
        step(&mut values[last], power[last - 1], power[last], power[last]);
        let beside = power.iter().zip(&power[1..]).zip(&power[2..]);
        for (x, ((left, here), right)) in values[1..last].iter_mut().zip(beside) {
            step(x, *left, *here, *right);
        }
        self.newest = next;
        self.filled = (self.filled + 1).min(self.steps.len());
    }
}

/// exp(-x) for 0 <= x <= 60, to 3e-7 of its value.
fn exp_of_minus(x: f32) -> f32 {
    // A number plus this is rounded to a whole one, which then stands in its last bits.
    const ROUND: f32 = 12_582_912.0;
    // 2^f for -0.5 to 0.5: Taylor.
    const SERIES: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_355_8, 0.000_154_035_3];
    let exponent = x * -std::f32::consts::LOG2_E;
    let rounded = exponent + ROUND;
    let f = exponent - (rounded - ROUND);
    let power = SERIES.iter().rev().fold(0.0, |sum, c| sum * f + c);
    f32::from_bits(power.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// Power of each bin.
pub fn powers(bins: &[Complex32], into: &mut [f32]) {
    for (p, z) in into.iter_mut().zip(bins) {
        *p = z.norm_sqr();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_function_is_right_to_3_in_10_million() {
        for k in 0..=60_000 {
            let x = k as f32 * 1e-3;
            let (got, want) = (f64::from(exp_of_minus(x)), (-f64::from(x)).exp());
            // The argument itself is rounded, to x times half of 1.2e-7.
            assert!((got / want - 1.0).abs() < 3e-7 + 1.2e-7 * f64::from(x), "{x}: {got}");
        }
    }
}
