//! The engine behind a plugin's ports, and what it has learnt of each microphone.

use driftmerge_dsp::snapshot::SNAPSHOT_VERSION;
use driftmerge_dsp::{Controls, Engine, EngineError, Snapshot, SnapshotError};

use crate::layout::{Layout, MAX_INS, MAX_METERS, MAX_OTHERS, MAX_OUTS, MICROPHONE_METERS, Sound};

/// Frames that are processed at a time: small enough to stay in the first-level cache with the engine's own data, large
/// enough that the cost of a call does not show.
pub const CHUNK_FRAMES: usize = 64;

/// What has been learnt of each microphone after A; lags are against A. None: nothing.
pub type Learnt = [Option<Snapshot>; MAX_OTHERS];

/// The engine of one instance.
pub struct Processor {
    engine: Engine,
    sound: Sound,
    /// What the engine last knew of each microphone: a session saved while a lock is still being tried keeps the one
    /// before. Only `reset` clears it.
    learnt: Learnt,
}

impl Processor {
    /// Creates the engine, with the default controls until the host's are known. Allocates.
    pub fn new(layout: &Layout, rate_hz: f64) -> Result<Self, EngineError> {
        let engine = Engine::new(rate_hz, layout.ins.len(), &Controls::default())?;
        Ok(Self { engine, sound: layout.sound, learnt: Learnt::default() })
    }

    /// Takes the controls for the frames that follow. Audio thread.
    pub fn set_controls(&mut self, controls: &Controls) {
        self.engine.set_controls(controls);
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
        let ins = ins.each_ref().map(|sound| &sound[..frames]);
        let ins = &ins[..self.engine.microphones()];
        let mut outs = outs.each_mut().map(|sound| &mut sound[..frames]);
        match self.sound {
            Sound::Apart => self.engine.process_apart(ins, &mut outs),
            Sound::Merged => {
                let [first, second] = outs;
                self.engine.process(ins, first);
                second.copy_from_slice(first);
            }
        }
    }

    /// Notes what the engine knows by now, and returns all that was learnt. Audio thread.
    pub fn learn(&mut self) -> Learnt {
        for (other, learnt) in self.learnt.iter_mut().enumerate() {
            *learnt = self.engine.snapshot(other + 1).or(*learnt);
        }
        self.learnt
    }

    /// Starts from what another instance has learnt, at any sample rate. Microphones of which nothing is known stay as
    /// they are.
    ///
    /// # Errors
    /// One of the snapshots cannot be used; then none of them is.
    pub fn restore(&mut self, learnt: &Learnt) -> Result<(), SnapshotError> {
        learnt.iter().flatten().try_for_each(Snapshot::check)?;
        for (other, snapshot) in learnt.iter().enumerate().take(self.engine.microphones() - 1) {
            if let Some(snapshot) = snapshot {
                self.engine.restore(other + 1, snapshot)?;
                // Saved again before it is confirmed, it is a state of this version at this rate.
                let (version, rate_hz) = (SNAPSHOT_VERSION, self.engine.rate_hz());
                self.learnt[other] = Some(Snapshot { version, rate_hz, ..*snapshot });
            }
        }
        Ok(())
    }

    /// The values of the control outputs, as many as the plugin has. Audio thread.
    pub fn meters(&self) -> [f32; MAX_METERS] {
        let mut all = [0.0; MAX_METERS];
        let others = self.engine.microphones() - 1;
        for (other, meters) in all.chunks_exact_mut(MICROPHONE_METERS).enumerate().take(others) {
            meters.copy_from_slice(&self.engine.status(other + 1).meters()[..MICROPHONE_METERS]);
        }
        all[others * MICROPHONE_METERS] = self.engine.latency_frames() as f32;
        all
    }
}
