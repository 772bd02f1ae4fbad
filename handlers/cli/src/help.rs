//! Help that fits on a screen: `-h` has a line an option and names the settings, `--help` tells of everything whole. What each
//! word repeats stands under headings of its own.

use crate::settings;
use clap::{Arg, Command, builder::StyledStr};

/// The heading of the options that say where a command finds the system.
const PLACE: &str = "Where the system is";

/// The heading of the options that every word has.
const EVERY: &str = "Of every word";

/// The options that say where the system is, by their ids.
const PLACES: [&str; 6] = ["place", "stack", "settings", "data", "url", "token_file"];

/// Longest line about a word where the words are listed, in characters. What is beyond it stands in the word's own help.
const ABOUT_MAX: usize = 80;

/// The command line with its help in both lengths. `examples` and what else stands behind the options is there already.
pub fn in_both_lengths(root: Command) -> Command {
    let root = root.mut_args(|arg| both(arg).help_heading(EVERY).hide_short_help(true));
    let every: Vec<String> =
        root.get_arguments().filter_map(Arg::get_long).map(|name| format!("--{name}")).collect();
    words(root, &format!("{EVERY}, which --help explains: {}", every.join(" ")))
}

fn words(command: Command, every: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|word| word.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |found| {
            let found = words(listed(found), every);
            let has_a_place = found.get_arguments().any(|arg| arg.get_id() == PLACES[0]);
            let found = found.mut_args(|arg| {
                let is_of_a_place = has_a_place && PLACES.iter().any(|id| arg.get_id() == id);
                let arg = both(arg);
                if is_of_a_place { arg.help_heading(PLACE) } else { arg }
            });
            by_name(found, every)
        })
    })
}

/// What a word is for, short enough for the list of the words; the whole stands in its `--help`.
fn listed(word: Command) -> Command {
    let Some(about) = word.get_about().map(StyledStr::to_string) else { return word };
    let short = shortened(&about);
    if short == about {
        return word;
    }
    let whole = word.get_long_about().map_or(about, StyledStr::to_string);
    word.about(short).long_about(whole)
}

/// The text up to its last pause before [`ABOUT_MAX`].
fn shortened(text: &str) -> String {
    if text.chars().count() <= ABOUT_MAX {
        return text.to_owned();
    }
    let end = text.char_indices().nth(ABOUT_MAX).map_or(text.len(), |(at, _)| at);
    let pause = text[..end].rfind([':', ';']).or_else(|| text[..end].rfind(','));
    text[..pause.unwrap_or(text.len())].to_owned()
}

/// An argument whose short help is a sentence, and whose long help has all that there is to tell.
fn both(arg: Arg) -> Arg {
    let Some(help) = arg.get_help().map(StyledStr::to_string) else { return arg };
    let whole = arg.get_long_help().map_or_else(|| help.clone(), StyledStr::to_string);
    let takes_values = arg.get_action().takes_values();
    let (mut notes, mut short) = (Vec::new(), first_sentence(&help).to_owned());
    let values = if takes_values { arg.get_possible_values() } else { Vec::new() };
    if !values.is_empty() {
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        short = format!("{short} ({})", names.join(", "));
        match values.iter().any(|value| value.get_help().is_some()) {
            true => notes.extend(values.iter().map(|value| {
                let about = value.get_help().map(StyledStr::to_string).unwrap_or_default();
                format!("- {}: {about}", value.get_name())
            })),
            false => notes.push(format!("[possible values: {}]", names.join(", "))),
        }
    }
    if takes_values && let [default] = arg.get_default_values() {
        let default = default.to_string_lossy();
        short = format!("{short} [default: {default}]");
        notes.push(format!("[default: {default}]"));
    }
    if let Some(variable) = arg.get_env() {
        notes.push(format!("[env: {}]", variable.to_string_lossy()));
    }
    let whole = if notes.is_empty() { whole } else { format!("{whole}\n\n{}", notes.join("\n")) };
    let arg = arg.help(short).long_help(whole);
    if takes_values { arg.hide_possible_values(true).hide_default_value(true).hide_env(true) } else { arg }
}

/// The first sentence of a text, without its end.
fn first_sentence(text: &str) -> &str {
    let begins = |rest: &str| rest.starts_with(|first: char| first.is_uppercase() || first == '`');
    let end = text.match_indices(". ").find(|(at, _)| begins(&text[at + 2..]));
    end.map_or(text, |(at, _)| &text[..at])
}

/// The settings, and what every word has, by their names alone in `-h`: a system may have many settings, each with sentences.
fn by_name(word: Command, every: &str) -> Command {
    let is_setting = |arg: &Arg| arg.get_help_heading() == Some(settings::HEADING);
    let settings = word.get_arguments().filter(|arg| is_setting(arg)).filter_map(Arg::get_long);
    let names: Vec<String> = settings.map(|name| ["--", name].concat()).collect();
    let whole = word.get_after_help().map(StyledStr::to_string).unwrap_or_default();
    let named = match names.is_empty() {
        true => String::new(),
        false => format!("{}, which --help explains:\n  {}\n\n", settings::HEADING, names.join(" ")),
    };
    let word = word.mut_args(|arg| if is_setting(&arg) { arg.hide_short_help(true) } else { arg });
    word.after_help(format!("{named}{every}\n\n{whole}")).after_long_help(whole)
}
