//! The configuration in force, and where each value comes from. A secret's value is not told.

use crate::{App, config, error::CommandError};
use clap::{ArgMatches, Command, parser::ValueSource};
use quadrille::{excerpt, setting::Place};
use serde::Serialize;

/// Longest value that is told, in bytes.
const VALUE_BYTES_MAX: usize = 200;

/// A value in force.
#[derive(Debug, Serialize)]
pub struct InForce {
    pub key: String,
    pub value: String,
    pub from: String,
}

/// What is in force of the arguments of a word.
///
/// # Errors
/// A file with a secret can't be read.
pub fn in_force(app: &App<'_>, word: &Command, matches: &ArgMatches) -> Result<Vec<InForce>, CommandError> {
    let mut force = Vec::new();
    for arg in word.get_arguments() {
        let id = arg.get_id().as_str();
        let Some(key) = config::key_of(arg, true) else { continue };
        let setting = app.choreography.model().settings.iter().find(|setting| setting.name == id);
        let raw = matches.get_raw(id).and_then(|mut values| values.next());
        let said = raw.map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty());
        let by_file = app.config.value(&key)?;
        let from = match (said.is_some(), matches.value_source(id)) {
            (true, Some(ValueSource::CommandLine)) => format!("the option --{}", key.replace('_', "-")),
            (true, Some(ValueSource::EnvVariable)) => {
                let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                format!("the variable {}", variable.unwrap_or_default())
            }
            (true, _) if by_file.is_some() && by_file == said => {
                match (app.config.file(), app.config.line(&key)) {
                    (Some(file), Some(line)) => format!("{}, line {line}", file.display()),
                    _ => "default".to_owned(),
                }
            }
            _ => "default".to_owned(),
        };
        let default = setting.and_then(|setting| setting.default_in(Place::Command)).map(str::to_owned);
        let value = match said.or(default) {
            None => "not set".to_owned(),
            Some(_) if setting.is_some_and(|setting| setting.is_secret) => "a secret".to_owned(),
            Some(value) => excerpt(&value, VALUE_BYTES_MAX),
        };
        force.push(InForce { key, value, from });
    }
    Ok(force)
}
