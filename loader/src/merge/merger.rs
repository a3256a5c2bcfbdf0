//! One link of the chain: a reference, one more channel, and the engine that merges it in.
//!
//! The signal model: the reference passes as it is, the other channel loses or gains single frames where its lag
//! would wander off, which the engine is told through `lag_trim`; the engine's latency is taken out again, so that
//! what comes out has the reference's length and timing. What it does not do: decide about latency or lag; that is
//! the caller's.

use super::recording::Channel;
use super::trace::Trace;
use driftmerge_dsp::{Controls, Engine, Snapshot, State, Status};

/// Frames passed to the engine at a time. Small, for a block may lose or gain one frame of B, and a line of the
/// trace (10 ms) must not be longer than it: 64 frames are 8 ms at 8 kHz.
pub const BLOCK_FRAMES: usize = 64;

/// How far the lag may wander from its place at the first lock before frames of B are taken out or put in, ms.
const LAG_ROOM_MS: f64 = 2.0;
/// It is brought this much nearer than it may be, ms, so that a lag at the bound is not trimmed to and fro.
const TRIM_HYSTERESIS_MS: f64 = 0.5;

/// Where a link starts from.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The controls; `delay_ms` is the latency.
    pub controls: Controls,
    /// Frames of B left out at its start (negative: silence put in front).
    pub shift_frames: i64,
    /// What is known already, in terms of the shifted B.
    pub snapshot: Option<Snapshot>,
    /// Nothing is put out late: the trace says so instead of the engine's latency.
    pub looks_ahead: bool,
}

/// A stream that can be merged with one more: a channel of a file or what a link puts out.
pub enum Stream {
    /// A recorded channel.
    Channel(Channel),
    /// A merge.
    Link(Box<Link>),
}

impl Stream {
    /// The next frames, at most [`BLOCK_FRAMES`]; none at the end.
    ///
    /// # Errors
    /// A file cannot be read, or the trace cannot be written.
    pub fn next_block(&mut self) -> anyhow::Result<&[f32]> {
        match self {
            Self::Channel(channel) => channel.next_block(BLOCK_FRAMES),
            Self::Link(link) => link.next_block(),
        }
    }

    fn frames(&self) -> u64 {
        match self {
            Self::Channel(channel) => channel.frames(),
            Self::Link(link) => link.frames,
        }
    }

    /// Calls `visit` with each link, the first of the chain first.
    pub fn each_link(&mut self, visit: &mut dyn FnMut(&mut Link)) {
        if let Self::Link(link) = self {
            link.reference.each_link(visit);
            visit(link);
        }
    }
}

/// What a link did, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Frames put out while the lag was known.
    pub locked_frames: u64,
    /// The engine's last word while the lag was known.
    pub last_locked: Option<Status>,
    /// Lag applied then, in the file's own indices, ms.
    pub file_lag_ms: f64,
    /// Frames taken out of B and put in.
    pub trims: u64,
}

/// A reference, one more channel, and their merge.
pub struct Link {
    reference: Stream,
    other: Channel,
    engine: Engine,
    controls: Controls,
    looks_ahead: bool,
    trim: Trim,
    frames: u64,
    /// Frames the engine has been given.
    passed: u64,
    latency: u64,
    other_block: [f32; BLOCK_FRAMES],
    silence: [f32; BLOCK_FRAMES],
    merged: [f32; BLOCK_FRAMES],
    /// Where lines of the trace go.
    pub trace: Option<Trace>,
    /// What was done so far.
    pub tally: Tally,
}

impl Link {
    /// Puts a link together.
    ///
    /// # Errors
    /// The engine cannot work at this rate, or B cannot be read.
    pub fn new(reference: Stream, mut other: Channel, rate_hz: u32, start: &Start) -> anyhow::Result<Self> {
        let mut engine = Engine::new(f64::from(rate_hz), 2, &start.controls)?;
        if let Some(snapshot) = &start.snapshot {
            engine.restore(1, snapshot)?;
        }
        other.shift(start.shift_frames)?;
        let frames = reference.frames();
        Ok(Self {
            reference,
            other,
            controls: start.controls,
            looks_ahead: start.looks_ahead,
            trim: Trim::new(start.shift_frames, rate_hz),
            frames,
            passed: 0,
            latency: u64::from(engine.latency_frames()),
            engine,
            other_block: [0.0; BLOCK_FRAMES],
            silence: [0.0; BLOCK_FRAMES],
            merged: [0.0; BLOCK_FRAMES],
            trace: None,
            tally: Tally::default(),
        })
    }

    /// The engine's word now.
    pub fn status(&self) -> Status {
        self.engine.status(1)
    }

    /// What was learnt, its lag in the file's own indices.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let snapshot = self.engine.snapshot(1)?;
        Some(Snapshot { lag_s: self.trim.in_file_ms(snapshot.lag_s * 1e3) * 1e-3, ..snapshot })
    }

    /// Frames the engine has been given.
    pub fn passed_frames(&self) -> u64 {
        self.passed
    }

    /// Frames by which the engine's output is later than the reference; taken out here.
    pub fn latency_frames(&self) -> u64 {
        self.latency
    }

    /// The frame of the reference that was put out last, and the lag applied to it, in the file's own indices, ms.
    pub fn applied(&self) -> Option<(u64, f64)> {
        let place = self.passed.checked_sub(1 + self.latency)?;
        Some((place, self.trim.in_file_ms(self.engine.status(1).applied_lag_ms)))
    }

    /// Merges the next block; none at the end.
    ///
    /// # Errors
    /// A file cannot be read, or the trace cannot be written.
    pub fn next_block(&mut self) -> anyhow::Result<&[f32]> {
        loop {
            if self.passed >= self.frames + self.latency {
                return Ok(&[]);
            }
            let a = match self.reference.next_block()? {
                // The end of the reference: what is still inside the engine is pushed out.
                [] => &self.silence,
                block => block,
            };
            let n = a.len();
            let trim = self.trim.wanted(&self.engine.status(1));
            if trim != 0 {
                self.tally.trims += 1;
                self.controls.lag_trim_frames[0] = self.trim.take(trim);
                self.engine.set_controls(&self.controls);
            }
            let b = &mut self.other_block[..n];
            match trim {
                1 => {
                    self.other.fill(&mut b[..1])?;
                    self.other.fill(b)?;
                }
                -1 => {
                    b[0] = 0.0;
                    self.other.fill(&mut b[1..])?;
                }
                _ => self.other.fill(b)?,
            }
            self.engine.process(&[a, b], &mut self.merged[..n]);
            self.passed += n as u64;
            self.note(n)?;
            // Of this block, what lies between the latency and the reference's length goes out.
            let end = self.passed.saturating_sub(self.latency).min(self.frames);
            let start = (self.passed - n as u64).saturating_sub(self.latency);
            if end > start {
                let late = (self.passed - self.latency - end) as usize;
                let stop = n - late;
                return Ok(&self.merged[stop - (end - start) as usize..stop]);
            }
        }
    }

    /// Counts and traces what the engine says about the block it has just done.
    fn note(&mut self, n: usize) -> anyhow::Result<()> {
        let status = self.engine.status(1);
        let Some((place, lag_ms)) = self.applied() else { return Ok(()) };
        let known = status.state != State::Searching;
        if known {
            self.tally.locked_frames += (n as u64).min(place + 1);
            // While the end is pushed out, silence goes in: that would not tell how the merge went.
            if self.passed <= self.frames {
                self.tally.last_locked = Some(status);
                self.tally.file_lag_ms = lag_ms;
            }
        }
        if let Some(trace) = &mut self.trace
            && place < self.frames
        {
            let latency = if self.looks_ahead { 0 } else { self.latency };
            trace.note(place, lag_ms, &status, latency)?;
        }
        Ok(())
    }
}

/// Keeps the lag near its place at the first lock by single frames of B.
struct Trim {
    /// Frames of the file that B is ahead of itself by: left out at the start, and taken out since.
    shift_frames: i64,
    /// Those taken out since, as the engine counts them.
    total_frames: i64,
    frame_ms: f64,
    home_ms: Option<f64>,
    active: bool,
}

impl Trim {
    fn new(shift_frames: i64, rate_hz: u32) -> Self {
        Self { shift_frames, total_frames: 0, frame_ms: 1e3 / f64::from(rate_hz), home_ms: None, active: false }
    }

    /// Frames to take out of B now: 1, 0 or -1 (put one in).
    fn wanted(&mut self, status: &Status) -> i8 {
        if status.state == State::Searching {
            return 0;
        }
        let away_ms = status.lag_ms - *self.home_ms.get_or_insert(status.lag_ms);
        let bound_ms = if self.active { LAG_ROOM_MS - TRIM_HYSTERESIS_MS } else { LAG_ROOM_MS - self.frame_ms };
        self.active = away_ms.abs() > bound_ms;
        if self.active { away_ms.signum() as i8 } else { 0 }
    }

    /// Notes that `frames` were taken out and gives the engine's running total.
    fn take(&mut self, frames: i8) -> i32 {
        self.total_frames += i64::from(frames);
        // The engine counts modulo 2^25.
        ((self.total_frames + (1 << 24)).rem_euclid(1 << 25) - (1 << 24)) as i32
    }

    /// A lag of the streams as passed, in the file's own indices.
    fn in_file_ms(&self, lag_ms: f64) -> f64 {
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
