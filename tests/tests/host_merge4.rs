//! The plugin of four microphones, through its C functions: alignment, gain, latency, controls and state.

use driftmerge_dsp::{Controls, Mode, State};
use driftmerge_tests::entry::{Driver, Entry, Features};
use driftmerge_tests::hosts::assert_same;
use driftmerge_tests::two_clocks::{Four, Pair, difference_db, merged};

const BOTH: [Entry; 2] = [Entry::Lv2Merge4, Entry::LadspaMerge4];
const LETTERS: [&str; 3] = ["b", "c", "d"];

/// The lags shown are the true ones, `at_s` being the time of A's newest frame.
fn assert_locked(driver: &Driver, at_s: f64, within_ms: f64) {
    for (other, letter) in LETTERS.iter().enumerate() {
        let lag_ms = f64::from(driver.meter(&format!("lag_{letter}")));
        let error_ms = lag_ms - Four::lag_ms(other, at_s);
        assert!(driver.meter(&format!("state_{letter}")) >= 1.0, "{letter} is locked");
        assert!(error_ms.abs() < within_ms, "{letter}: {lag_ms} ms, {error_ms} beside the truth");
    }
}

#[test]
fn four_microphones_are_merged_by_one_engine_for_every_block_size() {
    let four = Four::speech(5.0, 20.0);
    let all = four.slices(0..four.clean.len());
    for values in [None, Some(0.0), Some(1.0)] {
        let mode = match values {
            None => Mode::Dereverberate,
            Some(0.0) => Mode::Average,
            Some(_) => Mode::Merge,
        };
        let (expected, statuses) = merged(four.rate_hz, &all, &Controls { mode, ..Controls::default() });
        for entry in BOTH {
            for blocks in [&[64][..], &[0, 1, 7, 64, 83, 690, 8056]] {
                let mut driver = Driver::ready(entry, four.rate_hz);
                if let Some(value) = values {
                    driver.set("mode", value);
                }
                let outs = driver.process_all(&all, blocks);
                assert_same(&outs[0], &expected);
                assert_locked(&driver, 5.0, 0.03);
                for (letter, status) in LETTERS.iter().zip(&statuses) {
                    let names = ["lag", "drift", "confidence", "weight", "polarity", "state"];
                    let meters = names.map(|name| driver.meter(&format!("{name}_{letter}")));
                    assert_eq!(meters, status.meters()[..6], "{entry:?} {letter}");
                }
            }
        }
    }
}

#[test]
fn four_equal_microphones_gain_5_db_of_speech_over_noise() {
    let four = Four::speech(20.0, 10.0);
    let mut driver = Driver::ready(Entry::Lv2Merge4, four.rate_hz);
    let out = driver.process_all(&four.slices(0..four.clean.len()), &[512]);
    let from = 12 * four.rate_hz as usize;
    let gain_db = four.snr_db(&out[0], driver.meter("latency") as usize, from) - four.snr_db(&four.sounds[0], 0, from);
    let weights = LETTERS.map(|letter| driver.meter(&format!("weight_{letter}")));
    println!("gain {gain_db:.2} dB; weights {weights:?}");
    assert!(gain_db > 5.0, "{gain_db} dB; {weights:?}");
    assert!(weights.iter().all(|w| (0.15..0.35).contains(w)), "about a quarter each: {weights:?}");
}

#[test]
fn with_two_microphones_connected_it_is_the_plain_merge_as_late_and_as_good() {
    let four = Four::speech(8.0, 10.0);
    let pair = Pair { rate_hz: four.rate_hz, a: four.sounds[0].clone(), b: four.sounds[1].clone() };
    let (plain, status) = pair.merged(&Controls::default());
    let mut driver = Driver::ready(Entry::Lv2Merge4, pair.rate_hz);
    let out = driver.process(&pair.a, &pair.b, &[512]).remove(0);
    let late = status.latency_frames as usize;
    assert_eq!(driver.meter("latency") as usize, late);
    assert_eq!(driver.meter("lag_b"), status.lag_ms as f32);
    assert_eq!((driver.meter("lag_c"), driver.meter("state_d"), driver.meter("weight_d")), (0.0, 0.0, 0.0));
    let [plain_db, four_db] = [&plain, &out].map(|sound| four.snr_db(sound, late, 4 * 16_000));
    println!("two of four {four_db:.2} dB, plain merge {plain_db:.2} dB");
    assert!(four_db > plain_db - 0.3, "two of four {four_db} dB, plain merge {plain_db} dB");
}

#[test]
fn bypassed_or_in_mode_only_a_it_is_microphone_a_later_by_the_latency() {
    let four = Four::speech(3.0, 20.0);
    for (symbol, value) in [("enabled", 0.0), ("mode", 3.0)] {
        for (delay_ms, latency) in [(5.0, 512), (100.0, 1600)] {
            let mut driver = Driver::ready(Entry::Lv2Merge4, four.rate_hz);
            driver.set(symbol, value);
            driver.set("delay", delay_ms);
            let out = driver.process_all(&four.slices(0..four.clean.len()), &[512]).remove(0);
            let late = driver.meter("latency") as usize;
            assert_eq!(late, latency);
            // The delay is changed by a crossfade at the beginning.
            let error_db = difference_db(&out[late + 1600..], &four.sounds[0][1600..out.len() - late]);
            assert!(error_db < -100.0, "{symbol} {delay_ms}: {error_db} dB");
        }
    }
}

#[test]
fn mode_only_b_is_b_aligned_whatever_c_and_d_hear() {
    let four = Four::speech(4.0, 20.0);
    let pair = Pair { rate_hz: four.rate_hz, a: four.sounds[0].clone(), b: four.sounds[1].clone() };
    let (only_b, status) = pair.merged(&Controls { mode: Mode::OnlyB, ..Controls::default() });
    assert_eq!(status.state, State::Locked);
    let mut driver = Driver::ready(Entry::Lv2Merge4, four.rate_hz);
    driver.set("mode", 4.0);
    let out = driver.process_all(&four.slices(0..four.clean.len()), &[512]).remove(0);
    let error_db = difference_db(&out, &only_b);
    assert!(error_db < -100.0, "{error_db} dB");
}

#[test]
fn a_change_of_the_delay_leaves_every_lock_and_lag_as_it_is() {
    let four = Four::speech(7.0, 20.0);
    let rate = four.rate_hz as usize;
    for delay_ms in [95.0, 400.0] {
        let mut driver = Driver::ready(Entry::Lv2Merge4, four.rate_hz);
        driver.process_all(&four.slices(0..5 * rate), &[512]);
        assert_locked(&driver, 5.0, 0.03);
        driver.set("delay", delay_ms);
        for block in 0..20 {
            let start = 5 * rate + block * rate / 10;
            driver.process_all(&four.slices(start..start + rate / 10), &[512]);
            assert_locked(&driver, (start + rate / 10) as f64 / rate as f64, 0.03);
        }
    }
}

#[test]
fn the_state_of_all_three_is_saved_and_locks_the_next_instance_within_0_5_s() {
    let (features, four) = (Features::with_map(), Four::speech(6.0, 20.0));
    let rate = four.rate_hz as usize;
    let made = || {
        let mut driver = Driver::with_features(Entry::Lv2Merge4, four.rate_hz, Some(&features)).expect("a good rate");
        driver.connect_controls();
        driver
    };
    let mut first = made();
    first.activate();
    first.process_all(&four.slices(0..5 * rate), &[512]);
    let (status, saved) = first.save(0);
    assert_eq!((status, saved.len()), (0, 1));
    for delay_ms in [100.0, 200.0] {
        let mut next = made();
        next.set("delay", delay_ms);
        assert_eq!(next.restore(Some(&saved[0])), 0);
        next.activate();
        let end = 5 * rate + rate / 2;
        next.process_all(&four.slices(5 * rate..end), &[512]);
        assert_locked(&next, end as f64 / rate as f64, 0.1);
    }

    // At another rate as well: lags are in seconds.
    let mut next = Driver::with_features(Entry::Lv2Merge4, 48_000, Some(&features)).expect("a good rate");
    next.connect_controls();
    assert_eq!(next.restore(Some(&saved[0])), 0);
    next.activate();
    for (other, letter) in LETTERS.iter().enumerate() {
        let error_ms = f64::from(next.meter(&format!("lag_{letter}"))) - Four::lag_ms(other, 5.0);
        assert!(error_ms.abs() < 0.1, "{letter}: {error_ms} ms beside the truth");
    }

    // What merge saved is about one microphone, and not for this plugin.
    let mut merge = Driver::with_features(Entry::Lv2, four.rate_hz, Some(&features)).expect("a good rate");
    merge.activate();
    merge.process(&four.sounds[0], &four.sounds[1], &[512]);
    let mut next = made();
    assert_eq!(next.restore(Some(&merge.save(0).1[0])), 0);
    assert_eq!(next.save(0), (0, vec![]), "nothing is learnt from it");
    // And the other way round.
    assert_eq!(merge.restore(Some(&saved[0])), 0);
}
