//! `jalv` on `PipeWire`'s JACK, behind a null sink.

use driftmerge_tests::hosts::{Background, CHANGED, Trial, URI, Workshop, succeed};
use driftmerge_tests::pipewire::{PipeWire, assert_same_after_silence};

#[test]
fn jalv_on_pipewire_gives_what_the_engine_gives() {
    let workshop = Workshop::new();
    let [trial, ..] = Trial::uris();
    let input = trial.write(&workshop, "in.wav");
    let pipewire = PipeWire::start(&workshop, trial.rate_hz, &[]);
    let null_sink = ["module-null-sink", "sink_name=source", "channels=2", "format=float32le", "rate=16000"];
    succeed(pipewire.command("pactl").arg("load-module").args(null_sink));
    let mut command = pipewire.command("pw-jack");
    command.args(["jalv", "-x", "-n", "merge"]);
    for (symbol, _, value) in CHANGED {
        command.args(["-c", &format!("{symbol}={value}")]);
    }
    let mut jalv = Background::start(command.arg(URI), workshop.path("jalv.log"));
    let wait_for = |jalv: &mut Background, ports: &[&str]| {
        jalv.wait_until("the ports are there", |_| {
            let there = pipewire.ports();
            ports.iter().all(|port| there.iter().any(|p| p == port))
        });
    };
    let link = |from: &str, to: &str| succeed(pipewire.command("pw-link").args([from, to]));
    wait_for(&mut jalv, &["source:monitor_FL", "source:monitor_FR", "merge:in_a", "merge:in_b", "merge:out"]);
    // A client shows its ports before it runs; a link that is made meanwhile may be negotiated for ever.
    jalv.wait_until("jalv runs", |_| pipewire.runs("merge"));
    link("source:monitor_FL", "merge:in_a");
    link("source:monitor_FR", "merge:in_b");
    // Target 0: the recorder waits to be linked.
    let recorder = pipewire.record("0", trial.rate_hz, 1, &workshop.path("out.wav"));
    wait_for(&mut jalv, &["pw-cat:input_MONO"]);
    link("merge:out", "pw-cat:input_MONO");
    pipewire.play("source", &input);
    recorder.stop();
    assert_same_after_silence(&workshop.read_all("out.wav", 1), &trial);
}
