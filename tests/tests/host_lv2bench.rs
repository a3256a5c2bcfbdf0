//! `lv2bench` of lilv: long runs on its own sound, in several block sizes.

use driftmerge_tests::hosts::{URI, Workshop, succeed};

#[test]
fn lv2bench_runs_ten_seconds_of_sound_in_any_block_size() {
    let workshop = Workshop::new();
    for block in ["1", "83", "512", "4096"] {
        let output = succeed(workshop.command("lv2bench").args(["-n", "480000", "-b", block, URI]));
        // It prints the time taken and the plugin's name; where it cannot run the plugin it says so, and ends well.
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds: f64 = said.split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(f64::NAN);
        assert!(seconds > 0.0 && said.contains(URI), "blocks of {block}: {said}");
    }
}
