//! `lv2proc`: blocks of its own size.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

#[test]
fn lv2proc_gives_what_the_engine_gives() {
    for trial in Trial::uris() {
        let workshop = Workshop::new();
        let mut command = workshop.command("lv2proc");
        command.arg("-i").arg(trial.write(&workshop, "in.wav")).args(["-o", "out.wav"]);
        for (symbol, _, value) in trial.changed() {
            command.args(["-c", &format!("{symbol}:{value}")]);
        }
        succeed(command.arg(trial.name));
        trial.assert_written(&workshop, "out.wav");
    }
}
