//! The thread in which the plugin runs: two rings in, one ring out.
//!
//! It takes equal counts from both microphones' rings, moves B by single frames as [`super::pace`] wants it and tells
//! the plugin. A microphone that delivers nothing is replaced by silence, so that the other is still heard; what it
//! missed is accounted for, and if its sound comes late after all, it is run through the plugin at once and not put out, so
//! that nothing is later afterwards than before.
//!
//! Per block: no allocation, no lock, no system call. Waiting is done by parking; the thread that fills the rings wakes
//! this one.

use super::pace::{Move, Pace};
use super::plugin::{BLOCK_LIMIT_FRAMES, Hosted};
use driftmerge_dsp::params::{METERS, delay_for_lag_ms};
use driftmerge_dsp::{Controls, Snapshot};
use ringbuf::traits::{Consumer as _, Observer as _, Producer as _};
use ringbuf::{HeapCons, HeapProd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest sleep, for the case that nobody wakes the thread.
const NAP: Duration = Duration::from_millis(5);
/// Least frames worth a call of the plugin; at most one frame of B is moved in each, 0.8 %.
const BLOCK_FRAMES: usize = 128;
/// How long to wait for the clocks before starting without them.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);
/// The range in which the port `lag_trim` counts.
const TRIM_RANGE: i64 = 1 << 25;
/// Stands for «not known» in [`Shared::wanted`].
const UNKNOWN: i64 = i64::MIN;

/// The plugin's control outputs, with what the thread itself knows.
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

/// What both threads see.
struct Shared {
    stop: AtomicBool,
    /// Frames by which B's next should be further on than A's, in 1/256.
    wanted: AtomicI64,
    /// Whether each microphone delivers.
    alive: [AtomicBool; 2],
    meters: [AtomicU32; METERS.len()],
    running: AtomicBool,
    snapshot_asked: AtomicBool,
    snapshot: Mutex<Option<Snapshot>>,
}

/// The thread and the way to talk to it.
pub struct Merger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How the thread is to start.
pub struct Start {
    /// The plugin.
    pub plugin: Hosted,
    /// Its controls; without `auto_delay` the delay is used as it stands.
    pub controls: Controls,
    /// Choose the delay by the first lock.
    pub auto_delay: bool,
    /// What an earlier run learnt.
    pub snapshot: Option<Snapshot>,
    /// Sample rate, Hz.
    pub rate_hz: f64,
    /// Whether the microphones have clocks of their own (the direct route), or come as one stream.
    pub own_clocks: bool,
}

impl Merger {
    /// Starts the thread.
    pub fn start(start: Start, inputs: [HeapCons<f32>; 2], output: HeapProd<f32>) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            wanted: AtomicI64::new(if start.own_clocks { UNKNOWN } else { 0 }),
            alive: [AtomicBool::new(true), AtomicBool::new(true)],
            meters: std::array::from_fn(|i| AtomicU32::new(METERS[i].default.to_bits())),
            running: AtomicBool::new(false),
            snapshot_asked: AtomicBool::new(false),
            snapshot: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || Worker::new(start, theirs, inputs, output).work());
        Self { shared, thread: Some(thread) }
    }

    /// Tells that sound has come.
    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Tells by how many frames B's next should be further on than A's.
    pub fn set_wanted(&self, frames: f64) {
        self.shared.wanted.store((frames * 256.0) as i64, Ordering::Relaxed);
    }

    /// Tells whether microphone `mic` (0: A) delivers.
    pub fn set_alive(&self, mic: usize, alive: bool) {
        self.shared.alive[mic].store(alive, Ordering::Relaxed);
    }

    /// The newest meters.
    pub fn meters(&self) -> Meters {
        let [lag_ms, drift_ppm, confidence, weight, polarity, state, latency_frames] =
            std::array::from_fn(|i| f32::from_bits(self.shared.meters[i].load(Ordering::Relaxed)));
        Meters { lag_ms, drift_ppm, confidence, weight, polarity, state, latency_frames }
    }

    /// Whether sound has been merged yet.
    pub fn running(&self) -> bool {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// Asks for what was learnt; [`Merger::take_snapshot`] has it soon after.
    pub fn ask_snapshot(&self) {
        self.shared.snapshot_asked.store(true, Ordering::Relaxed);
    }

    /// The snapshot asked for, once.
    pub fn take_snapshot(&self) -> Option<Snapshot> {
        self.shared.snapshot.lock().ok()?.take()
    }

    /// Ends the thread and gives what was learnt.
    pub fn stop(mut self) -> Option<Snapshot> {
        self.end();
        self.take_snapshot()
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

/// What the thread owns.
struct Worker {
    start: Start,
    shared: Arc<Shared>,
    inputs: [HeapCons<f32>; 2],
    output: HeapProd<f32>,
    pace: Option<Pace>,
    trim_frames: i64,
    delay_chosen: bool,
    buffers: [[f32; BLOCK_LIMIT_FRAMES]; 3],
}

impl Worker {
    fn new(mut start: Start, shared: Arc<Shared>, inputs: [HeapCons<f32>; 2], output: HeapProd<f32>) -> Self {
        let mut delay_chosen = !start.auto_delay;
        if start.auto_delay {
            start.controls.delay_ms = driftmerge_dsp::params::CONTROLS[1].min;
        }
        if let Some(snapshot) = start.snapshot.take() {
            match start.plugin.restore(&snapshot) {
                Ok(()) if start.auto_delay => {
                    start.controls.delay_ms = delay_for_lag_ms(snapshot.lag_s * 1e3);
                    delay_chosen = true;
                }
                Ok(()) => {}
                Err(error) => tracing::warn!("what was learnt before is not used: {error}"),
            }
        }
        start.plugin.set_controls(&start.controls);
        let buffers = [[0.0; BLOCK_LIMIT_FRAMES]; 3];
        Self { start, shared, inputs, output, pace: None, trim_frames: 0, delay_chosen, buffers }
    }

    fn work(mut self) {
        let begin = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            if !self.aligned(begin) || !self.step() {
                self.keep_snapshot();
                std::thread::park_timeout(NAP);
            }
        }
        self.shared.snapshot_asked.store(true, Ordering::Relaxed);
        self.keep_snapshot();
    }

    fn keep_snapshot(&mut self) {
        if !self.shared.snapshot_asked.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.start.plugin.snapshot() {
            Ok(snapshot) => {
                if let Ok(mut place) = self.shared.snapshot.lock() {
                    *place = snapshot;
                }
            }
            Err(error) => tracing::warn!("what was learnt cannot be kept: {error}"),
        }
    }

    /// Puts the two streams side by side before the first block. False: not yet possible.
    fn aligned(&mut self, begin: Instant) -> bool {
        if self.pace.is_some() {
            return true;
        }
        let wanted = match self.shared.wanted.load(Ordering::Relaxed) {
            UNKNOWN if begin.elapsed() < CLOCK_LIMIT => return false,
            UNKNOWN => 0,
            known => (known as f64 / 256.0).round() as i64,
        };
        let ahead = usize::from(wanted > 0);
        let late = wanted.unsigned_abs() as usize;
        if self.inputs[ahead].occupied_len() < late {
            return false;
        }
        self.inputs[ahead].skip(late);
        self.pace = Some(Pace::new(self.start.rate_hz, wanted));
        self.shared.running.store(true, Ordering::Relaxed);
        true
    }

    /// Merges one block, if there is one.
    fn step(&mut self) -> bool {
        let ready: [usize; 2] = std::array::from_fn(|i| self.inputs[i].occupied_len());
        let alive: [bool; 2] = std::array::from_fn(|i| self.shared.alive[i].load(Ordering::Relaxed));
        let least = ready[0].min(ready[1]);
        if least >= BLOCK_FRAMES {
            let wanted = self.shared.wanted.load(Ordering::Relaxed);
            let pace = self.pace.as_mut().expect("set before the first block");
            let planned = if wanted == UNKNOWN { Move::None } else { pace.plan(wanted as f64 / 256.0) };
            match planned {
                // Late sound of A: it is heard by the plugin beside frames put in for B, but not put out.
                Move::PutIn(frames) if frames > 1 => return self.late_a(frames.min(ready[0]).min(BLOCK_LIMIT_FRAMES)),
                Move::PutIn(frames) => self.block(BLOCK_FRAMES, BLOCK_FRAMES - frames, true),
                Move::TakeOut(frames) => {
                    let frames = frames.min(ready[1] - BLOCK_FRAMES);
                    if frames > 0 {
                        self.inputs[1].skip(frames);
                        self.moved(frames as i64);
                    }
                    self.block(BLOCK_FRAMES, BLOCK_FRAMES, true);
                }
                Move::None => self.block(BLOCK_FRAMES, BLOCK_FRAMES, true),
            }
            return true;
        }
        if ready[0] >= BLOCK_FRAMES && !alive[1] {
            let from_b = ready[1];
            self.block(BLOCK_FRAMES, from_b, true);
            return true;
        }
        if ready[1] >= BLOCK_FRAMES && !alive[0] {
            self.without_a(ready[0]);
            return true;
        }
        false
    }

    /// B has `frames` put in at its front while A's late sound goes by, unheard.
    fn late_a(&mut self, frames: usize) -> bool {
        self.block(frames, 0, false);
        true
    }

    /// Silence stands for what A does not deliver.
    fn without_a(&mut self, from_a: usize) {
        let put_in = BLOCK_FRAMES - from_a;
        self.inputs[0].pop_slice(&mut self.buffers[0][..from_a]);
        self.buffers[0][from_a..BLOCK_FRAMES].fill(0.0);
        self.inputs[1].pop_slice(&mut self.buffers[1][..BLOCK_FRAMES]);
        // Frames put into A are to the plugin frames taken out of B.
        self.moved(put_in as i64);
        self.run(BLOCK_FRAMES, true);
    }

    /// Merges `frames` of A with `from_b` frames of B, in front of which the rest is put in.
    fn block(&mut self, frames: usize, from_b: usize, heard: bool) {
        let put_in = frames - from_b;
        if put_in > 0 {
            self.moved(-(put_in as i64));
        }
        self.inputs[0].pop_slice(&mut self.buffers[0][..frames]);
        self.buffers[1][..put_in].fill(0.0);
        self.inputs[1].pop_slice(&mut self.buffers[1][put_in..frames]);
        self.run(frames, heard);
    }

    /// Frames of B were taken out (positive) or put in (negative).
    fn moved(&mut self, frames: i64) {
        if let Some(pace) = &mut self.pace {
            pace.moved(frames);
        }
        self.trim_frames += frames;
        // The port counts modulo its range.
        let wrapped = (self.trim_frames + TRIM_RANGE / 2).rem_euclid(TRIM_RANGE) - TRIM_RANGE / 2;
        self.start.controls.lag_trim_frames = wrapped as i32;
        self.start.plugin.set_controls(&self.start.controls);
    }

    fn run(&mut self, frames: usize, heard: bool) {
        let [a, b, out] = &mut self.buffers;
        self.start.plugin.run(&a[..frames], &b[..frames], &mut out[..frames]);
        if heard {
            // A full ring: nobody plays; the sound is lost, which is what playing it to nobody would do.
            self.output.push_slice(&out[..frames]);
        }
        let meters = self.start.plugin.meters();
        for (place, value) in self.shared.meters.iter().zip(meters) {
            place.store(value.to_bits(), Ordering::Relaxed);
        }
        // `state` is the sixth meter, `lag` the first.
        if !self.delay_chosen && meters[5] > 0.5 {
            self.delay_chosen = true;
            self.start.controls.delay_ms = delay_for_lag_ms(f64::from(meters[0]));
            self.start.plugin.set_controls(&self.start.controls);
        }
    }
}
