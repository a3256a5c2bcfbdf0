//! Real hosts, run on the real files: the bundle as `scripts/bundle` lays it out, sound in and out of files.

use crate::wait::ended_within;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use driftmerge_dsp::params::{CONTROLS, Port};
use driftmerge_dsp::{Controls, State};
use driftmerge_plugin::layout::{Layout, Sound};
use hound::{SampleFormat, WavReader};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::entry::{Driver, Entry};
use crate::two_clocks::{Four, Pair, merged};

/// The plugin's URI.
pub const URI: &str = "urn:driftmerge:merge";

/// Values of all controls, as a host is told them. They differ from the defaults in the latency and the way of merging,
/// so that a host that does not pass them on is found out.
pub struct Settings([f32; CONTROLS.len()]);

/// The controls in which [`Settings`] differ from the defaults: symbol, index and value.
pub const CHANGED: [(&str, usize, f32); 2] = [("delay", 1, 60.0), ("mode", 5, 0.0)];

impl Default for Settings {
    fn default() -> Self {
        let mut values = CONTROLS.map(|port| port.default);
        for (symbol, index, value) in CHANGED {
            assert_eq!(CONTROLS[index].symbol, symbol);
            values[index] = value;
        }
        Self(values)
    }
}

impl Settings {
    /// These settings with one more changed.
    pub fn with(symbol: &str, value: f32) -> Self {
        let mut settings = Self::default();
        settings.0[CONTROLS.iter().position(|port| port.symbol == symbol).expect("a control")] = value;
        settings
    }

    /// As the engine takes them.
    pub fn controls(&self) -> Controls {
        Controls::from_values(&self.0)
    }

    /// In the order of a plugin's controls, of which it may lack some or have narrower bounds: for hosts that go by position.
    pub fn positional_of(&self, layout: &Layout) -> Vec<String> {
        let value = |port: &Port| {
            let known = CONTROLS.iter().zip(self.0).find(|(known, _)| known.symbol == port.symbol);
            known.expect("in the table").1.clamp(port.min, port.max).to_string()
        };
        layout.controls.iter().map(value).collect()
    }

    /// What the engine makes of `pair`; it must have locked, or the test would say little.
    pub fn merged(&self, pair: &Pair) -> Vec<f32> {
        let (out, status) = pair.merged(&self.controls());
        assert_ne!(status.state, State::Searching, "the engine locks on this sound: {status:?}");
        out
    }
}

/// One of the plugins, sound for it, and [`Settings`] as far as it has them: for hosts that are shown all of them.
pub struct Trial {
    /// URI or LADSPA label.
    pub name: &'static str,
    /// Its ports.
    pub layout: &'static Layout,
    /// Sample rate, Hz.
    pub rate_hz: u32,
    /// What it hears, an input each.
    pub sounds: Vec<Vec<f32>>,
    entry: Entry,
}

impl Trial {
    /// The LV2 plugins.
    pub fn uris() -> [Self; 3] {
        let names = [URI, "urn:driftmerge:merge4", "urn:driftmerge:align"];
        let entries = [Entry::Lv2, Entry::Lv2Merge4, Entry::Lv2Align];
        [0, 1, 2].map(|i| Self::new(entries[i], names[i]))
    }

    /// The LADSPA labels.
    pub fn labels() -> [Self; 4] {
        let names = ["driftmerge", "driftmerge_dual", "driftmerge_merge4", "driftmerge_align"];
        let entries = [Entry::Ladspa, Entry::LadspaDual, Entry::LadspaMerge4, Entry::LadspaAlign];
        [0, 1, 2, 3].map(|i| Self::new(entries[i], names[i]))
    }

    fn new(entry: Entry, name: &'static str) -> Self {
        let layout = entry.layout();
        let (rate_hz, sounds) = if layout.ins.len() == 2 {
            let pair = Pair::short();
            (pair.rate_hz, vec![pair.a, pair.b])
        } else {
            let four = Four::speech(4.0, 20.0);
            (four.rate_hz, four.sounds)
        };
        Self { name, layout, rate_hz, sounds, entry }
    }

    /// The controls in which the settings differ from the defaults: symbol, index and value, as this plugin has them.
    pub fn changed(&self) -> Vec<(&'static str, usize, f32)> {
        let place = |(symbol, _, value): (&'static str, usize, f32)| {
            let index = self.layout.controls.iter().position(|port| port.symbol == symbol)?;
            Some((symbol, index, value.clamp(self.layout.controls[index].min, self.layout.controls[index].max)))
        };
        CHANGED.into_iter().filter_map(place).collect()
    }

    /// Writes all microphones as `name`: a sound file.
    pub fn write(&self, workshop: &Workshop, name: &str) -> PathBuf {
        workshop.write(name, self.rate_hz, &self.slices())
    }

    /// The same after `frames` of silence.
    #[must_use]
    pub fn after_silence(&self, frames: usize) -> Self {
        let later = |sound: &Vec<f32>| [&vec![0.0; frames], &sound[..]].concat();
        Self { sounds: self.sounds.iter().map(later).collect(), ..*self }
    }

    /// What the engine makes of it, on every output. Where it merges, the engine is asked itself. Where it aligns, the
    /// plugin's C functions are, called directly; tests of their own hold these against the engine.
    pub fn expected(&self) -> Vec<Vec<f32>> {
        if self.layout.sound == Sound::Apart {
            return self.played(Driver::ready(self.entry, self.rate_hz));
        }
        let (out, statuses) = merged(self.rate_hz, &self.slices(), &Settings::default().controls());
        assert!(statuses.iter().all(|s| s.state != State::Searching), "the engine locks on this sound: {statuses:?}");
        vec![out; self.layout.outs.len()]
    }

    /// The same where the host runs the plugin on `silence` frames of nothing before it sets the controls.
    pub fn expected_after(&self, silence: usize) -> Vec<Vec<f32>> {
        let mut driver = Driver::ready(self.entry, self.rate_hz);
        let nothing = vec![0.0; silence];
        driver.process_all(&vec![&nothing[..]; self.sounds.len()], &[512]);
        self.played(driver)
    }

    /// How many frames of `host`, a slice for each output, are those that the plugin gives after `silence` frames of nothing
    /// with the settings.
    pub fn agreeing_after(&self, silence: usize, host: &[&[f32]]) -> usize {
        /// Frames after which it is seen whether to go on.
        const PART: usize = 1000;

        let mut driver = Driver::ready(self.entry, self.rate_hz);
        self.set_all(&mut driver);
        let nothing = vec![0.0; silence];
        driver.process_all(&vec![&nothing[..]; self.sounds.len()], &[512]);
        let frames = host[0].len();
        for start in (0..frames).step_by(PART) {
            let part = start..frames.min(start + PART);
            let outs = driver.process_all(&self.sounds.iter().map(|s| &s[part.clone()]).collect::<Vec<_>>(), &[512]);
            let same = |(host, out): (&&[f32], &Vec<f32>)| {
                host[part.clone()].iter().zip(out).take_while(|(host, engine)| host == engine).count()
            };
            let agreed = host.iter().zip(&outs).map(same).min().unwrap_or(0);
            if agreed < part.len() {
                return start + agreed;
            }
        }
        frames
    }

    /// What comes out of an instance with the settings.
    fn played(&self, mut driver: Driver) -> Vec<Vec<f32>> {
        self.set_all(&mut driver);
        let outs = driver.process_all(&self.slices(), &[512]);
        for meter in self.layout.meters.iter().filter(|meter| meter.symbol.starts_with("state")) {
            assert!(driver.meter(meter.symbol) >= 1.0, "{} locks on this sound: {:?}", self.name, driver.meters());
        }
        outs
    }

    fn set_all(&self, driver: &mut Driver) {
        for (symbol, _, value) in self.changed() {
            driver.set(symbol, value);
        }
    }

    fn slices(&self) -> Vec<&[f32]> {
        self.sounds.iter().map(Vec::as_slice).collect()
    }
}

/// Where the plugin is laid out for hosts.
pub struct Bundle {
    /// For `LV2_PATH`.
    pub lv2: PathBuf,
    /// For `LADSPA_PATH`.
    pub ladspa: PathBuf,
}

impl Bundle {
    /// The folder of the LV2 bundle.
    pub fn folder(&self) -> PathBuf {
        self.lv2.join("driftmerge.lv2")
    }

    /// The LADSPA file.
    pub fn ladspa_file(&self) -> PathBuf {
        self.ladspa.join("driftmerge.so")
    }
}

/// The bundle, built by `scripts/bundle` in the profile of the tests.
pub fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let out = test.ancestors().nth(2).expect("target/PROFILE/deps/test").join("host-bundle");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/bundle");
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        succeed(Command::new(script).args(["--profile", profile, "--out"]).arg(&out));
        Bundle { lv2: out.join("lv2"), ladspa: out.join("ladspa") }
    })
}

/// A folder for one host's files, and commands that find the plugin and none of the user's settings.
pub struct Workshop {
    folder: TempDir,
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}

impl Workshop {
    /// Makes the folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A host's command.
    pub fn command(&self, program: &str) -> Command {
        let bundle = bundle();
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("LV2_PATH", &bundle.lv2).env("LADSPA_PATH", &bundle.ladspa);
        for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, self.folder.path());
        }
        for variable in ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PULSE_SERVER"] {
            command.env_remove(variable);
        }
        // Where no terminal is, ecasound does not start without.
        command.env("TERM", "dumb");
        command
    }

    /// Writes a sound file of 32-bit floats, with the oldest and shortest header there is, since not every host reads a
    /// newer one.
    pub fn write(&self, name: &str, rate_hz: u32, sounds: &[&[f32]]) -> PathBuf {
        const FLOAT: u16 = 3;
        let channels = sounds.len() as u16;
        let frame_bytes = 4 * channels;
        let samples = (0..sounds[0].len()).flat_map(|i| sounds.iter().map(move |sound| sound[i]));
        let data: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
        let mut file = Vec::new();
        file.extend(b"RIFF");
        file.extend((36 + data.len() as u32).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16_u32.to_le_bytes());
        file.extend(FLOAT.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate_hz.to_le_bytes());
        file.extend((rate_hz * u32::from(frame_bytes)).to_le_bytes());
        file.extend(frame_bytes.to_le_bytes());
        file.extend(32_u16.to_le_bytes());
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        let path = self.path(name);
        std::fs::write(&path, file).expect("the folder can be written");
        path
    }

    /// Reads all of the `channels` channels of a sound file of 32-bit floats.
    pub fn read_all(&self, name: &str, channels: usize) -> Vec<Vec<f32>> {
        (0..channels).map(|channel| self.read(name, channel)).collect()
    }

    /// Reads channel `channel` of a sound file of 32-bit floats.
    pub fn read(&self, name: &str, channel: usize) -> Vec<f32> {
        let mut reader = WavReader::open(self.path(name)).expect("the host has written it");
        let channels = usize::from(reader.spec().channels);
        assert_eq!(reader.spec().sample_format, SampleFormat::Float, "{name}");
        reader.samples::<f32>().skip(channel).step_by(channels).map(|x| x.expect("the file is whole")).collect()
    }
}

/// A host left running in the background, its standard input open; what it says goes to a file.
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts `command`; `log` is where its output goes.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("the folder can be written");
        command.stdin(Stdio::piped()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).expect("it was made")).into_owned()
    }

    /// Asks it to end, as Ctrl-C does, and waits until it has.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        self.child.wait().expect("a child");
    }

    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        stdin.write_all(text.as_bytes()).expect("it listens");
    }

    /// Waits until `condition` holds, or fails with what the host has said, after 30 s or when it ends.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&str) -> bool) {
        let begin = Instant::now();
        while !condition(&self.said()) {
            let ended = ended_within(&mut self.child, Duration::from_millis(5));
            let late = begin.elapsed() > Duration::from_secs(30);
            assert!(ended.is_none() && !late, "{what}: not yet ({ended:?}); it said:\n{}", self.said());
        }
    }
}

impl Background {
    /// Ends its standard input and gives it some time to end by itself.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
        let _ = ended_within(&mut self.child, Duration::from_secs(5));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Asked first: a JACK server that is killed at once leaves its place in a list of eight taken.
        // A host that has ended already is no failure here: the test has seen what it wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if ended_within(&mut self.child, Duration::from_secs(2)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command and demands that it succeeds.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Demands that a host's sound is the engine's but for the steps of the host's own sample format.
pub fn assert_close(host: &[f32], engine: &[f32], step: f32) {
    assert_eq!(host.len(), engine.len(), "frames");
    let first = host.iter().zip(engine).position(|(h, e)| (h - e).abs() > step);
    if let Some(i) = first {
        panic!("frame {i}: host {}, engine {}, which is more than {step}", host[i], engine[i]);
    }
}

/// Demands that a host's sound is the engine's, sample by sample.
pub fn assert_same(host: &[f32], engine: &[f32]) {
    assert_eq!(host.len(), engine.len(), "frames");
    if let Some(i) = (0..host.len()).find(|i| host[*i].to_bits() != engine[*i].to_bits()) {
        let differ = (0..host.len()).filter(|i| host[*i].to_bits() != engine[*i].to_bits()).count();
        panic!("frame {i}: host {}, engine {}; {differ} of {} frames differ", host[i], engine[i], host.len());
    }
}
