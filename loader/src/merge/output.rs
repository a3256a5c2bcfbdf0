//! The merged sound as a WAV file, written from its first byte to its last: the length is known at the beginning, so that
//! it goes into a pipe as well as into a file.

use super::destination::{Destination, Writing};
use crate::cli::SampleFormat;
use crate::exit::Failure;
use anyhow::{Context as _, anyhow};
use hound::{WavSpec, WavWriter};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The most bytes of sound a WAV file can hold: its lengths are 32-bit numbers, and the header counts in one.
const MOST_BYTES: u64 = u32::MAX as u64 - 1024;

/// A merged file being written.
pub struct Output {
    writing: Writing,
    path: PathBuf,
    format: SampleFormat,
    /// Frames still to come.
    left: u64,
    bytes: Vec<u8>,
}

impl Output {
    /// Starts a mono file of `frames` at `destination`, which was named `path`.
    ///
    /// # Errors
    /// It cannot be written to, or a WAV file cannot hold so much.
    pub fn create(
        path: &Path,
        destination: &Destination,
        rate_hz: u32,
        frames: u64,
        format: SampleFormat,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let (bits_per_sample, sample_format) = match format {
            SampleFormat::Float => (32, hound::SampleFormat::Float),
            SampleFormat::Int16 => (16, hound::SampleFormat::Int),
            SampleFormat::Int24 => (24, hound::SampleFormat::Int),
        };
        let sound_bytes = frames * u64::from(bits_per_sample / 8);
        if sound_bytes > MOST_BYTES {
            return Err(Failure::Usage(format!(
                "{}: {frames} frames of {bits_per_sample} bits are more than a WAV file can hold (4 GiB); try \
                 --format 16, or cut the recording",
                path.display()
            )));
        }
        let spec = WavSpec { channels: 1, sample_rate: rate_hz, bits_per_sample, sample_format };
        let header = header(spec, sound_bytes as u32).map_err(anyhow::Error::new)?;
        let mut writing = destination.begin(stop)?;
        writing.write_all(&header).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { writing, path: path.to_owned(), format, left: frames, bytes: Vec::new() })
    }

    /// Writes frames. Integers are rounded and clipped, not dithered.
    ///
    /// # Errors
    /// The disk is full or gone, or nobody reads any more.
    pub fn write(&mut self, block: &[f32]) -> anyhow::Result<()> {
        let whole = |x: f32, bits: i32| {
            let top = f64::from(1 << (bits - 1));
            (f64::from(x) * top).round().clamp(-top, top - 1.0) as i32
        };
        self.bytes.clear();
        for &x in block {
            match self.format {
                SampleFormat::Float => self.bytes.extend(x.to_le_bytes()),
                SampleFormat::Int16 => self.bytes.extend((whole(x, 16) as i16).to_le_bytes()),
                SampleFormat::Int24 => self.bytes.extend(&whole(x, 24).to_le_bytes()[..3]),
            }
        }
        self.left = self.left.saturating_sub(block.len() as u64);
        self.writing.write_all(&self.bytes).with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// The disk is full or gone, or there were fewer frames than was said at first.
    pub fn finish(self) -> anyhow::Result<()> {
        let context = || format!("{} cannot be written", self.path.display());
        if self.left > 0 {
            return Err(anyhow!("{} frames are missing", self.left)).with_context(context);
        }
        let path = self.path;
        self.writing.finish().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The header of a file with `sound_bytes` of sound.
fn header(spec: WavSpec, sound_bytes: u32) -> hound::Result<Vec<u8>> {
    let mut header = Cursor::new(Vec::new());
    WavWriter::new(&mut header, spec)?.finalize()?;
    let mut header = header.into_inner();
    let length = header.len();
    // The lengths of the whole (without its first 8 bytes) and of the sound, which comes last.
    header[4..8].copy_from_slice(&(length as u32 - 8 + sound_bytes).to_le_bytes());
    header[length - 4..].copy_from_slice(&sound_bytes.to_le_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_written_at_first_is_the_one_that_a_whole_file_has() {
        for (bits_per_sample, sample_format) in
            [(32, hound::SampleFormat::Float), (16, hound::SampleFormat::Int), (24, hound::SampleFormat::Int)]
        {
            let spec = WavSpec { channels: 1, sample_rate: 44_100, bits_per_sample, sample_format };
            let mut whole = Cursor::new(Vec::new());
            let mut writer = WavWriter::new(&mut whole, spec).expect("in memory");
            for _ in 0..100 {
                match sample_format {
                    hound::SampleFormat::Float => writer.write_sample(0.5f32).expect("in memory"),
                    hound::SampleFormat::Int => writer.write_sample(5).expect("in memory"),
                }
            }
            writer.finalize().expect("in memory");
            let sound_bytes = 100 * u32::from(bits_per_sample / 8);
            let header = header(spec, sound_bytes).expect("in memory");
            assert_eq!(header, whole.into_inner()[..header.len()], "{bits_per_sample} bits");
        }
    }
}
