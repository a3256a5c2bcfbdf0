//! Watches what the server does with the graph while the service runs.
//!
//! The problem: other programs unload modules, and every desktop remembers mutes and volumes by the names of sinks, sources
//! and streams, and sets them again years later. What is inside the graph (its sinks, their monitors, the streams between
//! them) is the service's own: it is restored. What people see and use (the merged source, the microphones) is theirs: that
//! it is muted or turned down is reported, for somebody may have pressed a key.

use super::seen::Notices;
use super::service::Service;
use crate::plan::{self, Graph, Module, Present, Step};
use crate::pulse::levels::{self, Kind, Level};
use crate::pulse::{self, Connection, PulseError};
use std::time::{Duration, Instant};

/// Changes come in bursts: looks are this far apart at least.
const PAUSE: Duration = Duration::from_millis(250);
/// Without a change the graph is looked at as often as this: what a server does not report is found as well.
const USUAL: Duration = Duration::from_secs(5);
/// Below this share of full volume it is reported that a source is turned down.
const TURNED_DOWN: f64 = 0.7;

/// When the graph was looked at.
pub(super) struct Guard {
    looked: Instant,
    changed: bool,
}

impl Guard {
    pub fn new() -> Self {
        Self { looked: Instant::now(), changed: true }
    }

    /// Whether a look is due.
    pub fn due(&mut self, connection: &Connection) -> bool {
        self.changed |= connection.changed();
        let pause = if self.changed { PAUSE } else { USUAL };
        if self.looked.elapsed() < pause {
            return false;
        }
        (self.looked, self.changed) = (Instant::now(), false);
        true
    }
}

/// Loads the parts of `graph` again that are missing; gives what the server has then, and whether the merged source is one
/// of them.
///
/// # Errors
/// The server went away.
pub(super) fn restore_parts(
    connection: &mut Connection,
    graph: &Graph,
    mut present: Present,
) -> Result<(Present, bool), PulseError> {
    without_own(&mut present);
    let steps = match plan::steps(graph, &present) {
        Ok(steps) if steps.is_empty() => return Ok((present, false)),
        Ok(steps) => steps,
        Err(error) => {
            tracing::debug!("{error}");
            return Ok((present, false));
        }
    };
    let mut source = false;
    for step in &steps {
        if let Step::Load(element) = step {
            source |= element.part == plan::Part::Source;
            tracing::warn!("loading {} again, the part `{}` of the graph", element.module, element.part.mark());
        }
    }
    pulse::apply_some(connection, &steps)?;
    Ok((pulse::survey(connection)?, source))
}

/// Takes this process off those that are at work on the graph: it is not in its own way.
pub(super) fn without_own(present: &mut Present) {
    let own = std::process::id().to_string();
    present.holders.retain(|holder| holder.process != own);
}

/// Restores the levels inside of `graph` and reports those of the microphones and of the merged source.
///
/// # Errors
/// The server went away.
pub(super) fn look_at_levels(
    connection: &mut Connection,
    service: &Service,
    graph: &Graph,
    present: &Present,
    notices: &mut Notices,
) -> Result<(), PulseError> {
    let ours: Vec<&Module> = plan::ours(present, Some(graph.name));
    let levels = levels::levels(connection)?;
    for level in levels.iter().filter(|level| is_inside(level, graph, &ours) && !level.plain()) {
        let what = if level.muted { "was muted" } else { "was not at full volume" };
        tracing::warn!("`{}`, a part of the graph, {what} by another program; restoring it", level.name);
        levels::set_plain(connection, level)?;
    }
    let monitor = format!("{}.monitor", graph.out_sink());
    let of = |name: &str| levels.iter().find(|level| level.kind == Kind::Source && level.name == name);
    // PipeWire does not say which module a stream belongs to; there a remap source cannot be moved by hand either.
    let source = ours.iter().find(|m| plan::steps::mark(m).is_some_and(|(_, part)| part == plan::Part::Source.mark()));
    let stream = levels.iter().find(|level| level.kind == Kind::Record && level.module == source.map(|m| m.index));
    if let (Some(stream), Some(wanted), Some(_)) = (stream, of(&monitor), source)
        && stream.device != Some(wanted.index)
    {
        tracing::warn!("`{}` was connected to another source; connecting it to `{monitor}` again", graph.name);
        levels::connect_record(connection, stream, &monitor)?;
    }
    report(notices, graph.name, of(graph.name));
    for (i, label) in service.labels.iter().enumerate() {
        report(notices, label, of(&graph.source_of(i)));
    }
    Ok(())
}

/// Whether it is inside the graph, where nobody has a reason to turn anything down.
fn is_inside(level: &Level, graph: &Graph, ours: &[&Module]) -> bool {
    let names = [graph.out_sink(), graph.in_sink()];
    let own_process = level.process == std::process::id().to_string();
    let own_module = level.module.is_some_and(|module| ours.iter().any(|m| m.index == module));
    match level.kind {
        Kind::Sink => names.contains(&level.name),
        Kind::Source => names.iter().any(|name| level.name == format!("{name}.monitor")),
        // What plays the far end is the far end's.
        Kind::Playback | Kind::Record => {
            own_process || (own_module && level.kind == Kind::Record) || is_loopback(level, ours)
        }
    }
}

fn is_loopback(level: &Level, ours: &[&Module]) -> bool {
    level.module.is_some_and(|module| ours.iter().any(|m| m.index == module && m.name == "module-loopback"))
}

/// Reports that a source is muted or turned down.
fn report(notices: &mut Notices, label: &str, level: Option<&Level>) {
    let Some(level) = level else { return };
    let muted = level.muted.then(|| format!("`{label}` is muted at the sound server; unmute it to be heard"));
    notices.set(&format!("muted {label}"), muted);
    let low = level.volume.filter(|volume| *volume < TURNED_DOWN).map(|volume| {
        format!("`{label}` is turned down to {:.0} % at the sound server; call applications do that", volume * 100.0)
    });
    notices.set_quietly(&format!("volume {label}"), low);
}
