//! Reads what a server has.

use super::connection::{Connection, PulseError};
use crate::plan::{Holder, Module, Present, RUN_PROPERTY, Source};
use libpulse_binding::callbacks::ListResult;
use libpulse_binding::context::introspect::{ModuleInfo, SinkInfo, SinkInputInfo, SourceInfo};
use libpulse_binding::def::SourceState;
use libpulse_binding::proplist::properties::APPLICATION_PROCESS_ID;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

/// What the server has now.
///
/// # Errors
/// The server went away, or did not answer.
pub fn survey(connection: &mut Connection) -> Result<Present, PulseError> {
    let modules = connection.ask("list its modules", |context, found: Found<Module>| {
        context.introspect().get_module_info_list(move |item| found.borrow_mut().extend(read(&item).map(module)))
    })?;
    let sources = connection.ask("list its sources", |context, found: Found<Source>| {
        context.introspect().get_source_info_list(move |item| found.borrow_mut().extend(read(&item).map(source)))
    })?;
    let sinks = connection.ask("list its sinks", |context, found: Found<String>| {
        let name = |info: &SinkInfo| text(info.name.as_ref());
        context.introspect().get_sink_info_list(move |item| found.borrow_mut().extend(read(&item).map(name)))
    })?;
    let holders = connection.ask("list its streams", |context, found: Found<Holder>| {
        let list = move |item: ListResult<&SinkInputInfo>| found.borrow_mut().extend(read(&item).and_then(holder));
        context.introspect().get_sink_input_info_list(list)
    })?;
    Ok(Present { modules, sources, sinks, holders })
}

/// Whether somebody records the source `name`.
///
/// # Errors
/// The server went away, or did not answer.
pub fn recorded(connection: &mut Connection, name: &str) -> Result<bool, PulseError> {
    let states = connection.ask("tell of a source", |context, found: Found<Source>| {
        context
            .introspect()
            .get_source_info_by_name(name, move |item| found.borrow_mut().extend(read(&item).map(source)))
    })?;
    Ok(states.iter().any(|source| source.state == RUNNING))
}

/// The state of a source that somebody records.
const RUNNING: &str = "running";

/// Where a list is gathered.
type Found<T> = Rc<RefCell<Vec<T>>>;

fn read<'a, T>(item: &ListResult<&'a T>) -> Option<&'a T> {
    if let ListResult::Item(item) = item { Some(item) } else { None }
}

fn text(name: Option<&Cow<str>>) -> String {
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
        monitor_of: info.monitor_of_sink.map(|_| text(info.monitor_of_sink_name.as_ref())),
        module: info.owner_module,
        state: match info.state {
            SourceState::Running => RUNNING,
            SourceState::Idle => "idle",
            SourceState::Suspended => "suspended",
            SourceState::Invalid => "unknown",
        },
    }
}

fn holder(info: &SinkInputInfo) -> Option<Holder> {
    let graph = info.proplist.get_str(RUN_PROPERTY)?;
    let process = info.proplist.get_str(APPLICATION_PROCESS_ID).unwrap_or_else(|| "unknown".into());
    Some(Holder { graph, process })
}
