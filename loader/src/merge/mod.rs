//! The offline merge of recorded files.
//!
//! One [`merger::Merger`] reads all channels and merges them with one engine; lags of all count against the first.
//! Memory is bounded whatever the length: everything is read, merged and written in blocks.
//!
//! Two ways of choosing where it starts:
//! - `--live`: as the plugin would, knowing nothing. With latency `auto` a first pass finds the first lock of every
//!   microphone; the largest lag decides the delay for the whole file.
//! - otherwise a first pass finds lag and drift of every microphone shortly after its first lock; each is shifted by its
//!   lag, carried back to the file's start, and the second pass knows it all from there, with the largest delay as
//!   look-ahead.

mod destination;
pub mod merger;
mod output;
pub mod recording;
pub mod trace;
mod trim;

use crate::cli::MergeArgs;
use crate::config::{Config, Latency};
use crate::exit::Failure;
use crate::say;
use crate::supervise::ending::stop_on_signals;
use anyhow::anyhow;
use destination::Destination;
use driftmerge_dsp::params::delay_for_lag_ms;
use driftmerge_dsp::{Controls, EngineError, Snapshot, State};
use indicatif::{ProgressBar, ProgressStyle};
use merger::{Known, Merger, Start, Tally};
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
/// How long after the lock it takes the drift, s: late, for that is a mean over time.
const DRIFT_SETTLES_S: f64 = 15.0;
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
    let (rate_hz, frames, microphones) = (recording.rate_hz, recording.frames, recording.channels.len());
    let job = Job { recording, bad: Rc::default(), stop: stop_on_signals()?, progress: progress_bar() };
    let mut output = Output::create(&args.output, &sound, rate_hz, frames, args.format, &job.stop)?;
    let trace = notes.map(|(path, notes)| Trace::create(path, &notes, rate_hz, microphones, &job.stop)).transpose()?;
    let start = match (args.live, config.latency) {
        (true, Latency::Fixed(_)) => Start::cold(config.controls()),
        (true, Latency::Auto) => job.live_start(config)?,
        (false, _) => job.start_with_look_ahead(config)?,
    };
    job.bad.set(0);
    let mut merger = job.merger(&start)?;
    merger.trace_to(trace);
    job.begin("merging");
    let mut done = 0;
    loop {
        let block = merger.next_block()?;
        if block.is_empty() {
            break;
        }
        output.write(block)?;
        let before = done;
        done += block.len() as u64;
        job.report(before, done)?;
    }
    job.progress.finish_and_clear();
    merger.take_trace().map_or(Ok(()), Trace::finish)?;
    output.finish()?;
    if job.bad.get() > 0 {
        tracing::warn!("{} samples were not numbers (NaN or infinite) and were taken as silence", job.bad.get());
    }
    let summary = job.summarise(&merger, &start, &args.output);
    // Where the sound is on standard output, words would be heard.
    if sound.is_stdout() {
        say::to_stderr(summary);
        return Ok(());
    }
    say::text(&summary)
}

/// The files and what the passes over them have in common.
struct Job {
    recording: Recording,
    bad: Rc<Cell<u64>>,
    stop: Arc<AtomicBool>,
    progress: ProgressBar,
}

impl Job {
    /// All channels at the files' beginning.
    fn merger(&self, start: &Start) -> Result<Merger, Failure> {
        let open = |place| Channel::open(place, &self.bad);
        let (first, others) = self.recording.channels.split_first().ok_or_else(|| anyhow!("no channel is given"))?;
        let others = others.iter().map(open).collect::<Result<_, _>>()?;
        let merger = Merger::new(open(first)?, others, self.recording.rate_hz, start);
        merger.map_err(|e| match e.downcast::<EngineError>() {
            Ok(refused) => Failure::Usage(format!("{refused}; convert the files (sox and ffmpeg do)")),
            Err(other) => Failure::Runtime(other),
        })
    }

    /// What the first pass runs: it knows nothing and has the longest delay.
    fn first_pass(&self, config: &Config) -> Result<Merger, Failure> {
        let controls = Controls { delay_ms: LONGEST_DELAY_MS, post_filter: false, ..config.controls() };
        self.merger(&Start::cold(controls))
    }

    /// As the plugin starts, with the delay that the first locks will ask for.
    fn live_start(&self, config: &Config) -> Result<Start, Failure> {
        let mut merger = self.first_pass(config)?;
        let mut lags_ms = vec![None; merger.microphones().count()];
        self.run_until(&mut merger, |merger| {
            for (microphone, lag_ms) in merger.microphones().zip(&mut lags_ms) {
                let status = merger.status(microphone);
                if lag_ms.is_none() && status.state == State::Locked {
                    *lag_ms = Some(status.lag_ms);
                }
            }
            lags_ms.iter().all(Option::is_some)
        })?;
        let mut controls = config.controls();
        if let Some(latest_ms) = lags_ms.into_iter().flatten().max_by(f64::total_cmp) {
            controls.delay_ms = delay_for_lag_ms(latest_ms);
        }
        Ok(Start::cold(controls))
    }

    /// With lag and drift known from the file's first frame on; microphones without a lock start as in the plugin.
    fn start_with_look_ahead(&self, config: &Config) -> Result<Start, Failure> {
        let rate = f64::from(self.recording.rate_hz);
        let mut merger = self.first_pass(config)?;
        let mut findings = vec![Finding::default(); merger.microphones().count()];
        self.run_until(&mut merger, |merger| {
            let now_s = merger.passed_frames() as f64 / rate;
            for (microphone, finding) in merger.microphones().zip(&mut findings) {
                finding.look(merger, microphone, now_s);
            }
            findings.iter().all(|finding| finding.settled)
        })?;
        let controls = Controls { delay_ms: LONGEST_DELAY_MS, ..config.controls() };
        let others = findings.iter().map(|finding| finding.at_the_start(rate)).collect();
        Ok(Start { controls, others, looks_ahead: true })
    }

    /// Runs a merge until `enough` or the end of the files.
    fn run_until(&self, merger: &mut Merger, mut enough: impl FnMut(&Merger) -> bool) -> Result<(), Failure> {
        self.begin("searching");
        loop {
            let before = merger.passed_frames();
            if merger.next_block()?.is_empty() || enough(merger) {
                return Ok(());
            }
            self.report(before, merger.passed_frames())?;
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

    fn summarise(&self, merger: &Merger, start: &Start, output: &Path) -> String {
        use std::fmt::Write as _;
        let (frames, rate) = (self.recording.frames as f64, f64::from(self.recording.rate_hz));
        let mut text = format!("{}: {:.1} s at {rate} Hz\n", say::plain(&output.to_string_lossy()), frames / rate);
        let latency = if start.looks_ahead {
            "looking ahead".to_owned()
        } else {
            format!("latency {:.1} ms", merger.latency_frames() as f64 * 1e3 / rate)
        };
        for microphone in merger.microphones() {
            let n = microphone + 1;
            let Tally { locked_frames, last_locked, file_lag_ms, trims } = merger.tally(microphone);
            let Some(status) = last_locked else {
                writeln!(text, "  microphone {n}: never locked, so it has no part in the merge")
                    .expect("a text takes all");
                continue;
            };
            let share = 100.0 * (locked_frames as f64 / frames).min(1.0);
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
        }
        text
    }
}

/// What the first pass finds of one microphone.
#[derive(Clone, Default)]
struct Finding {
    locked_since_s: Option<f64>,
    /// Soon after the lock: when, and what was known then.
    soon: Option<(f64, Snapshot)>,
    late: Option<Snapshot>,
    /// The lock has lasted long enough; nothing more is looked at.
    settled: bool,
}

impl Finding {
    /// Notes what is known at `now_s`; a lock that is lost counts for nothing.
    fn look(&mut self, merger: &Merger, microphone: usize, now_s: f64) {
        if self.settled {
            return;
        }
        if merger.status(microphone).state == State::Searching {
            *self = Self::default();
            return;
        }
        let locked_s = now_s - *self.locked_since_s.get_or_insert(now_s);
        if self.soon.is_none() || locked_s <= LAG_SETTLES_S {
            self.soon = merger.snapshot(microphone).map(|snapshot| (now_s, snapshot));
        }
        self.late = merger.snapshot(microphone);
        self.settled = locked_s >= DRIFT_SETTLES_S;
    }

    /// The lag of then, carried back to the file's start by the drift; its whole frames are left out.
    fn at_the_start(&self, rate_hz: f64) -> Known {
        let (Some((at_s, soon)), Some(late)) = (self.soon, self.late) else { return Known::default() };
        let lag_s = soon.lag_s - late.drift_ppm * 1e-6 * at_s;
        let shift_frames = (lag_s * rate_hz).round() as i64;
        Known { shift_frames, snapshot: Some(Snapshot { lag_s: lag_s - shift_frames as f64 / rate_hz, ..late }) }
    }
}

/// Shown on a terminal only.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
