//! `driftmerge run`: the service, until a signal ends it.
//!
//! The main thread turns the server's main loop, moves sound between streams and rings, and watches: a microphone that
//! goes away is looked for again, a server that goes away is waited for, and the graph is made anew. The plugin runs in
//! the merger's thread all the while, so that what it has learnt outlives both.

use super::control::{Control, Status};
use super::{find_mics, wanted};
use crate::cli::Planned;
use crate::config::{Config, Latency, Route};
use crate::exit::Failure;
use crate::host::{self, Hosted, Merger, Meters, merger, pace::Clock};
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
#[derive(Clone, Copy, Debug)]
pub struct Learnt {
    /// The newest meters.
    pub meters: Meters,
    /// What was kept for the next start, if there ever was a lock.
    pub snapshot: Option<Snapshot>,
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
    let plugin = Hosted::load(&host::find_bundle(config.bundle.as_deref())?, f64::from(config.rate_hz))?;
    let mut connection = Connection::open(config.server.as_deref())?;
    let mics = find_mics(config, &pulse::survey(&mut connection)?)?;
    let service = Service::new(config, mics, stop);
    let (mut link, input, output) = Link::new(config);
    let mut session = Session::open(&service, connection, [0, 0])?;
    let start = merger::Start {
        plugin,
        controls: config.controls(),
        auto_delay: config.latency == Latency::Auto,
        snapshot: service.learnt_before(),
        rate_hz: f64::from(config.rate_hz),
        own_clocks: config.route == Route::Direct,
    };
    let merger = Merger::start(start, input, output);
    let ended = service.serve(&mut session, &mut link, &merger);
    let meters = merger.meters();
    let snapshot = merger.stop();
    if let Some(snapshot) = &snapshot {
        service.keep(snapshot);
    }
    session.close(&service)?;
    ended.map(|()| Learnt { meters, snapshot })
}

/// What stays the same while the service runs.
struct Service<'a> {
    config: &'a Config,
    mics: [String; 2],
    stop: &'a AtomicBool,
    /// Under what is learnt is kept.
    key: state::Key,
}

impl<'a> Service<'a> {
    fn new(config: &'a Config, mics: [String; 2], stop: &'a AtomicBool) -> Self {
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
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            source: self.config.play_device.clone(),
            microphones: self.mics.to_vec(),
            present: session.alive.to_vec(),
            resting: session.resting,
            rate_hz: self.config.rate_hz,
            up_s: began.elapsed().as_secs_f64(),
            state: state_name(&meters).into(),
            lag_ms: meters.lag_ms,
            drift_ppm: meters.drift_ppm,
            confidence: meters.confidence,
            weight: meters.weight,
            polarity: meters.polarity,
            latency_ms: meters.latency_frames / self.config.rate_hz as f32 * 1e3,
            waiting_ms: session.player.level_s().map(|level_s| level_s * 1e3),
        }
    }

    /// The graph, as steps from what the server has.
    fn steps(&self, present: &plan::Present) -> Result<Vec<Step>, Failure> {
        Ok(plan::steps(&wanted(self.config, &self.mics, Planned::Run, Path::new(""))?, present)?)
    }

    /// What an earlier run learnt about these microphones.
    fn learnt_before(&self) -> Option<Snapshot> {
        state::load(&self.config.state_dir, &self.key).into_iter().next().flatten()
    }

    /// Keeps what was learnt for the next run.
    fn keep(&self, snapshot: &Snapshot) {
        match state::save(&self.config.state_dir, &self.key, &[Some(*snapshot)]) {
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
    inputs: [HeapProd<f32>; 2],
    output: HeapCons<f32>,
}

impl Link {
    fn new(config: &Config) -> (Self, [HeapCons<f32>; 2], HeapProd<f32>) {
        let ring = || HeapRb::<f32>::new((RING_S * f64::from(config.rate_hz)) as usize).split();
        let ((to_a, a), (to_b, b), (out, from_out)) = (ring(), ring(), ring());
        (Self { inputs: [to_a, to_b], output: from_out }, [a, b], out)
    }
}

/// The streams of one connection.
struct Session {
    connection: Connection,
    /// One for each microphone, or one stereo one for both; None while its source is away.
    captures: Vec<Option<Capture>>,
    /// Whether each microphone delivers; both are as the one stream is on the loopback route.
    alive: [bool; 2],
    /// Frames received from each by streams that are gone.
    before: [u64; 2],
    player: Player,
    rate_hz: f64,
    clock: Clock,
    /// What each microphone has taken, by answers not yet compared.
    taken: [Option<Taken>; 2],
    begin: Instant,
    retried: Instant,
    /// The microphones are let go because nobody records.
    resting: bool,
    recorded: Instant,
    recorded_looked: Instant,
}

impl Session {
    /// Makes the graph and opens the streams; `before` counts the frames that were received earlier.
    fn open(service: &Service, mut connection: Connection, before: [u64; 2]) -> Result<Self, Failure> {
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
        let (clock, taken) = (Clock::new(rate_hz), [None; 2]);
        Ok(Self {
            connection,
            captures,
            alive: [true; 2],
            before,
            player,
            rate_hz,
            clock,
            taken,
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
        before: [u64; 2],
    ) -> Result<(Vec<Option<Capture>>, Player), PulseError> {
        let config = service.config;
        let streams = if config.route == Route::Direct { 2 } else { 1 };
        let captures: Result<Vec<_>, _> =
            (0..streams).map(|i| service.capture(connection, i, before[i]).map(Some)).collect();
        let player = Player::open(connection, &config.play_device, sink, config.rate_hz, config.play_buffer_frames)?;
        Ok((captures?, player))
    }

    /// One turn: sound in, sound out, and a look at the clocks.
    fn turn(&mut self, service: &Service, link: &mut Link, merger: &Merger) -> Result<(), PulseError> {
        self.connection.turn(TURN)?;
        let patience = PATIENCE + Duration::from_secs_f64(2.0 * service.fragment_s());
        let direct = self.captures.len() == 2;
        let mut any_quiet = false;
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
            any_quiet |= quiet || self.captures[i].is_none();
            self.alive[i] = !quiet;
            merger.set_alive(i, !quiet);
        }
        if direct {
            self.compare_clocks(merger, any_quiet);
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

    /// Tells the merger how far apart the clocks are, where both microphones deliver.
    fn compare_clocks(&mut self, merger: &Merger, quiet: bool) {
        if quiet {
            self.clock = Clock::new(self.rate_hz);
            self.taken = [None; 2];
        } else {
            for (place, capture) in self.taken.iter_mut().zip(&mut self.captures) {
                *place = capture.as_mut().and_then(Capture::take_taken).or(*place);
            }
            if let [Some(a), Some(b)] = self.taken {
                self.taken = [None; 2];
                let apart_s = if b.at > a.at { (b.at - a.at).as_secs_f64() } else { -(a.at - b.at).as_secs_f64() };
                self.clock.look(self.begin.elapsed().as_secs_f64(), b.frames - a.frames - apart_s * self.rate_hz);
            }
        }
        merger.set_wanted(self.clock.difference_frames());
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
        let patience = if merger.meters().state > 0.0 { REST_AFTER } else { REST_AFTER_UNLOCKED };
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
                .and_then(|connection| Self::open(service, connection, self.before));
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

/// Tells what happens: a line per event in the log, one line that changes on a terminal.
struct Watch {
    terminal: bool,
    known: Option<Meters>,
    /// The lag some time ago, and when.
    lag_ms: (Instant, f32),
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
            known: None,
            lag_ms: (now, 0.0),
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
            tracing::info!(
                "merging `{}` and `{}` into `{}`",
                service.mics[0],
                service.mics[1],
                service.config.play_device
            );
        }
        if self.beaten.elapsed() > HEARTBEAT {
            self.beaten = Instant::now();
            tell_manager(NotifyState::Watchdog);
        }
        let now = merger.meters();
        let before = self.known.replace(now).unwrap_or_default();
        let state = state_name(&now);
        if before.state == 0.0 && now.state > 0.0 {
            self.tell(&format!("{state}: lag {:.3} ms, drift {:.2} ppm", now.lag_ms, now.drift_ppm));
        } else if before.state > 0.0 && now.state == 0.0 {
            self.tell("lock lost, searching");
        }
        let (since, lag_ms) = self.lag_ms;
        if now.state == 0.0 || before.state == 0.0 {
            self.lag_ms = (Instant::now(), now.lag_ms);
        } else if since.elapsed() > JUMP_LOOK {
            self.lag_ms = (Instant::now(), now.lag_ms);
            if (now.lag_ms - lag_ms).abs() > JUMP_MS {
                self.tell(&format!("the lag jumped from {lag_ms:.3} to {:.3} ms", now.lag_ms));
            }
        }
        tracing::trace!(?now, level_s = session.player.level_s(), clocks = session.clock.difference_frames(), "meters");
        if self.terminal && self.lined.elapsed() > LINE {
            self.lined = Instant::now();
            let level_ms = session.player.level_s().unwrap_or(0.0) * 1e3;
            eprint!(
                "\r\x1b[K{state}  lag {:.3} ms  drift {:.2} ppm  confidence {:.2}  share of B {:.2}  waiting {level_ms:.0} ms",
                now.lag_ms, now.drift_ppm, now.confidence, now.weight
            );
            let _ = std::io::stderr().flush();
        }
        if let Some(snapshot) = merger.take_snapshot() {
            service.keep(&snapshot);
        }
        if self.kept.elapsed() > KEEP {
            self.kept = Instant::now();
            merger.ask_snapshot();
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
