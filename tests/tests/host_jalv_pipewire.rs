//! `jalv` on `PipeWire`'s JACK, behind a null sink.

use driftmerge_tests::hosts::{Background, Trial, Workshop, succeed};
use driftmerge_tests::pipewire::{PipeWire, Stalled, assert_same_after_silence, played};

/// Runs a plugin in jalv, plays sound into it, and compares what it gives with the engine.
fn compare(trial: &Trial) -> Result<(), Stalled> {
    let workshop = Workshop::new();
    let input = trial.write(&workshop, "in.wav");
    let (ins, outs) = (trial.layout.ins, trial.layout.outs);
    let pipewire = PipeWire::start(&workshop, trial.rate_hz, &[]);
    let channels = format!("channels={}", ins.len());
    let places = ["front-left", "front-right", "rear-left", "rear-right"][..ins.len()].join(",");
    let map = format!("channel_map={places}");
    let null_sink = ["module-null-sink", "sink_name=source", &channels, &map, "format=float32le", "rate=16000"];
    succeed(pipewire.command("pactl").arg("load-module").args(null_sink));
    let mut command = pipewire.command("pw-jack");
    command.args(["jalv", "-x", "-n", "merge"]);
    for (symbol, _, value) in trial.changed() {
        command.args(["-c", &format!("{symbol}={value}")]);
    }
    let mut jalv = Background::start(command.arg(trial.name), workshop.path("jalv.log"));
    let wait_for = |jalv: &mut Background, ports: &[String]| {
        jalv.wait_until("the ports are there", |_| {
            let there = pipewire.ports();
            ports.iter().all(|port| there.iter().any(|p| p == port))
        });
    };
    let join = |pairs: Vec<(String, String)>| pairs.into_iter().try_for_each(|(from, to)| pipewire.link(&from, &to));
    let sources = ["FL", "FR", "RL", "RR"].map(|channel| format!("source:monitor_{channel}"));
    let inputs: Vec<String> = ins.iter().map(|name| format!("merge:{name}")).collect();
    let outputs: Vec<String> = outs.iter().map(|name| format!("merge:{name}")).collect();
    wait_for(&mut jalv, &[&sources[..ins.len()], &inputs, &outputs].concat());
    // A client shows its ports before it runs; a link that is made meanwhile may be negotiated for ever.
    jalv.wait_until("jalv runs", |_| pipewire.runs("merge"));
    join(sources.into_iter().zip(inputs).collect())?;
    // Target 0: the recorder waits to be linked.
    let recorder = pipewire.record("0", trial.rate_hz, outs.len() as u32, &workshop.path("out.wav"));
    let taken = if outs.len() == 1 { vec!["pw-cat:input_MONO"] } else { vec!["pw-cat:input_FL", "pw-cat:input_FR"] };
    let taken: Vec<String> = taken.into_iter().map(str::to_owned).collect();
    wait_for(&mut jalv, &taken);
    join(outputs.into_iter().zip(taken).collect())?;
    pipewire.play("source", &input)?;
    recorder.stop();
    assert_same_after_silence(&workshop.read_all("out.wav", outs.len()), trial);
    Ok(())
}

#[test]
fn jalv_on_pipewire_gives_what_the_engine_gives_for_merge() {
    played(|| compare(&Trial::uris()[0]));
}

#[test]
fn jalv_on_pipewire_gives_what_the_engine_gives_for_merge4() {
    played(|| compare(&Trial::uris()[1]));
}

#[test]
fn jalv_on_pipewire_gives_what_the_engine_gives_for_align() {
    played(|| compare(&Trial::uris()[2]));
}
