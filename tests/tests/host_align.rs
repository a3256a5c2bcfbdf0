//! The plugin that aligns and does not mix, through its C functions.

use driftmerge_tests::entry::{Driver, Entry, Features};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn the_left_output_is_a_and_what_is_right_beside_it_is_less_by_25_db() {
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
fn bypassed_both_come_out_as_they_came_in() {
    let pair = Pair::short();
    let mut driver = Driver::ready(Entry::Lv2Align, pair.rate_hz);
    driver.set("enabled", 0.0);
    let outs = driver.process(&pair.a, &pair.b, &[512]);
    let late = driver.meter("latency") as usize;
    for (out, sound) in outs.iter().zip([&pair.a, &pair.b]) {
        let worst = out[late..].iter().zip(sound).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
    }
}

#[test]
fn a_saved_state_locks_the_next_instance_within_0_5_s() {
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
