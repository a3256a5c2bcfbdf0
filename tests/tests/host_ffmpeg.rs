//! `ffmpeg`: its filters `lv2` and `ladspa`.

use driftmerge_tests::hosts::{CHANGED, Settings, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::Pair;

/// Runs one filter over the pair and compares.
fn filter(filter: &str) {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(input).args(["-af", filter, "-c:a", "pcm_f32le", "out.wav"]);
    succeed(&mut command);
    assert_same(&workshop.read("out.wav", 0), &settings.merged(&pair));
}

#[test]
fn the_filter_lv2_gives_what_the_engine_gives() {
    let controls = CHANGED.map(|(symbol, _, value)| format!("{symbol}={value}")).join("|");
    filter(&format!("lv2=p=urn\\\\:driftmerge\\\\:merge:c={controls}"));
}

#[test]
fn the_filter_ladspa_gives_what_the_engine_gives() {
    let controls = CHANGED.map(|(_, index, value)| format!("c{index}={value}")).join("|");
    filter(&format!("ladspa=f=driftmerge:p=driftmerge:c={controls}"));
}
