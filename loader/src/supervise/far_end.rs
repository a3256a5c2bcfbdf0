//! Sound of another machine, sent as RTP over UDP (L16, 48 kHz, stereo), played into the echo canceller's sink.
//!
//! `gst-launch-1.0` receives and plays it, for it has the jitter buffer that this needs. It is looked after ([`super::child`]):
//! it ends when the sink went away with a microphone, or the server was started anew.

use super::child::{Kept, command, find_program};
use crate::config::Config;
use crate::exit::Failure;
use anyhow::anyhow;
use std::net::UdpSocket;
use std::process::Command;

/// Sound kept so that late packets are still in time, ms.
const JITTER_MS: u32 = 60;
/// What is sent.
const CAPS: &str =
    "application/x-rtp,media=(string)audio,clock-rate=(int)48000,encoding-name=(string)L16,channels=(int)2";

/// The receiver at the port that `config` names, which plays into `sink`, if it names one; nothing is started yet.
///
/// # Errors
/// Somebody else listens at that port, or there is no `gst-launch-1.0`.
pub(super) fn receiver(config: &Config, sink: &str) -> Result<Option<Kept>, Failure> {
    let Some(port) = config.echo_rtp else { return Ok(None) };
    UdpSocket::bind(("0.0.0.0", port)).map_err(|error| {
        anyhow!("cannot receive at UDP port {port} (--echo-rtp, DRIFTMERGE_ECHO_RTP): {error}; end whoever listens there, or take another")
    })?;
    let program = find_program("gst-launch-1.0").ok_or_else(|| {
        anyhow!("no gst-launch-1.0 to receive with (--echo-rtp, DRIFTMERGE_ECHO_RTP); install gstreamer1.0-tools and gstreamer1.0-plugins-good")
    })?;
    let mut command: Command = command(&program);
    command.args(["-q", "udpsrc", &format!("port={port}"), &format!("caps={CAPS}"), "!"]);
    command.args(["rtpjitterbuffer", &format!("latency={JITTER_MS}"), "!", "rtpL16depay", "!", "audioconvert", "!"]);
    command.args(["audioresample", "!", "pulsesink", &format!("device={sink}"), "client-name=driftmerge"]);
    if let Some(server) = &config.server {
        // In the environment it needs no quotes.
        command.env("PULSE_SERVER", server);
    }
    let what = format!("the receiver whose sound from UDP port {port} is played into `{sink}`");
    Ok(Some(Kept::new(what, command)))
}
