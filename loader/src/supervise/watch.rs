//! Logs what happens while the service runs, shows one line that changes on a terminal, tells the service manager that the
//! service is ready, and saves what was learnt from time to time.

use super::desk::tell_manager;
use super::service::{Service, state_name};
use super::session::Session;
use crate::host::{Merger, Meters};
use crate::say::to_stderr;
use driftmerge_dsp::Snapshot;
use sd_notify::NotifyState;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often the meters are looked at.
const METER_LOOK: Duration = Duration::from_millis(50);
/// How often the line on a terminal is written.
const LINE: Duration = Duration::from_millis(500);
/// How often the plugin is asked what it has learnt, and how often that is saved.
const ASK: Duration = Duration::from_secs(5);
const KEEP: Duration = Duration::from_secs(60);
/// A change of the lag that is told as a jump, ms, and the time in which it happens: drift alone takes longer.
const JUMP_MS: f32 = 1.0;
const JUMP_LOOK: Duration = Duration::from_millis(500);
/// After a microphone came back, lags have to be confirmed: that is no event.
const CONFIRMING: Duration = Duration::from_secs(2);

/// What the watch knew of one microphone.
#[derive(Clone, Copy)]
struct Known {
    locked: bool,
    /// The lag some time ago, ms.
    lag_ms: f32,
    at: Instant,
    latency_frames: f32,
}

/// Tells what happens: a line per event in the log, one line that changes on a terminal.
pub(super) struct Watch {
    terminal: bool,
    /// What was known of each microphone after A.
    known: Vec<Known>,
    running: bool,
    looked: Instant,
    lined: Instant,
    asked: Instant,
    kept: Instant,
    /// How often the plugin had said what it has learnt when this was looked at last.
    said: u64,
}

impl Watch {
    pub fn new() -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, known: Vec::new(), running: false, looked: now, lined: now, asked: now, kept: now, said: 0 }
    }

    /// Looks at the meters; gives what was learnt where there is something new.
    pub fn look(
        &mut self,
        service: &Service,
        session: Option<&Session>,
        merger: &Merger,
    ) -> Option<Vec<Option<Snapshot>>> {
        if self.looked.elapsed() < METER_LOOK {
            return None;
        }
        self.looked = Instant::now();
        if !self.running && merger.running() {
            self.running = true;
            tell_manager(NotifyState::Ready);
            tracing::info!("merging `{}` into `{}`", service.labels.join("`, `"), service.config.play_device);
        }
        let meters = merger.meters();
        self.known.resize(meters.len(), Known { locked: false, lag_ms: 0.0, at: self.looked, latency_frames: 0.0 });
        let expected = session.is_none_or(|session| session.resting || session.back.elapsed() < CONFIRMING);
        for (i, now) in meters.iter().enumerate() {
            self.tell_changes(i, now, &service.labels[i + 1], expected);
        }
        if let Some(session) = session {
            tracing::trace!(?meters, waiting_s = session.player.waiting_s(), clocks = ?session.clocks, "meters");
        }
        if self.terminal && self.lined.elapsed() > LINE {
            self.lined = Instant::now();
            to_stderr("\r\x1b[K");
            for now in &meters {
                let Meters { lag_ms, drift_ppm, confidence, weight, .. } = now;
                let state = state_name(now);
                to_stderr(format_args!(
                    "{state}  lag {lag_ms:.3} ms  drift {drift_ppm:.2} ppm  confidence {confidence:.2}  share {weight:.2}  "
                ));
            }
        }
        if self.asked.elapsed() > ASK {
            self.asked = Instant::now();
            merger.ask_snapshots();
        }
        let learnt = merger.learnt();
        if learnt.count == std::mem::replace(&mut self.said, learnt.count) {
            return None;
        }
        if self.kept.elapsed() > KEEP {
            self.kept = Instant::now();
            service.store.keep_or_tell(&learnt.snapshots);
        }
        Some(learnt.snapshots)
    }

    /// Tells of a lock won or lost, of jumps, and of a latency that had to grow; `expected`: to be without a lock is none of
    /// these now.
    fn tell_changes(&mut self, i: usize, now: &Meters, name: &str, expected: bool) {
        let known = self.known[i];
        if now.locked() != known.locked {
            // The latency that the lock chooses comes a block later, and is none that grew.
            let latency_frames = f32::INFINITY;
            self.known[i] = Known { locked: now.locked(), lag_ms: now.lag_ms, at: Instant::now(), latency_frames };
            if now.locked() {
                self.tell(&format!("`{name}` locked: lag {:.3} ms, drift {:.2} ppm", now.lag_ms, now.drift_ppm));
            } else if !expected {
                self.tell(&format!("`{name}` lost its lock, searching"));
            }
        } else if now.locked() && known.at.elapsed() > JUMP_LOOK {
            self.known[i] =
                Known { lag_ms: now.lag_ms, at: Instant::now(), latency_frames: now.latency_frames, ..known };
            if (now.lag_ms - known.lag_ms).abs() > JUMP_MS {
                self.tell(&format!("the lag of `{name}` jumped from {:.3} to {:.3} ms", known.lag_ms, now.lag_ms));
            }
            if now.latency_frames > known.latency_frames {
                self.tell(&format!(
                    "`{name}` came too late for the latency, which is now {} frames",
                    now.latency_frames
                ));
            }
        }
    }

    fn tell(&self, event: &str) {
        if self.terminal {
            to_stderr("\r\x1b[K");
        }
        tracing::info!("{event}");
    }

    pub fn end(&self) {
        if self.terminal {
            to_stderr("\n");
        }
    }
}
