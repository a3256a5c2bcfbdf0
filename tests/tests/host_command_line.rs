//! Hosts that read one sound file and write another: each with every plugin, against the engine.

use std::process::Command;

use driftmerge_tests::hosts::{Settings, Trial, Workshop, assert_close, assert_same, succeed};
use hound::{SampleFormat, WavReader};

/// A host, and what it may change in the sound.
struct Host {
    /// The plugins that it is run with.
    trials: fn() -> Vec<Trial>,
    /// Runs it with one of them on `in.wav`, to write `out.wav`.
    command: fn(&Workshop, &Trial) -> Command,
    /// How far a sample may be from the engine's. None: not one bit.
    step: Option<f32>,
}

fn uris() -> Vec<Trial> {
    Trial::uris().into()
}

fn labels() -> Vec<Trial> {
    Trial::labels().into()
}

/// A command with the same argument several times, each with the value of a changed control.
fn with_each(mut command: Command, trial: &Trial, flag: &str, between: &str) -> Command {
    for (symbol, _, value) in trial.changed() {
        command.args([flag, &format!("{symbol}{between}{value}")]);
    }
    command
}

fn command(workshop: &Workshop, program: &str, arguments: &[&str]) -> Command {
    let mut command = workshop.command(program);
    command.args(arguments);
    command
}

/// NULL features, blocks of 1 frame.
fn lv2apply(workshop: &Workshop, trial: &Trial) -> Command {
    let mut command = command(workshop, "lv2apply", &["-i", "in.wav", "-o", "out.wav"]);
    for (symbol, _, value) in trial.changed() {
        command.args(["-c", symbol, &value.to_string()]);
    }
    command.arg(trial.name);
    command
}

/// Connects audio ports by symbol.
fn lv2file(workshop: &Workshop, trial: &Trial) -> Command {
    let mut command = command(workshop, "lv2file", &["-m", "-i", "in.wav", "-o", "out.wav"]);
    for (channel, symbol) in trial.layout.ins.iter().enumerate() {
        command.args(["-c", &format!("{}:{symbol}", channel + 1)]);
    }
    let mut command = with_each(command, trial, "-p", ":");
    command.arg(trial.name);
    command
}

/// Blocks of its own size.
fn lv2proc(workshop: &Workshop, trial: &Trial) -> Command {
    let command = command(workshop, "lv2proc", &["-i", "in.wav", "-o", "out.wav"]);
    let mut command = with_each(command, trial, "-c", ":");
    command.arg(trial.name);
    command
}

fn ffmpeg(workshop: &Workshop, filter: &str) -> Command {
    command(workshop, "ffmpeg", &["-v", "error", "-i", "in.wav", "-af", filter, "-c:a", "pcm_f32le", "out.wav"])
}

fn ffmpeg_lv2(workshop: &Workshop, trial: &Trial) -> Command {
    let controls: Vec<_> = trial.changed().iter().map(|(symbol, _, value)| format!("{symbol}={value}")).collect();
    ffmpeg(workshop, &format!("lv2=p={}:c={}", trial.name.replace(':', "\\\\:"), controls.join("|")))
}

fn ffmpeg_ladspa(workshop: &Workshop, trial: &Trial) -> Command {
    let controls: Vec<_> = trial.changed().iter().map(|(_, index, value)| format!("c{index}={value}")).collect();
    ffmpeg(workshop, &format!("ladspa=f=driftmerge:p={}:c={}", trial.name, controls.join("|")))
}

fn ecasound(workshop: &Workshop, trial: &Trial, operator: &str) -> Command {
    let format = format!("-f:f32_le,{},{}", trial.layout.ins.len(), trial.rate_hz);
    let controls = Settings::default().positional_of(trial.layout).join(",");
    let operator = format!("{operator}:{},{controls}", trial.name);
    command(workshop, "ecasound", &[&format, "-i", "in.wav", "-o", "out.wav", &operator])
}

fn ecasound_lv2(workshop: &Workshop, trial: &Trial) -> Command {
    ecasound(workshop, trial, "-elv2")
}

fn ecasound_ladspa(workshop: &Workshop, trial: &Trial) -> Command {
    ecasound(workshop, trial, "-el")
}

/// Writes 16-bit samples.
fn applyplugin(workshop: &Workshop, trial: &Trial) -> Command {
    let mut command = command(workshop, "applyplugin", &["in.wav", "out.wav", "driftmerge.so", trial.name]);
    command.args(Settings::default().positional_of(trial.layout));
    command
}

/// Works in 32-bit integers and wants a value for control outputs, too.
fn sox(workshop: &Workshop, trial: &Trial) -> Command {
    let format = ["-b", "32", "-e", "float", "out.wav"];
    let mut command = command(workshop, "sox", &[&["in.wav"], &format[..], &["ladspa", "driftmerge"]].concat());
    command.arg(trial.name).args(Settings::default().positional_of(trial.layout));
    command.args(vec!["0"; trial.layout.meters.len()]);
    command
}

fn gstreamer(workshop: &Workshop, trial: &Trial) -> Command {
    let mut command = command(workshop, "gst-launch-1.0", &["-q", "filesrc", "location=in.wav", "!", "wavparse", "!"]);
    // A registry of its own: the user's may know an older plugin, and is not to know this one.
    command.env("GST_REGISTRY", workshop.path("registry"));
    command.arg(format!("ladspa-driftmerge-so-{}", trial.name.replace('_', "-")));
    for (symbol, _, value) in trial.changed() {
        command.arg(format!("{symbol}={value}"));
    }
    command.args(["!", "wavenc", "!", "filesink", "location=out.wav"]);
    command
}

/// The channels of a file of floats or of 16-bit integers.
fn read(workshop: &Workshop, channels: usize) -> Vec<Vec<f32>> {
    let reader = WavReader::open(workshop.path("out.wav")).expect("the host has written it");
    if reader.spec().sample_format == SampleFormat::Float {
        return workshop.read_all("out.wav", channels);
    }
    let samples = reader.into_samples::<i16>().map(|x| f32::from(x.expect("the file is whole")) / 32_768.0);
    let samples: Vec<f32> = samples.collect();
    (0..channels).map(|channel| samples[channel..].iter().step_by(channels).copied().collect()).collect()
}

/// Demands of a host what its row of the table says.
fn check(host: &Host) {
    for trial in (host.trials)() {
        let workshop = Workshop::new();
        trial.write(&workshop, "in.wav");
        succeed(&mut (host.command)(&workshop, &trial));
        let expected = trial.expected();
        for (host_sound, engine) in read(&workshop, expected.len()).iter().zip(&expected) {
            match host.step {
                None => assert_same(host_sound, engine),
                Some(step) => assert_close(host_sound, engine, step),
            }
        }
    }
}

/// A test for each host of the table.
macro_rules! hosts {
    ($($test:ident: $trials:ident, $command:ident, $step:expr;)+) => {
        $(#[test]
        fn $test() {
            check(&Host { trials: $trials, command: $command, step: $step });
        })+
    };
}

hosts! {
    lv2apply_gives_what_the_engine_gives: uris, lv2apply, None;
    // It adds an output to silence, which makes 0 of -0.
    lv2file_gives_what_the_engine_gives: uris, lv2file, Some(0.0);
    lv2proc_gives_what_the_engine_gives: uris, lv2proc, None;
    ffmpeg_lv2_gives_what_the_engine_gives: uris, ffmpeg_lv2, None;
    ffmpeg_ladspa_gives_what_the_engine_gives: labels, ffmpeg_ladspa, None;
    ecasound_elv2_gives_what_the_engine_gives: uris, ecasound_lv2, None;
    ecasound_el_gives_what_the_engine_gives: labels, ecasound_ladspa, None;
    applyplugin_gives_what_the_engine_gives: labels, applyplugin, Some(1.0 / 32_768.0);
    sox_gives_what_the_engine_gives: labels, sox, Some(f32::EPSILON / 2.0);
    gstreamer_gives_what_the_engine_gives: labels, gstreamer, None;
}

/// `lv2bench` of lilv: long runs on its own sound, in several block sizes.
#[test]
fn lv2bench_runs_every_plugin_for_ten_seconds_in_any_block_size() {
    let workshop = Workshop::new();
    let uris = Trial::uris().map(|trial| trial.name);
    for (block, uri) in ["1", "83", "512", "4096"].into_iter().flat_map(|block| uris.map(|uri| (block, uri))) {
        let output = succeed(workshop.command("lv2bench").args(["-n", "480000", "-b", block, uri]));
        // It prints the time taken and the plugin's name; where it cannot run the plugin it says so, and ends well.
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds: f64 = said.split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(f64::NAN);
        assert!(seconds > 0.0 && said.contains(uri), "{uri}, blocks of {block}: {said}");
    }
}

#[test]
fn analyseplugin_shows_every_label_with_every_port_in_its_order_and_the_defaults_of_the_table() {
    for Trial { name: label, layout, .. } in Trial::labels() {
        let output = succeed(Workshop::new().command("analyseplugin").args(["driftmerge.so", label]));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("Plugin Label: \"{label}\"")), "{said}");
        assert!(said.contains("Environment: Normal or Hard Real-Time"), "{said}");
        let inputs = layout.controls.iter().map(|port| (port.symbol, "input, control", Some(port.default)));
        let meters = layout.meters.iter().map(|port| (port.symbol, "output, control", None));
        let outs = layout.outs.iter().map(|name| (*name, "output, audio", None));
        let ins = layout.ins.iter().map(|name| (*name, "input, audio", None));
        let ports = said.split_once("Ports:").expect("it shows ports").1.lines().filter(|line| !line.is_empty());
        let shown: Vec<_> = ports.map(str::trim).collect();
        let wanted: Vec<_> = inputs.chain(meters).chain(outs).chain(ins).collect();
        assert_eq!(shown.len(), wanted.len(), "{said}");
        for (line, (name, kind, default)) in shown.iter().zip(wanted) {
            assert!(line.starts_with(&format!("\"{name}\" {kind}")), "{name}, {kind}: {line}");
            let number = line.split_once("default ").and_then(|(_, rest)| rest.split(',').next()?.parse::<f32>().ok());
            assert_eq!(number, default, "{line}");
        }
        // What people are shown besides.
        assert!(said.contains("\"delay\" input, control, 5 to 1000, default 100\n"), "{said}");
        assert!(said.contains("\"latency\" output, control, 0 to 198144, integer\n"), "{said}");
    }
}
