//! The trace: what was known about the sound being put out, a line per 10 ms from the first lock on.

use super::destination::{Destination, Writing};
use anyhow::Context as _;
use driftmerge_dsp::{State, Status};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Lines per second.
const LINES_PER_S: u64 = 100;

/// A trace being written; a file appears under its name when it is finished.
pub struct Trace {
    writing: Writing,
    path: PathBuf,
    rate_hz: u32,
    next_line: u64,
    locked: bool,
}

impl Trace {
    /// Starts a trace for streams of `rate_hz` at `destination`, which was named `path`.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn create(path: &Path, destination: &Destination, rate_hz: u32, stop: &AtomicBool) -> anyhow::Result<Self> {
        let mut writing = destination.begin(stop)?;
        writeln!(writing, "# seconds,lag_s,drift_ppm,confidence,weight,state,latency_s")?;
        Ok(Self { writing, path: path.to_owned(), rate_hz, next_line: 0, locked: false })
    }

    /// Takes what was said about the frame at `place` of the reference; `lag_ms` was applied to it.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn note(&mut self, place: u64, lag_ms: f64, status: &Status, latency_frames: u64) -> anyhow::Result<()> {
        self.locked |= status.state != State::Searching;
        let line = place * LINES_PER_S / u64::from(self.rate_hz);
        if !self.locked || line < self.next_line {
            return Ok(());
        }
        self.next_line = line + 1;
        let rate = f64::from(self.rate_hz);
        writeln!(
            self.writing,
            "{:.6},{:.9},{:.4},{:.4},{:.4},{},{:.6}",
            place as f64 / rate,
            lag_ms * 1e-3,
            status.drift_ppm,
            status.confidence,
            status.weight,
            status.state as u8,
            latency_frames as f64 / rate
        )
        .with_context(|| format!("trace {} cannot be written", self.path.display()))
    }

    /// Completes the trace: a file gets its name.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn finish(self) -> anyhow::Result<()> {
        let path = self.path;
        self.writing.finish().with_context(|| format!("trace {} cannot be written", path.display()))
    }
}
