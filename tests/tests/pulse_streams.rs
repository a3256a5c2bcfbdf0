//! What microphones do to each other: one that starves, floods or stalls never harms the good one, and is named.

use std::time::{Duration, Instant};

use driftmerge_tests::align::{Window, measure, quantile};
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const RATE_HZ: u32 = 16_000;
const DELAY_B_S: f64 = 0.012;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const WINDOW_S: f64 = 0.25;

fn locked(rig: &Rig) -> Running {
    let running = rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"]);
    running.wait_for("locked", LOCK_LIMIT);
    running
}

fn windows(rig: &Rig, recording: &[f32]) -> Vec<Window> {
    let (a, b) = (&rig.places[0], &rig.places[1]);
    measure(recording, f64::from(RATE_HZ), WINDOW_S, &a.own, &b.own, DELAY_B_S)
}

fn aligned(windows: &[Window]) -> f64 {
    windows.iter().filter(|w| w.error_s.abs() < 50e-6).count() as f64 / windows.len() as f64
}

fn show(windows: &[Window]) -> String {
    windows.iter().map(Window::to_string).collect::<Vec<_>>().join("\n")
}

/// Seconds of the recording in stretches of digital silence of 2 ms and more; their own noise never pauses.
fn silence_s(recording: &[f32]) -> f64 {
    let mut sum = 0;
    let mut current = 0;
    for x in recording.iter().chain(&[1.0]) {
        if x.abs() < 1e-6 {
            current += 1;
        } else {
            sum += if current > RATE_HZ / 500 { current } else { 0 };
            current = 0;
        }
    }
    f64::from(sum) / f64::from(RATE_HZ)
}

fn status(rig: &Rig) -> serde_json::Value {
    serde_json::from_slice(&rig.run_to_end(&["status", "--json"]).stdout).expect("JSON")
}

fn noted(rig: &Rig, words: &[&str]) -> bool {
    let notices = status(rig)["notices"].to_string();
    words.iter().all(|word| notices.contains(word))
}

#[test]
fn a_microphone_that_delivers_9_of_10_frames_or_half_of_them_leaves_the_other_whole_and_is_named_with_its_rate() {
    for (bad, good) in [(1, 0), (0, 1)] {
        let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
        let mut running = locked(&rig);
        let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
        recorder.take(6.0);
        for (share, rate) in [(0.9, "144"), (0.5, "8")] {
            rig.mics[bad].deliver(share);
            let begin = recorder.take(3.0);
            wait_until("it is named", Duration::from_secs(3), || {
                noted(&rig, &[MICS[bad], &format!("delivers {rate}")])
            });
            let rest = recorder.take(6.0);
            println!(
                "{} x {share}: silence {:.3} s at first, {:.3} s later",
                MICS[bad],
                silence_s(&begin),
                silence_s(&rest)
            );
            assert!(
                silence_s(&begin) < 0.15,
                "{} x {share}: {:.3} s\n{}",
                MICS[bad],
                silence_s(&begin),
                running.said()
            );
            assert_eq!(silence_s(&rest), 0.0, "{} x {share}\n{}", MICS[bad], running.said());
            let heard = windows(&rig, &rest);
            let score = |w: &Window| if good == 0 { w.a.score } else { w.b.score };
            assert!(heard.iter().all(|w| score(w) > 7.0), "{}", show(&heard));
            let told = status(&rig);
            let present = if bad == 0 { &told["present"] } else { &told["others"][0]["present"] };
            assert_eq!(present, &serde_json::json!(false), "it is left out");

            rig.mics[bad].deliver(1.0);
            wait_until("it is right again", Duration::from_secs(8), || !noted(&rig, &["delivers"]));
            recorder.take(6.0);
            let again = windows(&rig, &recorder.take(6.0));
            assert!(aligned(&again) > 0.8, "{}\n{}", show(&again), running.said());
        }
        assert!(running.stop(Signal::TERM).success());
    }
}

#[test]
fn a_flood_and_seconds_of_sound_all_at_once_harm_nobody_and_fill_no_log() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(6.0);
    for fault in ["flood", "burst"] {
        let lines_before = running.said().lines().count();
        if fault == "flood" {
            rig.mics[1].deliver(10.0);
        } else {
            rig.mics[1].hold_back(true);
        }
        let during = recorder.take(10.0);
        rig.mics[1].deliver(1.0);
        rig.mics[1].hold_back(false);
        let after = recorder.take(4.0);
        println!("{fault}: silence {:.3} s in it, {:.3} s after it", silence_s(&during), silence_s(&after));
        assert!(silence_s(&during) < 0.25, "{fault}\n{}", running.said());
        assert!(silence_s(&after) < 0.25, "{fault}\n{}", running.said());
        recorder.take(10.0);
        let again = windows(&rig, &recorder.take(6.0));
        assert!(aligned(&again) > 0.8, "after a {fault}: {}\n{}", show(&again), running.said());
        let lines = running.said().lines().count() - lines_before;
        assert!(lines < 20, "{fault}: {lines} lines:\n{}", running.said());
    }
    assert!(running.stop(Signal::TERM).success());
}

/// From the air to an application that records the merged source, s.
fn latency_s(rig: &Rig) -> f64 {
    let mut recorder = Recorder::start(rig, "driftmerge", RATE_HZ);
    recorder.take(0.5);
    let (mut sound, mut got) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        sound.extend(recorder.take(WINDOW_S));
        got.push(Instant::now());
    }
    let late = windows(rig, &sound).iter().zip(got).map(|(window, got)| rig.late_s(window, WINDOW_S, got)).collect();
    quantile(late, 0.5)
}

#[test]
fn after_the_program_stood_still_for_2_or_10_s_latency_and_alignment_are_as_before_within_4_s() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    let listener = Recorder::start(&rig, "driftmerge", RATE_HZ);
    wait_until("what waits is the 2048 frames that are wanted", LOCK_LIMIT, || {
        status(&rig)["waiting_ms"].as_f64().is_some_and(|waiting_ms| (waiting_ms - 128.0).abs() < 5.0)
    });
    let before_s = latency_s(&rig);
    let program = Pid::from_raw(running.id() as i32).expect("a process");
    for seconds in [2, 10] {
        kill_process(program, Signal::STOP).expect("it runs");
        std::thread::sleep(Duration::from_secs(seconds));
        kill_process(program, Signal::CONT).expect("it runs");
        let begin = Instant::now();
        let mut after_s = f64::NAN;
        wait_until("the latency is as before", Duration::from_secs(4), || {
            after_s = latency_s(&rig);
            println!(
                "{:.1} s after {seconds} s: {:.0} ms, before {:.0} ms",
                begin.elapsed().as_secs_f64(),
                after_s * 1e3,
                before_s * 1e3
            );
            (after_s - before_s).abs() < 0.03
        });
        let windows = windows(&rig, &rig.record("driftmerge", RATE_HZ, 5.0));
        assert!(aligned(&windows) > 0.8, "after {seconds} s: {}\n{}", show(&windows), running.said());
    }
    drop(listener);
    assert!(running.stop(Signal::TERM).success());
}
