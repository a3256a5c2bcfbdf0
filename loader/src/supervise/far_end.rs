//! Sound of another machine, sent as RTP over UDP (L16, 48 kHz, stereo), played into the echo canceller's sink.
//!
//! `gst-launch-1.0` receives and plays it, for it has the jitter buffer that this needs. It is watched: when it ends (the
//! sink went away with a microphone, the server was started anew) it is started again, after a while that doubles each time
//! until it has held for some time. It ends with the service. A service that is killed leaves it behind; the next start then
//! says that the port is in use.

use crate::config::Config;
use crate::exit::Failure;
use anyhow::anyhow;
use std::io;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How long to wait before the first new start, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// One that has held for so long is as good as new.
const HELD: Duration = Duration::from_secs(60);
/// Sound kept so that late packets are still in time, ms.
const JITTER_MS: u32 = 60;
/// What is sent.
const CAPS: &str =
    "application/x-rtp,media=(string)audio,clock-rate=(int)48000,encoding-name=(string)L16,channels=(int)2";

/// The receiver of one port, while the service runs.
pub(super) struct FarEnd {
    port: u16,
    sink: String,
    server: Option<String>,
    child: Option<Child>,
    started: Instant,
    looked: Instant,
    pause: Duration,
}

impl FarEnd {
    /// What `config` asks for, to be played into `sink`; nothing is started yet.
    ///
    /// # Errors
    /// Somebody else listens at that port.
    pub fn new(config: &Config, sink: String) -> Result<Option<Self>, Failure> {
        let Some(port) = config.echo_rtp else { return Ok(None) };
        UdpSocket::bind(("0.0.0.0", port)).map_err(|error| {
            anyhow!("cannot receive at UDP port {port} (--echo-rtp, DRIFTMERGE_ECHO_RTP): {error}; end whoever listens there, or take another")
        })?;
        let now = Instant::now();
        let server = config.server.clone();
        Ok(Some(Self { port, sink, server, child: None, started: now, looked: now, pause: PAUSES[0] }))
    }

    /// Starts it, or starts it again if it is due.
    pub fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => self.ended(&status.to_string()),
                Err(error) => self.ended(&error.to_string()),
            }
        } else if self.started.elapsed() > self.pause {
            self.started = Instant::now();
            match self.start() {
                Ok(child) => {
                    tracing::info!("sound from UDP port {} is played into `{}`", self.port, self.sink);
                    self.child = Some(child);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.ended("there is no gst-launch-1.0; install gstreamer1.0-tools and gstreamer1.0-plugins-good");
                }
                Err(error) => self.ended(&error.to_string()),
            }
        }
    }

    fn ended(&mut self, why: &str) {
        self.child = None;
        self.pause = if self.started.elapsed() > HELD { PAUSES[0] } else { (2 * self.pause).min(PAUSES[1]) };
        self.started = Instant::now();
        let (port, pause_s) = (self.port, self.pause.as_secs_f64());
        tracing::warn!("the receiver at UDP port {port} ended ({why}); it is started again in {pause_s:.0} s");
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new("gst-launch-1.0");
        command.args(["-q", "udpsrc", &format!("port={}", self.port), &format!("caps={CAPS}"), "!"]);
        command.args([
            "rtpjitterbuffer",
            &format!("latency={JITTER_MS}"),
            "!",
            "rtpL16depay",
            "!",
            "audioconvert",
            "!",
        ]);
        command.args(["audioresample", "!", "pulsesink", &format!("device={}", self.sink), "client-name=driftmerge"]);
        if let Some(server) = &self.server {
            // In the environment it needs no quotes.
            command.env("PULSE_SERVER", server);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
