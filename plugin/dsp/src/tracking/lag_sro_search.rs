//! Lag and drift at once, from what the last seconds brought.
//!
//! Right after a lock the drift is unknown: a sum over seconds smears unless it is turned on by the right drift. So
//! the cross spectra of the last intervals are kept, each with the lag it was aligned by, and summed up for a grid of
//! drifts; the highest peak over drift and lag wins. Neighbouring bins are summed in eights: within 2 ms of the lag
//! tracked, that loses less than 3 %.

use crate::analysis::delay_estimate::{Measurement, OVERLAP_FACTOR, energy, measure};
use crate::analysis::spectrum::{Band, Transform};
use crate::tracking::imm_kalman::LagFilter;
use realfft::num_complex::Complex32;

/// Bins summed into one.
const GROUP: usize = 8;
/// Intervals kept.
const KEPT: usize = 32;

/// A grid of drifts to try over the last seconds.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// The newest time, s.
    pub time_s: f64,
    /// How far back, s.
    pub span_s: f64,
    /// Drifts on each side of the one tracked.
    pub side: i32,
    /// From one to the next, ppm.
    pub step_ppm: f64,
    /// Preference for small corrections: loss of height for each step of drift.
    pub penalty: f64,
    /// Standard deviation of a drift that was known before, ppm; infinite: none was.
    pub known_sd_ppm: f64,
}

/// The best lag and drift of a grid, against those tracked.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// Height in standard deviations.
    pub z: f32,
    /// Height at the drift and lag tracked.
    pub reference: f32,
    /// Drift, ppm, against the one tracked.
    pub drift_ppm: f64,
    /// The lag's measurement at the grid's time.
    pub lag: Measurement,
    /// Intervals that were summed up.
    pub intervals: usize,
    /// Height without the two intervals that say most for it: what chance alike sounds in two talkers' words lack.
    pub rest_z: f32,
}

struct Interval {
    time_s: f64,
    lag_us: f64,
    energy: f32,
    bins: Vec<Complex32>,
}

/// The kept intervals and the search over them.
pub struct PullIn {
    rate_hz: f64,
    band: Band,
    transform: Transform,
    kept: Vec<Interval>,
    count: usize,
    newest: usize,
    sum: Vec<Complex32>,
    best_sum: Vec<Complex32>,
    correlation: Vec<f32>,
    reach: usize,
    grid: Grid,
    next: i32,
    energy: f32,
    used: usize,
    reference: f32,
    best: Option<(f64, f32, f64, i32)>,
}

/// Lag is searched this far either way, us.
const REACH_US: f64 = 900.0;
/// What a drift that was known before can say against another one, as the square of a height: it may have been another
/// device's.
const KNOWN_LIMIT: f64 = 16.0;
/// Preference for small corrections of the lag: loss of height for each microsecond.
const LAG_PENALTY: f64 = 1.5e-4;

impl PullIn {
    /// For sums over `band` of frames of `len` at `rate_hz`.
    pub fn new(rate_hz: f64, len: usize, band: &Band) -> Self {
        let first = band.first / GROUP;
        let last = (band.first + band.len - 1 + GROUP / 2) / GROUP;
        // A group is centred half a bin below its number.
        let grouped = Band { first, len: last - first + 1, step_rad_per_us: band.step_rad_per_us * GROUP as f64 };
        let interval = || Interval { time_s: 0.0, lag_us: 0.0, energy: 0.0, bins: grouped.zeros() };
        Self {
            rate_hz,
            band: grouped,
            transform: Transform::new(len / GROUP),
            kept: (0..KEPT).map(|_| interval()).collect(),
            count: 0,
            newest: 0,
            sum: grouped.zeros(),
            best_sum: grouped.zeros(),
            correlation: vec![0.0; len / GROUP],
            reach: (REACH_US * 1e-6 * rate_hz).ceil() as usize,
            grid: Grid { time_s: 0.0, span_s: 0.0, side: 0, step_ppm: 0.0, penalty: 0.0, known_sd_ppm: f64::INFINITY },
            next: 0,
            energy: 0.0,
            used: 0,
            reference: 0.0,
            best: None,
        }
    }

    /// Forgets the intervals.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Keeps the sum of an interval about `time_s` that was aligned by `lag_us`.
    pub fn keep(&mut self, time_s: f64, lag_us: f64, first: usize, sum: &[Complex32]) {
        self.newest = (self.newest + 1) % KEPT;
        self.count = (self.count + 1).min(KEPT);
        let slot = &mut self.kept[self.newest];
        slot.time_s = time_s;
        slot.lag_us = lag_us;
        slot.energy = energy(sum);
        slot.bins.fill(Complex32::default());
        for (k, z) in sum.iter().enumerate() {
            let group = (first + k + GROUP / 2) / GROUP - self.band.first;
            if let Some(g) = slot.bins.get_mut(group) {
                *g += z;
            }
        }
    }

    /// The grid searched last.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Starts a search.
    pub fn begin(&mut self, grid: Grid) {
        self.grid = grid;
        self.next = -grid.side;
        self.best = None;
        self.reference = 0.0;
        self.energy = 0.0;
        self.used = 0;
    }

    /// Tries the next drift; gives the best when all are tried. None of the intervals in reach: z is 0.
    pub fn step(&mut self, filter: &LagFilter, sign: f32) -> Option<Best> {
        let drift_ppm = f64::from(self.next) * self.grid.step_ppm;
        let mut sum = std::mem::take(&mut self.sum);
        sum.fill(Complex32::default());
        let (mut energy, mut used) = (0.0, 0);
        for q in self.in_reach() {
            self.band.phasors(self.shift_us(q, filter, drift_ppm), |k, p| sum[k] += q.bins[k] * p);
            energy += q.energy;
            used += 1;
        }
        self.sum = sum;
        (self.energy, self.used) = (energy, used);
        self.transform.inverse(self.band.first, &self.sum, &mut self.correlation);
        let scale = sign / ((2.0 * self.energy * OVERLAP_FACTOR as f32).sqrt() + 1e-9);
        let len = self.correlation.len();
        let (mut at, mut top) = (0i64, f32::NEG_INFINITY);
        for k in -(self.reach as i64)..=self.reach as i64 {
            let z = self.correlation[k.rem_euclid(len as i64) as usize] * scale;
            if z > top {
                (at, top) = (k, z);
            }
            if self.next == 0 && k.abs() <= 1 {
                self.reference = self.reference.max(z);
            }
        }
        let lag_us = at as f64 * 1e6 / self.rate_hz;
        let lag_penalty = if self.grid.penalty > 0.0 { LAG_PENALTY * lag_us.abs() } else { 0.0 };
        let against_known = (drift_ppm / self.grid.known_sd_ppm).powi(2).min(KNOWN_LIMIT);
        let height = (f64::from(top).powi(2) - against_known).max(0.0).sqrt();
        let score = height * (1.0 - self.grid.penalty * f64::from(self.next.abs()) - lag_penalty);
        if self.best.is_none_or(|b| score > b.0) {
            self.best = Some((score, top, lag_us, self.next));
            self.best_sum.copy_from_slice(&self.sum);
        }
        self.next += 1;
        if self.next <= self.grid.side {
            return None;
        }
        let (_, z, lag_us, step) = self.best?;
        let drift_ppm = f64::from(step) * self.grid.step_ppm;
        let lag = measure(&self.band, &self.best_sum, sign, lag_us);
        Some(Best {
            z,
            reference: self.reference,
            drift_ppm,
            lag,
            intervals: self.used,
            // Of two intervals nothing is left but rounding.
            rest_z: if self.used > 2 { self.rest_z(filter, sign, drift_ppm, lag.error_us) } else { 0.0 },
        })
    }

    /// Height at a drift and lag without the two strongest intervals.
    fn rest_z(&self, filter: &LagFilter, sign: f32, drift_ppm: f64, lag_us: f64) -> f32 {
        let (mut sum, mut energy) = (0.0, 0.0);
        let mut strongest = [(0.0f32, 0.0f32); 2];
        for q in self.in_reach() {
            let mut real = 0.0;
            self.band.phasors(self.shift_us(q, filter, drift_ppm) + lag_us, |k, p| real += (q.bins[k] * p).re);
            real *= sign;
            sum += real;
            energy += q.energy;
            if real > strongest[0].0 {
                strongest = [(real, q.energy), strongest[0]];
            } else if real > strongest[1].0 {
                strongest[1] = (real, q.energy);
            }
        }
        for (real, e) in strongest {
            sum -= real;
            energy -= e;
        }
        2.0 * sum / ((2.0 * energy.max(0.0) * OVERLAP_FACTOR as f32).sqrt() + 1e-9)
    }

    fn in_reach(&self) -> impl Iterator<Item = &Interval> {
        let oldest_s = self.grid.time_s - self.grid.span_s;
        (0..self.count).map(|i| &self.kept[(self.newest + KEPT - i) % KEPT]).filter(move |q| q.time_s > oldest_s)
    }

    /// How far an interval must be moved to stand at the lag tracked, had the drift been other by `drift_ppm`.
    fn shift_us(&self, q: &Interval, filter: &LagFilter, drift_ppm: f64) -> f64 {
        filter.lag_us(q.time_s) - q.lag_us + drift_ppm * (q.time_s - self.grid.time_s)
    }
}
