//! Reads a stream between its frames: polyphase windowed sinc.
//!
//! 32 taps under a Kaiser window (beta 9), 128 phases with linear interpolation between neighbouring phases: the
//! error of the phase grid stays below -90 dB up to 0.7 of the Nyquist frequency. See J. O. Smith, "Digital Audio
//! Resampling".

use crate::history::History;
use crate::window::{kaiser, sinc};

/// Taps of the filter. Half of them must lie behind the place that is read.
pub const TAPS: usize = 32;
/// Places between two frames for which taps are kept.
const PHASES: usize = 128;

/// Sum of products, in eight lanes: the same order of additions on every machine.
pub fn dot(x: &[f32], h: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (xs, hs) = (x.chunks_exact(8), h.chunks_exact(8));
    let rest: f32 = xs.remainder().iter().zip(hs.remainder()).map(|(x, h)| x * h).sum();
    for (x, h) in xs.zip(hs) {
        for i in 0..8 {
            lanes[i] += x[i] * h[i];
        }
    }
    ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])) + rest
}

/// The table of taps.
pub struct Interpolator {
    /// `PHASES + 1` rows: the last is the first, one frame on.
    rows: Vec<[f32; TAPS]>,
}

impl Default for Interpolator {
    fn default() -> Self {
        let half = TAPS as f64 / 2.0;
        let rows = (0..=PHASES)
            .map(|phase| {
                let fraction = phase as f64 / PHASES as f64;
                let mut row: [f64; TAPS] = std::array::from_fn(|i| {
                    let x = i as f64 - (half - 1.0) - fraction;
                    sinc(x) * kaiser(x / half, 9.0)
                });
                let sum: f64 = row.iter().sum();
                for t in &mut row {
                    *t /= sum;
                }
                row.map(|t| t as f32)
            })
            .collect();
        Self { rows }
    }
}

impl Interpolator {
    /// The value of the stream at the place `whole + fraction` (0 <= fraction < 1), in frames.
    pub fn read(&self, stream: &History, whole: i64, fraction: f64) -> f32 {
        let x = stream.window(whole - (TAPS as i64 / 2 - 1), TAPS);
        let place = fraction.clamp(0.0, 1.0) * PHASES as f64;
        let phase = (place as usize).min(PHASES - 1);
        let between = (place - phase as f64) as f32;
        let (h0, h1) = (&self.rows[phase], &self.rows[phase + 1]);
        let mut lanes = [0.0f32; 8];
        for (x, (h0, h1)) in x.chunks_exact(8).zip(h0.chunks_exact(8).zip(h1.chunks_exact(8))) {
            for i in 0..8 {
                lanes[i] += x[i] * (h0[i] + between * (h1[i] - h0[i]));
            }
        }
        ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_at_half_nyquist_is_read_between_frames_with_an_error_below_minus_80_db() {
        let mut h = History::new(1000, TAPS);
        let w = std::f64::consts::PI * 0.5;
        for i in 0..1000 {
            h.push((w * f64::from(i)).sin() as f32);
        }
        let table = Interpolator::default();
        for k in 0..1000 {
            let place = 100.0 + f64::from(k) * 0.517;
            let got = f64::from(table.read(&h, place.floor() as i64, place.fract()));
            assert!((got - (w * place).sin()).abs() < 1e-4, "{place}: {got}");
        }
    }
}
