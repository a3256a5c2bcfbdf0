//! The wanted graph: which modules, with which arguments, in which order.
//!
//! ```text
//! Direct:    mics → (program) → null sink NAME_out → its monitor → remap source NAME
//! Loopback:  mics → loopbacks → null sink NAME_in → (program) → NAME_out → NAME
//! In server: mics → loopbacks → ladspa sink NAME_in → null sink NAME_out → NAME
//! ```
//!
//! Loopbacks are pinned at both ends: a server that moves one to a new default source makes a feedback loop. The
//! merged sound is taken from the front left alone; the plugin's second output is the same sound.

use super::arguments;
use super::{GRAPH_PROPERTY, PART_PROPERTY};
use driftmerge_dsp::params::{CONTROLS, Controls};
use std::path::Path;

/// Sound kept by a loopback, ms: enough for sources that hand over every 20 ms, with room for the servers' own steps.
const LOOPBACK_LATENCY_MS: u32 = 60;
/// How the two microphones are told apart in one stereo stream.
const SIDES: [&str; 2] = ["front-left", "front-right"];

/// What a module is in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The sink that takes the merged sound.
    Out,
    /// The stereo sink whose sides are the microphones, recorded by the program.
    In,
    /// The same with the plugin inside.
    Plugin,
    /// What brings a microphone (0: A) to the stereo sink.
    Mic(usize),
    /// The merged source.
    Source,
}

impl Part {
    /// The name by which it is marked.
    pub fn mark(self) -> String {
        match self {
            Self::Out => "out".into(),
            Self::In => "in".into(),
            Self::Plugin => "plugin".into(),
            Self::Mic(i) => format!("mic{i}"),
            Self::Source => "source".into(),
        }
    }

    /// The parts without which this one cannot be.
    pub fn needs(self) -> &'static [Self] {
        match self {
            Self::Out | Self::In => &[],
            Self::Plugin | Self::Source => &[Self::Out],
            Self::Mic(_) => &[Self::In, Self::Plugin],
        }
    }
}

/// One module of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// What it is.
    pub part: Part,
    /// The module's name.
    pub module: &'static str,
    /// Its arguments, quoted.
    pub arguments: String,
}

/// Which graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// The program records each microphone by itself.
    Direct,
    /// The program records both from one stereo sink.
    Loopback,
    /// The server runs the plugin of this LADSPA file.
    InServer {
        /// The file's absolute path.
        ladspa: &'a Path,
        /// Its control inputs.
        controls: Controls,
    },
}

/// The graph that is wanted.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    /// Name of the merged source.
    pub name: &'a str,
    /// Names of the microphones' sources, A first: two where the server brings them together.
    pub mics: Vec<&'a str>,
    /// Sample rate, Hz.
    pub rate_hz: u32,
    /// How the sound goes.
    pub kind: Kind<'a>,
}

impl Graph<'_> {
    /// Name of the sink that takes the merged sound.
    pub fn out_sink(&self) -> String {
        format!("{}_out", self.name)
    }

    /// Name of the stereo sink whose sides are the microphones.
    pub fn in_sink(&self) -> String {
        format!("{}_in", self.name)
    }

    /// The modules, in the order in which they are to be loaded.
    pub fn elements(&self) -> Vec<Element> {
        let rate = self.rate_hz.to_string();
        let (out, input) = (self.out_sink(), self.in_sink());
        let stereo = SIDES.join(",");
        let in_server = matches!(self.kind, Kind::InServer { .. });
        let (channels, map, first) = if in_server { ("2", stereo.as_str(), SIDES[0]) } else { ("1", "mono", "mono") };
        let mut elements = vec![self.element(
            Part::Out,
            "module-null-sink",
            "sink_properties",
            "Driftmerge output",
            &[
                ("sink_name", &out),
                ("rate", &rate),
                ("channels", channels),
                ("channel_map", map),
                ("format", "float32le"),
            ],
        )];
        match self.kind {
            Kind::Direct => {}
            Kind::Loopback => elements.push(self.element(
                Part::In,
                "module-null-sink",
                "sink_properties",
                "Driftmerge input",
                &[
                    ("sink_name", &input),
                    ("rate", &rate),
                    ("channels", "2"),
                    ("channel_map", &stereo),
                    ("format", "float32le"),
                ],
            )),
            Kind::InServer { ladspa, controls } => elements.push(self.element(
                Part::Plugin,
                "module-ladspa-sink",
                "sink_properties",
                "Driftmerge input",
                &[
                    ("sink_name", &input),
                    ("sink_master", &out),
                    ("plugin", &ladspa.to_string_lossy()),
                    ("label", "driftmerge_dual"),
                    ("control", &control_list(&controls)),
                    ("rate", &rate),
                    ("channels", "2"),
                    ("channel_map", &stereo),
                ],
            )),
        }
        if !matches!(self.kind, Kind::Direct) {
            for (i, mic) in self.mics.iter().enumerate() {
                elements.push(self.element(
                    Part::Mic(i),
                    "module-loopback",
                    "sink_input_properties",
                    "Driftmerge microphone",
                    &[
                        ("source", mic),
                        ("sink", &input),
                        ("rate", &rate),
                        ("channels", "1"),
                        ("channel_map", SIDES[i]),
                        ("latency_msec", &LOOPBACK_LATENCY_MS.to_string()),
                        ("source_dont_move", "1"),
                        ("sink_dont_move", "1"),
                    ],
                ));
            }
        }
        elements.push(self.element(
            Part::Source,
            "module-remap-source",
            "source_properties",
            self.name,
            &[
                ("source_name", self.name),
                ("master", &format!("{out}.monitor")),
                ("channels", "1"),
                ("master_channel_map", first),
                ("channel_map", "mono"),
                ("remix", "no"),
            ],
        ));
        elements
    }

    fn element(
        &self,
        part: Part,
        module: &'static str,
        properties_key: &str,
        description: &str,
        arguments: &[(&str, &str)],
    ) -> Element {
        let key = if module == "module-loopback" { "media.name" } else { "device.description" };
        let properties =
            arguments::line([(GRAPH_PROPERTY, self.name), (PART_PROPERTY, &part.mark()), (key, description)]);
        // Single quotes outside, double quotes inside: the server hands the inner text on as it stands. None of the
        // values inside comes from outside but the graph's name, which has no quotes (see `valid_name`).
        let arguments = format!("{} {properties_key}='{properties}'", arguments::line(arguments.iter().copied()));
        Element { part, module, arguments }
    }
}

/// Whether the server takes `name` as the name of a source.
pub fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // The server allows 127 characters; `_out.monitor` is appended.
    !name.is_empty() && name.len() <= 100 && name.chars().all(plain)
}

/// The values of the control inputs, in port order.
pub fn control_values(controls: &Controls) -> [f32; CONTROLS.len()] {
    CONTROLS.map(|port| match port.symbol {
        "enabled" => f32::from(u8::from(controls.enabled)),
        "delay" => controls.delay_ms,
        "lag_limit" => controls.lag_limit_ms,
        "threshold" => controls.threshold,
        "half_life" => controls.half_life_s,
        "mode" => f32::from(controls.mode as u8),
        "hold" => f32::from(u8::from(controls.hold)),
        "reset" => f32::from(u8::from(controls.reset)),
        "lag_trim" => controls.lag_trim_frames as f32,
        _ => port.default,
    })
}

/// All control inputs by position, as `module-ladspa-sink` wants them.
fn control_list(controls: &Controls) -> String {
    control_values(controls).map(|v| v.to_string()).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_by_position_are_read_back_as_they_were() {
        let wanted = Controls { delay_ms: 250.0, mode: driftmerge_dsp::Mode::OnlyB, ..Controls::default() };
        let list = control_list(&wanted);
        let values: Vec<f32> = list.split(',').map(|v| v.parse().expect("a number")).collect();
        assert_eq!(Controls::from_values(&values.try_into().expect("one for each port")), wanted);
    }

    #[test]
    fn every_part_comes_after_what_it_needs() {
        let ladspa = Path::new("/x/driftmerge.so");
        let in_server = Kind::InServer { ladspa, controls: Controls::default() };
        for kind in [Kind::Direct, Kind::Loopback, in_server] {
            let graph = Graph { name: "driftmerge", mics: vec!["a", "b c"], rate_hz: 48_000, kind };
            let elements = graph.elements();
            for (i, element) in elements.iter().enumerate() {
                let later = &elements[i..];
                assert!(!later.iter().any(|e| element.part.needs().contains(&e.part)), "{element:?}");
                assert!(element.arguments.contains("driftmerge.graph=driftmerge"));
            }
        }
    }
}
