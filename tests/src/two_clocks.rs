//! Microphones on clocks of their own, rendered as sound in memory, and what the engine makes of it.

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
        let (mut sounds, own) = record(rate_hz, seconds, &[(0.0, 0.0), (lag_s, ppm)], noise_db);
        let [b, a] = [sounds.pop(), sounds.pop()].map(|sound| sound.expect("there are two"));
        let own: [Signal; 2] = own.try_into().ok().expect("there are two");
        (Self { rate_hz, a, b }, own)
    }

    /// A short pair at 16 kHz on which the engine locks in the first half: B is 30 ms late and drifts by 80 ppm.
    pub fn short() -> Self {
        Self::speech(16_000, 4.0, 0.03, 80.0)
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
        let (out, statuses) = merged(self.rate_hz, &[&self.a, &self.b], controls);
        (out, statuses[0])
    }
}

/// What the engine makes of all microphones, made and run as a shell does it; and how it stands with each at the end.
pub fn merged(rate_hz: u32, microphones: &[&[f32]], controls: &Controls) -> (Vec<f32>, Vec<Status>) {
    let _flush = FlushDenormals::new();
    let mut engine =
        Engine::new(f64::from(rate_hz), microphones.len(), &Controls::default()).expect("the rate is good");
    engine.set_controls(controls);
    let mut out = vec![0.0; microphones[0].len()];
    engine.process(microphones, &mut out);
    (out, (1..microphones.len()).map(|microphone| engine.status(microphone)).collect())
}

/// How loud `sound` is beside `wanted` where they differ, dB of the power of `wanted`.
pub fn difference_db(sound: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(sound.len(), wanted.len());
    let power = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let difference = power(&mut sound.iter().zip(wanted).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    10.0 * (difference / power(&mut wanted.iter().map(|x| f64::from(*x)))).max(1e-30).log10()
}

/// What four microphones record.
pub struct Four {
    /// Sample rate that all claim to have, Hz.
    pub rate_hz: u32,
    /// The microphones, the reference first.
    pub sounds: Vec<Vec<f32>>,
    /// What the reference would record without its own noise.
    pub clean: Vec<f32>,
}

impl Four {
    /// How late B, C and D hear the speech, ms: one of them before A.
    pub const LAGS_MS: [f64; 3] = [30.0, -12.0, 55.0];
    /// By how much the clocks of B, C and D are faster, ppm.
    pub const DRIFTS_PPM: [f64; 3] = [80.0, -50.0, 20.0];

    /// Speech in free field for `seconds` at 16 kHz, each microphone's own noise `noise_db` below it.
    pub fn speech(seconds: f64, noise_db: f64) -> Self {
        let mut places = vec![(0.0, 0.0)];
        places.extend(Self::LAGS_MS.iter().zip(Self::DRIFTS_PPM).map(|(lag_ms, ppm)| (lag_ms * 1e-3, ppm)));
        let (sounds, _) = record(16_000, seconds, &places, noise_db);
        let (mut clean, _) = record(16_000, seconds, &places[..1], 200.0);
        Self { rate_hz: 16_000, sounds, clean: clean.remove(0) }
    }

    /// The microphones, from frame `start` on.
    pub fn slices(&self, range: std::ops::Range<usize>) -> Vec<&[f32]> {
        self.sounds.iter().map(|sound| &sound[range.clone()]).collect()
    }

    /// The lag of microphone `other` (0 is B) at second `at_s` of A, ms.
    pub fn lag_ms(other: usize, at_s: f64) -> f64 {
        Self::LAGS_MS[other] + Self::DRIFTS_PPM[other] * 1e-3 * at_s
    }

    /// Speech over everything else in `sound`, which begins `late` frames after the clean speech, from frame `from` on, dB.
    pub fn snr_db(&self, sound: &[f32], late: usize, from: usize) -> f64 {
        let pairs =
            || sound[from..].iter().zip(&self.clean[from - late..]).map(|(x, s)| (f64::from(*x), f64::from(*s)));
        let dot = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
        let wanted = dot(|(x, s)| x * s).powi(2) / dot(|(_, s)| s * s);
        10.0 * (wanted / (dot(|(x, _)| x * x) - wanted)).log10()
    }
}

/// What microphones record of one talker, each at its place: how late it hears the speech, s, and by how much its clock
/// runs faster, ppm. Their own noise is `noise_db` below the speech; that comes second.
fn record(rate_hz: u32, seconds: f64, places: &[(f64, f64)], noise_db: f64) -> (Vec<Vec<f32>>, Vec<Signal>) {
    let rate = f64::from(rate_hz);
    let level = SPEECH_RMS * 10_f64.powf(-noise_db / 20.0);
    let own: Vec<Signal> = (1..=places.len() as u64).map(|seed| scene::noise(seed, seconds, rate, level)).collect();
    let scene = Scene { rate_hz: rate, sound: Signal::new(voice::speak(5, seconds, rate, SPEECH_RMS)) };
    let sounds = places.iter().zip(&own).map(|((delay_s, clock_ppm), own)| {
        let place = Place { clock_ppm: *clock_ppm, delay_s: *delay_s, gain: 1.0, own: own.clone() };
        let frame = |i| {
            let (sound, own) = scene.parts(&place, i);
            // As a sound card gives it; every host's sample format holds that exactly.
            ((sound + own) * 32_768.0).round() / 32_768.0
        };
        (0..(seconds * rate) as u64).map(frame).collect()
    });
    (sounds.collect(), own)
}
