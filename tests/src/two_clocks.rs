//! Two microphones on two clocks, rendered as sound in memory, and what the engine makes of it.

use driftmerge::rig::scene::{self, Place, Scene, Signal};
use driftmerge::rig::voice;
use driftmerge_dsp::{Controls, Engine, Status};
use driftmerge_plugin::guard::FlushDenormals;

/// Root mean square of the speech: its peaks stay below full scale, where some hosts clip.
const SPEECH_RMS: f64 = 0.05;
/// Level of each microphone's own noise below the speech, dB.
const NOISE_DB: f64 = 20.0;

/// What two microphones record.
#[derive(Clone)]
pub struct Pair {
    /// Sample rate that both claim to have, Hz.
    pub rate_hz: u32,
    /// The reference.
    pub a: Vec<f32>,
    /// The other one.
    pub b: Vec<f32>,
}

impl Pair {
    /// Speech in free field for `seconds`: B hears it `lag_s` later, and its clock runs `ppm` faster.
    pub fn speech(rate_hz: u32, seconds: f64, lag_s: f64, ppm: f64) -> Self {
        Self::noisy_speech(rate_hz, seconds, lag_s, ppm, NOISE_DB).0
    }

    /// The same with each microphone's own noise `noise_db` below the speech; these noises by themselves, A's and B's.
    pub fn noisy_speech(rate_hz: u32, seconds: f64, lag_s: f64, ppm: f64, noise_db: f64) -> (Self, [Signal; 2]) {
        let rate = f64::from(rate_hz);
        let noise = |seed| scene::noise(seed, seconds, rate, SPEECH_RMS * 10_f64.powf(-noise_db / 20.0));
        let own = [noise(1), noise(2)];
        let scene = Scene { rate_hz: rate, sound: Signal::new(voice::speak(5, seconds, rate, SPEECH_RMS)) };
        let place = |own: &Signal, clock_ppm, delay_s| Place { clock_ppm, delay_s, gain: 1.0, own: own.clone() };
        let record = |place: &Place| {
            let frame = |i| {
                let (sound, own) = scene.parts(place, i);
                // As a sound card gives it; every host's sample format holds that exactly.
                ((sound + own) * 32_768.0).round() / 32_768.0
            };
            (0..(seconds * rate) as u64).map(frame).collect()
        };
        (Self { rate_hz, a: record(&place(&own[0], 0.0, 0.0)), b: record(&place(&own[1], ppm, lag_s)) }, own)
    }

    /// A short pair at 16 kHz on which the engine locks in the first half: B is 30 ms late and drifts by 80 ppm.
    pub fn short() -> Self {
        Self::speech(16_000, 4.0, 0.03, 80.0)
    }

    /// Both as one sound of two channels.
    pub fn interleaved(&self) -> Vec<f32> {
        self.a.iter().zip(&self.b).flat_map(|(a, b)| [*a, *b]).collect()
    }

    /// The same after `frames` of silence.
    #[must_use]
    pub fn after_silence(&self, frames: usize) -> Self {
        let delayed = |sound: &[f32]| [&vec![0.0; frames], sound].concat();
        Self { rate_hz: self.rate_hz, a: delayed(&self.a), b: delayed(&self.b) }
    }

    /// The part from `start` to `end`, s.
    #[must_use]
    pub fn part(&self, start_s: f64, end_s: f64) -> Self {
        let frame = |s: f64| ((s * f64::from(self.rate_hz)) as usize).min(self.a.len());
        let range = frame(start_s)..frame(end_s);
        Self { rate_hz: self.rate_hz, a: self.a[range.clone()].to_vec(), b: self.b[range].to_vec() }
    }

    /// What the engine makes of it, made and run as a shell does it; and how it stands at the end.
    pub fn merged(&self, controls: &Controls) -> (Vec<f32>, Status) {
        let _flush = FlushDenormals::new();
        let mut engine = Engine::new(f64::from(self.rate_hz), &Controls::default()).expect("the rate is good");
        engine.set_controls(controls);
        let mut out = vec![0.0; self.a.len()];
        engine.process(&self.a, &self.b, &mut out);
        (out, engine.status())
    }
}
