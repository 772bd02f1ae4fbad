//! `doctor`: what is well and what is not, of all that a system needs to run here, with a way out of each. It changes nothing.

mod folder;
mod force;
mod reach;

use crate::{
    App, args,
    error::CommandError,
    print::{Shown, line, readable, shown},
    settings,
    table::{Cell, Format, Table},
    token,
};
use clap::ArgMatches;
use force::InForce;
use serde::Serialize;
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Well.
    Ok,
    /// Somebody should look at it.
    Warn,
    /// It keeps the system from running, or loses something.
    Fail,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    check: &'static str,
    state: State,
    /// What was found, with a way out where it is not well.
    found: String,
}

impl Check {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into() }
    }

    pub fn warn(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Warn, found: found.into() }
    }

    pub fn fail(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Fail, found: found.into() }
    }
}

/// Looks at everything, and tells of it.
///
/// # Errors
/// [`CommandError::Failed`] where something fails.
pub async fn doctor(app: &App<'_>, args: args::Doctor, matches: &ArgMatches) -> Result<(), CommandError> {
    let word = args::command(app)?;
    let word = word.find_subcommand("doctor");
    let force = word.map(|word| force::in_force(app, word, matches)).transpose()?.unwrap_or_default();
    let mut checks = of_configuration(app, matches);
    checks.push(of_token(args.target.token_file.as_deref()));
    checks.extend(reach::checks(app, &args).await);
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    match args.output.format(args.target.json) {
        Format::Json => line(
            json!({ "system": app.system.name(), "ok": failed == 0, "checks": checks, "configuration": force }),
        ),
        Format::Csv => table(&checks, &force).print_csv()?,
        Format::Table => tell(&checks, &force),
    }
    match failed {
        0 => Ok(()),
        failed => Err(CommandError::Failed(format!("{failed} of {} fail", checks.len()))),
    }
}

/// For a person.
fn tell(checks: &[Check], force: &[InForce]) {
    for Check { check, state, found } in checks {
        let (word, how) = match state {
            State::Ok => ("ok  ", Shown::Good),
            State::Warn => ("warn", Shown::Waiting),
            State::Fail => ("FAIL", Shown::Bad),
        };
        line(format_args!("{}  {check}: {}", shown(word, how), readable(found).replace('\n', "; ")));
    }
    line("configuration:");
    for InForce { key, value, from } in force {
        line(format_args!("  {key} = {}  ({from})", readable(value)));
    }
}

/// What was looked at, and each value in force, as rows.
fn table(checks: &[Check], force: &[InForce]) -> Table {
    let mut table = Table::new(["what", "name", "state", "found", "from"]);
    for Check { check, state, found } in checks {
        let state = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        table.row(["check", check, state, found, ""].map(Cell::text));
    }
    for InForce { key, value, from } in force {
        table.row(["configuration", key, "", value, from].map(Cell::text));
    }
    table
}

/// The versions, the configuration file, and the settings.
fn of_configuration(app: &App<'_>, matches: &ArgMatches) -> Vec<Check> {
    let versions = format!(
        "command {}, library {}, folders of format {}",
        env!("CARGO_PKG_VERSION"),
        quadrille::VERSION,
        quadrille::local::FORMAT
    );
    let mut checks = vec![Check::ok("versions", versions)];
    checks.push(match (app.config.fault(), app.config.file()) {
        (Some(fault), _) => Check::fail("configuration file", fault),
        (None, Some(file)) => Check::ok("configuration file", format!("{} is read", file.display())),
        (None, None) => Check::ok("configuration file", "none"),
    });
    for file in app.config.secret_files() {
        checks.push(of_secret_file("secret", &file));
    }
    checks.push(match settings::values(app.choreography.model(), matches, &BTreeMap::new()) {
        Ok(_) => Check::ok("settings", "each has a value that fits"),
        Err(error) => Check::fail("settings", error.to_string()),
    });
    checks
}

/// The bearer token.
fn of_token(file: Option<&Path>) -> Check {
    let read = token::read(file);
    match (read, file) {
        (Err(error), Some(file)) => {
            let way = format!("{error}; mend {}, or name another with --token-file", file.display());
            Check::fail("token", way)
        }
        (Err(error), None) => Check::fail("token", format!("{error}; set {} anew", token::VARIABLE)),
        (Ok(None), _) => Check::ok("token", "none: an engine listens on loopback alone"),
        (Ok(Some(_)), None) => Check::ok("token", format!("of the variable {}", token::VARIABLE)),
        (Ok(Some(_)), Some(file)) => of_secret_file("token", file),
    }
}

/// A file with a secret: whether it can be read, and by whom.
fn of_secret_file(check: &'static str, file: &Path) -> Check {
    let shown = file.display();
    if let Err(error) = std::fs::File::open(file) {
        return Check::fail(check, format!("{shown}: {error}; mend its path or its permissions"));
    }
    match token::mode_of(file) {
        Some(mode) if mode & 0o044 != 0 => {
            let text =
                format!("{shown} has the mode {mode:03o}, so that others can read it: `chmod 600 {shown}`");
            Check::warn(check, text)
        }
        Some(mode) => Check::ok(check, format!("{shown} has the mode {mode:03o}")),
        None => Check::ok(check, format!("{shown} can be read")),
    }
}
