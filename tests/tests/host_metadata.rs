//! What the LV2 plugins say of themselves in files, against the tables of ports in the code.

use std::collections::BTreeSet;
use std::ffi::CStr;

use driftmerge_dsp::params::{Kind, Port, Unit};
use driftmerge_plugin::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4};
use driftmerge_plugin::lv2::lv2_descriptor;
use driftmerge_tests::hosts::{URI, Workshop, bundle, succeed};
use driftmerge_tests::turtle::Facts;
use lv2::lv2_sys::LV2_State_Interface;

const LV2: &str = "http://lv2plug.in/ns/lv2core#";
const STATE: &str = "http://lv2plug.in/ns/ext/state#";
const UNITS: &str = "http://lv2plug.in/ns/extensions/units#";
const PPROPS: &str = "http://lv2plug.in/ns/ext/port-props#";
const DOAP: &str = "http://usefulinc.com/ns/doap#";
const MOD: &str = "http://moddevices.com/ns/mod#";
const FOAF: &str = "http://xmlns.com/foaf/0.1/";
const URID_MAP: &str = "http://lv2plug.in/ns/ext/urid#map";
const LOG_LOG: &str = "http://lv2plug.in/ns/ext/log#log";
const PG: &str = "http://lv2plug.in/ns/ext/port-groups#";
const PSET: &str = "http://lv2plug.in/ns/ext/presets#";
const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
const RDFS: &str = "http://www.w3.org/2000/01/rdf-schema#";

/// The LV2 plugins: URI, file, and what the code has.
const PLUGINS: [(&str, &str, &Layout); 3] = [
    (URI, "driftmerge.ttl", &MERGE),
    ("urn:driftmerge:merge4", "merge4.ttl", &MERGE4),
    ("urn:driftmerge:align", "align.ttl", &ALIGN),
];

fn lv2(name: &str) -> String {
    format!("{LV2}{name}")
}

fn rdfs(name: &str) -> String {
    format!("{RDFS}{name}")
}

/// Compares a control or meter with the table.
fn compare(facts: &Facts, node: &str, port: &Port) {
    let symbol = port.symbol;
    assert_eq!(facts.one(node, &lv2("symbol")), symbol);
    assert_eq!(facts.one(node, &lv2("name")), port.name, "{symbol}");
    assert_eq!(facts.one(node, &rdfs("comment")), port.about, "{symbol}");
    for (predicate, value) in [("minimum", port.min), ("default", port.default), ("maximum", port.max)] {
        assert_eq!(facts.number(node, &lv2(predicate)), value, "{predicate} of {symbol}");
    }

    let unit = facts.all(node, &format!("{UNITS}unit"));
    match port.unit {
        Unit::None if port.kind == Kind::Continuous => assert_eq!(unit, [format!("{UNITS}coef")], "{symbol}"),
        Unit::None => assert!(unit.is_empty(), "{symbol} has no unit"),
        Unit::Milliseconds => assert_eq!(unit, [format!("{UNITS}ms")], "{symbol}"),
        Unit::Seconds => assert_eq!(unit, [format!("{UNITS}s")], "{symbol}"),
        Unit::Frames => assert_eq!(unit, [format!("{UNITS}frame")], "{symbol}"),
        Unit::Ppm => assert_eq!(facts.one(&unit[0], &format!("{UNITS}symbol")), "ppm", "{symbol}"),
    }

    let properties = facts.all(node, &lv2("portProperty"));
    let has = |property: &str| properties.iter().any(|p| p == property);
    assert!(has(&lv2("connectionOptional")), "{symbol} may be left unconnected");
    assert_eq!(has(&lv2("toggled")), matches!(port.kind, Kind::Toggle | Kind::Trigger), "{symbol}");
    assert_eq!(has(&format!("{PPROPS}trigger")), port.kind == Kind::Trigger, "{symbol}");
    assert_eq!(has(&lv2("integer")), matches!(port.kind, Kind::Integer | Kind::Enumeration(_)), "{symbol}");
    assert_eq!(has(&lv2("enumeration")), matches!(port.kind, Kind::Enumeration(_)), "{symbol}");

    let mut points: Vec<(i32, &str)> = facts
        .all(node, &lv2("scalePoint"))
        .iter()
        .map(|point| (facts.number(point, &format!("{RDF}value")) as i32, facts.one(point, &rdfs("label"))))
        .collect();
    points.sort_unstable();
    let names = if let Kind::Enumeration(names) = port.kind { names } else { &[] };
    let named = if symbol.starts_with("polarity") {
        vec![(-1, "inverted"), (1, "normal")]
    } else {
        (port.min.max(0.0) as i32..).zip(names.iter().copied()).collect()
    };
    assert_eq!(points, named, "{symbol}");
}

#[test]
fn the_ports_of_the_lv2_files_are_those_of_the_code_in_its_order() {
    for (uri, file, layout) in PLUGINS {
        let facts = Facts::read(file);
        let nodes = facts.ports(uri);
        assert_eq!(nodes.len(), layout.count());
        let is = |node: &str, kinds: [&str; 2]| {
            let types = facts.all(node, &format!("{RDF}type"));
            assert!(kinds.iter().all(|kind| types.contains(&lv2(kind))) && types.len() == 2, "{types:?}");
        };
        for (node, port) in nodes.iter().zip(layout.controls) {
            compare(&facts, node, port);
            is(node, ["InputPort", "ControlPort"]);
        }
        for (node, port) in nodes[layout.first_meter()..].iter().zip(layout.meters) {
            compare(&facts, node, port);
            is(node, ["OutputPort", "ControlPort"]);
        }
        let outs = layout.outs.iter().map(|symbol| (symbol, "OutputPort"));
        let audio = outs.chain(layout.ins.iter().map(|symbol| (symbol, "InputPort")));
        for (node, (symbol, kind)) in nodes[layout.first_out()..].iter().zip(audio) {
            assert_eq!(facts.one(node, &lv2("symbol")), *symbol);
            is(node, [kind, "AudioPort"]);
            let group = facts.one(node, &format!("{PG}group"));
            let kind = if kind == "InputPort" { "InputGroup" } else { "OutputGroup" };
            assert!(facts.all(group, &format!("{RDF}type")).contains(&format!("{PG}{kind}")), "{symbol} in {group}");
        }
        for (symbol, designation) in [("enabled", "enabled"), ("latency", "latency")] {
            let node = nodes.iter().find(|node| facts.one(node, &lv2("symbol")) == symbol).expect("it is there");
            assert_eq!(facts.one(node, &lv2("designation")), lv2(designation));
        }
    }
}

#[test]
fn what_a_host_had_better_not_turn_or_show_is_said_and_nothing_else_is() {
    for (uri, file, _) in PLUGINS {
        let facts = Facts::read(file);
        let with = |property: &str| -> Vec<&str> {
            let property = format!("{PPROPS}{property}");
            let has = |node: &&str| facts.all(node, &lv2("portProperty")).contains(&property);
            facts.ports(uri).into_iter().filter(has).map(|node| facts.one(node, &lv2("symbol"))).collect()
        };
        let trim: &[&str] = if uri.ends_with("merge4") { &[] } else { &["lag_trim"] };
        assert_eq!(with("trigger"), ["reset"]);
        assert_eq!(with("expensive"), ["delay"]);
        assert_eq!(with("logarithmic"), ["half_life"]);
        assert_eq!(with("notOnGUI"), trim);
        assert_eq!(with("notAutomatic"), [&["delay"], trim].concat());
    }
}

#[test]
fn every_audio_port_is_in_the_main_group_of_its_side_and_has_its_place_there() {
    for (uri, file, layout) in PLUGINS {
        let facts = Facts::read(file);
        let pg = |name: &str| format!("{PG}{name}");
        let nodes = facts.ports(uri);
        for (side, range) in
            [("mainInput", layout.first_in()..layout.count()), ("mainOutput", layout.first_out()..layout.first_in())]
        {
            let group = facts.one(uri, &pg(side));
            let places: &[&str] = match range.len() {
                1 => &["center"],
                2 => &["left", "right"],
                // Four microphones have no places in a room that a host could know.
                _ => &[],
            };
            let kind = ["MonoGroup", "StereoGroup", "", "DiscreteGroup"][range.len() - 1];
            assert!(facts.all(group, &format!("{RDF}type")).contains(&pg(kind)), "{group} is a {kind}");
            for name in ["symbol", "name"] {
                assert!(!facts.one(group, &lv2(name)).is_empty());
            }
            let designations: Vec<&String> =
                nodes[range.clone()].iter().flat_map(|node| facts.all(node, &lv2("designation"))).collect();
            assert_eq!(
                designations,
                places.iter().map(|place| pg(place)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
            );
            assert!(nodes[range].iter().all(|node| facts.one(node, &pg("group")) == group));
            if side == "mainOutput" {
                assert_eq!(facts.one(group, &pg("source")), facts.one(uri, &pg("mainInput")));
            }
        }
    }
}

#[test]
fn every_control_and_meter_is_in_a_named_group_of_its_side() {
    for (uri, file, layout) in PLUGINS {
        let facts = Facts::read(file);
        for (i, node) in facts.ports(uri)[..layout.first_out()].iter().enumerate() {
            let symbol = facts.one(node, &lv2("symbol"));
            let (kind, name) = match symbol.rsplit_once('_') {
                _ if i < layout.first_meter() => ("InputGroup", "controls".to_owned()),
                Some((_, letter)) => ("OutputGroup", format!("meters_{letter}")),
                None => ("OutputGroup", "meters".to_owned()),
            };
            let group = facts.one(node, &format!("{PG}group"));
            assert_eq!(group, format!("{uri}#{name}"), "{symbol}");
            assert_eq!(facts.one(group, &format!("{RDF}type")), format!("{PG}{kind}"), "{symbol}");
            assert_eq!(facts.one(group, &lv2("symbol")), name);
            assert!(!facts.one(group, &lv2("name")).is_empty());
        }
    }
}

/// MOD devices cut every text after 16 characters, and their own rules ask for brands of at most 11.
#[test]
fn names_fit_into_16_characters_or_have_short_ones_and_every_plugin_has_a_brand_and_a_label() {
    for (uri, file, _) in PLUGINS {
        let facts = Facts::read(file);
        assert_eq!(facts.one(uri, &format!("{MOD}brand")), "driftmerge");
        assert_eq!(facts.one(uri, &format!("{MOD}label")), facts.one(uri, &format!("{DOAP}name")));
        assert!(facts.one(uri, &format!("{MOD}label")).len() <= 16);
        for node in facts.ports(uri) {
            let name = facts.one(node, &lv2("name"));
            let short = facts.all(node, &lv2("shortName")).first().map_or(name, String::as_str);
            assert!(short.len() <= 16 && !short.is_empty(), "{short}");
        }
    }
}

/// Saved sessions, presets and `control=` lines of the world hang on these.
#[test]
fn symbols_and_their_order_are_those_that_were_given_out() {
    let of = |layout: &Layout| -> String {
        let ports = layout.controls.iter().chain(layout.meters).map(|port| port.symbol);
        ports.chain(layout.outs.iter().copied()).chain(layout.ins.iter().copied()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        of(&MERGE),
        "enabled delay lag_limit threshold half_life mode hold reset lag_trim post_filter \
         lag drift confidence weight polarity state latency out in_a in_b"
    );
    assert_eq!(of(&DUAL), of(&MERGE).replace(" out ", " out_left out_right "));
    assert_eq!(
        of(&MERGE4),
        "enabled delay lag_limit threshold half_life mode hold reset post_filter \
         lag_b drift_b confidence_b weight_b polarity_b state_b lag_c drift_c confidence_c weight_c polarity_c state_c \
         lag_d drift_d confidence_d weight_d polarity_d state_d latency out in_a in_b in_c in_d"
    );
    assert_eq!(
        of(&ALIGN),
        "enabled delay lag_limit threshold half_life hold reset lag_trim \
         lag drift confidence weight polarity state latency out_a out_b in_a in_b"
    );
}

#[test]
fn the_lv2_files_have_the_version_of_the_program() {
    for (uri, file, _) in PLUGINS {
        let facts = Facts::read(file);
        let version = [facts.one(uri, &lv2("minorVersion")), facts.one(uri, &lv2("microVersion"))].join(".");
        assert_eq!(format!("0.{version}"), env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn every_preset_of_the_manifest_sets_controls_of_the_table_within_their_ranges() {
    let (manifest, presets) = (Facts::read("manifest.ttl"), Facts::read("presets.ttl"));
    let kind = (format!("{RDF}type"), format!("{PSET}Preset"));
    let listed = |facts: &Facts| -> Vec<String> {
        let preset = |(key, objects): (&(String, String), &Vec<String>)| {
            (key.1 == kind.0 && objects.contains(&kind.1)).then(|| key.0.clone())
        };
        facts.0.iter().filter_map(preset).collect()
    };
    assert_eq!(listed(&manifest), listed(&presets));
    for (uri, ..) in PLUGINS {
        let of = |preset: &&String| presets.one(preset, &lv2("appliesTo")) == uri;
        assert!(listed(&presets).iter().filter(of).count() >= 5, "{uri}");
    }
    for preset in listed(&presets) {
        let uri = presets.one(&preset, &lv2("appliesTo"));
        let (_, _, layout) = PLUGINS.iter().find(|plugin| plugin.0 == uri).expect("one of ours");
        assert_eq!(manifest.one(&preset, &lv2("appliesTo")), uri);
        assert_eq!(manifest.one(&preset, &rdfs("seeAlso")), "file:///bundle/presets.ttl");
        let mut unset: BTreeSet<_> = layout.controls.iter().map(|port| port.symbol).collect();
        for node in presets.all(&preset, &lv2("port")) {
            let symbol = presets.one(node, &lv2("symbol"));
            let port = layout.controls.iter().find(|port| port.symbol == symbol).expect("a control");
            let value = presets.number(node, &format!("{PSET}value"));
            assert!((port.min..=port.max).contains(&value), "{symbol} {value} of {preset}");
            assert!(unset.remove(symbol), "{preset} sets {symbol} twice");
        }
        // What belongs to the moment is left alone, and nothing else: no preset hangs on what was set before.
        assert!(unset.is_subset(&["enabled", "hold", "reset", "lag_trim"].into()), "{preset} leaves out {unset:?}");
        assert!(unset.contains("hold"), "{preset}");
    }
}

#[test]
fn everything_that_lv2lint_looks_for_is_said_of_every_plugin() {
    let (project, manifest) = (Facts::read("project.ttl"), Facts::read("manifest.ttl"));
    let doap = |name: &str| format!("{DOAP}{name}");
    for (uri, file, _) in PLUGINS {
        let facts = Facts::read(file);
        for predicate in [doap("name"), doap("shortdesc"), rdfs("comment")] {
            assert!(!facts.one(uri, &predicate).is_empty());
        }
        assert_eq!(facts.all(uri, &doap("license")).len(), 2);
        assert!(facts.all(uri, &doap("license")).iter().all(|license| license.starts_with("https://")));
        let class = facts.all(uri, &format!("{RDF}type"));
        assert!(class.contains(&lv2("MixerPlugin")) || class.contains(&lv2("UtilityPlugin")), "{class:?}");
        let project_uri = facts.one(uri, &lv2("project"));
        for predicate in ["name", "shortdesc", "license", "maintainer", "homepage"] {
            assert!(!project.all(project_uri, &doap(predicate)).is_empty(), "{predicate}");
        }
        let page = project.one(project_uri, &doap("homepage")).trim_start_matches("file:///bundle/");
        assert!(bundle().folder().join(page).is_file(), "{page} comes with the bundle");
        let maintainer = project.one(project_uri, &doap("maintainer"));
        assert!(!project.one(maintainer, &format!("{FOAF}name")).is_empty());
        assert_eq!(project.one(maintainer, &format!("{FOAF}homepage")), format!("file:///bundle/{page}"));
        assert!(project.one(maintainer, &format!("{FOAF}mbox")).starts_with("mailto:"));
        let features = facts.all(uri, &lv2("optionalFeature"));
        let known = [lv2("hardRTCapable"), URID_MAP.into(), LOG_LOG.into()];
        assert_eq!(features.iter().collect::<BTreeSet<_>>(), known.iter().collect());
        assert!(facts.all(uri, &lv2("requiredFeature")).is_empty(), "any host can load it");
        // `state:loadDefaultState` and a default state come together or not at all.
        assert!(facts.all(uri, &format!("{STATE}state")).is_empty());
        assert_eq!(facts.all(uri, &lv2("extensionData")), [format!("{STATE}interface")]);
        assert_eq!(manifest.one(uri, &lv2("binary")), "file:///bundle/driftmerge.so");
        let more = manifest.all(uri, &rdfs("seeAlso"));
        assert!(
            more.contains(&format!("file:///bundle/{file}")) && more.contains(&"file:///bundle/project.ttl".into())
        );
        let known = ["connectionOptional", "integer", "toggled", "enumeration", "reportsLatency"].map(lv2);
        let more = ["trigger", "notOnGUI", "notAutomatic", "logarithmic", "expensive"].map(|p| format!("{PPROPS}{p}"));
        for node in facts.ports(uri) {
            let properties = facts.all(node, &lv2("portProperty"));
            assert!(properties.iter().all(|property| known.contains(property) || more.contains(property)));
            assert!(!facts.one(node, &rdfs("comment")).is_empty());
        }
        let symbols: BTreeSet<_> = facts.ports(uri).iter().map(|node| facts.one(node, &lv2("symbol"))).collect();
        assert_eq!(symbols.len(), facts.ports(uri).len(), "no symbol is given twice");
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(symbols.iter().all(|symbol| symbol.chars().all(good)), "{symbols:?}");
    }
}

#[test]
fn the_library_shows_its_two_entries_alone_and_needs_the_c_library_and_that_of_the_compiler() {
    let library = bundle().folder().join("driftmerge.so");
    let lines = |command: &str, arguments: &[&str]| -> Vec<String> {
        let output = succeed(Workshop::new().command(command).args(arguments).arg(&library));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    let names = |arguments: &[&str]| -> Vec<String> {
        let last = |line: &String| line.split_whitespace().last().expect("a name").to_owned();
        lines("nm", arguments).iter().map(last).collect()
    };
    assert_eq!(names(&["-D", "--defined-only"]), ["ladspa_descriptor", "lv2_descriptor"]);
    let forks = |name: &String| ["fork", "vfork"].contains(&name.split('@').next().expect("a part"));
    assert!(!names(&["-D", "--undefined-only"]).iter().any(forks), "it starts no process");
    for line in lines("readelf", &["-d"]).iter().filter(|line| line.contains("(NEEDED)")) {
        assert!(["[libc.", "[libm.", "[libgcc_s.", "[ld-linux"].iter().any(|known| line.contains(known)), "{line}");
    }
}

#[test]
fn the_library_hands_out_the_state_interface_and_nothing_that_it_does_not_know() {
    for (i, (uri, ..)) in PLUGINS.iter().enumerate() {
        // SAFETY: the library hands out descriptors that stay, and each has a URI.
        let (descriptor, found) = unsafe {
            let descriptor = lv2_descriptor(i as u32).as_ref().expect("there are three");
            (descriptor, CStr::from_ptr(descriptor.URI))
        };
        assert_eq!(found.to_str(), Ok(*uri));
        let extension = descriptor.extension_data.expect("there is an extension");
        // SAFETY: a C string.
        assert!(unsafe { extension(c"http://example.org/unknown".as_ptr()) }.is_null());
        // SAFETY: a C string; what is handed out stays, and is of the type that the standard names.
        let state = unsafe {
            extension(c"http://lv2plug.in/ns/ext/state#interface".as_ptr()).cast::<LV2_State_Interface>().as_ref()
        };
        assert!(state.is_some_and(|state| state.save.is_some() && state.restore.is_some()));
    }
    assert!(lv2_descriptor(PLUGINS.len() as u32).is_null());
}
