//! All channels of a recording and the one engine that merges them.
//!
//! The reference passes as it is. Every other channel loses or gains single frames where its lag would wander off, which
//! the engine is told through `lag_trim`. The engine's latency is taken out again, so that what comes out has the
//! reference's length and timing. What it does not do: decide about latency or lag; that is the caller's.

use super::recording::Channel;
use super::trace::Trace;
use super::trim::Trim;
use driftmerge_dsp::params::MAX_OTHERS;
use driftmerge_dsp::{Controls, Engine, Snapshot, State, Status};

/// Frames passed to the engine at a time. Small, for a block may lose or gain one frame of a channel, and a line of the
/// trace (10 ms) must not be longer than it: 64 frames are 8 ms at 8 kHz.
pub const BLOCK_FRAMES: usize = 64;

/// Where the merge starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The controls; `delay_ms` is the latency.
    pub controls: Controls,
    /// What is known of each channel after the reference; channels beyond the list start from nothing.
    pub others: Vec<Known>,
    /// Nothing is put out late: the trace says so instead of the engine's latency.
    pub looks_ahead: bool,
}

/// What is known of a channel before its first frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Frames left out at its start (negative: silence put in front).
    pub shift_frames: i64,
    /// Lag and drift, in terms of the shifted channel.
    pub snapshot: Option<Snapshot>,
}

impl Start {
    /// A start that knows nothing.
    pub fn cold(controls: Controls) -> Self {
        Self { controls, others: Vec::new(), looks_ahead: false }
    }
}

/// What was done with a channel, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Frames put out while the lag was known.
    pub locked_frames: u64,
    /// The engine's last word while the lag was known.
    pub last_locked: Option<Status>,
    /// Lag applied then, in the file's own indices, ms.
    pub file_lag_ms: f64,
    /// Frames taken out and put in.
    pub trims: u64,
}

/// A channel that is aligned to the reference.
struct Other {
    channel: Channel,
    trim: Trim,
    tally: Tally,
    block: [f32; BLOCK_FRAMES],
}

impl Other {
    /// Reads the next `frames` frames, of which `trim` are taken out (1) or put in (-1).
    fn read(&mut self, frames: usize, trim: i8) -> anyhow::Result<()> {
        let block = &mut self.block[..frames];
        match trim {
            1 => {
                self.channel.fill(&mut block[..1])?;
                self.channel.fill(block)
            }
            -1 => {
                block[0] = 0.0;
                self.channel.fill(&mut block[1..])
            }
            _ => self.channel.fill(block),
        }
    }
}

/// A reference, one to seven more channels, and their merge.
pub struct Merger {
    reference: Channel,
    others: Vec<Other>,
    engine: Engine,
    controls: Controls,
    looks_ahead: bool,
    /// Length of the reference.
    frames: u64,
    /// Frames the engine has been given.
    passed: u64,
    latency: u64,
    block: [f32; BLOCK_FRAMES],
    merged: [f32; BLOCK_FRAMES],
    trace: Option<Trace>,
}

impl Merger {
    /// Puts channels together. Microphones are counted as the engine counts them: 1 is the first of `others`.
    ///
    /// # Errors
    /// The engine cannot work at this rate or with so many channels, or a channel cannot be read.
    pub fn new(reference: Channel, others: Vec<Channel>, rate_hz: u32, start: &Start) -> anyhow::Result<Self> {
        let mut engine = Engine::new(f64::from(rate_hz), 1 + others.len(), &start.controls)?;
        let known = start.others.iter().copied().chain(std::iter::repeat(Known::default()));
        let mut aligned = Vec::with_capacity(others.len());
        for (microphone, (mut channel, known)) in (1..).zip(others.into_iter().zip(known)) {
            if let Some(snapshot) = &known.snapshot {
                engine.restore(microphone, snapshot)?;
            }
            channel.shift(known.shift_frames)?;
            let trim = Trim::new(known.shift_frames, rate_hz);
            aligned.push(Other { channel, trim, tally: Tally::default(), block: [0.0; BLOCK_FRAMES] });
        }
        Ok(Self {
            frames: reference.frames(),
            reference,
            others: aligned,
            controls: start.controls,
            looks_ahead: start.looks_ahead,
            passed: 0,
            latency: u64::from(engine.latency_frames()),
            engine,
            block: [0.0; BLOCK_FRAMES],
            merged: [0.0; BLOCK_FRAMES],
            trace: None,
        })
    }

    /// Writes lines to `trace` from now on.
    pub fn trace_to(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }

    /// Gives the trace back, to be finished.
    pub fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take()
    }

    /// The microphones after the reference.
    pub fn microphones(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.others.len()
    }

    /// The engine's word on a microphone now.
    pub fn status(&self, microphone: usize) -> Status {
        self.engine.status(microphone)
    }

    /// What was learnt of a microphone, its lag in the file's own indices.
    pub fn snapshot(&self, microphone: usize) -> Option<Snapshot> {
        let snapshot = self.engine.snapshot(microphone)?;
        let trim = &self.others.get(microphone.checked_sub(1)?)?.trim;
        Some(Snapshot { lag_s: trim.in_file_ms(snapshot.lag_s * 1e3) * 1e-3, ..snapshot })
    }

    /// What was done with a microphone so far.
    pub fn tally(&self, microphone: usize) -> Tally {
        self.others.get(microphone.wrapping_sub(1)).map_or_else(Tally::default, |other| other.tally)
    }

    /// Frames the engine has been given.
    pub fn passed_frames(&self) -> u64 {
        self.passed
    }

    /// Frames by which the engine's output is later than the reference; taken out here.
    pub fn latency_frames(&self) -> u64 {
        self.latency
    }

    /// The frame of the reference that was put out last.
    pub fn place(&self) -> Option<u64> {
        self.passed.checked_sub(1 + self.latency)
    }

    /// The lag of a microphone applied to that frame, in the file's own indices, ms.
    pub fn applied_lag_ms(&self, microphone: usize) -> f64 {
        let lag_ms = self.engine.status(microphone).applied_lag_ms;
        self.others.get(microphone.wrapping_sub(1)).map_or(lag_ms, |other| other.trim.in_file_ms(lag_ms))
    }

    /// Merges the next block; none at the end.
    ///
    /// # Errors
    /// A file cannot be read, or the trace cannot be written.
    pub fn next_block(&mut self) -> anyhow::Result<&[f32]> {
        loop {
            // After the end of the reference, silence pushes out what is still inside the engine.
            let n = (self.frames + self.latency - self.passed).min(BLOCK_FRAMES as u64) as usize;
            if n == 0 {
                return Ok(&[]);
            }
            self.read(n)?;
            let mut microphones = [&self.block[..n]; 1 + MAX_OTHERS];
            for (microphone, other) in microphones[1..].iter_mut().zip(&self.others) {
                *microphone = &other.block[..n];
            }
            self.engine.process(&microphones[..=self.others.len()], &mut self.merged[..n]);
            self.passed += n as u64;
            self.note(n)?;
            // Of the first blocks, what lies before the latency does not go out.
            let late = (self.passed.saturating_sub(self.latency)).min(n as u64) as usize;
            if late > 0 {
                return Ok(&self.merged[n - late..n]);
            }
        }
    }

    /// Reads the next `n` frames of all channels, trims them and tells the engine.
    fn read(&mut self, n: usize) -> anyhow::Result<()> {
        self.reference.fill(&mut self.block[..n])?;
        for (i, other) in self.others.iter_mut().enumerate() {
            let trim = other.trim.wanted(&self.engine.status(i + 1));
            if trim != 0 {
                other.tally.trims += 1;
                self.controls.lag_trim_frames[i] = other.trim.take(trim);
            }
            other.read(n, trim)?;
        }
        self.engine.set_controls(&self.controls);
        Ok(())
    }

    /// Counts and traces what the engine says about the block of `n` frames it has just done.
    fn note(&mut self, n: usize) -> anyhow::Result<()> {
        let Some(place) = self.place() else { return Ok(()) };
        for (i, other) in self.others.iter_mut().enumerate() {
            let status = self.engine.status(i + 1);
            if status.state == State::Searching {
                continue;
            }
            other.tally.locked_frames += (n as u64).min(place + 1);
            // While the end is pushed out, silence goes in: that would not tell how the merge went.
            if self.passed <= self.frames {
                other.tally.last_locked = Some(status);
                other.tally.file_lag_ms = other.trim.in_file_ms(status.applied_lag_ms);
            }
        }
        if let Some(trace) = self.trace.as_mut().filter(|_| place < self.frames) {
            let latency = if self.looks_ahead { 0 } else { self.latency };
            let lines = self.others.iter().enumerate().map(|(i, other)| {
                let status = self.engine.status(i + 1);
                (other.trim.in_file_ms(status.applied_lag_ms), status)
            });
            trace.note(place, latency, lines)?;
        }
        Ok(())
    }
}
