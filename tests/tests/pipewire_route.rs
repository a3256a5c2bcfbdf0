//! `driftmerge run --route pipewire` on a real `PipeWire`, whose microphones come from a real `PulseAudio` on clocks of their own.
//!
//! They come by tunnels, whose resamplers swing by some 500 ppm from one quarter of a second to the next while they follow their
//! clocks. Sound cards do better; so what is asked for here is what any tracker must reach that hears such microphones.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use driftmerge_tests::align::{Window, measure, quantile, show};
use driftmerge_tests::hosts::{Workshop, succeed};
use driftmerge_tests::pipewire::PipeWire;
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, program, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// Rate of the microphones and of PipeWire's graph, Hz.
const RATE_HZ: u32 = 16_000;
/// Difference of the microphones' clocks, ppm.
const CLOCKS_PPM: f64 = 100.0;
/// How much later B hears everything, s.
const DELAY_B_S: f64 = 0.012;
/// Length of the windows in which the alignment is measured, s.
const WINDOW_S: f64 = 0.25;
const LIMIT: Duration = Duration::from_secs(20);

fn driftmerge(pipewire: &PipeWire, arguments: &[&str]) -> Command {
    let mut command = pipewire.command(program().to_str().expect("a plain path"));
    command.args(arguments);
    command
}

const RUN: [&str; 9] = ["run", "--route", "pipewire", "--rate", "16000", "--mic", MICS[0], "--mic", MICS[1]];

/// What `recorder` hears in `seconds`.
fn listen(rig: &Rig, recorder: &mut Recorder, seconds: f64) -> Vec<Window> {
    let (a, b) = (&rig.places[0], &rig.places[1]);
    measure(&recorder.take(seconds), f64::from(RATE_HZ), WINDOW_S, &a.own, &b.own, DELAY_B_S)
}

fn assert_aligned(windows: &[Window], limit_s: f64) {
    let errors: Vec<f64> = windows.iter().filter(|w| w.both()).map(|w| w.error_s.abs()).collect();
    let share = errors.len() as f64 / windows.len() as f64;
    assert!(share > 0.8, "both are found in {share:.2} of the windows only:\n{}", show(windows));
    let [half_s, most_s] = [0.5, 0.95].map(|share| quantile(errors.clone(), share));
    println!("p50 {:.1} us, p95 {:.1} us, found in {share:.2}", half_s * 1e6, most_s * 1e6);
    assert!(most_s < limit_s, "p95 {} us:\n{}", most_s * 1e6, show(windows));
}

fn child_of(running: &Running) -> Pid {
    let of = format!("/proc/{0}/task/{0}/children", running.id());
    let children = fs::read_to_string(of).expect("the system tells children");
    children.split_whitespace().next().and_then(|id| id.parse().ok()).and_then(Pid::from_raw).expect("one child")
}

#[test]
fn both_microphones_are_merged_inside_pipewire_and_nothing_is_left_behind() {
    let workshop = Workshop::new();
    let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
    let rig = Rig::start(RATE_HZ, CLOCKS_PPM, DELAY_B_S);
    pipewire.tunnel_to(&rig);
    let before = pipewire.sources();

    let mut running = Running::start(driftmerge(&pipewire, &RUN));
    running.wait_for("merging `mic_a`, `mic_b`", LIMIT);
    let mut recorder = Recorder::start_by(pipewire.command("parec"), "driftmerge", RATE_HZ);
    listen(&rig, &mut recorder, 5.0);
    let windows = listen(&rig, &mut recorder, 10.0);
    assert_aligned(&windows, 5e-4);
    drop(recorder);

    kill_process(child_of(&running), Signal::KILL).expect("it runs");
    running.wait_for("it is started again in", LIMIT);
    wait_until("the source is back", LIMIT, || pipewire.sources().iter().any(|name| name == "driftmerge"));

    running.stop(Signal::KILL);
    wait_until("the process ends with the program", LIMIT, || pipewire.sources() == before);
    let mut running = Running::start(driftmerge(&pipewire, &RUN));
    running.wait_for("merging", LIMIT);
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    wait_until("all is as it was", LIMIT, || pipewire.sources() == before);
}

#[test]
fn a_pipewire_that_cannot_is_told_by_its_exit_code() {
    let workshop = Workshop::new();
    let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
    for mic in MICS.iter().take(2) {
        succeed(
            pipewire
                .command("pactl")
                .args(["load-module", "module-null-sink", "media.class=Audio/Source/Virtual"])
                .arg(format!("sink_name={mic}")),
        );
    }
    let assert_ends = |command: &mut Command, code: i32, word: &str| {
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    };
    // All of PipeWire's modules but one.
    let modules = workshop.path("modules");
    fs::create_dir(&modules).expect("a folder of our own");
    let there = succeed(Command::new("find").args(["/usr/lib", "-name", "libpipewire-module-*.so"]));
    for file in String::from_utf8_lossy(&there.stdout).lines().filter(|file| !file.contains("filter-chain")) {
        symlink(file, modules.join(file.rsplit('/').next().expect("a name"))).expect("written");
    }
    assert_ends(driftmerge(&pipewire, &RUN).env("PIPEWIRE_MODULE_DIR", &modules), 5, "libpipewire-module-filter-chain");
    assert_ends(driftmerge(&pipewire, &RUN).env("PATH", &modules), 3, "no program `pipewire`");
    assert_ends(driftmerge(&pipewire, &RUN).env("PIPEWIRE_REMOTE", "nowhere"), 3, "is PipeWire running?");
    let rig = Rig::start(16_000, 0.0, 0.0);
    assert_ends(&mut rig.driftmerge(&RUN), 3, "needs PipeWire");
    assert_ends(driftmerge(&pipewire, &RUN).args(["--mic", "none"]), 4, "`none`");
    assert_ends(driftmerge(&pipewire, &RUN).args(["--play-device", MICS[0]]), 1, "taken");
}
