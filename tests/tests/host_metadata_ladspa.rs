//! What the LADSPA descriptors say of themselves, against the tables of ports in the code.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_int};

use driftmerge_dsp::params::Kind;
use driftmerge_plugin::ladspa::{Descriptor, RangeHint, bits, ladspa_descriptor};
use driftmerge_plugin::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4};
use driftmerge_tests::turtle::Facts;

/// The LADSPA labels, and what the code has.
const LABELS: [(&str, &Layout); 4] =
    [("driftmerge", &MERGE), ("driftmerge_dual", &DUAL), ("driftmerge_merge4", &MERGE4), ("driftmerge_align", &ALIGN)];

fn labels() -> Vec<&'static Descriptor> {
    // SAFETY: the library hands out NULL or descriptors that stay.
    (0..).map_while(|i| unsafe { ladspa_descriptor(i).as_ref() }).collect()
}

/// The default that a host works out from a hint, by the text of the standard.
fn default_of(hint: &RangeHint) -> f32 {
    let between = |share: f32| {
        if hint.hint & bits::HINT_LOGARITHMIC == 0 {
            hint.lower * (1.0 - share) + hint.upper * share
        } else {
            (hint.lower.ln() * (1.0 - share) + hint.upper.ln() * share).exp()
        }
    };
    match hint.hint & bits::HINT_DEFAULT_MASK {
        bits::HINT_DEFAULT_LOW => between(0.25),
        bits::HINT_DEFAULT_MIDDLE => between(0.5),
        bits::HINT_DEFAULT_HIGH => between(0.75),
        bits::HINT_DEFAULT_0 => 0.0,
        bits::HINT_DEFAULT_1 => 1.0,
        bits::HINT_DEFAULT_100 => 100.0,
        other => panic!("no default: {other:#x}"),
    }
}

#[test]
fn ladspa_hosts_work_out_the_defaults_of_the_table_and_refuse_no_value_of_it() {
    for (descriptor, (_, layout)) in labels().into_iter().zip(LABELS) {
        for (i, port) in layout.controls.iter().enumerate() {
            // SAFETY: a descriptor has as many hints as ports.
            let hint = unsafe { *descriptor.port_range_hints.add(i) };
            let (default, symbol) = (default_of(&hint), port.symbol);
            assert!((default - port.default).abs() <= 1e-6 * port.default.abs(), "{symbol}: {default}");
            assert!(hint.lower <= port.min && hint.upper >= port.max, "{symbol}: {hint:?}");
            let bounds = bits::HINT_BOUNDED_BELOW | bits::HINT_BOUNDED_ABOVE;
            // The standard allows nothing but a default beside a toggle, and hosts take toggles to be off at first.
            let toggle = matches!(port.kind, Kind::Toggle | Kind::Trigger) && port.default == 0.0;
            let wanted = if toggle { bits::HINT_TOGGLED } else { bounds };
            assert_eq!(hint.hint & (bits::HINT_TOGGLED | bounds), wanted, "{symbol}");
        }
    }
}

/// Without bounds Carla clamps what a control output shows to 0 to 1.
#[test]
fn ladspa_control_outputs_have_the_bounds_of_the_table() {
    for (descriptor, (label, layout)) in labels().into_iter().zip(LABELS) {
        for (i, port) in layout.meters.iter().enumerate() {
            // SAFETY: a descriptor has as many hints as ports.
            let hint = unsafe { *descriptor.port_range_hints.add(layout.first_meter() + i) };
            let integer = if port.kind == Kind::Continuous { 0 } else { bits::HINT_INTEGER };
            let wanted = bits::HINT_BOUNDED_BELOW | bits::HINT_BOUNDED_ABOVE | integer;
            assert_eq!((hint.hint, hint.lower, hint.upper), (wanted, port.min, port.max), "{label}: {}", port.symbol);
        }
    }
}

/// Audacity's scripting cuts a name at `:` and at `,`, and runs whatever effect is called like the rest.
#[test]
fn ladspa_names_are_those_of_lv2_and_can_be_written_in_a_script() {
    let text = |pointer| {
        // SAFETY: the strings of a descriptor are C strings that stay.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("ASCII")
    };
    let names: Vec<&str> = labels().iter().map(|descriptor| text(descriptor.name)).collect();
    assert_eq!(names, ["Driftmerge", "Driftmerge Dual", "Driftmerge Four", "Driftmerge Align"]);
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphabetic() || c == ' ')), "{names:?}");
    for (name, file, uri) in [
        (names[0], "driftmerge.ttl", "urn:driftmerge:merge"),
        (names[2], "merge4.ttl", "urn:driftmerge:merge4"),
        (names[3], "align.ttl", "urn:driftmerge:align"),
    ] {
        assert_eq!(Facts::read(file).one(uri, "http://usefulinc.com/ns/doap#name"), name);
    }
    let project = Facts::read("project.ttl");
    let maintainer = project.one("urn:driftmerge:project", "http://usefulinc.com/ns/doap#maintainer");
    let maker = project.one(maintainer, "http://xmlns.com/foaf/0.1/name");
    assert!(labels().iter().all(|descriptor| text(descriptor.maker) == maker), "one maker for both standards");
}

#[test]
fn ladspa_ports_stand_in_the_order_that_servers_need() {
    let text = |pointer| {
        // SAFETY: the strings of a descriptor are C strings that stay.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("ASCII")
    };
    let descriptors = labels();
    assert_eq!(descriptors.iter().map(|d| text(d.label)).collect::<Vec<_>>(), LABELS.map(|(label, _)| label));
    for (descriptor, (label, layout)) in descriptors.iter().zip(LABELS) {
        assert!(!label.contains(' '));
        let kinds = [
            (layout.controls.iter().map(|port| port.symbol).collect::<Vec<_>>(), bits::PORT_CONTROL | bits::PORT_INPUT),
            (layout.meters.iter().map(|port| port.symbol).collect(), bits::PORT_CONTROL | bits::PORT_OUTPUT),
            (layout.outs.to_vec(), bits::PORT_AUDIO | bits::PORT_OUTPUT),
            (layout.ins.to_vec(), bits::PORT_AUDIO | bits::PORT_INPUT),
        ];
        let wanted: Vec<(&str, c_int)> =
            kinds.iter().flat_map(|(names, kind)| names.iter().map(|name| (*name, *kind))).collect();
        let found: Vec<(&str, c_int)> = (0..descriptor.port_count as usize)
            // SAFETY: as many names and kinds as ports.
            .map(|i| unsafe { (text(*descriptor.port_names.add(i)), *descriptor.port_descriptors.add(i)) })
            .collect();
        assert_eq!(found, wanted);
        assert!(descriptor.unique_id > 1000 && descriptor.unique_id < 0x0100_0000, "the range for everyone");
        assert_eq!(descriptor.properties, bits::PROPERTY_HARD_RT_CAPABLE);
    }
    let numbers: BTreeSet<_> = descriptors.iter().map(|descriptor| descriptor.unique_id).collect();
    assert_eq!(numbers, [4_417_281, 4_417_282, 4_417_283, 4_417_284].into(), "once given out, for ever");
    for (_, layout) in LABELS {
        assert!(layout.meters.iter().any(|port| port.symbol == "latency"), "PipeWire looks for this very name");
    }
}
