//! PipeWire's filter-chain, with the example configurations of `scripts/pipewire`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftmerge_tests::hosts::{CHANGED, Settings, Workshop, succeed};
use driftmerge_tests::pipewire::{PipeWire, assert_same_after_silence};
use driftmerge_tests::pulse::wait_until;
use driftmerge_tests::two_clocks::Pair;

/// Two microphones that hear nothing: the sound of the test goes straight into the chain.
const MICROPHONES: &str = "context.objects = [
    { factory = adapter args = { factory.name = support.null-audio-sink node.name = mic_a
        media.class = Audio/Source/Virtual audio.position = [ MONO ] } }
    { factory = adapter args = { factory.name = support.null-audio-sink node.name = mic_b
        media.class = Audio/Source/Virtual audio.position = [ MONO ] } }
]
";

/// An example as a user would edit it.
fn example(kind: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scripts/pipewire/driftmerge-{kind}.conf"));
    let text = fs::read_to_string(file).expect("the repository has it");
    let controls = CHANGED.map(|(symbol, _, value)| format!("\"{symbol}\" = {value}")).join(" ");
    assert!(text.contains("\"delay\" = 100"), "the example shows how to set a control");
    text.replace("MICROPHONE_A", "mic_a").replace("MICROPHONE_B", "mic_b").replace("\"delay\" = 100", &controls)
}

/// Starts PipeWire with an example, looks at its graph, plays a pair into it, and compares what comes out of the
/// microphone that applications see with the engine.
fn compare(kind: &str) {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let configurations = [("driftmerge", example(kind)), ("microphones", MICROPHONES.to_owned())];
    let pipewire = PipeWire::start(&workshop, pair.rate_hz, &configurations);
    let limit = Duration::from_secs(20);
    let linked = |from: &str, to: &str| pipewire.links().contains(&format!("{from}\n  |-> {to}\n"));
    for (from, to) in [
        ("mic_a:capture_MONO", "driftmerge_a_capture:input_MONO"),
        ("mic_b:capture_MONO", "driftmerge_b_capture:input_MONO"),
        ("driftmerge_a:output_FL", "driftmerge_in:playback_FL"),
        ("driftmerge_b:output_FR", "driftmerge_in:playback_FR"),
    ] {
        wait_until(&format!("{from} is linked to {to}"), limit, || linked(from, to));
    }
    wait_until("the microphones rest while nobody listens", limit, || {
        let output = succeed(pipewire.command("pactl").args(["list", "short", "sources"]));
        let sources = String::from_utf8_lossy(&output.stdout).into_owned();
        sources.lines().count() == 4 && !sources.contains("RUNNING") && !sources.contains("IDLE")
    });

    let file = workshop.path("out.wav");
    let recorder = pipewire.record("driftmerge", pair.rate_hz, 1, &file);
    wait_until("it is recorded", limit, || linked("driftmerge:capture_MONO", "pw-cat:input_MONO"));
    pipewire.play("driftmerge_in", &input);
    recorder.stop();
    assert_same_after_silence(&workshop.read("out.wav", 0), &pair, &settings);
}

#[test]
fn the_lv2_example_gives_what_the_engine_gives() {
    compare("lv2");
}

#[test]
fn the_ladspa_example_gives_what_the_engine_gives() {
    compare("ladspa");
}
