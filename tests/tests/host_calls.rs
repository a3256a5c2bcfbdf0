//! What a host may do to the plugin through its C functions, and that the sound is the engine's own all the same.

use driftmerge_dsp::params::{CONTROLS, METERS};
use driftmerge_dsp::{Controls, Engine};
use driftmerge_plugin::guard::FlushDenormals;
use driftmerge_plugin::layout::{ALIGN, MERGE, MERGE4, Sound};
use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::hosts::assert_same;
use driftmerge_tests::two_clocks::{Pair, difference_db};

fn locked(driver: &Driver) -> bool {
    driver.meter("state") >= 1.0 && (driver.meter("lag") - 30.0).abs() < 1.0
}

/// What the engine gives where it aligns and does not mix.
fn aligned(pair: &Pair) -> [Vec<f32>; 2] {
    let _flush = FlushDenormals::new();
    let mut engine = Engine::new(f64::from(pair.rate_hz), 2, &Controls::default()).expect("the rate is good");
    let mut outs = [vec![0.0; pair.a.len()], vec![0.0; pair.a.len()]];
    engine.process_apart(&[&pair.a, &pair.b], &mut outs.each_mut().map(Vec::as_mut_slice));
    outs
}

/// What the engine gives on each output of a plugin that hears a pair.
fn expected(entry: Entry, pair: &Pair) -> Vec<Vec<f32>> {
    match entry.layout().sound {
        Sound::Merged => vec![pair.merged(&Controls::default()).0; entry.outs()],
        Sound::Apart => aligned(pair).into(),
    }
}

#[test]
fn the_output_is_the_engines_for_every_block_size() {
    let pair = Pair::short();
    let (_, status) = pair.merged(&Controls::default());
    for entry in Entry::PAIRS {
        let expected = expected(entry, &pair);
        for blocks in [&[64][..], &[1], &[0, 1, 7, 64, 83, 690, 8056]] {
            let mut driver = Driver::ready(entry, pair.rate_hz);
            for (out, expected) in driver.process(&pair.a, &pair.b, blocks).iter().zip(&expected) {
                assert_same(out, expected);
            }
            if Entry::MERGES.contains(&entry) {
                assert_eq!(driver.meters(), &status.meters()[..], "{entry:?} {blocks:?}");
            }
            assert!(locked(&driver), "the sound is one that locks: {:?}", driver.meters());
        }
    }
}

#[test]
fn an_output_may_be_the_memory_of_either_input() {
    let pair = Pair::short();
    for (entry, inputs) in [
        (Entry::Lv2, &[0][..]),
        (Entry::Lv2, &[1]),
        (Entry::Ladspa, &[0]),
        (Entry::LadspaDual, &[0, 1]),
        (Entry::LadspaDual, &[1, 0]),
        (Entry::Lv2Align, &[0, 1]),
        (Entry::Lv2Align, &[1, 0]),
        (Entry::LadspaAlign, &[0, 1]),
        (Entry::LadspaAlign, &[1, 0]),
    ] {
        let mut driver = Driver::ready(entry, pair.rate_hz);
        let outs = driver.process_in_place(&pair.a, &pair.b, inputs, 690);
        for (out, expected) in outs.iter().zip(&expected(entry, &pair)) {
            assert_same(out, expected);
        }
    }
}

#[test]
fn controls_that_are_not_connected_have_their_defaults() {
    let pair = Pair::short();
    let (engine, _) = pair.merged(&Controls::default());
    for entry in Entry::MERGES {
        let mut driver = Driver::new(entry, pair.rate_hz).expect("the rate is good");
        driver.activate();
        for out in driver.process(&pair.a, &pair.b, &[512]) {
            assert_same(&out, &engine);
        }
    }
}

#[test]
fn an_audio_input_that_is_not_connected_is_silence() {
    let pair = Pair::short();
    let silent_b = Pair { b: vec![0.0; pair.b.len()], ..pair.clone() };
    let (engine, _) = silent_b.merged(&Controls::default());
    for entry in Entry::MERGES {
        let mut driver = Driver::ready(entry, pair.rate_hz);
        let mut a = pair.a.clone();
        let mut outs = vec![vec![0.0; a.len()]; entry.outs()];
        driver.connect_audio([a.as_mut_slice()], &mut outs);
        // SAFETY: every connected buffer is as long as A.
        unsafe { driver.run(a.len()) };
        for out in outs {
            assert_same(&out, &engine);
        }
    }
}

#[test]
fn an_output_that_is_not_connected_is_left_out_and_the_lag_is_found_all_the_same() {
    let pair = Pair::short();
    for entry in Entry::MERGES {
        let mut driver = Driver::ready(entry, pair.rate_hz);
        let (mut a, mut b) = (pair.a.clone(), pair.b.clone());
        driver.connect_audio([a.as_mut_slice(), b.as_mut_slice()], &mut []);
        // SAFETY: every connected buffer is as long as A.
        unsafe { driver.run(a.len()) };
        assert!(locked(&driver));
    }
}

#[test]
fn with_nothing_connected_at_all_nothing_happens() {
    for entry in Entry::ALL {
        let mut driver = Driver::new(entry, 48_000).expect("the rate is good");
        driver.activate();
        // SAFETY: no buffer is connected.
        unsafe { driver.run(1000) };
        driver.deactivate();
    }
}

#[test]
fn blocks_of_no_frames_write_the_meters_and_touch_no_sound() {
    for entry in Entry::ALL {
        let mut driver = Driver::ready(entry, 48_000);
        driver.set("delay", 50.0);
        let dangling: *mut f32 = std::ptr::dangling_mut();
        for port in entry.layout().first_out()..entry.layout().count() {
            driver.connect(port, dangling);
        }
        // SAFETY: no frame of the audio ports is asked for.
        unsafe { driver.run(0) };
        assert_eq!(driver.meter("latency"), 2400.0);
    }
}

#[test]
fn the_latency_is_known_when_the_plugin_is_activated() {
    for entry in Entry::ALL {
        let mut driver = Driver::new(entry, 48_000).expect("the rate is good");
        driver.connect_controls();
        driver.set("delay", 250.0);
        driver.activate();
        assert_eq!(driver.meter("latency"), 12_000.0);
    }
}

#[test]
fn what_was_learnt_outlives_deactivate_and_activate() {
    let pair = Pair::short();
    let (engine, _) = pair.merged(&Controls::default());
    let half = pair.a.len() / 2;
    for entry in Entry::MERGES {
        let mut driver = Driver::ready(entry, pair.rate_hz);
        driver.process(&pair.a[..half], &pair.b[..half], &[512]);
        assert!(locked(&driver));
        driver.deactivate();
        driver.activate();
        let rest = driver.process(&pair.a[half..], &pair.b[half..], &[512]);
        assert_same(&rest[0], &engine[half..]);
    }
}

#[test]
fn a_session_that_begins_with_an_old_total_of_trims_is_not_trimmed() {
    let pair = Pair::short();
    let (engine, _) = pair.merged(&Controls::default());
    for entry in Entry::MERGES {
        let mut driver = Driver::new(entry, pair.rate_hz).expect("the rate is good");
        driver.connect_controls();
        driver.activate();
        driver.set("lag_trim", -5000.0);
        let outs = driver.process(&pair.a, &pair.b, &[512]);
        assert_same(&outs[0], &engine);
    }
}

#[test]
fn trims_told_while_running_keep_the_sound_aligned() {
    let pair = Pair::short();
    let half = pair.a.len() / 2;
    // The host takes 40 frames out of B at once.
    let taken = 40;
    for entry in Entry::MERGES {
        let mut driver = Driver::ready(entry, pair.rate_hz);
        driver.process(&pair.a[..half], &pair.b[..half], &[500]);
        let before = driver.meter("lag");
        driver.set("lag_trim", taken as f32);
        driver.process(&pair.a[half..half + 500], &pair.b[half + taken..half + taken + 500], &[500]);
        let moved_ms = driver.meter("lag") - before;
        assert!((moved_ms + taken as f32 / 16.0).abs() < 0.02, "{entry:?}: the lag moved by {moved_ms} ms");
        assert!(driver.meter("state") >= 1.0);
    }
}

#[test]
fn a_rate_that_the_engine_cannot_work_at_makes_no_instance() {
    for entry in Entry::ALL {
        for rate_hz in [0, 4000, 200_000] {
            assert!(Driver::new(entry, rate_hz).is_none(), "{entry:?} at {rate_hz} Hz");
        }
        for rate_hz in [8000, 11_025, 192_000] {
            assert!(Driver::new(entry, rate_hz).is_some(), "{entry:?} at {rate_hz} Hz");
        }
    }
}

#[test]
fn ports_that_do_not_exist_can_be_connected_to_no_harm() {
    for entry in Entry::ALL {
        let mut driver = Driver::ready(entry, 48_000);
        driver.connect(entry.layout().count(), std::ptr::dangling_mut());
        driver.connect(u32::MAX as usize, std::ptr::dangling_mut());
        // SAFETY: no frame of the audio ports is asked for.
        unsafe { driver.run(0) };
    }
    assert_eq!(MERGE.count(), CONTROLS.len() + METERS.len() + 3);
    assert_eq!((MERGE4.count(), ALIGN.count()), (33, 19));
}

#[test]
fn the_left_output_of_align_is_a_and_what_is_right_beside_it_is_less_by_25_db() {
    let pair = Pair::noisy_speech(16_000, 6.0, 0.03, 80.0, 40.0).0;
    let mut driver = Driver::ready(Entry::Lv2Align, pair.rate_hz);
    let outs = driver.process(&pair.a, &pair.b, &[512]);
    let late = driver.meter("latency") as usize;
    assert_eq!(outs[0][late..], pair.a[..pair.a.len() - late]);
    // Two sounds of 1 kHz that are 10 us apart differ by 24 dB less than they are loud.
    let power = |sound: &mut dyn Iterator<Item = f32>| sound.map(|x| f64::from(x * x)).sum::<f64>();
    let last = outs[0].len() / 2..outs[0].len();
    let difference = power(&mut last.clone().map(|i| outs[1][i] - outs[0][i]));
    let below_db = 10.0 * (power(&mut last.map(|i| outs[0][i])) / difference).log10();
    println!("the difference is {below_db:.1} dB below A");
    assert!(below_db > 25.0, "{below_db} dB");
}

#[test]
fn align_bypassed_puts_both_out_as_they_came_in() {
    let pair = Pair::short();
    let mut driver = Driver::ready(Entry::Lv2Align, pair.rate_hz);
    driver.set("enabled", 0.0);
    let outs = driver.process(&pair.a, &pair.b, &[512]);
    let late = driver.meter("latency") as usize;
    for (out, sound) in outs.iter().zip([&pair.a, &pair.b]) {
        let error_db = difference_db(&out[late..], &sound[..sound.len() - late]);
        assert!(error_db < -100.0, "{error_db} dB");
    }
}
