//! How `run` ends, whatever ends it and whatever state the server is in: the graph and the defaults are as they were, or left
//! to the next start, and what was learnt is saved.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use driftmerge_tests::pulse::{MICS, Rig, Running, wait_until};
use driftmerge_tests::wait::holds_within;
use rustix::process::{Pid, Signal, kill_process};

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const START_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(2);
const RUN: [&str; 7] = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];

fn rig() -> Rig {
    Rig::start(RATE_HZ, 100.0, 0.012)
}

fn merging(rig: &Rig, more: &[&str]) -> Running {
    let running = rig.start_driftmerge(&[&RUN[..], more].concat());
    running.wait_for("merging", START_LIMIT);
    running
}

fn ours(rig: &Rig) -> usize {
    rig.modules().values().filter(|line| line.contains("driftmerge.graph=")).count()
}

fn default_source(rig: &Rig) -> String {
    rig.pactl(&["get-default-source"]).trim().to_owned()
}

fn states(rig: &Rig) -> Vec<PathBuf> {
    let files = fs::read_dir(rig.server.folder().join("driftmerge")).into_iter().flatten().flatten();
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

fn server(rig: &Rig) -> Pid {
    Pid::from_raw(rig.server.id().expect("it runs") as i32).expect("a process")
}

fn status(rig: &Rig) -> serde_json::Value {
    serde_json::from_slice(&rig.run_to_end(&["status", "--json"]).stdout).expect("JSON")
}

#[test]
fn every_signal_that_ends_it_restores_graph_and_default_and_saves_what_was_learnt_within_2_s() {
    let rig = rig();
    rig.pactl(&["set-default-source", MICS[1]]);
    let before = rig.modules();
    for signal in [Signal::INT, Signal::TERM, Signal::QUIT, Signal::HUP] {
        let mut running = merging(&rig, &["--default-source"]);
        running.wait_for("locked", LOCK_LIMIT);
        assert_eq!(default_source(&rig), "driftmerge");
        let begin = Instant::now();
        let status = running.stop(signal);
        println!("{signal:?}: ended after {:.2} s", begin.elapsed().as_secs_f64());
        assert!(status.success() && begin.elapsed() < END_LIMIT, "{signal:?}: {status}: {}", running.said());
        assert_eq!((rig.modules(), default_source(&rig).as_str()), (before.clone(), MICS[1]), "{signal:?}");
        for state in &states(&rig) {
            fs::remove_file(state).expect("what was learnt is saved");
        }
    }
}

#[test]
fn a_log_that_nobody_reads_or_that_has_no_room_ends_nothing() {
    let rig = rig();
    let before = rig.modules();
    // The reader takes the first line and goes; then a disk that is always full.
    let program = driftmerge_tests::pulse::program();
    for script in ["\"$0\" \"$@\" 2>&1 | head -n 1 >/dev/null & wait", "exec \"$0\" \"$@\" 2>/dev/full"] {
        let mut command = rig.command("sh");
        command.args(["-c", script]).arg(&program).args(RUN);
        command.env("DRIFTMERGE_BUNDLE", driftmerge_tests::hosts::bundle().folder());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh");
        wait_until("it locks", LOCK_LIMIT, || {
            let output = rig.run_to_end(&["status", "--json"]);
            String::from_utf8_lossy(&output.stdout).contains("\"locked\"")
        });
        assert!(rig.run_to_end(&["stop"]).status.success());
        assert!(child.wait().expect("sh").success(), "{script}");
        assert_eq!(rig.modules(), before, "{script}");
    }
}

#[test]
fn commands_whose_reader_has_gone_do_not_panic_and_a_full_disk_is_told() {
    let rig = rig();
    let program = driftmerge_tests::pulse::program();
    for arguments in ["list", "plan --mic mic_a --mic mic_b", "doctor", "unload", "--help", "run --help"] {
        let shell = |script: &str| {
            let script = script.replace("ARGUMENTS", arguments);
            let mut command = rig.command("bash");
            command.args(["-c", &script]).arg(&program);
            command.env("DRIFTMERGE_BUNDLE", driftmerge_tests::hosts::bundle().folder()).output().expect("bash")
        };
        // The pipe's reader has ended before anything is written.
        let gone = shell("exec 3> >(true); wait $!; \"$0\" ARGUMENTS >&3; echo $? >&2");
        let said = String::from_utf8_lossy(&gone.stderr).into_owned();
        assert!(said.trim_end().ends_with('0') && !said.contains("panicked"), "{arguments}: {said}");
        if !arguments.contains("help") {
            let full = shell("\"$0\" ARGUMENTS >/dev/full");
            let said = String::from_utf8_lossy(&full.stderr).into_owned();
            assert!(full.status.code() == Some(1) && said.contains("standard output"), "{arguments}: {said}");
        }
    }
}

#[test]
fn a_former_default_that_is_gone_keeps_nothing_from_being_cleaned_up() {
    let mut rig = rig();
    rig.pactl(&["load-module", "module-null-sink", "sink_name=headset"]);
    rig.pactl(&["set-default-source", "headset.monitor"]);
    let headset = rig.modules().into_iter().find(|(_, line)| line.contains("headset")).expect("loaded").0.to_string();
    let mut running = merging(&rig, &["--default-source"]);
    rig.pactl(&["unload-module", &headset]);
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    assert_eq!(ours(&rig), 0);
    assert_ne!(default_source(&rig), "driftmerge");
    // The same after a kill, by `unload`, and with a file that holds nothing.
    for content in ["gone", "", "\u{1b}[2J"] {
        let mut killed = merging(&rig, &["--default-source"]);
        killed.stop(Signal::KILL);
        let file = rig.server.folder().join("driftmerge/driftmerge.default");
        assert!(file.exists());
        fs::write(&file, content).expect("written");
        wait_until("the server noticed", START_LIMIT, || !rig.pactl(&["list", "sink-inputs"]).contains("merged"));
        assert!(rig.run_to_end(&["unload"]).status.success(), "{content:?}");
        assert_eq!((ours(&rig), file.exists()), (0, false), "{content:?}");
        assert_ne!(default_source(&rig), "driftmerge");
    }
    rig.mics.clear();
}

#[test]
fn two_services_give_back_the_default_that_was_there_before_both_in_whatever_order_they_end() {
    let rig = rig();
    rig.pactl(&["set-default-source", MICS[1]]);
    for first_ends_first in [true, false] {
        let mut first = merging(&rig, &["--default-source", "--play-device", "one"]);
        let mut second = merging(&rig, &["--default-source", "--play-device", "two"]);
        assert_eq!(default_source(&rig), "two");
        let (one, other) = if first_ends_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
        assert!(one.stop(Signal::TERM).success() && other.stop(Signal::TERM).success());
        assert_eq!(default_source(&rig), MICS[1], "first first: {first_ends_first}");
        assert_eq!(ours(&rig), 0);
    }
}

#[test]
fn ended_while_the_server_is_away_it_saves_and_succeeds() {
    let mut rig = rig();
    let mut running = merging(&rig, &[]);
    running.wait_for("locked", LOCK_LIMIT);
    rig.server.kill().expect("killed");
    running.wait_for("waiting for the server", START_LIMIT);
    let begin = Instant::now();
    let ended = running.stop(Signal::TERM);
    assert!(ended.success() && begin.elapsed() < END_LIMIT, "{ended}: {}", running.said());
    assert_eq!(states(&rig).len(), 1);
}

#[test]
fn while_the_server_is_away_or_hangs_status_answers_and_the_service_manager_is_told_that_all_is_well() {
    let mut rig = rig();
    let path = rig.server.folder().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let mut command = rig.driftmerge(&RUN);
    command.env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(command);
    running.wait_for("locked", LOCK_LIMIT);
    let pinged = || {
        let begin = Instant::now();
        let mut said = [0; 64];
        // What was said before counts not.
        manager.set_nonblocking(true).expect("set");
        while manager.recv(&mut said).is_ok() {}
        manager.set_nonblocking(false).expect("set");
        let length = manager.recv(&mut said).expect("a word from the service");
        assert_eq!(said[..length].trim_ascii(), b"WATCHDOG=1");
        begin.elapsed()
    };
    let answers = |server: bool| {
        let begin = Instant::now();
        let status = status(&rig);
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
        status["server"] == server
    };
    kill_process(server(&rig), Signal::STOP).expect("it runs");
    wait_until("a server that hangs is away", Duration::from_secs(8), || answers(false));
    println!("hanging: pinged after {:.1} s", pinged().as_secs_f64());
    kill_process(server(&rig), Signal::CONT).expect("it runs");
    wait_until("the server is back", START_LIMIT, || answers(true));
    wait_until("the graph is there once", START_LIMIT, || ours(&rig) == 2);

    rig.server.kill().expect("killed");
    running.wait_for("waiting for the server", START_LIMIT);
    let begin = Instant::now();
    let status = rig.run_to_end(&["status"]);
    assert!(begin.elapsed() < Duration::from_millis(500));
    assert!(String::from_utf8_lossy(&status.stdout).contains("waiting for the sound server"));
    println!("away: pinged after {:.1} s", pinged().as_secs_f64());
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn a_server_that_hangs_delays_the_end_by_2_s_at_most_and_the_next_start_finds_one_graph() {
    let rig = rig();
    let before = rig.modules();
    let mut running = merging(&rig, &[]);
    running.wait_for("locked", LOCK_LIMIT);
    kill_process(server(&rig), Signal::STOP).expect("it runs");
    // In the middle of a request, which is asked five times a second.
    assert!(!holds_within(Duration::from_millis(300), || !running.said().contains("locked")));
    let begin = Instant::now();
    let ended = running.stop(Signal::INT);
    println!("ended after {:.2} s", begin.elapsed().as_secs_f64());
    assert!(ended.success() && begin.elapsed() < END_LIMIT, "{ended}: {}", running.said());
    assert_eq!(states(&rig).len(), 1, "what was learnt is saved");
    kill_process(server(&rig), Signal::CONT).expect("it runs");
    let mut next = merging(&rig, &[]);
    assert_eq!(ours(&rig), 2);
    assert!(next.stop(Signal::TERM).success());
    assert_eq!(rig.modules(), before);
}

#[test]
fn a_second_signal_ends_it_at_once_and_a_repeated_hangup_does_not() {
    let rig = rig();
    let mut running = merging(&rig, &[]);
    kill_process(server(&rig), Signal::STOP).expect("it runs");
    let pid = Pid::from_raw(running.id() as i32).expect("a process");
    kill_process(pid, Signal::HUP).expect("it runs");
    kill_process(pid, Signal::HUP).expect("it runs");
    // Together with the first it is no second one.
    kill_process(pid, Signal::INT).expect("it runs");
    assert!(!holds_within(Duration::from_millis(300), || !PathBuf::from(format!("/proc/{}", running.id())).exists()));
    let begin = Instant::now();
    let ended = running.stop(Signal::INT);
    assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    println!("{ended}");
    kill_process(server(&rig), Signal::CONT).expect("it runs");
    assert!(rig.run_to_end(&["unload"]).status.success());
    assert_eq!(ours(&rig), 0);
}
