//! `analyseplugin` of the LADSPA kit: what it reads out of the file.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

#[test]
fn analyseplugin_shows_every_label_with_every_port_in_its_order_and_the_defaults_of_the_table() {
    for Trial { name: label, layout, .. } in Trial::labels() {
        let output = succeed(Workshop::new().command("analyseplugin").args(["driftmerge.so", label]));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("Plugin Label: \"{label}\"")), "{said}");
        assert!(said.contains("Environment: Normal or Hard Real-Time"), "{said}");
        let inputs = layout.controls.iter().map(|port| (port.symbol, "input, control", Some(port.default)));
        let meters = layout.meters.iter().map(|port| (port.symbol, "output, control", None));
        let outs = layout.outs.iter().map(|name| (*name, "output, audio", None));
        let ins = layout.ins.iter().map(|name| (*name, "input, audio", None));
        let ports = said.split_once("Ports:").expect("it shows ports").1.lines().filter(|line| !line.is_empty());
        let shown: Vec<_> = ports.map(str::trim).collect();
        let wanted: Vec<_> = inputs.chain(meters).chain(outs).chain(ins).collect();
        assert_eq!(shown.len(), wanted.len(), "{said}");
        for (line, (name, kind, default)) in shown.iter().zip(wanted) {
            assert!(line.starts_with(&format!("\"{name}\" {kind}")), "{name}, {kind}: {line}");
            let number = line.split_once("default ").and_then(|(_, rest)| rest.split(',').next()?.parse::<f32>().ok());
            assert_eq!(number, default, "{line}");
        }
        // What people are shown besides.
        assert!(said.contains("\"delay\" input, control, 5 to 1000, default 100\n"), "{said}");
        assert!(said.contains("\"latency\" output, control, 0 to 198144, integer\n") || layout.links() > 1, "{said}");
    }
}
