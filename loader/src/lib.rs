//! What the program's `demo` shares with the tests: a private sound server and microphones on clocks of their own.
//! Everything else of the program is in its binary.
#![forbid(unsafe_code)]

pub mod rig;
