//! The hosts that `PipeWire` has: its filter-chain with the example configurations of `scripts/pipewire`, `jalv` on its JACK, and
//! `module-ladspa-sink` of `pipewire-pulse`. Each is given sound, and what it makes of it is held against the engine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftmerge_tests::hosts::{Background, Settings, Trial, Workshop, succeed};
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
fn filter_chain(kind: &str, trial: &Trial) -> Result<(), Stalled> {
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

/// Runs a plugin in jalv, plays sound into it, and compares what it gives with the engine.
fn jalv(trial: &Trial) -> Result<(), Stalled> {
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

/// `module-ladspa-sink` as `pipewire-pulse` has it: a filter-chain behind the same module arguments as `PulseAudio`'s. It takes
/// labels with as many outputs as inputs: two of ours.
fn ladspa_sink(trial: &Trial) -> Result<(), Stalled> {
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

/// A test for each host and plugin.
macro_rules! hosts {
    ($($test:ident: $host:ident($($argument:expr),+);)+) => {
        $(#[test]
        fn $test() {
            played(|| $host($($argument),+));
        })+
    };
}

hosts! {
    the_lv2_example_gives_what_the_engine_gives: filter_chain("lv2", &Trial::uris()[0]);
    the_ladspa_example_gives_what_the_engine_gives: filter_chain("ladspa", &Trial::labels()[0]);
    the_example_of_four_microphones_gives_what_the_engine_gives: filter_chain("merge4-lv2", &Trial::uris()[1]);
    the_example_of_aligned_microphones_gives_what_the_engine_gives_on_both_channels:
        filter_chain("align-lv2", &Trial::uris()[2]);
    jalv_on_pipewire_gives_what_the_engine_gives_for_merge: jalv(&Trial::uris()[0]);
    jalv_on_pipewire_gives_what_the_engine_gives_for_merge4: jalv(&Trial::uris()[1]);
    jalv_on_pipewire_gives_what_the_engine_gives_for_align: jalv(&Trial::uris()[2]);
    the_label_driftmerge_dual_gives_what_the_engine_gives_on_both_channels: ladspa_sink(&Trial::labels()[1]);
    the_label_driftmerge_align_gives_what_the_engine_gives_on_both_channels: ladspa_sink(&Trial::labels()[3]);
}
