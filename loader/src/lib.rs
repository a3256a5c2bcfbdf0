//! The program behind `driftmerge`: settings, the graph on a sound server, the hosted plugin, the offline merge,
//! and the rig (a private server, microphones on clocks of their own) that `demo` shares with the tests.
//!
//! It is a library so that tests reach its parts; it promises no stable interface.

// Both panic where they cannot write; `say` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod exit;
pub mod files;
pub mod host;
pub mod merge;
pub mod plan;
pub mod pulse;
pub mod rig;
pub mod say;
pub mod state;
pub mod supervise;

use clap::Parser as _;
use exit::Failure;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

/// Reads the command line, does what it says, and turns the result into an exit code.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match start_log(cli.verbose, cli.log_file.as_deref()).and_then(|()| cli.command.execute()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::to_stderr(format_args!("driftmerge: {failure}\n"));
            failure.code()
        }
    }
}

/// Events go to standard error, or are appended to `file`. `RUST_LOG` chooses which; without it, warnings of all and
/// events of our own.
fn start_log(verbose: bool, file: Option<&Path>) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;
    let usual = if verbose { "warn,driftmerge=debug" } else { "warn,driftmerge=info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let to_people = file.is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(to_people).with_target(false);
    // What cannot be logged is lost; to complain about it on standard error would end the program.
    let log = log.log_internal_errors(false);
    // A second call (a test that runs several commands) keeps the first log.
    let _ = match file {
        None => log.with_writer(std::io::stderr).try_init(),
        Some(path) => {
            let file = File::options().append(true).create(true).open(path);
            let refused = |why| Failure::Usage(format!("the log file {} cannot be written: {why}", path.display()));
            log.with_writer(Mutex::new(file.map_err(refused)?)).try_init()
        }
    };
    Ok(())
}
