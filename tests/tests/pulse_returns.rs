//! Microphones that come back other than they were, or deliver in a way that no clock explains: each ends in a good merge.

use std::fs;
use std::time::{Duration, Instant};

use driftmerge_tests::align::{Window, measure, show};
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use driftmerge_tests::wait::holds_within;
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const DELAY_B_S: f64 = 0.012;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const WINDOW_S: f64 = 0.25;

fn start(rig: &Rig) -> Running {
    rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"])
}

fn windows(rig: &Rig, recording: &[f32]) -> Vec<Window> {
    let (a, b) = (&rig.places[0], &rig.places[1]);
    measure(recording, f64::from(RATE_HZ), WINDOW_S, &a.own, &b.own, b.delay_s)
}

fn aligned(windows: &[Window]) -> f64 {
    windows.iter().filter(|w| w.error_s.abs() < 50e-6).count() as f64 / windows.len() as f64
}

/// Waits until most of a recording is merged well.
fn merged_again(rig: &Rig, recorder: &mut Recorder, running: &Running, what: &str) {
    let begin = Instant::now();
    let mut last = String::new();
    let good = holds_within(LOCK_LIMIT, || {
        let windows = windows(rig, &recorder.take(3.0));
        last = show(&windows);
        aligned(&windows) > 0.8
    });
    assert!(good, "{what}: {last}\n{}", running.said());
    println!("{what}: merged again after {:.1} s", begin.elapsed().as_secs_f64());
}

#[test]
fn zeros_frames_missing_in_pauses_and_bursts_leave_the_other_whole_and_end_in_a_good_merge() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = start(&rig);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(6.0);
    let mic = &rig.mics[1];
    for what in ["zeros", "gaps", "bursts"] {
        let mut during = Vec::new();
        for part in 0..8 {
            match what {
                "zeros" => mic.zeros(true),
                "gaps" => mic.stall(part % 2 == 0),
                _ => {
                    mic.hold_back(false);
                    // The microphone looks every millisecond.
                    during.extend(recorder.take(0.1));
                    mic.hold_back(true);
                }
            }
            during.extend(recorder.take(1.5));
        }
        mic.zeros(false);
        mic.stall(false);
        mic.hold_back(false);
        // The other one's own noise never pauses.
        let zeros = during.iter().filter(|x| x.abs() < 1e-6).count() as f64 / during.len() as f64;
        println!("{what}: {:.2} % of the merge are zeros", zeros * 100.0);
        assert!(zeros < 0.02, "{what}: {zeros}\n{}", running.said());
        merged_again(&rig, &mut recorder, &running, what);
    }
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn a_device_that_comes_back_with_half_its_rate_is_locked_again() {
    let mut rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = start(&rig);
    running.wait_for("locked", LOCK_LIMIT);
    let _recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    rig.unplug(MICS[1]);
    running.wait_for("is gone", Duration::from_secs(2));
    rig.plug_in(1, RATE_HZ / 2);
    running.wait_for("is back", Duration::from_secs(2));
    let status = || -> serde_json::Value {
        serde_json::from_slice(&rig.run_to_end(&["status", "--json"]).stdout).expect("JSON")
    };
    wait_until("it is locked and sure", LOCK_LIMIT, || {
        let other = &status()["others"][0];
        other["state"] == "locked" && other["confidence"].as_f64().is_some_and(|sure| sure > 0.3)
    });
    let lag_ms = status()["others"][0]["lag_ms"].as_f64().expect("a number");
    assert!((lag_ms - DELAY_B_S * 1e3).abs() < 5.0, "{lag_ms} ms");
    assert!(running.stop(Signal::TERM).success());
}

/// How long it takes until the merge is good, s, and in how many windows before that both were heard apart.
fn until_good(rig: &Rig) -> (f64, usize) {
    let mut running = start(rig);
    running.wait_for("merging", Duration::from_secs(5));
    let mut recorder = Recorder::start(rig, "driftmerge", RATE_HZ);
    let all = windows(rig, &recorder.take(6.0));
    assert!(running.stop(Signal::TERM).success());
    let good = all.windows(8).position(|next| aligned(next) > 0.8).unwrap_or(all.len());
    let apart = |w: &&Window| w.a.score > 8.0 && w.b.score > 8.0 && w.error_s.abs() > 0.3e-3;
    let apart = all.iter().filter(apart).count();
    if apart > 0 || good > 20 {
        println!("{}\n{}", show(&all), running.said());
    }
    (good as f64 * WINDOW_S, apart)
}

#[test]
fn a_saved_lag_that_is_wrong_by_up_to_120_ms_is_never_heard_and_costs_no_more_than_knowing_nothing() {
    let mut rig = Rig::start(RATE_HZ, 100.0, 0.15);
    let (_, _) = until_good(&rig);
    for moved_s in [0.12, -0.12] {
        rig.places[1].delay_s = 0.15 + moved_s;
        rig.unplug(MICS[1]);
        rig.plug_in(1, RATE_HZ);
        let (restored_s, apart) = until_good(&rig);
        let folder = rig.server.folder().join("driftmerge");
        for file in fs::read_dir(&folder).expect("there").flatten().map(|file| file.path()) {
            if file.extension().is_some_and(|end| end == "json") {
                fs::remove_file(file).expect("removed");
            }
        }
        let (fresh_s, fresh_apart) = until_good(&rig);
        println!(
            "{moved_s} s: good after {restored_s} s ({apart} apart), from nothing after {fresh_s} s ({fresh_apart} apart)"
        );
        assert!(apart <= fresh_apart, "{moved_s} s: {apart} windows apart");
        assert!(restored_s <= fresh_s + 1.5, "{moved_s} s: {restored_s} s for {fresh_s} s");
        rig.places[1].delay_s = 0.15;
        rig.unplug(MICS[1]);
        rig.plug_in(1, RATE_HZ);
        until_good(&rig);
    }
}
