//! More than two microphones.

use std::time::Duration;

use driftmerge::supervise::demo::signal_to_noise_db;
use driftmerge_tests::pulse::{MICS, Rig};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
/// Clocks, ppm, and how late each microphone hears everything, s.
const PLACES: [(f64, f64); 4] = [(0.0, 0.004), (60.0, 0.0), (-45.0, 0.015), (25.0, 0.009)];

/// Speech over noise in the merge of the first `count` microphones less that of the best of them, dB.
fn gain_db(count: usize) -> f64 {
    let rig = Rig::start_many(RATE_HZ, &PLACES[..count]);
    let mics = MICS[..count].iter().flat_map(|mic| ["--mic", mic]);
    let arguments: Vec<&str> = ["run", "--rate", "16000"].into_iter().chain(mics).collect();
    let mut running = rig.start_driftmerge(&arguments);
    for mic in &MICS[1..count] {
        running.wait_for(&format!("`{mic}` locked"), LOCK_LIMIT);
    }
    // The weights find their places.
    rig.record("driftmerge", RATE_HZ, 10.0);
    let measure = |source: &str| signal_to_noise_db(&rig.record(source, RATE_HZ, 15.0), f64::from(RATE_HZ));
    let (merged, each): (f64, Vec<f64>) = std::thread::scope(|scope| {
        let each: Vec<_> = MICS[..count].iter().map(|mic| scope.spawn(|| measure(mic))).collect();
        (measure("driftmerge"), each.into_iter().map(|thread| thread.join().expect("recorded")).collect())
    });
    let best = each.iter().copied().fold(f64::MIN, f64::max);
    println!("{count} microphones: {each:.1?} dB each, merged {merged:.1} dB\n{}", running.said());
    assert!(running.stop(Signal::TERM).success());
    merged - best
}

#[test]
fn three_microphones_gain_more_than_4_db_over_the_best() {
    let gain_db = gain_db(3);
    assert!(gain_db > 4.2, "{gain_db} dB");
}

#[test]
fn four_microphones_gain_more_than_5_db_over_the_best() {
    let gain_db = gain_db(4);
    assert!(gain_db > 5.4, "{gain_db} dB");
}

#[test]
fn more_than_two_microphones_on_another_route_are_refused() {
    let rig = Rig::start_many(RATE_HZ, &PLACES[..3]);
    let mics = ["--mic", MICS[0], "--mic", MICS[1], "--mic", MICS[2]];
    for command in [&["run", "--route", "loopback"][..], &["load"]] {
        let output = rig.run_to_end(&[command, &mics].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--route direct"));
    }
}
