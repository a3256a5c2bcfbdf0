//! The trace: what was known about the sound being put out, a line per 10 ms from the first lock on.
//!
//! The first seven columns are about B; five more for each further microphone follow them.

use anyhow::Context as _;
use driftmerge_dsp::{State, Status};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Lines per second.
const LINES_PER_S: u64 = 100;

/// A trace being written; the file appears under its name when it is finished.
pub struct Trace {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
    rate_hz: u32,
    next_line: u64,
    locked: bool,
}

impl Trace {
    /// Starts a trace for `microphones` streams of `rate_hz`, the reference included.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn create(path: &Path, rate_hz: u32, microphones: usize) -> anyhow::Result<Self> {
        let mut file = BufWriter::new(temporary_beside(path)?);
        write!(file, "# seconds,lag_s,drift_ppm,confidence,weight,state,latency_s")?;
        for name in ('c'..).take(microphones.saturating_sub(2)) {
            write!(file, ",lag_{name}_s,drift_{name}_ppm,confidence_{name},weight_{name},state_{name}")?;
        }
        writeln!(file)?;
        Ok(Self { file, path: path.to_owned(), rate_hz, next_line: 0, locked: false })
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
        write!(self.file, "{:.6},", place as f64 / rate)?;
        if let Some(b) = others.next() {
            self.write_columns(&b)?;
        }
        write!(self.file, ",{:.6}", latency_frames as f64 / rate)?;
        for other in others {
            write!(self.file, ",")?;
            self.write_columns(&other)?;
        }
        writeln!(self.file)
    }

    fn write_columns(&mut self, (lag_ms, status): &(f64, Status)) -> std::io::Result<()> {
        let Status { drift_ppm, confidence, weight, state, .. } = *status;
        let lag_s = lag_ms * 1e-3;
        write!(self.file, "{lag_s:.9},{drift_ppm:.4},{confidence:.4},{weight:.4},{}", state as u8)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn finish(self) -> anyhow::Result<()> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let context = || format!("trace {} cannot be written", self.path.display());
        file.with_context(context)?.persist(&self.path).map(|_: File| ()).with_context(context)
    }
}

/// A new file beside `path`, which takes its place by renaming; with the rights a new file usually gets.
///
/// # Errors
/// The folder does not exist or cannot be written to.
pub fn temporary_beside(path: &Path) -> anyhow::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".driftmerge-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(|| format!("{} cannot be written: no file can be made in {}", path.display(), folder.display()))
}
