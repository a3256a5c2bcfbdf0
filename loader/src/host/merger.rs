//! The thread in which the plugin runs: two rings in, one ring out.
//!
//! It takes equal counts from both microphones' rings, moves B by single frames as [`super::pace`] wants it and tells
//! the plugin. A microphone that delivers nothing is replaced by silence, so that the other is still heard. Afterwards
//! the streams are put side by side again before the clocks are followed further: sound that was late is left out, for
//! silence stood for it; sound that was lost needs nothing. The plugin is told of neither, since to it the lag is what
//! it was before.
//!
//! Per block: no allocation, no lock, no system call. Waiting is done by parking; the thread that fills the rings wakes
//! this one.

use super::pace::{Move, Pace};
use super::plugin::Hosted;
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
/// Frames of a block. At most one frame of B is moved in each, 0.8 %.
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

    /// Tells by how many frames B's next should be further on than A's; None: that is not known now, and when it is known
    /// again the streams have to be put side by side anew.
    pub fn set_wanted(&self, frames: Option<f64>) {
        let wanted = frames.map_or(UNKNOWN, |frames| (frames * 256.0) as i64);
        self.shared.wanted.store(wanted, Ordering::Relaxed);
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
    pace: Pace,
    /// The streams have to be put side by side before the clocks are followed.
    realign: bool,
    trim_frames: i64,
    delay_chosen: bool,
    buffers: [[f32; BLOCK_FRAMES]; 3],
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
        let buffers = [[0.0; BLOCK_FRAMES]; 3];
        let pace = Pace::new(start.rate_hz);
        Self { start, shared, inputs, output, pace, realign: true, trim_frames: 0, delay_chosen, buffers }
    }

    fn work(mut self) {
        let begin = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let wanted = self.align();
            let early = self.realign && begin.elapsed() < CLOCK_LIMIT;
            if early || !self.step(wanted) {
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

    /// Puts the two streams side by side where that is due; gives the offset to follow, once they are.
    fn align(&mut self) -> Option<f64> {
        let wanted = match self.shared.wanted.load(Ordering::Relaxed) {
            UNKNOWN => {
                self.realign = true;
                return None;
            }
            known => known as f64 / 256.0,
        };
        if self.realign {
            let short = self.pace.short_frames(wanted).round();
            let ahead = usize::from(short > 0.0);
            let skipped = self.inputs[ahead].skip((short.abs() as usize).min(self.inputs[ahead].occupied_len()));
            if ahead == 1 {
                self.pace.passed(0, skipped);
            } else {
                self.pace.passed(skipped, 0);
            }
            self.realign = skipped < short.abs() as usize;
        }
        (!self.realign).then_some(wanted)
    }

    /// Merges one block, if there is one.
    fn step(&mut self, wanted: Option<f64>) -> bool {
        let ready: [usize; 2] = std::array::from_fn(|i| self.inputs[i].occupied_len());
        let alive: [bool; 2] = std::array::from_fn(|i| self.shared.alive[i].load(Ordering::Relaxed));
        if ready[0].min(ready[1]) >= BLOCK_FRAMES {
            match wanted.map_or(Move::Stay, |wanted| self.pace.plan(wanted)) {
                Move::TakeOut if ready[1] > BLOCK_FRAMES => {
                    self.inputs[1].skip(1);
                    self.pace.passed(0, 1);
                    self.tell(1);
                    self.block([BLOCK_FRAMES; 2]);
                }
                Move::PutIn => {
                    self.tell(-1);
                    self.block([BLOCK_FRAMES, BLOCK_FRAMES - 1]);
                }
                Move::Stay | Move::TakeOut => self.block([BLOCK_FRAMES; 2]),
            }
            return true;
        }
        // One delivers, the other does not: what it still has, and silence.
        let one_alone = (0..2).find(|i| ready[*i] >= BLOCK_FRAMES && !alive[1 - i]);
        let Some(one) = one_alone else { return false };
        let mut frames = [BLOCK_FRAMES; 2];
        frames[1 - one] = ready[1 - one];
        self.block(frames);
        true
    }

    /// Merges one block, of which so many frames of A and B come from their rings; what is missing stands in front.
    fn block(&mut self, from_rings: [usize; 2]) {
        for (i, from_ring) in from_rings.into_iter().enumerate() {
            let (missing, real) = self.buffers[i][..BLOCK_FRAMES].split_at_mut(BLOCK_FRAMES - from_ring);
            missing.fill(0.0);
            self.inputs[i].pop_slice(real);
        }
        self.pace.passed(from_rings[0], from_rings[1]);
        self.run();
        self.shared.running.store(true, Ordering::Relaxed);
    }

    /// Tells the plugin that frames of B were taken out (positive) or are put in (negative).
    fn tell(&mut self, frames: i64) {
        self.trim_frames += frames;
        // The port counts modulo its range.
        let wrapped = (self.trim_frames + TRIM_RANGE / 2).rem_euclid(TRIM_RANGE) - TRIM_RANGE / 2;
        self.start.controls.lag_trim_frames = wrapped as i32;
        self.start.plugin.set_controls(&self.start.controls);
    }

    /// Runs the plugin on what is in the buffers.
    fn run(&mut self) {
        let [a, b, out] = &mut self.buffers;
        self.start.plugin.run(a, b, out);
        // A full ring: nobody plays; the sound is lost, which is what playing it to nobody would do.
        self.output.push_slice(out);
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
