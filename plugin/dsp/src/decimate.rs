//! From the stream's rate to the analysis rate: a low-pass filter that keeps every n-th frame.
//!
//! A windowed sinc (Kaiser 8, about -80 dB) with its pass band up to 0.9 of the new Nyquist frequency. Both
//! microphones go through the same filter, so it does not move their lag.

use crate::interpolate::{LANES, dot};
use crate::window::{kaiser, sinc};

/// A decimating FIR filter.
pub struct Decimator {
    factor: usize,
    half: usize,
    taps: Vec<f32>,
    /// The last `taps.len()` frames, twice in a row, so that the newest window is one slice.
    line: Vec<f32>,
    at: usize,
    phase: usize,
}

/// Taps on each side for each unit of the factor: sets how steep the filter is.
const HALF_TAPS_PER_FACTOR: usize = 13;

impl Decimator {
    /// Keeps one frame in `factor` (1: every frame as it is).
    pub fn new(factor: usize) -> Self {
        let half = if factor == 1 { 0 } else { HALF_TAPS_PER_FACTOR * factor };
        let cutoff = 0.92 / factor as f64;
        let mut taps: Vec<f64> = (0..=2 * half)
            .map(|i| {
                let x = i as f64 - half as f64;
                cutoff * sinc(cutoff * x) * kaiser(x / (half as f64 + 1.0), 8.0)
            })
            .collect();
        let sum: f64 = taps.iter().sum();
        for t in &mut taps {
            *t /= sum;
        }
        let mut taps: Vec<f32> = taps.iter().map(|&t| t as f32).collect();
        if factor > 1 {
            // Whole vectors for the sum of products; the newest frames meet the added zeros.
            taps.resize(taps.len().next_multiple_of(LANES), 0.0);
        }
        let n = taps.len();
        Self { factor, half, taps, line: vec![0.0; 2 * n], at: 0, phase: 0 }
    }

    /// Takes a frame; gives one back for every `factor`-th.
    pub fn push(&mut self, value: f32) -> Option<f32> {
        let n = self.taps.len();
        self.line[self.at] = value;
        self.line[self.at + n] = value;
        self.at = if self.at + 1 == n { 0 } else { self.at + 1 };
        self.phase += 1;
        if self.phase < self.factor {
            return None;
        }
        self.phase = 0;
        Some(dot(&self.line[self.at..self.at + n], &self.taps))
    }

    /// Where output number 0 stands in the input, in input frames; output k stands `k * factor` later.
    pub fn offset_frames(&self) -> f64 {
        let padding = self.taps.len() - (2 * self.half + 1);
        self.factor as f64 - 1.0 - (self.half + padding) as f64
    }
}
