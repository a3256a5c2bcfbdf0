//! Frames in, frames out: splits, trims, bad samples, delays; and nothing that a real-time thread must not do.

mod common;
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::{Scene, difference_db, percentile, run, trimmed};
use driftmerge_dsp::{Controls, Engine, Mode, State};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn every_split_into_blocks_gives_the_same_bits(blocks in proptest::collection::vec(0usize..3000, 1..40), rate in 0usize..3) {
        let scene = Scene { rate_hz: [8000.0, 16_000.0, 44_100.0][rate], seconds: 3.0, ..Scene::default() };
        let (a, b) = scene.record();
        let mut whole = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
        let want = run(&mut whole, &a, &b, a.len(), |_, _| {});
        let mut split = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
        let mut got = vec![0.0; a.len()];
        let mut at = 0;
        for n in blocks.iter().chain(std::iter::repeat(&777)) {
            let end = (at + n).min(a.len());
            split.process(&[&a[at..end], &b[at..end]], &mut got[at..end]);
            at = end;
            if at == a.len() {
                break;
            }
        }
        prop_assert_eq!(want, got);
        prop_assert_eq!(whole.status(1), split.status(1));
    }
}

#[test]
fn frames_taken_out_or_put_in_at_the_latest_lag_that_can_be_read_give_the_same_bits_for_every_split() {
    let scene = Scene { seconds: 5.0, ..Scene::default() };
    let (a, b) = scene.record();
    let merged = |block: usize| {
        // 37 ms of lag, what the combiner holds back, half the taps and the guard: nothing is left.
        let controls = Controls { delay_ms: 72.5, ..Controls::default() };
        let mut e = Engine::new(scene.rate_hz, 2, &controls).unwrap();
        let (mut out, mut trim) = (vec![0.0; a.len()], 0);
        let pieces = a.chunks(1000).zip(b.chunks(1000)).zip(out.chunks_mut(1000));
        for (k, ((a, b), out)) in pieces.enumerate() {
            if k == 48 {
                assert_eq!(e.status(1).state, State::Locked);
                assert!(!e.status(1).delay_too_small);
            }
            trim += if k < 48 { 0 } else { [-300, 3, 297, -40, 1, 39, 5000, -5000][k % 8] };
            e.set_controls(&trimmed(controls, trim));
            for ((a, b), out) in a.chunks(block).zip(b.chunks(block)).zip(out.chunks_mut(block)) {
                e.process(&[a, b], out);
            }
        }
        out
    };
    let want = merged(1);
    for block in [7, 64, 1000] {
        assert!(merged(block) == want, "blocks of {block}");
    }
}

#[test]
fn minutes_of_sound_with_changes_jumps_and_a_lost_microphone_allocate_nothing() {
    let scene = Scene { seconds: 60.0, ..Scene::default() };
    let (a, mut b) = scene.record();
    b.copy_within(300_000..900_000, 300_400);
    b[500_000..600_000].fill(0.0);
    for rate_hz in [8000.0, 16_000.0, 48_000.0] {
        let mut e = Engine::new(rate_hz, 2, &Controls::default()).unwrap();
        let mut out = vec![0.0; 512];
        let mut meters = 0.0;
        for (k, (a, b)) in a.chunks(512).zip(b.chunks(512)).enumerate() {
            let mut controls = Controls::default();
            if k % 100 == 50 {
                controls.mode =
                    [Mode::Average, Mode::Merge, Mode::Dereverberate, Mode::OnlyA, Mode::OnlyB][k / 100 % 5];
                controls.delay_ms = 20.0 + (k % 7) as f32 * 100.0;
                controls.lag_limit_ms = 100.0 + (k % 9) as f32 * 100.0;
                controls.half_life_s = 1.0 + (k % 50) as f32;
                controls.enabled = k % 200 != 50;
                controls.reset = k % 700 == 650;
                controls.hold = k % 900 == 850;
                controls.post_filter = k % 300 != 50;
            }
            controls.lag_trim_frames[0] = (k / 40) as i32 * if k > 900 { -3 } else { 1 };
            let known = assert_no_alloc(|| {
                e.set_controls(&controls);
                e.process(&[a, b], &mut out[..a.len()]);
                meters += e.status(1).meters()[0];
                e.snapshot(1)
            });
            if let Some(s) = known.filter(|_| k % 500 == 400) {
                assert_no_alloc(|| e.restore(1, &s)).unwrap();
            }
        }
        assert!(meters.is_finite());
    }
}

#[test]
fn frames_taken_out_of_b_or_put_in_move_the_lag_by_exactly_that() {
    for step in [1i64, -1] {
        let scene = Scene { seconds: 12.0, drift_ppm: 150.0 * step as f64, ..Scene::default() };
        let (a, b) = scene.record();
        let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
        let (mut taken, mut at, mut trim) = (0i64, 0usize, 0i64);
        let mut errors_us = Vec::new();
        let mut out = [0.0f32; 64];
        for (k, a) in a.chunks_exact(64).enumerate() {
            // A frame every 0.4 s, as a host would do at this drift.
            if k % 104 == 103 {
                trim += step;
            }
            let mut block = Vec::with_capacity(64);
            if trim > taken {
                at += 1;
                taken += 1;
            } else if trim < taken {
                block.push(0.5);
                taken -= 1;
            }
            while block.len() < 64 {
                block.push(b.get(at).copied().unwrap_or(0.0));
                at += 1;
            }
            e.set_controls(&trimmed(Controls::default(), trim as i32));
            e.process(&[a, &block], &mut out);
            let (s, t_s) = (e.status(1), (k + 1) as f64 * 0.004);
            if t_s > 5.0 && t_s < 11.0 {
                assert_ne!(s.state, State::Searching);
                let want_ms = scene.lag_ms_at(t_s - 0.1) - trim as f64 / 16.0;
                errors_us.push((s.applied_lag_ms - want_ms) * 1e3);
            }
        }
        assert!(percentile(&errors_us, 1.0) < 20.0, "step {step}: {} us", percentile(&errors_us, 1.0));
    }
}

#[test]
fn nan_infinity_and_what_no_sound_can_be_count_as_silence_and_leave_no_trace() {
    let scene = Scene { seconds: 4.0, ..Scene::default() };
    let (a, b) = scene.record();
    let (mut bad_a, mut bad_b, mut mute_a, mut mute_b) = (a.clone(), b.clone(), a, b);
    for i in (1000..60_000).step_by(997) {
        (bad_a[i], bad_b[i + 5], bad_a[i + 9], bad_b[i + 11]) = (f32::NAN, f32::NEG_INFINITY, 1e30, -f32::MAX);
        (mute_a[i], mute_b[i + 5], mute_a[i + 9], mute_b[i + 11]) = (0.0, 0.0, 0.0, 0.0);
    }
    let engine = || Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    let got = run(&mut engine(), &bad_a, &bad_b, 100, |_, _| {});
    assert_eq!(got, run(&mut engine(), &mute_a, &mute_b, 100, |_, _| {}));
}

#[test]
fn the_output_is_as_late_as_the_latency_says() {
    for delay_ms in [5.0, 100.0, 1000.0] {
        let c = Controls { delay_ms, mode: Mode::OnlyA, ..Controls::default() };
        let mut e = Engine::new(48_000.0, 2, &c).unwrap();
        // The combiner takes a frame of 32 ms, inside of the delay.
        assert_eq!(e.latency_frames(), (f64::from(delay_ms.max(32.0)) * 48.0) as u32);
        let mut a = vec![0.0; 60_000];
        a[3000] = 0.5;
        let out = run(&mut e, &a, &vec![0.0; 60_000], 480, |_, _| {});
        let at = (0..out.len()).max_by(|&i, &j| out[i].abs().total_cmp(&out[j].abs())).unwrap();
        assert_eq!(at, 3000 + e.latency_frames() as usize, "{delay_ms} ms");
    }
}

#[test]
fn a_lag_beyond_the_delay_plays_a_alone_and_says_so() {
    let scene = Scene { lag_ms: 200.0, ..Scene::default() };
    let (a, b) = scene.record();
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    let out = run(&mut e, &a, &b, 160, |_, _| {});
    assert!(e.status(1).delay_too_small);
    let d = e.latency_frames() as usize;
    let error_db = difference_db(&out[d..], &a[..a.len() - d]);
    assert!(error_db < -100.0, "{error_db} dB");
}

#[test]
fn rates_outside_of_8_to_192_khz_are_refused() {
    for rate_hz in [0.0, 7999.0, 192_001.0, f64::NAN, f64::INFINITY] {
        assert!(Engine::new(rate_hz, 2, &Controls::default()).is_err(), "{rate_hz}");
    }
}

#[test]
fn fewer_than_two_or_more_than_eight_microphones_are_refused() {
    for microphones in [0, 1, 9, usize::MAX] {
        assert!(Engine::new(48_000.0, microphones, &Controls::default()).is_err(), "{microphones}");
    }
    for microphones in 2..=8 {
        let e = Engine::new(48_000.0, microphones, &Controls::default()).unwrap();
        assert_eq!(e.microphones(), microphones);
    }
}

#[test]
fn slices_of_different_lengths_count_to_the_shortest() {
    let mut e = Engine::new(16_000.0, 2, &Controls::default()).unwrap();
    let mut out = [9.0; 10];
    e.process(&[&[0.0; 4], &[0.0; 7]], &mut out);
    assert_eq!(out[4..], [9.0; 6]);
}
