//! The merge as a PipeWire filter chain, to be put into `~/.config/pipewire/filter-chain.conf.d/`.

use super::graph::control_values;
use driftmerge_dsp::Controls;
use driftmerge_dsp::params::CONTROLS;
use std::fmt::Write as _;

/// A configuration file that makes the stereo sink `NAME_in` (left: A, right: B) and the source `NAME`.
pub fn filter_chain(name: &str, controls: &Controls) -> String {
    let mut settings = String::new();
    for (port, value) in CONTROLS.iter().zip(control_values(controls)) {
        if value != port.default {
            write!(settings, " \"{}\" = {value}", port.symbol).expect("a text takes all");
        }
    }
    format!(
        r#"# Link microphone A to the left and B to the right of {name}_in, for example with pw-loopback or qpwgraph.
context.modules = [
    {{ name = libpipewire-module-filter-chain
        args = {{
            node.description = "{name}"
            filter.graph = {{
                nodes = [ {{ type = lv2 name = merge plugin = "urn:driftmerge:merge" control = {{{settings} }} }} ]
                inputs = [ "merge:in_a" "merge:in_b" ]
                outputs = [ "merge:out" ]
            }}
            capture.props = {{ node.name = "{name}_in" media.class = Audio/Sink audio.channels = 2 audio.position = [ FL FR ] }}
            playback.props = {{ node.name = "{name}" media.class = Audio/Source audio.channels = 1 audio.position = [ MONO ] }}
        }}
    }}
]
"#
    )
}
