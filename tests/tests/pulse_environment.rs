//! Odd environments: no home, no runtime folder, folders and files that are another user's or not what they should be, and
//! several services at a time.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use driftmerge_tests::pulse::{MICS, Rig, Running, wait_until};
use driftmerge_tests::wait::ended_within;
use rustix::process::{Signal, geteuid};

const RATE_HZ: u32 = 16_000;
const START_LIMIT: Duration = Duration::from_secs(5);
const RUN: [&str; 7] = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];

fn rig() -> Rig {
    Rig::start(RATE_HZ, 100.0, 0.012)
}

fn ours(rig: &Rig) -> usize {
    rig.modules().values().filter(|line| line.contains("driftmerge.graph=")).count()
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// What the command says in 5 s; it must not take longer.
#[track_caller]
fn output(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    if ended_within(&mut child, Duration::from_secs(5)).is_none() {
        let _ = child.kill();
        panic!("it hangs: {command:?}");
    }
    child.wait_with_output().expect("ended")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn of_ten_pairs_of_runs_that_start_at_the_same_moment_on_any_two_routes_one_stays() {
    let rig = rig();
    for (round, routes) in
        [["direct", "direct"], ["direct", "loopback"], ["loopback", "loopback"]].iter().cycle().take(10).enumerate()
    {
        let mut runs: Vec<Child> = routes
            .iter()
            .map(|route| {
                let mut command = rig.driftmerge(&[&RUN[..], &["--route", route]].concat());
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
            })
            .collect();
        let mut ended = None;
        wait_until("one is refused", START_LIMIT, || {
            ended = runs.iter_mut().position(|run| run.try_wait().expect("a child").is_some());
            ended.is_some()
        });
        let refused = runs.remove(ended.expect("one")).wait_with_output().expect("ended");
        assert_eq!(refused.status.code(), Some(1), "round {round}: {}", said(&refused));
        assert!(said(&refused).contains("already at work on `driftmerge`"), "{}", said(&refused));
        wait_until("the other one is at work", START_LIMIT, || rig.sources().iter().any(|s| s == "driftmerge"));
        assert!(!rig.sources().iter().any(|source| source.starts_with("driftmerge.")), "round {round}");
        assert!(rig.run_to_end(&["stop"]).status.success());
        let rest = runs.remove(0).wait_with_output().expect("ended");
        assert!(rest.status.success(), "round {round}: {}", said(&rest));
        assert_eq!(ours(&rig), 0, "round {round}");
    }
}

#[test]
fn a_runtime_folder_that_others_can_write_to_is_not_believed() {
    let rig = rig();
    rig.pactl(&["set-default-source", MICS[1]]);
    let temporary = rig.server.folder().join("everybodys");
    let folder = temporary.join(format!("driftmerge-{}", geteuid().as_raw()));
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("changed");
    if geteuid().is_root() {
        chown(&folder, Some(65_534), Some(65_534)).expect("root may");
    }
    let listener = UnixListener::bind(folder.join("driftmerge.sock")).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"{\"done\":\"\\u001b[31mbelieve me\"}\n");
        }
    });
    let driftmerge = |arguments: &[&str]| {
        let mut command = rig.driftmerge(arguments);
        command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", &temporary);
        command
    };
    for command in ["status", "stop", "save"] {
        let output = output(&mut driftmerge(&[command]));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("mode 0700") && !said(&output).contains("believe me"), "{}", said(&output));
    }
    for kind in ["fifo", "text", "zero"] {
        let file = folder.join("driftmerge.default");
        let _ = fs::remove_file(&file);
        match kind {
            "fifo" => fifo(&file),
            "text" => fs::write(&file, MICS[0]).expect("written"),
            _ => std::os::unix::fs::symlink("/dev/zero", &file).expect("linked"),
        }
        let mut running = Running::start(driftmerge(&[&RUN[..], &["--default-source"]].concat()));
        running.wait_for("merging", START_LIMIT);
        assert!(running.said().contains("mode 0700"), "{}", running.said());
        assert!(running.stop(Signal::TERM).success(), "{kind}: {}", running.said());
        assert_eq!(ours(&rig), 0);
        // That it was the other one is not known; what somebody else wrote is not taken for it.
        assert_ne!(rig.pactl(&["get-default-source"]).trim(), "driftmerge");
        assert!(output(&mut driftmerge(&["unload"])).status.success());
    }
}

#[test]
fn files_that_are_pipes_devices_or_too_large_are_refused_at_once() {
    let rig = rig();
    let folder = rig.server.folder();
    for (file, kind) in
        [(".env", "fifo"), (".env", "zero"), ("driftmerge/config.toml", "fifo"), ("driftmerge/config.toml", "large")]
    {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        match kind {
            "fifo" => fifo(&path),
            "zero" => std::os::unix::fs::symlink("/dev/zero", &path).expect("linked"),
            _ => fs::write(&path, vec![b'#'; 2 << 20]).expect("written"),
        }
        let output = output(&mut rig.driftmerge(&["list"]));
        assert_eq!(output.status.code(), Some(2), "{file} {kind}: {}", said(&output));
        assert!(said(&output).contains(file.rsplit('/').next().expect("a name")), "{}", said(&output));
        fs::remove_file(&path).expect("removed");
    }
    fs::write(folder.join(".env"), "\u{feff}RECORD_RATE=loud\n").expect("written");
    let refused = output(&mut rig.driftmerge(&["list"]));
    assert!(said(&refused).contains("`loud`"), "the first line behind a byte order mark is lost: {}", said(&refused));
    fs::remove_file(folder.join(".env")).expect("removed");

    // A state file is none of the user's: it is reported and replaced.
    let mut first = rig.start_driftmerge(&RUN);
    first.wait_for("locked", Duration::from_secs(20));
    assert!(first.stop(Signal::TERM).success());
    let states = fs::read_dir(folder.join("driftmerge")).expect("there").flatten().map(|file| file.path());
    let state = states.into_iter().find(|path| path.extension().is_some_and(|end| end == "json")).expect("saved");
    fs::remove_file(&state).expect("removed");
    fifo(&state);
    let mut next = rig.start_driftmerge(&RUN);
    next.wait_for("is not used: it is damaged", START_LIMIT);
    next.wait_for("locked", Duration::from_secs(20));
    assert!(next.stop(Signal::TERM).success());
    assert!(fs::metadata(&state).expect("there").is_file());
}

#[test]
fn names_of_100_letters_have_a_socket_and_unload_leaves_those_at_work_alone() {
    let rig = rig();
    let name = "n".repeat(100);
    let mut running = rig.start_driftmerge(&[&RUN[..], &["--play-device", &name]].concat());
    running.wait_for("merging", START_LIMIT);
    let mut status = rig.driftmerge(&["status"]);
    status.env("PLAY_DEVICE_NAME", &name);
    let told = output(&mut status);
    assert!(told.status.success(), "{}", said(&told));

    let load = ["load", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"];
    assert!(rig.run_to_end(&load).status.success());
    let unloaded = rig.run_to_end(&["unload"]);
    assert!(unloaded.status.success() && said(&unloaded).contains("5 modules removed"), "{}", said(&unloaded));
    assert_eq!(ours(&rig), 2, "the run's own");
    assert_eq!(rig.run_to_end(&["unload"]).status.code(), Some(1));
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(ours(&rig), 0);
}

#[test]
fn descriptions_with_escape_sequences_are_printed_escaped() {
    let rig = rig();
    let properties = "sink_properties='device.description=\"a\u{1b}[2Jb\nc\"'";
    rig.pactl(&["load-module", "module-null-sink", "sink_name=odder", properties]);
    let listed = rig.run_to_end(&["list", "--monitors"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("a\\u{1b}[2Jb"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(text.lines().count(), rig.sources().len(), "{text}");
}

#[test]
fn without_home_runtime_folder_and_user_name_it_runs_and_says_what_is_missing() {
    let rig = rig();
    let folder = rig.server.folder();
    let program = folder.join("driftmerge-for-all");
    fs::copy(driftmerge_tests::pulse::program(), &program).expect("copied");
    let bundle = folder.join("driftmerge.lv2");
    fs::create_dir(&bundle).expect("made");
    // Its folder of pictures is for other hosts.
    let files = fs::read_dir(driftmerge_tests::hosts::bundle().folder()).expect("the bundle").flatten();
    for file in files.filter(|file| file.path().is_file()) {
        fs::copy(file.path(), bundle.join(file.file_name())).expect("copied");
    }
    fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).expect("changed");
    let command = |more: &[(&str, &str)]| {
        let mut command = Command::new(&program);
        command.args(RUN).env_clear().current_dir("/").env("PULSE_SERVER", rig.server.address());
        command.env("DRIFTMERGE_BUNDLE", &bundle).envs(more.iter().copied());
        if geteuid().is_root() {
            // Nobody of that number is known to the system.
            command.uid(54_321).gid(54_321);
        }
        command
    };
    let temporary = tempfile::tempdir().expect("a folder");
    fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o777)).expect("changed");
    let writable = temporary.path().to_str().expect("text");
    for (more, words) in [
        (&[("TMPDIR", writable)][..], &["--state-dir"][..]),
        (&[("TMPDIR", "/proc"), ("HOME", "/proc")], &["XDG_RUNTIME_DIR", "cannot be kept"]),
    ] {
        let mut running = Running::start(command(more));
        running.wait_for("locked", Duration::from_secs(20));
        assert!(running.stop(Signal::TERM).success(), "{}", running.said());
        for word in words {
            assert!(running.said().contains(word), "{more:?}: {}", running.said());
        }
        assert_eq!(ours(&rig), 0);
    }
}

#[test]
fn run_takes_microphones_by_position_as_well_and_not_in_both_ways() {
    let rig = rig();
    let mut running = rig.start_driftmerge(&["run", MICS[0], MICS[1], "--rate", "16000"]);
    running.wait_for("merging `mic_a`, `mic_b`", START_LIMIT);
    assert!(running.stop(Signal::TERM).success());
    let both = rig.run_to_end(&["run", MICS[0], "--mic", MICS[1]]);
    assert_eq!(both.status.code(), Some(2), "{}", said(&both));
}

#[test]
fn sixteen_silent_clients_hold_up_nobody() {
    let rig = rig();
    let mut running = rig.start_driftmerge(&RUN);
    running.wait_for("merging", START_LIMIT);
    let socket = rig.server.folder().join("driftmerge/driftmerge.sock");
    let silent: Vec<_> =
        (0..64).map(|_| std::os::unix::net::UnixStream::connect(&socket).expect("it listens")).collect();
    let begin = Instant::now();
    assert!(rig.run_to_end(&["status"]).status.success());
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    drop(silent);
    assert!(running.stop(Signal::TERM).success());
}
