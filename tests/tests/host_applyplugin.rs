//! `applyplugin` of the LADSPA kit, which writes 16-bit samples.

use driftmerge_tests::hosts::{Settings, Trial, Workshop, assert_close, succeed};

#[test]
fn applyplugin_gives_what_the_engine_gives() {
    for trial in Trial::labels() {
        let workshop = Workshop::new();
        let input = trial.write(&workshop, "in.wav");
        let mut command = workshop.command("applyplugin");
        command.arg(input).args(["out.wav", "driftmerge.so", trial.name]);
        succeed(command.args(Settings::default().positional_of(trial.layout)));
        let reader = hound::WavReader::open(workshop.path("out.wav")).expect("the host has written it");
        let samples: Vec<f32> =
            reader.into_samples::<i16>().map(|x| f32::from(x.expect("the file is whole")) / 32_768.0).collect();
        let expected = trial.expected();
        for (channel, engine) in expected.iter().enumerate() {
            let host: Vec<f32> = samples[channel..].iter().step_by(expected.len()).copied().collect();
            assert_close(&host, engine, 1.0 / 32_768.0);
        }
    }
}
