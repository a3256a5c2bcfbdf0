//! The thread in which the plugin runs, seen from outside: rings in, one ring out, and a few numbers both ways.

use super::plugin::Hosted;
use super::worker::Worker;
use driftmerge_dsp::params::METERS;
use driftmerge_dsp::{Controls, Snapshot};
use ringbuf::traits::{Producer as _, Split as _};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Stands for «not known» in [`StageShared::wanted`].
const UNKNOWN: i64 = i64::MIN;

/// Changes that may wait for the thread; it takes them before each block.
const CHANGES: usize = 16;

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
    /// Whether each microphone delivers, A first.
    pub alive: Vec<AtomicBool>,
    /// One for each microphone after A.
    pub stages: Vec<StageShared>,
    pub running: AtomicBool,
    pub snapshots_asked: AtomicBool,
    pub snapshots: Mutex<Option<Vec<Option<Snapshot>>>>,
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

/// What the thread is told while it runs.
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
    changes: HeapProd<Change>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// Starts the thread; `inputs` are the microphones' rings, A first.
    pub fn start(start: Start, inputs: Vec<HeapCons<f32>>, output: HeapProd<f32>) -> Self {
        let stage = |_| StageShared {
            wanted: AtomicI64::new(if start.own_clocks { UNKNOWN } else { 0 }),
            meters: std::array::from_fn(|i| AtomicU32::new(METERS[i].default.to_bits())),
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            alive: inputs.iter().map(|_| AtomicBool::new(true)).collect(),
            stages: start.stages.iter().map(stage).collect(),
            running: AtomicBool::new(false),
            snapshots_asked: AtomicBool::new(false),
            snapshots: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let (changes, waiting) = HeapRb::new(CHANGES).split();
        let thread = std::thread::spawn(move || Worker::new(start, theirs, waiting, inputs, output).work());
        Self { shared, changes, thread: Some(thread) }
    }

    /// Tells that sound has come.
    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
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
    pub fn set_controls(&mut self, controls: Controls, delay: Delay) -> bool {
        self.changes.try_push(Change::Controls(controls, delay)).is_ok()
    }

    /// Lets all stages forget what was learnt. False: too many changes wait already.
    pub fn reset(&mut self) -> bool {
        self.changes.try_push(Change::Reset).is_ok()
    }

    /// What is learnt now; None: it was not told within `limit`.
    pub fn snapshots_now(&self, limit: Duration) -> Option<Vec<Option<Snapshot>>> {
        // One that was told before and not taken yet is old.
        let _ = self.take_snapshots();
        self.ask_snapshots();
        let begin = Instant::now();
        loop {
            self.wake();
            std::thread::sleep(Duration::from_millis(1));
            let told = self.take_snapshots();
            if told.is_some() || begin.elapsed() > limit {
                return told;
            }
        }
    }

    /// Asks for what was learnt; [`Merger::take_snapshots`] has it soon after.
    pub fn ask_snapshots(&self) {
        self.shared.snapshots_asked.store(true, Ordering::Relaxed);
    }

    /// The snapshots asked for, once.
    pub fn take_snapshots(&self) -> Option<Vec<Option<Snapshot>>> {
        self.shared.snapshots.lock().ok()?.take()
    }

    /// Ends the thread and gives what was learnt, one entry for each microphone after A.
    pub fn stop(mut self) -> Option<Vec<Option<Snapshot>>> {
        self.end();
        self.take_snapshots()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.end();
    }
}
