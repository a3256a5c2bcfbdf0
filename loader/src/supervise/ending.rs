//! How a command is ended from outside.
//!
//! The first of SIGINT, SIGTERM, SIGQUIT and SIGHUP asks for an orderly end, a second one ends the process at once. A
//! closed terminal sends SIGHUP more than once, from the system and from the shell, so that one never counts as the
//! second; nor does a repetition that comes together with the first.

use crate::exit::Failure;
use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A second signal within this time belongs to the first: `timeout` and terminals send to process and group.
const TOGETHER: Duration = Duration::from_millis(200);

/// A flag that the first signal sets.
///
/// # Errors
/// The system does not let signals be watched.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP]).context("cannot watch for signals")?;
    let flag = Arc::clone(&stop);
    let watch = move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            match first {
                None => first = Some(Instant::now()),
                Some(first) if signal != SIGHUP && first.elapsed() > TOGETHER => {
                    let _ = emulate_default_handler(signal);
                }
                Some(_) => {}
            }
            flag.store(true, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new().name("driftmerge-sig".into()).spawn(watch).context("cannot watch for signals")?;
    Ok(stop)
}
