//! The one audio-thread entry: two streams in, one out.

use crate::alignment::aligner::{Aligner, CHUNK_FRAMES};
use crate::alignment::fractional_delay::TAPS;
use crate::combining::combiner::{Levels, MixFeed, Mixer};
use crate::enhancement::noise_suppressor::PostFilter;
use crate::input::ring::History;
use crate::input::timeline::{MAX_LAG_S, QUANTUM, Streams};
use crate::params::Controls;
use crate::snapshot::{SNAPSHOT_VERSION, Snapshot, SnapshotError};
use crate::speakers::speaker_change::Voice;
use crate::status::{State, Status};
use crate::tracking::imm_kalman::LagFilter;
use crate::tracking::lock::Lock;
use crate::tracking::tracker::{Settings, Tracker};

/// The largest sample that is taken for sound. Whole numbers as floats reach 2e9; squares of what is beyond 1e19 are
/// out of range, and the noise estimate would keep them for good.
const LARGEST: f32 = 1e12;
/// Silence after which the state is `holding`, s.
const HOLDING_AFTER_S: f64 = 1.0;
/// `half_life` at which the memories are those the method was measured with, s.
const NORMAL_HALF_LIFE_S: f64 = 30.0;
/// The trim is counted modulo this, frames: a host may go on from one end of the port's range at the other.
const TRIM_MODULUS: i64 = 1 << 25;
/// Quanta after a change of talkers in which the lag is put right at once: a crossfade may be under way.
const TALKER_QUANTA: u32 = 8;
/// Gaps up to this long are filled frame by frame, frames; longer ones at once.
const SHORT_GAP: i64 = 4096;
/// A restored lag is good to this, us: buffers never start up quite alike.
const RESTORED_SD_US: f64 = 150.0;
/// A restored drift is never taken for better than this, ppm.
const RESTORED_DRIFT_SD_PPM: f64 = 2.0;

/// Frames of both microphones, aligned.
struct Chunk {
    a: [f32; CHUNK_FRAMES],
    b: [f32; CHUNK_FRAMES],
    count: usize,
}

impl Chunk {
    fn a(&self) -> &[f32] {
        &self.a[..self.count]
    }

    fn b(&self) -> &[f32] {
        &self.b[..self.count]
    }
}

/// What the work on some frames consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Keeping the frames, and bringing them to the rates of the analysis.
    Taking,
    /// Reading A late and B between its frames.
    Reading,
    /// Making one sound of both.
    Mixing,
    /// Measuring lag and drift.
    Analysing,
}

/// Why an engine cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The sample rate is not one the engine can work at.
    #[error("sample rate {0} Hz is outside 8000 to 192000 Hz")]
    Rate(f64),
}

/// The merge of two microphones. See the crate's page for the data path.
pub struct Engine {
    rate_hz: f64,
    controls: Controls,
    a: History,
    b: History,
    streams: Streams,
    tracker: Tracker,
    aligner: Aligner,
    mixer: Mixer,
    post_filter: PostFilter,
    delay_frames: i64,
    quantum_frames: usize,
    until_quantum: usize,
    /// Frames of B still to be thrown away, because the host has put them in.
    put_in: i64,
    /// Number of the first frame of a gap in B, its length, and the number after which it can be mended.
    gap: Option<(i64, i64)>,
    feed: MixFeed,
    /// Quanta for which the lag goes to where another talker's is at once.
    talker_quanta: u32,
    delay_too_small: bool,
    /// The two are put out side by side.
    apart: bool,
    /// What is held back then, so that it is as late as the mixer would be, and the place of the oldest.
    held: Vec<(f32, f32)>,
    held_at: usize,
}

impl Engine {
    /// Makes an engine for streams of `rate_hz` (8000 to 192000). Allocates; nothing else does, but [`Drop`].
    ///
    /// # Errors
    /// The rate is outside the range.
    pub fn new(rate_hz: f64, controls: &Controls) -> Result<Self, EngineError> {
        if !(8000.0..=192_000.0).contains(&rate_hz) {
            return Err(EngineError::Rate(rate_hz));
        }
        let held = (2.0 * MAX_LAG_S * rate_hz) as usize + 2 * TAPS;
        let streams = Streams::new(rate_hz);
        let delay_frames = frames(controls.delay_ms, rate_hz);
        let mixer = Mixer::new(rate_hz);
        let quantum_frames = QUANTUM * streams.rates.fine_factor;
        Ok(Self {
            rate_hz,
            controls: *controls,
            a: History::new(held, TAPS),
            b: History::new(held, TAPS),
            tracker: Tracker::new(&streams, settings(controls)),
            streams,
            aligner: Aligner::new(rate_hz, delay_frames - mixer.latency_frames() as i64),
            held: vec![(0.0, 0.0); mixer.latency_frames()],
            held_at: 0,
            apart: false,
            mixer,
            post_filter: PostFilter::new(rate_hz),
            delay_frames,
            quantum_frames,
            until_quantum: quantum_frames,
            put_in: 0,
            gap: None,
            feed: MixFeed {
                aligned: false,
                mode: controls.mode,
                enabled: controls.enabled,
                correlation: 0.0,
                voice: Voice::default(),
            },
            talker_quanta: 0,
            delay_too_small: false,
        })
    }

    /// The sample rate, Hz.
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// Takes the controls for the frames that follow. Audio thread.
    pub fn set_controls(&mut self, controls: &Controls) {
        if *controls == self.controls {
            return;
        }
        let trim = i64::from(controls.lag_trim_frames) - i64::from(self.controls.lag_trim_frames);
        if trim != 0 {
            let half = TRIM_MODULUS / 2;
            self.trim((trim + half).rem_euclid(TRIM_MODULUS) - half);
        }
        if controls.reset && !self.controls.reset {
            self.tracker.reset();
        }
        self.tracker.set(settings(controls));
        self.delay_frames = frames(controls.delay_ms, self.rate_hz);
        self.feed.mode = controls.mode;
        self.feed.enabled = controls.enabled;
        self.controls = *controls;
    }

    /// Merges `out.len()` frames of A and B into `out`. Audio thread: no allocation, lock, system call or panic.
    /// The output depends on the frames alone, not on how they are split into calls. Where the slices differ in
    /// length, the shortest counts. Samples that are not finite, or beyond
    /// 1e12, count as silence.
    pub fn process(&mut self, a: &[f32], b: &[f32], out: &mut [f32]) {
        self.process_in_parts(a, b, out, |_| {});
    }

    /// As [`Self::process`], and calls `done` at the end of each part of the work, for those who want to know how long
    /// it takes. Audio thread, if `done` may be called there.
    pub fn process_in_parts(&mut self, a: &[f32], b: &[f32], out: &mut [f32], mut done: impl FnMut(Part)) {
        self.apart = false;
        let frames = a.len().min(b.len()).min(out.len());
        let mut at = 0;
        while at < frames {
            let chunk = self.read(&a[at..frames], &b[at..frames], &mut done);
            let end = at + chunk.count;
            self.mixer.process(chunk.a(), chunk.b(), &mut out[at..end], self.feed);
            self.post_filter.process(&mut out[at..end], self.controls.post_filter, self.controls.enabled);
            done(Part::Mixing);
            self.passed(chunk.count);
            done(Part::Analysing);
            at = end;
        }
    }

    /// As [`Self::process`], but nothing is mixed: `out_a` is A, delayed, and `out_b` is B, aligned to it and brought to its
    /// polarity. Until a lag is known, and while `enabled` is off, B is as late against A as it came; `mode` and `post_filter`
    /// have no say. An engine keeps to one of the two functions. Audio thread, as there.
    pub fn process_apart(&mut self, a: &[f32], b: &[f32], out_a: &mut [f32], out_b: &mut [f32]) {
        self.apart = true;
        let frames = a.len().min(b.len()).min(out_a.len()).min(out_b.len());
        let mut at = 0;
        while at < frames {
            let chunk = self.read(&a[at..frames], &b[at..frames], &mut |_| {});
            // Not heard, but it learns what the microphones are worth.
            let mut mixed = [0.0; CHUNK_FRAMES];
            self.mixer.process(chunk.a(), chunk.b(), &mut mixed[..chunk.count], self.feed);
            for aligned in chunk.a().iter().zip(chunk.b()) {
                let held = &mut self.held[self.held_at];
                (out_a[at], out_b[at]) = *held;
                *held = (*aligned.0, *aligned.1);
                self.held_at = (self.held_at + 1) % self.held.len();
                at += 1;
            }
            self.passed(chunk.count);
        }
    }

    /// Takes in the next frames, as many as may go in before something else is due, and reads both microphones.
    fn read(&mut self, a: &[f32], b: &[f32], done: &mut impl FnMut(Part)) -> Chunk {
        let mut count = a.len().min(self.until_quantum).min(CHUNK_FRAMES);
        if !self.may_take(count) {
            count = 1;
        }
        let mut chunk = Chunk { a: [0.0; CHUNK_FRAMES], b: [0.0; CHUNK_FRAMES], count };
        let now = self.a.count();
        self.take(&a[..count], &b[..count]);
        done(Part::Taking);
        self.aligner.read(&self.a, &self.b, now, &mut chunk.a[..count], &mut chunk.b[..count]);
        done(Part::Reading);
        chunk
    }

    /// `count` frames may be taken in before the first of them is read: what is read is there already, is still
    /// there then and is not about to be mended.
    fn may_take(&self, count: usize) -> bool {
        let (first, end) = self.aligner.reach_in_b(self.a.count());
        let put_in = self.put_in.min(count as i64);
        let taken = self.b.count();
        self.gap.is_none() && end <= taken + 1 - put_in && first >= taken + count as i64 - self.b.held()
    }

    /// Does what is due after `frames` frames.
    fn passed(&mut self, frames: usize) {
        self.until_quantum -= frames;
        if self.until_quantum == 0 {
            self.quantum();
        }
    }

    fn take(&mut self, a: &[f32], b: &[f32]) {
        let mut finite = [0.0; CHUNK_FRAMES];
        let mut copy = |x: &[f32]| {
            for (f, &x) in finite.iter_mut().zip(x) {
                *f = if x.abs() <= LARGEST { x } else { 0.0 };
            }
            finite
        };
        let a = &copy(a)[..a.len()];
        self.a.extend(a);
        self.streams.a.extend(a);
        let put_in = self.put_in.min(b.len() as i64);
        self.put_in -= put_in;
        let b = &b[put_in as usize..];
        self.take_b(&copy(b)[..b.len()]);
    }

    fn take_b(&mut self, b: &[f32]) {
        self.b.extend(b);
        self.streams.b.extend(b);
        self.mend();
    }

    /// The host has taken `frames` out of B before the next one (negative: puts some in from the next one on).
    fn trim(&mut self, frames: i64) {
        self.streams.trim_frames += frames;
        if frames < 0 {
            self.put_in -= frames;
            return;
        }
        let kept = self.put_in.min(frames);
        self.put_in -= kept;
        let missing = frames - kept;
        if missing > SHORT_GAP {
            self.b.skip(missing);
            self.streams.skip_b(missing);
            return;
        }
        let first = self.b.count();
        let last = self.b.at(first - 1);
        for _ in 0..missing {
            // A gap of a frame or two is bridged and mended; a longer one is silence.
            self.take_b(&[if missing <= MENDED { last } else { 0.0 }]);
        }
        if missing > 0 && missing <= MENDED {
            self.gap = Some((first, missing));
        }
    }

    /// Bridges a gap of B by the cubic through the two frames on each side, once they are there.
    fn mend(&mut self) {
        let Some((first, len)) = self.gap else { return };
        if self.b.count() < first + len + 2 {
            return;
        }
        self.gap = None;
        let span = (len + 1) as f32;
        let y = [self.b.at(first - 2), self.b.at(first - 1), self.b.at(first + len), self.b.at(first + len + 1)];
        let x = [-1.0, 0.0, span, span + 1.0];
        for k in 0..len {
            let at = (k + 1) as f32;
            let lagrange = |i: usize| -> f32 {
                (0..4).filter(|&j| j != i).map(|j| (at - x[j]) / (x[i] - x[j])).product::<f32>() * y[i]
            };
            self.b.set(first + k, lagrange(0) + lagrange(1) + lagrange(2) + lagrange(3));
        }
    }

    /// The analysis of one quantum, and where the aligner is to be at the end of the next one.
    fn quantum(&mut self) {
        self.until_quantum = self.quantum_frames;
        self.tracker.quantum(&self.streams);
        let trim = self.streams.trim_frames as f64;
        // Both are read earlier by what the mixer holds back: the latency stays the delay.
        let delay_frames = self.delay_frames - self.mixer.latency_frames() as i64;
        let largest = self.aligner.largest_lag_frames(delay_frames) + trim;
        let (mut lag_frames, mut sign, mut trusted) = (self.aligner.lag_frames(), 1.0, false);
        let mut voice = self.feed.voice;
        let place_s = (self.a.count() + self.quantum_frames as i64 - delay_frames) as f64 / self.rate_hz;
        if let Some((lock, speaking)) = self.tracker.follower().at(place_s) {
            lag_frames = lock.lag_us_at_place(place_s) * 1e-6 * self.rate_hz;
            sign = lock.sign;
            trusted = lock.is_trusted();
            voice = speaking;
        }
        if self.apart && !self.controls.enabled {
            (lag_frames, sign, trusted) = (trim, 1.0, false);
        }
        self.delay_too_small = trusted && lag_frames > largest;
        self.feed.aligned = trusted && !self.delay_too_small;
        self.talker_quanta = self.talker_quanta.saturating_sub(1);
        if voice.number != self.feed.voice.number {
            self.talker_quanta = TALKER_QUANTA;
        }
        self.feed.voice = voice;
        self.feed.correlation = self.tracker.follower().confidence();
        let smallest = trim - MAX_LAG_S * self.rate_hz;
        let lag_frames = lag_frames.clamp(smallest, largest);
        let at_once = self.talker_quanta > 0;
        if self.aligner.aim(delay_frames, lag_frames, sign, self.quantum_frames, at_once) {
            self.mixer.jumped();
        }
    }

    /// The lag of B's own timeline in us, as ms of the streams as passed.
    fn passed_ms(&self, lag_us: f64) -> f64 {
        (lag_us - self.streams.trim_us()) * 1e-3
    }

    fn now_s(&self) -> f64 {
        self.b.count() as f64 / self.rate_hz
    }

    /// What the engine knows now. Audio thread.
    pub fn status(&self) -> Status {
        let lock = self.tracker.lock();
        let follower = self.tracker.follower();
        Status {
            lag_ms: lock.map_or(0.0, |l| self.passed_ms(l.filter.lag_us(self.now_s()))),
            drift_ppm: lock.map_or(0.0, |l| l.filter.drift_ppm()),
            confidence: follower.confidence(),
            weight: self.mixer.weight_of_b(),
            polarity: if lock.is_some_and(|l| l.sign < 0.0) { -1 } else { 1 },
            state: match lock {
                Some(lock) if lock.is_trusted() => {
                    let nothing = self.controls.hold || follower.silent_s() > HOLDING_AFTER_S;
                    if nothing { State::Holding } else { State::Locked }
                }
                _ => State::Searching,
            },
            latency_frames: self.latency_frames(),
            applied_lag_ms: self.passed_ms(self.aligner.lag_frames() / self.rate_hz * 1e6),
            delay_too_small: self.delay_too_small,
        }
    }

    /// Frames by which the output is later than A, for the controls given last. Audio thread.
    pub fn latency_frames(&self) -> u32 {
        let filtered = self.controls.post_filter && !self.apart;
        self.delay_frames as u32 + if filtered { self.post_filter.latency_frames() as u32 } else { 0 }
    }

    /// What was learnt, or None while nothing is. Audio thread.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let lock = self.tracker.lock().filter(|l| l.is_trusted())?;
        let levels = self.mixer.levels();
        Some(Snapshot {
            version: SNAPSHOT_VERSION,
            rate_hz: self.rate_hz,
            lag_s: self.passed_ms(lock.filter.lag_us(self.now_s())) * 1e-3,
            drift_ppm: lock.filter.drift_ppm(),
            drift_sd_ppm: lock.filter.sd()[1],
            polarity: if lock.sign < 0.0 { -1 } else { 1 },
            level_ratio: levels.level_ratio,
            noise_ratio: levels.noise_ratio,
        })
    }

    /// Starts from what another engine learnt. Audio thread.
    ///
    /// # Errors
    /// See [`Snapshot::check`]; the engine is then left as it was.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        snapshot.check(self.rate_hz)?;
        self.mixer.restore(&Levels { level_ratio: snapshot.level_ratio, noise_ratio: snapshot.noise_ratio });
        let filter = LagFilter::new(
            self.now_s(),
            snapshot.lag_s * 1e6 + self.streams.trim_us(),
            RESTORED_SD_US,
            snapshot.drift_ppm,
            snapshot.drift_sd_ppm.max(RESTORED_DRIFT_SD_PPM),
        );
        let lock = Lock::restored(filter, f32::from(snapshot.polarity));
        self.tracker.restore(lock, &self.streams);
        Ok(())
    }
}

/// Gaps up to this long are mended from what is beside them, frames.
const MENDED: i64 = 4;

fn frames(ms: f32, rate_hz: f64) -> i64 {
    (f64::from(ms) * 1e-3 * rate_hz).round() as i64
}

fn settings(controls: &Controls) -> Settings {
    Settings {
        limit_us: f64::from(controls.lag_limit_ms) * 1e3,
        threshold: f64::from(controls.threshold),
        memory: f64::from(controls.half_life_s) / NORMAL_HALF_LIFE_S,
        hold: controls.hold,
    }
}
