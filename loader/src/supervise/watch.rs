//! Tells what happens while the service runs: a line per event in the log, one line that changes on a terminal, a word
//! to the service manager; and sees to it that what was learnt is kept from time to time.

use super::service::{Service, state_name};
use super::session::Session;
use crate::host::{Merger, Meters};
use sd_notify::NotifyState;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the meters are looked at.
const METER_LOOK: Duration = Duration::from_millis(50);
/// How often the line on a terminal is written.
const LINE: Duration = Duration::from_millis(500);
/// How often the service manager is told that all is well.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often what was learnt is kept.
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
    pub began: Instant,
    looked: Instant,
    lined: Instant,
    kept: Instant,
    beaten: Instant,
}

/// Tells the service manager, where there is one that listens.
pub(super) fn tell_manager(state: NotifyState) {
    // Without one this does nothing; that one does not listen is its own trouble.
    let _ = sd_notify::notify(&[state]);
}

impl Watch {
    pub fn new() -> Self {
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

    pub fn look(&mut self, service: &Service, session: &Session, merger: &Merger) {
        if self.looked.elapsed() < METER_LOOK {
            return;
        }
        self.looked = Instant::now();
        if !self.running && merger.running() {
            self.running = true;
            tell_manager(NotifyState::Ready);
            tracing::info!("merging `{}` into `{}`", service.labels.join("`, `"), service.config.play_device);
        }
        if self.beaten.elapsed() > HEARTBEAT {
            self.beaten = Instant::now();
            tell_manager(NotifyState::Watchdog);
        }
        let meters = merger.meters();
        self.known.resize(meters.len(), Known { locked: false, lag_ms: 0.0, at: self.looked, latency_frames: 0.0 });
        let expected = session.resting || session.back.elapsed() < CONFIRMING;
        for (i, now) in meters.iter().enumerate() {
            self.tell_changes(i, now, &service.labels[i + 1], expected);
        }
        tracing::trace!(?meters, waiting_s = session.player.waiting_s(), clocks = ?session.clocks, "meters");
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
            service.keep_or_tell(&snapshots);
        }
        if self.kept.elapsed() > KEEP {
            self.kept = Instant::now();
            merger.ask_snapshots();
        }
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
            eprint!("\r\x1b[K");
        }
        tracing::info!("{event}");
    }

    pub fn end(&self) {
        tell_manager(NotifyState::Stopping);
        if self.terminal {
            eprintln!();
        }
    }
}
