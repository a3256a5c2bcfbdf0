//! Reads A late and B where it holds the same sound.
//!
//! A is read a fixed delay behind its newest frame, B at the same place plus the lag. The lag glides along with the
//! drift and slews at a bounded rate to where the tracker corrects it; when it must move far, or the delay is
//! changed, the old and the new taps are crossfaded.

use crate::history::History;
use crate::interpolate::{Interpolator, TAPS};

/// A correction larger than this is crossfaded, s.
const JUMP_S: f64 = 0.0015;
/// Length of a crossfade, s.
const FADE_S: f64 = 0.016;
/// Fastest slew: 0.3 %, a tone's pitch moves by 5 cents.
const SLEW: f64 = 3e-3;
/// B is aligned only while its newest frame is this much later than the one wanted, besides half the taps, s: room
/// for a quantum of slewing and for frames that are still being mended.
pub const GUARD_S: f64 = 0.002;

/// Where both microphones are read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    delay_frames: i64,
    /// Of B's own timeline.
    lag_frames: f64,
    sign: f32,
}

/// Reads both microphones.
pub struct Aligner {
    table: Interpolator,
    rate_hz: f64,
    tap: Tap,
    old: Tap,
    fade_left: usize,
    fade_frames: usize,
    step_frames: f64,
}

impl Aligner {
    /// For streams of `rate_hz`.
    pub fn new(rate_hz: f64, delay_frames: i64) -> Self {
        let tap = Tap { delay_frames, lag_frames: 0.0, sign: 1.0 };
        Self {
            table: Interpolator::default(),
            rate_hz,
            tap,
            old: tap,
            fade_left: 0,
            fade_frames: (FADE_S * rate_hz).round() as usize,
            step_frames: 0.0,
        }
    }

    /// The lag by which B is read, frames of its own timeline.
    pub fn lag_frames(&self) -> f64 {
        self.tap.lag_frames
    }

    /// The largest lag of the streams as passed that `delay_frames` can align, frames.
    pub fn largest_lag_frames(&self, delay_frames: i64) -> f64 {
        delay_frames as f64 - TAPS as f64 / 2.0 - GUARD_S * self.rate_hz
    }

    /// Sets where to be in `frames` frames: the delay, the lag (B's own timeline) and polarity. Says whether the lag
    /// was so far off that it jumps there.
    pub fn aim(&mut self, delay_frames: i64, lag_frames: f64, sign: f32, frames: usize) -> bool {
        let off = lag_frames - self.tap.lag_frames;
        let jumps = off.abs() > JUMP_S * self.rate_hz;
        let far = jumps || sign != self.tap.sign || delay_frames != self.tap.delay_frames;
        if far && self.fade_left == 0 {
            self.old = self.tap;
            self.tap = Tap { delay_frames, lag_frames, sign };
            self.fade_left = self.fade_frames;
            self.step_frames = 0.0;
        } else {
            self.step_frames = (off / frames as f64).clamp(-SLEW, SLEW);
        }
        jumps
    }

    /// The trim has moved B's own timeline: the frames as passed stay where they are.
    pub fn newest<'a>(&mut self, a: &'a History, b: &'a History) -> (f32, f32) {
        self.tap.lag_frames += self.step_frames;
        let now = a.count() - 1;
        let (mut out_a, mut out_b) = self.read(&self.tap, now, a, b);
        if self.fade_left > 0 {
            let share = self.fade_left as f32 / self.fade_frames as f32;
            let (old_a, old_b) = self.read(&self.old, now, a, b);
            out_a += share * (old_a - out_a);
            out_b += share * (old_b - out_b);
            self.fade_left -= 1;
        }
        (out_a, out_b)
    }

    fn read(&self, tap: &Tap, now: i64, a: &History, b: &History) -> (f32, f32) {
        let place = now - tap.delay_frames;
        let whole = tap.lag_frames.floor();
        (a.at(place), tap.sign * self.table.read(b, place + whole as i64, tap.lag_frames - whole))
    }
}
