//! `run` as a service: what it keeps, what it leaves behind, and what it says when something is missing.

use std::process::Output;
use std::time::Duration;

use driftmerge_tests::pulse::{MICS, Rig, Running, wait_until};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const RUN: [&str; 7] = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];

fn rig() -> Rig {
    Rig::start(RATE_HZ, 100.0, 0.012)
}

fn merging(rig: &Rig) -> Running {
    let running = rig.start_driftmerge(&RUN);
    running.wait_for("merging", Duration::from_secs(5));
    running
}

/// Asserts the exit code, and that the message says all of `words`.
fn assert_failure(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "«{word}» is not in: {said}");
    }
}

/// Our modules, without their numbers.
fn graph(rig: &Rig) -> Vec<String> {
    rig.modules().into_values().filter(|line| line.contains("driftmerge.graph=")).collect()
}

#[test]
fn the_next_start_is_locked_within_half_a_second_of_speech() {
    let rig = rig();
    let mut first = merging(&rig);
    first.wait_for("locked", LOCK_LIMIT);
    // Long enough for the drift to be known well.
    rig.record("driftmerge", RATE_HZ, 10.0);
    assert!(first.stop(Signal::TERM).success(), "{}", first.said());

    for start in 0..3 {
        let mut next = rig.start_driftmerge(&RUN);
        next.wait_for("merging", Duration::from_secs(5));
        let begin = rig.mics[0].frames();
        next.wait_for("locked", LOCK_LIMIT);
        let end = rig.mics[0].frames();
        let speech = (begin..end).filter(|frame| rig.scene.parts(&rig.places[0], *frame).0.abs() > 1e-3).count();
        let speech_s = speech as f64 / f64::from(RATE_HZ);
        println!("start {start}: locked after {speech_s:.2} s of speech");
        assert!(speech_s < 0.5, "locked after {speech_s:.2} s of speech only; it said:\n{}", next.said());
        assert!(next.stop(Signal::TERM).success());
    }
}

#[test]
fn damaged_state_is_told_and_ignored() {
    let rig = rig();
    let mut first = merging(&rig);
    first.wait_for("locked", LOCK_LIMIT);
    assert!(first.stop(Signal::INT).success());
    let folder = rig.server.folder().join("driftmerge");
    let file = std::fs::read_dir(&folder).expect("the state folder").flatten().next().expect("a state file").path();
    let text = std::fs::read(&file).expect("readable");
    std::fs::write(&file, &text[..text.len() / 2]).expect("writable");

    let mut next = merging(&rig);
    assert!(next.said().contains("damaged"), "{}", next.said());
    next.wait_for("locked", LOCK_LIMIT);
    assert!(next.stop(Signal::TERM).success());
}

#[test]
fn a_second_run_is_refused_and_the_first_goes_on() {
    let rig = rig();
    let mut first = merging(&rig);
    let there = graph(&rig);
    let pid = first.id().to_string();
    assert_failure(&rig.run_to_end(&RUN), 1, &["already at work on `driftmerge`", &pid]);
    assert_failure(&rig.run_to_end(&["unload"]), 1, &[&pid]);
    let load = ["load", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];
    assert_failure(&rig.run_to_end(&load), 1, &["already at work"]);
    assert_eq!(graph(&rig), there);
    assert!(first.stop(Signal::TERM).success());
    assert_eq!(graph(&rig), Vec::<String>::new());
}

fn default_source(rig: &Rig) -> String {
    rig.pactl(&["get-default-source"]).trim().to_owned()
}

#[test]
fn what_a_killed_run_left_is_used_again_and_all_is_as_it_was_at_the_end() {
    let rig = rig();
    rig.pactl(&["set-default-source", MICS[1]]);
    let before = rig.modules();
    let run = [&RUN[..], &["--default-source"]].concat();
    let start = || {
        let running = rig.start_driftmerge(&run);
        running.wait_for("merging", Duration::from_secs(5));
        assert_eq!(default_source(&rig), "driftmerge");
        running
    };
    // Started, ended, started, killed, started again: twice, and always one graph.
    for _ in 0..2 {
        let mut first = start();
        let one_graph = graph(&rig);
        assert_eq!(one_graph.len(), 2, "{one_graph:#?}");
        assert!(first.stop(Signal::TERM).success());
        assert_eq!((rig.modules(), default_source(&rig).as_str()), (before.clone(), MICS[1]));

        let mut killed = start();
        let modules = rig.modules();
        killed.stop(Signal::KILL);
        wait_until("the server noticed", Duration::from_secs(5), || {
            !rig.pactl(&["list", "sink-inputs"]).contains("merged")
        });
        assert_eq!(graph(&rig), one_graph, "nobody took it away");

        let mut next = start();
        assert_eq!(rig.modules(), modules, "the same modules, not new ones");
        assert!(next.stop(Signal::TERM).success());
        assert_eq!((rig.modules(), default_source(&rig).as_str()), (before.clone(), MICS[1]));
    }
}

#[test]
fn unload_after_a_kill_gives_the_default_back_unless_somebody_chose_another() {
    let rig = rig();
    rig.pactl(&["set-default-source", MICS[1]]);
    let before = rig.modules();
    let load = ["load", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--default-source"];
    for (chosen, wanted) in [(None, MICS[1]), (Some(MICS[0]), MICS[0])] {
        assert!(rig.run_to_end(&load).status.success());
        assert_eq!(default_source(&rig), "driftmerge");
        if let Some(chosen) = chosen {
            rig.pactl(&["set-default-source", chosen]);
        }
        assert!(rig.run_to_end(&["unload"]).status.success());
        assert_eq!((rig.modules(), default_source(&rig).as_str()), (before.clone(), wanted));
    }
}

#[test]
fn the_diff_of_a_plan_tells_what_goes_what_comes_and_what_stays() {
    let rig = rig();
    let settings = ["--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];
    let diff = |extra: &[&str]| {
        let output = rig.run_to_end(&[&["plan", "--diff"][..], &settings, extra].concat());
        assert_failure(&output, 0, &[]);
        String::from_utf8(output.stdout).expect("text")
    };
    let counts = |text: &str| ["-", "+", " "].map(|mark| text.lines().filter(|line| line.starts_with(mark)).count());
    assert_eq!(counts(&diff(&[])), [0, 5, 0]);
    assert_eq!(graph(&rig), Vec::<String>::new(), "it only tells");
    assert!(rig.run_to_end(&[&["load"][..], &settings].concat()).status.success());
    assert_eq!(counts(&diff(&[])), [0, 0, 5]);
    // Another threshold is another plugin, with all that hangs on it.
    let changed = diff(&["--threshold", "0.5"]);
    assert_eq!(counts(&changed), [3, 3, 2], "{changed}");
}

#[test]
fn bad_settings_files_are_exit_2_and_touch_nothing() {
    let rig = rig();
    let before = rig.modules();
    // The rig's settings folder is the server's.
    let folder = rig.server.folder().join("driftmerge");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (text, words) in [
        ("microphone = [\"mic_a\", \"mic_b\"]", ["config.toml line 1", "`microphone`"]),
        ("microphones = [\"mic_a\", \"mic_b\"]\n[graph]\nsink = 1", ["config.toml line 2", "`graph`"]),
        ("microphones = [\"mic_a\"", ["config.toml", "line 1"]),
        (
            "microphones = [\"mic_a\", \"mic_b\"]\necho_mics = \"3\"\necho_sink = \"x\"",
            ["config.toml line 2", "microphone 3"],
        ),
    ] {
        std::fs::write(folder.join("config.toml"), text).expect("written");
        for command in ["run", "load", "plan"] {
            assert_failure(&rig.run_to_end(&[command]), 2, &words);
        }
    }
    assert_eq!(rig.modules(), before);
}

#[test]
fn run_beside_a_loaded_graph_is_refused_and_unload_takes_only_ours() {
    let rig = rig();
    rig.pactl(&["load-module", "module-null-sink", "sink_name=driftmerge_of_somebody_else"]);
    let before = rig.modules();
    let load = ["load", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];
    assert!(rig.run_to_end(&load).status.success());
    let loaded = rig.modules();
    assert!(rig.run_to_end(&load).status.success());
    assert_eq!(rig.modules(), loaded, "a second load changes nothing");
    assert_failure(&rig.run_to_end(&RUN), 1, &["driftmerge unload"]);
    assert!(rig.run_to_end(&["unload"]).status.success());
    assert_eq!(rig.modules(), before);
}

#[test]
fn events_go_to_the_log_file_where_one_is_named() {
    let rig = rig();
    let file = rig.server.folder().join("events");
    let log = ["--log-file", file.to_str().expect("text")];
    let mut running = rig.start_driftmerge(&[&RUN[..], &log].concat());
    let logged = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("the merge is told", Duration::from_secs(5), || logged().contains("merging `mic_a`, `mic_b`"));
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(running.said(), "");
    let nowhere = [&RUN[..], &["--log-file", "/no/such/folder/events"]].concat();
    assert_failure(&rig.run_to_end(&nowhere), 2, &["/no/such/folder/events"]);
}

#[test]
fn a_missing_microphone_is_exit_4_with_the_nearest_names_and_nothing_is_loaded() {
    let rig = rig();
    let before = rig.modules();
    for command in ["run", "load", "plan"] {
        let output = rig.run_to_end(&[command, "--mic", "mic_c\"; $(reboot)", "--mic", MICS[1]]);
        assert_failure(&output, 4, &["`mic_c\"; $(reboot)`", "`mic_a`", "`mic_b`"]);
    }
    assert_eq!(rig.modules(), before);
}

#[test]
fn no_server_is_exit_3_and_no_plugin_is_exit_5_saying_where_it_looked() {
    let rig = rig();
    let before = rig.modules();
    let nowhere = ["--server", "unix:/no/such/socket"];
    assert_failure(&rig.run_to_end(&[&RUN[..], &nowhere].concat()), 3, &["/no/such/socket", "PULSE_SERVER"]);
    assert_failure(&rig.run_to_end(&[&["list"][..], &nowhere].concat()), 3, &["/no/such/socket"]);
    let no_bundle = [&RUN[..], &["--bundle", "/no/such/bundle"]].concat();
    assert_failure(&rig.run_to_end(&no_bundle), 5, &["/no/such/bundle", "scripts/bundle"]);
    assert_eq!(rig.modules(), before);
}

#[test]
fn list_names_the_microphones_and_monitors_only_when_asked() {
    let rig = rig();
    rig.pactl(&["load-module", "module-null-sink", "sink_name=speaker"]);
    let names = |arguments: &[&str]| {
        let output = rig.run_to_end(arguments);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| line.split('\t').next().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["list"]), MICS[..2]);
    assert_eq!(names(&["list", "--monitors"]), [MICS[0], MICS[1], "speaker.monitor"]);
}

#[test]
fn the_lines_of_plan_make_the_graph_that_load_makes() {
    let rig = rig();
    let settings = ["--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];
    let output = rig.run_to_end(&[&["plan", "--for", "load"][..], &settings].concat());
    let script = String::from_utf8(output.stdout).expect("text");
    assert!(rig.command("sh").args(["-ec", &script]).output().expect("sh").status.success(), "{script}");
    let planned = graph(&rig);
    assert_eq!(planned.len(), 5, "{planned:#?}");
    let load = rig.run_to_end(&[&["load"][..], &settings].concat());
    assert!(String::from_utf8_lossy(&load.stdout).contains("loaded already"));
    assert_eq!(graph(&rig), planned);
}

#[test]
fn status_tells_what_a_running_service_knows_and_that_there_is_none() {
    let rig = rig();
    assert_failure(&rig.run_to_end(&["status"]), 1, &["no `driftmerge run` for `driftmerge`"]);
    let mut running = merging(&rig);
    running.wait_for("locked", LOCK_LIMIT);
    let output = rig.run_to_end(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let other = &status["others"][0];
    assert_eq!(other["state"], "locked");
    assert_eq!((status["reference"].as_str(), other["microphone"].as_str()), (Some(MICS[0]), Some(MICS[1])));
    let lag_ms = other["lag_ms"].as_f64().expect("a number");
    // The server tells its sources' times to a millisecond or so.
    assert!((lag_ms - 12.0).abs() < 3.0, "{lag_ms} ms");
    assert!(rig.run_to_end(&["status"]).status.success());
    assert!(running.stop(Signal::TERM).success());
    assert_failure(&rig.run_to_end(&["status"]), 1, &["driftmerge.sock"]);
}

#[test]
fn the_service_manager_is_told_when_the_source_exists() {
    let rig = rig();
    let path = rig.server.folder().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let mut command = rig.driftmerge(&RUN);
    command.env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(command);
    let mut said = [0; 64];
    let length = manager.recv(&mut said).expect("a word from the service");
    assert_eq!(said[..length].trim_ascii(), b"READY=1");
    assert!(rig.sources().iter().any(|source| source == "driftmerge"));
    assert!(running.stop(Signal::TERM).success());
}
