//! Sound like speech, the same in every run: syllables of voiced pulses or hiss through formants, with pauses.
//!
//! It is meant to be as easy and as hard to track as speech: broadband, never exactly periodic, silent at times.

use std::f64::consts::TAU;

use super::random::Random;

/// First, second and third formant of a few vowels, Hz.
const VOWELS_HZ: [[f64; 3]; 6] = [
    [730.0, 1090.0, 2440.0],
    [270.0, 2290.0, 3010.0],
    [300.0, 870.0, 2240.0],
    [530.0, 1840.0, 2480.0],
    [570.0, 840.0, 2410.0],
    [440.0, 1020.0, 2240.0],
];
/// Width of the formants, Hz.
const WIDTHS_HZ: [f64; 3] = [80.0, 100.0, 160.0];
/// Length of the rise and fall of a syllable, s.
const RAMP_S: f64 = 0.02;

/// A two-pole resonator with unit gain at its peak, roughly.
#[derive(Clone, Copy, Default)]
struct Resonator {
    y1: f64,
    y2: f64,
}

impl Resonator {
    fn step(&mut self, x: f64, centre_hz: f64, width_hz: f64, rate_hz: f64) -> f64 {
        let r = (-std::f64::consts::PI * width_hz / rate_hz).exp();
        let y = (1.0 - r) * x + 2.0 * r * (TAU * centre_hz / rate_hz).cos() * self.y1 - r * r * self.y2;
        (self.y2, self.y1) = (self.y1, y);
        y
    }
}

/// `seconds` of speech-like sound at `rate_hz`, root mean square `rms` where it is not silent.
pub fn speak(seed: u64, seconds: f64, rate_hz: f64, rms: f64) -> Vec<f32> {
    let frames = (seconds * rate_hz) as usize;
    let mut random = Random::new(seed);
    let mut sound: Vec<f64> = Vec::with_capacity(frames);
    let mut voiced = 0_usize;
    let mut since_pause = 0;
    while sound.len() < frames {
        if since_pause > 4 && random.unit() < 0.3 {
            sound.extend(std::iter::repeat_n(0.0, (random.between(0.15, 0.4) * rate_hz) as usize));
            since_pause = 0;
        } else {
            let before = sound.len();
            syllable(&mut random, rate_hz, &mut sound);
            voiced += sound.len() - before;
            since_pause += 1;
        }
    }
    sound.truncate(frames);
    let energy: f64 = sound.iter().map(|x| x * x).sum();
    let gain = rms / (energy / voiced.max(1) as f64).sqrt().max(1e-12);
    sound.iter().map(|x| (x * gain) as f32).collect()
}

/// Appends one syllable: often a hiss first, then a vowel whose pitch glides.
fn syllable(random: &mut Random, rate_hz: f64, sound: &mut Vec<f64>) {
    if random.unit() < 0.5 {
        let centre_hz = random.between(0.25, 0.4) * rate_hz;
        let mut hiss = Resonator::default();
        shaped(random.between(0.05, 0.12), rate_hz, sound, |_| {
            1.5 * hiss.step(random.noise(), centre_hz, 2500.0, rate_hz)
        });
    }
    let vowel = VOWELS_HZ[(random.unit() * VOWELS_HZ.len() as f64) as usize];
    let (pitch_hz, glide) = (random.between(95.0, 190.0), random.between(-0.25, 0.25));
    let length_s = random.between(0.12, 0.3);
    let mut formants = [Resonator::default(); 3];
    let mut phase = 0.0;
    shaped(length_s, rate_hz, sound, |t| {
        phase += pitch_hz * (1.0 + glide * t) / rate_hz;
        let pulse = if phase >= 1.0 {
            // Each period a little different, as in a throat.
            phase -= 1.0 + random.between(-0.02, 0.02);
            8.0
        } else {
            0.0
        };
        let breath = 0.05 * random.noise();
        (formants.iter_mut().zip(vowel.iter().zip(WIDTHS_HZ)))
            .map(|(f, (centre, width))| 3.0 * f.step(pulse + breath, *centre, width, rate_hz))
            .sum::<f64>()
            + 0.1 * (pulse + breath)
    });
}

/// Appends `length_s` of `sample` (called with 0 to 1, the place in it), rising and falling smoothly.
fn shaped(length_s: f64, rate_hz: f64, sound: &mut Vec<f64>, mut sample: impl FnMut(f64) -> f64) {
    let frames = (length_s * rate_hz) as usize;
    let ramp = RAMP_S * rate_hz;
    for i in 0..frames {
        let edge = (i as f64).min((frames - i) as f64);
        let gain = (edge / ramp).min(1.0);
        sound.push(gain * sample(i as f64 / frames as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_the_same_in_every_run_and_has_the_level_asked_for() {
        let (one, two) = (speak(1, 4.0, 16_000.0, 0.1), speak(1, 4.0, 16_000.0, 0.1));
        assert_eq!(one, two);
        assert_eq!(one.len(), 64_000);
        let active: Vec<f32> = one.iter().copied().filter(|x| *x != 0.0).collect();
        let rms = (active.iter().map(|x| x * x).sum::<f32>() / active.len() as f32).sqrt();
        assert!((rms - 0.1).abs() < 0.01, "rms {rms}");
    }
}
