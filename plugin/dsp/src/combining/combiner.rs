//! All aligned microphones become one sound: a filter per frequency, in frames of 32 ms.
//!
//! ```text
//!  microphones -> frames, transforms -> [dereverberation] -> filter w -> inverse transform, overlap and add -> out
//!                       |                     |                 ^
//!                       |                     v                 |
//!                       |                    mask -> covariances -> eigenvector, MVDR
//!                       v                                       ^
//!                 lost samples, clipping, level          contrast, guard by band
//! ```
//!
//! What is heard of a frame depends on what was learnt before it: transforms and the filter come at once when a hop is full;
//! learning from the frame is cut into slices and spread over the next hop, at places counted in frames, so that no call is
//! much dearer than another and the output does not depend on how the sound is cut into calls.

use crate::analysis::spectrum::Transform;
use crate::combining::condition::{Condition, Flags};
use crate::combining::dereverberation::Dereverberation;
use crate::combining::mask::Mask;
use crate::combining::selection::Selection;
use crate::combining::spatial_filter::{MAX_MICROPHONES, Said, SpatialFilter};
use crate::params::Mode;
use crate::primitives::lanes::{Complex, LANES, Real, gather, groups, scatter};
use crate::primitives::window::hann;
use crate::tuning::COMBINING;
use realfft::num_complex::Complex32;

/// Slices of a hop in which a frame is learnt from.
const SLICES: usize = 8;
/// The hop is a multiple of so many frames: slices are whole and transforms quick.
const HOP_MULTIPLE: usize = 16;
/// Above this nothing is dereverberated, Hz: little of a voice is there, and it costs as much as below.
const DEREVERBERATED_HZ: f64 = 8000.0;

/// Below this is most of a voice, Hz.
const VOICE_HZ: f64 = 6000.0;

/// What the combiner is to do with the frames of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed {
    /// How the microphones are put together.
    pub mode: Mode,
    /// False: the reference alone.
    pub enabled: bool,
    /// Which microphones are aligned to the reference, which itself always is.
    pub aligned: [bool; MAX_MICROPHONES],
}

/// Puts aligned microphones together.
pub struct Combiner {
    microphones: usize,
    hop: usize,
    hop_s: f32,
    bins: usize,
    groups: usize,
    window: Vec<f32>,
    transform: Transform,
    /// The newest two hops of each microphone, the older one first.
    heard: Vec<Vec<f32>>,
    /// Frames of the hop that is being filled.
    filled: usize,
    /// The hop that goes out while the next one comes in, and the second half of the last frame.
    going_out: Vec<f32>,
    tail: Vec<f32>,
    frames: Vec<f32>,
    spectrum: Vec<Complex32>,
    /// Spectra of the newest frame: as heard, as predicted, and what goes on from there.
    x: Vec<Vec<Complex>>,
    predicted: Vec<Vec<Complex>>,
    early: Vec<Vec<Complex>>,
    merged: Vec<Complex>,
    dereverberation: Dereverberation,
    dereverberated_groups: usize,
    /// How much of the prediction is subtracted, and how quickly that changes.
    ramp: f32,
    ramp_step: f32,
    mask: Mask,
    filter: SpatialFilter,
    selection: Selection,
    condition: Condition,
    feed: Feed,
    /// Those that the newest frame tells something of.
    present: [bool; MAX_MICROPHONES],
    /// Those that have been aligned once: what is known of them is kept while they are not.
    known: [bool; MAX_MICROPHONES],
    /// Those without which the filter has gone on.
    stale: [bool; MAX_MICROPHONES],
    /// The filter does not learn from the newest frame.
    holding: bool,
    /// How surely the newest frame holds speech.
    activity: f32,
}

impl Combiner {
    /// For `microphones` (2 to 8) streams of `rate_hz`. Allocates.
    pub fn new(rate_hz: f64, microphones: usize) -> Self {
        let tuning = &COMBINING;
        let hop = ((tuning.frame_s / 2.0 * rate_hz / HOP_MULTIPLE as f64).round() as usize).max(1) * HOP_MULTIPLE;
        let len = 2 * hop;
        let bins = hop + 1;
        let groups = groups(bins);
        let hop_s = hop as f64 / rate_hz;
        let spectra = || vec![vec![Complex::ZERO; groups]; microphones];
        let top = (DEREVERBERATED_HZ / rate_hz * len as f64) as usize + 1;
        let voice = (VOICE_HZ / rate_hz * len as f64) as usize;
        let dereverberation = Dereverberation::new(&tuning.dereverberation, microphones, bins.min(top));
        Self {
            microphones,
            hop,
            hop_s: hop_s as f32,
            bins,
            groups,
            // The square root of a Hann window, twice: frames add up to 1. The transforms are not scaled.
            window: hann(len).into_iter().map(f32::sqrt).collect(),
            transform: Transform::new(len),
            heard: vec![vec![0.0; len]; microphones],
            filled: 0,
            going_out: vec![0.0; hop],
            tail: vec![0.0; hop],
            frames: vec![0.0; len],
            spectrum: vec![Complex32::default(); bins],
            x: spectra(),
            predicted: spectra(),
            early: spectra(),
            merged: vec![Complex::ZERO; groups],
            dereverberated_groups: dereverberation.groups(),
            dereverberation,
            ramp: 0.0,
            ramp_step: (hop_s / tuning.dereverberation.ramp_s) as f32,
            mask: Mask::new(&tuning.mask, microphones, groups, (voice / LANES).min(groups), hop_s),
            filter: SpatialFilter::new(&tuning.filter, microphones, groups, hop_s),
            selection: Selection::new(tuning, microphones, groups, hop_s, rate_hz / len as f64),
            condition: Condition::new(microphones, rate_hz, hop_s),
            feed: Feed { mode: Mode::default(), enabled: true, aligned: [false; MAX_MICROPHONES] },
            present: [true; MAX_MICROPHONES],
            known: [false; MAX_MICROPHONES],
            stale: [false; MAX_MICROPHONES],
            holding: false,
            activity: 0.0,
        }
    }

    /// Frames by which the output is later than the input: a frame.
    pub fn latency_frames(&self) -> usize {
        2 * self.hop
    }

    /// Share of microphone `microphone` in what goes out, 0 to 1. Audio thread.
    pub fn share_of(&self, microphone: usize) -> f32 {
        self.selection.share_of(microphone)
    }

    /// Puts `microphones` together into `out`; all slices are of one length. Audio thread: no allocation, no panic.
    pub fn process(&mut self, microphones: &[&[f32]], out: &mut [f32], feed: &Feed) {
        self.feed = *feed;
        self.feed.aligned[0] = true;
        let slice = self.hop / SLICES;
        let mut at = 0;
        while at < out.len() {
            let count = (out.len() - at).min(slice - self.filled % slice);
            let place = self.hop + self.filled;
            for (heard, microphone) in self.heard.iter_mut().zip(microphones) {
                heard[place..place + count].copy_from_slice(&microphone[at..at + count]);
            }
            out[at..at + count].copy_from_slice(&self.going_out[self.filled..self.filled + count]);
            self.filled += count;
            at += count;
            if self.filled.is_multiple_of(slice) {
                self.learn_slice(self.filled / slice - 1);
            }
            if self.filled == self.hop {
                self.filled = 0;
                self.frame();
            }
        }
    }

    /// A frame is full: transforms it, filters it and adds it to what goes out.
    fn frame(&mut self) {
        let mut flags = [Flags::default(); MAX_MICROPHONES];
        for (microphone, flags) in flags.iter_mut().enumerate().take(self.microphones) {
            let heard = &mut self.heard[microphone];
            *flags = self.condition.look(microphone, heard);
            for (f, (x, w)) in self.frames.iter_mut().zip(heard.iter().zip(&self.window)) {
                *f = x * w;
            }
            heard.copy_within(self.hop.., 0);
            gather(self.transform.forward(&mut self.frames), &mut self.x[microphone]);
        }
        self.condition.judge(&flags[..self.microphones]);
        self.note_presence(&flags);
        self.dereverberate();
        self.selection.begin(&self.condition, &self.feed, self.filter.speech_frames() * self.hop_s);
        for group in 0..self.groups {
            let mut weights = [Complex::ZERO; MAX_MICROPHONES];
            let weights = &mut weights[..self.microphones];
            self.selection.weigh(self.filter.weights(group), weights);
            let mut sum = Complex::ZERO;
            for (w, x) in weights.iter().zip(&self.early) {
                sum += x[group].mul_conj(*w);
            }
            self.merged[group] = sum;
        }
        scatter(&self.merged, &mut self.spectrum[..self.bins]);
        self.transform.inverse(0, &self.spectrum[..self.bins], &mut self.frames);
        let scale = 1.0 / (2 * self.hop) as f32;
        let (first, second) = self.frames.split_at(self.hop);
        let (rising, falling) = self.window.split_at(self.hop);
        for (((out, tail), frame), w) in self.going_out.iter_mut().zip(&self.tail).zip(first).zip(rising) {
            *out = tail + frame * w * scale;
        }
        for ((tail, frame), w) in self.tail.iter_mut().zip(second).zip(falling) {
            *tail = frame * w * scale;
        }
        self.mask.begin(&self.present[..self.microphones]);
        self.activity = self.mask.activity();
        if self.holding {
            self.filter.hold();
        } else {
            self.filter.begin(self.activity);
        }
    }

    /// Who is present in the newest frame, and whether the filter learns from it.
    fn note_presence(&mut self, flags: &[Flags]) {
        let some = flags.iter().any(|flags| flags.power > 0.0);
        let mut passing = false;
        for (m, flags) in flags[..self.microphones].iter().enumerate() {
            let aligned = self.feed.aligned[m];
            let silent = some && flags.power == 0.0;
            let gap = self.condition.has_gap(m);
            let faulty = silent || gap || self.condition.is_left_out(m);
            self.present[m] = !faulty && (aligned || !self.known[m]);
            self.known[m] |= aligned && self.present[m];
            passing |= gap && self.known[m] && !self.condition.is_left_out(m);
        }
        let away = |m: usize| self.known[m] && !self.present[m];
        // Two are learnt together or not at all; of more, the others go on, and whoever is back does not fit them any more.
        self.holding = passing || (self.microphones == 2 && (away(0) || away(1)));
        if self.holding {
            return;
        }
        for m in 0..self.microphones {
            if self.present[m] && std::mem::take(&mut self.stale[m]) {
                self.filter.start();
            }
            self.stale[m] |= !self.present[m];
        }
    }

    fn dereverberate(&mut self) {
        let on = self.feed.mode == Mode::Dereverberate;
        let dereverberated = if on { self.dereverberated_groups } else { 0 };
        let heard = |m: usize| self.feed.aligned[m] && !self.condition.is_left_out(m);
        let some = (0..self.microphones).filter(|m| heard(*m)).count() > 1;
        let step = if some { self.ramp_step } else { -self.ramp_step };
        self.ramp = (self.ramp + step).clamp(0.0, 1.0);
        let mut predicted = [Complex::ZERO; MAX_MICROPHONES];
        let predicted = &mut predicted[..self.microphones];
        for group in 0..dereverberated {
            self.dereverberation.predict(group, predicted);
            // A microphone that is heard alone, or bypassed, is heard as it is; what is learnt meanwhile goes on.
            let ramp = if self.feed.enabled { self.ramp } else { 0.0 };
            let share = self.dereverberation.share(group) * ramp;
            for (m, p) in predicted.iter().enumerate() {
                self.predicted[m][group] = *p;
                self.early[m][group] = self.x[m][group] - *p * share;
            }
        }
        for (early, x) in self.early.iter_mut().zip(&self.x) {
            early[dereverberated..].copy_from_slice(&x[dereverberated..]);
        }
    }

    /// Learns from a share of the newest frame's bins.
    fn learn_slice(&mut self, slice: usize) {
        for group in self.groups * slice / SLICES..self.groups * (slice + 1) / SLICES {
            self.learn(group);
        }
        if slice + 1 == SLICES {
            self.finish();
        }
    }

    fn learn(&mut self, group: usize) {
        let n = self.microphones;
        if self.feed.mode == Mode::Dereverberate && group < self.dereverberated_groups {
            let mut x = [Complex::ZERO; MAX_MICROPHONES];
            let mut p = [Complex::ZERO; MAX_MICROPHONES];
            for m in 0..n {
                x[m] = self.x[m][group];
                p[m] = self.predicted[m][group];
            }
            if self.activity > 0.0 {
                self.dereverberation.learn(group, &x[..n], &p[..n]);
                self.dereverberation.solve(group);
            }
        }
        let mut x = [Complex::ZERO; MAX_MICROPHONES];
        let mut powers = [Real::ZERO; MAX_MICROPHONES];
        for m in 0..n {
            x[m] = self.early[m][group];
            powers[m] = x[m].norm_sqr();
        }
        let mask = self.mask.learn(group, &powers[..n], &self.present[..n]);
        self.filter.learn(group, &x[..n], mask);
        let (noisier, reference, gain) = self.selection.orders(group);
        let said: Said = self.filter.solve(group, &noisier[..n], reference, gain);
        self.selection.hear(group, &said);
    }

    /// All bins of a frame have been learnt from.
    fn finish(&mut self) {
        if self.feed.mode == Mode::Dereverberate {
            let power: Real = self.x.iter().flatten().fold(Real::ZERO, |sum, x| sum + x.norm_sqr());
            let power = power.sum() / (self.microphones * self.bins) as f32;
            let heard: [bool; MAX_MICROPHONES] =
                std::array::from_fn(|m| self.feed.aligned[m] && self.present[m] && power > 0.0);
            self.dereverberation.keep(&self.x, power, &heard[..self.microphones]);
        }
        self.selection.finish(self.activity, &self.present[..self.microphones]);
    }

    /// A microphone has been aligned before, for as long as the filter's memory.
    pub fn knows(&self, microphone: usize) -> bool {
        let speech_s = self.filter.speech_frames() * self.hop_s;
        self.known[microphone] && speech_s > COMBINING.filter.memory_s as f32
    }

    /// A microphone is turned over from now on.
    pub fn invert(&mut self, microphone: usize) {
        self.filter.invert(microphone);
    }

    /// A microphone is read elsewhere from now on: what was learnt of it beside the others is void. It may be taken to be `in_phase`
    /// unless its lag has jumped, which may be for a passing sound.
    pub fn restart(&mut self, in_phase: bool) {
        self.filter.restart(in_phase);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.filter.clear();
        self.dereverberation.clear();
        self.ramp = 0.0;
        self.mask.clear();
        self.selection.clear();
        self.known = [false; MAX_MICROPHONES];
        self.stale = [false; MAX_MICROPHONES];
    }
}
