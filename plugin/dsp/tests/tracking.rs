//! What the tracker reaches on two clocks, in physical units.

mod common;
use common::{Scene, follow, percentile, run};
use driftmerge_dsp::{Controls, Engine, State};

#[test]
fn every_rate_from_8_to_192_khz_locks_within_2_s_and_stays_within_20_us() {
    for rate_hz in [8000.0, 11_025.0, 16_000.0, 22_050.0, 32_000.0, 44_100.0, 48_000.0, 88_200.0, 96_000.0, 192_000.0] {
        let scene = Scene { rate_hz, seconds: 7.0, ..Scene::default() };
        let (errors_us, locked_s) = follow(&scene, &Controls::default(), 4.0);
        assert!(locked_s.is_some_and(|s| s < 2.0), "{rate_hz} Hz: locked at {locked_s:?}");
        let p95_us = percentile(&errors_us, 0.95);
        assert!(p95_us < 20.0, "{rate_hz} Hz: {p95_us} us");
    }
}

#[test]
fn lags_of_600_ms_either_way_are_found_at_300_ppm() {
    for (lag_ms, drift_ppm) in [(600.0, 300.0), (-600.0, -300.0)] {
        let scene = Scene { lag_ms, drift_ppm, ..Scene::default() };
        let (errors_us, _) = follow(&scene, &Controls { delay_ms: 700.0, ..Controls::default() }, 5.0);
        assert!(!errors_us.is_empty(), "{lag_ms} ms: no lock");
        assert!(percentile(&errors_us, 0.95) < 30.0, "{lag_ms} ms: {} us", percentile(&errors_us, 0.95));
    }
}

#[test]
fn opposite_polarity_is_told_and_put_right() {
    let scene = Scene { level_b: -0.7, ..Scene::default() };
    let (a, b) = scene.record();
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    let out = run(&mut e, &a, &b, 160, |_, _| {});
    assert_eq!(e.status(1).polarity, -1);
    let d = e.latency_frames() as usize;
    let tail = a.len() / 2;
    let power = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
    assert!(power(&out[tail + d..]) > 0.5 * power(&a[tail..a.len() - d]), "A and B cancel");
}

#[test]
fn lock_survives_a_23_ms_jump() {
    let scene = Scene { seconds: 12.0, ..Scene::default() };
    let (a, mut b) = scene.record();
    let (at, shift) = (96_000, 368);
    // To the end: where B is as before, the earlier lag is found again within a third of a second.
    b.copy_within(at..a.len() - shift, at + shift);
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    run(&mut e, &a, &b, 160, |_, _| {});
    let error_us = (e.status(1).lag_ms - scene.lag_ms_at(12.0) - 23.0) * 1e3;
    assert!(error_us.abs() < 20.0, "{error_us} us");
}

#[test]
fn a_jump_of_450_ms_is_followed_to_100_us_within_3_s_of_sound() {
    let scene = Scene { seconds: 10.0, ..Scene::default() };
    let (a, mut b) = scene.record();
    let (at, shift) = (80_000, 7200);
    b.copy_within(at..a.len() - shift, at + shift);
    b[at..at + shift].fill(0.0);
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    let mut found_s = None;
    run(&mut e, &a, &b, 160, |e, done| {
        let t_s = done as f64 / scene.rate_hz;
        let error_us = (e.status(1).lag_ms - scene.lag_ms_at(t_s) - 450.0) * 1e3;
        if e.status(1).state == State::Locked && error_us.abs() < 100.0 && found_s.is_none() {
            found_s = Some(t_s - 5.45);
        }
    });
    println!("{found_s:?} s after B goes on");
    assert!(found_s.is_some_and(|s| s < 3.0), "{found_s:?} s after B goes on");
}

/// Two talkers 8 ms of lag apart take turns for 32 s. The combiner makes good some milliseconds of lag; the tracker must neither lose the
/// lock nor go beyond the two, and its drift must stay that of the clocks.
#[test]
fn talkers_who_take_turns_8_ms_apart_leave_the_lag_between_theirs_and_the_drift_alone() {
    const TURN_S: f64 = 4.0;

    let first = Scene { seconds: 32.0, ..Scene::default() };
    let second = Scene { lag_ms: first.lag_ms + 8.0, ..first };
    let ((a, mut b), (_, b_of_second)) = (first.record(), second.record());
    for (n, b) in b.iter_mut().enumerate() {
        // At each change A is between two sounds of its own: B's turns are cut where it is A's turn plus the lag.
        let turn = ((n as f64 / first.rate_hz - 0.041) / TURN_S) as usize;
        if turn % 2 == 1 {
            *b = b_of_second[n];
        }
    }
    for delay_ms in [100.0, 1000.0] {
        let mut engine = Engine::new(first.rate_hz, 2, &Controls { delay_ms, ..Controls::default() }).unwrap();
        let (mut locked, mut away_ms, mut drift_ppm) = (false, Vec::new(), Vec::new());
        run(&mut engine, &a, &b, 160, |engine, done| {
            let t_s = done as f64 / first.rate_hz - f64::from(delay_ms) * 1e-3;
            let status = engine.status(1);
            assert!(!locked || status.state != State::Searching, "lost at {t_s} s");
            locked |= status.state == State::Locked;
            // The first lock and a change to a talker never heard before are not judged here.
            if t_s > 1.5 * TURN_S {
                let (low, high) = (first.lag_ms_at(t_s), second.lag_ms_at(t_s));
                away_ms.push((low - status.applied_lag_ms).max(status.applied_lag_ms - high).max(0.0));
                drift_ppm.push(status.drift_ppm - first.drift_ppm);
            }
        });
        let (worst_ms, worst_ppm) = (percentile(&away_ms, 1.0), percentile(&drift_ppm, 0.95));
        println!("delay {delay_ms} ms: beyond both by {worst_ms:.2} ms at most, drift off by {worst_ppm:.1} ppm");
        assert!(locked && worst_ms < 2.0, "delay {delay_ms} ms: {worst_ms} ms beyond both");
        assert!(worst_ppm < 10.0, "delay {delay_ms} ms: {worst_ppm} ppm");
    }
}

#[test]
fn a_pause_of_20_minutes_keeps_the_drift() {
    let scene = Scene { seconds: 12.0, ..Scene::default() };
    let (a, b) = scene.record();
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    run(&mut e, &a, &b, 160, |_, _| {});
    let silence = vec![0.0; 16_000];
    let mut out = vec![0.0; 16_000];
    for _ in 0..1200 {
        e.process(&[&silence, &silence], &mut out);
    }
    let s = e.status(1);
    assert_eq!(s.state, State::Holding);
    assert!((s.drift_ppm - 80.0).abs() < 1.0, "{} ppm", s.drift_ppm);
    assert!((s.lag_ms - scene.lag_ms_at(1212.0)).abs() < 1.5, "{} ms", s.lag_ms);
}

#[test]
fn a_right_snapshot_locks_with_the_first_third_of_a_second_of_sound() {
    let scene = Scene { seconds: 6.0, ..Scene::default() };
    let (a, b) = scene.record();
    let mut first = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    run(&mut first, &a, &b, 160, |_, _| {});
    let known = first.snapshot(1).expect("locked");
    let next = Scene { lag_ms: known.lag_s * 1e3, seed: 9, ..scene };
    let (a, b) = next.record();
    let mut second = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    second.restore(1, &known).unwrap();
    let mut locked_s = None;
    run(&mut second, &a, &b, 160, |e, done| {
        if e.status(1).state == State::Locked {
            locked_s.get_or_insert(done as f64 / scene.rate_hz);
        }
    });
    assert!(locked_s.is_some_and(|s| s <= 0.35), "{locked_s:?}");
}

#[test]
fn after_a_break_that_moved_b_by_1_ms_the_old_sound_confirms_nothing_and_the_new_lag_is_right_to_150_us() {
    for seed in 1..6 {
        let scene = Scene { seconds: 12.0, seed, ..Scene::default() };
        let (a, mut b) = scene.record();
        let (at, shift) = (96_000, 16);
        b.copy_within(at..at + 90_000, at + shift);
        let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
        run(&mut e, &a[..at], &b[..at], 160, |_, _| {});
        let known = e.snapshot(1).expect("locked");
        e.restore(1, &known).unwrap();
        let (mut locked_s, mut worst_us) = (None, 0.0f64);
        run(&mut e, &a[at..168_000], &b[at..168_000], 160, |e, done| {
            if e.status(1).state == State::Searching {
                assert!(locked_s.is_none(), "seed {seed}: lost again");
                return;
            }
            let t_s = done as f64 / scene.rate_hz;
            let since_s = t_s - *locked_s.get_or_insert(t_s);
            let error_us = (e.status(1).lag_ms - scene.lag_ms_at(6.0 + t_s) - 1.0) * 1e3;
            let limit_us = 150.0;
            worst_us = if since_s < 0.5 { 0.0 } else { error_us.abs().max(worst_us) };
            assert!(error_us.abs() < limit_us, "seed {seed}: {error_us} us, {since_s} s after the lock");
        });
        println!("seed {seed}: locked at {locked_s:?} s, off by {worst_us:.0} us at most from 0.5 s on");
        assert!(locked_s.is_some_and(|s| s < 1.0), "seed {seed}: {locked_s:?}");
    }
}

#[test]
fn a_snapshot_300_ms_off_is_found_out_as_fast_as_from_nothing() {
    let scene = Scene::default();
    let (a, b) = scene.record();
    let lock_s = |start_ms: Option<f64>| {
        let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
        if let Some(lag_ms) = start_ms {
            let mut s = driftmerge_dsp::Snapshot {
                version: driftmerge_dsp::snapshot::SNAPSHOT_VERSION,
                rate_hz: scene.rate_hz,
                lag_s: lag_ms * 1e-3,
                drift_ppm: 80.0,
                drift_sd_ppm: 1.0,
                polarity: 1,
            };
            s.drift_ppm = 80.0;
            e.restore(1, &s).unwrap();
        }
        let mut locked_s = f64::INFINITY;
        run(&mut e, &a, &b, 160, |e, done| {
            let t_s = done as f64 / scene.rate_hz;
            if e.status(1).state == State::Locked && (e.status(1).lag_ms - scene.lag_ms_at(t_s)).abs() < 1.0 {
                locked_s = locked_s.min(t_s);
            }
        });
        locked_s
    };
    let (fresh_s, wrong_s) = (lock_s(None), lock_s(Some(337.0)));
    assert!(fresh_s < 2.0 && wrong_s <= fresh_s + 0.26, "fresh {fresh_s} s, wrong snapshot {wrong_s} s");
}

#[test]
fn unrelated_sounds_never_lock() {
    for seed in 0..4 {
        let (a, _) = Scene { seed: 100 + seed, seconds: 30.0, ..Scene::default() }.record();
        let (_, b) = Scene { seed: 200 + seed, seconds: 30.0, ..Scene::default() }.record();
        let mut e = Engine::new(16_000.0, 2, &Controls::default()).unwrap();
        let out = run(&mut e, &a, &b, 160, |e, n| assert_eq!(e.status(1).state, State::Searching, "frame {n}"));
        let d = e.latency_frames() as usize;
        let error: f32 = a.iter().zip(&out[d..]).map(|(a, o)| (a - o).powi(2)).sum();
        let power: f32 = a.iter().map(|a| a * a).sum();
        assert!(error < 1e-6 * power, "B is heard: {} dB", 10.0 * (error / power).log10());
    }
}

#[test]
fn hold_keeps_the_lag_on_its_ramp_and_reset_forgets() {
    let scene = Scene { seconds: 10.0, ..Scene::default() };
    let (a, b) = scene.record();
    let mut e = Engine::new(scene.rate_hz, 2, &Controls::default()).unwrap();
    run(&mut e, &a[..96_000], &b[..96_000], 160, |_, _| {});
    e.set_controls(&Controls { hold: true, ..Controls::default() });
    run(&mut e, &a[96_000..], &vec![0.0; 64_000], 160, |_, _| {});
    assert_eq!(e.status(1).state, State::Holding);
    assert!((e.status(1).lag_ms - scene.lag_ms_at(10.0)).abs() < 0.01, "{}", e.status(1).lag_ms);
    e.set_controls(&Controls { reset: true, ..Controls::default() });
    assert_eq!(e.status(1).state, State::Searching);
}
