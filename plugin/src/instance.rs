//! One running plugin as both shells see it: the host's ports on one side, the engine on the other.

use std::sync::{Mutex, MutexGuard, TryLockError};

use driftmerge_dsp::{Controls, Engine, EngineError, Snapshot, SnapshotError, Status};

use crate::guard::{FlushDenormals, Guarded};
use crate::ports::Ports;

/// Frames copied through the stack at a time: small enough to stay in the first-level cache with the engine's own
/// data, large enough that the cost of a call does not show.
const CHUNK_FRAMES: usize = 64;

/// `lag_trim` is counted modulo this, frames: a host may go on from one end of the port's range at the other.
const TRIM_MODULUS: i32 = 1 << 25;

/// An engine behind its guard.
pub(crate) struct Instance {
    engine: Guarded<Engine>,
    /// What `lag_trim` stood at when the sound began. Only changes count: a host that restores a session sets the old
    /// total again, but takes no frames out of this instance's B thereby.
    trim_base_frames: i32,
    began: bool,
    /// What the engine knew when it last knew something: a session saved while a lock is still being tried keeps the
    /// one before. Only `reset` unsays it.
    learnt: Option<Snapshot>,
}

impl Instance {
    /// Makes the engine, with the default controls until the host's are known.
    pub fn new(rate_hz: f64) -> Result<Self, EngineError> {
        let engine = Guarded::new(Engine::new(rate_hz, &Controls::default())?);
        Ok(Self { engine, trim_base_frames: 0, began: false, learnt: None })
    }

    /// Merges a block of any length, 0 included. Audio thread.
    ///
    /// # Safety
    /// Each connected control points to an `f32`, and each connected audio port to `frames` of them. They may be the
    /// same memory.
    pub unsafe fn run<const OUTS: usize>(&mut self, ports: &Ports<OUTS>, frames: usize) {
        let _flush = FlushDenormals::new();
        // SAFETY: the caller's promise.
        let mut controls = unsafe { ports.controls() };
        if !self.began {
            self.trim_base_frames = controls.lag_trim_frames;
            self.began = frames > 0;
        }
        controls.lag_trim_frames = wrapped(controls.lag_trim_frames - self.trim_base_frames);
        self.engine.call(|engine| engine.set_controls(&controls));

        let (mut a, mut b, mut out) = ([0.0; CHUNK_FRAMES], [0.0; CHUNK_FRAMES], [0.0; CHUNK_FRAMES]);
        for start in (0..frames).step_by(CHUNK_FRAMES) {
            let n = CHUNK_FRAMES.min(frames - start);
            let (a, b, out) = (&mut a[..n], &mut b[..n], &mut out[..n]);
            // SAFETY: start + n <= frames.
            unsafe {
                ports.read(0, start, a);
                ports.read(1, start, b);
            }
            if self.engine.call(|engine| engine.process(a, b, out)).is_none() {
                out.copy_from_slice(a);
            }
            // SAFETY: start + n <= frames.
            unsafe { ports.write(start, out) };
        }

        if controls.reset {
            self.learnt = None;
        }
        self.learnt = self.engine.call(|engine| engine.snapshot()).flatten().or(self.learnt);

        // A failed engine passes A through at once: no latency, no merge.
        let status = self.engine.call(|engine| engine.status()).unwrap_or(Status { polarity: 1, ..Status::default() });
        // SAFETY: the caller's promise.
        unsafe { ports.write_meters(&status.meters()) };
    }

    /// What was learnt, if anything. Audio thread.
    pub fn learnt(&self) -> Option<Snapshot> {
        self.learnt
    }

    /// Starts from what another instance learnt. An engine that has failed stays as it is.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if let Some(restored) = self.engine.call(|engine| engine.restore(snapshot)) {
            restored?;
            self.learnt = Some(*snapshot);
        }
        Ok(())
    }
}

/// The same total within the range of `lag_trim`.
fn wrapped(total_frames: i32) -> i32 {
    (total_frames + TRIM_MODULUS / 2).rem_euclid(TRIM_MODULUS) - TRIM_MODULUS / 2
}

/// The newest snapshot, on its way from the audio thread to a thread that saves it.
///
/// Both sides only ever try the lock: the audio thread leaves this block's snapshot out when it is taken, the saving
/// thread looks again. So nobody sleeps on it, and letting go of it never makes a system call.
#[derive(Default)]
pub(crate) struct Learnt(Mutex<Option<Snapshot>>);

impl Learnt {
    /// Offers a newer snapshot. Audio thread.
    pub fn publish(&self, snapshot: Option<Snapshot>) {
        if let Some(mut newest) = self.try_lock() {
            *newest = snapshot;
        }
    }

    /// The newest snapshot. Any thread but the audio thread.
    pub fn newest(&self) -> Option<Snapshot> {
        loop {
            if let Some(newest) = self.try_lock() {
                return *newest;
            }
            std::thread::yield_now();
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Snapshot>>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            // A plain copy cannot be left half done.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::sabotage;
    use assert_no_alloc::{AllocDisabler, assert_no_alloc};
    use driftmerge_dsp::params::METERS;

    #[global_allocator]
    static ALLOCATOR: AllocDisabler = AllocDisabler;

    #[test]
    fn after_a_panic_in_the_engine_microphone_a_plays_on_without_delay_and_without_allocating() {
        let mut instance = Instance::new(48_000.0).expect("the rate is good");
        let a: Vec<f32> = (1..=1000_i16).map(f32::from).collect();
        let mut in_and_out = a.clone();
        let mut latency = -1.0;
        let mut ports = Ports::<1>::default();
        ports.connect(crate::ports::first_in(1), in_and_out.as_mut_ptr());
        ports.connect(crate::ports::FIRST_OUT, in_and_out.as_mut_ptr());
        ports.connect(crate::ports::FIRST_METER + METERS.len() - 1, &raw mut latency);
        // SAFETY: 1000 frames are connected to A and the output, and a number to the meter.
        unsafe { instance.run(&ports, 0) };
        assert_eq!(latency, 4800.0);

        sabotage::arm();
        // SAFETY: as above.
        unsafe { instance.run(&ports, 100) };
        // SAFETY: as above.
        assert_no_alloc(|| unsafe { instance.run(&ports, 1000) });
        assert_eq!(in_and_out, a);
        assert_eq!(latency, 0.0);
        assert_eq!(instance.learnt(), None);
    }

    #[test]
    fn a_total_of_trims_is_wrapped_into_the_range_of_the_port() {
        assert_eq!(wrapped(5), 5);
        assert_eq!(wrapped(TRIM_MODULUS - 3), -3);
        assert_eq!(wrapped(-TRIM_MODULUS), 0);
    }
}
