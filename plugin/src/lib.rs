//! LV2 and LADSPA shells around the engine: one shared library with two entry points.
//!
//! ```text
//!   lv2_descriptor ---> lv2.rs, lv2_state.rs --+
//!                                              +-> instance.rs -> processor.rs -> driftmerge_dsp::Engine
//!   ladspa_descriptor -> ladspa.rs ------------+     |     |
//!                                              ports.rs   guard.rs
//!                                                 |
//!                                             layout.rs: the ports of each plugin
//! ```
//!
//! This crate handles raw memory and no signal processing: the shells accept the ports as the host connected them and
//! pass plain slices to the engine. How unusual host behaviour is handled:
//!
//! | the host | the plugin |
//! |---|---|
//! | leaves a control unconnected | uses its default from [`driftmerge_dsp::params`] |
//! | leaves an audio input unconnected | reads silence |
//! | leaves an audio output unconnected | does not write it |
//! | shares one buffer between an input and an output | copies through the stack in chunks and never forms a slice over host memory |
//! | runs 0 frames | reads the controls and writes the meters |
//! | deactivates and reactivates while audio runs | keeps what it has learnt |
//!
//! If the engine panics (a bug), microphone A passes through without delay from that chunk on, until the host creates a
//! new instance; `align` passes B through as well.

pub mod guard;
mod instance;
pub mod ladspa;
pub mod layout;
pub mod lv2;
mod lv2_host;
mod lv2_state;
pub mod ports;
mod processor;
