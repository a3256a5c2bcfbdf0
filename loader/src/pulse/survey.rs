//! Reads what a server has.

use super::connection::{Connection, PulseError};
use crate::plan::{Device, Holder, Module, Present, RUN_PROPERTY, Source};
use libpulse_binding::callbacks::ListResult;
use libpulse_binding::context::introspect::{
    CardInfo, ModuleInfo, ServerInfo, SinkInfo, SinkInputInfo, SourceInfo, SourceOutputInfo,
};
use libpulse_binding::def::{INVALID_INDEX, SourceState};
use libpulse_binding::proplist::Proplist;
use libpulse_binding::proplist::properties::{
    APPLICATION_PROCESS_ID, DEVICE_BUS, DEVICE_BUS_PATH, DEVICE_PRODUCT_ID, DEVICE_SERIAL, DEVICE_VENDOR_ID,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

/// What the server has now.
///
/// # Errors
/// The server went away, or did not answer.
pub fn survey(connection: &mut Connection) -> Result<Present, PulseError> {
    let about = connection.ask("tell about itself", |context, found: Found<[String; 4]>| {
        let about = |info: &ServerInfo| {
            let server = [&info.server_name, &info.server_version];
            let [[name, version], [source, sink]] = [server, [&info.default_source_name, &info.default_sink_name]]
                .map(|pair| pair.map(|n| text(n.as_ref())));
            [name, version, source, sink]
        };
        context.introspect().get_server_info(move |info| found.borrow_mut().push(about(info)))
    })?;
    let [name, version, default_source, default_sink] = about.into_iter().next().unwrap_or_default();
    let cards = connection.ask("list its cards", |context, found: Found<(u32, String)>| {
        let card = |info: &CardInfo| (info.index, text(info.name.as_ref()));
        context.introspect().get_card_info_list(move |item| found.borrow_mut().extend(read(&item).map(card)))
    })?;
    let modules = modules(connection)?;
    let sources = connection.ask("list its sources", |context, found: Found<Source>| {
        let source = move |info: &SourceInfo| {
            let mut source = source(info);
            let card = cards.iter().find(|(index, _)| info.card == Some(*index));
            source.device.cards.extend(card.map(|(_, name)| name.clone()));
            source
        };
        context.introspect().get_source_info_list(move |item| found.borrow_mut().extend(read(&item).map(&source)))
    })?;
    let sinks = connection.ask("list its sinks", |context, found: Found<String>| {
        let name = |info: &SinkInfo| text(info.name.as_ref());
        context.introspect().get_sink_info_list(move |item| found.borrow_mut().extend(read(&item).map(name)))
    })?;
    let holders = connection.ask("list its streams", |context, found: Found<Holder>| {
        let list = move |item: ListResult<&SinkInputInfo>| found.borrow_mut().extend(read(&item).and_then(holder));
        context.introspect().get_sink_input_info_list(list)
    })?;
    let [default_source, default_sink] =
        [default_source, default_sink].map(|name| Some(name).filter(|n| !n.is_empty()));
    Ok(Present { server: (name, version), default_source, default_sink, modules, sources, sinks, holders })
}

/// The server's modules.
///
/// # Errors
/// The server went away, or did not answer.
pub fn modules(connection: &mut Connection) -> Result<Vec<Module>, PulseError> {
    connection.ask("list its modules", |context, found: Found<Module>| {
        context.introspect().get_module_info_list(move |item| found.borrow_mut().extend(read(&item).map(module)))
    })
}

/// By what it is seen that somebody records a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The source runs: `PulseAudio` tells that of no other.
    Runs,
    /// A stream is connected to it, stopped or not: what `PipeWire` tells of a node's state depends on what else runs. A
    /// stream that is not told to be connected to any source counts as well: one that came just when the graph went to rest is
    /// told so for good, and waits for the graph.
    Connected,
}

/// Whether somebody records the source `name`.
///
/// # Errors
/// The server went away, or did not answer.
pub fn recorded(connection: &mut Connection, name: &str, sign: Sign) -> Result<bool, PulseError> {
    let found = connection.ask("tell of a source", |context, found: Found<(u32, bool)>| {
        let about = |info: &SourceInfo| (info.index, info.state == SourceState::Running);
        context
            .introspect()
            .get_source_info_by_name(name, move |item| found.borrow_mut().extend(read(&item).map(about)))
    })?;
    let Some(&(index, runs)) = found.first() else { return Ok(false) };
    if sign == Sign::Runs {
        return Ok(runs);
    }
    let streams = connection.ask("list the streams that record", |context, found: Found<u32>| {
        let list = move |item: ListResult<&SourceOutputInfo>| {
            found.borrow_mut().extend(read(&item).map(|info| info.source));
        };
        context.introspect().get_source_output_info_list(list)
    })?;
    Ok(streams.iter().any(|source| *source == index || *source == INVALID_INDEX))
}

/// Where a list is gathered.
pub(super) type Found<T> = Rc<RefCell<Vec<T>>>;

pub(super) fn read<'a, T>(item: &ListResult<&'a T>) -> Option<&'a T> {
    if let ListResult::Item(item) = item { Some(item) } else { None }
}

pub(super) fn text(name: Option<&Cow<str>>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

fn module(info: &ModuleInfo) -> Module {
    Module { index: info.index, name: text(info.name.as_ref()), arguments: text(info.argument.as_ref()) }
}

fn source(info: &SourceInfo) -> Source {
    Source {
        name: text(info.name.as_ref()),
        description: text(info.description.as_ref()),
        rate_hz: info.sample_spec.rate,
        channels: info.sample_spec.channels,
        positions: info.channel_map.print(),
        monitor_of: info.monitor_of_sink.map(|_| text(info.monitor_of_sink_name.as_ref())),
        module: info.owner_module,
        state: match info.state {
            SourceState::Running => "running",
            SourceState::Idle => "idle",
            SourceState::Suspended => "suspended",
            SourceState::Invalid => "unknown",
        },
        device: device(&info.proplist),
    }
}

fn device(properties: &Proplist) -> Device {
    let get = |key: &str| properties.get_str(key);
    // Other buses have numbers of vendors as well.
    let usb = get(DEVICE_BUS).is_none_or(|bus| bus == "usb");
    Device {
        usb: get(DEVICE_VENDOR_ID).zip(get(DEVICE_PRODUCT_ID)).filter(|_| usb),
        serial: get(DEVICE_SERIAL).unwrap_or_default(),
        bus_path: get(DEVICE_BUS_PATH).unwrap_or_default(),
        cards: ["alsa.card_name", "alsa.id", "api.alsa.card.name"].into_iter().filter_map(get).collect(),
    }
}

fn holder(info: &SinkInputInfo) -> Option<Holder> {
    let graph = info.proplist.get_str(RUN_PROPERTY)?;
    let process = info.proplist.get_str(APPLICATION_PROCESS_ID).unwrap_or_else(|| "unknown".into());
    Some(Holder { graph, process })
}
