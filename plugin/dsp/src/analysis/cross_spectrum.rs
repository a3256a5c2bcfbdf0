//! One pair of aligned frames becomes one weighted cross spectrum.
//!
//! Signal model: after the shift by the lag tracked, both frames hold the same sound, each with its own noise and
//! reverberation. The phase of the cross spectrum then shows what is left of the lag: omega times the error. Each
//! bin is normalised and weighted by psi = xa xb / (1 + xa + xb), its signal-to-noise ratios, so that a bin counts
//! for what its phase is worth. The whole frames of the shift are taken by index and the fraction by phase, so
//! the measurement does not depend on the interpolator of the output.

use crate::analysis::noise_psd::{Noise, Reverberation, powers};
use crate::analysis::spectrum::{Band, Transform};
use crate::input::ring::History;
use crate::primitives::window::hann;
use realfft::num_complex::Complex32;

/// Lowest and highest frequency used, Hz.
const BAND_HZ: (f64, f64) = (120.0, 7200.0);
/// Noise memory, frames of analysis.
const NOISE_STEPS: f32 = 10.0;
/// A bin's signal-to-noise ratio counts up to this; beyond, reverberation and not noise decides.
const MAX_RATIO: f32 = 10.0;
/// Steps from one frame of analysis to the next that does not overlap.
const OVERLAP: usize = 4;

/// Makes cross spectra.
pub struct Observer {
    window: Vec<f32>,
    transform: Transform,
    band: Band,
    noise: [Noise; 2],
    reverberation: [Reverberation; 2],
    frames: Vec<f32>,
    power: Vec<f32>,
    spectrum: [Vec<Complex32>; 2],
    ratio: [Vec<f32>; 2],
    weights: Vec<f32>,
    turns: Vec<Complex32>,
    cross: Vec<Complex32>,
}

/// What an aligned pair of frames shows.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// Weighted cross spectrum.
    pub cross: &'a [Complex32],
    /// Sum of the weights.
    pub weight: f32,
}

impl Observer {
    /// For streams of `rate_hz`, frames of `len`.
    pub fn new(rate_hz: f64, len: usize) -> Self {
        let band = Band::new(rate_hz, len, BAND_HZ.0, BAND_HZ.1);
        let bins = len / 2 + 1;
        let noise = || Noise::new(bins, NOISE_STEPS);
        let reverberation = || Reverberation::new(bins, (len / OVERLAP) as f64 / rate_hz, OVERLAP);
        Self {
            window: hann(len),
            transform: Transform::new(len),
            band,
            noise: [noise(), noise()],
            reverberation: [reverberation(), reverberation()],
            frames: vec![0.0; len],
            power: vec![0.0; bins],
            spectrum: [band.zeros(), band.zeros()],
            ratio: [vec![0.0; band.len], vec![0.0; band.len]],
            weights: vec![0.0; band.len],
            turns: band.zeros(),
            cross: band.zeros(),
        }
    }

    /// The bins used.
    pub fn band(&self) -> Band {
        self.band
    }

    /// Frames of analysis from one observation to the next.
    pub fn hop(&self) -> usize {
        self.frames.len() / OVERLAP
    }

    /// Frames of one observation.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Transforms a microphone's frame (0: A, 1: B) that begins at `start`.
    pub fn transform(&mut self, microphone: usize, stream: &History, start: i64) {
        let frames = stream.window(start, self.frames.len());
        for (f, (x, w)) in self.frames.iter_mut().zip(frames.iter().zip(&self.window)) {
            *f = x * w;
        }
        let bins = self.transform.forward(&mut self.frames);
        powers(bins, &mut self.power);
        self.spectrum[microphone].copy_from_slice(&bins[self.band.first..self.band.first + self.band.len]);
        self.noise[microphone].step(&self.power);
        let noise = self.noise[microphone].power();
        let (late, decay) = self.reverberation[microphone].late();
        let band = self.band.first..self.band.first + self.band.len;
        let known = self.power[band.clone()].iter().zip(&noise[band.clone()]).zip(&late[band]);
        for (x, ((power, noise), late)) in self.ratio[microphone].iter_mut().zip(known) {
            *x = (power / (noise + late * decay) - 1.0).clamp(0.0, MAX_RATIO);
        }
        self.reverberation[microphone].step(&self.power);
    }

    /// What the frames transformed last show, B moved back by `fraction_us`.
    pub fn observe(&mut self, fraction_us: f64) -> Observation<'_> {
        let turns = &mut self.turns;
        self.band.phasors(fraction_us, |k, p| turns[k] = p);
        let ([fa, fb], [xa, xb]) = (&self.spectrum, &self.ratio);
        for ((psi, a), b) in self.weights.iter_mut().zip(xa).zip(xb) {
            *psi = a * b / (1.0 + a + b);
        }
        let spectra = fa.iter().zip(fb).zip(turns.iter()).zip(&self.weights);
        for (cross, (((a, b), turn), psi)) in self.cross.iter_mut().zip(spectra) {
            let z = a.conj() * b;
            *cross = z * turn * (psi / (z.norm_sqr().sqrt() + 1e-30));
        }
        Observation { cross: &self.cross, weight: self.weights.iter().sum() }
    }

    /// Correlation over lag of a sum of cross spectra, as long as a frame: lag 0 first, negative lags at the end.
    pub fn correlation(&mut self, sum: &[Complex32], into: &mut [f32]) {
        self.transform.inverse(self.band.first, sum, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sound comes and goes, and has a spectrum and echoes of its own; B has it 37 frames late. A adds half of it 100 frames later, B a
    /// third after 250.
    #[test]
    fn the_lag_stands_out_of_echoes_and_goes_where_b_is_moved_back() {
        const LEN: usize = 2048;
        const LAG: usize = 37;
        let mut random = 1u32;
        let mut noise = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut sound = vec![0.0f32; 100_000];
        for n in 160..sound.len() {
            let on = if n % 8000 < 5000 { 1.0 } else { 0.01 };
            sound[n] = on * noise() + 0.7 * sound[n - 1] + 0.2 * sound[n - 160];
        }
        let late = |n: usize, by: usize| if n < by { 0.0 } else { sound[n - by] };
        let with = |lag: usize, delay: usize, height: f32| -> Vec<f32> {
            (0..sound.len()).map(|n| late(n, lag) + height * late(n, lag + delay)).collect()
        };
        let (mut a, mut b) = (History::new(120_000, LEN), History::new(120_000, LEN));
        a.extend(&with(0, 100, 0.5));
        b.extend(&with(LAG, 250, 0.33));
        for (moved_us, peak) in [(0.0, LAG), (500.0, LAG - 8), (-500.0, LAG + 8)] {
            let mut observer = Observer::new(16_000.0, LEN);
            let mut sum = vec![Complex32::ZERO; observer.band().len];
            for start in (1000..90_000).step_by(observer.hop()) {
                observer.transform(0, &a, start);
                observer.transform(1, &b, start);
                let seen = observer.observe(moved_us);
                assert!(seen.weight.is_finite());
                sum.iter_mut().zip(seen.cross).for_each(|(s, x)| *s += x);
            }
            let mut correlation = vec![0.0; LEN];
            observer.correlation(&sum, &mut correlation);
            let at = (0..LEN).max_by(|&x, &y| correlation[x].total_cmp(&correlation[y])).expect("some");
            assert_eq!(at, peak, "moved back by {moved_us} us");
            let elsewhere =
                (0..LEN).filter(|k| k.abs_diff(peak) > 16).map(|k| correlation[k].abs()).fold(0.0, f32::max);
            assert!(
                elsewhere < 0.5 * correlation[peak],
                "moved back by {moved_us} us: {elsewhere} of {}",
                correlation[peak]
            );
        }
    }
}
