//! `analyseplugin` of the LADSPA kit: what it reads out of the file.

use driftmerge_dsp::params::{CONTROLS, METERS};
use driftmerge_tests::hosts::{Workshop, succeed};

#[test]
fn analyseplugin_shows_both_labels_with_every_port() {
    let output = succeed(Workshop::new().command("analyseplugin").arg("driftmerge.so"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Plugin Label: \"driftmerge\"") && said.contains("Plugin Label: \"driftmerge_dual\""));
    assert_eq!(said.matches("Environment: Normal or Hard Real-Time").count(), 2);
    for port in CONTROLS {
        let line = format!("\"{}\" input, control", port.symbol);
        assert_eq!(said.matches(&line).count(), 2, "{line} in:\n{said}");
    }
    for port in METERS {
        let line = format!("\"{}\" output, control", port.symbol);
        assert_eq!(said.matches(&line).count(), 2, "{line} in:\n{said}");
    }
    // What people are shown: a range, and a default that is the table's.
    assert_eq!(said.matches("\"delay\" input, control, 5 to 1000, default 100\n").count(), 2, "{said}");
}
