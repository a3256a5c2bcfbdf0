//! Both microphones of a real server are in the merged source, aligned: the whole path, recorded as an application would.

use std::time::Duration;

use driftmerge_tests::align::{Window, measure, quantile};
use driftmerge_tests::pulse::{MICS, Rig, Running, wait_until};
use rustix::process::Signal;

/// Nominal rate of the microphones, Hz.
const RATE_HZ: u32 = 16_000;
/// Difference of their clocks, ppm.
const CLOCKS_PPM: f64 = 100.0;
/// How much later B hears everything, s.
const DELAY_B_S: f64 = 0.012;
/// Length of the windows in which the alignment is measured, s.
const WINDOW_S: f64 = 0.25;
/// A lock on speech takes about a second; this is for a busy machine.
const LOCK_LIMIT: Duration = Duration::from_secs(20);

fn run(rig: &Rig, route: &str) -> Running {
    let rate = RATE_HZ.to_string();
    rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", &rate, "--route", route])
}

/// What `seconds` of the merged source tell.
fn listen(rig: &Rig, seconds: f64) -> Vec<Window> {
    let recording = rig.record("driftmerge", RATE_HZ, seconds);
    let (a, b) = (&rig.places[0], &rig.places[1]);
    measure(&recording, f64::from(RATE_HZ), WINDOW_S, &a.own, &b.own, DELAY_B_S)
}

/// Asserts that both microphones are in nearly every window, and aligned within `limit_s` in nine of ten.
fn assert_aligned(windows: &[Window], limit_s: f64) {
    let both: Vec<&Window> = windows.iter().filter(|w| w.both()).collect();
    let all = windows.iter().map(Window::to_string).collect::<Vec<_>>().join("\n");
    let share = both.len() as f64 / windows.len() as f64;
    assert!(share > 0.8, "both microphones are found in {share:.2} of the windows only:\n{all}");
    let error_s = quantile(both.iter().map(|w| w.error_s.abs()).collect(), 0.9);
    println!("aligned within {:.1} us in 9 of 10 windows; both found in {share:.2}", error_s * 1e6);
    assert!(error_s < limit_s, "the microphones are {} us apart:\n{all}", error_s * 1e6);
}

#[test]
fn direct_aligns_both_microphones_within_50_us() {
    let rig = Rig::start(RATE_HZ, CLOCKS_PPM, DELAY_B_S);
    let before = rig.modules();
    let mut running = run(&rig, "direct");
    running.wait_for("locked", LOCK_LIMIT);
    assert_aligned(&listen(&rig, 15.0), 50e-6);
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    assert_eq!(rig.modules(), before, "something is left in the server");
}

#[test]
fn loopback_aligns_both_microphones_within_1_ms() {
    let rig = Rig::start(RATE_HZ, CLOCKS_PPM, DELAY_B_S);
    let before = rig.modules();
    let mut running = run(&rig, "loopback");
    running.wait_for("locked", LOCK_LIMIT);
    // The server's loopbacks take about ten seconds to find their rates, and may jump until then.
    listen(&rig, 10.0);
    assert_aligned(&listen(&rig, 15.0), 1e-3);
    assert!(running.stop(Signal::INT).success(), "{}", running.said());
    assert_eq!(rig.modules(), before, "something is left in the server");
}

#[test]
fn load_aligns_both_microphones_within_1_ms_and_is_taken_away_by_unload() {
    let rig = Rig::start(RATE_HZ, CLOCKS_PPM, DELAY_B_S);
    let before = rig.modules();
    let rate = RATE_HZ.to_string();
    let load = ["load", "--mic", MICS[0], "--mic", MICS[1], "--rate", &rate, "--latency", "200"];
    let output = rig.run_to_end(&load);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let loaded = rig.modules();

    // Nobody tells from outside when the plugin in the server has locked: it is heard.
    let mut windows = Vec::new();
    wait_until("B is heard", LOCK_LIMIT, || {
        windows = listen(&rig, 1.0);
        windows.iter().all(Window::both)
    });
    assert_aligned(&listen(&rig, 15.0), 1e-3);

    assert!(rig.run_to_end(&load).status.success());
    assert_eq!(rig.modules(), loaded, "a second load changes nothing");
    assert!(rig.run_to_end(&["unload"]).status.success());
    assert_eq!(rig.modules(), before);
}
