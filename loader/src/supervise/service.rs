//! `driftmerge run`: the service, until a signal ends it.
//!
//! The main thread turns the server's main loop, moves sound between streams and rings (`session`), and watches (`watch`): a
//! microphone that goes away is looked for again, a server that goes away or hangs is waited for, and the graph is made
//! anew. The plugin runs in the merger's thread all the while, so that what it has learnt outlives both. A third thread
//! answers requests meanwhile (`desk`).
//!
//! Ending is done in steps that do not depend on each other: what was learnt is saved first, for that needs no server.

use super::control::claim;
use super::desk::{AtWork, attend, broken, tell_manager};
use super::far_end;
use super::front::{Front, Store, lock};
use super::native;
use super::seen::Seen;
use super::session::{Link, Session};
use super::watch::Watch;
use super::{check_name, find_mic, find_mics, wanted, wanted_echo};
use crate::cli::Planned;
use crate::config::{Config, Latency, Route};
use crate::exit::Failure;
use crate::host::merger::{self, StageStart};
use crate::host::{self, Hosted, Merger, Meters};
use crate::plan::{Echo, Graph, Mic, Present};
use crate::pulse::{self, Connection, PulseError};
use crate::state;
use anyhow::{Context as _, anyhow};
use driftmerge_dsp::Snapshot;
use driftmerge_dsp::params::STATE_NAMES;
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The merging thread makes a turn every 50 ms; one that has made none for this long is dead.
const DEAD_AFTER: Duration = Duration::from_millis(700);
/// What counts as passed between two looks at it: while the program stands still, so does the thread.
const LOOK_COUNTS: Duration = Duration::from_millis(60);
/// It is started again this often in this time; then the service gives up, and the service manager may start all anew.
const RESTARTS: usize = 3;
const RESTARTS_IN: Duration = Duration::from_secs(60);
/// How often a server that is away is looked for.
const RETRY: Duration = Duration::from_millis(250);
/// A turn without a server.
const AWAY_TURN: Duration = Duration::from_millis(20);

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
    let stop = super::ending::stop_on_signals()?;
    run_until(config, &stop).map(|_| ())
}

/// Runs the service until `stop` is set.
///
/// # Errors
/// As [`run`].
pub fn run_until(config: &Config, stop: &Arc<AtomicBool>) -> Result<Learnt, Failure> {
    check_name(config)?;
    // First of all, for this is what keeps two from working on the same graph.
    let control = claim(&config.play_device)?;
    let at_work = AtWork::new();
    if config.route == Route::Pipewire {
        return native::run_until(config, stop, control, &at_work).map(|()| Learnt { meters: Vec::new() });
    }
    let front = Front::new(config, stop);
    attend(control, &at_work, |request| front.act(request), || work(config, stop, &front, &at_work))
}

fn work(config: &Config, stop: &Arc<AtomicBool>, front: &Front, at_work: &AtWork) -> Result<Learnt, Failure> {
    let bundle = host::find_bundle(config.bundle.as_deref())?;
    let plugins = load_plugins(&bundle, config)?;
    let nothing = || Learnt { meters: Vec::new() };
    let begun = begin(config, stop, front);
    let (service, session) = match begun {
        // Whoever ends it while it starts gets what they want.
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(nothing()),
        begun => begun?,
    };
    let far_end = far_end::receiver(config, &service.graph(&service.mics)?.far_sink());
    let (before, seen) = (vec![0; service.mics.len()], lock(&front.seen).clone());
    let mut state = Running { session: Some(session), merging: None, before, seen };
    let served = far_end.and_then(|far_end| {
        let started = service.merge(&bundle, plugins, service.store.learnt_before(), config)?;
        front.merges(&started.merger, &service.labels, &service.store);
        state.merging = Some(started);
        catch_unwind(AssertUnwindSafe(|| service.serve(&mut state, front, at_work, far_end)))
            .unwrap_or_else(|panic| Err(broken(&*panic)))
    });
    tell_manager(NotifyState::Stopping);
    let mut meters = Vec::new();
    if let Some(merging) = &state.merging {
        meters = merging.merger.meters();
        service.store.keep_or_tell(&merging.merger.stop().unwrap_or_else(|| merging.learnt.clone()));
    }
    let closed = state.session.map_or(Ok(()), |session| session.close(&service));
    served.and(closed).map(|()| Learnt { meters })
}

/// Connects, looks for the microphones, and makes the graph.
fn begin<'a>(config: &'a Config, stop: &'a Arc<AtomicBool>, front: &Front) -> Result<(Service<'a>, Session), Failure> {
    let mut connection = Connection::open_until(config.server.as_deref(), stop)?;
    let present = pulse::survey(&mut connection)?;
    let service = Service::new(config, find_mics(config, &present)?, wanted_echo(config, &present)?, stop);
    let before = vec![0; service.mics.len()];
    let session = Session::open(&service, connection, &before, false)?;
    lock(&front.seen).present = vec![true; service.mics.len()];
    Ok((service, session))
}

fn load_plugins(bundle: &Path, config: &Config) -> Result<Vec<Hosted>, Failure> {
    let rate_hz = f64::from(config.rate_hz);
    config.microphones.iter().skip(1).map(|_| Ok(Hosted::load(bundle, rate_hz)?)).collect()
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

/// The thread that merges, this side of its rings, and what it has said.
struct Merging {
    bundle: PathBuf,
    merger: Arc<Merger>,
    link: Link,
    /// What it said last that it has learnt.
    learnt: Vec<Option<Snapshot>>,
    beat: Option<u64>,
    still: Duration,
    looked: Instant,
}

impl Merging {
    /// Whether the thread is dead, or hangs.
    fn dead(&mut self) -> bool {
        let beat = self.merger.beat();
        let passed = self.looked.elapsed().min(LOOK_COUNTS);
        self.looked = Instant::now();
        self.still = if beat == self.beat { self.still + passed } else { Duration::ZERO };
        self.beat = beat;
        beat.is_none() || self.still > DEAD_AFTER
    }
}

/// What changes while the service runs.
struct Running {
    /// None while the server is away.
    session: Option<Session>,
    merging: Option<Merging>,
    /// Frames received from each microphone so far.
    before: Vec<u64>,
    /// What is to be told.
    seen: Seen,
}

/// What stays the same while the service runs.
pub(super) struct Service<'a> {
    pub config: &'a Config,
    /// The microphones as they were found at first.
    pub mics: Vec<Mic>,
    /// What people call them.
    pub labels: Vec<String>,
    echo: Option<Echo>,
    pub stop: &'a Arc<AtomicBool>,
    pub store: Store,
}

impl<'a> Service<'a> {
    fn new(config: &'a Config, mics: Vec<Mic>, echo: Option<Echo>, stop: &'a Arc<AtomicBool>) -> Self {
        let labels: Vec<String> = mics.iter().map(|mic| mic.label.clone()).collect();
        let store = Store { folder: config.state_dir.clone(), key: state_key(config, &mics) };
        Self { config, mics, labels, echo, stop, store }
    }

    /// Starts the thread that merges, which knows `learnt`.
    fn merge(
        &self,
        bundle: &Path,
        plugins: Vec<Hosted>,
        learnt: Vec<Option<Snapshot>>,
        config: &Config,
    ) -> Result<Merging, Failure> {
        let (link, inputs, output) = Link::new(self.config, self.mics.len());
        let stages =
            plugins.into_iter().zip(&learnt).map(|(plugin, snapshot)| StageStart { plugin, snapshot: *snapshot });
        let start = merger::Start {
            stages: stages.collect(),
            controls: config.controls(),
            auto_delay: config.latency == Latency::Auto,
            rate_hz: f64::from(config.rate_hz),
            own_clocks: config.route == Route::Direct,
            late_limit_frames: super::session::late_limit_frames(config),
        };
        let merger = Arc::new(Merger::start(start, inputs, output).context("cannot start the thread that merges")?);
        let bundle = bundle.to_owned();
        Ok(Merging { bundle, merger, link, learnt, beat: None, still: Duration::ZERO, looked: Instant::now() })
    }

    /// Turns until a signal comes.
    fn serve(
        &self,
        state: &mut Running,
        front: &Front,
        at_work: &AtWork,
        mut far_end: Option<super::child::Kept>,
    ) -> Result<(), Failure> {
        let mut watch = Watch::new();
        let mut retried = Instant::now();
        let mut deaths: VecDeque<Instant> = VecDeque::new();
        while !self.stop.load(Ordering::Relaxed) {
            at_work.say();
            let Some(merging) = &mut state.merging else { return Ok(()) };
            if merging.dead() {
                deaths.retain(|at| at.elapsed() < RESTARTS_IN);
                deaths.push_back(Instant::now());
                if deaths.len() > RESTARTS {
                    return Err(anyhow!("the thread that merges has ended {} times in a minute", deaths.len()).into());
                }
                tracing::error!("the thread that merges has ended or hangs; starting it again from what it last knew");
                let (bundle, config) = (merging.bundle.clone(), front.config());
                *merging = self.merge(&bundle, load_plugins(&bundle, &config)?, merging.learnt.clone(), &config)?;
                front.merges(&merging.merger, &self.labels, &self.store);
            }
            if let Some(session) = &mut state.session {
                match session.turn(self, &mut merging.link, &merging.merger, &mut state.seen) {
                    Ok(()) => state.before.copy_from_slice(&session.before),
                    Err(PulseError::Lost(why)) => {
                        tracing::warn!("{why}; waiting for the server");
                        state.session = None;
                        state.seen.server = false;
                        lock(&front.seen).clone_from(&state.seen);
                    }
                    Err(PulseError::Stopped) => break,
                    Err(error) => return Err(error.into()),
                }
            } else {
                merging.link.output_clear();
                std::thread::sleep(AWAY_TURN);
                if retried.elapsed() > RETRY {
                    state.session = self.reopen(&state.before, &merging.merger);
                    retried = Instant::now();
                    state.seen.server = state.session.is_some();
                }
            }
            let mut published = lock(&front.seen);
            if *published != state.seen {
                published.clone_from(&state.seen);
            }
            drop(published);
            if let Some(snapshots) = watch.look(self, state.session.as_ref(), &merging.merger) {
                merging.learnt = snapshots;
            }
            if let Some(far_end) = &mut far_end {
                far_end.look();
            }
        }
        watch.end();
        Ok(())
    }

    /// Opens everything anew, if the server is back.
    fn reopen(&self, before: &[u64], merger: &Merger) -> Option<Session> {
        for mic in 0..self.mics.len() {
            merger.set_alive(mic, false);
        }
        let opened = Connection::open_until(self.config.server.as_deref(), self.stop)
            .map_err(Failure::from)
            .and_then(|connection| Session::open(self, connection, before, true));
        match opened {
            Ok(session) => {
                tracing::info!("the server is back");
                Some(session)
            }
            Err(error) => {
                tracing::debug!("{error}");
                None
            }
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
            let others = |found: &Mic| mics.iter().enumerate().any(|(j, mic)| j != i && mic.there && mic.is(found));
            let found = find_mic(present, name).ok().filter(|mic| !others(mic));
            let mic = &mut mics[i];
            match found {
                Some(found) => (mic.source, mic.channel, mic.there) = (found.source, found.channel, true),
                None => mic.there = false,
            }
        }
    }
}

/// The name of the tracker's state.
pub(super) fn state_name(meters: &Meters) -> &'static str {
    STATE_NAMES[(meters.state as usize).min(STATE_NAMES.len() - 1)]
}
