//! Two microphones, each on its own clock, become one.
//!
//! Signal model: both record the same sound; B holds at n + lag what A holds at n. The lag moves with the clocks'
//! drift and jumps with a talker's place or a lost buffer. The crate measures it from the sound, reads B where it
//! holds what A holds, and adds both by what each is worth. It knows no host and no server, starts no thread and has
//! no clock: what comes out depends on the frames alone, however they are cut into calls.
//!
//! ```text
//!   a, b ──> engine ──> history ────────────────────────────> align ──> mix ──> post_filter ──> out
//!              │        (full rate)                             ▲        ▲
//!              │                                      lag, drift│        │trusted?
//!              └──> streams ──> correlate ──> acquire ──> track ┴────────┘
//!                  (decimate)   every lag     votes        │
//!                       │                                  ▼
//!                       └────> follow: observe ──> sums ──> correct ──> kalman
//!                                (presence)    │    │       (measure, pull_in)
//!                                              │    └─────> jumps
//!                                              └──> talkers ──> direct
//! ```
//!
//! | stage | modules |
//! |---|---|
//! | in and out | [`engine`], [`params`], [`status`], [`snapshot`] |
//! | frames in | `input` |
//! | searching | `acquisition` |
//! | following | `tracking`, `speakers` |
//! | reading both | `alignment` |
//! | merging | `combining`, `enhancement` |
//! | tools | `analysis`, `primitives` |
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
