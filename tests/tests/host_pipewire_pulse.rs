//! `module-ladspa-sink` as `pipewire-pulse` has it: a filter-chain behind the same module arguments as `PulseAudio`'s. It
//! takes labels with as many outputs as inputs: two of ours.

use std::time::Duration;

use driftmerge_tests::hosts::{Settings, Trial, Workshop, succeed};
use driftmerge_tests::pipewire::{PipeWire, Stalled, assert_same_after_silence, played};
use driftmerge_tests::pulse::wait_until;

#[test]
fn the_label_driftmerge_dual_gives_what_the_engine_gives_on_both_channels() {
    played(|| compare(&Trial::labels()[1]));
}

#[test]
fn the_label_driftmerge_align_gives_what_the_engine_gives_on_both_channels() {
    played(|| compare(&Trial::labels()[3]));
}

fn compare(trial: &Trial) -> Result<(), Stalled> {
    let workshop = Workshop::new();
    let input = trial.write(&workshop, "in.wav");
    let pipewire = PipeWire::start(&workshop, trial.rate_hz, &[]);
    let load = |arguments: &[&str]| succeed(pipewire.command("pactl").arg("load-module").args(arguments));
    load(&["module-null-sink", "sink_name=speaker", "channels=2", "format=float32le", "rate=16000"]);
    let controls = format!("control={}", Settings::default().positional_of(trial.layout).join(","));
    let label = format!("label={}", trial.name);
    let plugin = ["plugin=driftmerge", &label, "channels=2", &controls];
    load(&[&["module-ladspa-sink", "sink_name=merge", "sink_master=speaker"], &plugin[..]].concat());

    let limit = Duration::from_secs(20);
    wait_until("the sink plays into the speaker", limit, || pipewire.links().contains("|-> speaker:playback_FR"));
    let recorder = pipewire.record_monitor("speaker", trial.rate_hz, 2, &workshop.path("out.wav"));
    wait_until("it is recorded", limit, || pipewire.links().contains("|-> pw-cat:input_FR"));
    pipewire.play("merge", &input)?;
    recorder.stop();
    assert_same_after_silence(&workshop.read_all("out.wav", 2), trial);
    Ok(())
}
