//! The merged source as the server's default, and the sink whose sound is taken out of the microphones, on request; and the
//! former defaults back afterwards.
//!
//! The problem: a run that is killed must not make anybody forget what the default was. So its name is kept in a file of
//! the runtime folder before the default is changed, and the file is taken away only when the default is given back. Who
//! chose another default in the meantime keeps it.

use super::control::{make_runtime_folder, runtime_folder};
use crate::config::Config;
use crate::plan::{Present, graph};
use crate::pulse::{self, Connection, End, PulseError};
use std::fs;
use std::path::PathBuf;

/// Where the former default is kept while that of the graph `name` is it.
fn file(name: &str, end: End) -> PathBuf {
    let kind = if end == End::Source { "default" } else { "default-sink" };
    runtime_folder().join(format!("{name}.{kind}"))
}

/// What of the graph `name` becomes the default.
fn ours(name: &str, end: End) -> String {
    if end == End::Source { name.to_owned() } else { graph::far_sink(name) }
}

fn of(present: &Present, end: End) -> Option<&str> {
    if end == End::Source { present.default_source.as_deref() } else { present.default_sink.as_deref() }
}

/// Makes the defaults that the settings ask for; `present` is what the server had before the graph came.
///
/// # Errors
/// The server went away.
pub fn take(connection: &mut Connection, present: &Present, config: &Config) -> Result<(), PulseError> {
    for (_, end) in [(config.default_source, End::Source), (config.default_sink, End::Sink)].iter().filter(|(w, _)| *w)
    {
        let (file, ours) = (file(&config.play_device, *end), ours(&config.play_device, *end));
        let former = of(present, *end).filter(|former| *former != ours && !file.exists());
        if let Some(former) = former
            && let Err(why) = make_runtime_folder().and_then(|()| fs::write(&file, former))
        {
            let file = file.display();
            tracing::warn!("`{former}` will not be the default again: {file} cannot be written: {why}");
        }
        pulse::set_default(connection, *end, &ours)?;
    }
    Ok(())
}

/// Gives the defaults back that were there before the graph `name`, where its own are the defaults still.
///
/// # Errors
/// The server went away.
pub fn give_back(connection: &mut Connection, present: &Present, name: &str) -> Result<(), PulseError> {
    for end in [End::Source, End::Sink] {
        let file = file(name, end);
        let Ok(former) = fs::read_to_string(&file) else { continue };
        if of(present, end) == Some(&ours(name, end)) {
            pulse::set_default(connection, end, &former)?;
        }
        // Left behind, it would only be read once more.
        let _ = fs::remove_file(file);
    }
    Ok(())
}
