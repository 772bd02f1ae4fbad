//! The command line: the general words, the options of the system's settings, and the system's own words.

use crate::{
    App,
    client::encoded,
    error::CommandError,
    form::options,
    help,
    settings::{self, Known},
    table::Output,
    target::Target,
};
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::PossibleValuesParser,
};
use quadrille::{
    Timestamp,
    operator::{Filter, TrialOutcome},
    port::{Clock as _, SystemClock},
    setting::parse_duration,
    system::{Meaning, Word},
};
use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

/// The variable that names a configuration file. Empty, it says that none is to be read.
pub const CONFIG_VARIABLE: &str = "QUADRILLE_CONFIG";

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage, or an environment that lacks an AWS region or credentials
  3  not found
  4  refused: bad input, a conflict, or a permission that AWS does not grant
  5  out of reach: nobody answers, or the data folder is held by another process
  6  incomplete: the demo lost one of those it posted, or one reached no end; a property of a simulation does not hold";

/// The arguments of a word that runs something of its own.
pub const REST: &str = "rest";

/// What a demonstration makes its random choices from.
pub const SEED: &str = "seed";

/// The general words: those that every system has.
#[derive(Debug, Subcommand)]
enum General {
    /// Runs the whole flow once, before your eyes.
    Demo(Demo),
    /// Simulates the system in virtual time, under the faults that AWS allows, and checks what has to hold.
    Sim(Sim),
    /// Checks whether what has to hold of the system holds of what is in a data folder, on which no engine may run, or in an export.
    Check(Check),
    /// Writes all entities with their trails, a line of JSON each, for `check --trails`.
    Export(Plain),
    /// Runs the service: HTTP API, schedules, handlers, on a durable data folder.
    Up(Up),
    /// Serves the console in a browser: over a stack on AWS, or a data folder at rest. An engine that runs has its own.
    Console(ServeConsole),
    /// Asks the engine that runs on a data folder to stop, and waits until it has.
    Stop(Plain),
    /// Removes a data folder of the system's, with all that is in it.
    Clean(Clean),
    /// Sends the JSON of a file, or of standard input (`-`), to a handler of requests.
    ///
    /// On AWS this command runs the handler itself, under the same conditions as its function, with your own AWS
    /// credentials (docs/operating.md lists the permissions).
    Send(Send),
    /// Cancels an entity, where the system has a way to: prints what its handler answers.
    Cancel(Cancel),
    /// Sends the message of a schedule now, with the present time.
    Trigger(Trigger),
    /// Lists entities of a kind.
    List(List),
    /// Tells the story of an entity: what, when, which handler, which attempt, waiting for what until when.
    Trace(Trace),
    /// Shows the latest of what was published to others: by a topic, a bus, or a queue of theirs.
    ///
    /// On one machine, where nobody outside subscribes, it is kept for 14 days. On AWS nobody keeps it: subscribe to it there.
    Published(Published),
    /// Tells how it goes: whether an engine runs, what waits, what fails now, when schedules come.
    Status(Rows),
    /// The same again and again, and what is worked meanwhile, as long as an engine runs and until ctrl-C.
    ///
    /// Where standard output is no terminal, it is printed anew whenever something has changed. On AWS no engine runs, so nobody tells
    /// what is worked there.
    Watch(Rows),
    /// Tells how many messages each queue holds.
    Queues(Rows),
    /// Dead letters: list, show, plan, redrive, purge.
    #[command(subcommand)]
    Dlq(Dlq),
    /// The infrastructure on AWS: a Pulumi YAML program for each system, derived from its definition.
    #[command(subcommand)]
    Infra(Infra),
    /// Tells which limits of AWS a rate meets, what the flow needs of each, and what to set for it.
    ///
    /// It is computed from the definition; each row says what it assumes and where AWS says so. It fails where a limit can't be
    /// met by any setting.
    Scale(Scale),
    /// Packages the functions for Lambda: one zip for all of a system's, the same bytes for the same binary.
    ///
    /// The command has to be built with the feature `package` for it.
    Package(Package),
    /// Prints the flow as a Mermaid flowchart, or as lines of text; with the path that an entity has taken.
    Diagram(Diagram),
    /// Lists the systems that there are.
    Systems(Systems),
    /// Tells what is well and what is not: configuration, folder, port, clock, token, versions, what answers, what is stuck.
    ///
    /// It changes nothing, also beside a running engine. It ends with 1 where something fails.
    Doctor(Doctor),
    /// Writes a crate with a choreography of your own: two steps, a service, a test, a README.
    New(New),
    /// Prints what a shell completes a command line with: the words, their options and values.
    Completions(Completions),
    /// Prints the command's page for `man`, or writes a page for each word.
    Man(Man),
}

/// Examples, by the words they are for, without the name of the command.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("demo", &["demo", "demo --orders 100000 --json"]),
    ("check", &["check --data .quadrille", "check --trails entities.jsonl --ended"]),
    ("export", &["export > entities.jsonl", "export --target aws --stack dev > entities.jsonl"]),
    ("sim", &["sim", "sim --seeds 20000 --faults crash,lost --json", "sim --from 7 --console"]),
    ("up", &["up", "up --port 8080"]),
    ("console", &["console --target aws --stack dev", "console --data DIR"]),
    ("stop", &["stop", "stop --data DIR"]),
    ("clean", &["clean", "clean --data DIR --yes"]),
    ("send", &["send STEP body.json", "send STEP - --target aws --stack dev"]),
    ("cancel", &["cancel KIND ID", "cancel KIND ID --target aws --stack dev"]),
    ("trigger", &["trigger SCHEDULE", "trigger SCHEDULE --target aws --stack dev"]),
    (
        "list",
        &["list KIND --limit 20", "list KIND --status open --since 2h --output csv", "list KIND --watch"],
    ),
    ("trace", &["trace KIND ID", "trace KIND ID --follow", "trace KIND ID --target aws --stack dev"]),
    ("published", &["published", "published TOPIC --watch"]),
    ("status", &["status", "status --target aws --stack dev"]),
    ("watch", &["watch", "watch --json"]),
    ("queues", &["queues --output csv", "queues --target aws --stack dev"]),
    ("dlq", &["dlq list --reason timeout", "dlq redrive --reason timeout --rate 50"]),
    ("dlq list", &["dlq list --limit 20", "dlq list --target aws --stack dev --reason timeout"]),
    ("dlq show", &["dlq show ID"]),
    (
        "dlq plan",
        &[
            "dlq plan --out plan.jsonl",
            "dlq plan --reason timeout --since 2026-11-30T06:00:00Z --out plan.jsonl",
        ],
    ),
    (
        "dlq redrive",
        &[
            "dlq redrive --plan plan.jsonl --outcome done --stop-at 5% --why 'the platform is back'",
            "dlq redrive --reason timeout --rate 50",
        ],
    ),
    ("dlq purge", &["dlq purge --reason rejected --dry-run", "dlq purge --reason rejected --yes"]),
    ("infra", &["infra render", "infra check --json"]),
    ("infra render", &["infra render", "infra render --out DIR"]),
    ("infra policy", &["infra policy --stack dev --account 123456789012 --region eu-west-1"]),
    ("infra check", &["infra check --json"]),
    (
        "scale",
        &[
            "scale --orders-per-second 10000",
            "scale --orders-per-second 10000 --stack prod --time relay=100ms",
        ],
    ),
    ("package", &["package --binaries target/lambda"]),
    ("diagram", &["diagram > flow.mmd", "diagram --of KIND ID"]),
    ("systems", &["systems --json"]),
    ("doctor", &["doctor", "doctor --target aws --stack dev --json"]),
    ("new", &["new tea-shop", "new tea-shop --dir .. --library ."]),
    ("completions", &["completions bash > /etc/bash_completion.d/NAME"]),
    ("man", &["man | man -l -", "man --dir ~/.local/share/man/man1"]),
];

/// The option that names the configuration file.
pub const CONFIG: &str = "config";

/// What every command has.
#[derive(Debug, Args)]
pub struct Global {
    /// A configuration file. By default `quadrille.toml` in the working directory, where it is there; an empty name says none.
    #[arg(long, global = true, value_name = "FILE", env = CONFIG_VARIABLE)]
    pub config: Option<OsString>,
    /// How log lines are written to standard error.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines are written. By default `warn`, for the demo `error`; `debug` tells of every message.
    #[arg(long, global = true, value_enum, value_name = "LEVEL", env = "QUADRILLE_LOG")]
    pub log_level: Option<LogLevel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogFormat> for quadrille::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl From<LogLevel> for quadrille::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// The whole command line, for the system that is meant.
///
/// # Errors
/// [`CommandError::Usage`] where a setting of the system has the name of an option.
pub fn command(app: &App<'_>) -> Result<Command, CommandError> {
    let about = match app.systems {
        [alone] => alone.about().to_owned(),
        _ => "Event-driven choreographies for AWS Lambda, on one machine, and their operation on AWS."
            .to_owned(),
    };
    let root = Command::new(app.name.clone())
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(systems(app))
        .after_long_help(after_help(app))
        .max_term_width(110)
        .subcommand_required(true)
        .arg_required_else_help(true);
    // What the derived parts say of themselves is no word about the whole.
    let mut root = General::augment_subcommands(Global::augment_args(root)).about(about).long_about(None);
    let known = Known::of(&root);
    for word in ["demo", "sim", "up", "doctor"] {
        let found = root.find_subcommand(word).cloned();
        if let Some(found) = found {
            let found = settings::options(found, &known, &app.choreography.model().settings)?;
            let is_seeded = app.choreography.model().settings.iter().any(|setting| setting.name == SEED);
            let found = if word == "demo" && !is_seeded { found.arg(seed()) } else { found };
            root = root.mut_subcommand(word, |_| found);
        }
    }
    for (words, examples) in EXAMPLES {
        let lines: Vec<String> = examples.iter().map(|example| format!("  {} {example}", app.name)).collect();
        let text = format!("Examples:\n{}", lines.join("\n"));
        root = match words.split_once(' ') {
            Some((noun, verb)) => {
                root.mut_subcommand(noun, |it| it.mut_subcommand(verb, |it| it.after_help(text)))
            }
            None => root.mut_subcommand(words, |it| it.after_help(text)),
        };
    }
    let mut order: Vec<String> = root.get_subcommands().map(|word| word.get_name().to_owned()).collect();
    for word in app.system.words() {
        let own = own(app, &word);
        root = match order.iter().any(|name| name == word.name) {
            true => root.mut_subcommand(word.name, |_| own),
            false => {
                order.push(word.name.to_owned());
                root.subcommand(own)
            }
        };
    }
    // A word of the system's that replaces a general one stands in its place.
    for (place, name) in order.iter().enumerate() {
        root = root.mut_subcommand(name, |word| word.display_order(place));
    }
    Ok(help::in_both_lengths(root))
}

/// The option of a demonstration whose system has no setting of that name.
fn seed() -> Arg {
    Arg::new(SEED).long(SEED).value_name("NUMBER").help("What the random choices are made from [default: 1]")
}

/// The systems by name, where there are several.
fn systems(app: &App<'_>) -> String {
    let [first, ..] = app.systems else { return String::new() };
    if app.systems.len() < 2 {
        return String::new();
    }
    let names: Vec<&str> = app.systems.iter().map(|system| system.name()).collect();
    format!(
        "Systems, named behind the word ({} up {}): {}; without a name {} is meant.\nExit codes: --help",
        app.name,
        app.system.name(),
        names.join(", "),
        first.name()
    )
}

/// The systems, where there are several, and the exit codes.
fn after_help(app: &App<'_>) -> String {
    if app.systems.len() < 2 {
        return EXIT_CODES.to_owned();
    }
    let rows = app.systems.iter().map(|system| format!("\n  {:<12} {}", system.name(), system.about()));
    format!(
        "Systems, named behind the word ({} up {}); without a name {} is meant:{}\n\n{EXIT_CODES}",
        app.name,
        app.system.name(),
        app.systems[0].name(),
        rows.collect::<String>()
    )
}

/// A word of the system's own.
fn own(app: &App<'_>, word: &Word) -> Command {
    let command = Command::new(word.name);
    let command = match &word.means {
        Meaning::Send { .. } => OwnSend::augment_args(command),
        Meaning::Ask { .. } => OwnAsk::augment_args(command),
        Meaning::Trigger { .. } => Plain::augment_args(command),
        Meaning::List { statuses: [], .. } => OwnList::augment_args(command),
        Meaning::List { statuses, .. } => {
            let status = |arg: Arg| arg.value_parser(PossibleValuesParser::new(*statuses));
            OwnList::augment_args(command).mut_arg("status", status)
        }
        Meaning::Form { fields, .. } => options::of(Plain::augment_args(command), fields),
        Meaning::Published { .. } => OwnPublished::augment_args(command),
        Meaning::Trace { .. } => Trace::augment_args(command),
        Meaning::Call(_) => command.disable_help_flag(true).arg(
            Arg::new(REST)
                .value_parser(clap::value_parser!(OsString))
                .action(ArgAction::Append)
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        ),
    };
    let example = format!("Example:\n  {} {}", app.name, word.example);
    command.about(word.about).long_about(None).after_help(example)
}

/// What a word was given.
///
/// # Errors
/// [`CommandError::Shown`] where it does not fit, which clap has seen to already.
pub fn read<T: FromArgMatches>(matches: &ArgMatches) -> Result<T, CommandError> {
    T::from_arg_matches(matches).map_err(CommandError::Shown)
}

#[derive(Debug, Args)]
pub struct Systems {
    #[command(flatten)]
    pub output: Output,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// The port that an engine is to listen on.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The address that an engine is to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each word to this folder, which is made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct New {
    /// The name of the crate and of its choreography: a-z, 0-9 and '-', a letter first, at most 32.
    pub name: String,
    /// The folder to make its folder in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// A clone of the library's repository, to depend on by path; without, the one that this is run in.
    #[arg(long, value_name = "CLONE")]
    pub library: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// How many to post.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub orders: u64,
    /// Keep the engine's data in this folder; without, it is temporary.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Sim {
    /// How many runs, each from a seed of its own.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// The faults that may strike: `all`, `none`, or their names with commas between.
    #[arg(long, default_value = "all")]
    pub faults: String,
    /// How many are posted in a run.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub orders: u64,
    /// For how many minutes of a run faults strike. Then everything has 30 days to come to its end.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub minutes: u64,
    /// Plays this tape again, which a run that failed has left.
    #[arg(long, conflicts_with_all = ["seeds", "from", "faults", "orders", "minutes"])]
    pub tape: Option<PathBuf>,
    /// Prints everything that happened in the tape's run, and not only what is about the one concerned.
    #[arg(long, requires = "tape")]
    pub trace: bool,
    /// Serves a console of one run, that of the first seed or of the tape: it goes on step by step, and back to any point.
    #[arg(long, conflicts_with_all = ["seeds", "trace", "json"])]
    pub console: bool,
    /// The port of the console, on this machine only; 0 takes a free one.
    #[arg(long, default_value_t = 8090, requires = "console")]
    pub port: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The data folder.
    #[arg(long, default_value = ".quadrille", env = "QUADRILLE_DATA")]
    pub data: PathBuf,
    /// A file of `export`, in place of a folder: what is about queues and objects can't be seen of it.
    #[arg(long, value_name = "FILE")]
    pub trails: Option<PathBuf>,
    /// Nothing was under way when it was exported: what has to hold only in the end is looked at as well.
    #[arg(long, requires = "trails")]
    pub ended: bool,
    #[command(flatten)]
    pub output: Output,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Up {
    /// The data folder.
    #[arg(long, default_value = ".quadrille", env = "QUADRILLE_DATA")]
    pub data: PathBuf,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The address to listen on. Beyond loopback a token is needed.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// A further Host name that requests may be sent to, e.g. that of a proxy; can be given again.
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// A file that holds the bearer token requests must carry.
    #[arg(long, env = "QUADRILLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The time between two notifications of dead letters that arrive while the alarm is red.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub digest: Duration,
    /// Go on with what is left in a data folder that has lost a part of what was acknowledged. Copy the folder first.
    #[arg(long)]
    pub accept_loss: bool,
    /// Let the console act: send dead letters back, purge them, send the message of a schedule, cancel. Without it, it only looks.
    #[arg(long)]
    pub allow_actions: bool,
}

#[derive(Debug, Args)]
pub struct ServeConsole {
    #[command(flatten)]
    pub target: Target,
    /// The port to listen on, on this machine only; 0 takes a free one.
    #[arg(long, default_value_t = 8090)]
    pub port: u16,
    /// Let the console act: send dead letters back, purge them, send the message of a schedule, cancel. Without it, it only looks.
    #[arg(long)]
    pub allow_actions: bool,
}

#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    pub target: Target,
}

/// Of a word that prints rows.
#[derive(Debug, Args)]
pub struct Rows {
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Send {
    /// The handler of requests.
    pub step: String,
    #[command(flatten)]
    pub own: OwnSend,
}

#[derive(Debug, Args)]
pub struct OwnSend {
    /// The file, or `-`.
    pub file: PathBuf,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct OwnAsk {
    /// The id of the one that is asked about.
    pub id: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Trigger {
    /// The schedule.
    pub schedule: String,
    #[command(flatten)]
    pub plain: Plain,
}

#[derive(Debug, Args)]
pub struct List {
    /// The kind of entities.
    pub kind: String,
    #[command(flatten)]
    pub own: OwnList,
}

#[derive(Debug, Args)]
pub struct OwnList {
    /// Only those of this status.
    #[arg(long)]
    pub status: Option<String>,
    /// Only those that changed at this time or later: 2026-11-30T06:00:00Z. `2h` is two hours ago.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those that have not changed since this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub before: Option<Timestamp>,
    /// Only those whose story is told with the entity of this id: their run, for example.
    #[arg(long, visible_alias = "run", value_name = "ID")]
    pub related: Option<String>,
    /// Only those of which a message was given up for this reason, or fails for it now.
    #[arg(long)]
    pub reason: Option<String>,
    /// At most so many, the newest of them.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// Only how many there are of each status.
    #[arg(long)]
    pub counts: bool,
    /// Go on showing those that change, until ctrl-C. It takes a running engine, or a stack.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub target: Target,
}

impl OwnList {
    /// Which are meant, as a part of a query.
    pub fn query(&self) -> String {
        let texts = [("status", &self.status), ("related", &self.related), ("reason", &self.reason)];
        parameters(&texts, &[("since", self.since), ("before", self.before)])
    }
}

/// What is given of these, as a part of a query.
fn parameters(texts: &[(&str, &Option<String>)], times: &[(&str, Option<Timestamp>)]) -> String {
    let texts = texts.iter().filter_map(|(name, text)| Some((name, text.as_ref()?.clone())));
    let times = times.iter().filter_map(|(name, time)| Some((name, time.as_ref()?.to_string())));
    texts.chain(times).map(|(name, value)| format!("&{name}={}", encoded(&value))).collect()
}

#[derive(Debug, Args)]
pub struct Diagram {
    /// Marks the path that this entity has taken, green where it passed and red where it failed: its kind and its id, or the id
    /// alone where there is one kind.
    #[arg(long, value_name = "[KIND] ID", num_args = 1..=2)]
    pub of: Vec<String>,
    /// How it is drawn: by default `mermaid`, and `text` on a terminal where the path of an entity is marked.
    #[arg(long = "as", value_enum, value_name = "DRAWING")]
    pub drawn: Option<Drawing>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// A Mermaid flowchart.
    Mermaid,
    /// Lines of text.
    Text,
}

#[derive(Debug, Args)]
pub struct Published {
    /// The topic, the bus or the queue of others; without, the one that is alone.
    pub outlet: Option<String>,
    #[command(flatten)]
    pub own: OwnPublished,
}

#[derive(Debug, Args)]
pub struct OwnPublished {
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub limit: u64,
    /// Go on showing what is published, until ctrl-C. It takes a running engine.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Clean {
    /// The data folder.
    #[arg(long, default_value = ".quadrille", env = "QUADRILLE_DATA")]
    pub data: PathBuf,
    /// Remove it without asking.
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Cancel {
    /// The entity: its kind and its id, or the id alone where the kind is plain.
    #[arg(value_name = "[KIND] ID", num_args = 1..=2, required = true)]
    pub entity: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// The entity: its kind and its id, or the id alone where the kind is plain.
    #[arg(value_name = "[KIND] ID", num_args = 1..=2, required = true)]
    pub entity: Vec<String>,
    /// Go on telling what happens, until it ends or ctrl-C. It takes a running engine, or a stack.
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Parser)]
pub enum Dlq {
    /// Lists dead letters with their reasons.
    ///
    /// SQS shows a message only to who receives it: on AWS the letters looked at are hidden from everybody else until the
    /// listing ends, some seconds, or for a minute where it is killed. At most 10,000 are looked at.
    List(DlqList),
    /// Shows one dead letter whole.
    ///
    /// On AWS it is looked for as `dlq list` does, and with the same effect on the others.
    Show(DlqShow),
    /// Plans a redrive: writes down which letters are meant, each with what this build would do with it.
    ///
    /// The handlers run on a copy of the state, and every effect and commit is held back. Nothing is changed. A handler that needs a
    /// service which is not safe to try is not run.
    Plan(DlqPlan),
    /// Sends dead letters back to the queue they came from, or those that a plan names.
    ///
    /// On AWS a redrive without --reason and --limit, from a queue without ends of business, is a move task of SQS, whose progress is shown until it ends
    /// (ctrl-C leaves it running; the same command follows it again). Otherwise letters are moved one by one, each deleted
    /// only after it was sent on; those looked at and left are hidden until the end, or for 10 minutes where it is killed.
    ///
    /// Letters whose reason is an end of business, which a redrive would only repeat, stay where they are.
    Redrive(DlqRedrive),
    /// Deletes dead letters for good.
    Purge(DlqPurge),
}

#[derive(Debug, Args)]
pub struct DlqList {
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub options: DlqOptions,
}

#[derive(Clone, Debug, Args)]
pub struct DlqOptions {
    /// The dead-letter queue; without, the system's first to redrive and purge, and all of them else.
    #[arg(long)]
    pub queue: Option<String>,
    /// Only those of this reason.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only those that this handler gave up.
    #[arg(long)]
    pub handler: Option<String>,
    /// Only those told to the entity of this id.
    #[arg(long, value_name = "ID")]
    pub of: Option<String>,
    /// Only those given up at this time or later: 2026-11-30T06:00:00Z. `2h` is two hours ago.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those given up by this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub before: Option<Timestamp>,
    /// At most so many.
    #[arg(long)]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub target: Target,
}

impl DlqOptions {
    /// The letters that are meant.
    pub fn filter(&self) -> Filter {
        Filter {
            reason: self.reason.clone(),
            handler: self.handler.clone(),
            subject: self.of.clone(),
            since: self.since,
            before: self.before,
            leaves_ends: false,
        }
    }

    /// The same as a part of a query.
    pub fn query(&self) -> String {
        let texts = [("reason", &self.reason), ("handler", &self.handler), ("subject", &self.of)];
        let times = [("since", self.since), ("before", self.before)];
        parameters(&texts, &times)
    }

    /// Whether all letters of the queue are meant.
    #[cfg(feature = "aws")]
    pub fn takes_all(&self) -> bool {
        self.limit.is_none() && self.query().is_empty()
    }
}

/// A time, or how long ago it was.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(SystemClock.now().as_millis().saturating_sub(ago)));
    }
    let says = |error| format!("{error}; or how long ago it was: 30m, 2h, 3d");
    Timestamp::parse(text).map_err(says)
}

/// A share in percent: `5%`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>();
    let number = number.ok().filter(|number| *number <= 100);
    number.ok_or_else(|| "write a share from 0% to 100%".to_owned())
}

#[derive(Debug, Args)]
pub struct DlqPlan {
    #[command(flatten)]
    pub options: DlqOptions,
    /// The file to write, which must not be there.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Another body for a letter, from a file; can be given again.
    #[arg(long = "body", value_name = "ID=FILE")]
    pub bodies: Vec<String>,
    /// Ends of business too; --reason takes those of its reason anyway.
    #[arg(long)]
    pub with_ends: bool,
}

#[derive(Debug, Args)]
pub struct DlqPurge {
    #[command(flatten)]
    pub walk: DlqMove,
    /// Delete without being asked.
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct DlqShow {
    /// The message's id, as `dlq list` prints it.
    pub id: String,
    #[command(flatten)]
    pub options: DlqOptions,
}

#[derive(Debug, Args)]
pub struct DlqMove {
    #[command(flatten)]
    pub options: DlqOptions,
    /// Only tell what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
}

#[derive(Debug, Args)]
pub struct DlqRedrive {
    #[command(flatten)]
    pub walk: DlqMove,
    /// Send back ends of business too.
    ///
    /// `--reason` takes those of its reason anyway.
    #[arg(long)]
    pub with_ends: bool,
    /// Send what this file of `dlq plan` names, and nothing else. What becomes of each letter is written beside it, and the same
    /// command goes on where it was broken off.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queue", "reason", "handler", "of", "since", "before", "limit", "dry_run", "with_ends"])]
    pub plan: Option<PathBuf>,
    /// Only those of which the plan foretells this.
    ///
    /// It can be given again.
    #[arg(long, value_name = "OUTCOME", value_parser = PossibleValuesParser::new(TrialOutcome::WORDS), requires = "plan")]
    pub outcome: Vec<String>,
    /// Stop where more than this share of them is dead again: `5%`.
    #[arg(long, value_name = "SHARE", value_parser = percent, requires = "plan")]
    pub stop_at: Option<u8>,
    /// Leave letters that were sent back so often.
    #[arg(long, value_name = "TIMES", default_value_t = 3, requires = "plan")]
    pub quarantine_after: u32,
    /// Send them to this queue of the system.
    #[arg(long, value_name = "QUEUE", requires = "plan")]
    pub to: Option<String>,
    /// Who sends them back [default: the variable USER].
    ///
    /// It is kept with each letter.
    #[arg(long, value_name = "NAME", requires = "plan")]
    pub by: Option<String>,
    /// Why; kept with each letter.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "plan")]
    pub why: String,
}

#[derive(Debug, Parser)]
pub enum Infra {
    /// Writes a system's program: Pulumi.yaml, and Pulumi.STACK.yaml for each stack.
    Render(InfraRender),
    /// Tells whether the programs that are there are the ones that the definitions derive; shows what differs.
    Check(InfraCheck),
    /// Prints what it takes to deploy the programs: IAM policies, one a line, for the role that applies and removes them.
    Policy(InfraPolicy),
}

#[derive(Debug, Args)]
pub struct InfraPolicy {
    /// The systems; without, all: one role that deploys them.
    pub systems: Vec<String>,
    /// The stack; `*` stands for any part of a name: `ephemeral-*`.
    #[arg(long, value_name = "STACK", value_parser = deployed_stack)]
    pub stack: String,
    /// The account's number: 12 digits.
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    pub account: String,
    /// The region.
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub region: String,
    /// Write a file for each policy to this folder: 1.json, 2.json, …
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Digits of an account's number (AWS).
const ACCOUNT_DIGITS: usize = 12;

fn account(text: &str) -> Result<String, String> {
    let is_number = text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        Ok(text.to_owned())
    } else {
        Err(format!("an account's number has {ACCOUNT_DIGITS} digits"))
    }
}

fn region(text: &str) -> Result<String, String> {
    let is_one = text.contains('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_one { Ok(text.to_owned()) } else { Err("a region is named as eu-west-1 is".to_owned()) }
}

fn deployed_stack(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("it begins with a letter or a digit, and has letters, digits, '-', '_', '.' and '*'".to_owned())
    }
}

#[derive(Debug, Args)]
pub struct Scale {
    /// How many enter a second: orders, requests, messages, whatever the system takes in.
    #[arg(long, value_name = "N")]
    pub orders_per_second: f64,
    /// The handler by which they enter; without, the first that takes requests and does not only read.
    #[arg(long, value_name = "STEP")]
    pub enters: Option<String>,
    /// What this stack sets counts as set.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// A key of the configuration that counts as set; may be said several times.
    #[arg(long, value_name = "KEY=NUMBER", value_parser = assigned::<u64>)]
    pub set: Vec<(String, u64)>,
    /// How long a full batch of a step, a request of a route, or 100 events of `relay` take; may be said several times.
    #[arg(long, value_name = "STEP=TIME", value_parser = assigned_time)]
    pub time: Vec<(String, Duration)>,
    /// How long it takes from the commit of an event until its consumer has it.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    pub hop: Duration,
    #[command(flatten)]
    pub output: Output,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `NAME=VALUE`.
fn assigned<T: std::str::FromStr>(text: &str) -> Result<(String, T), String>
where
    T::Err: std::fmt::Display,
{
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    value.parse().map(|value| (name.to_owned(), value)).map_err(|error| format!("{name}: {error}"))
}

fn assigned_time(text: &str) -> Result<(String, Duration), String> {
    let (name, value) = text.split_once('=').ok_or("write STEP=TIME")?;
    parse_duration(value).map(|time| (name.to_owned(), time)).map_err(|error| format!("{name}: {error}"))
}

#[derive(Debug, Args)]
pub struct InfraRender {
    /// The folder to write to; without, infra/SYSTEM.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InfraCheck {
    /// The systems; without, all.
    pub systems: Vec<String>,
    /// The folder that holds a folder for each system.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[cfg_attr(not(feature = "package"), allow(dead_code))]
#[derive(Debug, Args)]
pub struct Package {
    /// Where the binary of the functions was built to: DIR/SYSTEM-functions/bootstrap, as `cargo lambda` has it, or
    /// DIR/SYSTEM-functions.
    #[arg(long, value_name = "DIR", default_value = "target/lambda")]
    pub binaries: PathBuf,
    /// The folder to write to; without, infra/SYSTEM/packages.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take a binary of any machine, for tests; Lambda is told that it is for arm64.
    #[arg(long)]
    pub any_machine: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
