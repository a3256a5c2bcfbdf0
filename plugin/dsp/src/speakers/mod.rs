//! Tells talkers at different places apart.

pub mod direct_path;
pub mod signature;
pub mod speaker_change;
