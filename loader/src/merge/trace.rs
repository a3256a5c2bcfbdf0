//! The trace: what was known about the sound being put out, a line per 10 ms from the first lock on.
//!
//! The first seven columns are about B; five more for each further microphone follow them.

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
    /// Starts a trace for `microphones` streams of `rate_hz`, the reference included, at `destination`, which was named `path`.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn create(
        path: &Path,
        destination: &Destination,
        rate_hz: u32,
        microphones: usize,
        stop: &AtomicBool,
    ) -> anyhow::Result<Self> {
        let mut writing = destination.begin(stop)?;
        write!(writing, "# seconds,lag_s,drift_ppm,confidence,weight,state,latency_s")?;
        for name in ('c'..).take(microphones.saturating_sub(2)) {
            write!(writing, ",lag_{name}_s,drift_{name}_ppm,confidence_{name},weight_{name},state_{name}")?;
        }
        writeln!(writing)?;
        Ok(Self { writing, path: path.to_owned(), rate_hz, next_line: 0, locked: false })
    }

    /// Takes what was said about the frame at `place` of the reference: for each other microphone the lag that was applied
    /// to it, ms, and the engine's word.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn note(
        &mut self,
        place: u64,
        latency_frames: u64,
        mut others: impl Iterator<Item = (f64, Status)> + Clone,
    ) -> anyhow::Result<()> {
        self.locked = self.locked || others.clone().any(|(_, status)| status.state != State::Searching);
        let line = place * LINES_PER_S / u64::from(self.rate_hz);
        if !self.locked || line < self.next_line {
            return Ok(());
        }
        self.next_line = line + 1;
        self.write_line(place, latency_frames, &mut others)
            .with_context(|| format!("trace {} cannot be written", self.path.display()))
    }

    fn write_line(
        &mut self,
        place: u64,
        latency_frames: u64,
        others: &mut impl Iterator<Item = (f64, Status)>,
    ) -> std::io::Result<()> {
        let rate = f64::from(self.rate_hz);
        write!(self.writing, "{:.6},", place as f64 / rate)?;
        if let Some(b) = others.next() {
            self.write_columns(&b)?;
        }
        write!(self.writing, ",{:.6}", latency_frames as f64 / rate)?;
        for other in others {
            write!(self.writing, ",")?;
            self.write_columns(&other)?;
        }
        writeln!(self.writing)
    }

    fn write_columns(&mut self, (lag_ms, status): &(f64, Status)) -> std::io::Result<()> {
        let Status { drift_ppm, confidence, weight, state, .. } = *status;
        let lag_s = lag_ms * 1e-3;
        write!(self.writing, "{lag_s:.9},{drift_ppm:.4},{confidence:.4},{weight:.4},{}", state as u8)
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
