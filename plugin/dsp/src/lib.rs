//! Two to eight microphones, each on its own clock, become one.
//!
//! Signal model: all record the same sound; microphone B holds at n + lag what the reference A holds at n. The lag moves with
//! the drift of the clocks and jumps with lost buffers. The tracker owns clocks: it measures lag and drift from the sound and
//! keeps the microphones aligned within some milliseconds. The combiner owns acoustics: one filter per frequency over
//! all of them. The crate knows no host and no server, starts no thread and has no clock: what comes out depends on the
//! frames alone, however they are cut into calls.
//!
//! ```text
//!   A ──> channel ─────────────────────────> delay ──────┐
//!   B ──> channel ─────────────────────────> aligner ──> combiner ──> noise suppressor ──> out
//!           │ rings, B's own timeline          ▲ lag     │ mask, WPE, RTF-MVDR, selection
//!           └─> decimator ─> gcc_search ─> lag_vote ─> tracker
//!                              every lag                │ cross_spectrum, averages, delay_estimate,
//!                                                       │ lag_sro_search, imm_kalman, jump_detector
//! ```
//!
//! | stage | folder |
//! |---|---|
//! | the audio-thread entry | [`engine`], [`params`], [`status`], [`snapshot`] |
//! | frames in | `input` |
//! | searching | `acquisition` |
//! | following | `tracking` |
//! | reading all in time | `alignment` |
//! | merging | `combining`, `enhancement` |
//! | tools | `analysis`, `primitives` |
//! | every number of the combiner | `tuning` |
//!
//! Analysis work is cut into steps of at most one transform and handed out by counted frames, so that no call is much
//! dearer than another. On the audio thread nothing allocates, locks, waits or panics.
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "vector instructions come out only where the lanes' loops are in one function"
)]

pub mod engine;
pub mod params;
pub mod snapshot;
pub mod status;

mod acquisition;
mod alignment;
mod analysis;
mod combining;
mod enhancement;
mod input;
mod primitives;
mod tracking;
mod tuning;

pub use engine::{Engine, EngineError, Part};
pub use params::{Controls, Mode};
pub use snapshot::{Snapshot, SnapshotError};
pub use status::{State, Status};
