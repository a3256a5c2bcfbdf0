//! Transforms and phase rotation, with every buffer made in advance.

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::f64::consts::TAU;
use std::sync::Arc;

/// A real transform of one length, forward and back.
pub struct Transform {
    len: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    scratch: Vec<Complex32>,
    spectrum: Vec<Complex32>,
}

impl Transform {
    /// Plans transforms of `len` frames (even).
    pub fn new(len: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(len), planner.plan_fft_inverse(len));
        let scratch = vec![Complex32::default(); forward.get_scratch_len().max(inverse.get_scratch_len())];
        Self { len, forward, inverse, scratch, spectrum: vec![Complex32::default(); len / 2 + 1] }
    }

    /// Transforms `frames` (destroyed) and gives the bins 0 to len/2. Not scaled.
    pub fn forward(&mut self, frames: &mut [f32]) -> &[Complex32] {
        // The only error is a wrong length, and the lengths are ours.
        let _ = self.forward.process_with_scratch(frames, &mut self.spectrum, &mut self.scratch);
        &self.spectrum
    }

    /// Transforms the bins `first..` of an otherwise empty spectrum back into `frames`. Not scaled.
    pub fn inverse(&mut self, first: usize, bins: &[Complex32], frames: &mut [f32]) {
        self.spectrum.fill(Complex32::default());
        self.spectrum[first..first + bins.len()].copy_from_slice(bins);
        self.spectrum[0].im = 0.0;
        self.spectrum[self.len / 2].im = 0.0;
        let _ = self.inverse.process_with_scratch(&mut self.spectrum, frames, &mut self.scratch);
    }
}

/// A run of bins of a transform: those that are analysed.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// First bin.
    pub first: usize,
    /// Number of bins.
    pub len: usize,
    /// Angular frequency from bin to bin, radian per microsecond.
    pub step_rad_per_us: f64,
}

impl Band {
    /// The bins between `low_hz` and `high_hz` (or 0.9 of the Nyquist frequency) of a transform of `len` frames.
    pub fn new(rate_hz: f64, len: usize, low_hz: f64, high_hz: f64) -> Self {
        let bin_hz = rate_hz / len as f64;
        let first = (low_hz / bin_hz).ceil() as usize;
        let last = (high_hz.min(0.45 * rate_hz) / bin_hz).floor() as usize;
        Self { first, len: last - first + 1, step_rad_per_us: TAU * bin_hz * 1e-6 }
    }

    /// Calls `each` with every bin's place in the band and exp(j omega `shift_us`).
    ///
    /// Eight phasors run side by side and are turned on by one factor, so that the loop needs no sine.
    pub fn phasors(&self, shift_us: f64, mut each: impl FnMut(usize, Complex32)) {
        const LANES: usize = 8;
        let angle = self.step_rad_per_us * shift_us;
        let unit = |k: usize| {
            let (s, c) = (angle * k as f64).rem_euclid(TAU).sin_cos();
            Complex32::new(c as f32, s as f32)
        };
        let mut lanes: [Complex32; LANES] = std::array::from_fn(|i| unit(self.first + i));
        let turn = unit(LANES);
        let whole = self.len / LANES * LANES;
        for k in (0..whole).step_by(LANES) {
            for (i, p) in lanes.iter_mut().enumerate() {
                each(k + i, *p);
                *p *= turn;
            }
        }
        for (k, p) in (whole..self.len).zip(lanes) {
            each(k, p);
        }
    }

    /// Multiplies `bins` by exp(j omega `shift_us`).
    pub fn rotate(&self, bins: &mut [Complex32], shift_us: f64) {
        self.phasors(shift_us, |k, p| bins[k] *= p);
    }

    /// Bins of the band.
    pub fn zeros(&self) -> Vec<Complex32> {
        vec![Complex32::default(); self.len]
    }
}

/// Place and height of the value in `values` that is highest by `height`, the first of equal ones; None where none is above 0.
pub fn highest(values: &[f32], height: impl Fn(f32) -> f32) -> Option<(usize, f32)> {
    const LANES: usize = 16;
    let larger = |m: &mut f32, x: &f32| *m = if height(*x) > *m { height(*x) } else { *m };
    let mut lanes = [0.0f32; LANES];
    let pieces = values.chunks_exact(LANES);
    let rest = pieces.remainder();
    for piece in pieces {
        lanes.iter_mut().zip(piece).for_each(|(m, x)| larger(m, x));
    }
    lanes.iter_mut().zip(rest).for_each(|(m, x)| larger(m, x));
    let top = lanes.iter().copied().fold(0.0, f32::max);
    (top > 0.0).then_some((values.iter().position(|x| height(*x) == top)?, top))
}

/// Where the parabola through three neighbouring values has its top: -0.5 to 0.5 about the middle one.
pub fn parabola_top(left: f32, middle: f32, right: f32) -> f64 {
    let bend = left - 2.0 * middle + right;
    if bend.abs() < 1e-20 { 0.0 } else { f64::from(0.5 * (left - right) / bend).clamp(-0.5, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_by_one_frame_moves_a_click_by_one_frame() {
        let mut t = Transform::new(64);
        let mut frames = vec![0.0; 64];
        frames[20] = 1.0;
        let mut bins = t.forward(&mut frames).to_vec();
        let band = Band { first: 0, len: 33, step_rad_per_us: TAU * (8000.0 / 64.0) * 1e-6 };
        band.rotate(&mut bins, 125.0);
        t.inverse(0, &bins, &mut frames);
        let top = (0..64).max_by(|&i, &j| frames[i].total_cmp(&frames[j]));
        assert_eq!(top, Some(19));
    }
}
