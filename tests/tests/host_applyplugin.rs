//! `applyplugin` of the LADSPA kit, which writes 16-bit samples.

use driftmerge_tests::hosts::{Settings, Workshop, assert_close, succeed};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn applyplugin_gives_what_the_engine_gives() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("applyplugin");
    command.arg(input).args(["out.wav", "driftmerge.so", "driftmerge"]).args(settings.positional());
    succeed(&mut command);
    let reader = hound::WavReader::open(workshop.path("out.wav")).expect("the host has written it");
    let out: Vec<f32> =
        reader.into_samples::<i16>().map(|x| f32::from(x.expect("the file is whole")) / 32_768.0).collect();
    assert_close(&out, &settings.merged(&pair), 1.0 / 32_768.0);
}
