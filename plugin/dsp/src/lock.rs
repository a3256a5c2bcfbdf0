//! A lock: the lag in use, and how far it is to be believed.

use crate::jumps::{Jump, Reason};
use crate::kalman::LagFilter;
use crate::pull_in::{Best, Grid};

/// Searches over drift that must agree before the pull-in ends.
const AGREEMENTS: u32 = 3;
/// A search over drift agrees if it moves the lag by less than this, us.
const AGREED_US: f64 = 70.0;
/// Searches over less than this do not know the drift well enough to agree, s.
const AGREED_SPAN_S: f64 = 0.8;
/// Drift of a clock at most, ppm.
const MAX_DRIFT_PPM: f64 = 1200.0;
/// Sound without a good measurement after which a lock is dropped, s: before it is trusted, and after.
const PROVISIONAL_PATIENCE_S: f64 = 4.0;
const PATIENCE_S: f64 = 10.0;

/// The lock in use.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Lag and drift.
    pub filter: LagFilter,
    /// Polarity.
    pub sign: f32,
    /// Confirmed by an outstanding peak of the correlator.
    pub sure: bool,
    /// Searches over drift still to agree; 0: pulled in.
    agreements_left: u32,
    pull_in_since_s: f64,
    /// Largest standard deviation of the drift that the pull-in leaves, ppm.
    drift_sd_limit_ppm: f64,
    /// Time of the last measurement used, s.
    measured_s: f64,
    /// Sound since the last good measurement, s.
    pub(crate) unmeasured_s: f64,
    /// Measurements refused in a row, strong ones counted thrice.
    refused: u32,
    /// How often in a row the small search over drift proposed the same correction, and that correction, us.
    pub(crate) wide: (u32, f64),
}

impl Lock {
    /// A lock on the state of a filter.
    pub fn new(filter: LagFilter, sign: f32, sure: bool) -> Self {
        Self {
            filter,
            sign,
            sure,
            agreements_left: AGREEMENTS,
            pull_in_since_s: filter.time_s() + 0.3,
            drift_sd_limit_ppm: 400.0,
            measured_s: filter.time_s(),
            unmeasured_s: 0.0,
            refused: 0,
            wide: (0, 0.0),
        }
    }

    /// Lag and drift are pulled in, or the correlator is beyond doubt: B may be heard.
    pub fn is_trusted(&self) -> bool {
        self.sure || self.agreements_left == 0
    }

    /// The drift is still searched for.
    pub fn is_pulling_in(&self) -> bool {
        self.agreements_left > 0
    }

    /// Time since which the drift is searched for, s.
    pub fn pull_in_since_s(&self) -> f64 {
        self.pull_in_since_s
    }

    /// Sound comes and nothing of it fits: the lock was wrong, or has become so.
    pub fn is_hopeless(&self) -> bool {
        self.unmeasured_s > if self.is_trusted() { PATIENCE_S } else { PROVISIONAL_PATIENCE_S }
    }

    /// Takes the result of a search over drift and lag; gives how far the lag was moved, us.
    pub(crate) fn pull_in(&mut self, best: &Best, grid: &Grid) -> f64 {
        let error_us = best.lag.error_us;
        let lag_us = self.filter.lag_us(grid.time_s) + error_us;
        let drift_ppm = (self.filter.drift_ppm() + best.drift_ppm).clamp(-MAX_DRIFT_PPM, MAX_DRIFT_PPM);
        let drift_sd_ppm = (grid.step_ppm * 0.5).min(self.drift_sd_limit_ppm).max(15.0);
        let lag_sd_us = 30.0 + best.lag.variance.sqrt().min(100.0);
        self.filter = LagFilter::new(grid.time_s, lag_us, lag_sd_us, drift_ppm, drift_sd_ppm);
        let agrees = error_us.abs() < AGREED_US && best.drift_ppm.abs() <= grid.step_ppm * 1.01;
        if agrees && grid.span_s >= AGREED_SPAN_S {
            self.agreements_left -= 1;
        }
        self.accepted(grid.time_s);
        error_us
    }

    /// A measurement was used.
    pub(crate) fn accepted(&mut self, time_s: f64) {
        self.refused = 0;
        self.measured_s = time_s;
        self.unmeasured_s = 0.0;
    }

    /// A measurement lay beyond the gate: when that goes on, the filter is opened, and a strong one is taken.
    pub(crate) fn refuse(&mut self, time_s: f64, lag_us: f64, variance: f64, z: f64, innovation_us: f64) {
        let strong = z >= 10.0;
        self.refused += if strong { 3 } else { 1 };
        if self.refused < 3 {
            return;
        }
        let since_s = (time_s - self.measured_s).max(0.3);
        self.filter.shift(0.0, innovation_us, 0.0, (innovation_us.abs() / since_s).min(80.0));
        self.refused = 0;
        if strong {
            self.filter.update(lag_us, variance, None);
            self.accepted(time_s);
        }
    }

    /// The sound has jumped: the lag moves, the drift stays.
    pub(crate) fn jump(&mut self, jump: &Jump, time_s: f64) {
        self.filter.shift(jump.shift_us, 150.0, 0.0, 2.0);
        self.wide = (0, 0.0);
        self.measured_s = time_s;
        self.refused = 0;
        self.sign = jump.sign;
        if jump.reason == Reason::Far || self.is_pulling_in() {
            self.agreements_left = AGREEMENTS;
            self.pull_in_since_s = time_s;
            self.drift_sd_limit_ppm = 40.0;
        }
    }
}

impl Lock {
    /// The lag of the sound that A holds `place_s` after its start, us. B holds it by that lag later, and the drift
    /// goes on until then: lag = x + d (place + lag - t), solved for the lag.
    pub fn lag_us_at_place(&self, place_s: f64) -> f64 {
        self.filter.lag_us(place_s) / (1.0 - self.filter.drift_ppm() * 1e-6)
    }
}
