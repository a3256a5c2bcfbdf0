//! `lv2apply` of lilv: NULL features, blocks of 1 frame.

use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::hosts::{CHANGED, Settings, URI, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::{Four, Pair};

#[test]
fn lv2apply_gives_what_the_engine_gives() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("lv2apply");
    command.arg("-i").arg(input).args(["-o", "out.wav"]);
    for (symbol, _, value) in CHANGED {
        command.args(["-c", symbol, &value.to_string()]);
    }
    succeed(command.arg(URI));
    assert_same(&workshop.read("out.wav", 0), &settings.merged(&pair));
}

/// Runs a plugin on a file of some microphones, and compares with what the same gives when called directly.
fn apply(entry: Entry, uri: &str, rate_hz: u32, sounds: &[&[f32]]) {
    let workshop = Workshop::new();
    let input = workshop.write("in.wav", rate_hz, sounds);
    succeed(workshop.command("lv2apply").arg("-i").arg(input).args(["-o", "out.wav", "-c", "delay", "60", uri]));
    let mut driver = Driver::new(entry, rate_hz).expect("the rate is good");
    driver.connect_controls();
    driver.set("delay", 60.0);
    driver.activate();
    for (channel, out) in driver.process_all(sounds, &[512]).iter().enumerate() {
        assert_same(&workshop.read("out.wav", channel), out);
    }
}

#[test]
fn lv2apply_merges_four_microphones_and_aligns_two() {
    let (four, pair) = (Four::speech(4.0, 20.0), Pair::short());
    apply(Entry::Lv2Merge4, "urn:driftmerge:merge4", four.rate_hz, &four.slices(0..four.clean.len()));
    apply(Entry::Lv2Align, "urn:driftmerge:align", pair.rate_hz, &[&pair.a, &pair.b]);
}
