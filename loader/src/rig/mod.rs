//! Two drifting microphones without hardware.
//!
//! Problem: to show or test what the program does, one needs a sound server that nobody else uses and microphones
//! whose clocks really differ. [`server`] starts a private PulseAudio; [`microphone`] feeds one of its pipe sources at a
//! clock of its own; [`scene`] says what sound arrives there when; [`voice`] makes the sound.
//! It does not imitate rooms or networks.

pub mod microphone;
pub mod random;
pub mod scene;
pub mod server;
pub mod voice;

pub use microphone::Microphone;
pub use scene::{Place, Scene};
pub use server::Server;
