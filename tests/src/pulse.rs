//! A private PulseAudio with two microphones on clocks of their own, the program run against it, and recordings.

use crate::hosts;
use crate::wait::ended_within;
pub use crate::wait::wait_until;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::align::Window;
use driftmerge::rig::scene::{self, noise};
use driftmerge::rig::{Microphone, Place, Scene, Server, voice};
use rustix::process::{Pid, Signal, kill_process};

/// Seconds of sound before it repeats.
const PERIOD_S: f64 = 50.0;
/// Root mean square of the speech.
const SPEECH_RMS: f64 = 0.1;
/// Root mean square of each microphone's own noise: 8 dB below the speech.
const NOISE_RMS: f64 = 0.04;

/// Names of the microphones on the server; most rigs have the first two.
pub const MICS: [&str; 4] = ["mic_a", "mic_b", "mic_c", "mic_d"];

/// A private server with two microphones that are being fed.
pub struct Rig {
    /// The server.
    pub server: Server,
    /// The microphones, A first.
    pub mics: Vec<Microphone>,
    /// What they hear.
    pub scene: Scene,
    /// Where they are.
    pub places: Vec<Place>,
    /// What all of them hear besides, by the time since [`Rig::begin`], s; it may be set once they are plugged in.
    pub besides: Arc<OnceLock<Besides>>,
    /// When their clocks stood at 0.
    begin: Instant,
}

/// A sound by its time, s.
pub type Besides = Box<dyn Fn(f64) -> f32 + Send + Sync>;

impl Rig {
    /// Two microphones at `rate_hz` whose clocks differ by `ppm` (half each way); B hears everything `delay_b_s` later.
    pub fn start(rate_hz: u32, ppm: f64, delay_b_s: f64) -> Self {
        Self::start_many(rate_hz, &[(-ppm / 2.0, 0.0), (ppm / 2.0, delay_b_s)])
    }

    /// Microphones at `rate_hz`, each with how fast its clock runs (ppm) and how late it hears everything (s).
    pub fn start_many(rate_hz: u32, mics: &[(f64, f64)]) -> Self {
        let rate = f64::from(rate_hz);
        let place = |(i, (clock_ppm, delay_s)): (usize, &(f64, f64))| Place {
            clock_ppm: *clock_ppm,
            delay_s: *delay_s,
            gain: 1.0,
            own: noise(11 + i as u64, PERIOD_S, rate, NOISE_RMS),
        };
        let places = mics.iter().enumerate().map(place).collect();
        let mut sound = voice::speak(7, PERIOD_S, rate, SPEECH_RMS);
        for x in &mut sound {
            *x = x.clamp(-0.7, 0.7);
        }
        let scene = Scene { rate_hz: rate, sound: scene::Signal::new(sound) };
        let server = Server::start(&[]).expect("a private pulseaudio");
        let mut rig = Self { server, mics: Vec::new(), scene, places, besides: Arc::default(), begin: Instant::now() };
        rig.plug_in_all(rate_hz);
        rig
    }

    /// Another server with `modules` and one of the microphones, in the same room at the same time.
    #[must_use]
    pub fn beside(&self, rate_hz: u32, mic: usize, modules: &[String]) -> Self {
        let server = Server::start(modules).expect("another private pulseaudio");
        let (scene, places, besides) = (self.scene.clone(), self.places.clone(), Arc::clone(&self.besides));
        let mut rig = Self { server, mics: Vec::new(), scene, places, besides, begin: self.begin };
        rig.plug_in(mic, rate_hz);
        rig
    }

    /// When the microphones' clocks stood at 0.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// How long before `got` microphone A took the end of a window of `window_s`, s.
    pub fn late_s(&self, window: &Window, window_s: f64, got: Instant) -> f64 {
        let taken_s = window.a.position / (self.scene.rate_hz * (1.0 + self.places[0].clock_ppm * 1e-6)) + window_s;
        ((got - self.begin).as_secs_f64() - taken_s).rem_euclid(PERIOD_S)
    }

    /// Makes all microphones (again, after the server was started again).
    pub fn plug_in_all(&mut self, rate_hz: u32) {
        self.mics.clear();
        self.begin = Instant::now();
        for mic in 0..self.places.len() {
            self.plug_in(mic, rate_hz);
        }
    }

    /// Makes the microphone `mic` (again, after its source was taken away). Its clock has run on all the while.
    pub fn plug_in(&mut self, mic: usize, rate_hz: u32) {
        self.plug_in_as(mic, rate_hz, MICS[mic], "");
    }

    /// The same under another name, with `properties` of the source (`key=value`, separated by blanks).
    pub fn plug_in_as(&mut self, mic: usize, rate_hz: u32, name: &str, properties: &str) {
        self.plug_in_wide(mic, rate_hz, name, properties, &[1.0]);
    }

    /// The same with a channel for each of `gains`.
    pub fn plug_in_wide(&mut self, mic: usize, rate_hz: u32, name: &str, properties: &str, gains: &[f32]) {
        let place = self.places[mic].clone();
        let pipe = self.pipe(name);
        // A killed server leaves its pipe, and makes none where there is one.
        let _ = std::fs::remove_file(&pipe);
        let module = driftmerge::rig::microphone::wide_module(name, &pipe, rate_hz, gains.len());
        let (module, description) = module.rsplit_once(" source_properties=").expect("it is described");
        let description = format!("source_properties='{description} {properties}'");
        let module = module.split(' ').chain([description.as_str()]);
        let arguments: Vec<&str> = std::iter::once("load-module").chain(module).collect();
        self.pactl(&arguments);
        let scene = self.scene.clone();
        let (clock_ppm, besides) = (place.clock_ppm, Arc::clone(&self.besides));
        // A device at another rate takes every other frame, or each one twice.
        let step = scene.rate_hz / f64::from(rate_hz);
        let sound = move |frame| {
            let frame = (frame as f64 * step) as u64;
            let (sound, own) = scene.parts(&place, frame);
            sound + own + besides.get().map_or(0.0, |besides| besides(scene.time_s(&place, frame)))
        };
        let fed = Microphone::start_wide(&pipe, f64::from(rate_hz), clock_ppm, self.begin, gains, sound);
        let fed = fed.expect("the pipe opens");
        if mic < self.mics.len() {
            self.mics[mic] = fed;
        } else {
            self.mics.push(fed);
        }
    }

    /// The pipe of the microphone `name`.
    pub fn pipe(&self, name: &str) -> PathBuf {
        self.server.folder().join(format!("{name}.pipe"))
    }

    /// A command that finds the private server and none of the user's settings.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for variable in ["HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            command.env(variable, self.server.folder());
        }
        for variable in ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY"] {
            command.env_remove(variable);
        }
        command.env("PULSE_SERVER", self.server.address()).current_dir(self.server.folder()).stdin(Stdio::null());
        command
    }

    /// Runs `pactl` and gives what it says.
    pub fn pactl(&self, arguments: &[&str]) -> String {
        let output = self.command("pactl").args(arguments).output().expect("pactl is installed");
        assert!(output.status.success(), "pactl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The server's modules: index and line.
    pub fn modules(&self) -> BTreeMap<u32, String> {
        let split = |line: &str| line.split_once('\t').map(|(i, rest)| (i.parse().expect("an index"), rest.to_owned()));
        self.pactl(&["list", "short", "modules"]).lines().filter_map(split).collect()
    }

    /// Takes the module of the source `name` away.
    pub fn unplug(&self, name: &str) {
        let named = format!("source_name={name} ");
        let found = self.modules().into_iter().find(|(_, line)| line.contains(&named));
        self.pactl(&["unload-module", &found.expect("it is plugged in").0.to_string()]);
    }

    /// Names of the server's sources.
    pub fn sources(&self) -> Vec<String> {
        let name = |line: &str| line.split('\t').nth(1).map(str::to_owned);
        self.pactl(&["list", "short", "sources"]).lines().filter_map(name).collect()
    }

    /// Records `seconds` of `source` as an application would; fails after three times as long.
    pub fn record(&self, source: &str, rate_hz: u32, seconds: f64) -> Vec<f32> {
        let mut recorder = Recorder::start(self, source, rate_hz);
        recorder.take(seconds)
    }

    /// `driftmerge` with `arguments` and the plugin bundle made for the tests.
    pub fn driftmerge(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(program());
        command.args(arguments).env("DRIFTMERGE_BUNDLE", hosts::bundle().folder());
        command
    }

    /// Runs `driftmerge` to its end.
    pub fn run_to_end(&self, arguments: &[&str]) -> Output {
        self.driftmerge(arguments).output().expect("the program starts")
    }

    /// Starts `driftmerge` and leaves it running.
    pub fn start_driftmerge(&self, arguments: &[&str]) -> Running {
        Running::start(self.driftmerge(arguments))
    }
}

/// An application that records.
pub struct Recorder {
    child: Child,
    rate_hz: u32,
}

impl Recorder {
    /// Starts `parec` on `source`, mono.
    pub fn start(rig: &Rig, source: &str, rate_hz: u32) -> Self {
        Self::start_by(rig.command("parec"), source, rate_hz)
    }

    /// The same by a command for `parec`, which knows the server.
    pub fn start_by(mut command: Command, source: &str, rate_hz: u32) -> Self {
        command.args(["--raw", "--format=float32le", "--channels=1", "--latency-msec=20", "-d", source]);
        let child =
            command.arg(format!("--rate={rate_hz}")).stdout(Stdio::piped()).spawn().expect("parec is installed");
        Self { child, rate_hz }
    }

    /// The next `seconds` of sound.
    pub fn take(&mut self, seconds: f64) -> Vec<f32> {
        let mut bytes = vec![0; 4 * (seconds * f64::from(self.rate_hz)) as usize];
        let stdout = self.child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut bytes).expect("the source goes on");
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines with the time at which each came.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

/// A program left running, and what it says on its standard error.
pub struct Running {
    child: Child,
    said: Arc<Said>,
    started: Instant,
}

impl Running {
    /// Starts `command`.
    pub fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let said = Arc::new(Said::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lines.lock().expect("no panic while held").push((Instant::now(), line));
                heard.more.notify_all();
            }
        });
        Self { child, said, started }
    }

    /// Everything said so far.
    pub fn said(&self) -> String {
        let said = self.said.lines.lock().expect("no panic while held");
        let line = |(at, line): &(Instant, String)| format!("{:7.3} {line}", (*at - self.started).as_secs_f64());
        said.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a line that contains `text` and gives its time since the start.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Duration {
        let came = |said: &[(Instant, String)]| said.iter().find(|(_, line)| line.contains(text)).map(|(at, _)| *at);
        let lines = self.said.lines.lock().expect("no panic while held");
        let waited = self.said.more.wait_timeout_while(lines, limit, |said| came(said).is_none());
        let at = came(&waited.expect("no panic while held").0);
        at.unwrap_or_else(|| panic!("«{text}» did not come; it said:\n{}", self.said())) - self.started
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` and waits for the end, at most 5 s.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.wait()
    }

    /// Waits for the end, at most 5 s.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = ended_within(&mut self.child, Duration::from_secs(5));
        ended.unwrap_or_else(|| panic!("it does not end; it said:\n{}", self.said()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test, built with the tests.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("target/PROFILE/deps/test").join("driftmerge")
}
