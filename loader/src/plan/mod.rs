//! What must be done to a sound server, worked out without touching it.
//!
//! Problem: the server may have nothing of ours, all of it, or the ruins of a run that was killed. So the wanted graph
//! is data ([`graph`]), what is there is data ([`Present`]), and [`mod@steps`] is their difference: doing it twice does
//! nothing the second time. [`devices`] finds microphones by the names people give; [`arguments`] quotes. Nothing here
//! does I/O; `pulse` reads and applies.
//!
//! Everything of ours is marked: each module carries the properties `driftmerge.graph` (name of the merged source) and
//! `driftmerge.part` among its arguments, so that it is recognised whatever else the server holds.

pub mod arguments;
pub mod channel;
pub mod controls;
pub mod devices;
pub mod echo;
pub mod graph;
mod inputs;
pub mod parts;
pub mod pipewire;
pub mod steps;

pub use channel::Channel;
pub use echo::Echo;
pub use graph::{Graph, Kind};
pub use parts::{Element, Mic, Part};
pub use steps::{Blocked, Step, ours, steps};

/// Name of the property with the graph's name on all that is ours.
pub const GRAPH_PROPERTY: &str = "driftmerge.graph";
/// Name of the property with the part's name on our modules.
pub const PART_PROPERTY: &str = "driftmerge.part";
/// Name of the property with the graph's name on the stream of a running `driftmerge run`.
pub const RUN_PROPERTY: &str = "driftmerge.run";

/// A module that the server has loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The server's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, as they were given.
    pub arguments: String,
}

/// The hardware behind a source, as far as the server knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Vendor and product, hexadecimal, of a USB device.
    pub usb: Option<(String, String)>,
    /// Serial number; empty: not known.
    pub serial: String,
    /// Where it is plugged in; empty: not known.
    pub bus_path: String,
    /// Names of its card.
    pub cards: Vec<String>,
}

/// A source that the server has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What people are shown.
    pub description: String,
    /// Its rate, Hz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u8,
    /// Where each of them is, separated by commas: `front-left,front-right`.
    pub positions: String,
    /// The sink whose sound it repeats, if it is a monitor.
    pub monitor_of: Option<String>,
    /// The module that made it.
    pub module: Option<u32>,
    /// running, idle or suspended.
    pub state: &'static str,
    /// What is behind it.
    pub device: Device,
}

/// A `driftmerge run` that is at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// Name of its merged source.
    pub graph: String,
    /// Its process, where the server knows.
    pub process: String,
}

/// What a server has, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Present {
    /// What the server calls itself, and its version.
    pub server: (String, String),
    /// Its default source.
    pub default_source: Option<String>,
    /// Its default sink.
    pub default_sink: Option<String>,
    /// Its modules.
    pub modules: Vec<Module>,
    /// Its sources.
    pub sources: Vec<Source>,
    /// Names of its sinks.
    pub sinks: Vec<String>,
    /// Runs at work.
    pub holders: Vec<Holder>,
}

impl Present {
    /// Whether the server is `PipeWire`, behind its `PulseAudio` door.
    pub fn is_pipewire(&self) -> bool {
        self.server.0.contains("PipeWire")
    }
}
