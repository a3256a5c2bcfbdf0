//! The offline merge of recorded files.
//!
//! Channels are merged in a chain: each [`link::Link`] puts one more into the result of those before it. A link's
//! reference keeps its timing, so that lags of all channels count against the first. Memory is bounded whatever the
//! length: everything is read, merged and written in blocks.
//!
//! Two ways of choosing where a link starts:
//! - `--live`: as the plugin would, knowing nothing. With latency `auto` a first pass finds the first lock, whose lag
//!   decides the delay for the whole file.
//! - otherwise a first pass finds lag and drift shortly after the first lock; B is shifted by that lag, carried back
//!   to the file's start, and the second pass knows it all from there, with the largest delay as look-ahead.

mod destination;
pub mod link;
mod output;
pub mod recording;
pub mod trace;

use crate::cli::MergeArgs;
use crate::config::{Config, Latency};
use crate::exit::Failure;
use crate::say;
use crate::supervise::ending::stop_on_signals;
use anyhow::anyhow;
use destination::Destination;
use driftmerge_dsp::params::delay_for_lag_ms;
use driftmerge_dsp::{Controls, Snapshot, State};
use indicatif::{ProgressBar, ProgressStyle};
use link::{Link, Start, Stream, Tally};
use output::Output;
use recording::{Channel, Recording};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trace::Trace;

/// Delay of the first pass, and look-ahead of the second: the port's maximum, ms.
const LONGEST_DELAY_MS: f32 = 1000.0;
/// How long after the lock the first pass takes the lag, s: soon, for the path between the microphones may change.
const LAG_SETTLES_S: f64 = 1.0;
/// How long after the lock it takes drift and levels, s: late, for they are means over time.
const REST_SETTLES_S: f64 = 15.0;
/// Frames between two looks at the progress bar and at signals.
const REPORT_FRAMES: u64 = 1 << 15;

/// Merges the files of `args`, writes the result and prints a summary.
///
/// # Errors
/// Files that cannot be read, merged or written; a signal.
pub fn merge(config: &Config, args: &MergeArgs) -> Result<(), Failure> {
    let recording = Recording::open(&args.inputs)?;
    let sound = Destination::at(&args.output)?;
    let notes = args.trace.as_ref().map(|path| Destination::at(path).map(|place| (path, place))).transpose()?;
    for place in [Some(&sound), notes.as_ref().map(|(_, place)| place)].into_iter().flatten() {
        if let Some(input) = args.inputs.iter().find(|input| place.is(input)) {
            return Err(Failure::Usage(format!(
                "{} is to be read and written: choose another output",
                input.display()
            )));
        }
    }
    if let Some((path, notes)) = &notes
        && notes.same(&sound)
    {
        return Err(Failure::Usage(format!(
            "{} is to hold the sound (--output) and the trace (--trace): choose another file for one of them",
            path.display()
        )));
    }
    let job = Job { recording, bad: Rc::default(), stop: stop_on_signals()?, progress: progress_bar() };
    let (rate_hz, frames) = (job.recording.rate_hz, job.recording.frames);
    let mut output = Output::create(&args.output, &sound, rate_hz, frames, args.format, &job.stop)?;
    let trace = notes.map(|(path, notes)| Trace::create(path, &notes, rate_hz, &job.stop)).transpose()?;

    let mut starts = Vec::new();
    while starts.len() + 1 < job.recording.channels.len() {
        let start = match (args.live, config.latency) {
            (true, Latency::Fixed(_)) => cold(controls(config)),
            (true, Latency::Auto) => job.live_start(&starts, config)?,
            (false, _) => job.start_with_look_ahead(&starts, config)?,
        };
        starts.push(start);
    }
    // Noise is taken out of what all have put together, once.
    if let Some(last) = starts.last_mut() {
        last.controls.post_filter = config.post_filter;
    }
    job.bad.set(0);
    let mut chain = job.chain(&starts)?;
    let mut trace = trace;
    chain.each_link(&mut |link| link.trace = trace.take().or_else(|| link.trace.take()));
    job.begin("merging");
    let mut done = 0;
    loop {
        let block = chain.next_block()?;
        if block.is_empty() {
            break;
        }
        output.write(block)?;
        let before = done;
        done += block.len() as u64;
        job.report(before, done)?;
    }
    job.progress.finish_and_clear();
    let mut finished = Ok(());
    chain.each_link(&mut |link| {
        if let Some(trace) = link.trace.take() {
            finished = trace.finish();
        }
    });
    finished?;
    output.finish()?;
    if job.bad.get() > 0 {
        tracing::warn!("{} samples were not numbers (NaN or infinite) and were taken as silence", job.bad.get());
    }
    let summary = job.summarise(&mut chain, &starts, &args.output);
    // Where the sound is on standard output, words would be heard.
    if sound.is_stdout() {
        say::to_stderr(summary);
        return Ok(());
    }
    say::text(&summary)
}

/// The controls of a link that is not the last.
fn controls(config: &Config) -> Controls {
    Controls { post_filter: false, ..config.controls() }
}

/// A start that knows nothing.
fn cold(controls: Controls) -> Start {
    Start { controls, shift_frames: 0, snapshot: None, looks_ahead: false }
}

/// The files and what the passes over them have in common.
struct Job {
    recording: Recording,
    bad: Rc<Cell<u64>>,
    stop: Arc<AtomicBool>,
    progress: ProgressBar,
}

impl Job {
    /// The first `starts.len()` links, at the files' beginning.
    fn chain(&self, starts: &[Start]) -> Result<Stream, Failure> {
        let channels = &self.recording.channels;
        let mut stream = Stream::Channel(Channel::open(&channels[0], &self.bad)?);
        for (start, place) in starts.iter().zip(&channels[1..]) {
            let other = Channel::open(place, &self.bad)?;
            stream = Stream::Link(Box::new(self.link(stream, other, start)?));
        }
        Ok(stream)
    }

    fn link(&self, reference: Stream, other: Channel, start: &Start) -> Result<Link, Failure> {
        let rate_hz = self.recording.rate_hz;
        Link::new(reference, other, rate_hz, start).map_err(|e| match e.downcast::<driftmerge_dsp::EngineError>() {
            Ok(rate) => Failure::Usage(format!("{rate}; convert the files (sox and ffmpeg do)")),
            Err(other) => Failure::Runtime(other),
        })
    }

    /// The next link behind `starts`, knowing nothing and with the longest delay: what the first pass runs.
    fn first_pass(&self, starts: &[Start], config: &Config) -> Result<Link, Failure> {
        let controls = Controls { delay_ms: LONGEST_DELAY_MS, ..controls(config) };
        let other = Channel::open(&self.recording.channels[starts.len() + 1], &self.bad)?;
        self.link(self.chain(starts)?, other, &cold(controls))
    }

    /// As the plugin starts, with the delay that the first lock will ask for.
    fn live_start(&self, starts: &[Start], config: &Config) -> Result<Start, Failure> {
        let mut link = self.first_pass(starts, config)?;
        let mut controls = controls(config);
        if self.run_until(&mut link, |link| link.status().state == State::Locked)? {
            controls.delay_ms = delay_for_lag_ms(link.status().lag_ms);
        }
        Ok(cold(controls))
    }

    /// With lag and drift known from the file's first frame on; as the plugin starts if there is no lock.
    fn start_with_look_ahead(&self, starts: &[Start], config: &Config) -> Result<Start, Failure> {
        let rate = f64::from(self.recording.rate_hz);
        let mut link = self.first_pass(starts, config)?;
        let mut locked_since = None;
        let mut near: Option<(f64, Snapshot)> = None;
        let mut far = None;
        self.run_until(&mut link, |link| {
            let now_s = link.passed_frames() as f64 / rate;
            if link.status().state == State::Searching {
                (locked_since, near, far) = (None, None, None);
                return false;
            }
            let locked_s = now_s - *locked_since.get_or_insert(now_s);
            if near.is_none() || locked_s <= LAG_SETTLES_S {
                near = link.snapshot().map(|snapshot| (now_s, snapshot));
            }
            far = link.snapshot();
            locked_s >= REST_SETTLES_S
        })?;
        let controls = Controls { delay_ms: LONGEST_DELAY_MS, ..controls(config) };
        let (Some((at_s, near)), Some(far)) = (near, far) else {
            return Ok(Start { looks_ahead: true, ..cold(controls) });
        };
        let lag_s = near.lag_s - far.drift_ppm * 1e-6 * at_s;
        let shift_frames = (lag_s * rate).round() as i64;
        let snapshot = Snapshot { lag_s: lag_s - shift_frames as f64 / rate, ..far };
        Ok(Start { controls, shift_frames, snapshot: Some(snapshot), looks_ahead: true })
    }

    /// Runs a link until `enough`; false if the file ended before.
    fn run_until(&self, link: &mut Link, mut enough: impl FnMut(&Link) -> bool) -> Result<bool, Failure> {
        self.begin("searching");
        loop {
            let before = link.passed_frames();
            if link.next_block()?.is_empty() {
                return Ok(false);
            }
            if enough(link) {
                return Ok(true);
            }
            self.report(before, link.passed_frames())?;
        }
    }

    fn begin(&self, what: &'static str) {
        self.progress.reset();
        self.progress.set_length(self.recording.frames);
        self.progress.set_message(what);
    }

    /// Moves the progress bar and looks for signals, now and then.
    fn report(&self, before: u64, done: u64) -> Result<(), Failure> {
        if before / REPORT_FRAMES != done / REPORT_FRAMES {
            self.progress.set_position(done);
            if self.stop.load(Ordering::Relaxed) {
                return Err(anyhow!("stopped by a signal; nothing was written").into());
            }
        }
        Ok(())
    }

    fn summarise(&self, chain: &mut Stream, starts: &[Start], output: &Path) -> String {
        use std::fmt::Write as _;
        let (frames, rate) = (self.recording.frames as f64, f64::from(self.recording.rate_hz));
        let mut text = format!("{}: {:.1} s at {rate} Hz\n", say::plain(&output.to_string_lossy()), frames / rate);
        let mut n = 1;
        chain.each_link(&mut |link| {
            n += 1;
            let Tally { locked_frames, last_locked, file_lag_ms, trims } = link.tally;
            let Some(status) = last_locked else {
                writeln!(text, "  microphone {n}: never locked, so the sound is that of the ones before it")
                    .expect("a text takes all");
                return;
            };
            let share = 100.0 * (locked_frames as f64 / frames).min(1.0);
            let latency = if starts[n - 2].looks_ahead {
                "looking ahead".to_owned()
            } else {
                format!("latency {:.1} ms", link.latency_frames() as f64 * 1e3 / rate)
            };
            writeln!(
                text,
                "  microphone {n}: lag {file_lag_ms:.3} ms, drift {:.2} ppm, confidence {:.2}, weight {:.2}{}, locked \
                 {share:.1} % of the time, {trims} frames trimmed, {latency}",
                status.drift_ppm,
                status.confidence,
                status.weight,
                if status.polarity < 0 { ", inverted" } else { "" },
            )
            .expect("a text takes all");
            if status.delay_too_small {
                tracing::warn!(
                    "microphone {n} is {file_lag_ms:.0} ms late, more than --latency allows to align: give more, or `auto`"
                );
            }
        });
        text
    }
}

/// Shown on a terminal only.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
