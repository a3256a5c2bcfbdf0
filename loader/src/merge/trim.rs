//! Keeps the lag of a recorded channel near its place at the first lock, by single frames taken out or put in.

use driftmerge_dsp::{State, Status};

/// How far the lag may wander from its place at the first lock, ms.
const LAG_ROOM_MS: f64 = 2.0;
/// It is brought this much nearer than it may be, ms, so that a lag at the bound is not trimmed to and fro.
const TRIM_HYSTERESIS_MS: f64 = 0.5;

/// The trims of one channel.
pub struct Trim {
    /// Frames of the file that the channel is ahead of itself by: left out at the start, and taken out since.
    shift_frames: i64,
    /// Those taken out since, as the engine counts them.
    total_frames: i64,
    frame_ms: f64,
    home_ms: Option<f64>,
    active: bool,
}

impl Trim {
    /// For a channel of which `shift_frames` were left out at its start.
    pub fn new(shift_frames: i64, rate_hz: u32) -> Self {
        Self { shift_frames, total_frames: 0, frame_ms: 1e3 / f64::from(rate_hz), home_ms: None, active: false }
    }

    /// Frames to take out of the channel now: 1, 0 or -1 (put one in).
    pub fn wanted(&mut self, status: &Status) -> i8 {
        if status.state == State::Searching {
            return 0;
        }
        let away_ms = status.lag_ms - *self.home_ms.get_or_insert(status.lag_ms);
        let bound_ms = if self.active { LAG_ROOM_MS - TRIM_HYSTERESIS_MS } else { LAG_ROOM_MS - self.frame_ms };
        self.active = away_ms.abs() > bound_ms;
        if self.active { away_ms.signum() as i8 } else { 0 }
    }

    /// Notes that `frames` were taken out and gives the engine's running total.
    pub fn take(&mut self, frames: i8) -> i32 {
        self.total_frames += i64::from(frames);
        // The engine counts modulo 2^25.
        ((self.total_frames + (1 << 24)).rem_euclid(1 << 25) - (1 << 24)) as i32
    }

    /// A lag of the streams as passed, in the file's own indices.
    pub fn in_file_ms(&self, lag_ms: f64) -> f64 {
        lag_ms + (self.shift_frames + self.total_frames) as f64 * self.frame_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(lag_ms: f64) -> Status {
        Status { lag_ms, state: State::Locked, ..Status::default() }
    }

    #[test]
    fn trim_keeps_a_drifting_lag_within_two_ms_and_the_files_lag_stays_true() {
        let rate_hz = 16_000;
        let mut trim = Trim::new(0, rate_hz);
        for block in 0..100_000 {
            // 300 ppm and a jump of 23 ms half way
            let true_ms = 5.0 + f64::from(block) * 4.0 * 300e-6 + if block > 50_000 { 23.0 } else { 0.0 };
            let passed_ms = true_ms - trim.in_file_ms(0.0);
            if !(50_000..50_500).contains(&block) {
                assert!((passed_ms - 5.0).abs() <= LAG_ROOM_MS, "block {block}: {passed_ms} ms");
            }
            let wanted = trim.wanted(&locked(passed_ms));
            trim.take(wanted);
            assert!((trim.in_file_ms(passed_ms - f64::from(wanted) * 0.0625) - true_ms).abs() < 1e-9);
        }
    }

    #[test]
    fn the_running_total_wraps_as_the_engine_counts() {
        let mut trim = Trim::new(0, 48_000);
        trim.total_frames = (1 << 24) - 2;
        assert_eq!(trim.take(1), (1 << 24) - 1);
        assert_eq!(trim.take(1), -(1 << 24));
    }
}
