//! What a command can fail with, and the exit code that says so.

use quadrille::{
    Failure,
    choreography::DefinitionErrors,
    local::{LockError, OpenError},
    port::PortError,
    server::ServerError,
};
use std::io;
use systems::http_client::HttpClientError;

/// A command's error. Its text is for people, its [`exit_code`](Self::exit_code) for scripts.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    OutOfReach(String),
    #[error("{0}")]
    Incomplete(String),
    #[error("{0}")]
    Failed(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl CommandError {
    /// Attaches what was being done to an I/O error.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { what: what.into(), source }
    }

    /// The codes that `--help` lists.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Io { .. } => 1,
            Self::Usage(_) => 2,
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
