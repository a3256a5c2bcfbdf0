//! Two microphones with clocks of their own, and what is known of them.
#![allow(dead_code, reason = "each test file uses its part")]

use driftmerge_dsp::{Controls, Engine, State};
use std::f64::consts::{PI, TAU};

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

/// What the two microphones hear and how their clocks differ.
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
        let voice = self.voice();
        let pad = (1.5 * self.rate_hz) as usize;
        let frames = (self.seconds * self.rate_hz) as usize;
        let power = voice.iter().map(|x| x * x).sum::<f64>() / voice.len() as f64;
        let noise = (3.0 * power).sqrt() * 10f64.powf(-self.snr_db / 20.0);
        let mut random = Random(77 + self.seed);
        let a = (0..frames).map(|n| (voice[pad + n] + noise * random.next()) as f32).collect();
        let b = (0..frames)
            .map(|n| {
                let lag = self.lag_ms * 1e-3 * self.rate_hz + self.drift_ppm * 1e-6 * n as f64;
                let place = (pad + n) as f64 - lag;
                (self.level_b * (sample_at(&voice, place) + noise * random.next())) as f32
            })
            .collect();
        (a, b)
    }
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
pub fn run(engine: &mut Engine, a: &[f32], b: &[f32], block: usize, mut each: impl FnMut(&Engine, usize)) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    for ((a, b), (k, o)) in a.chunks(block).zip(b.chunks(block)).zip(out.chunks_mut(block).enumerate()) {
        engine.process(a, b, o);
        each(engine, k * block + a.len());
    }
    out
}

/// Lag errors (us) of the sound put out while locked, every 10 ms from `from_s` on; and when the lock came, s.
pub fn follow(scene: &Scene, controls: &Controls, from_s: f64) -> (Vec<f64>, Option<f64>) {
    let (a, b) = scene.record();
    let mut engine = Engine::new(scene.rate_hz, controls).expect("the rate is in range");
    let (mut errors_us, mut locked_s) = (Vec::new(), None);
    run(&mut engine, &a, &b, (scene.rate_hz / 100.0) as usize, |e, done| {
        let (s, t_s) = (e.status(), done as f64 / scene.rate_hz);
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
