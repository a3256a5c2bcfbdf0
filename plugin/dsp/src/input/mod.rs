//! Frames in: rings, B's own timeline, decimation to the rates of the analysis.

pub mod channel;
pub mod decimator;
pub mod ring;
pub mod timeline;
