//! Recordings as files, and the program's `merge` run on them.

use driftmerge::rig::scene::{Place, Scene, noise, true_lag_s};
use driftmerge::rig::{scene::Signal, voice};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use std::path::Path;
use std::process::{Command, Output};

/// A recording of two microphones on clocks of their own, and what is true about it.
pub struct Pair {
    /// Nominal rate, Hz.
    pub rate_hz: u32,
    /// Microphone A.
    pub a: Vec<f32>,
    /// Microphone B.
    pub b: Vec<f32>,
    scene: Scene,
    places: [Place; 2],
}

impl Pair {
    /// `seconds` of speech, each microphone with its own noise 20 dB below it; B's clock runs `ppm` faster and B hears
    /// everything `delay_b_s` later.
    pub fn speech(rate_hz: u32, seconds: f64, ppm: f64, delay_b_s: f64) -> Self {
        let rate = f64::from(rate_hz);
        // The sound repeats, so its length must be no divisor of anything that is searched: longer than the recording.
        let period_s = seconds + 3.0;
        let place =
            |seed, clock_ppm, delay_s| Place { clock_ppm, delay_s, gain: 1.0, own: noise(seed, period_s, rate, 0.01) };
        let places = [place(21, 0.0, 0.0), place(22, ppm, delay_b_s)];
        let scene = Scene { rate_hz: rate, sound: Signal::new(voice::speak(5, period_s, rate, 0.1)) };
        let take = |place: &Place| {
            let frame = |n| {
                let (sound, own) = scene.parts(place, n);
                sound + own
            };
            (0..(seconds * rate) as u64).map(frame).collect::<Vec<f32>>()
        };
        let (a, b) = (take(&places[0]), take(&places[1]));
        Self { rate_hz, a, b, scene, places }
    }

    /// How late B is when A takes the frame at `seconds`, s.
    pub fn true_lag_s(&self, seconds: f64) -> f64 {
        true_lag_s(&self.scene, &self.places[0], &self.places[1], (seconds * f64::from(self.rate_hz)) as u64)
    }

    /// What microphone A would have recorded without its noise.
    pub fn clean_a(&self) -> Vec<f32> {
        (0..self.a.len() as u64).map(|n| self.scene.parts(&self.places[0], n).0).collect()
    }
}

/// Writes channels of equal length as one file; integers take `bits`, 32 of `float` are float.
pub fn write(path: &Path, rate_hz: u32, bits: u16, float: bool, channels: &[&[f32]]) {
    let sample_format = if float { SampleFormat::Float } else { SampleFormat::Int };
    let spec = WavSpec { channels: channels.len() as u16, sample_rate: rate_hz, bits_per_sample: bits, sample_format };
    let mut writer = WavWriter::create(path, spec).expect("the folder can be written");
    let top = f64::from(bits - 1).exp2();
    for n in 0..channels[0].len() {
        for channel in channels {
            if float {
                writer.write_sample(channel[n]).expect("written");
            } else {
                let whole = (f64::from(channel[n]) * top).round().clamp(-top, top - 1.0);
                writer.write_sample(whole as i32).expect("written");
            }
        }
    }
    writer.finalize().expect("written");
}

/// Reads a mono float file.
pub fn read(path: &Path) -> Vec<f32> {
    let mut reader = WavReader::open(path).expect("a WAV file");
    reader.samples::<f32>().map(|x| x.expect("float samples")).collect()
}

/// Runs `driftmerge merge` in a folder, with no settings but the arguments.
pub fn merge(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(crate::pulse::program())
        .arg("merge")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .output()
        .expect("the program is built with the tests")
}

/// The error text of a run that had to fail with exit code `code` and leave no file but those in `before`.
pub fn refused(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let files = |folder: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        names
    };
    let before = files(folder);
    let output = merge(folder, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert_eq!(files(folder), before, "{arguments:?} left something behind");
    text
}
