//! The wanted graph: which modules, with which arguments, in which order.
//!
//! ```text
//! Direct:    mics → (program) → null sink NAME_out → its monitor → remap source NAME
//! Loopback:  mics → loopbacks → null sink NAME_in → (program) → NAME_out → NAME
//! In server: mics → loopbacks → ladspa sink NAME_in → null sink NAME_out → NAME
//! ```
//!
//! Before all of these, a microphone of another machine comes through a tunnel `NAME_micI`, and where echoes are cancelled
//! ([`super::echo`]) every one there is through `NAME_echoI`, I counting from 0.
//!
//! Loopbacks are pinned at both ends: a server that moves one to a new default source makes a feedback loop. The
//! merged sound is taken from the front left alone; the plugin's second output is the same sound.

use super::arguments;
use super::devices::Tunnel;
use super::echo::{self, Echo, NULL_SINK};
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
    /// A microphone (0: A) of another machine.
    Tunnel(usize),
    /// The sink at the end of the far end's way, where nobody hears it here.
    Far,
    /// What takes the far end out of a microphone.
    Echo(usize),
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
            Self::Tunnel(i) => format!("tunnel{i}"),
            Self::Far => "far".into(),
            Self::Echo(i) => format!("echo{i}"),
            Self::Mic(i) => format!("mic{i}"),
            Self::Source => "source".into(),
        }
    }

    /// Whether this part cannot be without that one.
    pub fn needs(self, other: Self) -> bool {
        match self {
            Self::Out | Self::In | Self::Far | Self::Tunnel(_) => false,
            Self::Plugin | Self::Source => other == Self::Out,
            Self::Echo(i) => match other {
                Self::Far => true,
                Self::Tunnel(j) => j == i,
                Self::Echo(j) => j > i,
                _ => false,
            },
            Self::Mic(i) => {
                matches!(other, Self::In | Self::Plugin) || other == Self::Echo(i) || other == Self::Tunnel(i)
            }
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

impl Element {
    /// The source that is there some time after the module is, if it is one that asks another machine.
    pub fn awaited(&self) -> Option<String> {
        let is_tunnel = matches!(self.part, Part::Tunnel(_));
        arguments::value_of(&self.arguments, "source_name").filter(|_| is_tunnel)
    }
}

/// A microphone of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Mic {
    /// What people and what is kept call it.
    pub label: String,
    /// Its source's name; of one in a tunnel, the name there.
    pub source: String,
    /// The other machine's server.
    pub server: Option<String>,
    /// Whether echoes are taken out of it.
    pub echo: bool,
    /// Whether its source is there now.
    pub there: bool,
}

impl Mic {
    /// A source of this server.
    pub fn local(source: &str) -> Self {
        Self { label: source.into(), source: source.into(), server: None, echo: false, there: true }
    }

    /// A source of another server, which people call `name`.
    pub fn remote(name: &str, tunnel: Tunnel) -> Self {
        Self { server: Some(tunnel.server), source: tunnel.source, ..Self::local(name) }
    }
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
        format!("{}_far", self.name)
    }

    /// The source of microphone `i` as this server has it.
    pub fn source_of(&self, i: usize) -> String {
        let mic = &self.mics[i];
        if mic.server.is_some() { format!("{}_mic{i}", self.name) } else { mic.source.clone() }
    }

    /// The source from which microphone `i` is recorded.
    pub fn recorded(&self, i: usize) -> String {
        if self.mics[i].echo && self.echo.is_some() { format!("{}_echo{i}", self.name) } else { self.source_of(i) }
    }

    /// What brings microphones to this server and takes echoes out of them.
    fn before(&self) -> Vec<Element> {
        let mut elements = Vec::new();
        for (i, mic) in self.mics.iter().enumerate() {
            let Some(server) = &mic.server else { continue };
            let (name, rate) = (self.source_of(i), self.rate_hz.to_string());
            let arguments: [(&str, &str); 5] = [
                ("source_name", &name),
                ("server", server),
                ("source", &mic.source),
                ("rate", &rate),
                ("channels", "1"),
            ];
            let what = ("source_properties", "Driftmerge tunnel");
            elements.push(self.element(Part::Tunnel(i), "module-tunnel-source", what.0, what.1, &arguments));
        }
        let Some(echo) = self.echo else { return elements };
        let rate = echo::rate_hz(self.rate_hz).to_string();
        let mut heard = echo.sink.clone();
        if heard == NULL_SINK {
            heard = format!("{}_far_end", self.name);
            let arguments: [(&str, &str); 2] = [("sink_name", &heard), ("rate", &rate)];
            elements.push(self.element(
                Part::Far,
                "module-null-sink",
                "sink_properties",
                "Driftmerge far end",
                &arguments,
            ));
        }
        let there: Vec<usize> = (0..self.mics.len()).filter(|i| self.mics[*i].echo && self.mics[*i].there).collect();
        for i in there.iter().copied().rev() {
            let sink = if i == there[0] { self.far_sink() } else { format!("{}{i}", self.far_sink()) };
            let (source, name) = (self.source_of(i), self.recorded(i));
            let arguments: [(&str, &str); 8] = [
                ("source_name", &name),
                ("source_master", &source),
                ("sink_name", &sink),
                ("sink_master", &heard),
                ("rate", &rate),
                ("channels", "1"),
                ("aec_method", "webrtc"),
                ("aec_args", &echo.arguments),
            ];
            let what = ("source_properties", "Driftmerge echo canceller");
            elements.push(self.element(Part::Echo(i), "module-echo-cancel", what.0, what.1, &arguments));
            heard = sink;
        }
        elements
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
        elements.extend(self.before());
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
    fn the_far_end_passes_every_microphone_that_is_there_on_its_way_to_the_real_sink() {
        let echo = Echo { sink: "speaker".into(), arguments: "noise_suppression=0".into() };
        let mut mics: Vec<Mic> = ["a", "b", "c", "d"].map(Mic::local).into();
        for mic in &mut mics {
            mic.echo = true;
        }
        // One that is away, one that nobody asked for.
        (mics[0].there, mics[2].echo) = (false, false);
        let graph = Graph { name: "m", mics, echo: Some(&echo), rate_hz: 44_100, kind: Kind::Direct };
        let cancellers: Vec<Element> =
            graph.elements().into_iter().filter(|e| e.module == "module-echo-cancel").collect();
        let way = |key| cancellers.iter().filter_map(|e| arguments::value_of(&e.arguments, key)).collect::<Vec<_>>();
        assert_eq!(way("sink_master"), ["speaker", "m_far3"]);
        assert_eq!(way("sink_name"), ["m_far3", "m_far"]);
        assert_eq!(way("source_master"), ["d", "b"]);
        assert_eq!(way("rate"), ["48000", "48000"]);
        let recorded: Vec<String> = (0..4).map(|i| graph.recorded(i)).collect();
        assert_eq!(recorded, ["m_echo0", "m_echo1", "c", "m_echo3"]);
    }

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
            let tunnel = Tunnel { server: "tcp:box".into(), source: "c".into() };
            let mut mics = vec![Mic::local("a"), Mic::local("b c"), Mic::remote("box", tunnel)];
            for mic in &mut mics {
                mic.echo = true;
            }
            if kind != Kind::Direct {
                mics.remove(1);
            }
            let echo = Echo { sink: NULL_SINK.into(), arguments: "noise_suppression=0 extended_filter=1".into() };
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
