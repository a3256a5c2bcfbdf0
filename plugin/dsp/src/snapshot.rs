//! What outlives the engine: enough for the next start to lock at once.

use serde::{Deserialize, Serialize};

/// The version that this program writes; others are refused.
pub const SNAPSHOT_VERSION: u32 = 1;

/// What an engine has learnt. Plain numbers: taking one neither allocates nor blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Level of the wanted sound in B against A (amplitude ratio).
    pub level_ratio: f64,
    /// Power of B's noise against A's.
    pub noise_ratio: f64,
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
    /// Taken at another sample rate.
    #[error("snapshot was taken at {found} Hz, the streams run at {wanted} Hz")]
    Rate {
        /// The snapshot's rate.
        found: f64,
        /// The engine's rate.
        wanted: f64,
    },
    /// A number that is not finite or outside of what the engine can hold.
    #[error("snapshot value `{field}` is out of range")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
    },
}

impl Snapshot {
    /// Says whether an engine at `rate_hz` can use this.
    ///
    /// # Errors
    /// Another version or rate, or a value out of range.
    pub fn check(&self, rate_hz: f64) -> Result<(), SnapshotError> {
        if self.version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found: self.version });
        }
        if (self.rate_hz - rate_hz).abs() > 1e-6 * rate_hz {
            return Err(SnapshotError::Rate { found: self.rate_hz, wanted: rate_hz });
        }
        let fields = [
            ("lag_s", self.lag_s.abs() <= 1.0),
            ("drift_ppm", self.drift_ppm.abs() <= 1200.0),
            ("drift_sd_ppm", self.drift_sd_ppm >= 0.0),
            ("polarity", self.polarity.abs() == 1),
            ("level_ratio", self.level_ratio > 0.0 && self.level_ratio.is_finite()),
            ("noise_ratio", self.noise_ratio > 0.0 && self.noise_ratio.is_finite()),
        ];
        match fields.into_iter().find(|(_, good)| !good) {
            Some((field, _)) => Err(SnapshotError::OutOfRange { field }),
            None => Ok(()),
        }
    }
}
