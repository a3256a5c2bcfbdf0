//! PipeWire's filter-chain, with the example configurations of `scripts/pipewire`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftmerge_tests::hosts::{Trial, Workshop, succeed};
use driftmerge_tests::pipewire::{PipeWire, Stalled, assert_same_after_silence, played};
use driftmerge_tests::pulse::wait_until;

/// The microphones and the channels of the chain that they go to.
const MICROPHONES: [(&str, &str); 4] = [("a", "FL"), ("b", "FR"), ("c", "RL"), ("d", "RR")];

/// Microphones that hear nothing: the sound of the test goes straight into the chain.
fn microphones(count: usize) -> String {
    let one = |(letter, _): &(&str, &str)| {
        format!(
            "{{ factory = adapter args = {{ factory.name = support.null-audio-sink node.name = mic_{letter}
                media.class = Audio/Source/Virtual audio.position = [ MONO ] }} }}"
        )
    };
    let all: Vec<String> = MICROPHONES[..count].iter().map(one).collect();
    format!("context.objects = [\n{}\n]\n", all.join("\n"))
}

/// An example as a user would edit it.
fn example(kind: &str, trial: &Trial) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scripts/pipewire/driftmerge-{kind}.conf"));
    let mut text = fs::read_to_string(file).expect("the repository has it");
    let controls: Vec<String> =
        trial.changed().iter().map(|(symbol, _, value)| format!("\"{symbol}\" = {value}")).collect();
    assert!(text.contains("\"delay\" = 100"), "the example shows how to set a control");
    text = text.replace("\"delay\" = 100", &controls.join(" "));
    for (letter, _) in MICROPHONES {
        text = text.replace(&format!("\"MICROPHONE_{}\"", letter.to_uppercase()), &format!("\"mic_{letter}\""));
    }
    text
}

/// Starts PipeWire with an example, looks at its graph, plays sound into it, and compares what comes out of the
/// microphone that applications see with the engine.
fn compare(kind: &str, trial: &Trial) -> Result<(), Stalled> {
    let workshop = Workshop::new();
    let input = trial.write(&workshop, "in.wav");
    let (ins, outs) = (trial.layout.ins.len(), trial.layout.outs.len());
    let configurations = [("driftmerge", example(kind, trial)), ("microphones", microphones(ins))];
    let pipewire = PipeWire::start(&workshop, trial.rate_hz, &configurations);
    let limit = Duration::from_secs(20);
    for (letter, channel) in &MICROPHONES[..ins] {
        for (from, to) in [
            (format!("mic_{letter}:capture_MONO"), format!("driftmerge_{letter}_capture:input_MONO")),
            (format!("driftmerge_{letter}:output_{channel}"), format!("driftmerge_in:playback_{channel}")),
        ] {
            pipewire.wait_for_link(&from, &to)?;
        }
    }
    wait_until("the microphones rest while nobody listens", limit, || {
        let output = succeed(pipewire.command("pactl").args(["list", "short", "sources"]));
        let sources = String::from_utf8_lossy(&output.stdout).into_owned();
        // With the merged one and the monitor of the chain's sink.
        sources.lines().count() == ins + 2 && !sources.contains("RUNNING") && !sources.contains("IDLE")
    });

    let file = workshop.path("out.wav");
    let recorder = pipewire.record("driftmerge", trial.rate_hz, outs as u32, &file);
    let last = if outs == 1 { "MONO" } else { "FR" };
    pipewire.wait_for_link(&format!("driftmerge:capture_{last}"), &format!("pw-cat:input_{last}"))?;
    pipewire.play("driftmerge_in", &input)?;
    recorder.stop();
    assert_same_after_silence(&workshop.read_all("out.wav", outs), trial);
    Ok(())
}

#[test]
fn the_lv2_example_gives_what_the_engine_gives() {
    let [merge, ..] = Trial::uris();
    played(|| compare("lv2", &merge));
}

#[test]
fn the_ladspa_example_gives_what_the_engine_gives() {
    let [merge, ..] = Trial::labels();
    played(|| compare("ladspa", &merge));
}

#[test]
fn the_example_of_four_microphones_gives_what_the_engine_gives() {
    let [_, merge4, _] = Trial::uris();
    played(|| compare("merge4-lv2", &merge4));
}

#[test]
fn the_example_of_aligned_microphones_gives_what_the_engine_gives_on_both_channels() {
    let [_, _, align] = Trial::uris();
    played(|| compare("align-lv2", &align));
}
