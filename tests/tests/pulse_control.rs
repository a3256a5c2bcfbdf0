//! Control of a running service through its socket: what can be changed, who may, and what it leaves behind.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use rustix::process::{Signal, geteuid};

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const RUN: [&str; 7] = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];

/// A service that is locked, and somebody who records, so that it does not rest.
fn locked() -> (Rig, Running, Recorder) {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let running = rig.start_driftmerge(&RUN);
    running.wait_for("locked", LOCK_LIMIT);
    let recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    (rig, running, recorder)
}

/// Asserts the exit code, and that what it says has all of `words`.
#[track_caller]
fn assert_said(output: &Output, code: i32, words: &[&str]) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "«{word}» is not in: {said}");
    }
}

fn status(rig: &Rig) -> serde_json::Value {
    serde_json::from_slice(&rig.run_to_end(&["status", "--json"]).stdout).expect("JSON")
}

fn socket(rig: &Rig) -> PathBuf {
    rig.server.folder().join("driftmerge/driftmerge.sock")
}

#[test]
fn settings_are_changed_while_it_runs_all_or_none() {
    let (rig, mut running, mut recorder) = locked();
    let latency_ms = || status(&rig)["latency_ms"].as_f64().expect("a number");
    assert_said(&rig.run_to_end(&["set", "latency=200", "half_life=5"]), 0, &["latency is 200", "half_life is 5"]);
    wait_until("the latency is 200 ms", Duration::from_secs(5), || (latency_ms() - 200.0).abs() < 1.0);
    assert_eq!(status(&rig)["others"][0]["state"], "locked", "no lock is lost by it");

    assert_said(&rig.run_to_end(&["set", "latency=300", "threshold=3"]), 2, &["`3`", "`driftmerge set`", "0 to 1"]);
    assert_said(&rig.run_to_end(&["set", "rate=8000"]), 2, &["`rate`", "threshold", "half_life"]);
    assert_said(&rig.run_to_end(&["set", "latency"]), 2, &["KEY=VALUE"]);
    recorder.take(1.0);
    assert!((latency_ms() - 200.0).abs() < 1.0, "half of a refused change was made");

    let share = || status(&rig)["others"][0]["weight"].as_f64().expect("a number");
    assert_said(&rig.run_to_end(&["set", "mode=only-b"]), 0, &["mode is only-b"]);
    wait_until("B alone plays", Duration::from_secs(5), || share() > 0.99);
    assert_said(&rig.run_to_end(&["set", "mode=only-a"]), 0, &[]);
    wait_until("A alone plays", Duration::from_secs(5), || share() < 0.01);
    // Chosen anew, for a lag of 12 ms: 30 ms more.
    assert_said(&rig.run_to_end(&["set", "latency=auto"]), 0, &[]);
    wait_until("the latency is small again", Duration::from_secs(5), || latency_ms() < 60.0);
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn the_noise_filter_lowers_the_noise_of_a_running_service_by_4_to_13_db() {
    let (rig, mut running, mut recorder) = locked();
    let latency_ms = || status(&rig)["latency_ms"].as_f64().expect("a number");
    // What a tenth of the frames of 20 ms do not reach, dB.
    let mut quietest_db = || {
        let sound = recorder.take(8.0);
        let power = |frame: &[f32]| frame.iter().map(|x| f64::from(x * x)).sum::<f64>() / frame.len() as f64;
        let mut powers: Vec<f64> = sound.chunks(RATE_HZ as usize / 50).map(power).collect();
        powers.sort_by(f64::total_cmp);
        10.0 * powers[powers.len() / 10].log10()
    };
    // How much the talker pauses differs from one stretch to the next.
    let before_db = (0..3).map(|_| quietest_db()).fold(f64::INFINITY, f64::min);
    let before_ms = latency_ms();
    assert_said(&rig.run_to_end(&["set", "post_filter=yes"]), 0, &["post_filter is yes"]);
    wait_until("the filter's 32 ms are told", Duration::from_secs(5), || (latency_ms() - before_ms - 32.0).abs() < 1.0);
    // It has to learn the noise first.
    wait_until("the noise is 4 dB less", Duration::from_secs(60), || {
        let less_db = before_db - quietest_db();
        println!("{before_db:.1} dB in pauses, {less_db:.1} dB less with the filter");
        assert!(less_db < 13.0, "{less_db} dB less");
        less_db > 4.0
    });
    assert_eq!(status(&rig)["others"][0]["state"], "locked", "no lock is lost by it");
    assert_said(&rig.run_to_end(&["set", "post_filter=no"]), 0, &["post_filter is no"]);
    wait_until("the latency is as before", Duration::from_secs(5), || (latency_ms() - before_ms).abs() < 1.0);
    assert!(running.stop(Signal::TERM).success());
}

#[test]
fn save_keeps_what_was_learnt_and_reset_forgets_it_and_locks_again() {
    let (rig, mut running, mut recorder) = locked();
    recorder.take(2.0);
    let output = rig.run_to_end(&["save"]);
    assert_said(&output, 0, &["is kept in"]);
    let said = String::from_utf8(output.stdout).expect("text");
    let file = PathBuf::from(said.split_once("kept in ").expect("a path").1.trim());
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("kept")).expect("JSON");
    let lag_s = kept["snapshots"][0]["lag_s"].as_f64().expect("a lag");
    assert!((lag_s - 0.012).abs() < 0.003, "{lag_s} s");

    assert_said(&rig.run_to_end(&["reset"]), 0, &["forgotten"]);
    assert!(!file.exists());
    running.wait_for("lost its lock", Duration::from_secs(5));
    let relocked = || running.said().matches("locked: lag").count() == 2;
    wait_until("it locks again", LOCK_LIMIT, relocked);
    assert!(running.stop(Signal::TERM).success());
    assert!(file.exists(), "the end keeps what was learnt since");
}

#[test]
fn stop_returns_when_the_graph_is_gone() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let before = rig.modules();
    let mut running = rig.start_driftmerge(&RUN);
    running.wait_for("merging", Duration::from_secs(5));
    assert_said(&rig.run_to_end(&["stop"]), 0, &["it ends"]);
    assert_eq!(rig.modules(), before);
    assert!(running.wait().success());
    assert!(!socket(&rig).exists());
    assert_said(&rig.run_to_end(&["stop"]), 1, &["no `driftmerge run`"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_and_the_merge_goes_on() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let no_folder = rig.server.folder().join("a-file");
    std::fs::write(&no_folder, "kept").expect("written");
    let state = ["--state-dir", no_folder.to_str().expect("text")];
    let mut running = rig.start_driftmerge(&[&RUN[..], &state].concat());
    running.wait_for("locked", LOCK_LIMIT);
    assert_said(&rig.run_to_end(&["save"]), 1, &["cannot be kept in", "a-file", "will search anew"]);
    assert_eq!(status(&rig)["others"][0]["state"], "locked");
    assert!(running.stop(Signal::TERM).success());
    assert!(running.said().contains("cannot be kept"));
    assert_eq!(std::fs::read_to_string(&no_folder).expect("there"), "kept");
}

#[test]
fn a_full_disk_while_saving_is_told_and_the_old_state_stays() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    // A limit of no bytes for any file fails a write as a full disk does.
    let program = driftmerge_tests::pulse::program();
    let mut command = rig.command("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(program).args(RUN);
    command.env("DRIFTMERGE_BUNDLE", driftmerge_tests::hosts::bundle().folder());
    let mut running = Running::start(command);
    running.wait_for("locked", LOCK_LIMIT);
    assert_said(&rig.run_to_end(&["save"]), 1, &["cannot be kept in", "File too large"]);
    let folder = rig.server.folder().join("driftmerge");
    let files =
        || std::fs::read_dir(&folder).map_or(0, |files| files.flatten().filter(|f| f.path() != socket(&rig)).count());
    assert_eq!(files(), 0, "half a file is left");
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(files(), 0);
}

#[test]
fn nobody_can_hold_the_service_up_and_only_its_user_may_talk_to_it() {
    let (rig, mut running, _recorder) = locked();
    let mode = |path: PathBuf| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(socket(&rig)), 0o600);
    let folder = socket(&rig).parent().expect("a folder").to_path_buf();
    assert_eq!(mode(folder.clone()), 0o700);

    // Twice as many as are listened to at a time, who say nothing; and some who say too much, or nonsense.
    let silent: Vec<UnixStream> = (0..32).map(|_| UnixStream::connect(socket(&rig)).expect("it listens")).collect();
    let begin = Instant::now();
    wait_until("the silent are let go", Duration::from_secs(10), || rig.run_to_end(&["status"]).status.success());
    println!("32 silent clients held a status up for {:.1} s", begin.elapsed().as_secs_f64());
    drop(silent);
    for said in [&b"{\"do\":\"dance\"}\n"[..], b"hello\n", &[b'x'; 8192]] {
        let mut stream = UnixStream::connect(socket(&rig)).expect("it listens");
        // Who says too much may find the connection closed.
        let _ = stream.write_all(said);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("{\"refused\":"), "{answer}");
    }
    assert!(rig.run_to_end(&["status"]).status.success());

    // Only root can become somebody else to try.
    if geteuid().is_root() {
        for path in [rig.server.folder(), &folder] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o711)).expect("changed");
        }
        std::fs::set_permissions(socket(&rig), PermissionsExt::from_mode(0o666)).expect("changed");
        // Where the program was built, others may not come.
        let copy = rig.server.folder().join("driftmerge-for-all");
        std::fs::copy(driftmerge_tests::pulse::program(), &copy).expect("copied");
        let mut stranger = rig.command(&copy);
        stranger.arg("stop").uid(65_534).gid(65_534);
        let output = stranger.output().expect("the program can be run by others");
        assert_said(&output, 2, &["belongs to another user"]);
        assert_eq!(status(&rig)["others"][0]["state"], "locked", "it goes on");
    }
    assert!(running.stop(Signal::TERM).success());
}
