//! `analyseplugin` of the LADSPA kit: what it reads out of the file.

use driftmerge_plugin::layout::{ALIGN, DUAL, MERGE, MERGE4};
use driftmerge_tests::hosts::{Workshop, succeed};

#[test]
fn analyseplugin_shows_every_label_with_every_port() {
    let labels =
        [("driftmerge", MERGE), ("driftmerge_dual", DUAL), ("driftmerge_merge4", MERGE4), ("driftmerge_align", ALIGN)];
    for (label, layout) in labels {
        let output = succeed(Workshop::new().command("analyseplugin").args(["driftmerge.so", label]));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("Plugin Label: \"{label}\"")), "{said}");
        assert!(said.contains("Environment: Normal or Hard Real-Time"), "{said}");
        let inputs = layout.controls.iter().map(|port| (port.symbol, "input, control"));
        let meters = layout.meters.iter().map(|port| (port.symbol, "output, control"));
        let outs = layout.outs.iter().map(|name| (*name, "output, audio"));
        let ins = layout.ins.iter().map(|name| (*name, "input, audio"));
        for (name, kind) in inputs.chain(meters).chain(outs).chain(ins) {
            let line = format!("\"{name}\" {kind}");
            assert_eq!(said.matches(&line).count(), 1, "{line} in:\n{said}");
        }
        // What people are shown: a range, and a default that is the table's.
        assert!(said.contains("\"delay\" input, control, 5 to 1000, default 100\n"), "{said}");
    }
}
