//! `sox`, which works in 32-bit integers and wants a value for control outputs too.

use driftmerge_tests::hosts::{Settings, Trial, Workshop, assert_close, succeed};

#[test]
fn sox_gives_what_the_engine_gives() {
    for trial in Trial::labels() {
        let workshop = Workshop::new();
        let input = trial.write(&workshop, "in.wav");
        let mut command = workshop.command("sox");
        command.arg(input).args(["-b", "32", "-e", "float", "out.wav", "ladspa", "driftmerge", trial.name]);
        command.args(Settings::default().positional_of(trial.layout)).args(vec!["0"; trial.layout.meters.len()]);
        succeed(&mut command);
        for (channel, engine) in trial.expected().iter().enumerate() {
            assert_close(&workshop.read("out.wav", channel), engine, f32::EPSILON / 2.0);
        }
    }
}
