//! From the correlator's winners to a lock.
//!
//! One outstanding peak is enough; a weaker one must win again and again at the same lag.

use crate::acquisition::gcc_search::{DRIFTS_PPM, Finding};

/// A lag worth following.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Lag, us of B's own timeline.
    pub lag_us: f64,
    /// Polarity.
    pub sign: f32,
    /// An outstanding peak.
    pub sure: bool,
    /// A clear peak.
    pub clear: bool,
    /// Wins among the last [`KEPT`] blocks.
    pub votes: usize,
}

/// Winners remembered, of a block each 64 ms.
pub const KEPT: usize = 20;

/// The last winners: time (s) and lag (us).
#[derive(Clone, Copy, Debug, Default)]
pub struct Votes {
    cast: [(f64, f64); KEPT],
    count: usize,
}

/// Winners this near to the newest, moved on by its drift, are votes for it, us.
const SAME_US: f64 = 300.0;

/// A clear peak: this many standard deviations high, and this much higher than the next.
const CLEAR_Z: f32 = 6.5;
const CLEAR_RATIO: f32 = 1.25;

impl Votes {
    /// Takes the newest block's finding, with what the trim adds to its lag.
    pub fn take(&mut self, time_s: f64, finding: &Finding, trim_us: f64) -> Option<Candidate> {
        let Finding::Search { best, ratio, drift } = finding else { return None };
        let lag_us = best.lag_us + trim_us;
        self.cast[self.count % KEPT] = (time_s, lag_us);
        self.count += 1;
        let drift_ppm = DRIFTS_PPM[*drift];
        let near = |&&(t, lag): &&(f64, f64)| (lag + drift_ppm * (time_s - t) - lag_us).abs() < SAME_US;
        let votes = self.cast[..self.count.min(KEPT)].iter().filter(near).count();
        let sure = best.z > 9.0 && *ratio > 1.35 && votes >= 2;
        let likely = best.z > 6.0 && (*ratio > 1.2 && votes >= 5 || *ratio > 1.1 && votes >= 11);
        let persistent = best.z > 5.0 && votes >= 15;
        (sure || likely || persistent).then_some(Candidate {
            lag_us,
            sign: best.sign,
            sure,
            clear: best.z > CLEAR_Z && *ratio > CLEAR_RATIO,
            votes,
        })
    }
}
