//! The thread in which the plugin runs, seen from outside: rings in, one ring out, and a few numbers both ways.

use super::plugin::Hosted;
use super::worker::Worker;
use driftmerge_dsp::params::METERS;
use driftmerge_dsp::{Controls, Snapshot};
use ringbuf::traits::{Producer as _, Split as _};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Stands for «not known» in [`StageShared::wanted`].
const UNKNOWN: i64 = i64::MIN;

/// Changes that may wait for the thread; it takes them before each block.
const CHANGES: usize = 16;
/// How long the thread may take to end; it looks every 50 ms.
const END_LIMIT: Duration = Duration::from_millis(500);
/// Its name, as `top -H` and debuggers show it.
const THREAD_NAME: &str = "driftmerge-mix";

/// The plugin's control outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meters {
    /// How late B is against A, ms, in the streams as they are passed on.
    pub lag_ms: f32,
    /// How fast the microphones' clocks drift apart, ppm.
    pub drift_ppm: f32,
    /// Normalised correlation at the lag in use.
    pub confidence: f32,
    /// Share of B.
    pub weight: f32,
    /// 1 or -1.
    pub polarity: f32,
    /// 0 searching, 1 locked, 2 holding.
    pub state: f32,
    /// Frames by which the output is later than A.
    pub latency_frames: f32,
}

impl Meters {
    /// From the values in port order.
    pub fn new(values: [f32; METERS.len()]) -> Self {
        let [lag_ms, drift_ppm, confidence, weight, polarity, state, latency_frames] = values;
        Self { lag_ms, drift_ppm, confidence, weight, polarity, state, latency_frames }
    }

    /// Whether the lag is known.
    pub fn locked(&self) -> bool {
        self.state > 0.5
    }
}

/// What both threads see of one stage.
pub(super) struct StageShared {
    /// Frames by which the microphone's next should be further on than A's, in 1/256.
    wanted: AtomicI64,
    meters: [AtomicU32; METERS.len()],
}

impl StageShared {
    /// Frames by which the microphone's next should be further on than A's; None while that is not known.
    pub fn wanted(&self) -> Option<f64> {
        match self.wanted.load(Ordering::Relaxed) {
            UNKNOWN => None,
            known => Some(known as f64 / 256.0),
        }
    }

    /// Publishes the meters.
    pub fn set_meters(&self, values: [f32; METERS.len()]) {
        for (place, value) in self.meters.iter().zip(values) {
            place.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// What both threads see.
pub(super) struct Shared {
    pub stop: AtomicBool,
    /// Counts the thread's turns: who does not count is dead or hangs.
    pub beat: AtomicU64,
    /// Whether each microphone delivers, A first.
    pub alive: Vec<AtomicBool>,
    /// Whether what each microphone delivers is dropped.
    pub excluded: Vec<AtomicBool>,
    /// Frames of each microphone that never came into its ring, to be accounted for.
    pub lost: Vec<AtomicU64>,
    /// One for each microphone after A.
    pub stages: Vec<StageShared>,
    pub running: AtomicBool,
    pub snapshots_asked: AtomicBool,
    pub snapshots: Mutex<Learnt>,
}

/// What the thread said last about what it has learnt.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    /// How often it has said something.
    pub count: u64,
    /// One entry for each microphone after A.
    pub snapshots: Vec<Option<Snapshot>>,
}

/// How one stage is to start.
pub struct StageStart {
    /// The plugin.
    pub plugin: Hosted,
    /// What an earlier run learnt.
    pub snapshot: Option<Snapshot>,
}

/// How the thread is to start.
pub struct Start {
    /// One for each microphone after A.
    pub stages: Vec<StageStart>,
    /// The plugins' controls; with `auto_delay` the delay is chosen by each one's first lock.
    pub controls: Controls,
    /// Choose the delays.
    pub auto_delay: bool,
    /// Sample rate, Hz.
    pub rate_hz: f64,
    /// Whether the microphones have clocks of their own (the direct route), or come as one stream.
    pub own_clocks: bool,
    /// A microphone that is later than another by more than this, frames, is not waited for.
    pub late_limit_frames: usize,
}

/// What is done with the delay of A when the controls change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// It stays.
    Keep,
    /// It becomes that of the controls.
    Set,
    /// It is chosen by the lag that is known, or by the next lock.
    Choose,
}

/// A change that the thread takes while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Other controls.
    Controls(Controls, Delay),
    /// Forget what was learnt and search again.
    Reset,
}

/// The thread and the way to talk to it.
pub struct Merger {
    shared: Arc<Shared>,
    changes: Mutex<HeapProd<Change>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a lock protects is whole after each statement: a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Merger {
    /// Starts the thread; `inputs` are the microphones' rings, A first.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(start: Start, inputs: Vec<HeapCons<f32>>, output: HeapProd<f32>) -> io::Result<Self> {
        let stage = |_| StageShared {
            wanted: AtomicI64::new(if start.own_clocks { UNKNOWN } else { 0 }),
            meters: std::array::from_fn(|i| AtomicU32::new(METERS[i].default.to_bits())),
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            alive: inputs.iter().map(|_| AtomicBool::new(true)).collect(),
            excluded: inputs.iter().map(|_| AtomicBool::new(false)).collect(),
            lost: inputs.iter().map(|_| AtomicU64::new(0)).collect(),
            stages: start.stages.iter().map(stage).collect(),
            running: AtomicBool::new(false),
            snapshots_asked: AtomicBool::new(false),
            snapshots: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let (changes, waiting) = HeapRb::new(CHANGES).split();
        let work = move || {
            super::priority::raise();
            Worker::new(start, theirs, waiting, inputs, output).work();
        };
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(work)?;
        Ok(Self { shared, changes: Mutex::new(changes), thread: Mutex::new(Some(thread)) })
    }

    /// Tells that sound has come.
    pub fn wake(&self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.thread().unpark();
        }
    }

    /// How many turns the thread has made; it makes one every 50 ms at least. None: it has ended.
    pub fn beat(&self) -> Option<u64> {
        let runs = lock(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished());
        runs.then(|| self.shared.beat.load(Ordering::Relaxed))
    }

    /// Tells by how many frames the next of microphone `stage + 1` should be further on than A's; None: that is not known
    /// now, and when it is known again the streams have to be put side by side anew.
    pub fn set_wanted(&self, stage: usize, frames: Option<f64>) {
        let wanted = frames.map_or(UNKNOWN, |frames| (frames * 256.0) as i64);
        self.shared.stages[stage].wanted.store(wanted, Ordering::Relaxed);
    }

    /// Tells whether microphone `mic` (0: A) delivers.
    pub fn set_alive(&self, mic: usize, alive: bool) {
        self.shared.alive[mic].store(alive, Ordering::Relaxed);
    }

    /// Drops what microphone `mic` (0: A) delivers, or no longer.
    pub fn set_excluded(&self, mic: usize, excluded: bool) {
        self.shared.excluded[mic].store(excluded, Ordering::Relaxed);
    }

    /// Tells that the next `frames` of microphone `mic` (0: A) did not come into its ring.
    pub fn lose(&self, mic: usize, frames: u64) {
        self.shared.lost[mic].fetch_add(frames, Ordering::Relaxed);
    }

    /// The newest meters, one set for each microphone after A.
    pub fn meters(&self) -> Vec<Meters> {
        let read = |stage: &StageShared| {
            Meters::new(std::array::from_fn(|i| f32::from_bits(stage.meters[i].load(Ordering::Relaxed))))
        };
        self.shared.stages.iter().map(read).collect()
    }

    /// Whether sound has been merged yet.
    pub fn running(&self) -> bool {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// Changes the controls of all stages. False: too many changes wait already.
    pub fn set_controls(&self, controls: Controls, delay: Delay) -> bool {
        lock(&self.changes).try_push(Change::Controls(controls, delay)).is_ok()
    }

    /// Discards what all stages have learnt. False: too many changes wait already.
    pub fn reset(&self) -> bool {
        lock(&self.changes).try_push(Change::Reset).is_ok()
    }

    /// What is learnt now; None: the thread did not say within `limit`.
    pub fn snapshots_now(&self, limit: Duration) -> Option<Vec<Option<Snapshot>>> {
        let before = self.learnt().count;
        self.ask_snapshots();
        let begin = Instant::now();
        loop {
            self.wake();
            std::thread::sleep(Duration::from_millis(1));
            let learnt = self.learnt();
            if learnt.count > before {
                return Some(learnt.snapshots);
            }
            if begin.elapsed() > limit {
                return None;
            }
        }
    }

    /// Asks for what was learnt; [`Merger::learnt`] has it soon after.
    pub fn ask_snapshots(&self) {
        self.shared.snapshots_asked.store(true, Ordering::Relaxed);
    }

    /// What the thread said last about what it has learnt.
    pub fn learnt(&self) -> Learnt {
        lock(&self.shared.snapshots).clone()
    }

    /// Ends the thread and gives what was learnt, one entry for each microphone after A; None: it does not answer, and is
    /// abandoned.
    pub fn stop(&self) -> Option<Vec<Option<Snapshot>>> {
        let before = self.learnt().count;
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake();
        let thread = lock(&self.thread).take()?;
        let begin = Instant::now();
        // Not joined before it has ended: one that hangs, or was killed, would hold the end up.
        while !thread.is_finished() && begin.elapsed() < END_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        let learnt = self.learnt();
        (learnt.count > before).then_some(learnt.snapshots)
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.stop();
    }
}
