//! Follows a lag once it is known: observe, sum up, watch for jumps; [`crate::tracking::correction`] measures and corrects.
//!
//! Aligned frames give cross spectra, summed up over several lengths of time and turned on with every correction of
//! the lag, so that long sums stay sharp. All of it in bounded steps, at most one transform each.

use crate::acquisition::gcc_search::Peak;
use crate::analysis::averages::Sums;
use crate::analysis::cross_spectrum::Observer;
use crate::analysis::delay_estimate::{Measurement, energy};
use crate::input::timeline::{MAX_LAG_S, Pair};
use crate::tracking::jump_detector::{JumpDetector, LagCause, LagEvent};
use crate::tracking::lag_sro_search::PullIn;
use crate::tracking::lock::Lock;

/// An observation counts when its weight is at least this share of the strongest of the last seconds.
const ACTIVE_SHARE: f32 = 0.1;
const STRONGEST_MEMORY_S: f64 = 5.0;
/// Weight of an observation, for each bin, up to which it is noise, and from which it says of a lag that it is wrong where it does not fit.
/// (White noise: 0.05 to 0.07 whatever its level; a fan: 0.1; speech at 0, 10, 20 dB: 0.11, 0.3, 0.8 in the middle.)
const LEAST_WEIGHT: f32 = 0.08;
const TELLING_WEIGHT: f32 = 0.15;
/// A new lock is tried on the sound of this long before it, s.
const REPLAY_S: f64 = 0.6;
/// While this many observations behind, sound is only summed up.
const BEHIND_HOPS: i64 = 4;
/// Lags within this of the largest that a frame can show are left to the correlator, frames.
pub(crate) const EDGE: usize = 200;

/// What the work of a hop does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Idle,
    FrameA,
    FrameB,
    Cross,
    LookShort,
    Measure,
    SidePeak,
    Widen,
    Update,
    PullIn,
}

/// Times of the observations of an interval: their sum and number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) sum_s: f64,
    pub(crate) count: u32,
}

impl Times {
    pub(crate) fn mean_s(&self) -> f64 {
        self.sum_s / f64::from(self.count.max(1))
    }
}

/// Follows a lock.
pub struct Follower {
    pub(crate) observer: Observer,
    pub(crate) pull_in: PullIn,
    pub(crate) sums: Sums,
    jumps: JumpDetector,
    pub(crate) lock: Option<Lock>,
    pub(crate) stage: Stage,
    pub(crate) rate_hz: f64,
    start_s: f64,
    hop_s: f64,
    /// A's count of frames of analysis at the end of the next observation.
    next_count: i64,
    /// The sound before the lock is still being gone through.
    pub(crate) behind: bool,
    /// The first frames of A and of B that say anything of the lag.
    first_frame: [i64; 2],
    frame_start: [i64; 2],
    pub(crate) frame_time_s: f64,
    fraction_us: f64,
    strongest: f32,
    /// Sound has come since the last look for jumps; and since the last measurement.
    fresh: bool,
    pub(crate) increment_active: bool,
    pub(crate) increment: Times,
    pub(crate) interval: Times,
    pub(crate) measured: Option<Measurement>,
    pub(crate) correlation: Vec<f32>,
    pub(crate) threshold: f64,
    silent_s: f64,
    pub(crate) confidence: f32,
}

impl Follower {
    /// For the given streams.
    pub fn new(streams: &Pair<'_>) -> Self {
        let rates = &streams.rates;
        let observer = Observer::new(rates.fine_hz, rates.frame);
        let band = observer.band();
        let hop_s = observer.hop() as f64 / rates.fine_hz;
        Self {
            pull_in: PullIn::new(rates.fine_hz, rates.frame, &band),
            sums: Sums::new(band, hop_s),
            jumps: JumpDetector::default(),
            lock: None,
            stage: Stage::Idle,
            rate_hz: rates.fine_hz,
            start_s: streams.fine_start_s(),
            hop_s,
            next_count: 0,
            behind: false,
            first_frame: [0; 2],
            frame_start: [0; 2],
            frame_time_s: 0.0,
            fraction_us: 0.0,
            strongest: 0.0,
            fresh: false,
            increment_active: false,
            increment: Times::default(),
            interval: Times::default(),
            measured: None,
            correlation: vec![0.0; rates.frame],
            threshold: 0.0,
            silent_s: 0.0,
            confidence: 0.0,
            observer,
        }
    }

    /// Frames of analysis from one observation to the next.
    pub fn hop(&self) -> usize {
        self.observer.hop()
    }

    /// Sets the correlation below which a measurement is not used, and stretches the memory.
    pub fn set(&mut self, threshold: f64, memory: f64) {
        self.threshold = threshold;
        self.sums.set_memory(memory);
    }

    /// The lock.
    pub fn current(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    /// The lock, to note what else is known of it.
    pub(crate) fn current_mut(&mut self) -> Option<&mut Lock> {
        self.lock.as_mut()
    }

    /// Normalised correlation at the lag in use, 0 to 1.
    pub fn confidence(&self) -> f32 {
        self.confidence
    }

    /// Seconds since there was something to measure.
    pub fn silent_s(&self) -> f64 {
        self.silent_s
    }

    /// The sound so far says nothing of the lag that is to be followed.
    pub fn begin_anew(&mut self, streams: &Pair<'_>) {
        self.first_frame = [streams.a.fine.count(), streams.b.fine.count()];
    }

    /// Follows a new lock. The sound of the last second is gone through first, as fast as the steps allow.
    pub fn lock_on(&mut self, lock: Lock, streams: &Pair<'_>) {
        let hop = self.hop() as i64;
        let back = (REPLAY_S / self.hop_s) as i64 * hop;
        self.next_count = streams.a.fine.count() / hop * hop - back;
        self.lock = Some(lock);
        self.jumps = JumpDetector::default();
        self.sums.clear();
        self.pull_in.clear();
        self.begin_interval();
        self.silent_s = 0.0;
        self.stage = Stage::Idle;
    }

    /// Lets the lock go.
    pub fn unlock(&mut self) {
        self.lock = None;
        self.stage = Stage::Idle;
        self.confidence = 0.0;
    }

    pub(crate) fn begin_interval(&mut self) {
        self.increment = Times::default();
        self.increment_active = false;
        self.interval = Times::default();
    }

    /// True while a hop's work goes on.
    pub fn is_busy(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// Starts the work on the next aligned pair of frames, where it is there and the last one is done.
    pub fn begin(&mut self, streams: &Pair<'_>) {
        let [a_count, b_count] = [streams.a.fine.count(), streams.b.fine.count()];
        let Some(lock) = &self.lock else { return };
        let age = a_count - self.next_count;
        if age < 0 || self.is_busy() {
            return;
        }
        let len = self.observer.len() as i64;
        let time_of = |b_start: i64| (b_start as f64 + len as f64 / 2.0) / self.rate_hz + self.start_s;
        let newest_us = lock.filter.lag_us(time_of(b_count - age - len));
        if (newest_us - streams.trim_us()).abs() > MAX_LAG_S * 1e6 {
            self.unlock();
            return;
        }
        self.behind = age >= BEHIND_HOPS * self.hop() as i64;
        self.next_count += self.hop() as i64;
        let shift = (newest_us * 1e-6 * self.rate_hz).round() as i64;
        let b_start = (a_count + shift).min(b_count) - age - len;
        let a_start = b_start - shift;
        if a_start < self.first_frame[0] || b_start < self.first_frame[1] {
            return;
        }
        self.frame_start = [a_start, b_start];
        self.frame_time_s = time_of(b_start);
        self.fraction_us = lock.filter.lag_us(self.frame_time_s) - shift as f64 * 1e6 / self.rate_hz;
        self.stage = Stage::FrameA;
    }

    /// Does the next bounded piece of work; gives a jump when one was made.
    pub fn step(&mut self, streams: &Pair<'_>) -> Option<LagEvent> {
        match self.stage {
            Stage::Idle => {}
            Stage::FrameA => {
                self.observer.transform(0, &streams.a.fine, self.frame_start[0]);
                self.stage = Stage::FrameB;
            }
            Stage::FrameB => {
                self.observer.transform(1, &streams.b.fine, self.frame_start[1]);
                self.stage = Stage::Cross;
            }
            Stage::Cross => self.cross(),
            Stage::LookShort => {
                self.observer.correlation(&self.sums.short, &mut self.correlation);
                self.update_confidence();
                self.stage = Stage::Measure;
                return self.look(energy(&self.sums.short));
            }
            _ => self.correct(),
        }
        None
    }

    /// Adds the observation just made to the sums, where there is sound in it.
    fn cross(&mut self) {
        let bins = self.sums.short.len() as f32;
        let heard = self.observer.observe(self.fraction_us);
        let weight = heard.weight;
        let fade = (-self.hop_s / STRONGEST_MEMORY_S).exp() as f32;
        self.strongest = weight.max(self.strongest * fade);
        self.increment.sum_s += self.frame_time_s;
        self.increment.count += 1;
        let active = weight > (ACTIVE_SHARE * self.strongest).max(LEAST_WEIGHT * bins);
        let telling = active && weight > TELLING_WEIGHT * bins;
        if active {
            self.sums.add(heard.cross, weight);
            self.fresh = true;
            self.increment_active = true;
        }
        self.silent_s = if active { 0.0 } else { self.silent_s + self.hop_s };
        let Some(lock) = &mut self.lock else { return };
        lock.unmeasured_s += if telling { self.hop_s } else { 0.0 };
        if lock.is_hopeless() {
            self.unlock();
            return;
        }
        self.stage = if self.increment.count.is_multiple_of(2) && self.fresh && !self.behind {
            self.fresh = false;
            Stage::LookShort
        } else {
            Stage::Measure
        };
    }

    /// Looks whether the sound is elsewhere in the correlation just made.
    fn look(&mut self, energy: f32) -> Option<LagEvent> {
        let event = self.jumps.look(&self.correlation, energy, self.rate_hz, EDGE)?;
        self.jump(event)
    }

    /// Moves the lag.
    fn jump(&mut self, event: LagEvent) -> Option<LagEvent> {
        self.lock.as_mut()?.jump(&event, self.frame_time_s);
        self.jumps = JumpDetector::default();
        self.pull_in.clear();
        self.begin_interval();
        if event.cause == LagCause::Far {
            self.sums.clear();
        } else {
            self.sums.jump(event.shift_us);
        }
        self.stage = Stage::Idle;
        Some(event)
    }

    /// Where the correlation is highest for polarity `sign` within `reach_us` of the lag tracked, frames from there; and how high.
    pub(crate) fn highest_near(&self, sign: f32, reach_us: f64) -> (i64, f32) {
        let reach = (reach_us * 1e-6 * self.rate_hz).ceil() as i64;
        let len = self.correlation.len() as i64;
        let height = |k: i64| sign * self.correlation[k.rem_euclid(len) as usize];
        let at = (-reach..=reach).max_by(|&i, &j| height(i).total_cmp(&height(j))).unwrap_or(0);
        (at, height(at))
    }

    pub(crate) fn us(&self, frames: i64) -> f64 {
        frames as f64 * 1e6 / self.rate_hz
    }

    pub(crate) fn sign(&self) -> f32 {
        self.lock.map_or(1.0, |lock| lock.sign)
    }

    fn update_confidence(&mut self) {
        if self.sums.middle_weight <= 0.0 {
            return;
        }
        let real: f32 = self.sums.middle.iter().map(|z| z.re).sum();
        self.confidence = (self.sign() * real / (self.sums.middle_weight + 1e-9)).clamp(0.0, 1.0);
    }

    /// Looks at what the correlator sees at the lag tracked and elsewhere.
    pub fn watch_far(&mut self, now_s: f64, here: f32, elsewhere: &Peak, lag_us: f64) -> Option<LagEvent> {
        let lock = self.lock.as_mut()?;
        if here > 9.0 && here > 1.35 * elsewhere.z {
            lock.sure = true;
        }
        let shift_us = lag_us - lock.filter.lag_us(now_s);
        let event = self.jumps.far(here, elsewhere, shift_us, lock.sure)?;
        self.jump(event)
    }
}
