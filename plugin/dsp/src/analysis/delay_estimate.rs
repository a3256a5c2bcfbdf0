//! What a sum of cross spectra says about the lag: the exact place of its peak, how sure that is, and other peaks.
//!
//! Weighted least squares on the phase: Newton steps on the sum of cos(phase), with the variance from the imaginary
//! part that is left (see G. C. Carter, "Coherence and time delay estimation", Proc. IEEE 75(2), 1987).

use crate::analysis::spectrum::{Band, highest};
use realfft::num_complex::Complex32;
use std::ops::Range;

/// Observations overlap by three quarters: each new one brings half of its own evidence.
pub const OVERLAP_FACTOR: f64 = 2.0;
/// Newton steps, and the largest of one, us.
const STEPS: usize = 3;
const LARGEST_STEP_US: f64 = 40.0;

/// A measured lag error.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// What is left of the lag, us.
    pub error_us: f64,
    /// Its variance, us^2; infinite where there is no peak.
    pub variance: f64,
    /// Height of the sum at that lag in standard deviations.
    pub z: f64,
    /// Real part of the sum at that lag: over the sum of weights, it is the normalised correlation.
    pub real: f64,
}

/// Sums over the band of the cross spectrum moved by `shift_us`: w Im, w^2 Re, w^2 Im^2, Re, |.|^2.
fn moments(band: &Band, sum: &[Complex32], sign: f32, shift_us: f64) -> [f64; 5] {
    let mut m = [0.0f64; 5];
    band.phasors(shift_us, |k, p| {
        let z = sum[k] * p * sign;
        let (re, im) = (f64::from(z.re), f64::from(z.im));
        let w = band.step_rad_per_us * (band.first + k) as f64;
        m[0] += w * im;
        m[1] += w * w * re;
        m[2] += w * w * im * im;
        m[3] += re;
        m[4] += re * re + im * im;
    });
    m
}

/// Finds the peak of the sum near `start_us`.
pub fn measure(band: &Band, sum: &[Complex32], sign: f32, start_us: f64) -> Measurement {
    let mut error_us = start_us;
    for _ in 0..STEPS {
        let [gradient, curvature, ..] = moments(band, sum, sign, error_us);
        if curvature <= 0.0 {
            return Measurement { error_us, variance: f64::INFINITY, z: 0.0, real: 0.0 };
        }
        error_us += (-gradient / curvature).clamp(-LARGEST_STEP_US, LARGEST_STEP_US);
    }
    let [_, curvature, spread, real, energy] = moments(band, sum, sign, error_us);
    let variance = if curvature > 0.0 { OVERLAP_FACTOR * spread / (curvature * curvature) } else { f64::INFINITY };
    Measurement { error_us, variance, z: real / (energy * OVERLAP_FACTOR / 2.0 + 1e-30).sqrt(), real }
}

/// The peak of the correlation near lag 0 and the highest one farther off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peaks {
    /// Height within 0.8 ms, in standard deviations.
    pub here: f32,
    /// Height of the highest peak farther off.
    pub elsewhere: f32,
}

/// Looks for peaks, as high as `height` says, in a correlation made by [`crate::analysis::cross_spectrum::Observer::correlation`]; `energy` is
/// the sum of |.|^2 of what it was made from. Lags within `edge` frames of the largest one are left out.
pub fn peaks(correlation: &[f32], height: impl Fn(f32) -> f32, energy: f32, rate_hz: f64, edge: usize) -> Peaks {
    let len = correlation.len();
    let scale = 1.0 / ((2.0 * energy * OVERLAP_FACTOR as f32).sqrt() + 1e-9);
    let near = (0.0008 * rate_hz) as usize;
    let top = |range: Range<usize>| highest(&correlation[range], &height).unwrap_or_default().1;
    let here = top(0..near + 1).max(top(len - near..len));
    let [later, earlier] = [top(near + 1..len / 2 - edge), top(len / 2 + edge + 1..len - near)];
    Peaks { here: here * scale, elsewhere: earlier.max(later) * scale }
}

/// Sum of |.|^2.
pub fn energy(sum: &[Complex32]) -> f32 {
    sum.iter().map(Complex32::norm_sqr).sum()
}
