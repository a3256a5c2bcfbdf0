//! Does steps to the server, all or none.

use super::connection::{Connection, PulseError};
use crate::plan::Step;
use libpulse_binding::def::INVALID_INDEX;

/// Does `steps` in their order. Where one fails, what was loaded by the ones before is taken away again.
///
/// # Errors
/// The server refused a step, or went away.
pub fn apply(connection: &mut Connection, steps: &[Step]) -> Result<(), PulseError> {
    let mut loaded = Vec::new();
    for step in steps {
        match step {
            Step::Unload(module) => unload(connection, module.index)?,
            Step::Load(element) => match load(connection, element.module, &element.arguments) {
                Ok(index) => loaded.push(index),
                Err(error) => {
                    for index in loaded.into_iter().rev() {
                        // What cannot be undone stays marked as ours; the first failure is the one to tell.
                        let _ = unload(connection, index);
                    }
                    return Err(error);
                }
            },
        }
    }
    Ok(())
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

/// Takes the module away; that it is gone already is no failure.
///
/// # Errors
/// The server went away.
pub fn unload(connection: &mut Connection, index: u32) -> Result<(), PulseError> {
    connection.ask(&format!("unload module {index}"), |context, answer: std::rc::Rc<std::cell::RefCell<bool>>| {
        context.introspect().unload_module(index, move |done| *answer.borrow_mut() = done)
    })?;
    Ok(())
}
