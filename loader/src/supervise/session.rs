//! The streams of one connection to the server: sound in, sound out, clocks compared, microphones found again.
//!
//! A session ends with its server; what must outlive it (rings, the merger, what was received) is handed in.

use super::defaults;
use super::service::Service;
use crate::config::{Config, Route};
use crate::exit::Failure;
use crate::host::pace::Clock;
use crate::host::{Merger, Meters};
use crate::plan::{self, Graph, Mic, Present, Step};
use crate::pulse::capture::Taken;
use crate::pulse::{self, Capture, Connection, Player, PulseError, Sign};
use ringbuf::traits::{Consumer as _, Split as _};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest wait in one turn of the server's main loop; merged sound waits for it at most so long.
const TURN: Duration = Duration::from_millis(5);
/// The same at rest, when no sound comes.
const RESTING_TURN: Duration = Duration::from_millis(50);
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

/// This side of the rings.
pub(super) struct Link {
    inputs: Vec<HeapProd<f32>>,
    output: HeapCons<f32>,
}

impl Link {
    pub fn new(config: &Config, mics: usize) -> (Self, Vec<HeapCons<f32>>, HeapProd<f32>) {
        let ring = || {
            let mut ring = HeapRb::<f32>::new((RING_S * f64::from(config.rate_hz)) as usize);
            // Written once from end to end: its memory is there from the start, not fetched when the machine stumbles.
            ring.push_iter(&mut std::iter::repeat(0.0));
            ring.clear();
            ring.split()
        };
        let (inputs, theirs) = (0..mics).map(|_| ring()).unzip();
        let (out, output) = ring();
        (Self { inputs, output }, theirs, out)
    }
}

/// The streams of one connection.
pub(super) struct Session {
    connection: Connection,
    /// The microphones as they are found now.
    mics: Vec<Mic>,
    /// One for each microphone, or one stereo one for both; None while its source is away.
    captures: Vec<Option<Capture>>,
    /// Whether each microphone delivers; both are as the one stream is on the loopback route.
    pub alive: Vec<bool>,
    /// Frames received from each by streams that are gone.
    before: Vec<u64>,
    pub player: Player,
    /// By what it is seen that somebody records the merged source.
    sign: Sign,
    rate_hz: f64,
    /// One for each microphone after A.
    pub clocks: Vec<Clock>,
    /// What A had taken by its newest answer.
    taken_by_a: Option<Taken>,
    begin: Instant,
    retried: Instant,
    /// The microphones are let go because nobody records.
    pub resting: bool,
    /// When a microphone came back last.
    pub back: Instant,
    recorded: Instant,
    recorded_looked: Instant,
}

impl Session {
    /// Makes the graph and opens the streams; `before` counts the frames that were received earlier.
    pub fn open(service: &Service, mut connection: Connection, before: &[u64]) -> Result<Self, Failure> {
        let config = service.config;
        let present = pulse::survey(&mut connection)?;
        let graph = service.graph(&service.mics)?;
        pulse::apply(&mut connection, &plan::steps(&graph, &present)?)?;
        let opened = Self::open_streams(service, &mut connection, &graph, &present, before);
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
            mics: service.mics.clone(),
            captures,
            alive: vec![true; service.mics.len()],
            before: before.to_vec(),
            player,
            sign: if present.is_pipewire() { Sign::Connected } else { Sign::Runs },
            rate_hz,
            clocks: vec![Clock::new(rate_hz); service.mics.len() - 1],
            taken_by_a: None,
            begin: now,
            retried: now,
            resting: false,
            back: now,
            recorded: now,
            recorded_looked: now,
        })
    }

    fn open_streams(
        service: &Service,
        connection: &mut Connection,
        graph: &Graph,
        present: &Present,
        before: &[u64],
    ) -> Result<(Vec<Option<Capture>>, Player), PulseError> {
        let config = service.config;
        defaults::take(connection, present, config)?;
        let streams = if config.route == Route::Direct { service.mics.len() } else { 1 };
        let captures: Result<Vec<_>, _> =
            (0..streams).map(|i| service.capture(connection, graph, i, before[i]).map(Some)).collect();
        let sink = graph.out_sink();
        let player = Player::open(connection, &config.play_device, &sink, config.rate_hz, config.play_buffer_frames)?;
        Ok((captures?, player))
    }

    /// One turn: sound in, sound out, and a look at the clocks.
    pub fn turn(&mut self, service: &Service, link: &mut Link, merger: &Merger) -> Result<(), PulseError> {
        self.connection.turn(if self.resting { RESTING_TURN } else { TURN })?;
        let patience = PATIENCE + Duration::from_secs_f64(2.0 * service.fragment_s());
        let direct = service.config.route == Route::Direct;
        for i in 0..self.captures.len() {
            let rings = if direct { &mut link.inputs[i..=i] } else { &mut link.inputs[..] };
            let mut quiet = self.begin.elapsed() > patience;
            if let Some(capture) = &mut self.captures[i] {
                let dropped = capture.pull(rings)?;
                if dropped > 0 {
                    tracing::warn!("{dropped} frames of `{}` are lost: the machine is too busy", service.labels[i]);
                }
                quiet &= capture.newest().is_none_or(|at| at.elapsed() > patience);
                self.before[i] = capture.received();
                if capture.lost() {
                    tracing::warn!("`{}` is gone; waiting for it", service.labels[i]);
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
            merger.set_wanted(0, self.alive[0].then_some(0.0));
        }
        merger.wake();
        if self.player.lost() {
            return Err(PulseError::Lost("the sink of the merged sound is gone".into()));
        }
        if self.resting {
            // What the merger still gives belongs before the rest, see `Player::rest`.
            link.output.clear();
        } else {
            self.player.push(&mut link.output)?;
        }
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
        if pulse::recorded(&mut self.connection, &service.config.play_device, self.sign)? {
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
        let mut present = pulse::survey(&mut self.connection)?;
        service.find_again(&present, &mut self.mics);
        // The settings were good at the start.
        let Ok(graph) = service.graph(&self.mics) else { return Ok(()) };
        if self.mics.iter().any(|mic| mic.echo || mic.server.is_some()) {
            present = self.mend(&graph, present)?;
        }
        for i in 0..self.captures.len() {
            let source = service.recorded(&graph, i);
            if self.captures[i].is_some() || !present.sources.iter().any(|there| there.name == source) {
                continue;
            }
            match service.capture(&mut self.connection, &graph, i, self.before[i]) {
                Ok(capture) => {
                    tracing::info!("`{}` is back", service.labels[i]);
                    self.captures[i] = Some(capture);
                    self.back = Instant::now();
                }
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(())
    }

    /// Makes the parts of the graph anew that went with a microphone, and those that come before one that is away; gives
    /// what the server has then.
    fn mend(&mut self, graph: &Graph, mut present: Present) -> Result<Present, PulseError> {
        // It is not in its own way.
        let own = std::process::id().to_string();
        present.holders.retain(|holder| holder.process != own);
        match plan::steps(graph, &present) {
            Ok(steps) if steps.is_empty() => return Ok(present),
            Ok(steps) => pulse::apply_some(&mut self.connection, &steps)?,
            Err(error) => tracing::debug!("{error}"),
        }
        pulse::survey(&mut self.connection)
    }

    /// Waits for the server and opens everything anew. False: a signal came first.
    pub fn reopen(&mut self, service: &Service) -> bool {
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
    pub fn close(self, service: &Service) -> Result<(), Failure> {
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

    /// The source of stream `i`: a microphone's own, or both as one.
    fn recorded(&self, graph: &Graph, i: usize) -> String {
        match self.config.route {
            Route::Direct | Route::Pipewire => graph.recorded(i),
            Route::Loopback => format!("{}.monitor", graph.in_sink()),
        }
    }

    /// Opens the stream `i`.
    fn capture(
        &self,
        connection: &mut Connection,
        graph: &Graph,
        i: usize,
        before: u64,
    ) -> Result<Capture, PulseError> {
        let config = self.config;
        let channels = if config.route == Route::Direct { 1 } else { 2 };
        Capture::open(connection, &self.recorded(graph, i), config.rate_hz, channels, config.chunk_frames, before)
    }
}

/// Takes the graph `name` away from the server.
pub(super) fn take_away(connection: &mut Connection, name: &str) -> Result<(), PulseError> {
    let present = pulse::survey(connection)?;
    defaults::give_back(connection, &present, name)?;
    let steps: Vec<Step> = plan::ours(&present, Some(name)).into_iter().cloned().map(Step::Unload).collect();
    pulse::apply(connection, &steps)
}
