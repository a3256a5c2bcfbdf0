//! `driftmerge run`: the service, until a signal ends it.
//!
//! The main thread turns the server's main loop, moves sound between streams and rings (`session`), and watches
//! (`watch`): a microphone that goes away is looked for again, a server that goes away is waited for, and the graph
//! is made anew. The plugin runs in the merger's thread all the while, so that what it has learnt outlives both.

use super::child::Kept;
use super::control::{Answer, Control, Order, Other, Request, Status};
use super::far_end;
use super::native;
use super::session::{Link, Session};
use super::watch::Watch;
use super::{find_mic, find_mics, wanted, wanted_echo};
use crate::cli::Planned;
use crate::config::{Config, Latency, Route};
use crate::exit::Failure;
use crate::host::merger::{self, Delay, StageStart};
use crate::host::{self, Hosted, Merger, Meters};
use crate::plan::{Echo, Graph, Mic, Present};
use crate::pulse::{self, Connection, PulseError};
use crate::state::{self, StateError};
use anyhow::Context as _;
use driftmerge_dsp::Snapshot;
use driftmerge_dsp::params::STATE_NAMES;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the plugin's thread may take to tell what it has learnt; it takes some milliseconds.
const SNAPSHOT_LIMIT: Duration = Duration::from_millis(500);

/// What a service knew when it ended.
#[derive(Clone, Debug)]
pub struct Learnt {
    /// The newest meters, one set for each microphone after A.
    pub meters: Vec<Meters>,
}

/// Runs the service until a signal ends it.
///
/// # Errors
/// No plugin, no server, no such microphone, or something is in the way.
pub fn run(config: &Config) -> Result<(), Failure> {
    let stop = stop_on_signals()?;
    run_until(config, &stop).map(|_| ())
}

/// A flag that SIGINT, SIGTERM and SIGQUIT set.
///
/// # Errors
/// The system does not let signals be watched.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        signal_hook::flag::register(*signal, Arc::clone(&stop)).context("cannot watch for signals")?;
    }
    Ok(stop)
}

/// Runs the service until `stop` is set.
///
/// # Errors
/// As [`run`].
pub fn run_until(config: &Config, stop: &AtomicBool) -> Result<Learnt, Failure> {
    if config.route == Route::Pipewire {
        return native::run_until(config, stop).map(|()| Learnt { meters: Vec::new() });
    }
    let bundle = host::find_bundle(config.bundle.as_deref())?;
    let plugins: Result<Vec<Hosted>, _> =
        config.microphones.iter().skip(1).map(|_| Hosted::load(&bundle, f64::from(config.rate_hz))).collect();
    let plugins = plugins?;
    let mut connection = Connection::open(config.server.as_deref())?;
    let present = pulse::survey(&mut connection)?;
    let service = Service::new(config, find_mics(config, &present)?, wanted_echo(config, &present)?, stop);
    let (mut link, inputs, output) = Link::new(config, service.mics.len());
    let far_end = far_end::receiver(config, &service.graph(&service.mics)?.far_sink())?;
    let mut session = Session::open(&service, connection, &vec![0; service.mics.len()])?;
    let snapshots = service.learnt_before();
    let stages = plugins.into_iter().zip(snapshots).map(|(plugin, snapshot)| StageStart { plugin, snapshot }).collect();
    let start = merger::Start {
        stages,
        controls: config.controls(),
        auto_delay: config.latency == Latency::Auto,
        rate_hz: f64::from(config.rate_hz),
        own_clocks: config.route == Route::Direct,
    };
    let mut merger = Merger::start(start, inputs, output);
    // It lives until the graph is taken away: who stops the service waits for that.
    let mut control = Control::open(&config.play_device)
        .map_err(|why| tracing::warn!("`driftmerge status` will not work: no socket for it: {why}"))
        .ok();
    let ended = service.serve(&mut session, &mut link, &mut merger, control.as_mut(), far_end);
    let meters = merger.meters();
    if let Some(snapshots) = merger.stop() {
        service.keep_or_tell(&snapshots);
    }
    session.close(&service)?;
    ended.map(|()| Learnt { meters })
}

/// Under what is kept what is learnt about `mics`.
pub(super) fn state_key(config: &Config, mics: &[Mic]) -> state::Key {
    // Loopbacks have delays of their own: a lag learnt there says nothing about the direct route.
    let way = match config.route {
        Route::Direct => "",
        Route::Loopback => "loopback:",
        Route::Pipewire => "pipewire:",
    };
    let microphones = mics.iter().map(|mic| format!("{way}{}", mic.label)).collect();
    state::Key { microphones, rate_hz: config.rate_hz }
}

/// What stays the same while the service runs.
pub(super) struct Service<'a> {
    pub config: &'a Config,
    /// The microphones as they were found at first.
    pub mics: Vec<Mic>,
    /// What people call them.
    pub labels: Vec<String>,
    echo: Option<Echo>,
    pub stop: &'a AtomicBool,
    /// Under what is learnt is kept.
    key: state::Key,
}

impl<'a> Service<'a> {
    fn new(config: &'a Config, mics: Vec<Mic>, echo: Option<Echo>, stop: &'a AtomicBool) -> Self {
        let labels: Vec<String> = mics.iter().map(|mic| mic.label.clone()).collect();
        let key = state_key(config, &mics);
        Self { config, mics, labels, echo, stop, key }
    }

    /// Turns until a signal comes.
    fn serve(
        &self,
        session: &mut Session,
        link: &mut Link,
        merger: &mut Merger,
        mut control: Option<&mut Control>,
        mut far_end: Option<Kept>,
    ) -> Result<(), Failure> {
        let mut watch = Watch::new();
        let mut config = self.config.clone();
        while !self.stop.load(Ordering::Relaxed) {
            match session.turn(self, link, merger) {
                Ok(()) => {}
                Err(PulseError::Lost(why)) => {
                    tracing::warn!("{why}; waiting for the server");
                    if !session.reopen(self) {
                        break;
                    }
                    tracing::info!("the server is back");
                }
                Err(error) => return Err(error.into()),
            }
            watch.look(self, session, merger);
            if let Some(far_end) = &mut far_end {
                far_end.look();
            }
            if let Some(control) = &mut control {
                control.answer(|request| match request {
                    Request::Status => Answer::Status(self.status(session, merger, watch.began)),
                    Request::Do(order) => self.act(order, &mut config, merger),
                });
            }
        }
        watch.end();
        Ok(())
    }

    /// Does what somebody asked for; `config` holds the settings as they were changed so far.
    fn act(&self, order: Order, config: &mut Config, merger: &mut Merger) -> Answer {
        const BUSY: &str = "too many changes wait to be taken; try again";
        match order {
            Order::Set(changes) => match config.changed(&changes) {
                Err(why) => Answer::Refused(why.to_string()),
                Ok(changed) => {
                    let delay = match (changes.iter().any(|(key, _)| key == "latency"), changed.latency) {
                        (false, _) => Delay::Keep,
                        (true, Latency::Auto) => Delay::Choose,
                        (true, Latency::Fixed(_)) => Delay::Set,
                    };
                    if !merger.set_controls(changed.controls(), delay) {
                        return Answer::Failed(BUSY.into());
                    }
                    *config = changed;
                    let words: Vec<_> = changes.iter().map(|(key, value)| format!("{key} is {value}")).collect();
                    tracing::info!("told to change: {}", words.join(", "));
                    Answer::Done(format!("{} until `driftmerge run` ends", words.join(", ")))
                }
            },
            Order::Reset if !merger.reset() => Answer::Failed(BUSY.into()),
            Order::Reset => {
                tracing::info!("told to forget what was learnt");
                match state::forget(&self.config.state_dir, &self.key) {
                    Ok(()) => Answer::Done("what was learnt is forgotten; searching".into()),
                    Err(why) => Answer::Failed(format!(
                        "searching again, but {} cannot be taken away: {why}",
                        self.key.path(&self.config.state_dir).display()
                    )),
                }
            }
            Order::Save => match merger.snapshots_now(SNAPSHOT_LIMIT).map(|snapshots| self.keep(&snapshots)) {
                Some(Ok(Some(path))) => Answer::Done(format!("what was learnt is kept in {}", path.display())),
                Some(Ok(None)) => Answer::Failed("nothing has been learnt yet: no two microphones have locked".into()),
                Some(Err(why)) => Answer::Failed(self.not_kept(&why)),
                None => Answer::Failed("the plugin's thread does not tell what it has learnt; try again".into()),
            },
            Order::Stop => {
                tracing::info!("told to end");
                self.stop.store(true, Ordering::Relaxed);
                Answer::Done("it ends".into())
            }
        }
    }

    /// What is told to whoever asks.
    fn status(&self, session: &Session, merger: &Merger, began: Instant) -> Status {
        let meters = merger.meters();
        let ms = |frames: f32| frames / self.config.rate_hz as f32 * 1e3;
        let mut before_frames = 0.0;
        let others = meters.iter().enumerate().map(|(i, meters)| {
            let lag_ms = meters.lag_ms + ms(before_frames);
            before_frames += meters.latency_frames;
            Other {
                microphone: self.labels[i + 1].clone(),
                present: session.alive[i + 1],
                state: state_name(meters).into(),
                lag_ms,
                drift_ppm: meters.drift_ppm,
                confidence: meters.confidence,
                weight: meters.weight,
                polarity: meters.polarity,
            }
        });
        Status {
            others: others.collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            source: self.config.play_device.clone(),
            reference: self.labels[0].clone(),
            present: session.alive[0],
            rate_hz: self.config.rate_hz,
            up_s: began.elapsed().as_secs_f64(),
            resting: session.resting,
            latency_ms: ms(meters.iter().map(|m| m.latency_frames).sum()),
            waiting_ms: session.player.waiting_s().map(|waiting_s| waiting_s * 1e3),
        }
    }

    /// The graph of `mics`.
    pub fn graph<'b>(&'b self, mics: &[Mic]) -> Result<Graph<'b>, Failure> {
        wanted(self.config, mics, self.echo.as_ref(), Planned::Run, Path::new(""))
    }

    /// Looks for the microphones again: one may be back under another name.
    pub fn find_again(&self, present: &Present, mics: &mut [Mic]) {
        let has = |name: &str| present.sources.iter().any(|source| source.name == name);
        // Those of other machines are there when their tunnels are.
        let tunnels: Vec<bool> =
            self.graph(mics).map_or(vec![], |graph| (0..mics.len()).map(|i| has(&graph.source_of(i))).collect());
        for (i, name) in self.config.microphones.iter().enumerate() {
            if mics[i].server.is_some() {
                mics[i].there = tunnels.get(i) == Some(&true);
                continue;
            }
            let others =
                |source: &str| mics.iter().enumerate().any(|(j, mic)| j != i && mic.there && mic.source == source);
            let found = find_mic(present, name).ok().filter(|mic| !others(&mic.source));
            let mic = &mut mics[i];
            match found {
                Some(found) => (mic.source, mic.there) = (found.source, true),
                None => mic.there = false,
            }
        }
    }

    /// What an earlier run learnt about these microphones, one entry for each after A.
    fn learnt_before(&self) -> Vec<Option<Snapshot>> {
        state::load(&self.config.state_dir, &self.key)
    }

    /// Keeps what was learnt for the next run, and gives the file; None: there was nothing.
    fn keep(&self, snapshots: &[Option<Snapshot>]) -> Result<Option<PathBuf>, StateError> {
        if snapshots.iter().all(Option::is_none) {
            return Ok(None);
        }
        state::save(&self.config.state_dir, &self.key, snapshots).map(Some)
    }

    /// The same; that it failed is told in the log.
    pub fn keep_or_tell(&self, snapshots: &[Option<Snapshot>]) {
        match self.keep(snapshots) {
            Ok(Some(path)) => tracing::debug!("what was learnt is kept in {}", path.display()),
            Ok(None) => {}
            Err(why) => tracing::warn!("{}", self.not_kept(&why)),
        }
    }

    fn not_kept(&self, why: &StateError) -> String {
        let folder = self.config.state_dir.display();
        format!("what was learnt cannot be kept in {folder}: {why}; the next start will search anew")
    }
}

/// The name of the tracker's state.
pub(super) fn state_name(meters: &Meters) -> &'static str {
    STATE_NAMES[(meters.state as usize).min(STATE_NAMES.len() - 1)]
}
