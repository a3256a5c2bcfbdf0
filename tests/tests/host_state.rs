//! What was learnt, saved and restored as LV2 hosts do it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use driftmerge_dsp::{Controls, Snapshot};
use driftmerge_tests::entry::{Driver, Entry, Features, Property};
use driftmerge_tests::hosts::assert_same;
use driftmerge_tests::two_clocks::Pair;

const POD: u32 = 1;
const PORTABLE: u32 = 2;
const SUCCESS: u32 = 0;
const ERR_NO_FEATURE: u32 = 4;

fn made(features: &Features, rate_hz: u32) -> Driver {
    let mut driver = Driver::with_features(Entry::Lv2, rate_hz, Some(features)).expect("the rate is good");
    driver.connect_controls();
    driver
}

/// An instance that has heard the pair, and what it saves.
fn learnt(features: &Features, pair: &Pair) -> Property {
    let mut driver = made(features, pair.rate_hz);
    driver.activate();
    driver.process(&pair.a, &pair.b, &[512]);
    let (status, mut properties) = driver.save(0);
    assert_eq!((status, properties.len()), (SUCCESS, 1));
    properties.remove(0)
}

fn snapshot(property: &Property) -> Snapshot {
    let text = property.value.strip_suffix(b"\0").expect("an atom:String ends in NUL");
    serde_json::from_slice(text).expect("it is JSON")
}

#[test]
fn the_lag_learnt_is_saved_as_portable_text_whatever_flags_the_host_passes() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let mut driver = made(&features, pair.rate_hz);
    driver.activate();
    driver.process(&pair.a, &pair.b, &[512]);
    for flags in [0, POD, POD | PORTABLE, u32::MAX] {
        let (status, properties) = driver.save(flags);
        assert_eq!((status, properties.len()), (SUCCESS, 1));
        let property = &properties[0];
        assert_eq!(property.key, "urn:driftmerge:snapshot");
        assert_eq!(property.kind, "http://lv2plug.in/ns/ext/atom#String");
        assert_eq!(property.flags, POD | PORTABLE);
        let snapshot = snapshot(property);
        assert!((snapshot.lag_s - 0.0303).abs() < 0.001, "{snapshot:?}");
        assert_eq!(snapshot.rate_hz, 16_000.0);
    }
}

#[test]
fn nothing_learnt_is_nothing_saved() {
    let features = Features::with_map();
    let mut driver = made(&features, 16_000);
    assert_eq!(driver.save(0), (SUCCESS, vec![]));
    driver.activate();
    assert_eq!(driver.save(0), (SUCCESS, vec![]));
}

#[test]
fn an_instance_restored_before_activate_is_locked_within_0_5_s() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let property = learnt(&features, &pair);
    let mut driver = made(&features, pair.rate_hz);
    assert_eq!(driver.restore(Some(&property)), SUCCESS);
    assert_eq!(snapshot(&driver.save(0).1[0]).lag_s, snapshot(&property).lag_s, "what is restored can be saved again");
    driver.activate();
    assert!((driver.meter("lag") - 30.3).abs() < 0.1, "{}", driver.meter("lag"));
    // The last second of the sound, where the lag is still what was saved.
    let last = pair.a.len() - 16_000..pair.a.len() - 8000;
    driver.process(&pair.a[last.clone()], &pair.b[last], &[512]);
    assert!(driver.meter("state") >= 1.0);
}

#[test]
fn a_state_saved_at_another_rate_is_a_first_guess_that_locks_within_0_5_s() {
    let features = Features::with_map();
    for (saved_hz, rate_hz) in [(16_000, 48_000), (48_000, 16_000), (44_100, 48_000)] {
        let [saving, next] = [saved_hz, rate_hz].map(|rate_hz| Pair::speech(rate_hz, 4.0, 0.03, 80.0));
        let property = learnt(&features, &saving);
        let mut driver = made(&features, rate_hz);
        assert_eq!(driver.restore(Some(&property)), SUCCESS);
        let (before, after) = (snapshot(&property), snapshot(&driver.save(0).1[0]));
        assert_eq!((after.lag_s, after.drift_ppm), (before.lag_s, before.drift_ppm), "{saved_hz} to {rate_hz} Hz");
        assert_eq!(after.rate_hz, f64::from(rate_hz), "it is saved again at its own rate");
        driver.activate();
        let part = next.part(3.0, 3.5);
        driver.process(&part.a, &part.b, &[512]);
        assert!(driver.meter("state") >= 1.0, "{saved_hz} to {rate_hz} Hz: {:?}", driver.meters());
        assert!((driver.meter("lag") - 30.3).abs() < 0.1, "{saved_hz} to {rate_hz} Hz: {:?}", driver.meters());
    }
}

#[test]
fn align_is_locked_within_0_5_s_by_its_own_state_and_by_that_of_merge() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let made = |entry| {
        let mut driver = Driver::with_features(entry, pair.rate_hz, Some(&features)).expect("a good rate");
        driver.connect_controls();
        driver
    };
    // The engine is the same, so that either plugin takes what the other has saved.
    for saving in [Entry::Lv2Align, Entry::Lv2] {
        let mut first = made(saving);
        first.activate();
        first.process(&pair.a, &pair.b, &[512]);
        let (status, saved) = first.save(0);
        assert_eq!((status, saved.len()), (0, 1));
        let mut next = made(Entry::Lv2Align);
        next.restore(Some(&saved[0]));
        next.activate();
        let part = pair.part(3.0, 3.5);
        next.process(&part.a, &part.b, &[512]);
        assert!(next.meter("state") >= 1.0, "{:?}", next.meters());
        assert!((next.meter("lag") - 30.3).abs() < 0.1, "{:?}", next.meters());
    }
}

/// As newer filter-chains of PipeWire's hand over what stands in their configuration: text without a type and without a NUL.
#[test]
fn text_without_a_type_is_restored() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let property = learnt(&features, &pair);
    let text = property.value.strip_suffix(b"\0").expect("an atom:String ends in NUL").to_vec();
    let mut driver = made(&features, pair.rate_hz);
    assert_eq!(driver.restore(Some(&Property { kind: String::new(), value: text, ..property.clone() })), SUCCESS);
    assert_eq!(driver.save(0), (SUCCESS, vec![property]));
}

#[test]
fn what_was_learnt_before_a_reset_is_not_saved() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let property = learnt(&features, &pair);
    let mut driver = made(&features, pair.rate_hz);
    driver.restore(Some(&property));
    driver.activate();
    driver.set("reset", 1.0);
    driver.process(&pair.a[..512], &pair.b[..512], &[512]);
    assert_eq!(driver.save(0), (SUCCESS, vec![]));
}

#[test]
fn controls_are_left_to_the_host() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let property = learnt(&features, &pair);
    let mut driver = made(&features, pair.rate_hz);
    driver.set("delay", 50.0);
    driver.restore(Some(&property));
    driver.activate();
    assert_eq!(driver.meter("latency"), 800.0);
}

#[test]
fn a_state_that_does_not_fit_is_ignored() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let (engine, _) = pair.merged(&Controls::default());
    let good = learnt(&features, &pair);
    let with = |value: Vec<u8>| Property { value, ..good.clone() };
    let edited = |change: fn(&mut Snapshot)| {
        let mut snapshot = snapshot(&good);
        change(&mut snapshot);
        with(serde_json::to_vec(&snapshot).expect("it is plain data"))
    };
    let bad = [
        ("a rate of nothing", edited(|s| s.rate_hz = 0.0)),
        ("a negative rate", edited(|s| s.rate_hz = -16_000.0)),
        ("another version", edited(|s| s.version = 1000)),
        ("out of range", edited(|s| s.lag_s = 3.0)),
        ("cut in half", with(good.value[..good.value.len() / 2].to_vec())),
        ("empty", with(vec![])),
        ("not text", with(vec![0xFF; 64])),
        ("of another type", Property { kind: "http://lv2plug.in/ns/ext/atom#Int".into(), ..good.clone() }),
        ("under another key", Property { key: "urn:someone:else".into(), ..good.clone() }),
    ];
    for (what, property) in bad {
        let mut driver = made(&features, pair.rate_hz);
        assert_eq!(driver.restore(Some(&property)), SUCCESS, "{what}");
        assert_eq!(driver.save(0), (SUCCESS, vec![]), "{what}: nothing is learnt from it");
        driver.activate();
        assert_same(&driver.process(&pair.a, &pair.b, &[512])[0], &engine);
    }
}

#[test]
fn without_the_feature_map_there_is_no_state_and_no_harm() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let (engine, _) = pair.merged(&Controls::default());
    let property = learnt(&features, &pair);
    let mut driver = Driver::ready(Entry::Lv2, pair.rate_hz);
    assert_eq!(driver.restore(Some(&property)), ERR_NO_FEATURE);
    assert_eq!(driver.save(POD), (ERR_NO_FEATURE, vec![]));
    assert_same(&driver.process(&pair.a, &pair.b, &[512])[0], &engine);
}

#[test]
fn saving_beside_the_audio_thread_gives_whole_snapshots_and_leaves_the_sound_alone() {
    let (features, pair) = (Features::with_map(), Pair::short());
    let (engine, _) = pair.merged(&Controls::default());
    let mut driver = made(&features, pair.rate_hz);
    driver.activate();
    let (saver, playing, saved) = (driver.saver(), AtomicBool::new(true), AtomicUsize::new(0));
    let out = std::thread::scope(|scope| {
        let saving = scope.spawn(|| {
            while playing.load(Ordering::Relaxed) {
                let (status, properties) = saver.save();
                assert_eq!(status, SUCCESS);
                for property in &properties {
                    assert_eq!(snapshot(property).check(), Ok(()));
                    saved.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let out = driver.process(&pair.a, &pair.b, &[16]);
        // A busy machine may not have let the other thread in yet.
        let begin = Instant::now();
        while saved.load(Ordering::Relaxed) == 0 && begin.elapsed() < Duration::from_secs(10) {
            driver.process(&[0.0; 160], &[0.0; 160], &[16]);
        }
        playing.store(false, Ordering::Relaxed);
        saving.join().expect("every snapshot is whole");
        out
    });
    assert_same(&out[0], &engine);
    assert!(saved.into_inner() > 0, "the two ran side by side");
}
