//! What happens under a running service: the server dies, a microphone is unplugged, stalls or loses sound.

use std::time::{Duration, Instant};

use driftmerge_tests::align::{Window, measure, quantile};
use driftmerge_tests::processor::wakes;
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use driftmerge_tests::wait::holds_within;
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

/// Share of the windows in which both microphones are there and aligned within 100 us.
fn aligned(windows: &[Window]) -> f64 {
    windows.iter().filter(|w| w.error_s.abs() < 100e-6).count() as f64 / windows.len() as f64
}

fn show(windows: &[Window]) -> String {
    windows.iter().map(Window::to_string).collect::<Vec<_>>().join("\n")
}

/// The longest time, s, in which the recording stays below `floor`.
fn longest_silence_s(recording: &[f32], floor: f32) -> f64 {
    let mut longest = 0_u32;
    let mut current = 0;
    for x in recording {
        current = if x.abs() < floor { current + 1 } else { 0 };
        longest = longest.max(current);
    }
    f64::from(longest) / f64::from(RATE_HZ)
}

#[test]
fn the_merged_source_is_back_within_3_s_of_a_new_server() {
    let mut rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    rig.server.kill().expect("killed");
    running.wait_for("waiting for the server", Duration::from_secs(5));
    rig.server.resume().expect("a new server");
    rig.plug_in_all(RATE_HZ);
    wait_until("the source is back", Duration::from_secs(3), || rig.sources().iter().any(|s| s == "driftmerge"));
    running.wait_for("the server is back", Duration::from_secs(3));
    // The lag is measured again before the sound is right: both have new buffers.
    rig.record("driftmerge", RATE_HZ, 5.0);
    let windows = windows(&rig, &rig.record("driftmerge", RATE_HZ, 10.0));
    assert!(aligned(&windows) > 0.8, "{}", show(&windows));
    assert!(running.stop(Signal::TERM).success());
    assert!(!rig.modules().values().any(|line| line.contains("driftmerge.graph=")));
}

#[test]
fn an_unplugged_microphone_leaves_the_other_heard_and_is_merged_again_when_it_is_back() {
    for (away, other) in [(1, 0), (0, 1)] {
        let mut rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
        let mut running = locked(&rig);
        let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
        recorder.take(3.0);
        rig.unplug(MICS[away]);
        running.wait_for("is gone", Duration::from_secs(2));
        let alone = recorder.take(4.0);
        // Their own noise never pauses: digital silence would be a hole.
        let silence_s = longest_silence_s(&alone, 1e-4);
        assert!(silence_s < 0.05, "{} away: {:.0} ms of silence; {}", MICS[away], silence_s * 1e3, running.said());
        let heard = windows(&rig, &alone[alone.len() / 2..]);
        let score = |w: &Window| if other == 0 { w.a.score } else { w.b.score };
        assert!(heard.iter().all(|w| score(w) > 7.0), "{} is not heard: {}", MICS[other], show(&heard));

        rig.plug_in(away, RATE_HZ);
        running.wait_for("is back", Duration::from_secs(2));
        recorder.take(4.0);
        let again = windows(&rig, &recorder.take(8.0));
        assert!(aligned(&again) > 0.8, "{} back: {}\n{}", MICS[away], show(&again), running.said());
        assert!(running.stop(Signal::TERM).success());
    }
}

#[test]
fn a_microphone_that_comes_back_300_ms_later_is_merged_again_at_a_longer_latency() {
    let mut rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(1.0);
    rig.unplug(MICS[1]);
    running.wait_for("is gone", Duration::from_secs(2));
    rig.places[1].delay_s += 0.3;
    rig.plug_in(1, RATE_HZ);
    running.wait_for("came too late for the latency", LOCK_LIMIT);
    let (a, b) = (&rig.places[0], &rig.places[1]);
    // Not by the first recorder: it has not been read from while the latency grew.
    let recording = rig.record("driftmerge", RATE_HZ, 6.0);
    let windows = measure(&recording, f64::from(RATE_HZ), WINDOW_S, &a.own, &b.own, b.delay_s);
    assert!(aligned(&windows) > 0.8, "{}\n{}", show(&windows), running.said());
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn a_microphone_that_stalls_for_2_s_is_replaced_by_the_other_and_merged_again() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(5.0);
    // Looked at afterwards: a recorder that is kept waiting falls behind.
    let recordings = [1, 0].map(|mic| {
        rig.mics[mic].stall(true);
        let stalled = recorder.take(2.0);
        rig.mics[mic].stall(false);
        recorder.take(6.0);
        (mic, stalled, recorder.take(5.0))
    });
    for (mic, stalled, after) in &recordings {
        // It is waited for a while before silence stands for it; what the recorder is behind comes on top.
        let (_, later) = stalled.split_at(stalled.len() / 2);
        assert!(longest_silence_s(later, 1e-4) < 0.05, "silence while {} stalls", MICS[*mic]);
        let after = windows(&rig, after);
        assert!(aligned(&after) > 0.8, "after {} stalled: {}\n{}", MICS[*mic], show(&after), running.said());
    }
    assert!(running.stop(Signal::TERM).success());
}

/// From the air to an application that records the merged source, s.
fn latency_s(rig: &Rig) -> f64 {
    let mut recorder = Recorder::start(rig, "driftmerge", RATE_HZ);
    recorder.take(0.5);
    let (mut sound, mut got) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        sound.extend(recorder.take(WINDOW_S));
        got.push(Instant::now());
    }
    let late = windows(rig, &sound).iter().zip(got).map(|(window, got)| rig.late_s(window, WINDOW_S, got)).collect();
    quantile(late, 0.5)
}

/// A stop of the server stands for the sleep of a machine, which stops everything.
#[test]
fn after_a_stall_a_suspended_microphone_and_a_server_that_stood_still_the_latency_is_within_30_ms_of_before() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    // Somebody records all the time, so that nothing rests.
    let listener = Recorder::start(&rig, "driftmerge", RATE_HZ);
    let server = Pid::from_raw(rig.server.id().expect("it runs") as i32).expect("a process");
    // What waits in the server finds its place in the first seconds.
    wait_until("what waits is the 2048 frames that are wanted", LOCK_LIMIT, || {
        let output = rig.run_to_end(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["waiting_ms"].as_f64().is_some_and(|waiting_ms| (waiting_ms - 128.0).abs() < 5.0)
    });
    let before_s = latency_s(&rig);
    println!("at first {:.0} ms", before_s * 1e3);
    for fault in ["stall", "suspend", "stop"] {
        let set = |on: bool| match fault {
            "stall" => rig.mics[0].stall(on),
            "suspend" => drop(rig.pactl(&["suspend-source", MICS[0], if on { "1" } else { "0" }])),
            _ => kill_process(server, if on { Signal::STOP } else { Signal::CONT }).expect("it runs"),
        };
        set(true);
        std::thread::sleep(Duration::from_secs(2));
        set(false);
        let mut after_s = f64::NAN;
        wait_until("the latency is as before", Duration::from_secs(30), || {
            after_s = latency_s(&rig);
            println!("after a {fault} {:.0} ms", after_s * 1e3);
            (after_s - before_s).abs() < 0.03
        });
        let windows = windows(&rig, &rig.record("driftmerge", RATE_HZ, 5.0));
        assert!(aligned(&windows) > 0.8, "after a {fault}: {}\n{}", show(&windows), running.said());
    }
    drop(listener);
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn microphones_are_let_go_while_nobody_records_and_merged_from_the_first_second_on_when_somebody_does() {
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let mut running = locked(&rig);
    rig.record("driftmerge", RATE_HZ, 8.0);
    let in_use = || {
        let sources = rig.pactl(&["list", "short", "sources"]);
        sources.lines().filter(|line| line.contains("mic_") && line.ends_with("RUNNING")).count()
    };
    assert_eq!(in_use(), 2);
    wait_until("the microphones are let go", Duration::from_secs(6), || in_use() == 0);
    let status = rig.run_to_end(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("resting"));

    for _ in 0..2 {
        let recording = rig.record("driftmerge", RATE_HZ, 6.0);
        let begin = recording.iter().position(|x| x.abs() > 1e-4).expect("sound");
        let begin_s = begin as f64 / f64::from(RATE_HZ);
        println!("sound after {begin_s:.2} s");
        assert!(begin_s < 1.0, "sound after {begin_s:.2} s only");
        let windows = windows(&rig, &recording[begin..]);
        // The server tells its new streams' times to a millisecond or so: until the lag is measured again, one is heard alone.
        let heard_apart =
            |w: &&Window| w.a.score > 8.0 && w.b.score > 8.0 && (0.3e-3..10e-3).contains(&w.error_s.abs());
        assert_eq!(windows.iter().filter(heard_apart).count(), 0, "{}\n{}", show(&windows), running.said());
        let near = windows[4..].iter().filter(|w| w.error_s.abs() < 1.5e-3).count();
        assert!(near + 2 > windows[4..].len(), "{}\n{}", show(&windows), running.said());
        assert!(aligned(&windows[12..]) > 0.8, "{}\n{}", show(&windows), running.said());
        wait_until("the microphones are let go", Duration::from_secs(6), || in_use() == 0);
    }
    // Two threads look 20 times a second whether there is something to do, and five times who records.
    let wakes_before = wakes(running.id());
    let busy = holds_within(Duration::from_secs(2), || wakes(running.id()) > wakes_before + 200);
    println!("at rest it wakes {} times in 2 s", wakes(running.id()) - wakes_before);
    assert!(!busy, "at rest it wakes 100 times a second and more");
    assert!(running.stop(Signal::TERM).success());
}
