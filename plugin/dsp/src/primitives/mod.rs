//! Windows, filters and recursions that know nothing of microphones.

pub mod biquad;
pub mod fir;
pub mod levinson;
pub mod window;
