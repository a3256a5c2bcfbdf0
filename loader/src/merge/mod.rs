//! The offline merge of recorded files.

use crate::cli::MergeArgs;
use crate::config::Config;
use crate::exit::Failure;

/// Merges files.
///
/// # Errors
/// Always, for now.
pub fn merge(_config: &Config, _args: &MergeArgs) -> Result<(), Failure> {
    Err(Failure::Runtime(anyhow::anyhow!("`merge` is not built yet")))
}
