//! The merged source as the server's default, and the sink whose sound is cancelled from the microphones, on request; and
//! the former defaults back afterwards.
//!
//! The problem: a run that is killed must not make anybody forget what the default was. So its name is kept in a file of
//! the runtime folder before the default is changed, and the file is removed only when the default is given back. Who
//! chose another default in the meantime keeps it. A former default that is no longer there, or a file that cannot be
//! used, never keeps the rest from being cleaned up: the server then chooses by itself when ours goes.

use super::runtime_folder;
use crate::config::Config;
use crate::files::{self, Trust};
use crate::plan::{Present, graph};
use crate::pulse::{self, Connection, End, PulseError};
use std::fs;
use std::io;
use std::path::Path;

/// No name of a source or sink is longer, bytes.
const LONGEST_NAME: u64 = 1024;

/// Ending of the file that keeps the former default.
fn ending(end: End) -> &'static str {
    if end == End::Source { "default" } else { "default-sink" }
}

/// What of the graph `name` becomes the default.
fn ours(name: &str, end: End) -> String {
    if end == End::Source { name.to_owned() } else { graph::far_sink(name) }
}

fn of(present: &Present, end: End) -> Option<&str> {
    if end == End::Source { present.default_source.as_deref() } else { present.default_sink.as_deref() }
}

/// The former default that the file keeps.
fn kept(file: &Path) -> io::Result<String> {
    let text = String::from_utf8(files::read(file, LONGEST_NAME, Trust::OwnOnly)?);
    let odd = |name: &String| name.is_empty() || name.chars().any(char::is_control);
    text.ok().filter(|name| !odd(name)).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no name"))
}

/// Makes the defaults that the settings ask for; `present` is what the server had before the graph came. `again`: this
/// run has done so before, and what was the default then is to come back.
///
/// # Errors
/// The server went away, or does not take the new default.
pub fn take(connection: &mut Connection, present: &Present, config: &Config, again: bool) -> Result<(), PulseError> {
    for (_, end) in [(config.default_source, End::Source), (config.default_sink, End::Sink)].iter().filter(|(w, _)| *w)
    {
        let ours = ours(&config.play_device, *end);
        if let Some(former) = of(present, *end).filter(|former| *former != ours)
            && let Err(why) = keep(&config.play_device, *end, former, again)
        {
            tracing::warn!("`{former}` will not be the default again: its name cannot be saved: {why}");
        }
        pulse::set_default(connection, *end, &ours)?;
    }
    Ok(())
}

fn keep(name: &str, end: End, former: &str, again: bool) -> io::Result<()> {
    let file = runtime_folder::made()?.join(format!("{name}.{}", ending(end)));
    // After a server's restart its default is what it found first, not what somebody chose.
    if again && kept(&file).is_ok() { Ok(()) } else { files::replace(&file, former.as_bytes()) }
}

/// Gives the defaults back that were there before the graph `name`, where its own are the defaults still.
///
/// # Errors
/// The server went away; what was to be given back is then still known.
pub fn give_back(connection: &mut Connection, present: &Present, name: &str) -> Result<(), PulseError> {
    let Ok(folder) = runtime_folder::existing() else { return Ok(()) };
    for end in [End::Source, End::Sink] {
        let file = folder.join(format!("{name}.{}", ending(end)));
        let former = match kept(&file) {
            Ok(former) => Some(former),
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => {
                tracing::warn!("the former default is not known: {} cannot be used: {why}", file.display());
                None
            }
        };
        let ours = ours(name, end);
        if let Some(former) = &former {
            if of(present, end) == Some(ours.as_str()) {
                match pulse::set_default(connection, end, former) {
                    Err(PulseError::Refused { reason, .. }) => {
                        tracing::warn!("the former default `{former}` is not there ({reason}); the server chooses one");
                    }
                    done => done?,
                }
            }
            hand_on(&folder, &ours, former, end);
        }
        // Left behind, it would only be read once more.
        if let Err(why) = fs::remove_file(&file) {
            tracing::warn!("{} cannot be removed: {why}", file.display());
        }
    }
    Ok(())
}

/// Another graph that took over from this one gives back what was there before both.
fn hand_on(folder: &Path, ours: &str, former: &str, end: End) {
    let ending = format!(".{}", ending(end));
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|file| file.to_str().is_some_and(|path| path.ends_with(&ending))) {
        if kept(&file).is_ok_and(|kept| kept == ours)
            && let Err(why) = files::replace(&file, former.as_bytes())
        {
            tracing::warn!("{} cannot be changed: {why}", file.display());
        }
    }
}
