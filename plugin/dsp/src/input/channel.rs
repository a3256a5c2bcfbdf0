//! One microphone: its frames at the full rate and at those of the analysis, on one unbroken timeline.
//!
//! A host that keeps the counts of its microphones equal drops frames of one or inserts some, and reports the running
//! total (`lag_trim`). Here the channel is put back on its own timeline: dropped frames are filled, inserted ones
//! skipped. So the analysis sees one clean ramp of the lag, and only what is reported outside counts the trim.

use crate::alignment::fractional_delay::TAPS;
use crate::input::ring::History;
use crate::input::timeline::{MAX_LAG_S, Pair, Rates, Stream};

/// Gaps up to this long are filled frame by frame, frames; longer ones at once.
const SHORT_GAP: i64 = 4096;
/// Gaps up to this long are mended from what is beside them, frames.
const MENDED: i64 = 4;
/// The trim is counted modulo this, frames: a host may go on from one end of the port's range at the other.
const TRIM_MODULUS: i64 = 1 << 25;
/// Frames sanitised at a time.
const PIECE: usize = 64;
/// The largest sample taken for sound: 20 dB above full scale, as a host with head room may pass. What is beyond is no sound and
/// counts as silence, as infinity and NaN do.
const LARGEST: f32 = 10.0;

/// A gap that is to be bridged: number of its first frame, and its length.
#[derive(Clone, Copy, Debug)]
struct Gap {
    first: i64,
    len: i64,
}

/// One microphone's frames.
pub struct Channel {
    /// At the full rate.
    pub full: History,
    /// At the rates of the analysis.
    pub stream: Stream,
    /// Frames that the host has dropped, at the full rate.
    pub trim_frames: i64,
    /// The host's running total at the last change.
    total_frames: i64,
    /// Frames still to be skipped, because the host has inserted them.
    inserted: i64,
    gap: Option<Gap>,
}

impl Channel {
    /// For a stream of these rates.
    pub fn new(rates: &Rates) -> Self {
        let held = (2.0 * MAX_LAG_S * rates.full_hz) as usize + 2 * TAPS;
        Self {
            full: History::new(held, TAPS),
            stream: Stream::new(rates),
            trim_frames: 0,
            total_frames: 0,
            inserted: 0,
            gap: None,
        }
    }

    /// This channel against the reference `a`, as the tracker sees them.
    pub fn against<'a>(&'a self, a: &'a Self, rates: &Rates) -> Pair<'a> {
        Pair { rates: *rates, a: &a.stream, b: &self.stream, trim_frames: self.trim_frames }
    }

    /// Takes frames in.
    pub fn extend(&mut self, frames: &[f32]) {
        for frames in frames.chunks(PIECE) {
            let skipped = self.inserted.min(frames.len() as i64);
            self.inserted -= skipped;
            let mut sound = [0.0; PIECE];
            for (s, x) in sound.iter_mut().zip(&frames[skipped as usize..]) {
                *s = if x.abs() <= LARGEST { *x } else { 0.0 };
            }
            self.append(&sound[..frames.len() - skipped as usize]);
        }
    }

    fn append(&mut self, frames: &[f32]) {
        self.full.extend(frames);
        self.stream.extend(frames);
        self.mend();
    }

    /// Takes the host's running total of dropped frames; a change takes effect before the next frame.
    pub fn set_total_trim(&mut self, total_frames: i64, rates: &Rates) {
        let half = TRIM_MODULUS / 2;
        let change = (total_frames - self.total_frames + half).rem_euclid(TRIM_MODULUS) - half;
        self.total_frames = total_frames;
        self.trim_frames += change;
        if change < 0 {
            self.inserted -= change;
            return;
        }
        let kept = self.inserted.min(change);
        self.inserted -= kept;
        let missing = change - kept;
        if missing > SHORT_GAP {
            self.full.skip(missing);
            self.stream.skip(missing, rates);
            return;
        }
        let first = self.full.count();
        let last = self.full.at(first - 1);
        for _ in 0..missing {
            // A gap of a frame or two is bridged and mended; a longer one is silence.
            self.append(&[if missing <= MENDED { last } else { 0.0 }]);
        }
        if missing > 0 && missing <= MENDED {
            self.gap = Some(Gap { first, len: missing });
        }
    }

    /// `count` frames may be taken in before the frames from `first` to before `end` are read: they are there already, are
    /// still there then and are not about to be mended.
    pub fn may_take(&self, count: usize, (first, end): (i64, i64)) -> bool {
        let skipped = self.inserted.min(count as i64);
        let taken = self.full.count();
        self.gap.is_none() && end <= taken + 1 - skipped && first >= taken + count as i64 - self.full.held()
    }

    /// Bridges a gap by the cubic through the two frames on each side, once they are there.
    fn mend(&mut self) {
        let Some(Gap { first, len }) = self.gap else { return };
        if self.full.count() < first + len + 2 {
            return;
        }
        self.gap = None;
        let full = &mut self.full;
        let span = (len + 1) as f32;
        let y = [full.at(first - 2), full.at(first - 1), full.at(first + len), full.at(first + len + 1)];
        let x = [-1.0, 0.0, span, span + 1.0];
        for k in 0..len {
            let at = (k + 1) as f32;
            let lagrange = |i: usize| -> f32 {
                (0..4).filter(|&j| j != i).map(|j| (at - x[j]) / (x[i] - x[j])).product::<f32>() * y[i]
            };
            full.set(first + k, lagrange(0) + lagrange(1) + lagrange(2) + lagrange(3));
        }
    }
}
