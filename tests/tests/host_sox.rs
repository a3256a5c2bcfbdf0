//! `sox`, which works in 32-bit integers and wants a value for control outputs too.

use driftmerge_dsp::params::METERS;
use driftmerge_tests::hosts::{Settings, Workshop, assert_close, succeed};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn sox_gives_what_the_engine_gives() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("sox");
    command.arg(input).args(["-b", "32", "-e", "float", "out.wav", "ladspa", "driftmerge", "driftmerge"]);
    command.args(settings.positional()).args(["0"; METERS.len()]);
    succeed(&mut command);
    assert_close(&workshop.read("out.wav", 0), &settings.merged(&pair), f32::EPSILON / 2.0);
}
