//! The command of a system, or of several: the local engine, its demonstration, and what an operator needs.
//!
//! ```no_run
//! # use quadrille::{Choreography, Definition, System};
//! # struct TeaShop;
//! # impl System for TeaShop {
//! #     fn name(&self) -> &'static str { "tea-shop" }
//! #     fn about(&self) -> &'static str { "" }
//! #     fn define(&self) -> Definition { Choreography::define(self.name()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     quadrille_cli::main(&[&TeaShop])
//! }
//! ```
//!
//! Every word works for every system. Where there are several, one is named behind the word (`up tea-shop`); the first one is
//! meant where none is named. What a system adds, its own words among them, it declares itself
//! ([`System`]).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod access;
mod args;
#[cfg(feature = "aws")]
mod aws;
mod check;
mod clean;
mod client;
mod config;
mod confirm;
mod console;
mod demo;
mod diagram;
mod dlq;
mod doctor;
mod error;
mod events;
mod export;
mod form;
mod help;
mod infra;
mod list;
mod manual;
mod new;
mod node;
#[cfg(feature = "package")]
mod package;
mod print;
mod published;
mod queues;
mod scale;
mod screen;
mod select;
mod send;
mod settings;
mod signal;
mod sim;
mod status;
mod stop;
mod story;
mod systems;
mod table;
mod target;
mod token;
mod trace;
mod trigger;
mod up;
mod watch;
mod work;

pub use error::CommandError;
pub use node::{Node, Running, loopback};

use args::{Global, LogLevel};
use clap::{ArgMatches, FromArgMatches as _};
use config::Config;
use quadrille::{Choreography, System, system::Meaning};
use select::Selected;
use std::{ffi::OsString, process::ExitCode};

/// What a command is about: one system of those that there are.
pub(crate) struct App<'a> {
    /// All of them, the standard one first.
    systems: &'a [&'a dyn System],
    /// The one that is meant.
    system: &'a dyn System,
    choreography: Choreography,
    /// What the command is called.
    name: String,
    /// What a file says.
    config: Config,
}

impl App<'_> {
    /// A command as it is typed, for a message.
    fn typed(&self, rest: &str) -> String {
        format!("`{} {rest}`", self.name)
    }
}

/// Runs the command on `systems`, the standard one first: the one line of `main`.
pub fn main(systems: &[&dyn System]) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match run(systems, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Shown(error)) => {
            let plain = error.render().to_string();
            if plain == print::readable(&plain) {
                error.exit();
            }
            // It repeats an argument that could drive the terminal.
            eprint!("{}", print::readable(&plain));
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Err(error) => {
            eprintln!("error: {}", print::readable(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// How long the end of a process waits for what blocks a thread.
const END: std::time::Duration = std::time::Duration::from_secs(1);

fn run(systems: &[&dyn System], arguments: Vec<OsString>) -> Result<(), CommandError> {
    let Selected { system, arguments, name } = select::select(systems, arguments)?;
    let choreography = system.define().build()?;
    let mut app = App { systems, system, choreography, name, config: Config::default() };
    let matches = matches(&mut app, arguments)?;
    let global = Global::from_arg_matches(&matches).map_err(CommandError::Shown)?;
    let Some((word, matches)) = matches.subcommand() else {
        return Err(CommandError::Usage("no command was given".into()));
    };
    if word == "sim" {
        // Without a runtime, for there is no other time than the simulation's; and without a log: faults are what it is about.
        return sim::sim(&app, &args::read(matches)?, matches);
    }
    // A demonstration gives messages up on purpose: they are no news in its log.
    let shown = if word == "demo" || is_call(&app, word) { LogLevel::Error } else { LogLevel::Warn };
    let level = global.log_level.unwrap_or(shown);
    // Where the program that calls this has logs of its own, those stay.
    let _logs = quadrille::init_logging(level.into(), global.log_format.into(), &[app.system.log_target()]);
    app.config.warn();
    // The store's thread has a processor's worth to do: a worker more than there are processors left costs switches.
    let workers = std::thread::available_parallelism().map_or(1, |processors| processors.get() - 1).max(1);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build();
    let runtime = runtime.map_err(CommandError::io("the asynchronous runtime"))?;
    let done = runtime.block_on(dispatch(&app, word, matches));
    // A thread that waits for whoever reads what it writes does not keep the process.
    runtime.shutdown_timeout(END);
    done
}

/// What the command line says, and behind it variables and the configuration file.
fn matches(app: &mut App<'_>, arguments: Vec<OsString>) -> Result<ArgMatches, CommandError> {
    let command = args::command(app)?;
    let said = command.clone().try_get_matches_from(&arguments);
    let named = match &said {
        Ok(said) => said.get_one::<OsString>(args::CONFIG).cloned(),
        Err(_) => config::named(&arguments),
    };
    app.config = Config::read(named, app.systems, app.system);
    let said = match said {
        Ok(said) => said,
        Err(error) if !error.use_stderr() => {
            let told = app.config.in_help(command).try_get_matches_from(arguments);
            return Err(CommandError::Shown(told.err().unwrap_or(error)));
        }
        Err(error) => return Err(CommandError::Shown(error)),
    };
    // A doctor tells of a file that is of no use.
    let is_doctor = said.subcommand_name() == Some("doctor");
    match app.config.fault().filter(|_| !is_doctor) {
        Some(fault) => Err(CommandError::Usage(fault)),
        None if app.config.file().is_none() => Ok(said),
        None => {
            let with_file = app.config.behind(command, &said)?.try_get_matches_from(arguments);
            with_file.map_err(|error| app.config.blamed(&error))
        }
    }
}

/// Whether a word is one of the system's that runs something of its own.
fn is_call(app: &App<'_>, word: &str) -> bool {
    let words = app.system.words();
    words.iter().any(|known| known.name == word && matches!(known.means, Meaning::Call(_)))
}

async fn dispatch(app: &App<'_>, word: &str, matches: &clap::ArgMatches) -> Result<(), CommandError> {
    if let Some(own) = app.system.words().into_iter().find(|own| own.name == word) {
        return match own.means {
            Meaning::Send { step, elements_max, outcomes, refused } => {
                let way = send::Way { step, elements_max, outcomes, refused };
                send::send(app, args::read(matches)?, way).await
            }
            Meaning::Ask { step, parameter } => send::about(app, args::read(matches)?, step, parameter).await,
            Meaning::Trigger { schedule, field } => {
                trigger::trigger(app, args::read(matches)?, schedule, Some(field)).await
            }
            Meaning::List { kind, fields, .. } => {
                list::list(app, args::read(matches)?, kind, Some(fields)).await
            }
            Meaning::Form { step, fields } => form::form(app, matches, step, fields).await,
            Meaning::Published { outlet } => published::published(app, args::read(matches)?, outlet).await,
            Meaning::Trace { kind, fields } => {
                trace::trace(app, args::read(matches)?, Some(kind), Some(fields)).await
            }
            Meaning::Call(call) => {
                let rest = matches.get_many::<OsString>(args::REST).into_iter().flatten().cloned().collect();
                call(rest).await.map_err(|error| CommandError::Failed(error.to_string()))
            }
        };
    }
    match word {
        "systems" => systems::systems(app, &args::read(matches)?),
        "new" => new::new(app, &args::read(matches)?),
        "export" => export::export(app, args::read(matches)?).await,
        "completions" => manual::completions(app, &args::read(matches)?),
        "man" => manual::man(app, &args::read(matches)?),
        "check" => check::check(app, args::read(matches)?).await,
        "demo" => demo::demo(app, args::read(matches)?, matches).await,
        "doctor" => doctor::doctor(app, args::read(matches)?, matches).await,
        "up" => up::up(app, args::read(matches)?, matches).await,
        "cancel" => send::cancel(app, args::read(matches)?).await,
        "console" => console::console(app, args::read(matches)?).await,
        "stop" => stop::stop(app, args::read(matches)?).await,
        "clean" => clean::clean(app, args::read(matches)?).await,
        "published" => published::named(app, args::read(matches)?).await,
        "send" => send::named(app, args::read(matches)?).await,
        "trigger" => trigger::named(app, args::read(matches)?).await,
        "list" => list::named(app, args::read(matches)?).await,
        "trace" => trace::trace(app, args::read(matches)?, None, None).await,
        "status" => status::status(app, args::read(matches)?).await,
        "watch" => status::watch(app, args::read(matches)?).await,
        "queues" => queues::queues(app, args::read(matches)?).await,
        "dlq" => dlq::dlq(app, args::read(matches)?).await,
        "infra" => infra::infra(app, args::read(matches)?).await,
        "scale" => scale::scale(app, args::read(matches)?),
        "package" => package(app, args::read(matches)?).await,
        "diagram" => diagram::diagram(app, args::read(matches)?).await,
        _ => Err(CommandError::Usage(format!("there is no command {word:?}"))),
    }
}

#[cfg(feature = "package")]
async fn package(app: &App<'_>, args: args::Package) -> Result<(), CommandError> {
    let system = app.system.name();
    tokio::task::spawn_blocking(move || package::package(system, &args))
        .await
        .map_err(|error| CommandError::Failed(format!("packaging broke off: {error}")))?
}

#[cfg(not(feature = "package"))]
async fn package(_: &App<'_>, _: args::Package) -> Result<(), CommandError> {
    Err(CommandError::Usage(
        "this build has no `package`: build it with the feature `package`, `cargo run --features package -- package`"
            .into(),
    ))
}
