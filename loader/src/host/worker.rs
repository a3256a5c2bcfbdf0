//! The thread in which the plugin runs, from inside.
//!
//! It takes equal counts from all microphones' rings, moves the others against A by single frames as [`super::pace`] wants
//! it and tells the plugin. Two microphones make one stage; each further one is merged by a stage of its own into what
//! the stages before it made:
//!
//! ```text
//! A ──► stage 0 ──► stage 1 ──► … ──► out
//! B ──────┘           │
//! C ──────────────────┘
//! ```
//!
//! A microphone that delivers nothing is replaced by silence, so that the others are still heard. Afterwards the streams
//! are realigned before the clocks are followed further: late sound is dropped, because silence took its place; lost sound
//! needs no correction. Neither changes the lag that the plugin sees, so `lag_trim` stays. A server reports times to a
//! millisecond only, so the plugin restarts from its snapshot and waits for the sound to confirm it.
//!
//! Per block: no allocation, no lock, no system call. Waiting is done by parking; the thread that fills the rings wakes
//! this one.

use super::merger::{Change, Delay, Meters, Shared, StageStart, Start};
use super::pace::{Move, Pace};
use super::plugin::Hosted;
use driftmerge_dsp::params::{CONTROLS, delay_for_lag_ms};
use driftmerge_dsp::{Controls, Mode, Snapshot};
use ringbuf::traits::{Consumer as _, Observer, Producer as _};
use ringbuf::{HeapCons, HeapProd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest sleep, for the case that nobody wakes the thread.
const NAP: Duration = Duration::from_millis(50);
/// Frames of a block. At most one frame of a microphone is moved in each, 0.8 %.
const BLOCK_FRAMES: usize = 128;
/// How long to wait for the clocks before starting without them.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);
/// Behind the lag the plugin needs this much of the delay to read the microphone, ms: the combiner's frame, half the
/// interpolator, and room for a slew.
const READ_ROOM_MS: f32 = 36.0;
/// How long a microphone has to come too late for the delay before a longer one is chosen, s: the latency is no toy.
const TOO_LATE_S: f64 = 3.0;
/// A delay that an earlier run's lag asked for may be longer than is needed by this, ms.
const GUESS_SLACK_MS: f32 = 20.0;
/// The range in which the port `lag_trim` counts.
const TRIM_RANGE: i64 = 1 << 25;

/// Whether the delay of A is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    /// It waits for the first lock.
    NotYet,
    /// For a lag that an earlier run has learnt, which the sound has not confirmed yet.
    Guessed,
    /// For good.
    Yes,
}

type Block = [f32; BLOCK_FRAMES];

/// One plugin and the microphone that it merges in.
struct Stage {
    plugin: Hosted,
    controls: Controls,
    /// The delay is chosen by the lock.
    auto_delay: bool,
    delay: Chosen,
    /// Frames for which the microphone has come too late for the delay, and how many are too many.
    late_frames: usize,
    late_limit_frames: usize,
    pace: Pace,
    /// The streams have to be put side by side before the clocks are followed.
    realign: bool,
    /// What was known when they came apart, until it is known anew.
    known: Option<Snapshot>,
    /// Frames of silence that the microphone is still to be held back by.
    owed_frames: usize,
    trim_frames: i64,
    meters: Meters,
    /// The mode that stands for the one of the controls for a while.
    mode_instead: Option<Mode>,
}

impl Stage {
    /// `before_s` is how much later than A the sound is that this stage gets from those before it.
    fn new(start: StageStart, controls: Controls, auto_delay: bool, rate_hz: f64, before_s: f64) -> Self {
        let StageStart { mut plugin, snapshot } = start;
        let mut controls = controls;
        let mut delay = if auto_delay { Chosen::NotYet } else { Chosen::Yes };
        if auto_delay {
            controls.delay_ms = CONTROLS[1].min;
        }
        if let Some(snapshot) = snapshot {
            let snapshot = Snapshot { lag_s: snapshot.lag_s - before_s, ..snapshot };
            match plugin.restore(&snapshot) {
                Ok(()) if auto_delay => {
                    controls.delay_ms = delay_for_lag_ms(snapshot.lag_s * 1e3);
                    delay = Chosen::Guessed;
                }
                Ok(()) => {}
                Err(error) => tracing::warn!("what was learnt before is not used: {error}"),
            }
        }
        plugin.set_controls(&controls);
        Self {
            plugin,
            controls,
            auto_delay,
            delay,
            late_frames: 0,
            late_limit_frames: (TOO_LATE_S * rate_hz) as usize,
            pace: Pace::new(rate_hz),
            realign: true,
            known: None,
            owed_frames: 0,
            trim_frames: 0,
            meters: Meters::default(),
            mode_instead: None,
        }
    }

    /// The streams are no longer side by side, or not known to be: what was learnt is put aside.
    fn come_apart(&mut self) {
        self.realign = true;
        self.known = self.learnt();
    }

    /// Both deliver, but are not side by side: they are not to be merged. While one is silent the other is heard anyway.
    fn hear_apart(&mut self) {
        if self.meters.locked() {
            self.doubt();
        }
    }

    /// The streams are side by side again, to a millisecond or so, for which the server's word is taken: the sound has to
    /// confirm the lag before both are merged.
    fn side_by_side(&mut self) {
        self.realign = false;
        self.doubt();
    }

    /// Lets what was known go for restored: the better microphone plays alone until the sound confirms it.
    fn doubt(&mut self) {
        if let Some(Err(error)) = self.known.map(|known| self.plugin.restore(&known)) {
            tracing::warn!("what was learnt before the break is not used: {error}");
        }
    }

    /// What was learnt, also while the sound has not confirmed it since the last break.
    fn learnt(&self) -> Option<Snapshot> {
        let learnt = self.plugin.snapshot().unwrap_or_else(|error| {
            tracing::warn!("what was learnt cannot be kept: {error}");
            None
        });
        learnt.or(self.known)
    }

    /// Hears the microphone alone where all before it are gone and no lag is known: to the plugin a silent reference may be a
    /// talker who pauses, and stays.
    fn hear_without_reference(&mut self, gone: bool) {
        let mode = (gone && !self.meters.locked()).then_some(Mode::OnlyB);
        if mode != self.mode_instead {
            self.mode_instead = mode;
            self.send_controls();
        }
    }

    fn send_controls(&mut self) {
        let mode = self.mode_instead.unwrap_or(self.controls.mode);
        self.plugin.set_controls(&Controls { mode, ..self.controls });
    }

    /// Reports to the plugin how many frames of the microphone were dropped (positive) or inserted (negative).
    fn tell(&mut self, frames: i64) {
        self.trim_frames += frames;
        // The port counts modulo its range.
        let wrapped = (self.trim_frames + TRIM_RANGE / 2).rem_euclid(TRIM_RANGE) - TRIM_RANGE / 2;
        self.controls.lag_trim_frames[0] = wrapped as i32;
        self.send_controls();
    }

    /// Takes a change of the controls, or of what is known.
    fn change(&mut self, change: Change) {
        match change {
            Change::Controls(controls, delay) => {
                let Controls { delay_ms, lag_trim_frames, reset, .. } = self.controls;
                self.controls = Controls { lag_trim_frames, reset, ..controls };
                match delay {
                    Delay::Set => (self.auto_delay, self.delay) = (false, Chosen::Yes),
                    Delay::Keep => self.controls.delay_ms = delay_ms,
                    Delay::Choose => {
                        self.controls.delay_ms = delay_ms;
                        (self.auto_delay, self.delay) = (true, Chosen::NotYet);
                    }
                }
            }
            // It is unset when the plugin has seen it.
            Change::Reset => {
                self.controls.reset = true;
                self.known = None;
                self.delay = if self.auto_delay { Chosen::NotYet } else { Chosen::Yes };
            }
        }
        self.send_controls();
    }

    /// Merges one block and chooses the delay at the first lock, and again where the lag has outgrown it for good: for a
    /// microphone that came back with longer buffers, say. Gives the meters.
    fn run(&mut self, a: &Block, b: &Block, out: &mut Block) -> [f32; 7] {
        self.plugin.run(a, b, out);
        let values = self.plugin.meters();
        self.meters = Meters::new(values);
        if self.controls.reset {
            self.controls.reset = false;
            self.send_controls();
        }
        let locked = self.meters.locked();
        if locked && !self.realign {
            self.known = None;
        }
        let late = locked && self.meters.lag_ms + READ_ROOM_MS > self.controls.delay_ms;
        self.late_frames = if late { self.late_frames + BLOCK_FRAMES } else { 0 };
        let mut outgrown = self.auto_delay && self.late_frames > self.late_limit_frames;
        if locked && self.delay == Chosen::Guessed {
            self.delay = Chosen::Yes;
            // Many devices start with another offset each time: what is known now is worth a cut, as at any first lock.
            let better_ms = delay_for_lag_ms(f64::from(self.meters.lag_ms));
            outgrown |= late || self.controls.delay_ms > better_ms + GUESS_SLACK_MS;
        }
        if locked && (outgrown || self.delay == Chosen::NotYet) {
            (self.delay, self.late_frames) = (Chosen::Yes, 0);
            self.controls.delay_ms = delay_for_lag_ms(f64::from(self.meters.lag_ms));
            self.send_controls();
        }
        values
    }
}

/// What the thread owns.
pub(super) struct Worker {
    shared: Arc<Shared>,
    changes: HeapCons<Change>,
    inputs: Vec<HeapCons<f32>>,
    output: HeapProd<f32>,
    rate_hz: f64,
    stages: Vec<Stage>,
    /// Frames for the next block from each microphone's ring.
    counts: Vec<usize>,
    /// Frames of each microphone that silence stood for because they were late: they are dropped when they come.
    late: Vec<usize>,
    /// A microphone that is later than another by more than this is not waited for.
    late_limit_frames: usize,
    /// One for each microphone.
    blocks: Vec<Block>,
    merged: [Block; 2],
}

impl Worker {
    pub fn new(
        start: Start,
        shared: Arc<Shared>,
        changes: HeapCons<Change>,
        inputs: Vec<HeapCons<f32>>,
        output: HeapProd<f32>,
    ) -> Self {
        let Start { stages: starts, controls, auto_delay, rate_hz, late_limit_frames, .. } = start;
        let mut before_s = 0.0;
        let mut stages = Vec::new();
        let count = starts.len();
        for (i, start) in starts.into_iter().enumerate() {
            let stage = Stage::new(start, controls.of_link(i, count), auto_delay, rate_hz, before_s);
            before_s += f64::from(stage.controls.delay_ms) * 1e-3;
            stages.push(stage);
        }
        let blocks = vec![[0.0; BLOCK_FRAMES]; inputs.len()];
        let (counts, late) = (vec![0; inputs.len()], vec![0; inputs.len()]);
        let merged = [[0.0; BLOCK_FRAMES]; 2];
        Self { shared, changes, inputs, output, rate_hz, stages, counts, late, late_limit_frames, blocks, merged }
    }

    pub fn work(mut self) {
        let begin = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.shared.beat.fetch_add(1, Ordering::Relaxed);
            while let Some(change) = self.changes.try_pop() {
                let count = self.stages.len();
                for (i, stage) in self.stages.iter_mut().enumerate() {
                    stage.change(match change {
                        Change::Controls(controls, delay) => Change::Controls(controls.of_link(i, count), delay),
                        Change::Reset => Change::Reset,
                    });
                }
            }
            self.account_for_losses();
            self.align();
            let early = self.stages.iter().any(|stage| stage.realign) && begin.elapsed() < CLOCK_LIMIT;
            if early || !self.step() {
                self.keep_snapshots();
                std::thread::park_timeout(NAP);
            }
        }
        self.shared.snapshots_asked.store(true, Ordering::Relaxed);
        self.keep_snapshots();
    }

    /// Stores a snapshot of each stage; lags are relative to A.
    fn keep_snapshots(&mut self) {
        if !self.shared.snapshots_asked.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut before_s = 0.0;
        let mut kept = Vec::new();
        for stage in &self.stages {
            // What is to be forgotten, and is not yet because nothing runs, is not kept.
            let learnt = stage.learnt().filter(|_| !stage.controls.reset);
            kept.push(learnt.map(|snapshot| Snapshot { lag_s: snapshot.lag_s + before_s, ..snapshot }));
            before_s += f64::from(stage.meters.latency_frames) / self.rate_hz;
        }
        if let Ok(mut place) = self.shared.snapshots.lock() {
            place.count += 1;
            place.snapshots = kept;
        }
    }

    /// Counts frames of microphone `mic` that go by unheard.
    fn pass_by(&mut self, mic: usize, frames: usize) {
        match mic.checked_sub(1) {
            None => self.stages.iter_mut().for_each(|stage| stage.pace.passed(frames, 0)),
            Some(stage) => self.stages[stage].pace.passed(0, frames),
        }
    }

    /// Drops what excluded microphones deliver, and where frames were lost at a full ring what is in front of them: it is
    /// seconds old.
    fn account_for_losses(&mut self) {
        for mic in 0..self.inputs.len() {
            let lost = self.shared.lost[mic].swap(0, Ordering::Relaxed) as usize;
            let excluded = self.shared.excluded[mic].load(Ordering::Relaxed);
            if lost == 0 && !excluded {
                continue;
            }
            let dropped = self.inputs[mic].clear();
            self.pass_by(mic, dropped + lost);
            if lost > 0 {
                let stages = if mic == 0 { 0..self.stages.len() } else { mic - 1..mic };
                stages.for_each(|stage| self.come_apart(stage));
            }
        }
    }

    /// The streams of stage `i` are no longer side by side, or not known to be. What was late and has not come may never
    /// do so: it is counted when it passes.
    fn come_apart(&mut self, i: usize) {
        let late_b = std::mem::take(&mut self.late[i + 1]);
        self.stages[i].pace.passed(late_b, 0);
        if !self.stages[i].realign {
            self.stages[i].come_apart();
        }
        let late_a = std::mem::take(&mut self.late[0]);
        if late_a > 0 {
            for stage in &mut self.stages {
                stage.pace.passed(0, late_a);
                if !stage.realign {
                    stage.come_apart();
                }
            }
        }
    }

    /// Puts the streams side by side where that is due.
    fn align(&mut self) {
        for i in 0..self.stages.len() {
            if !self.stages[i].realign && self.shared.stages[i].wanted().is_none() {
                self.come_apart(i);
            }
        }
        let due = |(stage, shared): (&Stage, &super::merger::StageShared)| {
            let short = shared.wanted().map(|wanted| stage.pace.short_frames(wanted).round() as i64);
            short.filter(|_| stage.realign)
        };
        // A is behind all others: it is A that has to hurry, or the merge would be later for ever.
        let all_due = self
            .stages
            .iter()
            .zip(&self.shared.stages)
            .map(due)
            .try_fold(i64::MIN, |most, short| Some(most.max(short?)));
        if let Some(behind) = all_due.filter(|most| *most < 0) {
            let skipped = self.inputs[0].skip((-behind) as usize);
            for stage in &mut self.stages {
                stage.pace.passed(skipped, 0);
            }
            if skipped as i64 != -behind {
                // The rest is on its way.
                return;
            }
        }
        for (i, (stage, shared)) in self.stages.iter_mut().zip(&self.shared.stages).enumerate() {
            match due((stage, shared)) {
                None => {}
                Some(short) if short < 0 => {
                    stage.owed_frames = (-short) as usize;
                    // What is owed will be given; to the pace it is as good as done.
                    stage.pace.passed(stage.owed_frames, 0);
                    stage.side_by_side();
                }
                Some(short) => {
                    let skipped = self.inputs[i + 1].skip(short as usize);
                    stage.pace.passed(0, skipped);
                    if skipped == short as usize {
                        stage.side_by_side();
                    }
                }
            }
        }
    }

    /// Merges one block, if there is one.
    fn step(&mut self) -> bool {
        for (input, late) in self.inputs.iter_mut().zip(&mut self.late) {
            *late -= input.skip(*late);
        }
        let mut some = false;
        let most = self.inputs.iter().map(Observer::occupied_len).max().unwrap_or(0);
        let waited_enough = most >= BLOCK_FRAMES + self.late_limit_frames;
        for (i, input) in self.inputs.iter().enumerate() {
            let owed = if i == 0 { 0 } else { self.stages[i - 1].owed_frames };
            let ready = (owed + input.occupied_len()).min(BLOCK_FRAMES);
            let alive = self.shared.alive[i].load(Ordering::Relaxed);
            if ready < BLOCK_FRAMES && alive && !waited_enough {
                return false;
            }
            some |= ready == BLOCK_FRAMES && owed == 0;
            self.counts[i] = ready - owed.min(ready);
        }
        if !some {
            return false;
        }
        for i in 0..self.stages.len() {
            self.keep_pace(i);
        }
        self.note_late();
        for (i, (block, count)) in self.blocks.iter_mut().zip(&self.counts).enumerate() {
            let (missing, real) = block.split_at_mut(BLOCK_FRAMES - count);
            missing.fill(0.0);
            self.inputs[i].pop_slice(real);
        }
        self.run();
        self.shared.running.store(true, Ordering::Relaxed);
        true
    }

    /// Where a microphone that delivers is too late for this block, silence stands for the rest, which counts as passed.
    fn note_late(&mut self) {
        for i in 0..self.inputs.len() {
            let owed = i > 0 && self.stages[i - 1].owed_frames > 0;
            let late = BLOCK_FRAMES - self.counts[i];
            let realign = i > 0 && self.stages[i - 1].realign;
            // A pace correction takes one frame less from a ring that holds more: nothing is late then.
            let short = self.inputs[i].occupied_len() <= self.counts[i];
            if late > 0 && short && !owed && !realign && self.shared.alive[i].load(Ordering::Relaxed) {
                self.late[i] += late;
                self.pass_by(i, late);
            }
        }
    }

    /// Moves the microphone of stage `i` by a frame where that is due, and counts what the block will take.
    fn keep_pace(&mut self, i: usize) {
        let (stage, shared) = (&mut self.stages[i], &self.shared.stages[i]);
        let (a, b) = (self.counts[0], &mut self.counts[i + 1]);
        let owed = stage.owed_frames.min(BLOCK_FRAMES - *b);
        stage.owed_frames -= owed;
        let whole = a == BLOCK_FRAMES && *b == BLOCK_FRAMES;
        if whole && stage.realign {
            stage.hear_apart();
        }
        match shared.wanted() {
            Some(wanted) if whole && !stage.realign => match stage.pace.plan(wanted) {
                Move::TakeOut if self.inputs[i + 1].occupied_len() > BLOCK_FRAMES => {
                    self.inputs[i + 1].skip(1);
                    stage.pace.passed(0, 1);
                    stage.tell(1);
                }
                Move::PutIn => {
                    *b -= 1;
                    stage.tell(-1);
                }
                Move::Stay | Move::TakeOut => {}
            },
            _ => {}
        }
        // Silence that was owed was counted when it became so.
        stage.pace.passed(a - owed.min(a), *b);
    }

    /// Runs the stages on what is in the blocks.
    fn run(&mut self) {
        self.merged[0] = self.blocks[0];
        let mut gone = true;
        for i in 0..self.stages.len() {
            gone &= !self.shared.alive[i].load(Ordering::Relaxed);
            self.stages[i].hear_without_reference(gone);
            let [merged, out] = &mut self.merged;
            let latency_before = self.stages[i].meters.latency_frames;
            let values = self.stages[i].run(merged, &self.blocks[i + 1], out);
            self.shared.stages[i].set_meters(values);
            self.merged.swap(0, 1);
            // The stages after this one get everything later by as much, which is as if their microphones had lost it.
            let later_frames = (self.stages[i].meters.latency_frames - latency_before) as i64;
            if later_frames != 0 && self.shared.running.load(Ordering::Relaxed) {
                for stage in &mut self.stages[i + 1..] {
                    stage.tell(later_frames);
                }
            }
        }
        // A full ring: nobody plays; the sound is lost, which is what playing it to nobody would do.
        self.output.push_slice(&self.merged[0]);
    }
}
