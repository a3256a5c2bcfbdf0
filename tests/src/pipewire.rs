//! A private PipeWire with its session manager and its PulseAudio door, without a sound card.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::hosts::{Background, Workshop, succeed};

/// The private server, stopped when dropped.
pub struct PipeWire<'a> {
    workshop: &'a Workshop,
    _session: Background,
}

/// The daemons in a session bus of their own, until the standard input ends.
const SESSION: &str = "pipewire & A=$!; wireplumber & B=$!; pipewire-pulse & C=$!; read -r _; kill $A $B $C; wait";

impl<'a> PipeWire<'a> {
    /// Starts it at `rate_hz`, with the given configuration files beside its own.
    pub fn start(workshop: &'a Workshop, rate_hz: u32, configurations: &[(&str, String)]) -> Self {
        let folder = workshop.path("pipewire/pipewire.conf.d");
        fs::create_dir_all(&folder).expect("the folder can be written");
        let rate = format!(
            "context.properties = {{ default.clock.rate = {rate_hz} default.clock.allowed-rates = [ {rate_hz} ] }}\n"
        );
        for (name, text) in configurations.iter().map(|(name, text)| (*name, text)).chain([("rate", &rate)]) {
            fs::write(folder.join(name).with_extension("conf"), text).expect("the folder can be written");
        }
        let mut command = workshop.command("dbus-run-session");
        let mut session = Background::start(command.args(["--", "sh", "-c", SESSION]), workshop.path("pipewire.log"));
        let socket = workshop.path("pulse/native");
        session.wait_until("PipeWire answers", |_| socket.exists());
        Self { workshop, _session: session }
    }

    /// A client's command.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.workshop.command(program);
        command.env("PULSE_SERVER", format!("unix:{}", self.workshop.path("pulse/native").display()));
        command
    }

    /// Names of the ports that there are.
    pub fn ports(&self) -> Vec<String> {
        let output = succeed(self.command("pw-link").arg("-io"));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The links there are, as `pw-link -l` shows them.
    pub fn links(&self) -> String {
        String::from_utf8_lossy(&succeed(self.command("pw-link").arg("-l")).stdout).into_owned()
    }

    /// Plays a file of two channels into the sink `target`, to its end.
    pub fn play(&self, target: &str, file: &Path) {
        succeed(self.command("pw-cat").args(["--playback", "--target", target]).arg(file));
    }

    /// Records the source `target` into a file until dropped.
    pub fn record(&self, target: &str, rate_hz: u32, channels: u32, file: &Path) -> Background {
        let mut command = self.command("pw-cat");
        command.args(["--record", "--format", "f32", "--rate", &rate_hz.to_string()]);
        command.args(["--channels", &channels.to_string(), "--target", target]).arg(file);
        Background::start(&mut command, self.workshop.path("record.log"))
    }
}
