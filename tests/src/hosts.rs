//! Real hosts, run on the real files: the bundle as `scripts/bundle` lays it out, sound in and out of files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use tempfile::TempDir;

use crate::two_clocks::Pair;

/// The plugin's URI.
pub const URI: &str = "urn:driftmerge:merge";

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
        command
    }

    /// Writes both microphones as `name`, two channels of 32-bit floats.
    pub fn write_pair(&self, name: &str, pair: &Pair) -> PathBuf {
        let path = self.path(name);
        let spec = WavSpec {
            channels: 2,
            sample_rate: pair.rate_hz,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let mut writer = WavWriter::create(&path, spec).expect("the folder can be written");
        for sample in pair.interleaved() {
            writer.write_sample(sample).expect("room on the disk");
        }
        writer.finalize().expect("room on the disk");
        path
    }

    /// Reads channel `channel` of a sound file of 32-bit floats.
    pub fn read(&self, name: &str, channel: usize) -> Vec<f32> {
        let mut reader = WavReader::open(self.path(name)).expect("the host has written it");
        let channels = usize::from(reader.spec().channels);
        assert_eq!(reader.spec().sample_format, SampleFormat::Float, "{name}");
        reader.samples::<f32>().skip(channel).step_by(channels).map(|x| x.expect("the file is whole")).collect()
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

/// Demands that a host's sound is the engine's, sample by sample.
pub fn assert_same(host: &[f32], engine: &[f32]) {
    assert_eq!(host.len(), engine.len(), "frames");
    if let Some(i) = (0..host.len()).find(|i| host[*i].to_bits() != engine[*i].to_bits()) {
        let differ = (0..host.len()).filter(|i| host[*i].to_bits() != engine[*i].to_bits()).count();
        panic!("frame {i}: host {}, engine {}; {differ} of {} frames differ", host[i], engine[i], host.len());
    }
}
