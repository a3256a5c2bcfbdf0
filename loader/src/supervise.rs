//! The commands that need a sound server.

use crate::cli::{DemoArgs, ListArgs, PlanArgs, StatusArgs};
use crate::config::Config;
use crate::exit::Failure;

fn missing(command: &str) -> Result<(), Failure> {
    Err(Failure::Runtime(anyhow::anyhow!("`{command}` is not built yet; `driftmerge merge` works on files")))
}

/// Prints the sources of the server as names for `--mic`.
///
/// # Errors
/// Always, for now.
pub fn list(_config: &Config, _args: &ListArgs) -> Result<(), Failure> {
    missing("list")
}

/// Runs the service until a signal ends it.
///
/// # Errors
/// Always, for now.
pub fn run(_config: &Config) -> Result<(), Failure> {
    missing("run")
}

/// Loads the graph into the server and returns.
///
/// # Errors
/// Always, for now.
pub fn load(_config: &Config) -> Result<(), Failure> {
    missing("load")
}

/// Takes away what `load` or `run` loaded.
///
/// # Errors
/// Always, for now.
pub fn unload(_config: &Config) -> Result<(), Failure> {
    missing("unload")
}

/// Prints the steps that `run` or `load` would take.
///
/// # Errors
/// Always, for now.
pub fn plan(_config: &Config, _args: &PlanArgs) -> Result<(), Failure> {
    missing("plan")
}

/// Prints what a running service knows.
///
/// # Errors
/// Always, for now.
pub fn status(_config: &Config, _args: &StatusArgs) -> Result<(), Failure> {
    missing("status")
}

/// Prints what a running service knows, again and again.
///
/// # Errors
/// Always, for now.
pub fn monitor(_config: &Config, _args: &StatusArgs) -> Result<(), Failure> {
    missing("monitor")
}

/// Shows the real path on a private server with two drifting sources.
///
/// # Errors
/// Always, for now.
pub fn demo(_config: &Config, _args: &DemoArgs) -> Result<(), Failure> {
    missing("demo")
}

/// Says what is wrong on this machine and how to mend it.
///
/// # Errors
/// Always, for now.
pub fn doctor(_config: &Config) -> Result<(), Failure> {
    missing("doctor")
}
