//! A private PipeWire with its session manager and its PulseAudio door, without a sound card.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driftmerge_plugin::guard::FlushDenormals;

use crate::hosts::{Background, Trial, Workshop, succeed};
use crate::pulse::{MICS, Rig};
use crate::wait::{holds_within, wait_until};

/// The private server, stopped when dropped.
pub struct PipeWire<'a> {
    workshop: &'a Workshop,
    session: Background,
}

/// The daemons in a session bus of their own, until the standard input ends. Whoever finds no PipeWire ends at once, so
/// that the others are started when it answers: the session manager, and then what asks for its links.
const SESSION: &str = "pipewire & A=$!
until pw-cli info 0 >/dev/null 2>&1; do kill -0 $A || exit; done
wireplumber & B=$!
pipewire-pulse & C=$!
read -r _
kill $A $B $C
wait";

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
        let server = format!("unix:{}", workshop.path("pulse/native").display());
        // The socket is there before anyone listens on it.
        session.wait_until("PipeWire answers", |_| {
            let mut client = workshop.command("pactl");
            client.args(["--server", &server, "info"]).output().is_ok_and(|output| output.status.success())
        });
        Self { workshop, session }
    }

    /// The process whose children the daemons are.
    pub fn id(&self) -> u32 {
        self.session.id()
    }

    /// A client's command.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.workshop.command(program);
        command.env("PULSE_SERVER", format!("unix:{}", self.workshop.path("pulse/native").display()));
        command
    }

    /// Brings the first two microphones of a PulseAudio here, by tunnels: without a sound card nothing else here has a clock
    /// of its own.
    pub fn tunnel_to(&self, rig: &Rig) {
        for mic in MICS.iter().take(2) {
            let mut load = self.command("pactl");
            load.args(["load-module", "module-tunnel-source", &format!("server={}", rig.server.address())]);
            succeed(load.args([format!("source={mic}"), format!("source_name={mic}"), "channels=1".into()]));
        }
        for mic in MICS.iter().take(2) {
            wait_until("the microphone is there", Duration::from_secs(20), || {
                self.sources().iter().any(|name| name == mic)
            });
        }
    }

    /// Names of the sources, in alphabetical order.
    pub fn sources(&self) -> Vec<String> {
        let output = succeed(self.command("pactl").args(["list", "short", "sources"]));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut names: Vec<String> =
            said.lines().filter_map(|line| line.split('\t').nth(1).map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Names of the ports that there are.
    pub fn ports(&self) -> Vec<String> {
        let output = succeed(self.command("pw-link").arg("-io"));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Whether a node of that name takes part in the graph.
    pub fn runs(&self, node: &str) -> bool {
        let runs = |info: &serde_json::Value| info["props"]["node.name"] == node && info["state"] == "running";
        self.objects().iter().any(|object| runs(&object["info"]))
    }

    /// Links two ports.
    ///
    /// # Errors
    /// The link stays in negotiation: see [`played`].
    pub fn link(&self, from: &str, to: &str) -> Result<(), Stalled> {
        succeed(self.command("pw-link").args([from, to]));
        self.expect(Duration::from_secs(3), || {
            self.link_states().iter().all(|state| state == "active" || state == "paused")
        })
    }

    /// Waits until the session manager has linked two ports.
    ///
    /// # Errors
    /// It does not: see [`played`].
    pub fn wait_for_link(&self, from: &str, to: &str) -> Result<(), Stalled> {
        let line = format!("{from}\n  |-> {to}\n");
        self.expect(Duration::from_secs(15), || self.links().contains(&line))
    }

    fn expect(&self, limit: Duration, condition: impl Fn() -> bool) -> Result<(), Stalled> {
        if holds_within(limit, condition) { Ok(()) } else { Err(self.stalled()) }
    }

    fn stalled(&self) -> Stalled {
        Stalled(format!("{:?}\n{}", self.link_states(), self.links()))
    }

    fn link_states(&self) -> Vec<String> {
        let is_link = |object: &&serde_json::Value| object["type"] == "PipeWire:Interface:Link";
        let state = |object: &serde_json::Value| object["info"]["state"].as_str().unwrap_or("none").to_owned();
        self.objects().iter().filter(is_link).map(state).collect()
    }

    /// All that there is, as `pw-dump` shows it.
    fn objects(&self) -> Vec<serde_json::Value> {
        serde_json::from_slice(&succeed(&mut self.command("pw-dump")).stdout).expect("it is JSON")
    }

    /// The links there are, as `pw-link -l` shows them.
    pub fn links(&self) -> String {
        String::from_utf8_lossy(&succeed(self.command("pw-link").arg("-l")).stdout).into_owned()
    }

    /// Plays a file of some seconds into the sink `target`, to its end.
    ///
    /// # Errors
    /// The graph stands still: see [`played`].
    pub fn play(&self, target: &str, file: &Path) -> Result<(), Stalled> {
        /// What `timeout` ends with when the time is over.
        const TIME_OVER: Option<i32> = Some(124);

        let mut player = self.command("timeout");
        player.args(["20", "pw-cat", "--playback", "--target", target]).arg(file);
        let output = player.output().expect("timeout is installed");
        assert!(output.status.success() || output.status.code() == TIME_OVER, "{output:?}");
        if output.status.success() { Ok(()) } else { Err(self.stalled()) }
    }

    /// Records the source `target` into a file until stopped.
    pub fn record(&self, target: &str, rate_hz: u32, channels: u32, file: &Path) -> Background {
        self.start_recording(target, rate_hz, channels, file, "{}")
    }

    /// Records what the sink `target` gets.
    pub fn record_monitor(&self, target: &str, rate_hz: u32, channels: u32, file: &Path) -> Background {
        self.start_recording(target, rate_hz, channels, file, "{ stream.capture.sink = true }")
    }

    fn start_recording(&self, target: &str, rate_hz: u32, channels: u32, file: &Path, properties: &str) -> Background {
        let mut command = self.command("pw-cat");
        command.args(["--record", "--format", "f32", "--rate", &rate_hz.to_string(), "--properties", properties]);
        command.args(["--channels", &channels.to_string(), "--target", target]).arg(file);
        Background::start(&mut command, self.workshop.path("record.log"))
    }
}

impl Drop for PipeWire<'_> {
    fn drop(&mut self) {
        // A session that is killed leaves its bus behind, which holds one of the user's 128 inotify instances; without one the
        // session manager of a later PipeWire makes no links.
        self.session.end_input();
    }
}

/// PipeWire's graph does not run; how it stood.
#[derive(Debug)]
pub struct Stalled(String);

/// Has a host play and judges what it gave, which `judge` does. PipeWire 0.3.65 leaves a link to a JACK client in
/// negotiation for ever in one of some five starts, also where the client runs and its other links do, and when the link is
/// made anew; then its graph stands still. Rarely its session manager makes no links at all. Nothing of the plugin can be told
/// from that, and all begins again in a new PipeWire.
///
/// # Panics
/// It does so eight times in a row.
pub fn played(judge: impl Fn() -> Result<(), Stalled>) {
    let runs = || judge().inspect_err(|Stalled(how)| println!("PipeWire stands still: {how}")).is_ok();
    assert!((0..8).any(|_| runs()), "PipeWire never ran");
}

/// Demands that what was recorded of every output while the sound was played is what the engine makes of it, sample by sample.
///
/// How many frames of silence the plugin heard before is seen in the recording, but for those that it heard before the
/// recording began, or the recorder before it. The engine knows the difference: it works in steps that it counts from the
/// first frame, the slowest of them more than a second long.
pub fn assert_same_after_silence(recording: &[Vec<f32>], trial: &Trial) {
    /// By what the silences differ that are tried, frames: the server's periods are multiples of it.
    const STEP: usize = 64;
    /// By how much they differ at most, s: on a busy machine seconds may pass between the two.
    const MOST_S: usize = 12;
    /// A player leaves out the rest of a file that does not fill its block, frames.
    const BLOCK: usize = 1024;

    /// Below this nothing counts as sound: the engine's transforms leave rounding errors in a whole frame of 32 ms.
    const SOUND: f32 = 1e-3;

    let first_sound = |sound: &[f32]| sound.iter().position(|x| x.abs() > SOUND).expect("it is not silent");
    let seen = first_sound(&recording[0]) - first_sound(&trial.expected()[0]);
    let frames = trial.sounds[0].len() - BLOCK;
    assert!(recording.iter().all(|channel| channel.len() >= seen + frames), "nearly all of it was recorded");
    let host: Vec<&[f32]> = recording.iter().map(|channel| &channel[seen..seen + frames]).collect();

    let steps = (0..MOST_S * trial.rate_hz as usize).step_by(STEP);
    let mut silences = steps.flat_map(|step| [Some(seen + step), seen.checked_sub(step)]).flatten();
    let _flush = FlushDenormals::new();
    let mut best = (0, 0);
    let found = silences.any(|silence| {
        best = best.max((trial.agreeing_after(silence, &host), silence));
        best.0 == frames
    });
    assert!(found, "only {} of {frames} frames agree, after {} of silence; {seen} were recorded", best.0, best.1);
}
