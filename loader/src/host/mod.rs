//! The plugin, hosted: [`bundle`] finds it, [`plugin`] runs it and moves what it has learnt in and out, [`pace`]
//! keeps the microphones side by side, [`merger`] is the thread in which it all happens.

pub mod bundle;
pub mod delivery;
pub mod merger;
pub mod pace;
pub mod plugin;
mod plugin_state;
pub mod priority;
mod worker;

pub use bundle::{Missing, find_bundle, library_of};
pub use merger::{Merger, Meters};
pub use plugin::{HostError, Hosted};
