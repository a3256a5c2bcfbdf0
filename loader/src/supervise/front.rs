//! What a running service answers: its status, and what it does when it is asked for something.

use super::control::{Answer, Order, Other, Request, Status};
use super::seen::Seen;
use super::service::state_name;
use crate::config::{Config, Latency};
use crate::host::Merger;
use crate::host::merger::Delay;
use crate::state::{self, StateError};
use driftmerge_dsp::Snapshot;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the plugin's thread may take to tell what it has learnt; it takes some milliseconds.
const SNAPSHOT_LIMIT: Duration = Duration::from_millis(500);
/// While the service starts.
const STARTING: &str = "the service is still starting; try again";

/// Where it is kept what is learnt about some microphones.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// The folder.
    pub folder: PathBuf,
    /// The microphones.
    pub key: state::Key,
}

/// What is merged.
#[derive(Clone)]
struct Merging {
    merger: Arc<Merger>,
    labels: Vec<String>,
    store: Store,
}

/// What the threads of a service have in common.
pub(super) struct Front<'a> {
    stop: &'a AtomicBool,
    began: Instant,
    /// The settings, as they were changed so far.
    config: Mutex<Config>,
    merging: Mutex<Option<Merging>>,
    pub seen: Mutex<Seen>,
}

/// What a lock protects is whole after each statement: a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Front<'a> {
    pub fn new(config: &Config, stop: &'a AtomicBool) -> Self {
        let seen = Seen { server: true, ..Seen::default() };
        Self {
            stop,
            began: Instant::now(),
            config: Mutex::new(config.clone()),
            merging: Mutex::new(None),
            seen: Mutex::new(seen),
        }
    }

    /// The thread that merges has been started, at first or again.
    pub fn merges(&self, merger: &Arc<Merger>, labels: &[String], store: &Store) {
        *lock(&self.merging) =
            Some(Merging { merger: Arc::clone(merger), labels: labels.to_vec(), store: store.clone() });
    }

    /// The settings, as they were changed so far.
    pub fn config(&self) -> Config {
        lock(&self.config).clone()
    }

    /// Answers a request.
    pub fn act(&self, request: Request) -> Answer {
        const BUSY: &str = "too many changes wait to be taken; try again";
        let merging = lock(&self.merging).clone();
        match (request, merging) {
            (Request::Status, merging) => Answer::Status(self.status(merging.as_ref())),
            (Request::Do(Order::Stop), _) => {
                tracing::info!("shutdown requested");
                self.stop.store(true, Ordering::Relaxed);
                Answer::Done("it ends".into())
            }
            (Request::Do(_), None) => Answer::Failed(STARTING.into()),
            (Request::Do(Order::Set(changes)), Some(merging)) => self.set(&changes, &merging.merger),
            (Request::Do(Order::Reset), Some(merging)) if !merging.merger.reset() => Answer::Failed(BUSY.into()),
            (Request::Do(Order::Reset), Some(Merging { store, .. })) => {
                tracing::info!("state reset requested");
                match state::forget(&store.folder, &store.key) {
                    Ok(()) => Answer::Done("what was learnt is forgotten; searching".into()),
                    Err(why) => Answer::Failed(format!(
                        "searching again, but {} cannot be removed: {why}",
                        store.key.path(&store.folder).display()
                    )),
                }
            }
            (Request::Do(Order::Save), Some(Merging { merger, store, .. })) => {
                match merger.snapshots_now(SNAPSHOT_LIMIT).map(|snapshots| store.keep(&snapshots)) {
                    Some(Ok(Some(path))) => Answer::Done(format!("what was learnt is kept in {}", path.display())),
                    Some(Ok(None)) => {
                        Answer::Failed("nothing has been learnt yet: no two microphones have locked".into())
                    }
                    Some(Err(why)) => Answer::Failed(store.not_kept(&why)),
                    None => Answer::Failed("the plugin's thread does not tell what it has learnt; try again".into()),
                }
            }
        }
    }

    fn set(&self, changes: &[(String, String)], merger: &Merger) -> Answer {
        let mut config = lock(&self.config);
        match config.changed(changes) {
            Err(why) => Answer::Refused(why.to_string()),
            Ok(changed) => {
                let delay = match (changes.iter().any(|(key, _)| key == "latency"), changed.latency) {
                    (false, _) => Delay::Keep,
                    (true, Latency::Auto) => Delay::Choose,
                    (true, Latency::Fixed(_)) => Delay::Set,
                };
                if !merger.set_controls(changed.controls(), delay) {
                    return Answer::Failed("too many changes wait to be taken; try again".into());
                }
                *config = changed;
                let words: Vec<_> = changes.iter().map(|(key, value)| format!("{key} is {value}")).collect();
                tracing::info!("settings changed: {}", words.join(", "));
                Answer::Done(format!("{} until `driftmerge run` ends", words.join(", ")))
            }
        }
    }

    fn status(&self, merging: Option<&Merging>) -> Status {
        let (seen, config) = (lock(&self.seen).clone(), self.config());
        let meters = merging.map(|merging| merging.merger.meters()).unwrap_or_default();
        let labels = merging.map_or(&config.microphones, |merging| &merging.labels);
        let ms = |frames: f32| frames / config.rate_hz as f32 * 1e3;
        let present = |i: usize| seen.server && seen.present.get(i) == Some(&true);
        let mut before_frames = 0.0;
        let others = labels.iter().enumerate().skip(1).map(|(i, microphone)| {
            let meters = meters.get(i - 1).copied().unwrap_or_default();
            let lag_ms = meters.lag_ms + ms(before_frames);
            before_frames += meters.latency_frames;
            Other {
                microphone: microphone.clone(),
                present: present(i),
                state: state_name(&meters).into(),
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
            source: config.play_device.clone(),
            reference: labels.first().cloned().unwrap_or_default(),
            present: present(0),
            server: seen.server,
            notices: seen.notices.texts(),
            rate_hz: config.rate_hz,
            up_s: self.began.elapsed().as_secs_f64(),
            resting: seen.resting,
            latency_ms: ms(meters.iter().map(|m| m.latency_frames).sum()),
            waiting_ms: seen.waiting_ms,
        }
    }
}

impl Store {
    /// What an earlier run learnt, one entry for each microphone after A.
    pub fn learnt_before(&self) -> Vec<Option<Snapshot>> {
        if self.nowhere() {
            tracing::warn!("what is learnt is forgotten at the end: {}", StateError::NoFolder);
            return vec![None; self.key.microphones.len().saturating_sub(1)];
        }
        state::load(&self.folder, &self.key)
    }

    /// Keeps what was learnt for the next run, and gives the file; None: there was nothing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, snapshots: &[Option<Snapshot>]) -> Result<Option<PathBuf>, StateError> {
        if snapshots.iter().all(Option::is_none) {
            return Ok(None);
        }
        if self.nowhere() {
            return Err(StateError::NoFolder);
        }
        state::save(&self.folder, &self.key, snapshots).map(Some)
    }

    /// The same; that it failed is logged.
    pub fn keep_or_tell(&self, snapshots: &[Option<Snapshot>]) {
        match self.keep(snapshots) {
            Ok(Some(path)) => tracing::debug!("what was learnt is kept in {}", path.display()),
            Ok(None) | Err(StateError::NoFolder) => {}
            Err(why) => tracing::warn!("{}", self.not_kept(&why)),
        }
    }

    fn nowhere(&self) -> bool {
        self.folder.as_os_str().is_empty()
    }

    fn not_kept(&self, why: &StateError) -> String {
        let folder = if self.nowhere() { String::new() } else { format!(" in {}", self.folder.display()) };
        format!("what was learnt cannot be kept{folder}: {why}; the next start will search anew")
    }
}
