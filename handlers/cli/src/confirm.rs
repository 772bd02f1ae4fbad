//! Asks a person before something is removed for good.

use crate::error::CommandError;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Whether a person says yes.
///
/// # Errors
/// [`CommandError::Usage`] where nobody is there to be asked.
pub fn is_wanted(question: &str) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::Usage("nobody is there to be asked: say --yes".into()));
    }
    eprint!("{question}");
    io::stderr().flush().map_err(CommandError::io("standard error"))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::io("standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
