//! Everything that talks to the sound server: [`connection`] connects and waits, [`mod@survey`] reads what is there,
//! [`mod@apply`] does and undoes steps, [`capture`] records, [`player`] plays.
//!
//! One thread does all of it. It turns the client library's main loop and looks at its streams after each turn, so no
//! callback of ours holds sound or state, and nothing here is shared but the rings.

pub mod apply;
pub mod capture;
pub mod channels;
pub mod connection;
pub mod levels;
pub mod player;
mod question;
pub mod survey;

pub use apply::{End, apply, apply_some, set_default, unload_all};
pub use capture::{Capture, Input};
pub use connection::{Connection, PulseError};
pub use player::Player;
pub use survey::{Sign, recorded, survey};

use libpulse_binding::sample::{Format, Spec};
use libpulse_binding::stream::{State, Stream};

/// The sample format of all our streams: 32-bit float in the machine's byte order.
fn spec(rate_hz: u32, channels: u8) -> Spec {
    Spec { format: Format::FLOAT32NE, channels, rate: rate_hz }
}

/// Bytes of one sample.
const SAMPLE_BYTES: usize = size_of::<f32>();

/// Whether a stream was ready and is no more.
fn lost(stream: &Stream) -> bool {
    matches!(stream.get_state(), State::Failed | State::Terminated)
}
