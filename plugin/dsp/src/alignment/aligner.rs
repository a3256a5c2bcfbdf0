//! Reads each microphone where it holds the same sound.
//!
//! The reference is read a fixed delay behind its newest frame, every other microphone at the same place plus its lag. The lag
//! glides along with the drift and slews at a bounded rate to where the tracker corrects it; when it must move far, or
//! the delay is changed, the old and the new taps are crossfaded.

use crate::alignment::fractional_delay::{Interpolator, Place, TAPS};
use crate::input::ring::History;

/// A correction larger than this is crossfaded, s.
const JUMP_S: f64 = 0.0015;
/// Length of a crossfade, s.
const FADE_S: f64 = 0.016;
/// Fastest slew: 0.3 %, a tone's pitch moves by 5 cents.
const SLEW: f64 = 3e-3;
/// A microphone is aligned only while its newest frame is this much later than the one wanted, besides half the taps, s: room
/// for a quantum of slewing and for frames that are still being mended.
pub const GUARD_S: f64 = 0.002;

/// Frames read at a time, at most.
pub const CHUNK_FRAMES: usize = 64;

/// Where a microphone is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Behind the newest frame of the reference.
    pub delay_frames: i64,
    /// On the microphone's own timeline.
    pub lag_frames: f64,
    /// Polarity.
    pub sign: f32,
}

/// What an aligner does at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The lag jumps.
    pub jumps: bool,
    /// The polarity changes.
    pub inverts: bool,
}

/// Reads one microphone.
pub struct Aligner {
    rate_hz: f64,
    tap: Tap,
    old: Tap,
    fade_left: usize,
    fade_frames: usize,
    step_frames: f64,
}

/// The largest lag of the streams as passed that `delay_frames` can align, frames.
pub fn largest_lag_frames(delay_frames: i64, rate_hz: f64) -> f64 {
    delay_frames as f64 - TAPS as f64 / 2.0 - GUARD_S * rate_hz
}

impl Aligner {
    /// For a stream of `rate_hz`.
    pub fn new(rate_hz: f64, delay_frames: i64) -> Self {
        let tap = Tap { delay_frames, lag_frames: 0.0, sign: 1.0 };
        Self {
            rate_hz,
            tap,
            old: tap,
            fade_left: 0,
            fade_frames: (FADE_S * rate_hz).round() as usize,
            step_frames: 0.0,
        }
    }

    /// The lag by which the microphone is read, frames of its own timeline.
    pub fn lag_frames(&self) -> f64 {
        self.tap.lag_frames
    }

    /// Sets where to be in `frames` frames, and gives what does not slew there.
    pub fn aim(&mut self, tap: Tap, frames: usize) -> Change {
        let off = tap.lag_frames - self.tap.lag_frames;
        let jumps = off.abs() > JUMP_S * self.rate_hz;
        let far = jumps || tap.sign != self.tap.sign || tap.delay_frames != self.tap.delay_frames;
        if far && self.fade_left == 0 {
            self.old = self.tap;
            self.tap = tap;
            self.fade_left = self.fade_frames;
            self.step_frames = 0.0;
            return Change { jumps, inverts: self.tap.sign != self.old.sign };
        }
        self.step_frames = (off / frames as f64).clamp(-SLEW, SLEW);
        Change::default()
    }

    /// Reads `out.len()` frames (at most [`CHUNK_FRAMES`]) from number `now` of the reference's on.
    pub fn read(&mut self, table: &Interpolator, ring: &History, now: i64, out: &mut [f32]) {
        self.tap.read(table, self.step_frames, now, ring, out);
        let fading = self.fade_left.min(out.len());
        if fading == 0 {
            return;
        }
        let mut old = [0.0; CHUNK_FRAMES];
        self.old.read(table, 0.0, now, ring, &mut old[..fading]);
        for (out, old) in out.iter_mut().zip(&old[..fading]) {
            let share = self.fade_left as f32 / self.fade_frames as f32;
            *out += share * (old - *out);
            self.fade_left -= 1;
        }
    }

    /// The frames that are read for frame `now` of the reference: number of the first, and of the one behind the last. One
    /// frame more at each end is room for the slew until [`CHUNK_FRAMES`] later.
    pub fn reach(&self, now: i64) -> (i64, i64) {
        let old = if self.fade_left > 0 { &self.old } else { &self.tap };
        let [this, old] = [&self.tap, old].map(|tap| now - tap.delay_frames + tap.lag_frames.floor() as i64);
        let half = TAPS as i64 / 2;
        (this.min(old) - half, this.max(old) + half + 2)
    }
}

impl Tap {
    /// Reads from frame `now` of the reference's on, while the lag grows by `step_frames` each frame.
    fn read(&mut self, table: &Interpolator, step_frames: f64, now: i64, ring: &History, out: &mut [f32]) {
        let place = now - self.delay_frames;
        let whole = self.lag_frames.floor();
        if step_frames == 0.0 && whole == self.lag_frames {
            ring.copy(place + whole as i64, out);
        } else {
            let mut places = [Place::default(); CHUNK_FRAMES];
            for (i, at) in places[..out.len()].iter_mut().enumerate() {
                self.lag_frames += step_frames;
                // Slewing takes it over the next whole frame at most.
                let beyond = self.lag_frames - whole;
                let next = i64::from(beyond >= 1.0) - i64::from(beyond < 0.0);
                *at = Place { whole: place + i as i64 + whole as i64 + next, fraction: beyond - next as f64 };
            }
            table.read(ring, &places[..out.len()], out);
        }
        if self.sign < 0.0 {
            for x in out {
                *x = -*x;
            }
        }
    }
}
