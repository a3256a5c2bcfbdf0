//! Microphones with several channels: one is used, never a mean in which opposite polarities cancel.

use std::time::Duration;

use driftmerge_tests::align::{Window, measure};
use driftmerge_tests::pulse::{MICS, Rig, Running, wait_until};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const DELAY_B_S: f64 = 0.012;
const LOCK_LIMIT: Duration = Duration::from_secs(20);

/// Two microphones, B with a channel for each of `gains`.
fn rig(gains: &[f32]) -> Rig {
    let mut rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    rig.unplug(MICS[1]);
    rig.plug_in_wide(1, RATE_HZ, MICS[1], "", gains);
    rig
}

fn run(rig: &Rig, b: &str, more: &[&str]) -> Running {
    rig.start_driftmerge(&[&["run", "--mic", MICS[0], "--mic", b, "--rate", "16000"][..], more].concat())
}

/// Share of the windows in which both microphones are there and aligned, with what was measured.
fn aligned(rig: &Rig, limit_s: f64) -> (f64, String) {
    rig.record("driftmerge", RATE_HZ, 4.0);
    let recording = rig.record("driftmerge", RATE_HZ, 6.0);
    let (a, b) = (&rig.places[0], &rig.places[1]);
    let windows = measure(&recording, f64::from(RATE_HZ), 0.25, &a.own, &b.own, DELAY_B_S);
    let text = windows.iter().map(Window::to_string).collect::<Vec<_>>().join("\n");
    (windows.iter().filter(|w| w.error_s.abs() < limit_s).count() as f64 / windows.len() as f64, text)
}

#[test]
fn a_microphone_with_opposite_polarities_a_dead_side_or_four_channels_is_merged() {
    for gains in [&[1.0, -1.0][..], &[0.0, 1.0], &[1.0, 0.0], &[1.0, 0.3, -1.0, 0.5]] {
        let rig = rig(gains);
        let mut running = run(&rig, MICS[1], &[]);
        running.wait_for("locked", LOCK_LIMIT);
        let (share, windows) = aligned(&rig, 50e-6);
        assert!(share > 0.8, "{gains:?}: {windows}\n{}", running.said());
        assert!(running.stop(Signal::TERM).success());
    }
}

#[test]
fn a_channel_that_is_asked_for_is_used_on_every_route() {
    // The wrong one is silent.
    for (name, gains) in
        [("mic_b:right", &[0.0, 1.0][..]), ("mic_b:left", &[1.0, 0.0]), ("mic_b:3", &[0.0, 0.0, 1.0, 0.0])]
    {
        for route in ["direct", "loopback"] {
            let rig = rig(gains);
            let before = rig.modules();
            let mut running = run(&rig, name, &["--route", route]);
            running.wait_for(&format!("`{name}` locked"), LOCK_LIMIT);
            assert!(running.stop(Signal::TERM).success());
            assert_eq!(rig.modules(), before);
        }
        let rig = rig(gains);
        let before = rig.modules();
        let load = rig.run_to_end(&["load", "--mic", MICS[0], "--mic", name, "--rate", "16000"]);
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        let begins = |x: &f32| x.abs() > 1e-3;
        wait_until("something is heard", LOCK_LIMIT, || rig.record("driftmerge", RATE_HZ, 1.0).iter().any(begins));
        assert!(rig.run_to_end(&["unload"]).status.success());
        assert_eq!(rig.modules(), before);
    }
}

#[test]
fn both_sides_of_a_device_may_be_two_microphones_and_a_channel_that_is_not_there_is_exit_4() {
    let rig = rig(&[1.0, 0.5]);
    let two = ["run", "--mic", "mic_b:left", "--mic", "mic_b:right", "--rate", "16000"];
    let mut running = rig.start_driftmerge(&two);
    running.wait_for("merging `mic_b:left`, `mic_b:right`", Duration::from_secs(5));
    running.wait_for("locked", LOCK_LIMIT);
    assert!(running.stop(Signal::TERM).success());
    for (name, code, words) in
        [("mic_b:3", 4, "front-left, front-right"), ("mic_a:right", 4, "mono"), ("mic_x:left", 4, "mic_x")]
    {
        let output = rig.run_to_end(&["run", "--mic", MICS[0], "--mic", name]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{name}: {said}");
    }
    // `plan` makes the same checks as `run`, and ends.
    let same = rig.run_to_end(&["plan", "--for", "run", "--mic", "mic_b:left", "--mic", "mic_b:1"]);
    assert_eq!(same.status.code(), Some(2), "{}", String::from_utf8_lossy(&same.stderr));
}
