//! Both microphones at the analysis rate and at the correlator's, B on one unbroken timeline.
//!
//! The host may take frames out of B or put some in to keep the counts equal (`lag_trim`). Here B is put back on its
//! own timeline: missing frames are filled, added ones dropped. So the analysis sees one clean ramp of the lag, and
//! only what is told to the outside counts the trim.

use crate::input::decimator::Decimator;
use crate::input::ring::History;

/// Frames of analysis between two pieces of analysis work: 4 ms at 16 kHz.
pub const QUANTUM: usize = 64;
/// The analysis rate is at most this, Hz: above, voices have nothing that would sharpen the lag.
const MAX_RATE_HZ: f64 = 24_000.0;
/// Analysis rates below this are correlated as they are.
const MIN_HALVED_HZ: f64 = 12_000.0;
/// Lags of up to this can be held, s (the largest limit and what drift and jumps may add).
pub const MAX_LAG_S: f64 = 1.1;
/// Longest window that the analysis reads, frames.
const GUARD: usize = 2048;

/// One microphone at both lower rates.
pub struct Stream {
    decimator: Decimator,
    halver: Decimator,
    /// At the analysis rate.
    pub fine: History,
    /// At the correlator's rate.
    pub coarse: History,
}

impl Stream {
    /// For a stream of these rates.
    pub fn new(rates: &Rates) -> Self {
        let frames = |rate: f64| (2.0 * MAX_LAG_S * rate) as usize + 2 * GUARD;
        Self {
            decimator: Decimator::new(rates.fine_factor),
            halver: Decimator::new(rates.coarse_factor),
            fine: History::new(frames(rates.fine_hz), GUARD),
            coarse: History::new(frames(rates.coarse_hz), GUARD),
        }
    }

    /// Takes frames at the full rate.
    pub fn extend(&mut self, frames: &[f32]) {
        let Self { decimator, halver, fine, coarse } = self;
        decimator.pass(frames, |kept| {
            fine.extend(kept);
            halver.pass(kept, |kept| coarse.extend(kept));
        });
    }

    /// Takes `frames` frames of silence at once. The rest below one frame of the correlator goes through the filters.
    pub fn skip(&mut self, frames: i64, rates: &Rates) {
        let (fine, coarse) = (rates.fine_factor as i64, rates.coarse_factor as i64);
        let blocks = frames / (fine * coarse);
        self.coarse.skip(blocks);
        self.fine.skip(blocks * coarse);
        for _ in 0..frames % (fine * coarse) {
            self.extend(&[0.0]);
        }
    }
}

/// The rates that belong to a stream's rate.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Of the streams, Hz.
    pub full_hz: f64,
    /// Of the analysis, Hz.
    pub fine_hz: f64,
    /// Of the correlator, Hz.
    pub coarse_hz: f64,
    /// Full rate over analysis rate.
    pub fine_factor: usize,
    /// Analysis rate over the correlator's.
    pub coarse_factor: usize,
    /// Frames of an aligned pair: about 128 ms.
    pub frame: usize,
}

impl Rates {
    /// For streams of `full_hz`.
    pub fn new(full_hz: f64) -> Self {
        let fine_factor = (full_hz / MAX_RATE_HZ).ceil().max(1.0) as usize;
        // 16 kHz where that divides evenly: nothing above helps with voices.
        let fine_factor = if (full_hz / 16_000.0).fract() == 0.0 { (full_hz / 16_000.0) as usize } else { fine_factor };
        let fine_hz = full_hz / fine_factor as f64;
        let coarse_factor = if fine_hz < MIN_HALVED_HZ { 1 } else { 2 };
        Self {
            full_hz,
            fine_hz,
            coarse_hz: fine_hz / coarse_factor as f64,
            fine_factor,
            coarse_factor,
            frame: if fine_hz < MIN_HALVED_HZ { GUARD / 2 } else { GUARD },
        }
    }
}

/// A microphone against the reference, as the tracker sees them.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The rates.
    pub rates: Rates,
    /// The reference, A.
    pub a: &'a Stream,
    /// The other one, on its own timeline.
    pub b: &'a Stream,
    /// Frames of B that the host has dropped, at the full rate.
    pub trim_frames: i64,
}

impl Pair<'_> {
    /// Seconds on a stream's own clock of frame 0 of its analysis rate.
    pub fn fine_start_s(&self) -> f64 {
        self.a.decimator.offset_frames() / self.rates.full_hz
    }

    /// What the trim adds to the lag as it is passed to get that of B's own timeline, us.
    pub fn trim_us(&self) -> f64 {
        self.trim_frames as f64 / self.rates.full_hz * 1e6
    }

    /// The trim in whole frames of the correlator.
    pub fn trim_coarse(&self) -> i64 {
        self.trim_frames.div_euclid((self.rates.fine_factor * self.rates.coarse_factor) as i64)
    }
}
