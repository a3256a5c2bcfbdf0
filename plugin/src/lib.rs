//! LV2 and LADSPA shells around the engine: one shared library, two entry points.
//!
//! ```text
//!   lv2_descriptor ---> lv2.rs, lv2_state.rs --+
//!                                              +-> instance.rs -> chain.rs -> driftmerge_dsp::Engine, 1 to 3 of them
//!   ladspa_descriptor -> ladspa.rs ------------+     |     |
//!                                              ports.rs   guard.rs
//!                                                 |
//!                                             layout.rs: the ports of each plugin
//! ```
//!
//! Everything that deals with raw memory is in here, and nothing that deals with sound: the shells take the ports as
//! a host connected them (or did not), and hand plain slices to the engine. What a host may do to a plugin, and what
//! becomes of it:
//!
//! - it leaves a control unconnected: the default of [`driftmerge_dsp::params`] counts;
//! - it leaves an audio input unconnected: silence; an audio output: the sound is not written;
//! - it gives an output the buffer of an input: the sound is copied through the stack in chunks, so no slice over a
//!   host's memory is ever made;
//! - it runs 0 frames: the controls are taken and the meters written;
//! - it deactivates and activates again in mid-stream: nothing is forgotten;
//! - the engine panics (a bug): microphone A plays on from that frame, without delay, until the instance is made anew
//!   (of `align`, B as well).

mod chain;
pub mod guard;
mod instance;
pub mod ladspa;
pub mod layout;
pub mod lv2;
mod lv2_host;
mod lv2_state;
pub mod ports;
