//! After the merge.

pub mod noise_suppressor;
