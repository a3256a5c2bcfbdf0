//! `lv2bench` of lilv: long runs on its own sound, in several block sizes.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

#[test]
fn lv2bench_runs_every_plugin_for_ten_seconds_in_any_block_size() {
    let workshop = Workshop::new();
    let uris = Trial::uris().map(|trial| trial.name);
    for (block, uri) in ["1", "83", "512", "4096"].into_iter().flat_map(|block| uris.map(|uri| (block, uri))) {
        let output = succeed(workshop.command("lv2bench").args(["-n", "480000", "-b", block, uri]));
        // It prints the time taken and the plugin's name; where it cannot run the plugin it says so, and ends well.
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds: f64 = said.split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(f64::NAN);
        assert!(seconds > 0.0 && said.contains(uri), "{uri}, blocks of {block}: {said}");
    }
}
