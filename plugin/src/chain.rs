//! The engines behind a plugin's ports: one, or several in a chain.
//!
//! ```text
//!   A ──►┌────────┐  A+B  ┌────────┐ A+B+C ┌────────┐
//!   B ──►│ link 1 │──────►│ link 2 │──────►│ link 3 │──► merge
//!        └────────┘  C ──►└────────┘  D ──►└────────┘
//!   later by:  delay      + 5 ms          + 5 ms
//! ```
//!
//! Problem: each link delays its reference, so that a late microphone can still be waited for, and the delays add up.
//! But they also help: to link 2 the reference is late by the first link's `delay` already. So C may be as late as B
//! may be though link 2 delays by [`LINK_DELAY_MS`] alone, and the whole is only 10 ms later than a single merge.
//!
//! Link 2 then sees C's lag smaller by `delay` than it is against A, and link 3 sees D's smaller by `delay` and one link.
//! That shift is added where lags go out (meters, snapshots) and taken away where they come in. Where `delay` is
//! changed in mid-stream, links 2 and 3 start again from what they had learnt, shifted. They search further by the
//! shift, as far as the engine can (1 s either way): with a `delay` of 250 ms or less the default `lag_limit` is reached.
//!
//! All controls count for all links, but for mode `only B`, in which links 2 and 3 pass on what they get, and for
//! `post_filter`, which is the last link's.

use driftmerge_dsp::params::CONTROLS;
use driftmerge_dsp::{Controls, Engine, EngineError, Mode, Snapshot, SnapshotError};

use crate::layout::{LINK_DELAY_MS, LINK_METERS, Layout, MAX_INS, MAX_LINKS, MAX_METERS, MAX_OUTS, Sound};

/// Frames that go through the chain at a time: small enough to stay in the first-level cache with the engines' own
/// data, large enough that the cost of a call does not show.
pub const CHUNK_FRAMES: usize = 64;

/// What the links have learnt; lags are against A. None: nothing.
pub type Learnt = [Option<Snapshot>; MAX_LINKS];

/// The engines of one instance.
pub struct Chain {
    links: Vec<Engine>,
    sound: Sound,
    delay_ms: f32,
    /// What each engine knew when it last knew something: a session saved while a lock is still being tried keeps the
    /// one before. Only `reset` unsays it.
    learnt: Learnt,
}

impl Chain {
    /// Makes the engines, with the default controls until the host's are known. Allocates.
    pub fn new(layout: &Layout, rate_hz: f64) -> Result<Self, EngineError> {
        let controls = Controls::default();
        let links = layout.links();
        let engine = |link| Engine::new(rate_hz, &controls_of(link, links, &controls));
        Ok(Self {
            links: (0..links).map(engine).collect::<Result<_, _>>()?,
            sound: layout.sound,
            delay_ms: controls.delay_ms,
            learnt: Learnt::default(),
        })
    }

    /// Takes the controls for the frames that follow. Audio thread.
    pub fn set_controls(&mut self, controls: &Controls) {
        let links = self.links.len();
        for (link, engine) in self.links.iter_mut().enumerate() {
            engine.set_controls(&controls_of(link, links, controls));
        }
        if controls.delay_ms != self.delay_ms {
            self.delay_ms = controls.delay_ms;
            for link in 1..self.links.len() {
                // What cannot be held at the new place is searched anew.
                let _ = self.start_from(link, self.learnt[link]);
            }
        }
        if controls.reset {
            self.learnt = Learnt::default();
        }
    }

    /// Merges or aligns one chunk: `ins` and `outs` hold `frames` (at most [`CHUNK_FRAMES`]) good frames each, as many of
    /// them as the plugin has ports. Audio thread.
    pub fn process(
        &mut self,
        ins: &[[f32; CHUNK_FRAMES]; MAX_INS],
        outs: &mut [[f32; CHUNK_FRAMES]; MAX_OUTS],
        frames: usize,
    ) {
        let [first, second] = outs.each_mut().map(|out| &mut out[..frames]);
        if self.sound == Sound::Apart {
            self.links[0].process_apart(&ins[0][..frames], &ins[1][..frames], first, second);
            return;
        }
        first.copy_from_slice(&ins[0][..frames]);
        for (engine, other) in self.links.iter_mut().zip(&ins[1..]) {
            let reference = &mut second[..];
            reference.copy_from_slice(first);
            engine.process(reference, &other[..frames], first);
        }
        second.copy_from_slice(first);
    }

    /// Notes what the engines know by now, and gives all that was learnt. Audio thread.
    pub fn learn(&mut self) -> Learnt {
        for link in 0..self.links.len() {
            if let Some(mut snapshot) = self.links[link].snapshot() {
                snapshot.lag_s += self.shift_ms(link) * 1e-3;
                self.learnt[link] = Some(snapshot);
            }
        }
        self.learnt
    }

    /// Starts from what another chain learnt; links of which nothing is known stay as they are.
    ///
    /// # Errors
    /// One of them does not fit; those before it are taken.
    pub fn restore(&mut self, learnt: &Learnt) -> Result<(), SnapshotError> {
        for (link, snapshot) in learnt.iter().enumerate().take(self.links.len()) {
            self.start_from(link, *snapshot)?;
            self.learnt[link] = snapshot.or(self.learnt[link]);
        }
        Ok(())
    }

    fn start_from(&mut self, link: usize, snapshot: Option<Snapshot>) -> Result<(), SnapshotError> {
        let Some(snapshot) = snapshot else { return Ok(()) };
        let lag_s = snapshot.lag_s - self.shift_ms(link) * 1e-3;
        self.links[link].restore(&Snapshot { lag_s, ..snapshot })
    }

    /// How much larger a lag is against A than against the reference of this link, ms.
    fn shift_ms(&self, link: usize) -> f64 {
        match link {
            0 => 0.0,
            _ => f64::from(self.delay_ms) + (link - 1) as f64 * f64::from(LINK_DELAY_MS),
        }
    }

    /// The values of the control outputs, as many as the plugin has. Audio thread.
    pub fn meters(&self) -> [f32; MAX_METERS] {
        let mut all = [0.0; MAX_METERS];
        let mut latency_frames = 0.0;
        for (link, engine) in self.links.iter().enumerate() {
            let status = engine.status();
            let [lag_ms, .., latency] = status.meters();
            latency_frames += latency;
            let meters = &mut all[link * LINK_METERS..][..LINK_METERS];
            meters.copy_from_slice(&status.meters()[..LINK_METERS]);
            // A lag of exactly nothing is one that is not known.
            if lag_ms != 0.0 {
                meters[0] = (status.lag_ms + self.shift_ms(link)) as f32;
            }
            // What a link adds is taken from all before it.
            for before in 0..link {
                all[before * LINK_METERS + WEIGHT] *= 1.0 - status.weight;
            }
        }
        all[self.links.len() * LINK_METERS] = latency_frames;
        all
    }
}

/// Place of `weight` among the meters of a link.
const WEIGHT: usize = 3;

/// What of the plugin's controls one of the `links` gets.
fn controls_of(link: usize, links: usize, controls: &Controls) -> Controls {
    let controls = controls.of_link(link, links);
    if link == 0 {
        return controls;
    }
    let shift_ms = controls.delay_ms + (link - 1) as f32 * LINK_DELAY_MS;
    Controls {
        delay_ms: LINK_DELAY_MS,
        lag_limit_ms: (controls.lag_limit_ms + shift_ms).min(CONTROLS[2].max),
        mode: if controls.mode == Mode::OnlyB { Mode::OnlyA } else { controls.mode },
        ..controls
    }
}
