//! `merge` on two-clock recordings whose truth is known.

use driftmerge_tests::wav::{Pair, merge, read, write};
use std::path::Path;
use tempfile::TempDir;

const RATE_HZ: u32 = 16_000;

/// A line of the trace.
struct Line {
    seconds: f64,
    lag_s: f64,
    drift_ppm: f64,
    latency_s: f64,
}

fn merged(pair: &Pair, arguments: &[&str]) -> (Vec<f32>, Vec<Line>) {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("in.wav"), pair.rate_hz, 32, true, &[&pair.a, &pair.b]);
    let all = [&["in.wav", "-o", "out.wav", "--trace", "trace.csv"], arguments].concat();
    let output = merge(dir.path(), &all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (read(&dir.path().join("out.wav")), trace(&dir.path().join("trace.csv")))
}

fn trace(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("a trace");
    let line = |line: &str| {
        let numbers: Vec<f64> = line.split(',').map(|x| x.parse().expect("a number")).collect();
        assert_eq!(numbers.len(), 7, "{line}");
        Line { seconds: numbers[0], lag_s: numbers[1], drift_ppm: numbers[2], latency_s: numbers[6] }
    };
    text.lines().filter(|l| !l.starts_with('#')).map(line).collect()
}

/// Power of `signal` against what of it is not in `merged`, dB, after the best gain.
fn gain_over_noise_db(clean: &[f32], merged: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let gain = dot(clean, merged) / dot(clean, clean);
    let rest: f64 = clean.iter().zip(merged).map(|(c, m)| (f64::from(*m) - gain * f64::from(*c)).powi(2)).sum();
    10.0 * (gain * gain * dot(clean, clean) / rest).log10()
}

#[test]
fn live_locks_within_two_seconds_and_follows_80_ppm_within_50_us() {
    let pair = Pair::speech(RATE_HZ, 25.0, 80.0, 0.06);
    let (out, lines) = merged(&pair, &["--live"]);
    assert_eq!(out.len(), pair.a.len());
    let latency_s = lines[0].latency_s;
    assert!((0.06..0.13).contains(&latency_s), "latency {latency_s} s for a lag of 60 ms");
    assert!(lines[0].seconds + latency_s < 2.0, "first lock at {} s", lines[0].seconds);
    for line in lines.iter().filter(|l| l.seconds > 5.0 && l.seconds < 24.0) {
        let error_us = (line.lag_s - pair.true_lag_s(line.seconds)) * 1e6;
        assert!(error_us.abs() < 50.0, "at {} s: {error_us} us", line.seconds);
        assert!((line.drift_ppm - 80.0).abs() < 10.0, "at {} s: {} ppm", line.seconds, line.drift_ppm);
    }
    let gaps = lines.windows(2).map(|w| w[1].seconds - w[0].seconds).fold(0.0, f64::max);
    assert!(gaps < 0.02, "a gap of {gaps} s in the trace");
}

#[test]
fn looking_ahead_merges_the_sound_before_the_first_lock_too() {
    for delay_b_s in [0.06, -0.2] {
        let pair = Pair::speech(RATE_HZ, 20.0, 80.0, delay_b_s);
        let (out, lines) = merged(&pair, &[]);
        assert!(lines[0].seconds < 0.02, "first line at {} s", lines[0].seconds);
        for line in lines.iter().filter(|l| l.seconds < 19.0) {
            let error_us = (line.lag_s - pair.true_lag_s(line.seconds)) * 1e6;
            assert!(error_us.abs() < 50.0, "lag {delay_b_s} s, at {} s: {error_us} us", line.seconds);
        }
        // B misses the first 0.2 s of the sound where it is early. Behind that the merge is no worse than A at once, and
        // better when the filter has had a second to learn.
        let clean = pair.clean_a();
        for (part, least_db) in [(4_000..24_000, 0.0), (24_000..80_000, 1.5)] {
            let gain = gain_over_noise_db(&clean[part.clone()], &out[part.clone()])
                - gain_over_noise_db(&clean[part.clone()], &pair.a[part.clone()]);
            println!("lag {delay_b_s} s, frames {part:?}: {gain:.2} dB gained");
            assert!(gain > least_db, "lag {delay_b_s} s, frames {part:?}: {gain} dB gained");
        }
    }
}

#[test]
fn a_lag_that_wanders_over_the_latency_is_held_by_trimming_and_the_trace_stays_true() {
    // 900 ppm move the lag by 36 ms in 40 s: more than the 30 ms that the latency has to spare.
    let pair = Pair::speech(RATE_HZ, 40.0, 900.0, 0.01);
    let (_, lines) = merged(&pair, &["--live"]);
    let late: Vec<_> = lines.iter().filter(|l| l.seconds > 15.0 && l.seconds < 39.0).collect();
    let right = late.iter().filter(|l| (l.lag_s - pair.true_lag_s(l.seconds)).abs() < 100e-6).count();
    assert!(right * 100 >= late.len() * 95, "{right} of {} lines within 100 us", late.len());
}

#[test]
fn a_third_microphone_adds_to_the_merge_of_two() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ab, ac) = (Pair::speech(RATE_HZ, 20.0, 80.0, 0.05), Pair::speech(RATE_HZ, 20.0, -60.0, 0.03));
    // Both pairs share sound and A; C needs noise of its own, which B's of the other scene, read backwards, is not.
    let own = driftmerge::rig::scene::noise(99, 23.0, f64::from(RATE_HZ), 0.01);
    let c: Vec<f32> = ac.b.iter().zip(0..).map(|(x, n)| x + own.at(f64::from(n))).collect();
    for (name, channel) in [("a", &ab.a), ("b", &ab.b), ("c", &c)] {
        write(&dir.path().join(format!("{name}.wav")), RATE_HZ, 32, true, &[channel]);
    }
    let clean = ab.clean_a();
    let mut snr_db = Vec::new();
    for inputs in [&["a.wav", "b.wav"][..], &["a.wav", "b.wav", "c.wav"]] {
        let output = merge(dir.path(), &[inputs, &["-o", "out.wav", "--trace", "trace.csv"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = read(&dir.path().join("out.wav"));
        assert_eq!(out.len(), ab.a.len());
        let trace = std::fs::read_to_string(dir.path().join("trace.csv")).expect("a trace");
        for line in trace.lines().skip(1) {
            let numbers: Vec<f64> = line.split(',').map(|x| x.parse().expect("a number")).collect();
            assert_eq!(numbers.len(), 7 + 5 * (inputs.len() - 2), "{line}");
            for (pair, lag_s) in [(&ab, numbers.get(1)), (&ac, numbers.get(7))] {
                let error_us = lag_s.map_or(0.0, |lag_s| (lag_s - pair.true_lag_s(numbers[0])) * 1e6);
                assert!(error_us.abs() < 50.0 || numbers[0] > 19.0, "{error_us} us in {line}");
            }
        }
        snr_db.push(gain_over_noise_db(&clean[80_000..300_000], &out[80_000..300_000]));
    }
    let two = snr_db[0] - gain_over_noise_db(&clean[80_000..300_000], &ab.a[80_000..300_000]);
    println!("two microphones gain {two:.2} dB, a third one {:.2} dB more", snr_db[1] - snr_db[0]);
    assert!(two > 1.7, "two microphones gain {two} dB");
    // C is noisier than A and B: it adds little, and must not take from what they have.
    assert!(snr_db[1] > snr_db[0], "the third one changed {} dB into {} dB", snr_db[0], snr_db[1]);
}

#[test]
fn live_gives_what_the_engine_gives_sample_for_sample() {
    use driftmerge_dsp::{Controls, Engine};
    // A drift so small that nothing is trimmed.
    let pair = Pair::speech(RATE_HZ, 10.0, 20.0, 0.02);
    let (out, _) = merged(&pair, &["--live", "--latency", "70"]);
    let controls = Controls { delay_ms: 70.0, ..Controls::default() };
    let mut engine = Engine::new(f64::from(RATE_HZ), 2, &controls).expect("an engine");
    let latency = engine.latency_frames() as usize;
    let (mut a, mut b) = (pair.a.clone(), pair.b.clone());
    a.resize(a.len() + latency, 0.0);
    b.resize(a.len(), 0.0);
    let mut direct = vec![0.0; a.len()];
    engine.process(&[&a, &b], &mut direct);
    let first = out.iter().zip(&direct[latency..]).position(|(x, y)| x.to_bits() != y.to_bits());
    assert_eq!(first, None, "first frame that differs");
}

#[test]
fn unrelated_sounds_leave_a_as_it_is() {
    let dir: TempDir = tempfile::tempdir().expect("a folder");
    let pair = Pair::speech(RATE_HZ, 10.0, 0.0, 0.0);
    let backwards: Vec<f32> = pair.b.iter().rev().copied().collect();
    write(&dir.path().join("in.wav"), RATE_HZ, 32, true, &[&pair.a, &backwards]);
    for live in [&["--live"][..], &[]] {
        let output = merge(dir.path(), &[&["in.wav", "-o", "out.wav"], live].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let gain = gain_over_noise_db(&pair.a, &read(&dir.path().join("out.wav")));
        assert!(gain > 60.0, "{live:?}: the output is A to within -{gain} dB");
    }
}
