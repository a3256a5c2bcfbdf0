//! The merged source as the server's default, on request, and the former default back afterwards.
//!
//! The problem: a run that is killed must not make anybody forget what the default was. So its name is kept in a file of
//! the runtime folder before the default is changed, and the file is taken away only when the default is given back. Who
//! chose another default in the meantime keeps it.

use super::control::{make_runtime_folder, runtime_folder};
use crate::plan::Present;
use crate::pulse::{self, Connection, PulseError};
use std::fs;
use std::path::PathBuf;

/// Where the former default is kept while the source `name` is it.
fn file(name: &str) -> PathBuf {
    runtime_folder().join(format!("{name}.default"))
}

/// Makes the source `name` the default; `present` is what the server had before it came.
///
/// # Errors
/// The server went away.
pub fn take(connection: &mut Connection, present: &Present, name: &str) -> Result<(), PulseError> {
    let former = present.default_source.as_deref().filter(|former| *former != name);
    let file = file(name);
    if let Some(former) = former.filter(|_| !file.exists())
        && let Err(why) = make_runtime_folder().and_then(|()| fs::write(&file, former))
    {
        let file = file.display();
        tracing::warn!("`{former}` will not be the default source again: {file} cannot be written: {why}");
    }
    pulse::set_default_source(connection, name)
}

/// Gives the default back that was there before the source `name`, if that is the default still.
///
/// # Errors
/// The server went away.
pub fn give_back(connection: &mut Connection, present: &Present, name: &str) -> Result<(), PulseError> {
    let file = file(name);
    let Ok(former) = fs::read_to_string(&file) else { return Ok(()) };
    if present.default_source.as_deref() == Some(name) {
        pulse::set_default_source(connection, &former)?;
    }
    // Left behind, it would only be read once more.
    let _ = fs::remove_file(file);
    Ok(())
}
