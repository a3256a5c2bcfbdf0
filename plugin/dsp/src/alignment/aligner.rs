//! Reads A late and B where it holds the same sound.
//!
//! A is read a fixed delay behind its newest frame, B at the same place plus the lag. The lag glides along with the
//! drift and slews at a bounded rate to where the tracker corrects it; when it must move far, or the delay is
//! changed, the old and the new taps are crossfaded.

use crate::alignment::fractional_delay::{Interpolator, Place, TAPS};
use crate::input::ring::History;

/// A correction larger than this is crossfaded, s.
const JUMP_S: f64 = 0.0015;
/// The same where another talker speaks, s: what is kept of the old lag is wrong.
const TALKER_JUMP_S: f64 = 0.000_05;
/// Length of a crossfade, s.
const FADE_S: f64 = 0.016;
/// Fastest slew: 0.3 %, a tone's pitch moves by 5 cents.
const SLEW: f64 = 3e-3;
/// B is aligned only while its newest frame is this much later than the one wanted, besides half the taps, s: room
/// for a quantum of slewing and for frames that are still being mended.
pub const GUARD_S: f64 = 0.002;

/// Frames read at a time, at most.
pub const CHUNK_FRAMES: usize = 64;

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

    /// Sets where to be in `frames` frames: the delay, the lag (B's own timeline) and polarity; `at_once`: another talker speaks.
    /// Says whether the lag was so far off that it jumps there.
    pub fn aim(&mut self, delay_frames: i64, lag_frames: f64, sign: f32, frames: usize, at_once: bool) -> bool {
        let off = lag_frames - self.tap.lag_frames;
        let jumps = off.abs() > if at_once { TALKER_JUMP_S } else { JUMP_S } * self.rate_hz;
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

    /// Reads both microphones, `out_a.len()` frames (at most [`CHUNK_FRAMES`]) from number `now` of A's on.
    pub fn read(&mut self, a: &History, b: &History, now: i64, out_a: &mut [f32], out_b: &mut [f32]) {
        self.tap.read(&self.table, self.step_frames, now, (a, b), (out_a, out_b));
        let fading = self.fade_left.min(out_a.len());
        if fading == 0 {
            return;
        }
        let (mut old_a, mut old_b) = ([0.0; CHUNK_FRAMES], [0.0; CHUNK_FRAMES]);
        self.old.read(&self.table, 0.0, now, (a, b), (&mut old_a[..fading], &mut old_b[..fading]));
        for i in 0..fading {
            let share = self.fade_left as f32 / self.fade_frames as f32;
            out_a[i] += share * (old_a[i] - out_a[i]);
            out_b[i] += share * (old_b[i] - out_b[i]);
            self.fade_left -= 1;
        }
    }

    /// The frames of B that are read for frame `now` of A: number of the first, and of the one behind the last. One
    /// frame more at each end is room for the slew until [`CHUNK_FRAMES`] later.
    pub fn reach_in_b(&self, now: i64) -> (i64, i64) {
        let old = if self.fade_left > 0 { &self.old } else { &self.tap };
        let [this, old] = [&self.tap, old].map(|tap| now - tap.delay_frames + tap.lag_frames.floor() as i64);
        let half = TAPS as i64 / 2;
        (this.min(old) - half, this.max(old) + half + 2)
    }
}

impl Tap {
    /// Reads from frame `now` of A's on, while the lag grows by `step_frames` each frame.
    fn read(
        &mut self,
        table: &Interpolator,
        step_frames: f64,
        now: i64,
        (a, b): (&History, &History),
        (out_a, out_b): (&mut [f32], &mut [f32]),
    ) {
        let place = now - self.delay_frames;
        a.copy(place, out_a);
        let whole = self.lag_frames.floor();
        let mut places = [Place::default(); CHUNK_FRAMES];
        for (i, at) in places[..out_b.len()].iter_mut().enumerate() {
            self.lag_frames += step_frames;
            // Slewing takes it over the next whole frame at most.
            let beyond = self.lag_frames - whole;
            let next = i64::from(beyond >= 1.0) - i64::from(beyond < 0.0);
            *at = Place { whole: place + i as i64 + whole as i64 + next, fraction: beyond - next as f64 };
        }
        table.read(b, &places[..out_b.len()], out_b);
        for x in out_b {
            *x *= self.sign;
        }
    }
}
