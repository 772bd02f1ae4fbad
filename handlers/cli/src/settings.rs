//! The options that a system's settings make, and their values.

use crate::{error::CommandError, token};
use clap::{Arg, ArgMatches, Command};
use quadrille::{
    Settings,
    choreography::Model,
    setting::{Place, SettingKind, SettingModel},
};
use std::collections::{BTreeMap, BTreeSet};

/// The heading of the options that settings make.
pub const HEADING: &str = "Settings of the system";

/// The options and the environment variables that the command has of its own, in any of its words.
#[derive(Debug)]
pub struct Known {
    options: BTreeSet<String>,
    variables: BTreeSet<String>,
}

impl Known {
    /// Those of `command` and all its words.
    pub fn of(command: &Command) -> Self {
        let mut known = Self {
            options: ["help", "version"].map(str::to_owned).into(),
            variables: [token::VARIABLE.to_owned()].into(),
        };
        known.add(command);
        known
    }

    fn add(&mut self, command: &Command) {
        for arg in command.get_arguments() {
            self.options.extend(arg.get_long().map(str::to_owned));
            self.variables.extend(arg.get_env().and_then(|name| name.to_str()).map(str::to_owned));
        }
        command.get_subcommands().for_each(|word| self.add(word));
    }
}

/// Adds an option for each of the `settings` to `command`.
///
/// # Errors
/// [`CommandError::Usage`] where a setting has the name of an option that the command has already.
pub fn options(command: Command, known: &Known, settings: &[SettingModel]) -> Result<Command, CommandError> {
    let mut command = command;
    for setting in settings {
        let (option, variable) = (setting.option(), setting.variable());
        let makes = match () {
            () if known.options.contains(&option) => format!("the option --{option}"),
            () if known.variables.contains(&variable) => format!("the environment variable {variable}"),
            () => String::new(),
        };
        if !makes.is_empty() {
            return Err(CommandError::Usage(format!(
                "the setting {:?} makes {makes}, which the command has already: give it another name",
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
        .help_heading(HEADING)
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

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::Setting;

    /// What is said of a system with one setting of this name, by a command that knows `--url`, `--data` and `--log-level`.
    fn of_setting(name: &'static str) -> Result<Command, CommandError> {
        let url = Arg::new("url").long("url").env("QUADRILLE_URL");
        let log = Arg::new("level").long("log-level").env("QUADRILLE_LOG").global(true);
        let up = Command::new("up").arg(Arg::new("data").long("data").env("QUADRILLE_DATA"));
        let command =
            Command::new("q").arg(log).subcommand(Command::new("list").arg(url)).subcommand(up.clone());
        options(up, &Known::of(&command), &[Setting::text(name).model().clone()])
    }

    #[test]
    fn a_setting_takes_no_name_that_the_command_has() {
        for (name, makes) in [
            ("help", "the option --help"),
            ("url", "the option --url"),
            ("log_level", "the option --log-level"),
            ("log", "the environment variable QUADRILLE_LOG"),
            ("token", "the environment variable QUADRILLE_TOKEN"),
        ] {
            let error = of_setting(name).unwrap_err().to_string();
            assert!(error.contains(makes), "{name}: {error}");
        }
        assert!(of_setting("kitchen").is_ok());
    }
}
