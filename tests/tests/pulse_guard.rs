//! What other programs do to the graph of a running service: parts unloaded, muted, turned down, moved.

use std::time::{Duration, Instant};

use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use driftmerge_tests::wait::holds_within;
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
/// Within this time a change is undone or reported.
const SOON: Duration = Duration::from_secs(2);

/// A server that remembers mutes and volumes, as every desktop's does.
fn rig() -> Rig {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    for module in ["module-stream-restore", "module-device-restore"] {
        rig.pactl(&["load-module", module]);
    }
    rig
}

fn locked(rig: &Rig, route: &str) -> Running {
    let running =
        rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--route", route]);
    running.wait_for("locked", LOCK_LIMIT);
    running
}

fn status(rig: &Rig) -> serde_json::Value {
    serde_json::from_slice(&rig.run_to_end(&["status", "--json"]).stdout).expect("JSON")
}

/// The index of our module that is marked as `part`.
fn part(rig: &Rig, part: &str) -> Option<u32> {
    let mark = format!("driftmerge.part={part} ");
    rig.modules().into_iter().find(|(_, line)| line.contains(&mark)).map(|(index, _)| index)
}

/// Waits until somebody who records hears the speech.
fn heard(rig: &Rig) {
    let mut recorder = Recorder::start(rig, "driftmerge", RATE_HZ);
    let begin = Instant::now();
    while recorder.take(0.25).iter().filter(|x| x.abs() > 1e-3).count() < 500 {
        assert!(begin.elapsed() < Duration::from_secs(5), "nothing is heard");
    }
}

#[test]
fn a_part_of_the_graph_that_somebody_unloads_is_back_within_1_s_and_is_heard() {
    for (route, parts) in [("direct", &["source", "out"][..]), ("loopback", &["source", "in", "mic0", "mic1", "out"])] {
        let rig = rig();
        rig.pactl(&["set-default-source", MICS[1]]);
        let before = rig.modules();
        let mut running = rig.start_driftmerge(&[
            "run",
            "--mic",
            MICS[0],
            "--mic",
            MICS[1],
            "--rate",
            "16000",
            "--route",
            route,
            "--default-source",
        ]);
        running.wait_for("locked", LOCK_LIMIT);
        let whole = rig.modules().len();
        for name in parts {
            let index = part(&rig, name).expect("it is there");
            let begin = Instant::now();
            rig.pactl(&["unload-module", &index.to_string()]);
            let limit = Duration::from_secs(if *name == "out" { 3 } else { 1 });
            wait_until(&format!("{route}: `{name}` is back\n"), limit, || {
                part(&rig, name).is_some_and(|now| now != index)
            });
            println!("{route}: `{name}` is back after {:.2} s", begin.elapsed().as_secs_f64());
            wait_until("the graph is whole", SOON, || rig.modules().len() == whole);
            wait_until("it is the default again", SOON, || rig.pactl(&["get-default-source"]).trim() == "driftmerge");
            heard(&rig);
        }
        assert!(running.stop(Signal::TERM).success(), "{}", running.said());
        assert_eq!(rig.modules(), before);
        assert_eq!(rig.pactl(&["get-default-source"]).trim(), MICS[1]);
    }
}

/// The index of the stream in `pactl list KIND` whose properties contain `word`.
fn stream(rig: &Rig, kind: &str, word: &str) -> String {
    let listed = rig.pactl(&["list", kind]);
    let block =
        listed.split("\n\n").find(|block| block.contains(word)).unwrap_or_else(|| panic!("no {word} in {listed}"));
    block.split('#').nth(1).expect("an index").split_whitespace().next().expect("an index").to_owned()
}

#[test]
fn what_is_inside_the_graph_is_unmuted_and_at_full_volume_again_within_2_s() {
    let rig = rig();
    let mut running = locked(&rig, "direct");
    let listener = Recorder::start(&rig, "driftmerge", RATE_HZ);
    let pid = format!("application.process.id = \"{}\"", running.id());
    let playing = stream(&rig, "sink-inputs", &pid);
    let recording = stream(&rig, "source-outputs", &pid);
    for (kind, name) in [
        ("sink", "driftmerge_out"),
        ("source", "driftmerge_out.monitor"),
        ("sink-input", &playing),
        ("source-output", &recording),
    ] {
        let listed = |text: &str| {
            let all = rig.pactl(&["list", &format!("{kind}s")]);
            let mark = if kind.contains('-') { format!("#{name}\n") } else { format!("Name: {name}\n") };
            all.split("\n\n").find(|block| block.contains(&mark)).is_some_and(|block| block.contains(text))
        };
        rig.pactl(&[&format!("set-{kind}-mute"), name, "1"]);
        wait_until(&format!("{kind} {name} is unmuted"), SOON, || listed("Mute: no"));
        rig.pactl(&[&format!("set-{kind}-volume"), name, "30%"]);
        wait_until(&format!("{kind} {name} is at full volume"), SOON, || listed("100%") && !listed("30%"));
    }
    assert!(running.said().contains("by another program"), "{}", running.said());
    drop(listener);
    heard(&rig);
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn a_mute_that_the_server_remembers_from_an_earlier_run_does_not_silence_the_next() {
    let rig = rig();
    let mut running = locked(&rig, "direct");
    let pid = format!("application.process.id = \"{}\"", running.id());
    // Without the service nobody undoes it; it is remembered by the names.
    let playing = stream(&rig, "sink-inputs", &pid);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(running.id() as i32).expect("a process"),
        Signal::STOP,
    )
    .expect("it runs");
    rig.pactl(&["set-sink-input-mute", &playing, "1"]);
    rig.pactl(&["set-sink-mute", "driftmerge_out", "1"]);
    running.stop(Signal::KILL);
    assert!(rig.run_to_end(&["unload"]).status.success());
    let mut next = locked(&rig, "direct");
    heard(&rig);
    assert!(next.stop(Signal::TERM).success());
}

#[test]
fn a_muted_source_or_microphone_and_a_volume_turned_down_step_by_step_are_reported_and_left_alone() {
    let rig = rig();
    let mut running = locked(&rig, "direct");
    let listener = Recorder::start(&rig, "driftmerge", RATE_HZ);
    let noted = |words: &[&str]| {
        let notices = status(&rig)["notices"].to_string();
        words.iter().all(|word| notices.contains(word))
    };
    for source in ["driftmerge", MICS[0], MICS[1]] {
        let named = format!("`{source}` is muted");
        rig.pactl(&["set-source-mute", source, "1"]);
        wait_until(&named, SOON, || noted(&[&named]));
        assert!(!holds_within(Duration::from_secs(1), || rig.pactl(&["get-source-mute", source]).contains("no")));
        rig.pactl(&["set-source-mute", source, "0"]);
        wait_until("it is forgotten", SOON, || !noted(&[&named]));
    }
    let lines_before = running.said().lines().count();
    for _ in 0..20 {
        rig.pactl(&["set-source-volume", "driftmerge", "-1dB"]);
    }
    wait_until("it is reported", SOON, || noted(&["`driftmerge` is turned down to 46 %"]));
    assert!(running.said().lines().count() <= lines_before + 1, "{}", running.said());
    let shown = rig.run_to_end(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("note: `driftmerge` is turned down"));
    drop(listener);
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn the_stream_of_the_merged_source_is_moved_back_where_another_program_moved_it() {
    let rig = rig();
    rig.pactl(&["load-module", "module-null-sink", "sink_name=elsewhere"]);
    let mut running = locked(&rig, "direct");
    let listener = Recorder::start(&rig, "driftmerge", RATE_HZ);
    let module = part(&rig, "source").expect("it is there");
    let ours = stream(&rig, "source-outputs", &format!("Owner Module: {module}\n"));
    let connected = || {
        let listed = rig.pactl(&["list", "short", "source-outputs"]);
        let line = listed.lines().find(|line| line.starts_with(&format!("{ours}\t"))).expect("it is there").to_owned();
        line.split('\t').nth(1).expect("a source").to_owned()
    };
    let before = connected();
    rig.pactl(&["move-source-output", &ours, "elsewhere.monitor"]);
    wait_until("it is connected to the merge again", SOON, || connected() == before);
    drop(listener);
    heard(&rig);
    assert!(running.stop(Signal::TERM).success());
}
