//! One plugin instance as both shells use it: connects the host's ports to the engine.

use std::sync::{Mutex, MutexGuard, TryLockError};

use driftmerge_dsp::{EngineError, SnapshotError};

use crate::guard::{FlushDenormals, Guarded};
use crate::layout::{Layout, MAX_INS, MAX_METERS, MAX_OUTS, MICROPHONE_METERS, Sound};
use crate::ports::Ports;
use crate::processor::{CHUNK_FRAMES, Learnt, Processor};

/// Frames after which `lag_trim` wraps around: a host that reaches one end of the port's range continues at the other.
const TRIM_MODULUS: i32 = 1 << 25;

/// The engine of one instance, and what has to be known about its host.
pub(crate) struct Instance {
    processor: Guarded<Processor>,
    /// Value of `lag_trim` when audio started. Only changes count: a host that restores a session sets the old total
    /// again, although it has not dropped any frames of this instance's B.
    trim_base_frames: i32,
    began: bool,
    learnt: Learnt,
}

impl Instance {
    /// Creates the engine of a plugin. Allocates.
    pub fn new(layout: &Layout, rate_hz: f64) -> Result<Self, EngineError> {
        let processor = Guarded::new(Processor::new(layout, rate_hz)?);
        Ok(Self { processor, trim_base_frames: 0, began: false, learnt: Learnt::default() })
    }

    /// Processes a block of any length, including 0. Audio thread.
    ///
    /// # Safety
    /// Each connected control points to an `f32` and each connected audio port to `frames` of them; they may overlap.
    /// `ports` has the layout that this instance was created for.
    pub unsafe fn run(&mut self, ports: &Ports, frames: usize) {
        let _flush = FlushDenormals::new();
        let layout = ports.layout();
        // SAFETY: the caller's promise.
        let mut controls = unsafe { ports.controls() };
        if !self.began {
            self.trim_base_frames = controls.lag_trim_frames[0];
            self.began = frames > 0;
        }
        // The port counts frames of B; no plugin has one for the others.
        controls.lag_trim_frames[0] = wrapped(controls.lag_trim_frames[0] - self.trim_base_frames);
        self.processor.call(|processor| processor.set_controls(&controls));

        let (mut ins, mut outs) = ([[0.0; CHUNK_FRAMES]; MAX_INS], [[0.0; CHUNK_FRAMES]; MAX_OUTS]);
        for start in (0..frames).step_by(CHUNK_FRAMES) {
            let n = CHUNK_FRAMES.min(frames - start);
            for (microphone, sound) in ins.iter_mut().enumerate().take(layout.ins.len()) {
                // SAFETY: start + n <= frames.
                unsafe { ports.read(microphone, start, &mut sound[..n]) };
            }
            if self.processor.call(|processor| processor.process(&ins, &mut outs, n)).is_none() {
                outs = match layout.sound {
                    Sound::Merged => [ins[0]; MAX_OUTS],
                    Sound::Apart => [ins[0], ins[1]],
                };
            }
            for (out, sound) in outs.iter().enumerate().take(layout.outs.len()) {
                // SAFETY: start + n <= frames.
                unsafe { ports.write(out, start, &sound[..n]) };
            }
        }

        self.learnt = self.processor.call(Processor::learn).unwrap_or(self.learnt);
        let meters = self.processor.call(|processor| processor.meters()).unwrap_or(FAILED_METERS);
        // SAFETY: the caller's promise.
        unsafe { ports.write_meters(&meters) };
    }

    /// What the engine has learnt so far. Audio thread.
    pub fn learnt(&self) -> Learnt {
        self.learnt
    }

    /// Starts from what another instance has learnt, at any sample rate. An instance that has failed stays failed.
    pub fn restore(&mut self, learnt: &Learnt) -> Result<(), SnapshotError> {
        let restored = self.processor.call(|processor| processor.restore(learnt));
        self.learnt = self.processor.call(Processor::learn).unwrap_or(self.learnt);
        restored.unwrap_or(Ok(()))
    }
}

/// Meters of a failed instance: it passes A through without latency, and only the polarities are not 0.
const FAILED_METERS: [f32; MAX_METERS] = {
    let mut meters = [0.0; MAX_METERS];
    let mut polarity = 4;
    while polarity < MAX_METERS {
        meters[polarity] = 1.0;
        polarity += MICROPHONE_METERS;
    }
    meters
};

/// Wraps a total into the range of `lag_trim`.
fn wrapped(total_frames: i32) -> i32 {
    (total_frames + TRIM_MODULUS / 2).rem_euclid(TRIM_MODULUS) - TRIM_MODULUS / 2
}

/// Hands the newest state from the audio thread to a thread that saves it.
///
/// Both sides only try the lock. If it is taken, the audio thread skips this block's update and the saving thread
/// retries. No thread ever waits for the lock, so unlocking it never makes a system call.
#[derive(Default)]
pub(crate) struct Published(Mutex<Learnt>);

impl Published {
    /// Publishes a newer state. Audio thread.
    pub fn publish(&self, learnt: Learnt) {
        if let Some(mut newest) = self.try_lock() {
            *newest = learnt;
        }
    }

    /// The newest state. Any thread except the audio thread.
    pub fn newest(&self) -> Learnt {
        loop {
            if let Some(newest) = self.try_lock() {
                return *newest;
            }
            std::thread::yield_now();
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Learnt>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            // The data is `Copy`, so a panic cannot have left it half written.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::sabotage;
    use crate::layout::{ALIGN, DUAL, MERGE, MERGE4};
    use assert_no_alloc::{AllocDisabler, assert_no_alloc};

    #[global_allocator]
    static ALLOCATOR: AllocDisabler = AllocDisabler;

    #[test]
    fn after_a_panic_in_the_engine_the_microphones_play_on_without_delay_and_without_allocating() {
        for layout in [&MERGE, &DUAL, &MERGE4, &ALIGN] {
            let mut instance = Instance::new(layout, 48_000.0).expect("the rate is good");
            let sounds: Vec<Vec<f32>> =
                (1..=layout.ins.len() as i16).map(|k| (1..=1000).map(|i| f32::from(k * i)).collect()).collect();
            // Outputs share memory with the first inputs.
            let mut buffers = sounds.clone();
            let mut latency = -1.0;
            let mut ports = Ports::new(layout);
            for (i, buffer) in buffers.iter_mut().enumerate() {
                ports.connect(layout.first_in() + i, buffer.as_mut_ptr());
                if i < layout.outs.len() {
                    ports.connect(layout.first_out() + i, buffer.as_mut_ptr());
                }
            }
            ports.connect(layout.first_out() - 1, &raw mut latency);
            // SAFETY: 1000 frames are connected to the audio ports, and a number to the meter.
            unsafe { instance.run(&ports, 0) };
            assert_eq!(latency, 4800.0);

            sabotage::arm();
            // SAFETY: as above.
            unsafe { instance.run(&ports, 100) };
            // SAFETY: as above.
            assert_no_alloc(|| unsafe { instance.run(&ports, 900) });
            assert_eq!(buffers[0], sounds[0]);
            if layout.outs.len() == 2 {
                let second = usize::from(layout.sound == Sound::Apart);
                assert_eq!(buffers[1][..100], sounds[second][..100]);
            }
            assert_eq!(latency, 0.0);
            assert_eq!(instance.learnt(), Learnt::default());
        }
    }

    #[test]
    fn a_total_of_trims_is_wrapped_into_the_range_of_the_port() {
        assert_eq!(wrapped(5), 5);
        assert_eq!(wrapped(TRIM_MODULUS - 3), -3);
        assert_eq!(wrapped(-TRIM_MODULUS), 0);
    }
}
