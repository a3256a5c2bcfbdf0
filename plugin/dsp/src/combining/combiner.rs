//! The last stage: two aligned microphones become one sound.
//!
//! Problem: put A and B together by the weights of [`crate::combining::mrc_weights`] so that no change is heard as such: of weights,
//! of mode, of trust in the alignment, of a microphone that dies. Every such change gives new target gains, which are
//! reached by a straight ramp of [`FRAME_S`]. Powers are counted over steps of [`STEP_S`] and frames of five of them,
//! counted from the first frame on, so that the output does not depend on how the sound is cut into calls. No
//! alignment here, and no polarity: B comes with both done.

use crate::combining::activity::{Ear, FRAME_S};
pub use crate::combining::mrc_weights::Levels;
use crate::combining::mrc_weights::Weigher;
use crate::combining::onsets::{OnsetFinder, STEP_S};
use crate::combining::subband_wiener::Bands;
use crate::params::Mode;
use crate::primitives::biquad::VoiceBand;
use crate::speakers::speaker_change::Voice;

/// Speech-to-noise ratio of B alone from which it may replace A alone: 9 dB.
const B_GOOD: f64 = 8.0;
/// Speech-to-noise ratio of A alone below which B may replace it: 3 dB, that is, there is nothing to hear in A.
const A_USELESS: f64 = 2.0;
/// How much better B has to have been in the merge to play on alone when the alignment is lost: 6 dB.
const B_CLEARLY_BETTER: f64 = 4.0;
/// Speech for which one microphone has to be the better one before it is changed for the other, s. Only with this
/// patience a talker who pauses in A is not taken for a broken A.
const PATIENCE_S: f64 = 5.0;
/// Bounds of the level ratio by which B alone is brought to A's level: +-20 dB.
const LEVEL_BOUNDS: [f64; 2] = [0.1, 10.0];

/// What the mixer is told about the frames of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixFeed {
    /// B is aligned and the lock is trusted: the two may be added.
    pub aligned: bool,
    /// How the two are put together.
    pub mode: Mode,
    /// False: A alone.
    pub enabled: bool,
    /// Normalised correlation of the pair, 0 to 1.
    pub correlation: f32,
    /// Who speaks.
    pub voice: Voice,
}

/// Gains by which the two microphones make up the output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Gains {
    /// Of A and B in the sum.
    sum: [f32; 2],
    /// Of A and B in the difference that goes through the filter of [`Bands`].
    difference: [f32; 2],
}

impl Gains {
    const ONLY_A: Self = Self::of_sum([1.0, 0.0]);

    const fn of_sum(sum: [f32; 2]) -> Self {
        Self { sum, difference: [0.0; 2] }
    }

    /// The way from `self` to `to`, of which the share `x` is gone.
    fn towards(&self, to: &Self, x: f32) -> Self {
        let on_the_way = |from: [f32; 2], to: [f32; 2]| [0, 1].map(|i| from[i] + x * (to[i] - from[i]));
        Self { sum: on_the_way(self.sum, to.sum), difference: on_the_way(self.difference, to.difference) }
    }
}

/// Which microphone plays while they are not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    A,
    B,
}

/// Powers of A and B and their product, summed.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    aa: f64,
    bb: f64,
    ab: f64,
}

impl Sums {
    fn add(&mut self, a: f64, b: f64) {
        self.aa += a * a;
        self.bb += b * b;
        self.ab += a * b;
    }

    /// The sums times `scale`; starts again from nothing.
    fn take(&mut self, scale: f64) -> Self {
        let Self { aa, bb, ab } = std::mem::take(self);
        Self { aa: aa * scale, bb: bb * scale, ab: ab * scale }
    }
}

/// Merges two aligned streams.
pub struct Mixer {
    step_len: usize,
    step_pos: usize,
    frame_len: usize,
    frame_pos: usize,
    band: VoiceBand,
    step_sums: Sums,
    frame_sums: Sums,
    ear_a: Ear,
    ear_b: Ear,
    onsets: OnsetFinder,
    weigher: Weigher,
    alone: Alone,
    doubt_frames: u32,
    feed: MixFeed,
    target: Gains,
    start: Gains,
    ramp_pos: usize,
    bands: Bands,
    difference: Vec<f32>,
}

impl Mixer {
    /// A mixer for streams of `rate_hz` (8000 to 192000). It puts out its sound at most 2 ms late, in every mode, for
    /// the sake of the weights by band: where the noises lie side by side in frequency, they then take away 12 dB of
    /// noise instead of 4. Allocates.
    pub fn new(rate_hz: f64) -> Self {
        let step_len = (rate_hz * STEP_S).round().max(1.0) as usize;
        Self {
            step_len,
            step_pos: 0,
            frame_len: step_len * (FRAME_S / STEP_S).round() as usize,
            frame_pos: 0,
            band: VoiceBand::new(rate_hz),
            step_sums: Sums::default(),
            frame_sums: Sums::default(),
            ear_a: Ear::default(),
            ear_b: Ear::default(),
            onsets: OnsetFinder::default(),
            weigher: Weigher::default(),
            alone: Alone::A,
            doubt_frames: 0,
            feed: MixFeed {
                aligned: false,
                mode: Mode::default(),
                enabled: true,
                correlation: 0.0,
                voice: Voice::default(),
            },
            target: Gains::ONLY_A,
            start: Gains::ONLY_A,
            ramp_pos: usize::MAX,
            bands: Bands::new(rate_hz, step_len),
            difference: vec![0.0; step_len],
        }
    }

    /// Frames by which the output is later than the input, in every mode.
    pub fn latency_frames(&self) -> usize {
        self.bands.ahead()
    }

    /// Merges `a` and `b` (aligned, with polarity applied) into `out`; the shortest slice counts. A change of `feed`
    /// starts a ramp at the first frame of the call. Audio thread: no allocation, no panic.
    pub fn process(&mut self, a: &[f32], b: &[f32], out: &mut [f32], feed: MixFeed) {
        if feed != self.feed {
            self.take_feed(feed);
        }
        let mut at = 0;
        let len = a.len().min(b.len()).min(out.len());
        while at < len {
            let end = len.min(at + self.step_len - self.step_pos);
            let (a, b) = (&a[at..end], &b[at..end]);
            self.add_up(a, b, &mut out[at..end]);
            self.count(a, b);
            self.step_pos += end - at;
            at = end;
            if self.step_pos == self.step_len {
                self.end_step();
            }
        }
    }

    /// Share of B in the sum, 0 to 1. Audio thread.
    pub fn weight_of_b(&self) -> f32 {
        let Gains { sum: [a, b], difference } = self.target;
        if difference != [0.0; 2] {
            let advantage = self.levels().advantage_of_b() as f32;
            return advantage / (1.0 + advantage);
        }
        let b = b * self.levels().level_ratio as f32;
        b / (a + b).max(1e-9)
    }

    /// What was learnt about the two microphones; equal ones before anything was. Audio thread.
    pub fn levels(&self) -> Levels {
        self.weigher.levels().unwrap_or(Levels { level_ratio: 1.0, noise_ratio: 1.0 })
    }

    /// Starts from what another mixer learnt. Audio thread.
    pub fn restore(&mut self, levels: &Levels) {
        self.weigher.restore(levels);
    }

    /// The lag has jumped: for the last second or so the pair was not aligned. Audio thread.
    pub fn jumped(&mut self) {
        self.weigher.unlearn();
    }

    fn take_feed(&mut self, feed: MixFeed) {
        if self.feed.aligned && !feed.aligned {
            let better = self.weigher.levels().is_some_and(|l| l.advantage_of_b() > B_CLEARLY_BETTER);
            self.alone = if better { Alone::B } else { Alone::A };
            self.doubt_frames = 0;
        }
        if feed.aligned {
            self.weigher.listen_to(&feed.voice);
        }
        self.feed = feed;
        self.aim();
    }

    fn add_up(&mut self, a: &[f32], b: &[f32], out: &mut [f32]) {
        let count = out.len();
        let difference = &mut self.difference[..count];
        let ramped = count.min(self.frame_len.saturating_sub(self.ramp_pos));
        for i in 0..ramped {
            let x = (self.ramp_pos + i + 1) as f32 / self.frame_len as f32;
            let gains = self.start.towards(&self.target, x);
            out[i] = gains.sum[0] * a[i] + gains.sum[1] * b[i];
            difference[i] = gains.difference[0] * a[i] + gains.difference[1] * b[i];
        }
        let Gains { sum, difference: apart } = self.target;
        for i in ramped..count {
            out[i] = sum[0] * a[i] + sum[1] * b[i];
            difference[i] = apart[0] * a[i] + apart[1] * b[i];
        }
        self.ramp_pos = self.ramp_pos.saturating_add(count);
        self.bands.add(difference, out);
    }

    fn count(&mut self, a: &[f32], b: &[f32]) {
        if self.is_learning_bands() {
            self.bands.hear(a, b);
        }
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.frame_sums.add(a, b);
            let [a, b] = self.band.pass([a, b]);
            self.step_sums.add(a, b);
        }
    }

    fn end_step(&mut self) {
        self.step_pos = 0;
        self.band.settle();
        self.bands.end_step();
        let step = self.step_sums.take(1.0 / self.step_len as f64);
        if self.is_learning()
            && let Some(onset) = self.onsets.step(step.aa, step.bb, step.ab)
        {
            self.weigher.hear(&onset);
        }
        self.frame_pos += self.step_len;
        if self.frame_pos == self.frame_len {
            self.frame_pos = 0;
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        let frame = self.frame_sums.take(1.0 / self.frame_len as f64);
        self.ear_a.hear(frame.aa);
        self.ear_b.hear(frame.bb);
        let speech = self.ear_a.is_speaking() || self.ear_b.is_speaking();
        if self.is_learning() {
            self.weigher.learn(frame.aa, frame.bb, frame.ab, speech);
        }
        if self.is_learning_bands()
            && let Some(levels) = self.weigher.levels()
        {
            self.bands.end_frame(speech, self.weigher.place(), &levels, self.weigher.parts());
        }
        self.judge_alone(speech);
        self.aim();
    }

    fn is_learning(&self) -> bool {
        self.feed.aligned && !self.ear_a.is_dead() && !self.ear_b.is_dead()
    }

    fn is_learning_bands(&self) -> bool {
        self.is_learning() && self.feed.mode == Mode::Banded
    }

    /// Changes the microphone that plays alone, if the other one has been clearly better for long.
    fn judge_alone(&mut self, speech: bool) {
        let (snr_a, snr_b) = (self.ear_a.speech_to_noise(), self.ear_b.speech_to_noise());
        let doubt = match self.alone {
            Alone::A => snr_a < A_USELESS && snr_b > B_GOOD,
            Alone::B => snr_a > A_USELESS,
        };
        if !doubt {
            self.doubt_frames = 0;
        } else if speech {
            self.doubt_frames += 1;
            if f64::from(self.doubt_frames) * FRAME_S >= PATIENCE_S {
                self.doubt_frames = 0;
                self.alone = if self.alone == Alone::A { Alone::B } else { Alone::A };
            }
        }
    }

    /// Starts the ramp to the gains that are right now.
    fn aim(&mut self) {
        let target = self.wanted_gains();
        if target == self.target && self.ramp_pos >= self.frame_len {
            return;
        }
        let x = self.ramp_pos.min(self.frame_len) as f32 / self.frame_len as f32;
        self.start = self.start.towards(&self.target, x);
        self.target = target;
        self.ramp_pos = 0;
    }

    fn wanted_gains(&self) -> Gains {
        if !self.feed.enabled {
            return Gains::ONLY_A;
        }
        let levels = self.weigher.levels();
        let level = levels.map_or(1.0, |l| l.level_ratio.clamp(LEVEL_BOUNDS[0], LEVEL_BOUNDS[1]));
        let only_b = Gains::of_sum([0.0, (1.0 / level) as f32]);
        let (dead_a, dead_b) = (self.ear_a.is_dead(), self.ear_b.is_dead());
        match (self.feed.mode, levels) {
            (Mode::OnlyA, _) => Gains::ONLY_A,
            (Mode::OnlyB, _) => Gains::of_sum([0.0, 1.0]),
            // Here the pauses of one talker are no reason to hear another one.
            _ if !self.feed.aligned => match self.alone {
                Alone::A => Gains::ONLY_A,
                Alone::B => only_b,
            },
            _ if dead_a && dead_b => self.target,
            _ if dead_b => Gains::ONLY_A,
            _ if dead_a => only_b,
            (Mode::Average, _) => Gains::of_sum([0.5, 0.5]),
            (_, None) => Gains::ONLY_A,
            (Mode::Banded, Some(levels)) if self.bands.is_ready() => {
                Gains { sum: [1.0, 0.0], difference: [-1.0, (1.0 / levels.level_ratio) as f32] }
            }
            (_, Some(levels)) => Gains::of_sum(levels.shares().map(|w| w as f32)),
        }
    }
}

#[cfg(test)]
mod tests;
