//! What a graph is made of: its parts, the modules that are these parts, and its microphones.

use super::arguments;
use super::channel::Channel;
use super::devices::Tunnel;

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
    /// A sink of another machine that is one of several at the end of the far end's way.
    Loud(usize),
    /// The sink at the end of the far end's way, where it is heard by another machine, by several sinks, or not at all.
    Far,
    /// One channel of a microphone that has several.
    Pick(usize),
    /// What cancels the far end from a microphone.
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
            Self::Loud(i) => format!("loud{i}"),
            Self::Far => "far".into(),
            Self::Pick(i) => format!("pick{i}"),
            Self::Echo(i) => format!("echo{i}"),
            Self::Mic(i) => format!("mic{i}"),
            Self::Source => "source".into(),
        }
    }

    /// Whether this part cannot be without that one.
    pub fn needs(self, other: Self) -> bool {
        match self {
            Self::Out | Self::In | Self::Loud(_) | Self::Tunnel(_) | Self::Pick(_) => false,
            Self::Far => matches!(other, Self::Loud(_)),
            Self::Plugin | Self::Source => other == Self::Out,
            Self::Echo(i) => match other {
                Self::Far => true,
                Self::Tunnel(j) | Self::Pick(j) => j == i,
                Self::Echo(j) => j > i,
                _ => false,
            },
            Self::Mic(i) => {
                matches!(other, Self::In | Self::Plugin)
                    || [Self::Echo(i), Self::Tunnel(i), Self::Pick(i)].contains(&other)
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
    /// The source or sink that is there some time after the module is, if it is one that asks another machine.
    pub fn awaited(&self) -> Option<String> {
        let name = match self.module {
            "module-tunnel-source" => "source_name",
            "module-tunnel-sink" => "sink_name",
            _ => return None,
        };
        arguments::value_of(&self.arguments, name)
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
    /// The channel of it that was asked for.
    pub channel: Option<Channel>,
    /// Whether echoes are cancelled from it.
    pub echo: bool,
    /// Whether its source is there now.
    pub there: bool,
}

impl Mic {
    /// A source of this server.
    pub fn local(source: &str) -> Self {
        Self { label: source.into(), source: source.into(), server: None, channel: None, echo: false, there: true }
    }

    /// Whether both are the same microphone, however they are called.
    pub fn is(&self, other: &Self) -> bool {
        let channel = |mic: &Self| mic.channel.as_ref().map(|channel| channel.index);
        (&self.server, &self.source, channel(self)) == (&other.server, &other.source, channel(other))
    }

    /// The same, called after its channel as well.
    #[must_use]
    pub fn labelled(mut self) -> Self {
        if let Some(channel) = &self.channel {
            self.label = format!("{}:{}", self.label, channel.said);
        }
        self
    }

    /// A source of another server, which people call `name`.
    pub fn remote(name: &str, tunnel: Tunnel) -> Self {
        Self { server: Some(tunnel.server), source: tunnel.source, ..Self::local(name) }
    }
}
