//! A lock: the lag in use, and how far it is to be believed.

use crate::tracking::imm_kalman::LagFilter;
use crate::tracking::jump_detector::{LagCause, LagEvent};
use crate::tracking::lag_sro_search::{Best, Grid};

/// Searches over drift that must agree before the pull-in ends.
const AGREEMENTS: u32 = 3;
/// A search over drift agrees if it moves the lag by less than this, us.
const AGREED_US: f64 = 70.0;
/// Searches over less than this do not know the drift well enough to agree, s.
const AGREED_SPAN_S: f64 = 0.8;
/// A strong peak, standard deviations: in many intervals or near a lag known before, and in one or two.
const STRONG_Z: (f32, f32) = (6.0, 8.0);
/// A peak that needs not last, where the correlator has an outstanding one as well: standard deviations, and how many times
/// as high as any other. (384 unrelated pairs stayed below 10.3 with 2.0, or 9.3 with 2.6.)
const OUTSTANDING: (f32, f32) = (11.0, 2.25);
/// A fair peak of the aligned frames: standard deviations, and normalised correlation. (40 pairs of different talkers
/// stayed below 4.2, but where both said the same recorded words.)
const FAIR_Z: f32 = 4.0;
const FAIR_CORRELATION: f32 = 0.06;
/// Intervals (of 128 ms) in which a fair peak corrects a lock that is trusted.
const FAIR_INTERVALS: usize = 12;
/// A lag is distinct if its peak is this much higher than any other.
const DISTINCT: f32 = 1.25;
/// Wins of the correlator after which a lag is distinct, though reflections may blur the aligned frames.
const STEADY_VOTES: usize = 11;
const MANY_VOTES: usize = 15;
/// Height that must be left without the two strongest intervals: of a strong peak, and of a fair one.
const LASTING_Z: (f32, f32) = (3.0, 1.7);
/// Drift of a clock at most, ppm.
const MAX_DRIFT_PPM: f64 = 1200.0;
/// Sound without a good measurement after which a lock is dropped, s: before it is trusted; and after, when it is as
/// long as there was sound that fitted, between two bounds.
const PROVISIONAL_PATIENCE_S: f64 = 4.0;
const PATIENCE_S: (f64, f64) = (3.0, 10.0);
/// The lock in use.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Lag and drift.
    pub filter: LagFilter,
    /// Polarity.
    pub sign: f32,
    /// Confirmed by an outstanding peak of the correlator.
    pub sure: bool,
    /// Wins of the correlator's peak here among its last blocks, while it is clear.
    pub(crate) clear_votes: usize,
    /// A search over drift and lag has found a clear peak in the aligned frames.
    confirmed: bool,
    /// Searches in a row that found a fair peak where the correlator has a clear one.
    fair: u32,
    /// Searches over drift still to agree; 0: pulled in.
    agreements_left: u32,
    pull_in_since_s: f64,
    /// Largest standard deviation of the drift that the pull-in leaves, ppm.
    drift_sd_limit_ppm: f64,
    /// Standard deviation of a drift that was known before, ppm, until the sound speaks against it.
    known_drift_sd_ppm: Option<f64>,
    /// Time of the last measurement used, s.
    measured_s: f64,
    /// Sound since the last good measurement, s.
    pub(crate) unmeasured_s: f64,
    /// Sound that fitted, s.
    measured_for_s: f64,
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
            clear_votes: 0,
            confirmed: false,
            fair: 0,
            agreements_left: AGREEMENTS,
            pull_in_since_s: filter.time_s() + 0.3,
            drift_sd_limit_ppm: 400.0,
            known_drift_sd_ppm: None,
            measured_s: filter.time_s(),
            unmeasured_s: 0.0,
            measured_for_s: 0.0,
            refused: 0,
            wide: (0, 0.0),
        }
    }

    /// A lock on a lag and a drift that were known before.
    pub fn restored(filter: LagFilter, sign: f32) -> Self {
        Self { known_drift_sd_ppm: Some(filter.sd()[1]), ..Self::new(filter, sign, false) }
    }

    /// Standard deviation of a drift that was known before, ppm.
    pub(crate) fn known_drift_sd_ppm(&self) -> Option<f64> {
        self.known_drift_sd_ppm
    }

    /// It goes back to what was known before, and the sound has not spoken against the drift.
    pub fn is_restored(&self) -> bool {
        self.known_drift_sd_ppm.is_some()
    }

    /// Lag and drift are pulled in, or the correlator is beyond doubt: B may be heard.
    pub fn is_trusted(&self) -> bool {
        self.confirmed
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
        let patience_s = if self.is_trusted() { self.measured_for_s } else { PROVISIONAL_PATIENCE_S };
        self.unmeasured_s > patience_s.clamp(PATIENCE_S.0, PATIENCE_S.1)
    }

    /// A peak that is hardly ever chance.
    fn is_strong(&self, best: &Best) -> bool {
        best.z >= if best.intervals > 2 || self.is_as_known(best) { STRONG_Z.0 } else { STRONG_Z.1 }
    }

    /// Lag and drift are those known before: no accident.
    fn is_as_known(&self, best: &Best) -> bool {
        self.is_restored() && best.drift_ppm == 0.0
    }

    /// What a search over drift and lag found is good enough to correct the lag.
    pub(crate) fn is_corrected_by(&self, best: &Best) -> bool {
        let fair = best.z > FAIR_Z && best.intervals >= FAIR_INTERVALS && self.is_trusted();
        self.is_strong(best) || fair
    }

    /// Weighs what a search over drift and lag found in the aligned frames; `ratio`: how many times as high as at any other
    /// lag.
    pub(crate) fn judge(&mut self, best: &Best, correlation: f32, ratio: f32) {
        let outstanding = self.sure && best.z > OUTSTANDING.0 && ratio > OUTSTANDING.1;
        let distinct = ratio > DISTINCT;
        let steady = self.clear_votes >= STEADY_VOTES;
        let lasting = best.rest_z > LASTING_Z.0 || self.is_as_known(best);
        let strong = self.is_strong(best) && lasting && (distinct || steady);
        let fair = best.z > FAIR_Z && correlation > FAIR_CORRELATION && best.rest_z > LASTING_Z.1 && steady;
        self.fair = if fair { self.fair + 1 } else { 0 };
        self.confirmed |= strong || outstanding || self.fair >= 2 || (fair && self.clear_votes >= MANY_VOTES);
    }

    /// Takes the result of a search over drift and lag; gives how far the lag was moved, us.
    pub(crate) fn pull_in(&mut self, best: &Best, grid: &Grid) -> f64 {
        let error_us = best.lag.error_us;
        let lag_us = self.filter.lag_us(grid.time_s) + error_us;
        let drift_ppm = (self.filter.drift_ppm() + best.drift_ppm).clamp(-MAX_DRIFT_PPM, MAX_DRIFT_PPM);
        self.known_drift_sd_ppm = self.known_drift_sd_ppm.filter(|_| best.drift_ppm == 0.0);
        let searched_sd_ppm = (grid.step_ppm * 0.5).min(self.drift_sd_limit_ppm).max(15.0);
        let drift_sd_ppm = self.known_drift_sd_ppm.unwrap_or(searched_sd_ppm);
        let lag_sd_us = 30.0 + best.lag.variance.sqrt().min(100.0);
        self.filter = LagFilter::new(grid.time_s, lag_us, lag_sd_us, drift_ppm, drift_sd_ppm);
        let agrees = error_us.abs() < AGREED_US && best.drift_ppm.abs() <= grid.step_ppm * 1.01;
        if agrees && (grid.span_s >= AGREED_SPAN_S || self.known_drift_sd_ppm.is_some()) {
            self.agreements_left = self.agreements_left.saturating_sub(1).max(u32::from(!self.confirmed));
        }
        self.accepted(grid.time_s);
        error_us
    }

    /// A measurement was used.
    pub(crate) fn accepted(&mut self, time_s: f64) {
        self.refused = 0;
        self.measured_s = time_s;
        self.measured_for_s += self.unmeasured_s.min(1.0);
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
    pub(crate) fn jump(&mut self, event: &LagEvent, time_s: f64) {
        self.filter.shift(event.shift_us, 150.0, 0.0, 2.0);
        self.wide = (0, 0.0);
        self.measured_s = time_s;
        self.refused = 0;
        self.sign = event.sign;
        if event.cause == LagCause::Far || self.is_pulling_in() {
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
