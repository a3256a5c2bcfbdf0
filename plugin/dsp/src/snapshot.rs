//! What outlives the engine: enough for the next start to lock at once.

use serde::{Deserialize, Serialize};

/// The version that this program writes. Version 1 is read as well: what it has besides is ignored.
pub const SNAPSHOT_VERSION: u32 = 2;

/// What an engine has learnt. Plain numbers: taking one neither allocates nor blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`].
    pub version: u32,
    /// Sample rate of the streams, Hz.
    pub rate_hz: f64,
    /// How late B was against A in the streams as the host passed them, s.
    pub lag_s: f64,
    /// How fast the lag grew, ppm.
    pub drift_ppm: f64,
    /// Standard deviation of the drift, ppm.
    pub drift_sd_ppm: f64,
    /// 1 or -1.
    pub polarity: i8,
}

/// Why a snapshot cannot be used. The engine is left as it was.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by another version.
    #[error("snapshot has version {found}, this program reads version {SNAPSHOT_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A number that is not finite or outside of what the engine can hold.
    #[error("snapshot value `{field}` is out of range")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
    },
}

impl Snapshot {
    /// Says whether an engine can use this. Lag and drift are in seconds and ppm, so another sample rate is no hindrance.
    ///
    /// # Errors
    /// Another version, or a value out of range.
    pub fn check(&self) -> Result<(), SnapshotError> {
        if !(1..=SNAPSHOT_VERSION).contains(&self.version) {
            return Err(SnapshotError::Version { found: self.version });
        }
        let fields = [
            ("rate_hz", (8000.0..=192_000.0).contains(&self.rate_hz)),
            ("lag_s", self.lag_s.abs() <= 1.0),
            ("drift_ppm", self.drift_ppm.abs() <= 1200.0),
            ("drift_sd_ppm", self.drift_sd_ppm >= 0.0),
            ("polarity", self.polarity.abs() == 1),
        ];
        match fields.into_iter().find(|(_, good)| !good) {
            Some((field, _)) => Err(SnapshotError::OutOfRange { field }),
            None => Ok(()),
        }
    }
}
