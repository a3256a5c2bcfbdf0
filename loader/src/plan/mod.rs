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
pub mod devices;
pub mod graph;
pub mod pipewire;
pub mod steps;

pub use graph::{Element, Graph, Kind, Part};
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

/// A source that the server has.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What people are shown.
    pub description: String,
    /// Its rate, Hz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u8,
    /// The sink whose sound it repeats, if it is a monitor.
    pub monitor_of: Option<String>,
    /// The module that made it.
    pub module: Option<u32>,
    /// running, idle or suspended.
    pub state: &'static str,
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
    /// Its modules.
    pub modules: Vec<Module>,
    /// Its sources.
    pub sources: Vec<Source>,
    /// Names of its sinks.
    pub sinks: Vec<String>,
    /// Runs at work.
    pub holders: Vec<Holder>,
}
