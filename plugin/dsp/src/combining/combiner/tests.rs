//! What the mixer does with sound whose parts are known.

use super::*;

const RATE: f64 = 16_000.0;

/// Noise of variance 1, a different one for every seed.
struct Noise(u64);
impl Noise {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..3 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
        sum
    }
    fn take(&mut self, n: usize, level: f32) -> Vec<f32> {
        (0..n).map(|_| level * self.next()).collect()
    }
}

/// Low-pass noise in bursts of 0.5 s with pauses of 0.25 s, like syllables and words.
fn talk(n: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let mut y = 0.0;
    (0..n)
        .map(|i| {
            y += 0.2 * (noise.next() - y);
            let beat = (i as f64 / RATE) % 0.75;
            if beat < 0.5 { y * (0.6 - 0.4 * (i as f64 / RATE * 40.0).cos() as f32) } else { 0.0 }
        })
        .collect()
}

fn add(x: &[f32], gain: f32, y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| gain * x + y).collect()
}

fn feed() -> MixFeed {
    MixFeed { aligned: true, mode: Mode::Weighted, enabled: true, correlation: 0.9, voice: Voice::default() }
}

/// The output, with the latency taken out.
fn run(a: &[f32], b: &[f32], feed: MixFeed) -> Vec<f32> {
    let mut mixer = Mixer::new(RATE);
    let mut out = vec![0.0; a.len()];
    mixer.process(a, b, &mut out, feed);
    let late = mixer.latency_frames();
    let mut rest = vec![0.0; late];
    let silence = rest.clone();
    mixer.process(&silence, &silence, &mut rest, feed);
    out.drain(..late);
    out.extend(rest);
    out
}

/// Speech-to-noise ratio of `y` against the clean `s`, dB, free of `y`'s gain.
fn snr_db(s: &[f32], y: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let wanted = dot(s, y) * dot(s, y) / dot(s, s);
    10.0 * (wanted / (dot(y, y) - wanted).max(1e-9 * wanted)).log10()
}

fn seconds(s: f64) -> usize {
    (s * RATE) as usize
}

#[test]
fn two_equal_microphones_gain_3_db() {
    let n = seconds(12.0);
    let s = talk(n, 1);
    let a = add(&s, 1.0, &Noise(2).take(n, 0.05));
    let b = add(&s, 1.0, &Noise(3).take(n, 0.05));
    let out = run(&a, &b, feed());
    let late = seconds(4.0)..n;
    let gain = snr_db(&s[late.clone()], &out[late.clone()]) - snr_db(&s[late.clone()], &a[late]);
    assert!((2.8..3.3).contains(&gain), "gain {gain} dB");
}

#[test]
fn a_frame_hardly_filled_beside_a_gap_does_not_decide_the_weights() {
    // B starts with the last sample of a frame, or its sound breaks off after the first one of a frame.
    let frame = seconds(FRAME_S);
    for gap in [0..31 * frame - 1, 200 * frame + 1..250 * frame] {
        let n = seconds(6.0);
        let s = talk(n, 1);
        let a = add(&s, 1.0, &Noise(2).take(n, 0.05));
        let mut b = add(&s, 1.0, &Noise(3).take(n, 0.05));
        b[gap.clone()].fill(0.0);
        // Where the edge lies between two frames of analysis, an interpolator leaves its tail alone in one.
        for edge in [gap.start.saturating_sub(1), gap.end] {
            b[edge] *= 0.01;
        }
        let mut mixer = Mixer::new(RATE);
        let mut out = vec![0.0; n];
        for (k, (a, b)) in a.chunks(frame).zip(b.chunks(frame)).enumerate() {
            mixer.process(a, b, &mut out[k * frame..][..frame], feed());
            let (weight, now_s) = (mixer.weight_of_b(), k as f64 * FRAME_S);
            let late = now_s > 1.2 && !(1.9..2.6).contains(&now_s);
            assert!(!late || (0.35..0.65).contains(&weight), "gap {gap:?}: {weight} at {now_s} s");
        }
    }
}

#[test]
fn a_microphone_35_db_worse_costs_less_than_a_tenth_of_a_decibel() {
    let n = seconds(12.0);
    let s = talk(n, 1);
    let good = add(&s, 1.0, &Noise(2).take(n, 0.02));
    let bad = add(&s, 1.0, &Noise(3).take(n, 1.1));
    let late = seconds(4.0)..n;
    let alone = snr_db(&s[late.clone()], &good[late.clone()]);
    for (a, b) in [(&good, &bad), (&bad, &good)] {
        let out = run(a, b, feed());
        let loss = alone - snr_db(&s[late.clone()], &out[late.clone()]);
        assert!(loss < 0.1, "loss {loss} dB");
    }
}

#[test]
fn an_unrelated_b_stays_60_db_under_a() {
    let n = seconds(20.0);
    for noise in [0.02, 0.0] {
        let a = add(&talk(n, 1), 1.0, &Noise(2).take(n, noise));
        let b = add(&talk(n, 9)[1000..], 4.0, &Noise(3).take(n, 0.002));
        let out = run(&a[..b.len()], &b, MixFeed { aligned: false, ..feed() });
        assert_eq!(out, a[..b.len()]);
    }
}

#[test]
fn a_microphone_that_only_hums_is_left_for_the_one_that_hears_speech() {
    let n = seconds(14.0);
    let a: Vec<f32> = (0..n).map(|i| (0.05 * (i as f64 / RATE * 50.0 * std::f64::consts::TAU).sin()) as f32).collect();
    let b = add(&talk(n, 1), 1.0, &Noise(3).take(n, 0.01));
    let out = run(&a, &b, MixFeed { aligned: false, ..feed() });
    let late = seconds(12.0)..n;
    let db = snr_db(&b[late.clone()], &out[late]);
    assert!(db > 60.0, "{db} dB");
}

#[test]
fn a_microphone_turned_down_by_25_db_is_not_dead_for_long() {
    let n = seconds(12.0);
    let s = talk(n, 1);
    let mut ear = Ear::default();
    let frame = seconds(FRAME_S);
    let mut alive_again = None;
    for (k, x) in add(&s, 1.0, &Noise(2).take(n, 0.02)).chunks(frame).enumerate() {
        let gain = if k < 800 { 1.0 } else { 0.056 };
        ear.hear(x.iter().map(|x| f64::from(gain * x * gain * x)).sum::<f64>() / frame as f64);
        if k >= 800 && !ear.is_dead() && ear.is_speaking() {
            alive_again = alive_again.or(Some(k));
        }
    }
    assert!(alive_again.is_some_and(|k| k < 1000), "{alive_again:?}");
}

#[test]
fn where_a_is_dead_b_plays_within_40_ms() {
    let n = seconds(8.0);
    let s = talk(n, 1);
    let died = seconds(6.1);
    for (level_of_dead, limit_s) in [(0.0, 0.025), (1e-5, 0.055)] {
        let mut a = add(&s, 1.0, &Noise(2).take(n, 0.02));
        let b = add(&s, 1.0, &Noise(3).take(n, 0.02));
        let rest = Noise(4).take(n - died, level_of_dead);
        a[died..].copy_from_slice(&rest);
        let out = run(&a, &b, feed());
        let from = died + seconds(limit_s);
        let db = snr_db(&b[from..from + seconds(0.1)], &out[from..from + seconds(0.1)]);
        assert!(db > 40.0, "B is there with {db} dB");
    }
}

#[test]
fn a_change_of_mode_or_switch_makes_no_step() {
    let n = seconds(4.0);
    let tone = |phase: f64, level: f64| -> Vec<f32> {
        (0..n).map(|i| (level * (i as f64 / RATE * 300.0 * std::f64::consts::TAU + phase).sin()) as f32).collect()
    };
    let (a, b) = (tone(0.0, 0.5), tone(2.0, 0.3));
    let mut mixer = Mixer::new(RATE);
    let mut out = vec![0.0; n];
    let feeds = [
        feed(),
        MixFeed { mode: Mode::Average, ..feed() },
        MixFeed { mode: Mode::OnlyB, ..feed() },
        MixFeed { enabled: false, ..feed() },
        MixFeed { mode: Mode::Banded, ..feed() },
        MixFeed { aligned: false, ..feed() },
        MixFeed { mode: Mode::OnlyA, ..feed() },
    ];
    for (k, p) in (0..n).step_by(1237).enumerate() {
        let q = (p + 1237).min(n);
        mixer.process(&a[p..q], &b[p..q], &mut out[p..q], feeds[k % feeds.len()]);
    }
    // The second difference of a 300 Hz tone at 16 kHz is 0.0139 of its amplitude; a ramp of 10 ms adds little.
    let worst =
        out[mixer.latency_frames() + 1..].windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max);
    assert!(worst < 0.015, "second difference {worst}");
}

#[test]
fn the_output_does_not_depend_on_the_split() {
    let n = seconds(3.0);
    let s = talk(n, 1);
    let a = add(&s, 1.0, &Noise(2).take(n, 0.05));
    let b = add(&s, 0.7, &Noise(3).take(n, 0.1));
    for mode in [Mode::Weighted, Mode::Banded] {
        let feed = MixFeed { mode, ..feed() };
        let mut whole = vec![0.0; n];
        Mixer::new(RATE).process(&a, &b, &mut whole, feed);
        let mut mixer = Mixer::new(RATE);
        let mut out = vec![0.0; n];
        let (mut p, mut step) = (0, 1);
        while p < n {
            let q = (p + step).min(n);
            mixer.process(&a[p..q], &b[p..q], &mut out[p..q], feed);
            (p, step) = (q, (step * 7 + 3) % 501);
        }
        assert_eq!(whole, out, "{mode:?}");
    }
}

#[test]
fn by_band_each_microphone_is_used_where_it_is_the_quiet_one() {
    let n = seconds(16.0);
    let s = talk(n, 1);
    let low = |seed: u64| -> Vec<f32> {
        let (mut y, mut z) = (0.0, 0.0);
        let pass = |x: f32| {
            y += 0.1 * (x - y);
            z += 0.1 * (y - z);
            z
        };
        Noise(seed).take(n, 0.5).into_iter().map(pass).collect()
    };
    let high: Vec<f32> = Noise(3).take(n, 0.1).windows(2).map(|w| w[1] - w[0]).chain([0.0]).collect();
    let a = add(&s, 1.0, &low(2));
    let b = add(&s, 1.0, &high);
    let late = seconds(6.0)..n;
    let snr = |mode| {
        let out = run(&a, &b, MixFeed { mode, ..feed() });
        snr_db(&s[late.clone()], &out[late.clone()])
    };
    let (broad, banded) = (snr(Mode::Weighted), snr(Mode::Banded));
    assert!(banded > broad + 3.0, "by band {banded} dB, broadband {broad} dB");
}

#[test]
fn a_near_microphone_counts_more_than_one_that_hears_the_room() {
    // Both are equally loud, but three quarters of what A hears is the room: noise that dies away over 0.3 s.
    let n = seconds(16.0);
    let s = talk(n, 1);
    let decay = 10_f32.powf(-3.0 / (0.3 * RATE as f32));
    let mut noise = Noise(5);
    let answer: Vec<f32> = (0..seconds(0.2)).map(|i| noise.next() * decay.powi(i as i32)).collect();
    let mut room = vec![0.0; n];
    for (i, &x) in s.iter().enumerate().filter(|(_, x)| **x != 0.0) {
        for (r, h) in room[(i + 80).min(n)..].iter_mut().zip(&answer) {
            *r += x * h;
        }
    }
    let power = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
    let scale = (3.0 * power(&s) / power(&room)).sqrt();
    let a = add(&add(&room, scale, &s), 0.5, &Noise(2).take(n, 0.005));
    let b = add(&s, 1.0, &Noise(3).take(n, 0.04));
    let late = seconds(6.0)..n;
    let out = run(&a, &b, feed());
    let (merged, alone) = (snr_db(&s[late.clone()], &out[late.clone()]), snr_db(&s[late.clone()], &b[late]));
    assert!(merged > alone - 0.5, "merged {merged} dB, B alone {alone} dB");
}

#[test]
fn restored_levels_count_at_once() {
    let n = seconds(0.5);
    let s = talk(n, 1);
    let a = add(&s, 1.0, &Noise(2).take(n, 0.02));
    let b = add(&s, 1.0, &Noise(3).take(n, 0.2));
    let mut mixer = Mixer::new(RATE);
    mixer.restore(&Levels { level_ratio: 1.0, noise_ratio: 100.0 });
    let mut out = vec![0.0; n];
    mixer.process(&a, &b, &mut out, feed());
    assert!(mixer.weight_of_b() < 0.05, "{}", mixer.weight_of_b());
}
