//! The streams of one connection to the server: sound in, sound out, clocks compared, microphones found again.
//!
//! A session ends with its server; what must outlive it (rings, the merger, what was received) is handed in.

use super::defaults;
use super::guard::{self, Guard};
use super::seen::{Notices, Seen};
use super::service::Service;
use crate::config::{Config, Route};
use crate::exit::Failure;
use crate::host::delivery::Delivery;
use crate::host::pace::Clock;
use crate::host::{Merger, Meters};
use crate::plan::{self, Graph, Mic, Module, Present};
use crate::pulse::capture::Taken;
use crate::pulse::{self, Capture, Connection, Input, Player, PulseError, Sign};
use ringbuf::traits::{Consumer as _, Split as _};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::time::{Duration, Instant};

/// Longest wait in one turn of the server's main loop; merged sound waits for it at most so long.
const TURN: Duration = Duration::from_millis(5);
/// The same at rest, when no sound comes.
const RESTING_TURN: Duration = Duration::from_millis(50);
/// Sound that a ring holds, s.
const RING_S: f64 = 4.0;
/// A microphone that delivers nothing for so long, beyond its fragments, is replaced by silence.
const PATIENCE: Duration = Duration::from_millis(100);
/// A microphone may be later than another by this, beyond its fragments, before it is no longer waited for, s.
const LATE_S: f64 = 0.02;
/// Between two turns at most this passes, unless program or server stood still: then what waits is old.
const STILL: Duration = Duration::from_millis(500);
/// All that waited has come after this time.
const CATCH_UP: Duration = Duration::from_millis(300);
/// How often a missing microphone is looked for.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is asked whether somebody records the merged source.
const RECORDED_LOOK: Duration = Duration::from_millis(200);
/// Nobody has recorded for so long: capture is suspended.
const REST_AFTER: Duration = Duration::from_secs(4);
/// The same before the first lock: what is learnt then makes the first word of the first recording right.
const REST_AFTER_UNLOCKED: Duration = Duration::from_secs(60);
/// Lost frames are logged once in this time, with their sum.
const LOSS_LOG: Duration = Duration::from_secs(10);

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

    /// Throws merged sound away that nobody can play.
    pub fn output_clear(&mut self) {
        self.output.clear();
    }
}

/// How much later than another a microphone may be before it is no longer waited for, frames.
pub(super) fn late_limit_frames(config: &Config) -> usize {
    2 * config.chunk_frames as usize + (LATE_S * f64::from(config.rate_hz)) as usize
}

/// The streams of one connection.
pub(super) struct Session {
    connection: Connection,
    /// The microphones as they are found now.
    mics: Vec<Mic>,
    /// One for each microphone, or one stereo one for both; None while its source is away.
    captures: Vec<Option<Capture>>,
    /// Whether each microphone delivers; both are as the one stream is on the loopback route.
    alive: Vec<bool>,
    /// Frames received from each by streams that are gone, and by this one.
    pub before: Vec<u64>,
    pub player: Player,
    /// By what it is seen that somebody records the merged source.
    sign: Sign,
    rate_hz: f64,
    /// One for each microphone after A.
    pub clocks: Vec<Clock>,
    deliveries: Vec<Delivery>,
    /// What A had taken by its newest answer.
    taken_by_a: Option<Taken>,
    begin: Instant,
    retried: Instant,
    turned: Instant,
    /// What was waiting when all stood still is thrown away until then.
    catching_up: Option<Instant>,
    guard: Guard,
    /// Capture is suspended because nobody records.
    pub resting: bool,
    /// When a microphone came back last.
    pub back: Instant,
    recorded: Instant,
    recorded_looked: Instant,
    /// Frames of each microphone that were lost and are not in the log yet, and when that was written.
    lost: Vec<u64>,
    logged: Option<Instant>,
}

impl Session {
    /// Makes the graph and opens the streams; `before` counts the frames that were received earlier. `again`: it is not the
    /// first time in this run.
    pub fn open(service: &Service, mut connection: Connection, before: &[u64], again: bool) -> Result<Self, Failure> {
        let config = service.config;
        connection.watch()?;
        let mut present = pulse::survey(&mut connection)?;
        if again {
            guard::without_own(&mut present);
        }
        let mut mics = service.mics.clone();
        if again {
            service.find_again(&present, &mut mics);
        }
        let graph = service.graph(&mics)?;
        let steps = plan::steps(&graph, &present)?;
        // What comes again before a microphone that is away is not waited for.
        let made =
            if again { pulse::apply_some(&mut connection, &steps) } else { pulse::apply(&mut connection, &steps) };
        let opened = made.and_then(|()| Self::open_streams(service, &mut connection, &graph, &present, before, again));
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
        let count = service.mics.len();
        Ok(Self {
            connection,
            mics,
            captures,
            alive: vec![true; count],
            before: before.to_vec(),
            player,
            sign: if present.is_pipewire() { Sign::Connected } else { Sign::Runs },
            rate_hz,
            clocks: vec![Clock::new(rate_hz); count - 1],
            deliveries: vec![Delivery::new(rate_hz); count],
            taken_by_a: None,
            begin: now,
            retried: now,
            turned: now,
            catching_up: None,
            guard: Guard::new(),
            resting: false,
            back: now,
            recorded: now,
            recorded_looked: now,
            lost: vec![0; count],
            logged: None,
        })
    }

    fn open_streams(
        service: &Service,
        connection: &mut Connection,
        graph: &Graph,
        former: &Present,
        before: &[u64],
        again: bool,
    ) -> Result<(Vec<Option<Capture>>, Player), PulseError> {
        let config = service.config;
        defaults::take(connection, former, config, again)?;
        let present = pulse::survey(connection)?;
        let streams = if config.route == Route::Direct { service.mics.len() } else { 1 };
        let mut captures = Vec::new();
        for (i, before) in before.iter().enumerate().take(streams) {
            captures.push(match service.capture(connection, graph, &present, i, *before) {
                Ok(capture) => Some(capture),
                // It may still be on its way, as after the restart of a server.
                Err(error @ PulseError::Refused { .. }) if again => {
                    tracing::debug!("{error}");
                    None
                }
                Err(error) => return Err(error),
            });
        }
        let sink = graph.out_sink();
        let player = Player::open(connection, &config.play_device, &sink, config.rate_hz, config.play_buffer_frames)?;
        Ok((captures, player))
    }

    /// One turn: sound in, sound out, and a look at the clocks.
    pub fn turn(
        &mut self,
        service: &Service,
        link: &mut Link,
        merger: &Merger,
        seen: &mut Seen,
    ) -> Result<(), PulseError> {
        self.connection.turn(if self.resting { RESTING_TURN } else { TURN })?;
        if self.turned.elapsed() > STILL && !self.resting {
            tracing::info!(
                "all stood still for {:.1} s; going on with the newest sound",
                self.turned.elapsed().as_secs_f64()
            );
            self.catching_up = Some(Instant::now());
        }
        self.turned = Instant::now();
        let patience = PATIENCE + Duration::from_secs_f64(2.0 * service.fragment_s());
        let direct = service.config.route == Route::Direct;
        for i in 0..self.captures.len() {
            let mut quiet = self.begin.elapsed() > patience;
            if let Some(capture) = &mut self.captures[i] {
                let rings = if direct { &mut link.inputs[i..=i] } else { &mut link.inputs[..] };
                let mics = i..i + rings.len();
                let dropped = capture.pull(rings, self.catching_up.is_some())?;
                if dropped > 0 {
                    mics.for_each(|mic| merger.lose(mic, dropped));
                    self.lost[i] += if self.catching_up.is_some() { 0 } else { dropped };
                }
                quiet &= capture.newest().is_none_or(|at| at.elapsed() > patience);
                self.before[i] = capture.received();
                if capture.lost() {
                    tracing::warn!("`{}` is gone; waiting for it", service.labels[i]);
                    self.captures[i] = None;
                }
            }
            self.alive[i] = !quiet && self.deliveries[i].wrong_hz().is_none();
            merger.set_alive(i, self.alive[i]);
            if quiet {
                self.deliveries[i].pause();
            }
        }
        if direct {
            self.compare_clocks(merger);
            self.exclude(service, merger, &mut seen.notices);
        } else {
            self.alive[1] = self.alive[0];
            merger.set_alive(1, self.alive[1]);
            merger.set_wanted(0, self.alive[0].then_some(0.0));
        }
        self.log_losses(service);
        merger.wake();
        if self.player.lost() {
            return Err(PulseError::Lost("the sink of the merged sound is gone".into()));
        }
        if self.resting {
            // What the merger still gives belongs before the rest, see `Player::rest`.
            link.output.clear();
        } else if let Some(since) = self.catching_up {
            link.output.clear();
            if since.elapsed() > CATCH_UP {
                self.catching_up = None;
                self.player.restart();
            }
        } else {
            self.player.push(&mut link.output)?;
        }
        let missing = self.captures.iter().any(Option::is_none);
        if !self.resting && missing && self.retried.elapsed() > RETRY {
            self.retried = Instant::now();
            self.look_for_lost(service)?;
        }
        if self.guard.due(&self.connection) {
            self.guard_graph(service, &mut seen.notices)?;
        }
        // Last, for it is made known when the turn ends.
        self.rest(service, merger)?;
        seen.present.clone_from(&self.alive);
        (seen.resting, seen.waiting_ms) = (self.resting, self.player.waiting_s().map(|waiting_s| waiting_s * 1e3));
        Ok(())
    }

    /// Takes out of the merge whose frames come at a rate that no clock has.
    fn exclude(&mut self, service: &Service, merger: &Merger, notices: &mut Notices) {
        for (i, delivery) in self.deliveries.iter().enumerate() {
            merger.set_excluded(i, delivery.wrong_hz().is_some());
            let text = delivery.wrong_hz().map(|found_hz| {
                format!(
                    "`{}` delivers {found_hz:.0} frames a second instead of {:.0}, so it is left out of the merge; is its                      rate right, and its connection good?",
                    service.labels[i], self.rate_hz
                )
            });
            notices.set_quietly(&format!("rate {i}"), text);
        }
    }

    /// A line now and then, not one for each fragment.
    fn log_losses(&mut self, service: &Service) {
        if self.logged.is_some_and(|at| at.elapsed() < LOSS_LOG) {
            return;
        }
        for (lost, label) in self.lost.iter_mut().zip(&service.labels).filter(|(lost, _)| **lost > 0) {
            tracing::warn!(
                "{lost} frames of `{label}` are lost: it delivered too many at once, or the machine is too busy"
            );
            *lost = 0;
            self.logged = Some(Instant::now());
        }
    }

    /// Restores what others have changed in the graph, and reports what they have changed around it.
    fn guard_graph(&mut self, service: &Service, notices: &mut Notices) -> Result<(), PulseError> {
        let mut present = pulse::survey(&mut self.connection)?;
        // The settings were good at the start.
        let Ok(graph) = service.graph(&self.mics) else { return Ok(()) };
        if !self.resting {
            let restored = guard::restore_parts(&mut self.connection, &graph, present)?;
            present = restored.0;
            if restored.1
                && let Err(error) = defaults::take(&mut self.connection, &present, service.config, true)
            {
                tracing::warn!("{error}");
            }
        }
        guard::look_at_levels(&mut self.connection, service, &graph, &present, notices)
    }

    /// Tells the merger how far the others' clocks are from A's, where both deliver.
    fn compare_clocks(&mut self, merger: &Merger) {
        let begin = self.begin;
        let mut newer = self.captures.iter_mut().map(|capture| capture.as_mut().and_then(Capture::take_taken));
        let since_s = |taken: &Taken| (taken.at - begin).as_secs_f64();
        let newer: Vec<Option<Taken>> = newer.by_ref().collect();
        for (delivery, taken) in self.deliveries.iter_mut().zip(&newer) {
            if let Some(taken) = taken {
                delivery.look(since_s(taken), taken.frames);
            }
        }
        let Some((a, others)) = newer.split_first() else { return };
        let a_there = self.alive[0] && self.captures[0].is_some();
        self.taken_by_a = a.or(self.taken_by_a).filter(|_| a_there);
        for (i, (b, clock)) in others.iter().zip(&mut self.clocks).enumerate() {
            if !a_there || !self.alive[i + 1] || self.captures[i + 1].is_none() {
                *clock = Clock::new(self.rate_hz);
            } else if let (Some(a), Some(b)) = (self.taken_by_a, b) {
                let apart_s = since_s(b) - since_s(&a);
                clock.look(begin.elapsed().as_secs_f64(), b.frames - a.frames - apart_s * self.rate_hz);
            }
            merger.set_wanted(i, clock.difference_frames());
        }
    }

    /// Suspends capture while nobody records the merged source, and resumes it when somebody does.
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
            tracing::info!("no client is recording from `{}`; suspending capture", service.config.play_device);
            self.captures.fill_with(|| None);
            self.deliveries.iter_mut().for_each(Delivery::pause);
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
        present = guard::restore_parts(&mut self.connection, &graph, present)?.0;
        for i in 0..self.captures.len() {
            let source = service.recorded(&graph, i);
            if self.captures[i].is_some() || !present.sources.iter().any(|there| there.name == source) {
                continue;
            }
            match service.capture(&mut self.connection, &graph, &present, i, self.before[i]) {
                Ok(capture) => {
                    tracing::info!("`{}` is back", service.labels[i]);
                    self.captures[i] = Some(capture);
                    self.deliveries[i] = Delivery::new(self.rate_hz);
                    self.back = Instant::now();
                }
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(())
    }

    /// Closes the streams and takes the graph away, as far as the server lets it.
    ///
    /// # Errors
    /// The server refuses. That it is gone, or hangs, is none: what is left of the graph is found by the next start.
    pub fn close(self, service: &Service) -> Result<(), Failure> {
        let Self { mut connection, captures, player, .. } = self;
        drop((captures, player));
        let name = &service.config.play_device;
        match take_away(&mut connection, name) {
            Ok(()) => Ok(()),
            Err(PulseError::Lost(why)) => {
                tracing::warn!(
                    "{why}; what is left of `{name}` in the server is removed by the next `driftmerge run` or `unload`"
                );
                Ok(())
            }
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
        present: &Present,
        i: usize,
        before: u64,
    ) -> Result<Capture, PulseError> {
        let config = self.config;
        let source = self.recorded(graph, i);
        let input = if config.route == Route::Direct {
            let channels =
                present.sources.iter().find(|there| there.name == source).map(|there| there.positions.clone());
            Input { channels: channels.unwrap_or_default(), wanted: graph.recorded_channel(i), both: false, source }
        } else {
            Input { source, both: true, ..Input::default() }
        };
        Capture::open(connection, &input, config.rate_hz, config.chunk_frames, before)
    }
}

/// Takes the graph `name` away from the server, each part whatever became of the others.
///
/// # Errors
/// The server went away.
pub(super) fn take_away(connection: &mut Connection, name: &str) -> Result<(), PulseError> {
    let present = pulse::survey(connection)?;
    let given_back = defaults::give_back(connection, &present, name);
    let modules: Vec<Module> = plan::ours(&present, Some(name)).into_iter().cloned().collect();
    let unloaded = pulse::unload_all(connection, &modules);
    given_back.and(unloaded)
}
