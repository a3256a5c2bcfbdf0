//! Microphones with clocks of their own, and what is known of them.
#![allow(dead_code, reason = "each test file uses its part")]

use driftmerge_dsp::{Controls, Engine, State};
use std::f64::consts::{PI, TAU};
use std::ops::Range;

/// Numbers from -1 to 1, the same on every machine (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// What the microphones hear and how their clocks differ.
#[derive(Clone, Copy)]
pub struct Scene {
    pub rate_hz: f64,
    pub seconds: f64,
    pub lag_ms: f64,
    pub drift_ppm: f64,
    pub snr_db: f64,
    pub level_b: f64,
    pub seed: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Self { rate_hz: 16_000.0, seconds: 8.0, lag_ms: 37.0, drift_ppm: 80.0, snr_db: 20.0, level_b: 1.0, seed: 1 }
    }
}

impl Scene {
    /// The lag of B at A's time `t_s`, ms: what A has at t, B has that much later.
    pub fn lag_ms_at(&self, t_s: f64) -> f64 {
        let drift = self.drift_ppm * 1e-6;
        (self.lag_ms + drift * t_s * 1e3) / (1.0 - drift)
    }

    /// Syllables of noise below 3.5 kHz with pauses, 5 ms and more long, rough like speech in level and onset.
    pub fn voice(&self) -> Vec<f64> {
        let frames = ((self.seconds + 3.0) * self.rate_hz) as usize;
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ self.seed);
        let corner = (TAU * (3500.0f64).min(0.4 * self.rate_hz) / self.rate_hz).min(1.0);
        let (mut level, mut target, mut left, mut low) = (0.0, 0.0, 0usize, [0.0f64; 2]);
        let attack = 1.0 - (-1.0 / (0.004 * self.rate_hz)).exp();
        (0..frames)
            .map(|_| {
                if left == 0 {
                    let loud = random.next();
                    target = if loud < -0.3 { 0.0 } else { 10f64.powf(loud) * 0.03 };
                    left = ((0.08 + 0.06 * (random.next() + 1.0)) * self.rate_hz) as usize;
                }
                left -= 1;
                level += attack * (target - level);
                let mut x = random.next() * level;
                for l in &mut low {
                    *l += corner * (x - *l);
                    x = *l;
                }
                x
            })
            .collect()
    }

    /// A and B.
    pub fn record(&self) -> (Vec<f32>, Vec<f32>) {
        let Room { mut microphones, .. } = self.record_all(&[(self.lag_ms, self.drift_ppm)]);
        let mut b = microphones.pop().expect("two microphones");
        for x in &mut b {
            *x *= self.level_b as f32;
        }
        (microphones.remove(0), b)
    }

    /// A and one more microphone for each lag (ms) and drift (ppm) of `others`, all with equal noise of their own.
    pub fn record_all(&self, others: &[(f64, f64)]) -> Room {
        let voice = self.voice();
        let pad = (1.5 * self.rate_hz) as usize;
        let frames = (self.seconds * self.rate_hz) as usize;
        let power = voice.iter().map(|x| x * x).sum::<f64>() / voice.len() as f64;
        let noise = (3.0 * power).sqrt() * 10f64.powf(-self.snr_db / 20.0);
        let mut random = Random(77 + self.seed);
        let clean = voice[pad..pad + frames].to_vec();
        let mut microphones = vec![clean.iter().map(|x| (x + noise * random.next()) as f32).collect()];
        microphones.extend(others.iter().map(|(lag_ms, drift_ppm)| {
            let frame = |n: usize| {
                let lag = lag_ms * 1e-3 * self.rate_hz + drift_ppm * 1e-6 * n as f64;
                (sample_at(&voice, (pad + n) as f64 - lag) + noise * random.next()) as f32
            };
            (0..frames).map(frame).collect::<Vec<f32>>()
        }));
        Room { microphones, clean, rate_hz: self.rate_hz }
    }
}

/// What microphones record of one voice.
pub struct Room {
    /// The reference first.
    pub microphones: Vec<Vec<f32>>,
    /// What the reference would record without its noise.
    pub clean: Vec<f64>,
    rate_hz: f64,
}

impl Room {
    /// Voice over everything else in `sound`, which is `late` frames behind the reference, in `part` of the reference, dB:
    /// what of the sound is the clean voice, at the best gain, against the rest; both below 4 kHz, where the voice is.
    pub fn snr_db(&self, sound: &[f32], late: usize, part: Range<usize>) -> f64 {
        let sound: Vec<f64> = sound[part.start + late..part.end + late].iter().map(|x| f64::from(*x)).collect();
        let [clean, sound] = [&self.clean[part], &sound].map(|x| low_pass(x, 4000.0 / self.rate_hz));
        let dot = |f: fn(f64, f64) -> f64| clean.iter().zip(&sound).map(|(c, x)| f(*c, *x)).sum::<f64>();
        let voice = dot(|c, x| c * x).powi(2) / dot(|c, _| c * c);
        10.0 * (voice / (dot(|_, x| x * x) - voice)).log10()
    }
}

/// Windowed sinc of 129 taps that passes what is below `corner` of the rate.
fn low_pass(x: &[f64], corner: f64) -> Vec<f64> {
    let tap = |n: i32| {
        let n = f64::from(n);
        let sinc = if n == 0.0 { 2.0 * corner } else { (TAU * corner * n).sin() / (PI * n) };
        sinc * (0.5 + 0.5 * (PI * n / 65.0).cos())
    };
    let taps: Vec<f64> = (-64..=64).map(tap).collect();
    x.windows(taps.len()).map(|x| x.iter().zip(&taps).map(|(x, t)| x * t).sum()).collect()
}

/// How loud `sound` is beside `wanted` where they differ, dB of the power of `wanted`.
pub fn difference_db(sound: &[f32], wanted: &[f32]) -> f64 {
    let power = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let difference = power(&mut sound.iter().zip(wanted).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    10.0 * (difference / power(&mut wanted.iter().map(|x| f64::from(*x)))).max(1e-30).log10()
}

/// Controls with a total of frames taken out of B.
pub fn trimmed(controls: Controls, frames: i32) -> Controls {
    let mut controls = controls;
    controls.lag_trim_frames[0] = frames;
    controls
}

/// A stream between its frames: Hann-windowed sinc of 64 taps.
pub fn sample_at(x: &[f64], place: f64) -> f64 {
    let whole = place.floor() as i64;
    (whole - 31..=whole + 32)
        .filter_map(|i| {
            let d = place - i as f64;
            let sinc = if d.abs() < 1e-9 { 1.0 } else { (PI * d).sin() / (PI * d) };
            Some(x.get(usize::try_from(i).ok()?)? * sinc * (0.5 + 0.5 * (PI * d / 33.0).cos()))
        })
        .sum()
}

/// Runs an engine over both, in blocks; `each` sees it after every block, with the frames done.
pub fn run(engine: &mut Engine, a: &[f32], b: &[f32], block: usize, each: impl FnMut(&Engine, usize)) -> Vec<f32> {
    run_all(engine, &[a, b], &[block], each)
}

/// Runs an engine over all microphones, in blocks of the given sizes, again and again.
pub fn run_all(
    engine: &mut Engine,
    microphones: &[&[f32]],
    blocks: &[usize],
    mut each: impl FnMut(&Engine, usize),
) -> Vec<f32> {
    let frames = microphones[0].len();
    let mut out = vec![0.0; frames];
    let mut at = 0;
    for block in blocks.iter().cycle() {
        let end = (at + block).min(frames);
        let pieces: Vec<&[f32]> = microphones.iter().map(|m| &m[at..end]).collect();
        engine.process(&pieces, &mut out[at..end]);
        each(engine, end);
        at = end;
        if at == frames {
            break;
        }
    }
    out
}

/// Lag errors (us) of the sound put out while locked, every 10 ms from `from_s` on; and when the lock came, s.
pub fn follow(scene: &Scene, controls: &Controls, from_s: f64) -> (Vec<f64>, Option<f64>) {
    let (a, b) = scene.record();
    let mut engine = Engine::new(scene.rate_hz, 2, controls).expect("the rate is in range");
    let (mut errors_us, mut locked_s) = (Vec::new(), None);
    run(&mut engine, &a, &b, (scene.rate_hz / 100.0) as usize, |e, done| {
        let (s, t_s) = (e.status(1), done as f64 / scene.rate_hz);
        if s.state == State::Searching {
            return;
        }
        locked_s.get_or_insert(t_s);
        if t_s > from_s {
            let place_s = t_s - f64::from(s.latency_frames) / scene.rate_hz;
            errors_us.push((s.applied_lag_ms - scene.lag_ms_at(place_s)) * 1e3);
        }
    });
    (errors_us, locked_s)
}

/// The value below which the share `p` of the magnitudes lies.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    let mut v: Vec<f64> = values.iter().map(|x| x.abs()).collect();
    v.sort_by(f64::total_cmp);
    v[((v.len() - 1) as f64 * p) as usize]
}
