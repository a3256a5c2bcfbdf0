//! The wanted graph: which modules, with which arguments, in which order.
//!
//! ```text
//! Direct:    mics → (program) → null sink NAME_out → its monitor → remap source NAME
//! Loopback:  mics → loopbacks → null sink NAME_in → (program) → NAME_out → NAME
//! In server: mics → loopbacks → ladspa sink NAME_in → null sink NAME_out → NAME
//! Beside:    mics → loopbacks → filter-chain NAME_in → NAME     (a process of its own makes all of it, see [`super::pipewire`])
//! ```
//!
//! Before all of these, a microphone of another machine comes through a tunnel `NAME_micI`, and where echoes are cancelled
//! ([`super::echo`]) every one there is through `NAME_echoI`, I counting from 0.
//!
//! Loopbacks are pinned at both ends: a server that moves one to a new default source makes a feedback loop. The
//! merged sound is taken from the front left alone; the plugin's second output is the same sound.

use super::arguments;
use super::controls::control_list;
use super::echo::Echo;
use super::parts::{Element, Mic, Part};
use super::{GRAPH_PROPERTY, PART_PROPERTY};
use driftmerge_dsp::Controls;
use std::path::Path;

/// Sound kept by a loopback, ms: enough for sources that hand over every 20 ms, with room for the servers' own steps.
const LOOPBACK_LATENCY_MS: u32 = 60;
/// How the two microphones are told apart in one stereo stream.
const SIDES: [&str; 2] = ["front-left", "front-right"];

/// Which graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// The program records each microphone by itself.
    Direct,
    /// The program records both from one stereo sink.
    Loopback,
    /// A process of its own merges them; the server has only what comes before.
    Beside,
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
    /// The microphones, A first: two where the server brings them together.
    pub mics: Vec<Mic>,
    /// What is taken out of those that want it.
    pub echo: Option<&'a Echo>,
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

    /// Name of the sink into which the far end is to be played, if echoes are cancelled.
    pub fn far_sink(&self) -> String {
        far_sink(self.name)
    }

    /// The source of microphone `i` as this server has it.
    pub fn source_of(&self, i: usize) -> String {
        let mic = &self.mics[i];
        if mic.server.is_some() { format!("{}_mic{i}", self.name) } else { mic.source.clone() }
    }

    /// Whether echoes are cancelled from microphone `i`.
    fn cancels(&self, i: usize) -> bool {
        self.mics[i].echo && self.echo.is_some()
    }

    /// Whether the server has to pick the channel of microphone `i`, because the program does not record the device itself.
    pub(super) fn picks(&self, i: usize) -> bool {
        self.mics[i].channel.is_some() && (self.kind != Kind::Direct || self.cancels(i))
    }

    /// The source of microphone `i` as one channel.
    pub(super) fn picked(&self, i: usize) -> String {
        if self.picks(i) { format!("{}_pick{i}", self.name) } else { self.source_of(i) }
    }

    /// The source from which microphone `i` is recorded.
    pub fn recorded(&self, i: usize) -> String {
        if self.cancels(i) { format!("{}_echo{i}", self.name) } else { self.picked(i) }
    }

    /// The channel of that source that was asked for, counted from 0; None: the source has but the right one, or the best
    /// one is to be found.
    pub fn recorded_channel(&self, i: usize) -> Option<usize> {
        let channel = self.mics[i].channel.as_ref().filter(|_| !self.picks(i));
        channel.map(|channel| channel.index)
    }

    /// The modules, in the order in which they are to be loaded.
    pub fn elements(&self) -> Vec<Element> {
        if self.kind == Kind::Beside {
            return self.before();
        }
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
        elements.extend(self.before());
        match self.kind {
            Kind::Direct | Kind::Beside => {}
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
            for (i, side) in SIDES.iter().enumerate().take(self.mics.len()) {
                let mic = self.recorded(i);
                elements.push(self.element(
                    Part::Mic(i),
                    "module-loopback",
                    "sink_input_properties",
                    "Driftmerge microphone",
                    &[
                        ("source", &mic),
                        ("sink", &input),
                        ("rate", &rate),
                        ("channels", "1"),
                        ("channel_map", side),
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

    pub(super) fn element(
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

/// Name of the sink into which the far end of the graph `name` is to be played.
pub fn far_sink(name: &str) -> String {
    format!("{name}_far")
}

/// Whether the server takes `name` as the name of a source.
pub fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // The server allows 127 characters; `_out.monitor` is appended.
    !name.is_empty() && name.len() <= 100 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::devices::Tunnel;
    use crate::plan::echo::NULL_SINK;

    #[test]
    fn every_part_comes_after_what_it_needs() {
        let ladspa = Path::new("/x/driftmerge.so");
        let in_server = Kind::InServer { ladspa, controls: Controls::default() };
        for kind in [Kind::Direct, Kind::Loopback, Kind::Beside, in_server] {
            let tunnel = Tunnel { server: "tcp:box".into(), source: "c".into() };
            let mut mics = vec![Mic::local("a"), Mic::local("b c"), Mic::remote("box", tunnel)];
            for mic in &mut mics {
                mic.echo = true;
            }
            if kind != Kind::Direct {
                mics.remove(1);
            }
            let echo =
                Echo { sinks: vec![NULL_SINK.into()], arguments: "noise_suppression=0 extended_filter=1".into() };
            let graph = Graph { name: "driftmerge", mics, echo: Some(&echo), rate_hz: 48_000, kind };
            let elements = graph.elements();
            for (i, element) in elements.iter().enumerate() {
                let later = &elements[i..];
                assert!(!later.iter().any(|e| element.part.needs(e.part)), "{element:?}");
                assert!(element.arguments.contains("driftmerge.graph=driftmerge"));
            }
        }
    }
}
