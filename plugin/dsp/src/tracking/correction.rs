//! From what an interval added up to, to a corrected lag and drift.
//!
//! While pulling in: a search over drift and lag. After that: the interval's sum is measured at its peak, a small
//! search over drift watches for a server's steps of the rate, and the filter takes the measurement.

use crate::analysis::averages::Sums;
use crate::analysis::delay_estimate::{Measurement, measure, peaks};
use crate::tracking::lag_sro_search::{Best, Grid};
use crate::tracking::lock::Lock;
use crate::tracking::schedule::{EDGE, Follower, Stage, Times};
use realfft::num_complex::Complex32;

/// Observations of an interval: 128 ms while pulling in, then 256 ms.
const PULL_IN_INTERVAL: u32 = 4;
const INTERVAL: u32 = 8;
/// A measurement that stays too weak gives up after this many observations.
const LONGEST_INTERVAL: u32 = 64;
/// A measurement this many standard deviations off is not believed at first.
const GATE: f64 = 5.0;
/// Measurement noise that is always there, us^2.
const FLOOR_US2: f64 = 1.0;
/// Below this height over the sum's own energy, reflections bend the peak, the same way for seconds: the variance, which takes
/// measurements for independent, counts for more by the square of what is missing, standard deviations.
const REVERBERANT_Z: f64 = 8.0;
/// Measurements of less evidence than this, or less sure than this, wait for more sound.
const LEAST_EVIDENCE: f64 = 5.6;
const LARGEST_VARIANCE: f64 = 300.0 * 300.0;
/// Another peak this near to the one tracked, us, and so many times as high is the right one, if its evidence is this: where
/// there is a peak at the lag tracked, and where there is none.
const SIDE_PEAK_US: f64 = 190.0;
const SIDE_PEAK_RATIO: f64 = 1.15;
const SIDE_PEAK_EVIDENCE: (f64, f64) = (9.0, 6.0);
/// The pull-in looks back this far at least and at most, s.
const PULL_IN_SPAN_S: (f64, f64) = (0.4, 4.0);
/// Drifts tried on each side, fewest and most: over a short span two steps reach 550 ppm, and more would only find what a break
/// in the streams looks like.
const PULL_IN_SIDE: (i32, i32) = (2, 14);
/// The small search: how far back (s), drifts on each side, their step (ppm).
const WIDE_SPAN_S: f64 = 1.6;
const WIDE_SIDE: i32 = 2;
const WIDE_STEP_PPM: f64 = 45.0;

/// How much an interval says for a lag measured in it, in standard deviations of what unrelated sounds would give.
/// Against the sum's own energy a reverberant sound never gets far, for its reflections are as lasting as the peak.
fn evidence(m: &Measurement, sums: &Sums) -> f64 {
    m.real / f64::from(sums.interval_energy).max(1e-30).sqrt()
}

impl Follower {
    /// Does the next step of a measurement.
    pub(crate) fn correct(&mut self) {
        let Some(lock) = &self.lock else {
            self.stage = Stage::Idle;
            return;
        };
        match self.stage {
            Stage::Measure => self.begin_measurement(),
            Stage::SidePeak => self.side_peak(),
            Stage::Widen | Stage::PullIn => {
                if let Some(best) = self.pull_in.step(&lock.filter, lock.sign) {
                    if self.stage == Stage::Widen { self.widen(&best) } else { self.pull(&best) }
                }
            }
            _ => self.update(),
        }
    }

    fn begin_measurement(&mut self) {
        self.stage = Stage::Idle;
        let Some(lock) = &self.lock else { return };
        let pulling = lock.is_pulling_in();
        if self.increment.count < if pulling { PULL_IN_INTERVAL } else { INTERVAL } {
            return;
        }
        let time_s = self.increment.mean_s();
        self.interval.sum_s += self.increment.sum_s;
        self.interval.count += self.increment.count;
        self.increment = Times::default();
        if self.increment_active {
            let band = self.observer.band();
            self.pull_in.keep(time_s, lock.filter.lag_us(time_s), band.first, &self.sums.increment);
            self.sums.increment.fill(Complex32::default());
            self.increment_active = false;
        }
        if self.sums.interval_weight <= 0.0 || self.behind {
            return self.end(false);
        }
        if pulling {
            let span_s = (time_s - lock.pull_in_since_s() + 0.3).clamp(PULL_IN_SPAN_S.0, PULL_IN_SPAN_S.1);
            let step_ppm = 110.0 / span_s;
            let side = ((330.0 / step_ppm).ceil() as i32).clamp(PULL_IN_SIDE.0, PULL_IN_SIDE.1);
            let known_sd_ppm = lock.known_drift_sd_ppm().unwrap_or(f64::INFINITY);
            self.pull_in.begin(Grid { time_s, span_s, side, step_ppm, penalty: 0.02, known_sd_ppm });
            self.stage = Stage::PullIn;
        } else {
            self.measured = Some(measure(&self.observer.band(), &self.sums.interval, lock.sign, 0.0));
            self.stage = Stage::SidePeak;
        }
    }

    /// The lag tracked has been moved by `moved_us`.
    fn rotate(&mut self, moved_us: f64) {
        self.sums.rotate(moved_us);
    }

    /// Ends a measurement; a weak one goes on with more sound, for a while.
    fn end(&mut self, good: bool) {
        if good || self.interval.count >= LONGEST_INTERVAL {
            self.sums.clear_interval();
            self.interval = Times::default();
        }
        self.stage = Stage::Idle;
    }

    fn pull(&mut self, best: &Best) {
        let Some(lock) = &mut self.lock else { return };
        if !lock.is_trusted() {
            // The sum over the longest time, as it is aligned now.
            self.observer.correlation(&self.sums.long, &mut self.correlation);
            let p = peaks(&self.correlation, f32::abs, 1.0, self.rate_hz, EDGE);
            lock.judge(best, self.confidence, p.here / p.elsewhere.max(1e-9));
        }
        if lock.is_corrected_by(best) {
            let moved_us = lock.pull_in(best, self.pull_in.grid());
            self.rotate(moved_us);
        }
        self.end(true);
    }

    fn side_peak(&mut self) {
        let (Some(Lock { sign, .. }), Some(measured)) = (self.lock, self.measured) else { return };
        self.observer.correlation(&self.sums.interval, &mut self.correlation);
        let side_us = self.us(self.highest_near(sign, SIDE_PEAK_US).0);
        if side_us.abs() > 60.0 {
            let other = measure(&self.observer.band(), &self.sums.interval, sign, side_us);
            let least = if measured.real > 0.0 { SIDE_PEAK_EVIDENCE.0 } else { SIDE_PEAK_EVIDENCE.1 };
            if evidence(&other, &self.sums) > least && other.real > SIDE_PEAK_RATIO * measured.real {
                self.measured = Some(other);
            }
        }
        let time_s = self.interval.mean_s();
        let (side, step_ppm) = (WIDE_SIDE, WIDE_STEP_PPM);
        let known_sd_ppm = f64::INFINITY;
        let grid = Grid { time_s, span_s: WIDE_SPAN_S, side, step_ppm, penalty: 0.0, known_sd_ppm };
        self.pull_in.begin(grid);
        self.stage = Stage::Widen;
    }

    fn widen(&mut self, best: &Best) {
        let Some(lock) = &mut self.lock else { return };
        self.stage = Stage::Update;
        let off = best.lag.error_us.abs() > 60.0 || best.drift_ppm != 0.0;
        if !(best.z > 7.5 && best.z > 1.25 * best.reference && off) {
            lock.wide = (0, 0.0);
            return;
        }
        let again = lock.wide.0 > 0 && (best.lag.error_us - lock.wide.1).abs() < 100.0;
        lock.wide = (if again { lock.wide.0 + 1 } else { 1 }, best.lag.error_us);
        if lock.wide.0 >= 2 {
            let time_s = self.interval.mean_s();
            let before_us = lock.filter.lag_us(time_s);
            lock.filter.advance(time_s);
            lock.filter.shift(best.lag.error_us, 40.0, best.drift_ppm, 40.0);
            lock.wide = (0, 0.0);
            let moved_us = lock.filter.lag_us(time_s) - before_us;
            self.rotate(moved_us);
            self.end(true);
        }
    }

    fn update(&mut self) {
        let (Some(lock), Some(m)) = (&mut self.lock, self.measured.take()) else { return self.end(true) };
        let correlation = m.real / f64::from(self.sums.interval_weight);
        if evidence(&m, &self.sums) < LEAST_EVIDENCE || m.variance > LARGEST_VARIANCE || correlation < self.threshold {
            return self.end(false);
        }
        let time_s = self.interval.mean_s();
        let before_us = lock.filter.lag_us(time_s);
        let lasting = (REVERBERANT_Z / m.z.max(1.0)).max(1.0).powi(2);
        let (lag_us, variance) = (before_us + m.error_us, m.variance * lasting + FLOOR_US2);
        lock.filter.advance(time_s);
        let update = lock.filter.update(lag_us, variance, Some(GATE));
        if update.used {
            lock.accepted(time_s);
        } else {
            lock.refuse(time_s, lag_us, variance, m.z, update.innovation_us);
        }
        let moved_us = lock.filter.lag_us(time_s) - before_us;
        self.rotate(moved_us);
        self.end(true);
    }
}
