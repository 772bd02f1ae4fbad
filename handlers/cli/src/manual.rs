//! `completions` and `man`: the command line as a shell completes it, and as pages, both of the system that is meant.

use crate::{App, args, error::CommandError, print::text};
use clap_mangen::Man;
use std::fs;

/// Prints the completions of a shell.
///
/// # Errors
/// The command line of the system can't be made.
pub fn completions(app: &App<'_>, args: &args::Completions) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(app)?, &app.name, &mut script);
    text(String::from_utf8_lossy(&script));
    Ok(())
}

/// Prints the page of the command, or writes one for each of its words.
///
/// # Errors
/// The folder can't be made, or a page can't be written.
pub fn man(app: &App<'_>, args: &args::Man) -> Result<(), CommandError> {
    let command = args::command(app)?;
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(CommandError::io("the page"))?;
        text(String::from_utf8_lossy(&page));
        return Ok(());
    };
    let failed = || format!("the folder {}", dir.display());
    fs::create_dir_all(dir).map_err(CommandError::io(failed()))?;
    clap_mangen::generate_to(command, dir).map_err(CommandError::io(failed()))
}
