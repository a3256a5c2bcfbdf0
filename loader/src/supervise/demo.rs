//! `driftmerge demo`.

use crate::cli::DemoArgs;
use crate::config::Config;
use crate::exit::Failure;

/// Shows the real path on a private server with two drifting sources.
///
/// # Errors
/// Always, for now.
pub fn demo(_config: &Config, _args: &DemoArgs) -> Result<(), Failure> {
    super::missing("demo")
}
