//! The pedals that MOD devices show: their description, their files, and the script that draws the meters.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use driftmerge_plugin::layout::{ALIGN, Layout, MERGE, MERGE4};
use driftmerge_tests::hosts::{Workshop, bundle, succeed};
use driftmerge_tests::turtle::Facts;

const MODGUI: &str = "http://moddevices.com/ns/modgui#";
const SYMBOL: &str = "http://lv2plug.in/ns/lv2core#symbol";
const PLUGINS: [(&str, &Layout); 3] =
    [("urn:driftmerge:merge", &MERGE), ("urn:driftmerge:merge4", &MERGE4), ("urn:driftmerge:align", &ALIGN)];

/// A file of the pedal that the description names by `property`.
fn file(facts: &Facts, gui: &str, property: &str) -> Vec<u8> {
    let name = facts.one(gui, &format!("{MODGUI}{property}")).trim_start_matches("file:///bundle/");
    fs::read(bundle().folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(facts: &Facts, gui: &str, property: &str) -> String {
    String::from_utf8(file(facts, gui, property)).expect("it is text")
}

/// The values of an attribute in a template.
fn attributes<'a>(html: &'a str, name: &str) -> BTreeSet<&'a str> {
    html.split(&format!("{name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_plugin_has_a_pedal_that_monitors_state_lag_and_weight_of_each_microphone() {
    let (facts, manifest) = (Facts::read("modgui.ttl"), Facts::read("manifest.ttl"));
    for (uri, layout) in PLUGINS {
        let more = manifest.all(uri, "http://www.w3.org/2000/01/rdf-schema#seeAlso");
        assert!(more.contains(&"file:///bundle/modgui.ttl".to_owned()), "{uri}");
        let gui = facts.one(uri, &format!("{MODGUI}gui"));
        let monitored: BTreeSet<&str> =
            facts.all(gui, &format!("{MODGUI}monitoredOutputs")).iter().map(|node| facts.one(node, SYMBOL)).collect();
        let shown = |symbol: &&str| ["state", "lag", "weight"].iter().any(|kind| symbol.starts_with(kind));
        assert_eq!(monitored, layout.meters.iter().map(|port| port.symbol).filter(shown).collect(), "{uri}");
        assert_eq!(attributes(&text(&facts, gui, "iconTemplate"), "data-meter"), monitored, "{uri}");
    }
}

#[test]
fn a_pedal_can_be_dragged_bypassed_and_connected_and_styles_nothing_but_itself() {
    let facts = Facts::read("modgui.ttl");
    for (uri, _) in PLUGINS {
        let gui = facts.one(uri, &format!("{MODGUI}gui"));
        let html = text(&facts, gui, "iconTemplate");
        let roles = ["bypass", "bypass-light", "drag-handle", "input-audio-port", "output-audio-port"];
        assert_eq!(attributes(&html, "mod-role"), roles.into(), "{uri}");
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count(), "{uri}: every div is closed");
        for list in ["input", "output"] {
            assert!(html.contains(&format!("{{{{#effect.ports.audio.{list}}}}}")), "{uri}: all audio ports");
        }
        let css = text(&facts, gui, "stylesheet");
        let rules: Vec<&str> = css.lines().filter(|line| line.ends_with('{')).collect();
        assert!(rules.len() > 5);
        assert!(rules.iter().all(|rule| rule.starts_with(".driftmerge-pedal{{{cns}}}")), "{rules:?}");
        let folder = facts.one(gui, &format!("{MODGUI}resourcesDirectory")).trim_start_matches("file:///bundle/");
        assert!(bundle().folder().join(folder).is_dir());
    }
}

#[test]
fn the_images_are_small_and_of_the_size_that_mod_shows() {
    let facts = Facts::read("modgui.ttl");
    for (uri, _) in PLUGINS {
        let gui = facts.one(uri, &format!("{MODGUI}gui"));
        for (property, most_high, most_wide) in [("screenshot", 300, 310), ("thumbnail", 64, 256)] {
            let png = file(&facts, gui, property);
            assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() < 20_000, "{uri} {property}");
            // The first chunk begins with width and height.
            let size = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
            assert!(size(16) <= most_wide && size(20) == most_high, "{uri} {property}: {} x {}", size(16), size(20));
        }
    }
}

/// Runs the pedal's script as MOD does, on a page of nothing but meters, and prints what they show.
const PAGE: &str = r"
const fs = require('fs');
let method;
eval('method = ' + fs.readFileSync(process.argv[2], 'utf8'));
const shown = {};
const icon = {
    find(selector) {
        const symbol = /^\[data-meter=.([^']+).\]$/.exec(selector)[1];
        const known = ['state', 'lag', 'weight', 'state_c'].includes(symbol);
        return {
            length: known ? 1 : 0,
            text(value) { shown[symbol] = value; },
            toggleClass(name, on) { if (on) shown[symbol] += ' ' + name; },
        };
    },
};
const data = {};
const ports = [[':bypass', 0], ['lag_limit', 750], ['state', 0], ['lag', 0], ['weight', 0]];
method({ type: 'start', icon, data, ports: ports.map(([symbol, value]) => ({ symbol, value })) }, {});
console.log(JSON.stringify(shown));
for (const [symbol, value] of [['state', 1], ['lag', 30.123], ['weight', 0.478], ['state_c', 2], ['delay', 80]]) {
    method({ type: 'change', icon, data, symbol, value }, {});
}
method({ type: 'change', icon, data, uri: 'urn:some:parameter', value: 'x' }, {});
console.log(JSON.stringify(shown));
";

#[test]
fn the_script_is_one_function_that_shows_what_mod_hands_over_and_ignores_the_rest() {
    let workshop = Workshop::new();
    fs::write(workshop.path("page.js"), PAGE).expect("the folder can be written");
    let script = bundle().folder().join("modgui/driftmerge.js");
    assert!(Path::new(&script).is_file());
    let output = succeed(workshop.command("node").arg("page.js").arg(script));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            r#"{"state":"searching","lag":"0.00 ms","weight":"0 %"}"#,
            r#"{"state":"locked driftmerge-locked","lag":"30.12 ms","weight":"48 %","state_c":"holding driftmerge-holding"}"#
        ]
    );
}
