//! Makes one sound of the aligned microphones.

pub mod activity;
pub mod combiner;
pub mod mrc_weights;
pub mod onsets;
pub mod pause_noise;
pub mod speaker_statistics;
pub mod subband_wiener;
