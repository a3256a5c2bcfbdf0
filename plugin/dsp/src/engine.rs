//! The one audio-thread entry: two to eight microphones in, one sound out.

use crate::alignment::aligner::{Aligner, CHUNK_FRAMES, Tap, largest_lag_frames};
use crate::alignment::fractional_delay::Interpolator;
use crate::combining::combiner::{Combiner, Feed};
use crate::combining::spatial_filter::MAX_MICROPHONES;
use crate::enhancement::noise_suppressor::PostFilter;
use crate::input::channel::Channel;
use crate::input::timeline::{MAX_LAG_S, QUANTUM, Rates};
use crate::params::Controls;
use crate::snapshot::{SNAPSHOT_VERSION, Snapshot, SnapshotError};
use crate::status::{State, Status};
use crate::tracking::imm_kalman::LagFilter;
use crate::tracking::lock::Lock;
use crate::tracking::tracker::{Settings, Tracker};

/// Silence after which the state is `holding`, s.
const HOLDING_AFTER_S: f64 = 1.0;
/// `half_life` at which the memories are those the method was measured with, s.
const NORMAL_HALF_LIFE_S: f64 = 30.0;
/// A restored lag is good to this, us: buffers never start up quite alike.
const RESTORED_SD_US: f64 = 150.0;
/// A restored drift is never taken for better than this, ppm.
const RESTORED_DRIFT_SD_PPM: f64 = 2.0;

/// What the work on some frames consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Keeping the frames, and bringing them to the rates of the analysis.
    Taking,
    /// Reading the reference late and the others between their frames.
    Reading,
    /// Making one sound of all.
    Combining,
    /// Measuring lags and drifts.
    Analysing,
}

/// Why an engine cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The sample rate is not one the engine can work at.
    #[error("sample rate {0} Hz is outside 8000 to 192000 Hz")]
    Rate(f64),
    /// Too few or too many microphones.
    #[error("{0} microphones are given, 2 to {MAX_MICROPHONES} can be merged")]
    Microphones(usize),
}

/// A combiner that has learnt at a lag so far beside the true one starts again, us: a sixth of a period at 10 kHz.
const LEARNT_BESIDE_US: f64 = 15.0;

/// A microphone that is aligned to the reference.
struct Other {
    channel: Channel,
    tracker: Tracker,
    aligner: Aligner,
    aligned: bool,
    /// Lag and drift are still being searched for about the lock.
    pulling_in: bool,
    /// Where in the reference's stream the combiner began to learn this microphone, s, and the lag then applied, us. None: before it was away.
    learnt_from: Option<(f64, f64)>,
    delay_too_small: bool,
}

impl Other {
    /// Lag and drift have just been pulled in at `place_s`, and it shows that the combiner began to learn too far beside them.
    fn was_learnt_elsewhere(&mut self, place_s: f64) -> bool {
        let Some(lock) = self.tracker.lock() else { return false };
        let was_pulling_in = std::mem::replace(&mut self.pulling_in, lock.is_pulling_in());
        let Some((from_s, applied_us)) = self.learnt_from else { return false };
        let true_us = lock.filter.lag_us(place_s) - lock.filter.drift_ppm() * (place_s - from_s);
        was_pulling_in && !self.pulling_in && (true_us - applied_us).abs() > LEARNT_BESIDE_US
    }
}

/// The merge of two to eight microphones. See the crate's page for the data path.
pub struct Engine {
    rate_hz: f64,
    rates: Rates,
    controls: Controls,
    table: Interpolator,
    reference: Channel,
    reader: Aligner,
    others: Vec<Other>,
    combiner: Combiner,
    post_filter: PostFilter,
    quantum_frames: usize,
    until_quantum: usize,
    feed: Feed,
    chunk: Vec<[f32; CHUNK_FRAMES]>,
    /// The microphones are put out side by side.
    apart: bool,
    /// What is held back then, so that it is as late as the combiner would be, microphone by microphone, and the place of the oldest.
    held: Vec<Vec<f32>>,
    held_at: usize,
}

impl Engine {
    /// Makes an engine for `microphones` (2 to 8, the reference first) streams of `rate_hz` (8000 to 192000). Allocates; nothing else
    /// does, but [`Drop`].
    ///
    /// # Errors
    /// The rate or the number of microphones is outside the range.
    pub fn new(rate_hz: f64, microphones: usize, controls: &Controls) -> Result<Self, EngineError> {
        if !(8000.0..=192_000.0).contains(&rate_hz) {
            return Err(EngineError::Rate(rate_hz));
        }
        if !(2..=MAX_MICROPHONES).contains(&microphones) {
            return Err(EngineError::Microphones(microphones));
        }
        let rates = Rates::new(rate_hz);
        let combiner = Combiner::new(rate_hz, microphones);
        let held = combiner.latency_frames();
        let reading_delay = reading_delay(controls, rate_hz, held);
        let reference = Channel::new(&rates);
        let other = |_| {
            let channel = Channel::new(&rates);
            Other {
                tracker: Tracker::new(&channel.against(&reference, &rates), settings(controls)),
                aligner: Aligner::new(rate_hz, reading_delay),
                channel,
                aligned: false,
                pulling_in: false,
                learnt_from: None,
                delay_too_small: false,
            }
        };
        let quantum_frames = QUANTUM * rates.fine_factor;
        Ok(Self {
            rate_hz,
            rates,
            controls: *controls,
            table: Interpolator::default(),
            others: (1..microphones).map(other).collect(),
            reference,
            reader: Aligner::new(rate_hz, reading_delay),
            combiner,
            post_filter: PostFilter::new(rate_hz),
            quantum_frames,
            until_quantum: quantum_frames,
            feed: Feed { mode: controls.mode, enabled: controls.enabled, aligned: [false; MAX_MICROPHONES] },
            chunk: vec![[0.0; CHUNK_FRAMES]; microphones],
            apart: false,
            held: vec![vec![0.0; held]; microphones],
            held_at: 0,
        })
    }

    /// The sample rate, Hz.
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// Number of microphones, the reference included.
    pub fn microphones(&self) -> usize {
        1 + self.others.len()
    }

    /// Takes the controls for the frames that follow. Audio thread.
    pub fn set_controls(&mut self, controls: &Controls) {
        if *controls == self.controls {
            return;
        }
        let reset = controls.reset && !self.controls.reset;
        for (other, total) in self.others.iter_mut().zip(controls.lag_trim_frames) {
            other.channel.set_total_trim(i64::from(total), &self.rates);
            if reset {
                other.tracker.reset();
            }
            other.tracker.set(settings(controls));
        }
        if reset {
            self.combiner.clear();
        }
        self.feed.mode = controls.mode;
        self.feed.enabled = controls.enabled;
        self.controls = *controls;
    }

    /// Merges `out.len()` frames of all microphones, the reference first, into `out`. Audio thread: no allocation, lock, system call or
    /// panic. The output depends on the frames alone, not on how they are split into calls. Where the slices differ in
    /// length, the shortest counts; a missing microphone is silent. Samples that are not finite, or 20 dB beyond full scale,
    /// count as silence.
    pub fn process(&mut self, microphones: &[&[f32]], out: &mut [f32]) {
        self.process_in_parts(microphones, out, |_| {});
    }

    /// As [`Self::process`], and calls `done` at the end of each part of the work, for those who want to know how long
    /// it takes. Audio thread, if `done` may be called there.
    pub fn process_in_parts(&mut self, microphones: &[&[f32]], out: &mut [f32], mut done: impl FnMut(Part)) {
        self.apart = false;
        let frames = microphones.iter().map(|m| m.len()).min().unwrap_or(0).min(out.len());
        let mut at = 0;
        while at < frames {
            let count = self.read(microphones, at, frames, &mut done);
            let mut chunk = [&[][..]; MAX_MICROPHONES];
            for (slice, chunk) in chunk.iter_mut().zip(&self.chunk) {
                *slice = &chunk[..count];
            }
            let end = at + count;
            self.combiner.process(&chunk[..self.chunk.len()], &mut out[at..end], &self.feed);
            self.post_filter.process(&mut out[at..end], self.controls.post_filter, self.controls.enabled);
            done(Part::Combining);
            self.passed(count);
            done(Part::Analysing);
            at = end;
        }
    }

    /// As [`Self::process`], but nothing is combined: `outs` are the microphones, the reference delayed, the others aligned to it and
    /// brought to its polarity. Until a lag is known, and while `enabled` is off, a microphone is as late against the reference as it
    /// came; `mode` and `post_filter` have no say. An engine keeps to one of the two functions. Audio thread, as there.
    pub fn process_apart(&mut self, microphones: &[&[f32]], outs: &mut [&mut [f32]]) {
        self.apart = true;
        let shortest = microphones.iter().map(|m| m.len()).min().unwrap_or(0);
        let frames = outs.iter().map(|out| out.len()).min().unwrap_or(0).min(shortest);
        let mut at = 0;
        while at < frames {
            let count = self.read(microphones, at, frames, &mut |_| {});
            let len = self.held[0].len();
            for ((out, held), chunk) in outs.iter_mut().zip(&mut self.held).zip(&self.chunk) {
                for (i, (out, x)) in out[at..at + count].iter_mut().zip(chunk).enumerate() {
                    *out = std::mem::replace(&mut held[(self.held_at + i) % len], *x);
                }
            }
            self.held_at = (self.held_at + count) % len;
            at += count;
            self.passed(count);
        }
    }

    /// Takes in the next frames from number `at` to before `end` at most, as many as may go in before something else is due, and
    /// reads all microphones. Gives how many.
    fn read(&mut self, microphones: &[&[f32]], at: usize, end: usize, done: &mut impl FnMut(Part)) -> usize {
        let mut count = (end - at).min(self.until_quantum).min(CHUNK_FRAMES);
        let now = self.reference.full.count();
        if self.others.iter().any(|o| !o.channel.may_take(count, o.aligner.reach(now))) {
            count = 1;
        }
        let silence = [0.0; CHUNK_FRAMES];
        let piece = |m: usize| microphones.get(m).map_or(&silence[..count], |frames| &frames[at..at + count]);
        self.reference.extend(piece(0));
        for (i, other) in self.others.iter_mut().enumerate() {
            other.channel.extend(piece(i + 1));
        }
        done(Part::Taking);
        self.reader.read(&self.table, &self.reference.full, now, &mut self.chunk[0][..count]);
        for (other, chunk) in self.others.iter_mut().zip(&mut self.chunk[1..]) {
            other.aligner.read(&self.table, &other.channel.full, now, &mut chunk[..count]);
        }
        done(Part::Reading);
        count
    }

    /// Does what is due after `frames` frames.
    fn passed(&mut self, frames: usize) {
        self.until_quantum -= frames;
        if self.until_quantum == 0 {
            self.quantum();
        }
    }

    /// The analysis of one quantum, and where the aligners are to be at the end of the next one.
    fn quantum(&mut self) {
        self.until_quantum = self.quantum_frames;
        let delay_frames = reading_delay(&self.controls, self.rate_hz, self.combiner.latency_frames());
        let place_s = (self.reference.full.count() + self.quantum_frames as i64 - delay_frames) as f64 / self.rate_hz;
        let still = Tap { delay_frames, lag_frames: 0.0, sign: 1.0 };
        self.reader.aim(still, self.quantum_frames);
        for (i, other) in self.others.iter_mut().enumerate() {
            other.tracker.quantum(&other.channel.against(&self.reference, &self.rates));
            let trim = other.channel.trim_frames as f64;
            let largest = largest_lag_frames(delay_frames, self.rate_hz) + trim;
            let (mut lag_frames, mut sign, mut trusted) = (other.aligner.lag_frames(), 1.0, false);
            if let Some(lock) = other.tracker.lock() {
                lag_frames = lock.lag_us_at_place(place_s) * 1e-6 * self.rate_hz;
                sign = lock.sign;
                trusted = lock.is_trusted();
            }
            if self.apart && !self.controls.enabled {
                (lag_frames, sign, trusted) = (trim, 1.0, false);
            }
            other.delay_too_small = trusted && lag_frames > largest;
            let aligned = trusted && !other.delay_too_small;
            let smallest = trim - MAX_LAG_S * self.rate_hz;
            let tap = Tap { delay_frames, lag_frames: lag_frames.clamp(smallest, largest), sign };
            let change = other.aligner.aim(tap, self.quantum_frames);
            if change.inverts {
                self.combiner.invert(i + 1);
            }
            let beside = other.was_learnt_elsewhere(place_s);
            // One that was away for a while is aligned as it was before.
            let is_back = self.combiner.knows(i + 1) && other.tracker.lock().is_some_and(Lock::is_restored);
            let begins = aligned && !other.aligned;
            if aligned && if begins { !is_back } else { change.jumps || beside } {
                self.combiner.restart(begins || !change.jumps);
                other.learnt_from = Some((place_s, lag_frames / self.rate_hz * 1e6));
            } else if begins {
                other.learnt_from = None;
            }
            other.aligned = aligned;
            self.feed.aligned[i + 1] = aligned;
        }
    }

    /// A lag on a microphone's own timeline in us, as ms of the streams as passed.
    fn passed_ms(&self, other: &Other, lag_us: f64) -> f64 {
        (lag_us - other.channel.trim_frames as f64 / self.rate_hz * 1e6) * 1e-3
    }

    fn now_s(&self, other: &Other) -> f64 {
        other.channel.full.count() as f64 / self.rate_hz
    }

    /// What the engine knows now of microphone `microphone` (1: B). Audio thread.
    pub fn status(&self, microphone: usize) -> Status {
        let Some(other) = self.others.get(microphone.wrapping_sub(1)) else { return Status::default() };
        let lock = other.tracker.lock();
        let follower = other.tracker.follower();
        Status {
            lag_ms: lock.map_or(0.0, |l| self.passed_ms(other, l.filter.lag_us(self.now_s(other)))),
            drift_ppm: lock.map_or(0.0, |l| l.filter.drift_ppm()),
            confidence: follower.confidence(),
            weight: self.combiner.share_of(microphone),
            polarity: if lock.is_some_and(|l| l.sign < 0.0) { -1 } else { 1 },
            state: match lock {
                Some(lock) if lock.is_trusted() => {
                    let nothing = self.controls.hold || follower.silent_s() > HOLDING_AFTER_S;
                    if nothing { State::Holding } else { State::Locked }
                }
                _ => State::Searching,
            },
            latency_frames: self.latency_frames(),
            applied_lag_ms: self.passed_ms(other, other.aligner.lag_frames() / self.rate_hz * 1e6),
            delay_too_small: other.delay_too_small,
        }
    }

    /// Frames by which the output is later than A, for the controls given last. Audio thread.
    pub fn latency_frames(&self) -> u32 {
        let combining = self.combiner.latency_frames();
        let reading = reading_delay(&self.controls, self.rate_hz, combining) as usize;
        let filtered = self.controls.post_filter && !self.apart;
        (reading + combining + if filtered { self.post_filter.latency_frames() } else { 0 }) as u32
    }

    /// What was learnt of a microphone (1: B), or None while nothing is. Audio thread.
    pub fn snapshot(&self, microphone: usize) -> Option<Snapshot> {
        let other = self.others.get(microphone.wrapping_sub(1))?;
        let lock = other.tracker.lock().filter(|l| l.is_trusted())?;
        Some(Snapshot {
            version: SNAPSHOT_VERSION,
            rate_hz: self.rate_hz,
            lag_s: self.passed_ms(other, lock.filter.lag_us(self.now_s(other))) * 1e-3,
            drift_ppm: lock.filter.drift_ppm(),
            drift_sd_ppm: lock.filter.sd()[1],
            polarity: if lock.sign < 0.0 { -1 } else { 1 },
        })
    }

    /// Starts microphone `microphone` (1: B) from what another engine learnt. Audio thread.
    ///
    /// # Errors
    /// See [`Snapshot::check`]; the engine is then left as it was.
    pub fn restore(&mut self, microphone: usize, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        snapshot.check()?;
        let Some(other) = self.others.get_mut(microphone.wrapping_sub(1)) else { return Ok(()) };
        let trim_us = other.channel.trim_frames as f64 / self.rate_hz * 1e6;
        let filter = LagFilter::new(
            other.channel.full.count() as f64 / self.rate_hz,
            snapshot.lag_s * 1e6 + trim_us,
            RESTORED_SD_US,
            snapshot.drift_ppm,
            snapshot.drift_sd_ppm.max(RESTORED_DRIFT_SD_PPM),
        );
        let lock = Lock::restored(filter, f32::from(snapshot.polarity));
        other.tracker.restore(lock, &other.channel.against(&self.reference, &self.rates));
        Ok(())
    }
}

/// How much the reference is delayed before the combiner, which adds its own `combining_frames`: the latency is the control's
/// `delay`, but no less than the combiner needs.
fn reading_delay(controls: &Controls, rate_hz: f64, combining_frames: usize) -> i64 {
    let delay = (f64::from(controls.delay_ms) * 1e-3 * rate_hz).round() as i64;
    (delay - combining_frames as i64).max(0)
}

fn settings(controls: &Controls) -> Settings {
    Settings {
        limit_us: f64::from(controls.lag_limit_ms) * 1e3,
        threshold: f64::from(controls.threshold),
        memory: f64::from(controls.half_life_s) / NORMAL_HALF_LIFE_S,
        hold: controls.hold,
    }
}
