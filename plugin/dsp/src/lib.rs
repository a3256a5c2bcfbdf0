//! Two microphones, each on its own clock, become one.
#![forbid(unsafe_code)]

pub mod engine;
pub mod params;
pub mod snapshot;
pub mod status;

pub use engine::{Engine, EngineError};
pub use params::{Controls, Mode};
pub use snapshot::{Snapshot, SnapshotError};
pub use status::{State, Status};
