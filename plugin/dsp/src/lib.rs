//! Two microphones, each on its own clock, become one.
#![forbid(unsafe_code)]

mod acquire;
mod align;
mod correct;
mod correlate;
mod decimate;
pub mod engine;
mod follow;
mod history;
mod interpolate;
mod jumps;
mod kalman;
mod lock;
mod measure;
pub mod mix;
mod observe;
mod onset;
pub mod params;
mod places;
mod presence;
mod pull_in;
pub mod snapshot;
mod spectrum;
mod speech;
pub mod status;
mod streams;
mod sums;
mod track;
mod voice_band;
mod weigh;
mod window;

pub use engine::{Engine, EngineError};
pub use params::{Controls, Mode};
pub use snapshot::{Snapshot, SnapshotError};
pub use status::{State, Status};
