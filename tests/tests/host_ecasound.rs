//! `ecasound`, with LV2 and with LADSPA.

use driftmerge_plugin::layout::ALIGN;
use driftmerge_tests::entry::{Driver, Entry};
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

#[test]
fn the_label_driftmerge_align_gives_both_microphones() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("ecasound");
    command.arg(format!("-f:f32_le,2,{}", pair.rate_hz)).arg("-i").arg(input);
    command.args(["-o", "out.wav"]);
    command.arg(format!("-el:driftmerge_align,{}", settings.positional_of(&ALIGN).join(",")));
    succeed(&mut command);
    let mut driver = Driver::new(Entry::LadspaAlign, pair.rate_hz).expect("the rate is good");
    driver.connect_controls();
    driver.set("delay", 60.0);
    driver.activate();
    for (channel, out) in driver.process(&pair.a, &pair.b, &[512]).iter().enumerate() {
        assert_same(&workshop.read("out.wav", channel), out);
    }
}
