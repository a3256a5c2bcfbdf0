//! The merged file: written beside its place under another name and renamed when it is whole.

use super::trace::temporary_beside;
use crate::cli::SampleFormat;
use crate::exit::Failure;
use anyhow::Context as _;
use hound::{WavSpec, WavWriter};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The most bytes of sound a WAV file can hold: its lengths are 32-bit numbers, and the header counts in one.
const MOST_BYTES: u64 = u32::MAX as u64 - 1024;

/// A merged file being written.
pub struct Output {
    // hound wants a writer that seeks: the file's handle; the name's owner is kept beside it.
    writer: WavWriter<BufWriter<std::fs::File>>,
    file: NamedTempFile,
    path: PathBuf,
    format: SampleFormat,
}

impl Output {
    /// Starts a mono file of `frames` at `path`.
    ///
    /// # Errors
    /// The folder cannot be written to, or a WAV file cannot hold so much.
    pub fn create(path: &Path, rate_hz: u32, frames: u64, format: SampleFormat) -> Result<Self, Failure> {
        let (bits_per_sample, sample_format) = match format {
            SampleFormat::Float => (32, hound::SampleFormat::Float),
            SampleFormat::Int16 => (16, hound::SampleFormat::Int),
            SampleFormat::Int24 => (24, hound::SampleFormat::Int),
        };
        if frames * u64::from(bits_per_sample / 8) > MOST_BYTES {
            return Err(Failure::Usage(format!(
                "{}: {frames} frames of {bits_per_sample} bits are more than a WAV file can hold (4 GiB); try \
                 --format 16, or cut the recording",
                path.display()
            )));
        }
        let file = temporary_beside(path)?;
        let handle = file.reopen().with_context(|| format!("{} cannot be written", path.display()))?;
        let spec = WavSpec { channels: 1, sample_rate: rate_hz, bits_per_sample, sample_format };
        let writer = WavWriter::new(BufWriter::with_capacity(1 << 16, handle), spec)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { writer, file, path: path.to_owned(), format })
    }

    /// Writes frames. Integers are rounded and clipped, not dithered.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn write(&mut self, block: &[f32]) -> anyhow::Result<()> {
        let whole = |x: f32, bits: i32| {
            let top = f64::from(1 << (bits - 1));
            (f64::from(x) * top).round().clamp(-top, top - 1.0) as i32
        };
        for &x in block {
            match self.format {
                SampleFormat::Float => self.writer.write_sample(x),
                SampleFormat::Int16 => self.writer.write_sample(whole(x, 16)),
                SampleFormat::Int24 => self.writer.write_sample(whole(x, 24)),
            }
            .with_context(|| format!("{} cannot be written", self.path.display()))?;
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn finish(self) -> anyhow::Result<()> {
        let context = || format!("{} cannot be written", self.path.display());
        self.writer.finalize().with_context(context)?;
        self.file.as_file().sync_all().with_context(context)?;
        self.file.persist(&self.path).map(|_| ()).with_context(context)
    }
}
