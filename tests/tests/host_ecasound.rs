//! `ecasound`, with LV2 and with LADSPA.

use driftmerge_tests::hosts::{Settings, Trial, Workshop, succeed};

/// Runs an operator over a trial's sound and compares.
fn compare(trial: &Trial, operator: &str) {
    let workshop = Workshop::new();
    let input = trial.write(&workshop, "in.wav");
    let mut command = workshop.command("ecasound");
    command.arg(format!("-f:f32_le,{},{}", trial.layout.ins.len(), trial.rate_hz)).arg("-i").arg(input);
    let controls = Settings::default().positional_of(trial.layout).join(",");
    succeed(command.args(["-o", "out.wav"]).arg(format!("{operator}:{},{controls}", trial.name)));
    trial.assert_written(&workshop, "out.wav");
}

#[test]
fn the_operator_elv2_gives_what_the_engine_gives() {
    for trial in Trial::uris() {
        compare(&trial, "-elv2");
    }
}

#[test]
fn the_operator_el_gives_what_the_engine_gives() {
    for trial in Trial::labels() {
        compare(&trial, "-el");
    }
}
