//! `lv2apply` of lilv: NULL features, blocks of 1 frame.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

#[test]
fn lv2apply_gives_what_the_engine_gives() {
    for trial in Trial::uris() {
        let workshop = Workshop::new();
        let mut command = workshop.command("lv2apply");
        command.arg("-i").arg(trial.write(&workshop, "in.wav")).args(["-o", "out.wav"]);
        for (symbol, _, value) in trial.changed() {
            command.args(["-c", symbol, &value.to_string()]);
        }
        succeed(command.arg(trial.name));
        trial.assert_written(&workshop, "out.wav");
    }
}
