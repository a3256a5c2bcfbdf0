//! `lv2file`: connects audio ports by symbol.

use driftmerge_tests::hosts::{CHANGED, Settings, URI, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn lv2file_gives_what_the_engine_gives() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("lv2file");
    command.arg("-m").arg("-i").arg(input).args(["-o", "out.wav", "-c", "1:in_a", "-c", "2:in_b"]);
    for (symbol, _, value) in CHANGED {
        command.args(["-p", &format!("{symbol}:{value}")]);
    }
    succeed(command.arg(URI));
    assert_same(&workshop.read("out.wav", 0), &settings.merged(&pair));
}
