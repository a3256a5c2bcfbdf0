//! Two microphones inside `PipeWire`: sources that hear a null sink into which a scene is played.
//!
//! Their clocks are in the sound: the scene is played as two microphones on clocks of their own took it, by the graph's one
//! clock. So their lag is known to be what it was whenever they are heard again, which no tunnel's is.

use std::process::{Child, Stdio};

use driftmerge::rig::scene::{self, Place, Scene, noise};
use driftmerge::rig::voice;

use crate::hosts::{Workshop, succeed};
use crate::pipewire::PipeWire;
use crate::pulse::MICS;

/// Seconds of sound before it repeats.
const PERIOD_S: f64 = 50.0;
/// Root mean square of the speech, and of each microphone's own noise.
const SPEECH_RMS: f64 = 0.1;
const NOISE_RMS: f64 = 0.04;
/// How long the scene is played, s.
const LENGTH_S: f64 = 180.0;

/// A room in which the scene sounds.
pub struct Room {
    /// What both microphones hear.
    pub scene: Scene,
    /// Where they are, A first.
    pub places: [Place; 2],
    player: Child,
}

impl Room {
    /// Makes the microphones [`MICS`] and plays the scene: clocks `ppm` apart, B hears everything `delay_b_s` later.
    pub fn open(workshop: &Workshop, pipewire: &PipeWire, rate_hz: u32, ppm: f64, delay_b_s: f64) -> Self {
        let rate = f64::from(rate_hz);
        let place = |clock_ppm, delay_s, seed| Place {
            clock_ppm,
            delay_s,
            gain: 1.0,
            own: noise(seed, PERIOD_S, rate, NOISE_RMS),
        };
        let places = [place(-ppm / 2.0, 0.0, 11), place(ppm / 2.0, delay_b_s, 12)];
        let scene = Scene { rate_hz: rate, sound: scene::Signal::new(voice::speak(7, PERIOD_S, rate, SPEECH_RMS)) };
        let load = |module: &str, arguments: &[&str]| {
            succeed(pipewire.command("pactl").args(["load-module", module]).args(arguments));
        };
        let rate_argument = format!("rate={rate_hz}");
        load("module-null-sink", &["sink_name=room", &rate_argument, "channel_map=front-left,front-right"]);
        for (name, side) in MICS.iter().zip(["front-left", "front-right"]) {
            let side = format!("master_channel_map={side}");
            let name = format!("source_name={name}");
            let mono = ["channels=1", "channel_map=mono", "remix=no", "master=room.monitor"];
            load("module-remap-source", &[&[name.as_str(), &side], &mono[..]].concat());
        }
        let frames = (LENGTH_S * rate) as u64;
        let heard = |frame| places.iter().map(move |place| (place, frame));
        let sample = |(place, frame)| {
            let (sound, own) = scene.parts(place, frame);
            (sound + own).to_le_bytes()
        };
        let sound: Vec<u8> = (0..frames).flat_map(heard).flat_map(sample).collect();
        let file = workshop.path("room.raw");
        std::fs::write(&file, sound).expect("the folder can be written");
        let mut player = pipewire.command("pacat");
        player.args(["--raw", "--format=float32le", "--channels=2", "--channel-map=front-left,front-right"]);
        player.args([format!("--rate={rate_hz}"), "--latency-msec=100".into(), "--device=room".into()]).arg(file);
        let player = player.stdin(Stdio::null()).spawn().expect("pacat is installed");
        Self { scene, places, player }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.player.kill();
        let _ = self.player.wait();
    }
}
