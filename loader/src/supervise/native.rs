//! `driftmerge run --route pipewire`: PipeWire itself merges, in a process of its own.
//!
//! The program writes the configuration ([`plan::pipewire`]), runs `pipewire -c` on it and looks after that: it is started
//! again when it ends, or when its source is gone although the server answers, and ended with the service. What comes before the merge
//! (tunnels, echo cancellers) and the names of the microphones go by the PulseAudio door, `pipewire-pulse`, as on the other
//! routes. A filter-chain tells nobody what its plugin knows: so `status` shows no lag, and nothing is learnt for the next start.
//! What an earlier run has left is handed over all the same ([`plan::pipewire`]), its latency at least.

use super::child::{Kept, command, find_program};
use super::control::{Answer, Control, Order, Other, Request, Status};
use super::desk::{AtWork, attend, broken, tell_manager};
use super::front::lock;
use super::service::state_key;
use super::session::take_away;
use super::{defaults, far_end, find_mics, wanted, wanted_echo};
use crate::cli::Planned;
use crate::config::{Config, Latency, Route};
use crate::exit::Failure;
use crate::plan::pipewire::Chain;
use crate::plan::{self, Blocked, Graph, Present};
use crate::pulse::{self, Connection, PulseError};
use crate::{host, say, state};
use anyhow::{Context as _, anyhow};
use driftmerge_dsp::params::delay_for_lag_ms;
use driftmerge_dsp::{Controls, Snapshot};
use sd_notify::NotifyState;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often requests are answered and the process is looked after.
const TURN: Duration = Duration::from_millis(50);
/// How often the server is asked whether the source is there, and how often one that is gone is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How long the source may take to be there after its process was started.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Runs the service until `stop` is set.
///
/// # Errors
/// No plugin, no PipeWire or none that runs a filter-chain, no such microphone, or something is in the way.
pub(super) fn run_until(
    config: &Config,
    stop: &Arc<AtomicBool>,
    control: Option<Control>,
    at_work: &AtWork,
) -> Result<(), Failure> {
    let there = Mutex::new(Told { server: true, there: false });
    let began = Instant::now();
    let act = |request| act(config, &request, &lock(&there).clone(), began, stop);
    attend(control, at_work, act, || work(config, stop, &there, at_work))
}

fn work(config: &Config, stop: &Arc<AtomicBool>, told: &Mutex<Told>, at_work: &AtWork) -> Result<(), Failure> {
    let bundle = host::find_bundle(config.bundle.as_deref())?;
    let program = find_program("pipewire").ok_or_else(|| {
        Failure::Server(
            "there is no program `pipewire` to run the filter-chain with; install PipeWire, or take another --route"
                .into(),
        )
    })?;
    let mut connection = Connection::open_until(config.server.as_deref(), stop)?;
    let present = pulse::survey(&mut connection)?;
    let (name, version) = &present.server;
    if !name.contains("PipeWire") {
        return Err(Failure::Server(format!(
            "the sound server is `{name}` {version}, and route pipewire needs PipeWire; take --route direct"
        )));
    }
    let mics = find_mics(config, &present)?;
    let echo = wanted_echo(config, &present)?;
    let graph = wanted(config, &mics, echo.as_ref(), Planned::Run, Path::new(""))?;
    let learnt = state::load(&config.state_dir, &state_key(config, &mics));
    let chain = chain(config, &graph, &learnt);
    for taken in [chain.name.to_owned(), chain.in_node()] {
        if present.sources.iter().any(|source| source.name == taken) || present.sinks.contains(&taken) {
            return Err(Blocked::Taken { name: taken }.into());
        }
    }
    let mut pipewire = command(&program);
    // Read by its handle, the file needs no name that could be left behind.
    let file = configuration(&chain.configuration()).context("cannot write PipeWire's configuration")?;
    pipewire.arg("-c").arg(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    pipewire.env("LV2_PATH", bundle.parent().unwrap_or(&bundle));
    let process = Kept::new("PipeWire's filter-chain".into(), pipewire);
    let far_end = far_end::receiver(config, &graph.far_sink())?;
    let mut native = Native { config, graph: &graph, process, far_end, connection: Some(connection), there: false };
    let served = AssertUnwindSafe(|| native.begin(&present, stop).and_then(|()| native.serve(told, at_work, stop)));
    let ended = catch_unwind(served).unwrap_or_else(|panic| Err(broken(&*panic)));
    tell_manager(NotifyState::Stopping);
    let closed = native.close();
    // Whoever ends it while it starts gets what they want.
    if stop.load(Ordering::Relaxed) { closed } else { ended.and(closed) }
}

/// A file without a name.
fn configuration(text: &str) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// What is told of the server and the merged source.
#[derive(Clone)]
struct Told {
    server: bool,
    there: bool,
}

/// Prints the configuration.
///
/// # Errors
/// As [`run_until`], as far as the microphones are concerned.
pub(super) fn plan(config: &Config) -> Result<(), Failure> {
    let present = pulse::survey(&mut Connection::open(config.server.as_deref())?)?;
    let (mics, echo) = (find_mics(config, &present)?, wanted_echo(config, &present)?);
    let mut config = config.clone();
    config.route = Route::Pipewire;
    let graph = wanted(&config, &mics, echo.as_ref(), Planned::Run, Path::new(""))?;
    say::lines(plan::steps(&graph, &present)?.iter().map(|step| format!("# before: {}", step.pactl())))?;
    let learnt = state::load(&config.state_dir, &state_key(&config, &mics));
    say::text(&chain(&config, &graph, &learnt).configuration())
}

/// What PipeWire is to run.
fn chain<'a>(config: &'a Config, graph: &Graph, learnt: &[Option<Snapshot>]) -> Chain<'a> {
    let mut before_s = 0.0;
    let mut controls = Vec::new();
    let mut stages = Vec::new();
    for (i, learnt_before) in learnt.iter().enumerate() {
        // What is kept is against A; a plugin hears A later by what the ones before it add.
        let learnt_before = learnt_before.map(|learnt| Snapshot { lag_s: learnt.lag_s - before_s, ..learnt });
        let usual = config.controls().of_link(i, learnt.len());
        let delay_ms = match learnt_before {
            Some(learnt) if config.latency == Latency::Auto => delay_for_lag_ms(learnt.lag_s * 1e3),
            _ => usual.delay_ms,
        };
        before_s += f64::from(delay_ms) * 1e-3;
        controls.push(Controls { delay_ms, ..usual });
        stages.push(learnt_before);
    }
    let mics = (0..graph.mics.len()).map(|i| graph.recorded(i)).collect();
    Chain { name: &config.play_device, mics, rate_hz: config.rate_hz, controls, learnt: stages }
}

/// A running service.
struct Native<'a> {
    config: &'a Config,
    graph: &'a Graph<'a>,
    process: Kept,
    far_end: Option<Kept>,
    /// None while the server is away.
    connection: Option<Connection>,
    /// Whether the merged source is.
    there: bool,
}

impl Native<'_> {
    /// Makes what comes before the merge and starts the process; returns when the source is there.
    fn begin(&mut self, present: &Present, stop: &AtomicBool) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        pulse::apply(connection, &plan::steps(self.graph, present)?)?;
        self.process.start().context("cannot start `pipewire`")?;
        let begin = Instant::now();
        loop {
            if let Some(why) = self.process.ended() {
                return Err(refused(&why));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(PulseError::Stopped.into());
            }
            if has_source(connection, &self.config.play_device)? {
                break;
            }
            if begin.elapsed() > START_LIMIT {
                let limit_s = START_LIMIT.as_secs();
                return Err(anyhow!(
                    "PipeWire's filter-chain runs, but the source `{}` is not there after {limit_s} s; is a session manager (wireplumber) at work?",
                    self.config.play_device
                )
                .into());
            }
            std::thread::sleep(TURN);
        }
        self.arrived(present, false)
    }

    /// The source is there.
    fn arrived(&mut self, present: &Present, again: bool) -> Result<(), Failure> {
        self.there = true;
        let (config, Some(connection)) = (self.config, &mut self.connection) else { return Ok(()) };
        defaults::take(connection, present, config, again)?;
        tracing::info!("merging `{}` into `{}`, in PipeWire", self.labels().join("`, `"), config.play_device);
        tell_manager(NotifyState::Ready);
        Ok(())
    }

    fn labels(&self) -> Vec<&str> {
        self.graph.mics.iter().map(|mic| mic.label.as_str()).collect()
    }

    /// Turns until a signal comes.
    fn serve(&mut self, told: &Mutex<Told>, at_work: &AtWork, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        let mut looked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            at_work.say();
            *lock(told) = Told { server: self.connection.is_some(), there: self.there };
            std::thread::sleep(TURN);
            if let Some(far_end) = &mut self.far_end {
                far_end.look();
            }
            if self.connection.is_some() {
                self.process.look();
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                match self.look(stop) {
                    Err(_) if stop.load(Ordering::Relaxed) => {}
                    looked => looked?,
                }
            }
        }
        Ok(())
    }

    /// Looks whether the server and the source are there, and mends what is not.
    fn look(&mut self, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            let opened = Connection::open_until(self.config.server.as_deref(), stop);
            let Ok(mut connection) = opened else { return Ok(()) };
            let Ok(present) = pulse::survey(&mut connection) else { return Ok(()) };
            let steps = plan::steps(self.graph, &present)?;
            // A microphone may not be there yet.
            if pulse::apply(&mut connection, &steps).is_ok() && self.process.start().is_ok() {
                tracing::info!("the server is back");
                self.connection = Some(connection);
            }
            return Ok(());
        };
        match has_source(connection, &self.config.play_device) {
            Ok(true) if self.there => Ok(()),
            Ok(true) => {
                let present = pulse::survey(connection)?;
                self.arrived(&present, true)
            }
            Ok(false) => {
                if std::mem::take(&mut self.there) {
                    tracing::warn!("`{}` is gone", self.config.play_device);
                }
                // One that has lost its server stays and does nothing.
                if self.process.runs_for() > START_LIMIT {
                    self.process.give_up();
                }
                Ok(())
            }
            Err(PulseError::Lost(why)) => {
                tracing::warn!("{why}; waiting for the server");
                self.there = false;
                self.connection = None;
                self.process.stop();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the process and takes away what came before it.
    fn close(mut self) -> Result<(), Failure> {
        self.process.stop();
        drop(self.far_end.take());
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        match take_away(&mut connection, &self.config.play_device) {
            Ok(()) => Ok(()),
            Err(PulseError::Lost(why)) => {
                tracing::warn!("{why}; what is left in the server is removed by the next `driftmerge run` or `unload`");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Answers a request.
fn act(config: &Config, request: &Request, told: &Told, began: Instant, stop: &AtomicBool) -> Answer {
    match request {
        Request::Status => Answer::Status(status(config, told, began)),
        Request::Do(Order::Stop) => {
            tracing::info!("shutdown requested");
            stop.store(true, Ordering::Relaxed);
            Answer::Done("it ends".into())
        }
        Request::Do(_) => Answer::Refused(
            "on route pipewire the plugin is PipeWire's: nothing can be changed while it runs; start `driftmerge run` \
             anew with other settings"
                .into(),
        ),
    }
}

fn status(config: &Config, told: &Told, began: Instant) -> Status {
    let other = |microphone: &String| Other {
        microphone: microphone.clone(),
        present: told.there,
        state: "unknown: PipeWire's filter-chain does not tell".into(),
        lag_ms: 0.0,
        drift_ppm: 0.0,
        confidence: 0.0,
        weight: 0.0,
        polarity: 1.0,
    };
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        source: config.play_device.clone(),
        reference: config.microphones.first().cloned().unwrap_or_default(),
        present: told.there,
        server: told.server,
        notices: Vec::new(),
        rate_hz: config.rate_hz,
        up_s: began.elapsed().as_secs_f64(),
        resting: false,
        latency_ms: config.controls().delay_ms,
        waiting_ms: None,
        others: config.microphones.iter().skip(1).map(other).collect(),
    }
}

fn has_source(connection: &mut Connection, name: &str) -> Result<bool, PulseError> {
    Ok(pulse::survey(connection)?.sources.iter().any(|source| source.name == name))
}

/// Why PipeWire's process has ended before its source was there.
fn refused(why: &str) -> Failure {
    // Without a server no module can be loaded either.
    let alone = why.contains("can't connect");
    if !alone && (why.contains("filter-chain") || why.contains("lv2")) {
        return Failure::Plugin(format!(
            "PipeWire cannot run the plugin ({why}); it needs libpipewire-module-filter-chain with LV2 \
             (in Debian libpipewire-0.3-modules); or take --route direct"
        ));
    }
    Failure::Server(format!("PipeWire's process for the filter-chain has ended ({why}); is PipeWire running?"))
}
