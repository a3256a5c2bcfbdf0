//! Finds the lag, follows it, notices when it jumps, and lets it go when it was wrong.
//!
//! Searching: the correlator's winners vote for a lag. Following: see [`crate::tracking::schedule`]. This file hands out the work
//! in bounded steps, so many each quantum, counted in frames: the same for every block size.
//!
//! Lags are those of B's own timeline (see [`crate::input::timeline`]), in us; times are seconds on B's clock.

use crate::acquisition::gcc_search::{Aim, BLOCK, Correlator, Finding, HOP};
use crate::acquisition::lag_vote::{Candidate, Votes};
use crate::input::timeline::{Pair, QUANTUM};
use crate::tracking::imm_kalman::LagFilter;
use crate::tracking::lock::Lock;
use crate::tracking::schedule::Follower;

/// The correlator's memory while searching or not yet sure, and while tracking, s.
const SEARCH_MEMORY_S: f64 = 2.5;
const WATCH_MEMORY_S: f64 = 1.2;
/// A winner this near to the lag under test is the same, us.
const SAME_LAG_US: f64 = 1000.0;
/// The correlator's lag is about as old as half its memory; the drift is not known yet.
const FOUND_AGE_S: f64 = 0.3;
const FOUND_SD_US: f64 = 150.0;
const FOUND_DRIFT_SD_PPM: f64 = 300.0;
/// A block is correlated in this share of the time until the next one, 24 ms: a finding is not to be old.
const CORRELATING: (usize, usize) = (3, 8);
/// Steps of a hop's work at most: three for the frame, four to watch for jumps, two to measure and a search over 29
/// drifts.
const STEPS_PER_HOP: usize = 80;

/// What the controls ask of the tracker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Largest lag searched, us.
    pub limit_us: f64,
    /// Correlation below which a measurement is not used.
    pub threshold: f64,
    /// Memory of the correlation against the default.
    pub memory: f64,
    /// Measure nothing.
    pub hold: bool,
}

/// Follows the lag.
pub struct Tracker {
    correlator: Correlator,
    follower: Follower,
    votes: Votes,
    settings: Settings,
    /// Trim in whole frames of the correlator at the last block, and what it adds to that block's lags.
    trim_coarse: i64,
    block_trim_us: f64,
    /// The first frame of A that the correlator may use.
    first_block: i64,
    /// Steps of the follower and of the correlator in each quantum.
    steps: [usize; 2],
}

impl Tracker {
    /// For the given streams.
    pub fn new(streams: &Pair<'_>, settings: Settings) -> Self {
        let rates = &streams.rates;
        let correlator = Correlator::new(rates.coarse_hz, 1.0);
        let follower = Follower::new(streams);
        let hop_quanta = follower.hop() / QUANTUM;
        let steps = [STEPS_PER_HOP.div_ceil(hop_quanta), 0];
        let mut tracker = Self {
            correlator,
            follower,
            votes: Votes::default(),
            settings,
            trim_coarse: 0,
            block_trim_us: 0.0,
            first_block: 0,
            steps,
        };
        tracker.apply(settings);
        tracker
    }

    /// Takes new settings.
    pub fn set(&mut self, settings: Settings) {
        if settings != self.settings {
            self.apply(settings);
        }
    }

    fn apply(&mut self, settings: Settings) {
        self.settings = settings;
        self.correlator.set_limit_us(settings.limit_us);
        self.follower.set(settings.threshold, settings.memory);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.correlator.clear();
        self.follower.unlock();
        self.votes = Votes::default();
    }

    /// Starts from a lag and drift known from before. The sound so far says nothing of them.
    pub fn restore(&mut self, lock: Lock, streams: &Pair<'_>) {
        self.correlator.clear();
        self.votes = Votes::default();
        let count = streams.a.coarse.count();
        // With each block of A two of B are looked at.
        self.first_block = if count > 0 { count + BLOCK as i64 } else { 0 };
        self.follower.begin_anew(streams);
        self.follower.lock_on(lock, streams);
    }

    /// The lock in use.
    pub fn lock(&self) -> Option<&Lock> {
        self.follower.current()
    }

    /// What the follower knows besides.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// Does the work of one quantum, [`QUANTUM`] frames after the last.
    pub fn quantum(&mut self, streams: &Pair<'_>) {
        if self.settings.hold {
            return;
        }
        let count = streams.a.fine.count();
        if count % (HOP * streams.rates.coarse_factor) as i64 == 0 {
            while self.correlator.is_busy() {
                self.correlate(streams);
            }
            self.begin_block(streams);
        }
        for _ in 0..self.steps[0] {
            self.follower.begin(streams);
            self.follow(streams);
        }
        for _ in 0..self.steps[1] {
            self.correlate(streams);
        }
    }

    fn follow(&mut self, streams: &Pair<'_>) {
        if self.follower.step(streams).is_some() {
            // The correlator's sums belong to the old place.
            self.correlator.forget(0.1);
        }
    }

    fn begin_block(&mut self, streams: &Pair<'_>) {
        let trim = streams.trim_coarse();
        let moved = trim - self.trim_coarse;
        self.trim_coarse = trim;
        self.block_trim_us = trim as f64 / streams.rates.coarse_hz * 1e6;
        let start = streams.a.coarse.count() - BLOCK as i64;
        if start < self.first_block {
            return;
        }
        let (aim, memory_s) = match self.lock() {
            Some(lock) if lock.is_trusted() => {
                let lag_us = lock.filter.lag_us(Self::now_s(streams)) - self.block_trim_us;
                let aim = Aim::Watch { drift_ppm: lock.filter.drift_ppm(), lag_us };
                (aim, if lock.sure { WATCH_MEMORY_S } else { SEARCH_MEMORY_S })
            }
            _ => (Aim::Search, SEARCH_MEMORY_S),
        };
        self.correlator.begin(aim, start, start + trim, moved, memory_s * self.settings.memory.clamp(0.5, 2.0));
        let quanta = HOP * streams.rates.coarse_factor / QUANTUM;
        self.steps[1] = self.correlator.steps().div_ceil(quanta * CORRELATING.0 / CORRELATING.1);
    }

    /// Now, on B's clock.
    fn now_s(streams: &Pair<'_>) -> f64 {
        streams.b.fine.count() as f64 / streams.rates.fine_hz + streams.fine_start_s()
    }

    fn correlate(&mut self, streams: &Pair<'_>) {
        let Some(finding) = self.correlator.step(&streams.a.coarse, &streams.b.coarse) else { return };
        let now_s = Self::now_s(streams);
        match finding {
            Finding::Search { .. } => {
                if let Some(found) = self.votes.take(now_s, &finding, self.block_trim_us) {
                    self.try_out(&found, now_s, streams);
                }
            }
            Finding::Watch { here, elsewhere } => {
                let lag_us = elsewhere.lag_us + self.block_trim_us;
                self.follower.watch_far(now_s, here, &elsewhere, lag_us);
            }
        }
    }

    /// Puts a found lag to the test, unless it is under test already or the present one does well.
    fn try_out(&mut self, found: &Candidate, now_s: f64, streams: &Pair<'_>) {
        if let Some(lock) = self.follower.current_mut()
            && (lock.is_trusted() || (lock.filter.lag_us(now_s) - found.lag_us).abs() < SAME_LAG_US)
        {
            lock.sure |= found.sure;
            lock.clear_votes = if found.clear { found.votes } else { 0 };
            return;
        }
        // Where B is early, the newest aligned sound is older by that.
        let time_s = now_s + (found.lag_us - self.block_trim_us).min(0.0) * 1e-6 - FOUND_AGE_S;
        let filter = LagFilter::new(time_s, found.lag_us, FOUND_SD_US, 0.0, FOUND_DRIFT_SD_PPM);
        self.follower.lock_on(Lock::new(filter, found.sign, found.sure), streams);
    }
}
