//! The bearer token: from a file, or from the environment variable `QUADRILLE_TOKEN`. Never from the command line, where
//! every process of the machine could read it.

use crate::error::CommandError;
use quadrille::server::Token;
use std::path::Path;

/// The environment variable that may hold the token.
pub const VARIABLE: &str = "QUADRILLE_TOKEN";

/// The token's text, where one is given.
///
/// # Errors
/// The file can't be read.
pub fn text(file: Option<&Path>) -> Result<Option<String>, CommandError> {
    let Some(file) = file else {
        return Ok(std::env::var(VARIABLE).ok());
    };
    warn_if_open(file, "the token");
    let text = std::fs::read_to_string(file)
        .map_err(CommandError::io(format!("the token file {}", file.display())))?;
    Ok(Some(text.trim().to_owned()))
}

/// Tells of a file that other users can read, and of what is in it.
pub fn warn_if_open(file: &Path, what: &str) {
    if mode_of(file).is_some_and(|mode| mode & 0o044 != 0) {
        tracing::warn!(file = %file.display(), "other users can read {what}; `chmod 600` takes that from them");
    }
}

/// Who may do what with a file, where that is known here. One that can't be looked at can't be read either, which is told then.
#[cfg(unix)]
pub fn mode_of(file: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    Some(found.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
pub fn mode_of(_: &Path) -> Option<u32> {
    None
}

/// The token, where one is given.
///
/// # Errors
/// The file can't be read, or what is given is no token.
pub fn read(file: Option<&Path>) -> Result<Option<Token>, CommandError> {
    let token = text(file)?.map(Token::new).transpose();
    token.map_err(|error| CommandError::Usage(format!("the token: {error}")))
}
