//! `driftmerge run` through `pipewire-pulse`: microphones of other machines and echo cancellation as `PipeWire` has them.

use std::time::Duration;

use driftmerge_tests::align::{Window, measure_at_its_speed, quantile, show};
use driftmerge_tests::hosts::{Workshop, succeed};
use driftmerge_tests::pipewire::PipeWire;
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, program, wait_until};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const DELAY_B_S: f64 = 0.012;
/// Length of the windows in which the alignment is measured, s.
const WINDOW_S: f64 = 0.25;
const LIMIT: Duration = Duration::from_secs(20);

fn run(pipewire: &PipeWire, arguments: &[&str]) -> Running {
    let mut command = pipewire.command(program().to_str().expect("a plain path"));
    command.args(["run", "--rate", "16000"]).args(arguments);
    Running::start(command)
}

fn modules(pipewire: &PipeWire) -> String {
    let output = succeed(pipewire.command("pactl").args(["list", "short", "modules"]));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tunnel (0.3.65) plays first what it recorded when it was made, then jumps to what is heard now, half a second late; and it
/// plays up to 1000 ppm too slowly. So the lag jumps beyond the latency chosen before, which then grows.
#[test]
fn direct_aligns_two_microphones_of_another_machine_within_50_us() {
    let workshop = Workshop::new();
    let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    let before = modules(&pipewire);
    let [a, b] = [0, 1].map(|mic| format!("tunnel:{}/{}", rig.server.address(), MICS[mic]));
    let mut running = run(&pipewire, &["--mic", &a, "--mic", &b]);
    running.wait_for("` locked", LIMIT);
    let mut recorder = Recorder::start_by(pipewire.command("parec"), "driftmerge", RATE_HZ);
    let (a, b) = (&rig.places[0].own, &rig.places[1].own);
    let mut listen = |seconds| measure_at_its_speed(&recorder.take(seconds), RATE_HZ.into(), WINDOW_S, a, b, DELAY_B_S);
    wait_until("both are heard", LIMIT, || listen(2.0).iter().all(Window::both));
    let windows = listen(12.0);
    let errors: Vec<f64> = windows.iter().filter(|w| w.both()).map(|w| w.error_s.abs()).collect();
    let share = errors.len() as f64 / windows.len() as f64;
    assert!(share > 0.9, "both are found in {share:.2} of the windows only:\n{}", show(&windows));
    let [half_s, most_s] = [0.5, 0.95].map(|share| quantile(errors.clone(), share));
    println!("p50 {:.1} us, p95 {:.1} us, found in {share:.2}", half_s * 1e6, most_s * 1e6);
    assert!(most_s < 50e-6, "p95 {} us:\n{}", most_s * 1e6, show(&windows));
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    assert_eq!(modules(&pipewire), before);
}

#[test]
fn a_recorder_that_comes_late_gets_sound() {
    let workshop = Workshop::new();
    let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    pipewire.tunnel_to(&rig);
    let before = modules(&pipewire);
    let mut running = run(&pipewire, &["--mic", MICS[0], "--mic", MICS[1]]);
    running.wait_for("` locked", LIMIT);
    // Longer than a service on PulseAudio waits before it rests.
    Recorder::start_by(pipewire.command("parec"), MICS[0], RATE_HZ).take(5.0);
    let mut recorder = Recorder::start_by(pipewire.command("parec"), "driftmerge", RATE_HZ);
    wait_until("the microphones are heard", LIMIT, || recorder.take(0.5).iter().any(|x| x.abs() > 0.01));
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    assert_eq!(modules(&pipewire), before);
}

#[test]
fn cancellers_and_a_microphone_of_another_machine_are_made_lock_and_are_taken_away() {
    let workshop = Workshop::new();
    let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
    let rig = Rig::start(RATE_HZ, 100.0, DELAY_B_S);
    pipewire.tunnel_to(&rig);
    let speaker = ["load-module", "module-null-sink", "sink_name=speaker", "rate=16000", "channels=1"];
    succeed(pipewire.command("pactl").args(speaker));
    let before = modules(&pipewire);
    let b = format!("tunnel:{}/{}", rig.server.address(), MICS[1]);
    let mut running = run(&pipewire, &["--mic", MICS[0], "--mic", &b, "--echo-sink", "speaker"]);
    running.wait_for("` locked", LIMIT);
    let links = pipewire.links();
    for (from, to) in [
        ("driftmerge_mic1:capture_MONO", "echo-cancel-capture:input_MONO"),
        ("echo-cancel-playback:output_MONO", "speaker:playback_MONO"),
        ("echo-cancel-playback:output_MONO", "driftmerge_far1:playback_MONO"),
        ("driftmerge_echo0:capture_MONO", "driftmerge:input_MONO"),
        ("driftmerge_echo1:capture_MONO", "driftmerge:input_MONO"),
    ] {
        assert!(links.contains(&format!("{from}\n  |-> {to}\n")), "{from} to {to}:\n{links}");
    }
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
    assert_eq!(modules(&pipewire), before);
}
