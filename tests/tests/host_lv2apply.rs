//! `lv2apply` of lilv: NULL features, blocks of 1 frame.

use driftmerge_tests::hosts::{CHANGED, Settings, URI, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::Pair;

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
