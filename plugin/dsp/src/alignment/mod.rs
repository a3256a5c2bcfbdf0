//! Reads A late and B where it holds the same sound.

pub mod aligner;
pub mod fractional_delay;
