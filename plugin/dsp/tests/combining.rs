//! What the combiner makes of two to eight microphones.

mod common;
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::{Random, Room, Scene, difference_db, run_all};
use driftmerge_dsp::{Controls, Engine, Mode, State};
use std::ops::Range;

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Lags (ms) and drifts (ppm) of B, C, … against A.
const OTHERS: [(f64, f64); 7] =
    [(37.0, 80.0), (-20.0, -60.0), (12.0, 35.0), (5.0, -20.0), (41.0, 10.0), (-33.0, 55.0), (22.0, -75.0)];

fn engine(scene: &Scene, microphones: usize, controls: &Controls) -> Engine {
    Engine::new(scene.rate_hz, microphones, controls).expect("rate and number are in range")
}

fn slices(microphones: &[Vec<f32>]) -> Vec<&[f32]> {
    microphones.iter().map(Vec::as_slice).collect()
}

/// What the merge of `microphones` gains over the best of those that `room` has, in `part` of A, dB.
fn gain_db(room: &Room, scene: &Scene, microphones: &[Vec<f32>], part: &Range<usize>) -> f64 {
    let mut engine = engine(scene, microphones.len(), &Controls::default());
    let out = run_all(&mut engine, &slices(microphones), &[480], |_, _| {});
    let merged = room.snr_db(&out, engine.latency_frames() as usize, part.clone());
    // All microphones have the same noise; only A's is in step with the clean voice.
    merged - room.snr_db(&room.microphones[0], 0, part.clone())
}

/// Of equal noise the most is 3.0, 4.8 and 6.0 dB.
#[test]
fn microphones_of_equal_noise_gain_2_7_4_4_and_5_5_db_in_free_field() {
    let scene = Scene { rate_hz: 48_000.0, seconds: 16.0, ..Scene::default() };
    let part = 7 * 48_000..15 * 48_000;
    for (others, wanted_db) in [(1, 2.7), (2, 4.4), (3, 5.5)] {
        let room = scene.record_all(&OTHERS[..others]);
        let gain_db = gain_db(&room, &scene, &room.microphones, &part);
        println!("{} microphones: {gain_db:.2} dB", others + 1);
        assert!(gain_db >= wanted_db, "{} microphones: {gain_db} dB", others + 1);
    }
}

#[test]
fn four_microphones_give_the_same_bits_for_every_split() {
    let scene = Scene { seconds: 5.0, ..Scene::default() };
    let room = scene.record_all(&OTHERS[..3]);
    for mode in [Mode::Merge, Mode::Dereverberate] {
        let merged = |blocks: &[usize]| {
            let mut engine = engine(&scene, 4, &Controls { mode, ..Controls::default() });
            let out = run_all(&mut engine, &slices(&room.microphones), blocks, |_, _| {});
            (out, [1, 2, 3].map(|microphone| engine.status(microphone)))
        };
        let (want, status) = merged(&[80_000]);
        assert!(status.iter().all(|status| status.state == State::Locked), "{status:?}");
        for blocks in [&[1][..], &[0, 1, 7, 64, 83, 690, 8056], &[256], &[1021, 3]] {
            let (out, at_the_end) = merged(blocks);
            assert!(out == want, "{mode:?}, blocks of {blocks:?}");
            assert_eq!(at_the_end, status, "{mode:?}, blocks of {blocks:?}");
        }
    }
}

#[test]
fn eight_microphones_allocate_nothing() {
    let scene = Scene { seconds: 8.0, ..Scene::default() };
    let room = scene.record_all(&OTHERS);
    let mut engine = engine(&scene, 8, &Controls::default());
    let mut out = vec![0.0; 512];
    for (block, at) in (0..room.clean.len() - 512).step_by(512).enumerate() {
        let pieces: [&[f32]; 8] = std::array::from_fn(|m| &room.microphones[m][at..at + 512]);
        let mut controls = Controls { post_filter: block % 90 > 60, ..Controls::default() };
        controls.mode = [Mode::Merge, Mode::Dereverberate, Mode::Average, Mode::OnlyB][block / 20 % 4];
        controls.delay_ms = 100.0 + 20.0 * (block / 50) as f32;
        controls.lag_trim_frames = std::array::from_fn(|m| (block / 30 * m) as i32);
        controls.reset = block == 200;
        let known = assert_no_alloc(|| {
            engine.set_controls(&controls);
            engine.process(&pieces, &mut out);
            let status: [_; 7] = std::array::from_fn(|m| engine.status(m + 1));
            (engine.snapshot(7), status)
        });
        if let Some(snapshot) = known.0.filter(|_| block == 150) {
            assert_no_alloc(|| engine.restore(7, &snapshot)).expect("it is this engine's");
        }
        assert!(out.iter().all(|x| x.is_finite()), "block {block}");
    }
    let locked = (1..8).filter(|m| engine.status(*m).state == State::Locked).count();
    assert!(locked >= 6, "only {locked} of 7 are locked: the test says little");
}

/// One that is silent from the start, and one that dies after it has had its share.
#[test]
fn a_dead_microphone_of_three_costs_no_more_than_its_share() {
    let scene = Scene { rate_hz: 48_000.0, seconds: 14.0, ..Scene::default() };
    let room = scene.record_all(&OTHERS[..2]);
    let part = 8 * 48_000..13 * 48_000;
    let two_db = gain_db(&room, &scene, &room.microphones[..2], &part);
    for dead_from in [0, 6 * 48_000] {
        for dead in [1, 2] {
            let mut microphones = room.microphones.clone();
            microphones[dead][dead_from..].fill(0.0);
            let gain_db = gain_db(&room, &scene, &microphones, &part);
            println!("microphone {dead} dead from frame {dead_from}: {gain_db:.2} dB, two alone {two_db:.2} dB");
            assert!(gain_db > two_db - 0.3, "microphone {dead}, dead from {dead_from}: {gain_db} dB of {two_db}");
        }
    }
}

/// As after a stall, or a connection that gets worse first (one block in ten of 7 s comes too late and is lost): 4 s of silence,
/// 7 frames of B lost besides, and what was known before goes for restored.
#[test]
fn a_microphone_that_was_away_for_4_s_has_a_fifth_of_the_merge_1_s_after_it_is_back() {
    const BLOCK: usize = 160;
    let scene = Scene { seconds: 24.0, ..Scene::default() };
    let room = scene.record_all(&OTHERS[..1]);
    let [good_until, away_from, back_at, end] = [8, 15, 19, 20].map(|s| s * 16_000 / BLOCK);
    for (away, gets_worse) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut engine = engine(&scene, 2, &Controls::default());
        let (mut known, mut at, mut out) = (None, [0; 2], [0.0; BLOCK]);
        for block in 0..end {
            if block == good_until {
                known = engine.snapshot(1);
            } else if block == back_at {
                at = [block * BLOCK, block * BLOCK + 7];
                engine.restore(1, &known.expect("8 s give a lock")).expect("it is this engine's");
            }
            let late = gets_worse && (good_until..away_from).contains(&block) && block % 10 == 0;
            let silent = late || (away_from..back_at).contains(&block);
            let pieces: [&[f32]; 2] = std::array::from_fn(|m| {
                if silent && m == away { &[0.0; BLOCK][..] } else { &room.microphones[m][at[m]..at[m] + BLOCK] }
            });
            engine.process(&pieces, &mut out);
            at = std::array::from_fn(|m| at[m] + if late && m == away { 0 } else { BLOCK });
        }
        let weight = engine.status(1).weight;
        let share = if away == 0 { 1.0 - weight } else { weight };
        println!("microphone {away}, gets worse: {gets_worse}: {share:.2}");
        assert!(share > 0.2, "microphone {away}: {share}");
    }
}

#[test]
fn bypassed_or_only_a_is_microphone_a_within_100_db_with_any_number_of_microphones() {
    let scene = Scene { seconds: 3.0, ..Scene::default() };
    let room = scene.record_all(&OTHERS[..3]);
    let a = &room.microphones[0];
    for microphones in 2..=4 {
        for controls in [
            Controls { enabled: false, ..Controls::default() },
            Controls { mode: Mode::OnlyA, delay_ms: 5.0, ..Controls::default() },
        ] {
            let mut engine = engine(&scene, microphones, &controls);
            let out = run_all(&mut engine, &slices(&room.microphones[..microphones]), &[512], |_, _| {});
            let late = engine.latency_frames() as usize;
            let error_db = difference_db(&out[late..], &a[..a.len() - late]);
            assert!(error_db < -100.0, "{microphones} microphones: {error_db} dB");
        }
    }
}

#[test]
fn two_to_eight_microphones_at_every_rate_make_numbers_of_whatever_they_hear() {
    let mut random = Random(5);
    let mut noise = || random.next() as f32;
    for rate_hz in [8000.0, 16_000.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0] {
        let frames = (0.3 * rate_hz) as usize;
        for microphones in 2..=8 {
            let each = |sound: &mut dyn FnMut(usize) -> f32| -> Vec<Vec<f32>> {
                (0..microphones).map(|_| (0..frames).map(&mut *sound).collect()).collect()
            };
            let stages = [
                ("silence", each(&mut |_| 0.0)),
                ("noise of full scale", each(&mut |_| noise())),
                ("a constant", each(&mut |_| 1.0)),
                ("infinities", each(&mut |n| [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.5][n % 4])),
                ("silence after all that", each(&mut |_| 0.0)),
            ];
            for mode in [Mode::Merge, Mode::Dereverberate] {
                let controls = Controls { mode, delay_ms: 40.0, ..Controls::default() };
                let mut engine = Engine::new(rate_hz, microphones, &controls).expect("in range");
                for (what, sounds) in &stages {
                    let out = run_all(&mut engine, &slices(sounds), &[480], |_, _| {});
                    let case = format!("{what}, {mode:?}, {microphones} microphones at {rate_hz} Hz");
                    let loudest = out.iter().fold(0.0, |most: f32, x| if x.is_nan() { *x } else { most.max(x.abs()) });
                    assert!(loudest.is_finite() && loudest < 8.0, "{case}: {loudest}");
                    if *what == "silence" {
                        assert_eq!(loudest, 0.0, "{case}");
                    }
                }
            }
        }
    }
}
