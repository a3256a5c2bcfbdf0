//! `lv2file`: connects audio ports by symbol.

use driftmerge_tests::hosts::{Trial, Workshop, assert_close, succeed};

#[test]
fn lv2file_gives_what_the_engine_gives() {
    for trial in Trial::uris() {
        let workshop = Workshop::new();
        let mut command = workshop.command("lv2file");
        command.arg("-m").arg("-i").arg(trial.write(&workshop, "in.wav")).args(["-o", "out.wav"]);
        for (channel, symbol) in trial.layout.ins.iter().enumerate() {
            command.args(["-c", &format!("{}:{symbol}", channel + 1)]);
        }
        for (symbol, _, value) in trial.changed() {
            command.args(["-p", &format!("{symbol}:{value}")]);
        }
        succeed(command.arg(trial.name));
        for (channel, engine) in trial.expected().iter().enumerate() {
            // It adds an output to silence, which makes 0 of -0.
            assert_close(&workshop.read("out.wav", channel), engine, 0.0);
        }
    }
}
