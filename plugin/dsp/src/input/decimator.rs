//! From the stream's rate to the analysis rate: a low-pass filter that keeps every n-th frame.
//!
//! A windowed sinc (Kaiser 8, about -80 dB) with its pass band up to 0.9 of the new Nyquist frequency. Both
//! microphones go through the same filter, so it does not move their lag.

use crate::primitives::fir::{LANES, fir};
use crate::primitives::window::{kaiser, sinc};

/// A decimating FIR filter.
pub struct Decimator {
    factor: usize,
    half: usize,
    taps: Vec<f32>,
    /// The newest frames, the last of them before `end`: always as many as the filter looks back, at times more.
    line: Vec<f32>,
    end: usize,
    /// Frames since the last one kept.
    phase: usize,
}

/// Frames filtered at a time.
const PIECE: usize = 64;
/// Pieces that the line takes in before it is moved to its beginning.
const PIECES: usize = 8;

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
        Self { factor, half, taps, line: vec![0.0; n - 1 + PIECES * PIECE], end: n - 1, phase: 0 }
    }

    /// Takes frames and hands on every `factor`-th of what the filter makes of them, in pieces.
    pub fn pass(&mut self, frames: &[f32], mut hand_on: impl FnMut(&[f32])) {
        if self.factor == 1 {
            return hand_on(frames);
        }
        let before = self.taps.len() - 1;
        for piece in frames.chunks(PIECE) {
            if self.end + piece.len() > self.line.len() {
                self.line.copy_within(self.end - before..self.end, 0);
                self.end = before;
            }
            self.line[self.end..self.end + piece.len()].copy_from_slice(piece);
            let first = self.factor - 1 - self.phase;
            let count = (piece.len() + self.phase) / self.factor;
            let mut kept = [0.0; PIECE];
            fir(&self.line[self.end + first - before..], self.factor, &self.taps, &mut kept[..count]);
            self.end += piece.len();
            self.phase = (piece.len() + self.phase) % self.factor;
            if count > 0 {
                hand_on(&kept[..count]);
            }
        }
    }

    /// Where output number 0 stands in the input, in input frames; output k stands `k * factor` later.
    pub fn offset_frames(&self) -> f64 {
        let padding = self.taps.len() - (2 * self.half + 1);
        self.factor as f64 - 1.0 - (self.half + padding) as f64
    }
}
