//! What can be muted and turned down at a server, and who is connected to what.

use super::connection::{Connection, PulseError};
use super::survey::{Found, read, text};
use libpulse_binding::context::introspect::{SinkInfo, SinkInputInfo, SourceInfo, SourceOutputInfo};
use libpulse_binding::proplist::Proplist;
use libpulse_binding::proplist::properties::APPLICATION_PROCESS_ID;
use libpulse_binding::volume::{ChannelVolumes, Volume};
use std::cell::RefCell;
use std::rc::Rc;

/// Kinds of what has a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sink.
    Sink,
    /// A source.
    Source,
    /// A stream that plays.
    Playback,
    /// A stream that records.
    Record,
}

/// Something that has a level.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// What it is.
    pub kind: Kind,
    /// The server's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The module that made it.
    pub module: Option<u32>,
    /// The process that made it, where the server knows.
    pub process: String,
    /// The sink or source that a stream is connected to.
    pub device: Option<u32>,
    /// Whether it is silent.
    pub muted: bool,
    /// Its volume, 1 as loud as it comes; None: it has none.
    pub volume: Option<f64>,
    channels: u8,
}

impl Level {
    /// Whether sound passes as it is.
    pub fn plain(&self) -> bool {
        !self.muted && self.volume.is_none_or(|volume| (volume - 1.0).abs() < 0.005)
    }
}

/// All levels of the server.
///
/// # Errors
/// The server went away, or did not answer.
pub fn levels(connection: &mut Connection) -> Result<Vec<Level>, PulseError> {
    let share = |volume: &ChannelVolumes| f64::from(volume.max().0) / f64::from(Volume::NORMAL.0);
    let process = |properties: &Proplist| properties.get_str(APPLICATION_PROCESS_ID).unwrap_or_default();
    let mut all = connection.ask("list its sinks", |context, found: Found<Level>| {
        let level = move |info: &SinkInfo| Level {
            kind: Kind::Sink,
            index: info.index,
            name: text(info.name.as_ref()),
            module: info.owner_module,
            process: String::new(),
            device: None,
            muted: info.mute,
            volume: Some(share(&info.volume)),
            channels: info.volume.len(),
        };
        context.introspect().get_sink_info_list(move |item| found.borrow_mut().extend(read(&item).map(level)))
    })?;
    all.extend(connection.ask("list its sources", |context, found: Found<Level>| {
        let level = move |info: &SourceInfo| Level {
            kind: Kind::Source,
            index: info.index,
            name: text(info.name.as_ref()),
            module: info.owner_module,
            process: String::new(),
            device: None,
            muted: info.mute,
            volume: Some(share(&info.volume)),
            channels: info.volume.len(),
        };
        context.introspect().get_source_info_list(move |item| found.borrow_mut().extend(read(&item).map(level)))
    })?);
    all.extend(connection.ask("list what plays", |context, found: Found<Level>| {
        let level = move |info: &SinkInputInfo| Level {
            kind: Kind::Playback,
            index: info.index,
            name: text(info.name.as_ref()),
            module: info.owner_module,
            process: process(&info.proplist),
            device: Some(info.sink),
            muted: info.mute,
            volume: info.has_volume.then(|| share(&info.volume)),
            channels: info.volume.len(),
        };
        context.introspect().get_sink_input_info_list(move |item| found.borrow_mut().extend(read(&item).map(level)))
    })?);
    all.extend(connection.ask("list what records", |context, found: Found<Level>| {
        let level = move |info: &SourceOutputInfo| Level {
            kind: Kind::Record,
            index: info.index,
            name: text(info.name.as_ref()),
            module: info.owner_module,
            process: process(&info.proplist),
            device: Some(info.source),
            muted: info.mute,
            volume: info.has_volume.then(|| share(&info.volume)),
            channels: info.volume.len(),
        };
        context.introspect().get_source_output_info_list(move |item| found.borrow_mut().extend(read(&item).map(level)))
    })?);
    Ok(all)
}

/// Lets sound pass `level` as it is: not muted, at full volume.
///
/// # Errors
/// The server went away.
pub fn set_plain(connection: &mut Connection, level: &Level) -> Result<(), PulseError> {
    let (index, what) = (level.index, format!("unmute `{}`", level.name));
    if level.muted {
        connection.ask(&what, |context, done: Rc<RefCell<bool>>| {
            let took: Box<dyn FnMut(bool)> = Box::new(move |took| *done.borrow_mut() = took);
            let mut introspect = context.introspect();
            match level.kind {
                Kind::Sink => introspect.set_sink_mute_by_index(index, false, Some(took)),
                Kind::Source => introspect.set_source_mute_by_index(index, false, Some(took)),
                Kind::Playback => introspect.set_sink_input_mute(index, false, Some(took)),
                Kind::Record => introspect.set_source_output_mute(index, false, Some(took)),
            }
        })?;
    }
    if level.volume.is_some() && level.channels > 0 {
        let mut full = ChannelVolumes::default();
        full.set(level.channels, Volume::NORMAL);
        connection.ask(&what, |context, done: Rc<RefCell<bool>>| {
            let took: Box<dyn FnMut(bool)> = Box::new(move |took| *done.borrow_mut() = took);
            let mut introspect = context.introspect();
            match level.kind {
                Kind::Sink => introspect.set_sink_volume_by_index(index, &full, Some(took)),
                Kind::Source => introspect.set_source_volume_by_index(index, &full, Some(took)),
                Kind::Playback => introspect.set_sink_input_volume(index, &full, Some(took)),
                Kind::Record => introspect.set_source_output_volume(index, &full, Some(took)),
            }
        })?;
    }
    Ok(())
}

/// Connects a stream that records to the source `name`.
///
/// # Errors
/// The server went away.
pub fn connect_record(connection: &mut Connection, level: &Level, name: &str) -> Result<(), PulseError> {
    connection.ask(&format!("connect to `{name}`"), |context, done: Rc<RefCell<bool>>| {
        let took: Box<dyn FnMut(bool)> = Box::new(move |took| *done.borrow_mut() = took);
        context.introspect().move_source_output_by_name(level.index, name, Some(took))
    })?;
    Ok(())
}
