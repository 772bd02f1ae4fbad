//! What a command can fail with, and the exit code that says so.

use quadrille::{
    Failure,
    choreography::DefinitionErrors,
    http_client::HttpClientError,
    local::{LockError, OpenError},
    port::PortError,
    server::ServerError,
};
use std::io;

/// A command's error. Its text is for people, its [`exit_code`](Self::exit_code) for scripts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The command line does not fit, or help was asked for: shown as clap shows it.
    #[error("{0}")]
    Shown(clap::Error),
    /// Options or settings are wrong.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Bad input, a conflict, a permission that is not granted, or another system's.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers, or another process has the folder.
    #[error("{0}")]
    OutOfReach(String),
    /// A demonstration lost something, or something reached no end.
    #[error("{0}")]
    Incomplete(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was read or written.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl CommandError {
    /// Attaches what was being done to an I/O error.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { what: what.into(), source }
    }

    /// The same error with what was done before it, where that is anything.
    pub(crate) fn after(self, done: &str) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(text + done),
            Self::Refused(text) => Self::Refused(text + done),
            Self::OutOfReach(text) => Self::OutOfReach(text + done),
            Self::Failed(text) => Self::Failed(text + done),
            other => other,
        }
    }

    /// The codes that `--help` lists.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Io { .. } => 1,
            Self::Shown(_) | Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Refused(_) => 4,
            Self::OutOfReach(_) => 5,
            Self::Incomplete(_) => 6,
        }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl From<PortError> for CommandError {
    fn from(error: PortError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DefinitionErrors> for CommandError {
    fn from(errors: DefinitionErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

impl From<OpenError> for CommandError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Lock(LockError::Held { .. }) => Self::OutOfReach(error.to_string()),
            OpenError::Missing { .. } => Self::NotFound(error.to_string()),
            OpenError::Owner { .. }
            | OpenError::Tables { .. }
            | OpenError::NoData { .. }
            | OpenError::NotPrivate { .. }
            | OpenError::Lost { .. }
            | OpenError::Others { .. } => Self::Refused(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<ServerError> for CommandError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::TokenRequired { .. } => Self::Usage(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<HttpClientError> for CommandError {
    fn from(error: HttpClientError) -> Self {
        Self::OutOfReach(format!("no answer from the engine: {error}"))
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("JSON: {error}"))
    }
}
