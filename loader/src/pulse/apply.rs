//! Does steps to the server, all or none. Modules that ask another machine say later whether that answers: so their sources
//! are waited for.

use super::connection::{Connection, PulseError};
use super::survey::{modules, survey};
use crate::plan::arguments::value_of;
use crate::plan::{Element, Module, Step};
use libpulse_binding::def::INVALID_INDEX;
use std::time::{Duration, Instant};

/// How long another machine may take to answer.
const FAR_LIMIT: Duration = Duration::from_secs(5);
/// A tunnel that has been there for this long was not refused: four ways there and back on a slow network.
const FAR_SETTLES: Duration = Duration::from_secs(1);

/// How long a module may take to go; one that stays is found by whoever looks next.
const GONE_LIMIT: Duration = Duration::from_secs(1);
/// How long a canceller that is to go may still run: streams that were closed take some milliseconds to let go.
const REST_LIMIT: Duration = Duration::from_millis(500);

/// Does `steps` in their order. Where one fails, what was loaded by the ones before is taken away again.
///
/// # Errors
/// The server refused a step, or went away.
pub fn apply(connection: &mut Connection, steps: &[Step]) -> Result<(), PulseError> {
    let mut loaded = Vec::new();
    for step in steps {
        match step {
            Step::Unload(module) => take_off(connection, module)?,
            Step::Load(element) => {
                let made = load(connection, element.module, &element.arguments).and_then(|index| {
                    loaded.push(index);
                    await_tunnel(connection, element, index)
                });
                if let Err(error) = made {
                    for index in loaded.into_iter().rev() {
                        // What cannot be undone stays marked as ours; the first failure is the one to tell.
                        let _ = unload(connection, index);
                    }
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Waits until the source or sink of a tunnel is there to stay: the server shows it at once, and takes it away when the other
/// machine refuses.
fn await_tunnel(connection: &mut Connection, element: &Element, index: u32) -> Result<(), PulseError> {
    let Some(name) = element.awaited() else { return Ok(()) };
    let begin = Instant::now();
    let mut there_since = None;
    loop {
        if connection.ends() {
            return Err(PulseError::Stopped);
        }
        let present = survey(connection)?;
        if !present.sources.iter().any(|source| source.name == name) && !present.sinks.contains(&name) {
            there_since = None;
        } else if there_since.get_or_insert_with(Instant::now).elapsed() > FAR_SETTLES {
            return Ok(());
        }
        // One that is refused takes itself away.
        let gone = !present.modules.iter().any(|module| module.index == index);
        if gone || begin.elapsed() > FAR_LIMIT {
            let reason = if gone { "it refuses, or has no such source" } else { "it does not answer" };
            return Err(PulseError::Far { what: element.arguments.clone(), reason });
        }
        connection.turn(Duration::from_millis(20))?;
    }
}

/// Does what it can of `steps`, without waiting for other machines; what fails is tried again another time.
///
/// # Errors
/// The server went away.
pub fn apply_some(connection: &mut Connection, steps: &[Step]) -> Result<(), PulseError> {
    for step in steps {
        let done = match step {
            Step::Unload(module) => take_off(connection, module),
            Step::Load(element) => load(connection, element.module, &element.arguments).map(|_| ()),
        };
        match done {
            Err(PulseError::Refused { what, reason }) => tracing::debug!("refused to {what}: {reason}"),
            done => done?,
        }
    }
    Ok(())
}

/// Unloads `modules`, each whatever became of the others.
///
/// # Errors
/// The server went away.
pub fn unload_all<'a>(
    connection: &mut Connection,
    modules: impl IntoIterator<Item = &'a Module>,
) -> Result<(), PulseError> {
    modules.into_iter().map(|module| take_off(connection, module)).fold(Ok(()), Result::and)
}

fn load(connection: &mut Connection, module: &str, arguments: &str) -> Result<u32, PulseError> {
    let what = format!("load {module} {arguments}");
    let index = connection.ask(&what, |context, answer| {
        context.introspect().load_module(module, arguments, move |index| *answer.borrow_mut() = Some(index))
    })?;
    match index {
        Some(index) if index != INVALID_INDEX => Ok(index),
        _ => Err(PulseError::Refused { what, reason: connection.reason() }),
    }
}

/// What a server has a default of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where applications record.
    Source,
    /// Where they play.
    Sink,
}

/// Makes the source or sink `name` the default.
///
/// # Errors
/// The server went away, or has none of that name.
pub fn set_default(connection: &mut Connection, end: End, name: &str) -> Result<(), PulseError> {
    let what = format!("make `{name}` the default {}", if end == End::Source { "source" } else { "sink" });
    let done = connection.ask(&what, |context, answer: std::rc::Rc<std::cell::RefCell<bool>>| match end {
        End::Source => context.set_default_source(name, move |done| *answer.borrow_mut() = done),
        End::Sink => context.set_default_sink(name, move |done| *answer.borrow_mut() = done),
    })?;
    if done { Ok(()) } else { Err(PulseError::Refused { what, reason: connection.reason() }) }
}

/// Takes a module away when it rests.
fn take_off(connection: &mut Connection, module: &Module) -> Result<(), PulseError> {
    if module.name == "module-echo-cancel" {
        await_rest(connection, module)?;
    }
    unload(connection, module.index)
}

/// Waits until neither the canceller nor its microphone runs: `PipeWire` (0.3.65) takes a canceller away under the hands of
/// its own audio thread, and dies of that one time in 12. Where others use the microphone or the sink the danger stays.
fn await_rest(connection: &mut Connection, canceller: &Module) -> Result<(), PulseError> {
    let begin = Instant::now();
    let names = ["source_name", "source_master"].map(|key| value_of(&canceller.arguments, key));
    while begin.elapsed() < REST_LIMIT {
        let present = survey(connection)?;
        let runs = present.sources.iter().any(|s| s.state == "running" && names.contains(&Some(s.name.clone())));
        if !runs || !present.is_pipewire() {
            break;
        }
        connection.turn(Duration::from_millis(10))?;
    }
    Ok(())
}

/// Takes the module away and waits until it is gone, which servers do some time after they have said so: what takes its
/// name before that gets another one. That it is gone already is no failure.
///
/// # Errors
/// The server went away.
pub fn unload(connection: &mut Connection, index: u32) -> Result<(), PulseError> {
    connection.ask(&format!("unload module {index}"), |context, answer: std::rc::Rc<std::cell::RefCell<bool>>| {
        context.introspect().unload_module(index, move |done| *answer.borrow_mut() = done)
    })?;
    let begin = Instant::now();
    while begin.elapsed() < GONE_LIMIT && modules(connection)?.iter().any(|module| module.index == index) {
        connection.turn(Duration::from_millis(5))?;
    }
    Ok(())
}
