//! One running plugin as both shells see it: the host's ports on one side, the engine on the other.

use std::sync::{Mutex, MutexGuard, TryLockError};

use driftmerge_dsp::{Controls, Engine, EngineError, Snapshot, SnapshotError, Status};

use crate::guard::{FlushDenormals, Guarded};
use crate::ports::Ports;

/// Frames copied through the stack at a time: small enough to stay in the first-level cache with the engine's own
/// data, large enough that the cost of a call does not show.
const CHUNK_FRAMES: usize = 64;

/// An engine behind its guard.
pub(crate) struct Instance {
    engine: Guarded<Engine>,
}

impl Instance {
    /// Makes the engine, with the default controls until the host's are known.
    pub fn new(rate_hz: f64) -> Result<Self, EngineError> {
        Ok(Self { engine: Guarded::new(Engine::new(rate_hz, &Controls::default())?) })
    }

    /// Merges a block of any length, 0 included. Audio thread.
    ///
    /// # Safety
    /// Each connected control points to an `f32`, and each connected audio port to `frames` of them. They may be the
    /// same memory.
    pub unsafe fn run<const OUTS: usize>(&mut self, ports: &Ports<OUTS>, frames: usize) {
        let _flush = FlushDenormals::new();
        // SAFETY: the caller's promise.
        let controls = unsafe { ports.controls() };
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

        // A failed engine passes A through at once: no latency, no merge.
        let status = self.engine.call(|engine| engine.status()).unwrap_or(Status { polarity: 1, ..Status::default() });
        // SAFETY: the caller's promise.
        unsafe { ports.write_meters(&status.meters()) };
    }

    /// What was learnt, if anything. Audio thread.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        self.engine.call(|engine| engine.snapshot()).flatten()
    }

    /// Starts from what another instance learnt. An engine that has failed stays as it is.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.engine.call(|engine| engine.restore(snapshot)).unwrap_or(Ok(()))
    }
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
