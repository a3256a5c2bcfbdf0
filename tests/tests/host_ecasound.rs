//! `ecasound`, with LV2 and with LADSPA.

use driftmerge_tests::hosts::{Settings, URI, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::Pair;

/// Runs `operator` over the pair and compares.
fn operator(operator: &str) {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("ecasound");
    command.arg(format!("-f:f32_le,2,{}", pair.rate_hz)).arg("-i").arg(input);
    command.args(["-o", "out.wav"]).arg(format!("{operator},{}", settings.positional().join(",")));
    succeed(&mut command);
    assert_same(&workshop.read("out.wav", 0), &settings.merged(&pair));
}

#[test]
fn the_operator_elv2_gives_what_the_engine_gives() {
    operator(&format!("-elv2:{URI}"));
}

#[test]
fn the_operator_el_gives_what_the_engine_gives() {
    operator("-el:driftmerge");
}
