//! Weights by frequency band: a short filter instead of two numbers.
//!
//! Problem: where the noises of the two microphones differ in spectrum, each is the better one in some bands. The sum
//! is written as A + u * (B / g - A), with g the level of the wanted sound in B against A. The wanted sound cancels in
//! the difference, so that u shapes the noise alone and the voice passes whatever u is. Of all filters of its length,
//! u is the one that leaves the least noise (Wiener): a Toeplitz system from the spectra of both noises, steady noise
//! as it lies in [`BANDS`] bands, reverberation as the speech does, both with the powers that [`crate::combining::mrc_weights`] has
//! found. A may be read [`Bands::ahead`] frames late, so that u sees both sides of a moment: causal filters lose 8 dB of
//! 12 where the noises lie side by side in frequency.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use crate::combining::activity::{FRAME_S, Floor};
use crate::combining::mrc_weights::{Levels, Parts};
use crate::combining::speaker_statistics::{MEMORY_FRAMES, Memory, PAUSE_SPEED, PLACES, Powers};
use crate::primitives::fir::{LANES, fir};
use crate::primitives::levinson::Toeplitz;

/// Bands, equally wide on the ERB scale (Glasberg and Moore, 1990).
const BANDS: usize = 24;
/// Upper edge of the last band but for what lies above it, Hz: the range of hearing.
const TOP_HZ: f64 = 20_000.0;
/// Half the length of u, and how far it can look ahead, s...
const HALF_S: f64 = 0.002;
/// ...and at most, frames, for every tap costs time in every frame.
const HALF_MOST: usize = 64;
/// Least length of the analysis window, s.
const WINDOW_S: f64 = 0.02;
/// Frames of [`FRAME_S`] from one analysis to the next.
const HOP_FRAMES: u32 = 2;
/// Analyses from one design to the next: 0.16 s.
const DESIGN_HOPS: u32 = 8;
/// Steps in which a new filter is reached: 40 ms.
const RAMP_STEPS: u32 = 20;
/// Speech after which the bands are trusted fully, as a share of the memory: 2 s.
const TRUSTED_FILL: f64 = 0.33;
/// Share of white noise added to the spectra, which keeps the filter from chasing what is 30 dB down.
const WHITE: f64 = 1e-3;

/// The filter u, its analysis and its design.
pub struct Bands {
    ahead: usize,
    // Analysis.
    forward: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    heard: [Vec<f32>; 2],
    heard_at: usize,
    windowed: Vec<f32>,
    spectra: [Vec<Complex<f32>>; 2],
    scratch: Vec<Complex<f32>>,
    edges: [usize; BANDS + 1],
    floors: Vec<[Floor; 2]>,
    memories: Vec<[Memory; BANDS]>,
    ids: [u64; PLACES],
    slot: usize,
    frames: u32,
    hops: u32,
    // Design.
    inverse: Arc<dyn ComplexToReal<f32>>,
    density: Vec<Complex<f32>>,
    lags: [Vec<f32>; 2],
    inverse_scratch: Vec<Complex<f32>>,
    toeplitz: Toeplitz,
    // Filter: newest tap last.
    taps: Vec<f32>,
    wanted: Vec<f32>,
    ramp_steps: u32,
    is_ready: bool,
    past: Vec<f32>,
    filtered: Vec<f32>,
    silent_frames: usize,
    late: Vec<f32>,
    late_at: usize,
}

impl Bands {
    /// For streams of `rate_hz` that are handed in in pieces of at most `step_len` frames. Allocates.
    pub fn new(rate_hz: f64, step_len: usize) -> Self {
        let half = ((rate_hz * HALF_S).round() as usize).min(HALF_MOST);
        let taps = 2 * half;
        // Whole vectors for the sums of products; the oldest frames meet zeros.
        let row = taps.next_multiple_of(LANES);
        let ahead = half;
        let size = ((rate_hz * WINDOW_S) as usize).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
        let hann = |i: usize| 0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / size as f64).cos();
        let floor = || Floor::new(FRAME_S * f64::from(HOP_FRAMES));
        Self {
            ahead,
            window: (0..size).map(|i| hann(i) as f32).collect(),
            heard: [vec![0.0; size], vec![0.0; size]],
            heard_at: 0,
            windowed: forward.make_input_vec(),
            spectra: [forward.make_output_vec(), forward.make_output_vec()],
            scratch: forward.make_scratch_vec(),
            edges: edges(rate_hz, size),
            floors: (0..BANDS).map(|_| [floor(), floor()]).collect(),
            memories: vec![[Memory::default(); BANDS]; PLACES],
            ids: [0; PLACES],
            slot: 0,
            frames: 0,
            hops: DESIGN_HOPS,
            density: inverse.make_input_vec(),
            lags: [inverse.make_output_vec(), inverse.make_output_vec()],
            inverse_scratch: inverse.make_scratch_vec(),
            toeplitz: Toeplitz::new(taps),
            taps: vec![0.0; row],
            wanted: vec![0.0; row],
            ramp_steps: 0,
            is_ready: false,
            past: vec![0.0; row - 1 + step_len],
            filtered: vec![0.0; step_len],
            silent_frames: usize::MAX,
            late: vec![0.0; ahead],
            late_at: 0,
            forward,
            inverse,
        }
    }

    /// The filter has been designed. Audio thread.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Frames by which the output is late.
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// Delays `out` by [`Bands::ahead`] and adds the filtered `difference` (at most a step). Audio thread.
    pub fn add(&mut self, difference: &[f32], out: &mut [f32]) {
        let mut rest = &mut *out;
        while !rest.is_empty() && self.ahead > 0 {
            let count = rest.len().min(self.ahead - self.late_at);
            let (piece, behind) = rest.split_at_mut(count);
            piece.swap_with_slice(&mut self.late[self.late_at..self.late_at + count]);
            self.late_at = (self.late_at + count) % self.ahead;
            rest = behind;
        }
        let silent = difference.iter().all(|&x| x == 0.0);
        self.silent_frames = if silent { self.silent_frames.saturating_add(difference.len()) } else { 0 };
        let before = self.taps.len() - 1;
        if self.silent_frames > before + difference.len() {
            return; // all that the filter still holds is silence
        }
        let count = difference.len();
        self.past[before..before + count].copy_from_slice(difference);
        let filtered = &mut self.filtered[..count];
        fir(&self.past, 1, &self.taps, filtered);
        out.iter_mut().zip(filtered).for_each(|(o, f)| *o += *f);
        self.past.copy_within(count..count + before, 0);
    }

    /// Ends a step of at most `step_len` frames: brings the filter nearer to the one wanted. Audio thread.
    pub fn end_step(&mut self) {
        if self.ramp_steps > 0 {
            let share = 1.0 / self.ramp_steps as f32;
            for (tap, wanted) in self.taps.iter_mut().zip(&self.wanted) {
                *tap += share * (wanted - *tap);
            }
            self.ramp_steps -= 1;
        }
    }

    /// Hears an aligned pair, to learn from. Audio thread.
    pub fn hear(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            self.heard[0][self.heard_at] = a;
            self.heard[1][self.heard_at] = b;
            self.heard_at = (self.heard_at + 1) & (self.window.len() - 1);
        }
    }

    /// Ends a frame: from time to time learns from what was heard and designs the filter for `levels`, with `place`
    /// as of [`crate::combining::speaker_statistics::Places::current_slot`]. Audio thread.
    pub fn end_frame(&mut self, speech: bool, place: (usize, u64), levels: &Levels, parts: &Parts) {
        self.frames += 1;
        if self.frames < HOP_FRAMES {
            return;
        }
        self.frames = 0;
        let (slot, id) = place;
        if self.ids[slot] != id {
            self.ids[slot] = id;
            self.memories[slot] = [Memory::default(); BANDS];
        }
        if self.slot != slot {
            self.slot = slot;
            self.hops = DESIGN_HOPS;
        }
        self.learn(speech, slot);
        self.hops += 1;
        if self.hops >= DESIGN_HOPS {
            self.hops = 0;
            self.design(slot, levels, parts);
        }
    }

    fn learn(&mut self, speech: bool, slot: usize) {
        let split = self.window.len() - self.heard_at;
        for (heard, spectrum) in self.heard.iter().zip(&mut self.spectra) {
            self.windowed[..split].copy_from_slice(&heard[self.heard_at..]);
            self.windowed[split..].copy_from_slice(&heard[..self.heard_at]);
            self.windowed.iter_mut().zip(&self.window).for_each(|(x, w)| *x *= w);
            // The lengths are right by construction, so the result says nothing.
            let _ = self.forward.process_with_scratch(&mut self.windowed, spectrum, &mut self.scratch);
        }
        let speed = f64::from(HOP_FRAMES) * if speech { 1.0 } else { PAUSE_SPEED } / MEMORY_FRAMES;
        for k in 0..BANDS {
            let bins = self.edges[k]..self.edges[k + 1];
            let (mut aa, mut bb, mut ab) = (0.0_f32, 0.0_f32, 0.0_f32);
            for (a, b) in self.spectra[0][bins.clone()].iter().zip(&self.spectra[1][bins]) {
                aa += a.norm_sqr();
                bb += b.norm_sqr();
                ab += a.re * b.re + a.im * b.im;
            }
            let (a, b) = (f64::from(aa), f64::from(bb));
            let [floor_a, floor_b] = &mut self.floors[k];
            floor_a.learn(a);
            floor_b.learn(b);
            let powers = Powers { a, b, cross: f64::from(ab), floor_a: floor_a.get(), floor_b: floor_b.get() };
            self.memories[slot][k].learn(&powers, speed);
        }
    }

    fn design(&mut self, slot: usize, levels: &Levels, parts: &Parts) {
        let level = levels.level_ratio;
        let broad = levels.advantage_of_b();
        let shapes = Shapes::new(&self.memories[slot]);
        // The noises by the parts have this advantage; the weights may know better.
        let [total_a, total_b] = [0, 1].map(|i| parts.steady[i] + parts.room[i]);
        let correction = broad * total_b / (level * level * total_a).max(1e-30);
        let trust = (self.memories[slot][0].fill / TRUSTED_FILL).min(1.0);
        for part in 0..2 {
            for k in 0..BANDS {
                let [noise_a, noise_b] = [0, 1].map(|i| {
                    parts.steady[i] * shapes.steady[i][k]
                        + parts.room[i] * shapes.speech[k]
                        + 1e-6 * (total_a + total_b)
                });
                let own = correction * level * level * noise_a / noise_b;
                let share = share_of_b(broad * (own / broad).powf(trust)).clamp(1e-4, 1.0 - 1e-4);
                let bins = self.edges[k]..self.edges[k + 1];
                // Noise of A, and of the difference: their ratio is the share of B, bin by bin.
                let noise = noise_a / (total_a * bins.len() as f64).max(1e-30);
                let value = if part == 0 { noise } else { noise / share };
                self.density[bins].fill(Complex::new(value as f32, 0.0));
            }
            let _ =
                self.inverse.process_with_scratch(&mut self.density, &mut self.lags[part], &mut self.inverse_scratch);
        }
        let [of_a, of_difference] = &self.lags;
        let ahead = self.ahead;
        let matrix = |i: usize| f64::from(of_difference[i]) * if i == 0 { 1.0 + WHITE } else { 1.0 };
        let right = |i: usize| f64::from(of_a[i.abs_diff(ahead)]);
        if self.toeplitz.solve(matrix, right) {
            for (wanted, &tap) in self.wanted.iter_mut().rev().zip(self.toeplitz.solution()) {
                *wanted = tap as f32;
            }
            self.ramp_steps = if self.is_ready { RAMP_STEPS } else { 1 };
            self.is_ready = true;
        }
    }
}

/// How powers lie over the bands; each adds up to 1.
struct Shapes {
    /// Steady noise of A and of B.
    steady: [[f64; BANDS]; 2],
    /// Speech, a mean of both microphones: single bands of either one are up to the room's reflections.
    speech: [f64; BANDS],
}

impl Shapes {
    fn new(memory: &[Memory; BANDS]) -> Self {
        let powers = memory.each_ref().map(|m| m.mean);
        let speech_a = powers.map(|p| (p.a - p.floor_a).max(0.0));
        let speech_b = powers.map(|p| (p.b - p.floor_b).max(0.0));
        let total = |x: &[f64; BANDS]| x.iter().sum::<f64>().max(1e-30);
        let clear_a = total(&speech_a) / total(&powers.map(|p| p.a));
        let clear_b = total(&speech_b) / total(&powers.map(|p| p.b));
        let (shape_a, shape_b) = (shape(speech_a), shape(speech_b));
        let mean = std::array::from_fn(|k| clear_a * shape_a[k] + clear_b * shape_b[k]);
        Self { steady: [shape(powers.map(|p| p.floor_a)), shape(powers.map(|p| p.floor_b))], speech: shape(mean) }
    }
}

fn shape(x: [f64; BANDS]) -> [f64; BANDS] {
    let total: f64 = x.iter().sum();
    if total > 0.0 { x.map(|x| x / total) } else { [1.0 / BANDS as f64; BANDS] }
}

fn share_of_b(advantage: f64) -> f64 {
    advantage / (1.0 + advantage)
}

/// The first bin of each band, and the end of the last.
fn edges(rate_hz: f64, size: usize) -> [usize; BANDS + 1] {
    let erb = |hz: f64| 21.4 * (1.0 + 0.00437 * hz).log10();
    let hz = |erb: f64| (10_f64.powf(erb / 21.4) - 1.0) / 0.00437;
    let top = erb(TOP_HZ.min(rate_hz / 2.0));
    let bins = size / 2 + 1;
    let mut edges = [0; BANDS + 1];
    for k in 1..BANDS {
        let bin = (hz(top * k as f64 / BANDS as f64) * size as f64 / rate_hz).round() as usize;
        edges[k] = bin.max(edges[k - 1] + 1).min(bins - BANDS + k);
    }
    edges[BANDS] = bins;
    edges
}
