//! What reflections do to the lag.

use std::ops::Range;

use driftmerge::rig::random::Random;
use driftmerge::rig::scene::{Place, Scene, Signal, noise, true_lag_s};
use driftmerge::rig::voice;
use driftmerge_dsp::{Controls, Engine, State};
use driftmerge_tests::align::quantile;

const RATE_HZ: f64 = 16_000.0;
const BLOCK: u64 = 160;
const SECONDS: f64 = 40.0;

/// `voice` as it is heard in a room: the sound itself, and an echo each millisecond, `loud` times as loud as it in all, which lose 60 dB
/// in `reverberation_s`.
fn in_a_room(voice: &[f32], seed: u64, loud: f64, reverberation_s: f64) -> Signal {
    let mut random = Random::new(seed);
    let echoes: Vec<(usize, f64)> = (1..(1e3 * reverberation_s) as usize)
        .map(|k| {
            let delay_s = (k as f64 + random.between(-0.5, 0.5)) * 1e-3;
            let sign = if random.unit() < 0.5 { -1.0 } else { 1.0 };
            ((delay_s * RATE_HZ) as usize, sign * 10f64.powf(-3.0 * delay_s / reverberation_s))
        })
        .collect();
    let gain = loud / echoes.iter().map(|(_, g)| g * g).sum::<f64>().sqrt();
    let heard = |n: usize| {
        let echoes = echoes.iter().filter(|(delay, _)| *delay <= n);
        f64::from(voice[n]) + gain * echoes.map(|(delay, g)| g * f64::from(voice[n - delay])).sum::<f64>()
    };
    Signal::new((0..voice.len()).map(|n| heard(n) as f32).collect())
}

/// What two microphones whose clocks are 120 ppm apart take of it, 10 dB above their noise, is followed for 40 s: 95 % of the lag's
/// errors from 10 s on are below what is given first, us, and the drift is off by what is given second, ppm.
fn follow(seed: u64, loud: f64) -> (f64, f64) {
    let voice = voice::speak(seed, SECONDS + 2.0, RATE_HZ, 0.1);
    let microphone = |i: u64, clock_ppm, delay_s| {
        let own = noise(10 * seed + i, 20.0, RATE_HZ, 0.03 * (1.0 + loud * loud).sqrt());
        let sound = in_a_room(&voice, 100 * seed + i, loud, 0.6);
        (Scene { rate_hz: RATE_HZ, sound }, Place { clock_ppm, delay_s, gain: 1.0, own })
    };
    let (a, b) = (microphone(0, 60.0, 0.0), microphone(1, -60.0, 0.037));
    let hear = |(scene, place): &(Scene, Place), frames: Range<u64>| -> Vec<f32> {
        let sum = |(sound, own)| sound + own;
        frames.map(|n| sum(scene.parts(place, n))).collect()
    };
    let mut engine = Engine::new(RATE_HZ, 2, &Controls::default()).expect("the rate is in range");
    let mut errors_us = Vec::new();
    for block in 0..(SECONDS * RATE_HZ) as u64 / BLOCK {
        let frames = block * BLOCK..(block + 1) * BLOCK;
        let sounds = [&a, &b].map(|microphone| hear(microphone, frames.clone()));
        engine.process(&[&sounds[0], &sounds[1]], &mut [0.0; BLOCK as usize]);
        let status = engine.status(1);
        if frames.end as f64 > 10.0 * RATE_HZ {
            assert_ne!(status.state, State::Searching, "seed {seed}");
            errors_us.push((status.lag_ms * 1e3 - true_lag_s(&a.0, &a.1, &b.1, frames.end) * 1e6).abs());
        }
    }
    (quantile(errors_us, 0.95), engine.status(1).drift_ppm + 120.0)
}

/// Reflections are as lasting as the peak that is measured: what is measured in them counts all the same.
#[test]
fn in_echoes_6_db_above_the_sound_itself_the_lag_is_right_to_50_us_and_the_drift_to_1_ppm() {
    for seed in 1..=4 {
        let (p95_us, drift_error_ppm) = follow(seed, 2.0);
        println!("seed {seed}: {p95_us:.1} us, {drift_error_ppm:.2} ppm");
        assert!(p95_us < 50.0, "seed {seed}: {p95_us} us");
        assert!(drift_error_ppm.abs() < 1.0, "seed {seed}: {drift_error_ppm} ppm");
    }
}

/// Where the echoes are louder still, the lag may be that of one of them; it moves by the clocks all the same.
#[test]
fn in_echoes_9_db_above_the_sound_itself_the_drift_is_right_to_1_ppm() {
    for seed in 1..=4 {
        let (_, drift_error_ppm) = follow(seed, 2.8);
        println!("seed {seed}: {drift_error_ppm:.2} ppm");
        assert!(drift_error_ppm.abs() < 1.0, "seed {seed}: {drift_error_ppm} ppm");
    }
}
