//! Recorded channels as streams. The problem: a file may be damaged, of another rate or kind than its neighbours,
//! or longer than the memory. Everything that can be known from the headers is checked before any work is done;
//! the samples are then read in blocks. Samples that are not numbers become silence and are counted.

use crate::exit::Failure;
use anyhow::{Context as _, anyhow};
use hound::{SampleFormat, WavReader};
use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Fewest and most channels that can be merged.
const CHANNELS: std::ops::RangeInclusive<usize> = 2..=8;

/// The channels to merge, checked, with what they have in common.
#[derive(Debug)]
pub struct Recording {
    /// Sample rate of all, Hz.
    pub rate_hz: u32,
    /// Length of the reference, frames.
    pub frames: u64,
    /// Where each channel is.
    pub channels: Vec<Place>,
}

/// Where a channel is: a file and the place in its frames.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    channel: u16,
    frames: u64,
}

impl Recording {
    /// Looks at the files: one of two channels, or 2 to 8 of one channel, all of one rate.
    ///
    /// # Errors
    /// A file that cannot be read, is no WAV file, cut short or empty; channels that do not fit together.
    pub fn open(inputs: &[PathBuf]) -> Result<Self, Failure> {
        let headers = inputs.iter().map(|path| Header::read(path)).collect::<Result<Vec<_>, _>>()?;
        let first = &headers[0];
        for (path, header) in inputs.iter().zip(&headers) {
            let (name, n) = (path.display(), header.spec.channels);
            match (inputs.len(), n) {
                (1, 2) | (2.., 1) => {}
                (1, 1) => {
                    return Err(Failure::Usage(format!(
                        "{name} has one channel, and one alone cannot be merged: give a file of two channels, or a \
                         second file"
                    )));
                }
                (1, _) => {
                    return Err(Failure::Usage(format!(
                        "{name} has {n} channels: give a file of two channels, or several of one (sox and ffmpeg split files)"
                    )));
                }
                _ => {
                    return Err(Failure::Usage(format!(
                        "{name} has {n} channels: of several files each must have one"
                    )));
                }
            }
            if header.spec.sample_rate != first.spec.sample_rate {
                return Err(Failure::Usage(format!(
                    "{name} runs at {} Hz, {} at {} Hz: convert one of them (sox and ffmpeg do), the rates must be equal",
                    header.spec.sample_rate,
                    inputs[0].display(),
                    first.spec.sample_rate
                )));
            }
        }
        let place =
            |path: &PathBuf, channel, header: &Header| Place { path: path.clone(), channel, frames: header.frames };
        let channels: Vec<_> = if inputs.len() == 1 {
            vec![place(&inputs[0], 0, first), place(&inputs[0], 1, first)]
        } else {
            inputs.iter().zip(&headers).map(|(path, header)| place(path, 0, header)).collect()
        };
        if !CHANNELS.contains(&channels.len()) {
            return Err(Failure::Usage(format!("{} files were given; at most 8 can be merged", channels.len())));
        }
        Ok(Self { rate_hz: first.spec.sample_rate, frames: first.frames, channels })
    }
}

/// What a file's header says, found to be true.
struct Header {
    spec: hound::WavSpec,
    frames: u64,
}

impl Header {
    fn read(path: &Path) -> Result<Self, Failure> {
        let reader = open(path)?;
        let (spec, samples) = (reader.spec(), u64::from(reader.len()));
        let mut file = reader.into_inner();
        let name = path.display();
        if spec.sample_rate == 0 || spec.channels == 0 || spec.bits_per_sample == 0 {
            return Err(Failure::Runtime(anyhow!(
                "{name} is damaged: its header says {} Hz, {} channels, {} bits; copy it again, or let sox or ffmpeg rewrite it",
                spec.sample_rate,
                spec.channels,
                spec.bits_per_sample
            )));
        }
        let (data, length) = file
            .stream_position()
            .and_then(|at| Ok((at, file.get_ref().metadata()?.len())))
            .with_context(|| format!("{name} cannot be read"))?;
        let promised = samples * u64::from(spec.bits_per_sample.div_ceil(8));
        if data + promised > length {
            return Err(Failure::Runtime(anyhow!(
                "{name} is cut short: its header promises {promised} bytes of sound, {} are there; copy it again, or \
                 let sox or ffmpeg rewrite what is left",
                length - data.min(length)
            )));
        }
        if samples == 0 {
            return Err(Failure::Runtime(anyhow!("{name} is empty: it has a header but no sound")));
        }
        Ok(Self { spec, frames: samples / u64::from(spec.channels) })
    }
}

fn open(path: &Path) -> anyhow::Result<WavReader<BufReader<File>>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        return Err(anyhow!("{name} is empty: no byte is in it"));
    }
    WavReader::new(BufReader::with_capacity(1 << 16, file)).map_err(|e| match e {
        hound::Error::FormatError(why) => {
            anyhow!("{name} is not a WAV file that can be read ({why}); sox and ffmpeg convert to WAV")
        }
        hound::Error::Unsupported => {
            anyhow!("{name} has a sample format that is not supported: use 16, 24 or 32 bit or float")
        }
        hound::Error::IoError(why) => anyhow!("{name} is not a WAV file, or is cut short in its header ({why})"),
        other => anyhow!("{name} cannot be read: {other}"),
    })
}

/// Fills a block with the next frames, all of which are there.
pub type Read = dyn FnMut(&mut [f32]) -> anyhow::Result<()>;

/// One channel, read from its start to its end.
pub struct Channel {
    read: Box<Read>,
    frames: u64,
    left: u64,
    /// Frames of silence still to come before the first.
    lead_in: u64,
    /// Samples that were not numbers, over all channels that share the count.
    bad: Rc<Cell<u64>>,
    block: Vec<f32>,
}

impl Channel {
    /// A channel of `frames` that `read` gives; `bad` counts samples that are not numbers.
    pub fn new(frames: u64, bad: &Rc<Cell<u64>>, read: Box<Read>) -> Self {
        Self { read, frames, left: frames, lead_in: 0, bad: bad.clone(), block: Vec::new() }
    }

    /// A channel of a file.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn open(place: &Place, bad: &Rc<Cell<u64>>) -> anyhow::Result<Self> {
        let mut reader = open(&place.path)?;
        let spec = reader.spec();
        let (step, offset) = (usize::from(spec.channels), usize::from(place.channel));
        let scale = (1.0 - f32::from(spec.bits_per_sample)).exp2();
        let path = place.path.clone();
        let read = move |out: &mut [f32]| {
            match spec.sample_format {
                SampleFormat::Float => pick(reader.samples::<f32>(), step, offset, out, |x| x),
                SampleFormat::Int => pick(reader.samples::<i32>(), step, offset, out, |x| x as f32 * scale),
            }
            .with_context(|| format!("{} cannot be read to its end", path.display()))
        };
        Ok(Self::new(place.frames, bad, Box::new(read)))
    }

    /// Leaves out the first `frames`, or puts as many of silence in front where they are negative.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn shift(&mut self, frames: i64) -> anyhow::Result<()> {
        self.lead_in = frames.min(0).unsigned_abs();
        let mut skip = (frames.max(0) as u64).min(self.left);
        while skip > 0 {
            skip -= self.next_block(skip.min(4096) as usize)?.len() as u64;
        }
        Ok(())
    }

    /// Length of the channel, frames.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The next frames, `most` or fewer; none at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_block(&mut self, most: usize) -> anyhow::Result<&[f32]> {
        let mut block = std::mem::take(&mut self.block);
        block.resize(self.left.min(most as u64) as usize, 0.0);
        self.fill(&mut block)?;
        self.block = block;
        Ok(&self.block)
    }

    /// Fills `out` with the next frames, and with silence behind the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn fill(&mut self, out: &mut [f32]) -> anyhow::Result<()> {
        let led = self.lead_in.min(out.len() as u64);
        self.lead_in -= led;
        let (lead_in, out) = out.split_at_mut(led as usize);
        lead_in.fill(0.0);
        let there = self.left.min(out.len() as u64);
        self.left -= there;
        let (sound, behind) = out.split_at_mut(there as usize);
        behind.fill(0.0);
        (self.read)(sound)?;
        for x in sound.iter_mut().filter(|x| !x.is_finite()) {
            *x = 0.0;
            self.bad.set(self.bad.get() + 1);
        }
        Ok(())
    }
}

/// Every `step`th sample from the `offset`th on.
fn pick<S>(
    mut samples: impl Iterator<Item = hound::Result<S>>,
    step: usize,
    offset: usize,
    out: &mut [f32],
    convert: impl Fn(S) -> f32,
) -> hound::Result<()> {
    for x in out {
        for i in 0..step {
            let sample = samples.next().ok_or(hound::Error::UnfinishedSample)??;
            if i == offset {
                *x = convert(sample);
            }
        }
    }
    Ok(())
}
