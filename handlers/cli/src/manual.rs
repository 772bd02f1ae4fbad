//! `completions` and `man`: the command line as a shell completes it, and as pages, both of the system that is meant.

use crate::{App, args, error::CommandError, print::text};
use clap::{Arg, Command, builder::PossibleValuesParser};
use clap_mangen::Man;
use std::fs;

/// Prints the completions of a shell.
///
/// # Errors
/// The command line of the system can't be made.
pub fn completions(app: &App<'_>, args: &args::Completions) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(app)?, &app.name, &mut script);
    text(String::from_utf8_lossy(&script));
    Ok(())
}

/// Prints the page of the command, or writes one for each of its words.
///
/// # Errors
/// The folder can't be made, or a page can't be written.
pub fn man(app: &App<'_>, args: &args::Man) -> Result<(), CommandError> {
    let command = command(app)?;
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

/// The command line with the systems as values of the words behind which one is named, where there are several. They are no
/// arguments of its own: the name is taken out before the rest is read.
fn command(app: &App<'_>) -> Result<Command, CommandError> {
    let names: Vec<&'static str> = app.systems.iter().map(|system| system.name()).collect();
    let root = args::command(app)?;
    Ok(if names.len() > 1 { with_systems(root, &names) } else { root })
}

fn with_systems(command: Command, names: &[&'static str]) -> Command {
    let words: Vec<String> = command.get_subcommands().map(|word| word.get_name().to_owned()).collect();
    // One with arguments of its own by place has no room for another.
    if words.is_empty() && command.get_positionals().next().is_none() {
        let system = Arg::new("system").value_name("SYSTEM").value_parser(PossibleValuesParser::new(names));
        return command.arg(system.help("The system").required(false));
    }
    words.iter().fold(command, |command, name| command.mut_subcommand(name, |word| with_systems(word, names)))
}
