//! `driftmerge run`: the service, until a signal ends it.
//!
//! The main thread turns the server's main loop, moves sound between streams and rings, and watches: a microphone that
//! goes away is looked for again, a server that goes away is waited for, and the graph is made anew. The plugin runs in
//! the merger's thread all the while, so that what it has learnt outlives both.

use super::control::{Control, Other, Status};
use super::{find_mics, wanted};
use crate::cli::Planned;
use crate::config::{Config, Latency, Route};
use crate::exit::Failure;
use crate::host::merger::{self, StageStart};
use crate::host::{self, Hosted, Merger, Meters, pace::Clock};
use crate::plan::{self, Step, devices};
use crate::pulse::capture::Taken;
use crate::pulse::{self, Capture, Connection, Player, PulseError};
use crate::state;
use anyhow::Context as _;
use driftmerge_dsp::Snapshot;
use driftmerge_dsp::params::STATE_NAMES;
use ringbuf::traits::Split as _;
use ringbuf::{HeapCons, HeapProd, HeapRb};
use sd_notify::NotifyState;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait in one turn of the server's main loop; merged sound waits for it at most so long.
const TURN: Duration = Duration::from_millis(5);
/// Sound that a ring holds, s.
const RING_S: f64 = 4.0;
/// A microphone that delivers nothing for so long, beyond its fragments, is replaced by silence.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a missing microphone or server is looked for.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is asked whether somebody records the merged source.
const RECORDED_LOOK: Duration = Duration::from_millis(200);
/// Nobody has recorded for so long: the microphones are let go.
const REST_AFTER: Duration = Duration::from_secs(4);
/// The same before the first lock: what is learnt then makes the first word of the first recording right.
const REST_AFTER_UNLOCKED: Duration = Duration::from_secs(60);
/// How often the meters are looked at.
const METER_LOOK: Duration = Duration::from_millis(50);
/// How often the line on a terminal is written.
const LINE: Duration = Duration::from_millis(500);
/// How often the service manager is told that all is well.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often what was learnt is kept.
const KEEP: Duration = Duration::from_secs(60);
/// A change of the lag that is told as a jump, ms, and the time in which it happens: drift alone takes longer.
const JUMP_MS: f32 = 1.0;
const JUMP_LOOK: Duration = Duration::from_millis(500);

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
    let bundle = host::find_bundle(config.bundle.as_deref())?;
    let plugins: Result<Vec<Hosted>, _> =
        config.microphones.iter().skip(1).map(|_| Hosted::load(&bundle, f64::from(config.rate_hz))).collect();
    let plugins = plugins?;
    let mut connection = Connection::open(config.server.as_deref())?;
    let mics = find_mics(config, &pulse::survey(&mut connection)?)?;
    let service = Service::new(config, mics, stop);
    let (mut link, inputs, output) = Link::new(config, service.mics.len());
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
    let merger = Merger::start(start, inputs, output);
    let ended = service.serve(&mut session, &mut link, &merger);
    let meters = merger.meters();
    if let Some(snapshots) = merger.stop() {
        service.keep(&snapshots);
    }
    session.close(&service)?;
    ended.map(|()| Learnt { meters })
}

/// What stays the same while the service runs.
struct Service<'a> {
    config: &'a Config,
    mics: Vec<String>,
    stop: &'a AtomicBool,
    /// Under what is learnt is kept.
    key: state::Key,
}

impl<'a> Service<'a> {
    fn new(config: &'a Config, mics: Vec<String>, stop: &'a AtomicBool) -> Self {
        // The server's loopbacks have delays of their own: a lag learnt there says nothing about the direct route.
        let way = if config.route == Route::Loopback { "loopback:" } else { "" };
        let microphones = mics.iter().map(|mic| format!("{way}{mic}")).collect();
        let key = state::Key { microphones, rate_hz: config.rate_hz };
        Self { config, mics, stop, key }
    }

    /// Turns until a signal comes.
    fn serve(&self, session: &mut Session, link: &mut Link, merger: &Merger) -> Result<(), Failure> {
        let mut watch = Watch::new();
        let control = Control::open(&self.config.play_device)
            .map_err(|why| tracing::warn!("`driftmerge status` will not work: no socket for it: {why}"))
            .ok();
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
            if let Some(control) = &control {
                control.answer(|| self.status(session, merger, watch.began));
            }
        }
        watch.end();
        Ok(())
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
                microphone: self.mics[i + 1].clone(),
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
            reference: self.mics[0].clone(),
            present: session.alive[0],
            rate_hz: self.config.rate_hz,
            up_s: began.elapsed().as_secs_f64(),
            resting: session.resting,
            latency_ms: ms(meters.iter().map(|m| m.latency_frames).sum()),
            waiting_ms: session.player.level_s().map(|level_s| level_s * 1e3),
        }
    }

    /// The graph, as steps from what the server has.
    fn steps(&self, present: &plan::Present) -> Result<Vec<Step>, Failure> {
        Ok(plan::steps(&wanted(self.config, &self.mics, Planned::Run, Path::new(""))?, present)?)
    }

    /// What an earlier run learnt about these microphones, one entry for each after A.
    fn learnt_before(&self) -> Vec<Option<Snapshot>> {
        state::load(&self.config.state_dir, &self.key)
    }

    /// Keeps what was learnt for the next run, if anything was.
    fn keep(&self, snapshots: &[Option<Snapshot>]) {
        if snapshots.iter().all(Option::is_none) {
            return;
        }
        match state::save(&self.config.state_dir, &self.key, snapshots) {
            Ok(path) => tracing::debug!("what was learnt is kept in {}", path.display()),
            Err(why) => {
                let folder = self.config.state_dir.display();
                tracing::warn!("what was learnt cannot be kept in {folder}: {why}; the next start will search anew");
            }
        }
    }
}

/// The name of the tracker's state.
fn state_name(meters: &Meters) -> &'static str {
    STATE_NAMES[(meters.state as usize).min(STATE_NAMES.len() - 1)]
}

/// This side of the rings.
struct Link {
    inputs: Vec<HeapProd<f32>>,
    output: HeapCons<f32>,
}

impl Link {
    fn new(config: &Config, mics: usize) -> (Self, Vec<HeapCons<f32>>, HeapProd<f32>) {
        let ring = || HeapRb::<f32>::new((RING_S * f64::from(config.rate_hz)) as usize).split();
        let (inputs, theirs) = (0..mics).map(|_| ring()).unzip();
        let (out, output) = ring();
        (Self { inputs, output }, theirs, out)
    }
}

/// The streams of one connection.
struct Session {
    connection: Connection,
    /// One for each microphone, or one stereo one for both; None while its source is away.
    captures: Vec<Option<Capture>>,
    /// Whether each microphone delivers; both are as the one stream is on the loopback route.
    alive: Vec<bool>,
    /// Frames received from each by streams that are gone.
    before: Vec<u64>,
    player: Player,
    rate_hz: f64,
    /// One for each microphone after A.
    clocks: Vec<Clock>,
    /// What A had taken by its newest answer.
    taken_by_a: Option<Taken>,
    begin: Instant,
    retried: Instant,
    /// The microphones are let go because nobody records.
    resting: bool,
    recorded: Instant,
    recorded_looked: Instant,
}

impl Session {
    /// Makes the graph and opens the streams; `before` counts the frames that were received earlier.
    fn open(service: &Service, mut connection: Connection, before: &[u64]) -> Result<Self, Failure> {
        let config = service.config;
        let present = pulse::survey(&mut connection)?;
        let steps = service.steps(&present)?;
        pulse::apply(&mut connection, &steps)?;
        let graph = wanted(config, &service.mics, Planned::Run, Path::new(""))?;
        let opened = Self::open_streams(service, &mut connection, &graph.out_sink(), before);
        let (captures, player) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Half a graph helps nobody.
                let _ = take_away(&mut connection, &config.play_device);
                return Err(error.into());
            }
        };
        let now = Instant::now();
        let rate_hz = f64::from(config.rate_hz);
        Ok(Self {
            connection,
            captures,
            alive: vec![true; service.mics.len()],
            before: before.to_vec(),
            player,
            rate_hz,
            clocks: vec![Clock::new(rate_hz); service.mics.len() - 1],
            taken_by_a: None,
            begin: now,
            retried: now,
            resting: false,
            recorded: now,
            recorded_looked: now,
        })
    }

    fn open_streams(
        service: &Service,
        connection: &mut Connection,
        sink: &str,
        before: &[u64],
    ) -> Result<(Vec<Option<Capture>>, Player), PulseError> {
        let config = service.config;
        let streams = if config.route == Route::Direct { service.mics.len() } else { 1 };
        let captures: Result<Vec<_>, _> =
            (0..streams).map(|i| service.capture(connection, i, before[i]).map(Some)).collect();
        let player = Player::open(connection, &config.play_device, sink, config.rate_hz, config.play_buffer_frames)?;
        Ok((captures?, player))
    }

    /// One turn: sound in, sound out, and a look at the clocks.
    fn turn(&mut self, service: &Service, link: &mut Link, merger: &Merger) -> Result<(), PulseError> {
        self.connection.turn(TURN)?;
        let patience = PATIENCE + Duration::from_secs_f64(2.0 * service.fragment_s());
        let direct = service.config.route == Route::Direct;
        for i in 0..self.captures.len() {
            let rings = if direct { &mut link.inputs[i..=i] } else { &mut link.inputs[..] };
            let mut quiet = self.begin.elapsed() > patience;
            if let Some(capture) = &mut self.captures[i] {
                let dropped = capture.pull(rings)?;
                if dropped > 0 {
                    tracing::warn!("{dropped} frames of `{}` are lost: the machine is too busy", service.mics[i]);
                }
                quiet &= capture.newest().is_none_or(|at| at.elapsed() > patience);
                self.before[i] = capture.received();
                if capture.lost() {
                    tracing::warn!("`{}` is gone; waiting for it", service.mics[i]);
                    self.captures[i] = None;
                }
            }
            self.alive[i] = !quiet;
            merger.set_alive(i, !quiet);
        }
        if direct {
            self.compare_clocks(merger);
        } else {
            self.alive[1] = self.alive[0];
            merger.set_alive(1, self.alive[1]);
        }
        merger.wake();
        if self.player.lost() {
            return Err(PulseError::Lost("the sink of the merged sound is gone".into()));
        }
        self.player.push(&mut link.output)?;
        self.rest(service, merger)?;
        if !self.resting && self.captures.iter().any(Option::is_none) && self.retried.elapsed() > RETRY {
            self.retried = Instant::now();
            self.look_for_lost(service)?;
        }
        Ok(())
    }

    /// Tells the merger how far the others' clocks are from A's, where both deliver.
    fn compare_clocks(&mut self, merger: &Merger) {
        let Some((a, others)) = self.captures.split_first_mut() else { return };
        let a_there = self.alive[0] && a.is_some();
        let newer = a.as_mut().and_then(Capture::take_taken);
        self.taken_by_a = newer.or(self.taken_by_a).filter(|_| a_there);
        for (i, (other, clock)) in others.iter_mut().zip(&mut self.clocks).enumerate() {
            if !a_there || !self.alive[i + 1] || other.is_none() {
                *clock = Clock::new(self.rate_hz);
            } else if let (Some(a), Some(b)) = (self.taken_by_a, other.as_mut().and_then(Capture::take_taken)) {
                let apart_s = (b.at - self.begin).as_secs_f64() - (a.at - self.begin).as_secs_f64();
                clock.look(self.begin.elapsed().as_secs_f64(), b.frames - a.frames - apart_s * self.rate_hz);
            }
            merger.set_wanted(i, clock.difference_frames());
        }
    }

    /// Lets the microphones go while nobody records the merged source, and takes them again when somebody does.
    fn rest(&mut self, service: &Service, merger: &Merger) -> Result<(), PulseError> {
        if self.recorded_looked.elapsed() < RECORDED_LOOK {
            return Ok(());
        }
        self.recorded_looked = Instant::now();
        if pulse::recorded(&mut self.connection, &service.config.play_device)? {
            self.recorded = Instant::now();
        }
        let patience = if merger.meters().iter().all(Meters::locked) { REST_AFTER } else { REST_AFTER_UNLOCKED };
        let rest = self.recorded.elapsed() > patience;
        if rest == self.resting {
            return Ok(());
        }
        self.resting = rest;
        self.player.rest(rest);
        if rest {
            tracing::info!("nobody records `{}`: the microphones are let go", service.config.play_device);
            self.captures.fill_with(|| None);
        } else {
            tracing::info!("`{}` is recorded", service.config.play_device);
            self.look_for_lost(service)?;
        }
        Ok(())
    }

    /// Opens the microphones again that have come back.
    fn look_for_lost(&mut self, service: &Service) -> Result<(), PulseError> {
        let present = pulse::survey(&mut self.connection)?;
        for i in 0..self.captures.len() {
            if self.captures[i].is_some() || devices::find(&present, &service.mics[i]).is_err() {
                continue;
            }
            match service.capture(&mut self.connection, i, self.before[i]) {
                Ok(capture) => {
                    tracing::info!("`{}` is back", service.mics[i]);
                    self.captures[i] = Some(capture);
                }
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(())
    }

    /// Waits for the server and opens everything anew. False: a signal came first.
    fn reopen(&mut self, service: &Service) -> bool {
        while !service.stop.load(Ordering::Relaxed) {
            std::thread::sleep(RETRY);
            let opened = Connection::open(service.config.server.as_deref())
                .map_err(Failure::from)
                .and_then(|connection| Self::open(service, connection, &self.before));
            match opened {
                Ok(session) => {
                    *self = session;
                    return true;
                }
                Err(error) => tracing::debug!("{error}"),
            }
        }
        false
    }

    /// Closes the streams and takes the graph away.
    fn close(self, service: &Service) -> Result<(), Failure> {
        let Self { mut connection, captures, player, .. } = self;
        drop((captures, player));
        match take_away(&mut connection, &service.config.play_device) {
            // A server that is gone has nothing of ours.
            Ok(()) | Err(PulseError::Lost(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Service<'_> {
    /// Length of a fragment, s.
    fn fragment_s(&self) -> f64 {
        f64::from(self.config.chunk_frames) / f64::from(self.config.rate_hz)
    }

    /// Opens the stream `i`: a microphone of its own, or both as one.
    fn capture(&self, connection: &mut Connection, i: usize, before: u64) -> Result<Capture, PulseError> {
        let config = self.config;
        let (source, channels) = match config.route {
            Route::Direct => (self.mics[i].clone(), 1),
            Route::Loopback => (format!("{}_in.monitor", config.play_device), 2),
        };
        Capture::open(connection, &source, config.rate_hz, channels, config.chunk_frames, before)
    }
}

/// Takes the graph `name` away from the server.
fn take_away(connection: &mut Connection, name: &str) -> Result<(), PulseError> {
    let present = pulse::survey(connection)?;
    let steps: Vec<Step> = plan::ours(&present, Some(name)).into_iter().cloned().map(Step::Unload).collect();
    pulse::apply(connection, &steps)
}

/// What the watch knew of one microphone.
#[derive(Clone, Copy)]
struct Known {
    locked: bool,
    /// The lag some time ago, ms.
    lag_ms: f32,
    at: Instant,
}

/// Tells what happens: a line per event in the log, one line that changes on a terminal.
struct Watch {
    terminal: bool,
    /// What was known of each microphone after A.
    known: Vec<Known>,
    running: bool,
    began: Instant,
    looked: Instant,
    lined: Instant,
    kept: Instant,
    beaten: Instant,
}

/// Tells the service manager, where there is one that listens.
fn tell_manager(state: NotifyState) {
    // Without one this does nothing; that one does not listen is its own trouble.
    let _ = sd_notify::notify(&[state]);
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self {
            terminal,
            known: Vec::new(),
            running: false,
            began: now,
            looked: now,
            lined: now,
            kept: now,
            beaten: now,
        }
    }

    fn look(&mut self, service: &Service, session: &Session, merger: &Merger) {
        if self.looked.elapsed() < METER_LOOK {
            return;
        }
        self.looked = Instant::now();
        if !self.running && merger.running() {
            self.running = true;
            tell_manager(NotifyState::Ready);
            tracing::info!("merging `{}` into `{}`", service.mics.join("`, `"), service.config.play_device);
        }
        if self.beaten.elapsed() > HEARTBEAT {
            self.beaten = Instant::now();
            tell_manager(NotifyState::Watchdog);
        }
        let meters = merger.meters();
        self.known.resize(meters.len(), Known { locked: false, lag_ms: 0.0, at: self.looked });
        for (i, now) in meters.iter().enumerate() {
            self.tell_changes(i, now, &service.mics[i + 1]);
        }
        tracing::trace!(?meters, level_s = session.player.level_s(), clocks = ?session.clocks, "meters");
        if self.terminal && self.lined.elapsed() > LINE {
            self.lined = Instant::now();
            eprint!("\r\x1b[K");
            for now in &meters {
                let Meters { lag_ms, drift_ppm, confidence, weight, .. } = now;
                let state = state_name(now);
                eprint!(
                    "{state}  lag {lag_ms:.3} ms  drift {drift_ppm:.2} ppm  confidence {confidence:.2}  share {weight:.2}  "
                );
            }
            let _ = std::io::stderr().flush();
        }
        if let Some(snapshots) = merger.take_snapshots() {
            service.keep(&snapshots);
        }
        if self.kept.elapsed() > KEEP {
            self.kept = Instant::now();
            merger.ask_snapshots();
        }
    }

    /// Tells of a lock won or lost, and of jumps.
    fn tell_changes(&mut self, i: usize, now: &Meters, name: &str) {
        let known = self.known[i];
        if now.locked() != known.locked {
            self.known[i] = Known { locked: now.locked(), lag_ms: now.lag_ms, at: Instant::now() };
            if now.locked() {
                self.tell(&format!("`{name}` locked: lag {:.3} ms, drift {:.2} ppm", now.lag_ms, now.drift_ppm));
            } else {
                self.tell(&format!("`{name}` lost its lock, searching"));
            }
        } else if now.locked() && known.at.elapsed() > JUMP_LOOK {
            self.known[i] = Known { lag_ms: now.lag_ms, at: Instant::now(), ..known };
            if (now.lag_ms - known.lag_ms).abs() > JUMP_MS {
                self.tell(&format!("the lag of `{name}` jumped from {:.3} to {:.3} ms", known.lag_ms, now.lag_ms));
            }
        }
    }

    fn tell(&self, event: &str) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        tracing::info!("{event}");
    }

    fn end(&self) {
        tell_manager(NotifyState::Stopping);
        if self.terminal {
            eprintln!();
        }
    }
}
