//! The options that a system's settings make, and their values.

use crate::{App, error::CommandError};
use clap::{Arg, ArgMatches, Command};
use quadrille::{
    Settings,
    choreography::Model,
    setting::{Place, SettingKind, SettingModel},
};
use std::collections::BTreeMap;

/// Adds an option for each setting of the system to `command`.
///
/// # Errors
/// [`CommandError::Usage`] where a setting has the name of an option that the command has already.
pub fn options(command: Command, app: &App<'_>) -> Result<Command, CommandError> {
    let mut command = command;
    for setting in &app.choreography.model().settings {
        let option = setting.option();
        let is_taken = option == "help"
            || command.get_arguments().any(|known| known.get_long() == Some(option.as_str()));
        if is_taken {
            return Err(CommandError::Usage(format!(
                "the setting {:?} makes the option --{option}, which the command has already: give it another name",
                setting.name
            )));
        }
        command = command.arg(option_of(setting));
    }
    Ok(command)
}

fn option_of(setting: &SettingModel) -> Arg {
    let default = setting.default_in(Place::Command);
    let default = default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let words: Vec<String> = setting.words.iter().map(|word| format!("`{word}`")).collect();
    let words = if words.is_empty() { String::new() } else { format!(" Or {}.", words.join(", ")) };
    let value = match setting.kind {
        SettingKind::Text => "TEXT",
        SettingKind::Url => "URL",
        SettingKind::Integer(_) => "NUMBER",
        SettingKind::Boolean => "YES",
        SettingKind::Duration(_) => "TIME",
    };
    let secret = if setting.is_secret { " Better given by the environment: it is a secret." } else { "" };
    Arg::new(setting.name.clone())
        .long(setting.option())
        .env(setting.variable())
        .hide_env_values(true)
        .value_name(value)
        .allow_hyphen_values(true)
        .help_heading("Settings of the system")
        .help(format!("{}{words}{secret}{default}", setting.about))
}

/// The values that the command line and its environment say; `others` are for those that neither says.
///
/// # Errors
/// [`CommandError::Usage`] with everything that is missing or wrong.
pub fn values(
    model: &Model,
    matches: &ArgMatches,
    others: &BTreeMap<&str, String>,
) -> Result<Settings, CommandError> {
    let said = |setting: &SettingModel| {
        let said = matches.try_get_one::<String>(&setting.name).ok().flatten().cloned();
        said.or_else(|| others.get(setting.name.as_str()).cloned())
    };
    Settings::read(Place::Command, &model.settings, said)
        .map_err(|errors| CommandError::Usage(errors.to_string()))
}
