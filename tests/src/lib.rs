//! Support for the tests: two-clock scenes, private servers, recordings and what can be measured in them.
#![allow(clippy::missing_panics_doc, reason = "a test that cannot go on panics, and says why")]

pub mod align;
pub mod entry;
pub mod hosts;
pub mod jack_server;
pub mod level;
pub mod lilv_host;
pub mod namespace;
pub mod pipewire;
pub mod processor;
pub mod pulse;
pub mod room;
pub mod turtle;
pub mod two_clocks;
pub mod wait;
pub mod wav;
