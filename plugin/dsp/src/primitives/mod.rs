//! Windows, filters and recursions that know nothing of microphones.

pub mod fir;
pub mod lanes;
pub mod window;
