//! The one audio-thread entry: two streams in, one out.

use crate::params::Controls;
use crate::snapshot::{SNAPSHOT_VERSION, Snapshot, SnapshotError};
use crate::status::Status;

/// Why an engine cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The sample rate is not one the engine can work at.
    #[error("sample rate {0} Hz is outside 8000 to 192000 Hz")]
    Rate(f64),
}

/// The merge of two microphones. See the crate's page for the data path.
pub struct Engine {
    rate_hz: f64,
    controls: Controls,
}

impl Engine {
    /// Makes an engine for streams of `rate_hz` (8000 to 192000). Allocates; nothing else does, but [`Drop`].
    ///
    /// # Errors
    /// The rate is outside the range.
    pub fn new(rate_hz: f64, controls: &Controls) -> Result<Self, EngineError> {
        if !(8000.0..=192_000.0).contains(&rate_hz) {
            return Err(EngineError::Rate(rate_hz));
        }
        Ok(Self { rate_hz, controls: *controls })
    }

    /// The sample rate, Hz.
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// Takes the controls for the frames that follow. Audio thread.
    pub fn set_controls(&mut self, controls: &Controls) {
        self.controls = *controls;
    }

    /// Merges `out.len()` frames of A and B into `out`. Audio thread: no allocation, lock, system call or panic.
    /// The output depends on the frames alone, not on how they are split into calls. Where the slices differ in
    /// length, the shortest counts.
    pub fn process(&mut self, a: &[f32], _b: &[f32], out: &mut [f32]) {
        for (o, a) in out.iter_mut().zip(a) {
            *o = *a;
        }
    }

    /// What the engine knows now. Audio thread.
    pub fn status(&self) -> Status {
        Status { polarity: 1, ..Status::default() }
    }

    /// Frames by which the output is later than A, for the controls given last. Audio thread.
    pub fn latency_frames(&self) -> u32 {
        0
    }

    /// What was learnt, or None while nothing is. Audio thread.
    pub fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot {
            version: SNAPSHOT_VERSION,
            rate_hz: self.rate_hz,
            lag_s: 0.0,
            drift_ppm: 0.0,
            drift_sd_ppm: 0.0,
            polarity: 1,
            level_ratio: 1.0,
            noise_ratio: 1.0,
        })
    }

    /// Starts from what another engine learnt. Audio thread.
    ///
    /// # Errors
    /// See [`Snapshot::check`]; the engine is then left as it was.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        snapshot.check(self.rate_hz)
    }
}
