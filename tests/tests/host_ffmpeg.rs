//! `ffmpeg`: its filters `lv2` and `ladspa`.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

/// Runs one filter over a trial's sound and compares.
fn filter(trial: &Trial, filter: &str) {
    let workshop = Workshop::new();
    let input = trial.write(&workshop, "in.wav");
    let mut command = workshop.command("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(input).args(["-af", filter, "-c:a", "pcm_f32le", "out.wav"]);
    succeed(&mut command);
    trial.assert_written(&workshop, "out.wav");
}

#[test]
fn the_filter_lv2_gives_what_the_engine_gives() {
    for trial in Trial::uris() {
        let controls: Vec<_> = trial.changed().iter().map(|(symbol, _, value)| format!("{symbol}={value}")).collect();
        filter(&trial, &format!("lv2=p={}:c={}", trial.name.replace(':', "\\\\:"), controls.join("|")));
    }
}

#[test]
fn the_filter_ladspa_gives_what_the_engine_gives() {
    for trial in Trial::labels() {
        let controls: Vec<_> = trial.changed().iter().map(|(_, index, value)| format!("c{index}={value}")).collect();
        filter(&trial, &format!("ladspa=f=driftmerge:p={}:c={}", trial.name, controls.join("|")));
    }
}
