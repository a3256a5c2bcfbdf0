//! How the program ends: one kind of failure per exit code.

use std::process::ExitCode;

/// Why a command failed. The text says what, where and what to do; the variant decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 1: something went wrong at run time.
    #[error("{0:#}")]
    Runtime(#[from] anyhow::Error),
    /// Exit code 2: wrong usage or configuration.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3: the sound server cannot be reached.
    #[error("{0}")]
    Server(String),
    /// Exit code 4: a device is missing.
    #[error("{0}")]
    Device(String),
    /// Exit code 5: the plugin cannot be loaded.
    #[error("{0}")]
    Plugin(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Server(_) => 3,
            Self::Device(_) => 4,
            Self::Plugin(_) => 5,
        })
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}
