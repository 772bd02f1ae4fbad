//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use quadrille::domain::auction::OrderStatus;
use std::{net::IpAddr, path::PathBuf, time::Duration};
use systems::duration::parse_duration;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage, or an environment that lacks an AWS region or credentials
  3  not found
  4  refused: bad input, a conflict, or a permission that AWS does not grant
  5  out of reach: nobody answers, or the data folder is held by another process
  6  incomplete: the demo lost an order, or one reached no end";

/// Event-driven choreography for AWS Lambda: the energy-market auction, on one machine, and its operation on AWS.
#[derive(Debug, Parser)]
#[command(name = "quadrille", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Command {
    #[command(subcommand)]
    pub action: Action,
    /// How log lines are written to standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines are written: by default `warn`, for the demo `error`; `debug` tells of every message.
    #[arg(long, global = true, value_enum, env = "QUADRILLE_LOG")]
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

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Runs the whole auction once, before your eyes.
    #[command(after_help = "Examples:\n  quadrille demo\n  quadrille demo --orders 100000 --json")]
    Demo(Demo),
    /// Runs the service: HTTP API, schedule, handlers, on a durable data folder.
    #[command(
        after_help = "Examples:\n  quadrille up\n  quadrille up --port 8080 --every 30s --platform https://auction.example"
    )]
    Up(Up),
    /// Posts orders from a file, or from standard input (`-`): a JSON array of any length.
    ///
    /// On AWS this command checks the orders and writes them to the table itself, under the same conditions as the function
    /// behind the API, with your own AWS credentials (docs/operating.md lists the permissions).
    #[command(
        after_help = "Examples:\n  echo '[{\"record_id\":\"a\",\"parameter_1\":\"abc\",\"parameter_2\":4}]' | quadrille post -\n  quadrille post orders.json --target aws --stack dev"
    )]
    Post(Post),
    /// Starts a run now: sends what the schedule sends, with the present time, to the poll queue.
    #[command(
        after_help = "Examples:\n  quadrille kickoff --url http://127.0.0.1:8080\n  quadrille kickoff --target aws --stack dev"
    )]
    Kickoff(Plain),
    /// Lists orders.
    #[command(
        after_help = "Examples:\n  quadrille orders --status rejected --limit 20\n  quadrille orders --target aws --stack dev"
    )]
    Orders(Orders),
    /// Tells what happened to an order: what, when, which handler, which attempt, waiting for what until when.
    #[command(
        after_help = "Examples:\n  quadrille trace unique_id_1\n  quadrille trace unique_id_1 --target aws --stack dev"
    )]
    Trace(Trace),
    /// Tells how many messages each queue holds.
    #[command(
        after_help = "Examples:\n  quadrille queues --json\n  quadrille queues --target aws --stack dev"
    )]
    Queues(Plain),
    /// Dead letters: list, show, redrive, purge.
    #[command(
        subcommand,
        after_help = "Examples:\n  quadrille dlq list --reason rejected\n  quadrille dlq redrive --reason timeout --rate 50\n  quadrille dlq list --target aws --stack dev"
    )]
    Dlq(Dlq),
    /// Measures the engine: orders a second from POST to file or dead letter, latency, processor time, memory.
    #[command(after_help = "Example:\n  quadrille bench --orders 1000,10000,100000")]
    Bench(Bench),
    /// The infrastructure on AWS: a Pulumi YAML program for each system, derived from its definition.
    #[command(
        subcommand,
        after_help = "Examples:\n  quadrille infra render auction\n  quadrille infra check\n  quadrille infra check auction --dir infra --json"
    )]
    Infra(Infra),
    /// Packages the functions for Lambda: a zip each, the same bytes for the same binary.
    ///
    /// The command has to be built with the feature `package` for it.
    #[command(
        after_help = "Examples:\n  cargo lambda build --release --arm64 -p lambdas --features aws\n  quadrille package auction --binaries target/lambda"
    )]
    Package(Package),
    /// Prints the flow as a Mermaid flowchart.
    #[command(after_help = "Example:\n  quadrille diagram > docs/auction.mmd")]
    Diagram,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Orders to post.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub orders: u64,
    /// What the simulated platform decides by.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How often the platform answers that it is not ready.
    #[arg(long, default_value_t = 3)]
    pub not_ready: u32,
    /// Keep the engine's data in this folder; without, it is temporary.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The last line of standard output is one JSON object.
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
    #[command(flatten)]
    pub auction: AuctionOptions,
    /// A Slack incoming webhook that alarms are posted to (better given by the environment: it is a secret).
    #[arg(long, env = "QUADRILLE_WEBHOOK", hide_env_values = true)]
    pub webhook: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct AuctionOptions {
    /// Time between two runs.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub every: Duration,
    /// The auction platform: a base URL, or `simulated`.
    #[arg(long, default_value = "simulated")]
    pub platform: String,
    /// What the simulated platform decides by.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How often the simulated platform answers that it is not ready.
    #[arg(long, default_value_t = 3)]
    pub not_ready: u32,
    /// The first wait before a platform that was not ready is asked again; it doubles, up to 60 times it.
    #[arg(long, default_value = "200ms", value_parser = parse_duration)]
    pub backoff: Duration,
    /// The longest a run may take before it fails and its orders are open again.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub deadline: Duration,
    /// How long the platform may take to answer.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub platform_timeout: Duration,
    /// Seconds between two notifications of dead letters that arrive while the alarm is red.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub digest: Duration,
}

impl AuctionOptions {
    /// What a command on a folder at rest needs: it runs no handler, so that nothing of it is used.
    pub fn at_rest() -> Self {
        Self::local(1, 0)
    }

    /// A simulated platform; runs are started by hand.
    pub fn local(seed: u64, not_ready: u32) -> Self {
        Self {
            every: Duration::from_secs(14 * 86_400),
            platform: "simulated".into(),
            seed,
            not_ready,
            backoff: Duration::from_millis(200),
            deadline: Duration::from_secs(3_600),
            platform_timeout: Duration::from_secs(10),
            digest: Duration::from_secs(60),
        }
    }
}

/// What a system runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// An engine on this machine, or the data folder of one.
    Local,
    /// A stack that is deployed to AWS.
    Aws,
}

/// Where a command finds the system.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// What the system runs on. For `aws` the command has to be built with the feature `aws`; it goes by the AWS SDK's
    /// environment: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL.
    #[arg(long = "target", value_enum, value_name = "TARGET", default_value_t = Platform::Local)]
    pub platform: Platform,
    /// The stack on AWS, `dev` for example. Its names are read from the Parameter Store: `/quadrille/auction/STACK`.
    #[arg(long)]
    pub stack: Option<String>,
    /// A file with the JSON of that parameter, instead of a stack.
    #[arg(long, value_name = "FILE", conflicts_with = "stack")]
    pub settings: Option<PathBuf>,
    /// A data folder. One that a running engine holds is reached through that engine.
    #[arg(long, default_value = ".quadrille", env = "QUADRILLE_DATA")]
    pub data: PathBuf,
    /// The address of a running engine, instead of a data folder.
    #[arg(long, env = "QUADRILLE_URL")]
    pub url: Option<String>,
    /// A file that holds the bearer token of a running engine that asks for one.
    #[arg(long, env = "QUADRILLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Post {
    /// The file, or `-`.
    pub file: PathBuf,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Orders {
    /// Only those of this status: received, submitted, accepted, rejected.
    #[arg(long, value_parser = status)]
    pub status: Option<OrderStatus>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// The order.
    pub record_id: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Lists dead letters with their reasons.
    ///
    /// SQS shows a message only to who receives it: on AWS the letters looked at are hidden from everybody else until the
    /// listing ends, some seconds, or for a minute where it is killed. At most 10,000 are looked at.
    #[command(
        after_help = "Examples:\n  quadrille dlq list --queue auction-results-dlq --limit 20\n  quadrille dlq list --target aws --stack dev --reason rejected"
    )]
    List(DlqOptions),
    /// Shows one dead letter whole.
    ///
    /// On AWS it is looked for as `dlq list` does, and with the same effect on the others.
    #[command(
        after_help = "Examples:\n  quadrille dlq show 17\n  quadrille dlq show 9f1c2ab4-5d0e-4c3f-8b57-3a6e1f0d2c11 --target aws --stack dev"
    )]
    Show(DlqShow),
    /// Sends dead letters back to the queue they came from.
    ///
    /// On AWS a redrive without --reason and --limit is a move task of SQS's own, whose progress is shown until it ends
    /// (ctrl-C leaves it running; the same command follows it again). Otherwise letters are moved one by one, each deleted
    /// only after it was sent on; those looked at and left are hidden until the end, or for 10 minutes where it is killed.
    #[command(
        after_help = "Examples:\n  quadrille dlq redrive --dry-run\n  quadrille dlq redrive --reason port_unavailable --rate 100\n  quadrille dlq redrive --target aws --stack dev --rate 50"
    )]
    Redrive(DlqMove),
    /// Deletes dead letters for good.
    #[command(
        after_help = "Examples:\n  quadrille dlq purge --reason rejected --dry-run\n  quadrille dlq purge --target aws --stack dev --limit 10"
    )]
    Purge(DlqMove),
}

#[derive(Debug, Args)]
pub struct DlqOptions {
    /// The dead-letter queue.
    #[arg(long, default_value = "auction-results-dlq")]
    pub queue: String,
    /// Only those of this reason.
    #[arg(long)]
    pub reason: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub target: Target,
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
pub struct Bench {
    /// Sizes of the runs.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    pub orders: Vec<u64>,
    /// Orders in a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub batch: u64,
    /// Connections that post at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub connections: u64,
    /// How often the platform answers that it is not ready.
    #[arg(long, default_value_t = 2)]
    pub not_ready: u32,
    /// Serve the contract of a comparison with other engines instead (see `docs/performance.md`).
    #[arg(long)]
    pub serve: bool,
    /// The folder that data folders are made in; without, the temporary one. They take some 6 KB an order and 36 MB a run,
    /// until all is measured.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A system that is built on the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Energy-market orders, auctioned on an outside platform.
    Auction,
}

impl System {
    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auction => "auction",
        }
    }

    /// Where its program is kept.
    pub fn folder(self) -> PathBuf {
        PathBuf::from("infra").join(self.name())
    }
}

#[derive(Debug, Subcommand)]
pub enum Infra {
    /// Writes a system's program: Pulumi.yaml, and Pulumi.STACK.yaml for each stack.
    #[command(
        after_help = "Examples:\n  quadrille infra render auction\n  quadrille infra render auction --out /tmp/program"
    )]
    Render(InfraRender),
    /// Tells whether the programs that are there are the ones that the definitions derive; shows what differs.
    #[command(after_help = "Examples:\n  quadrille infra check\n  quadrille infra check auction --json")]
    Check(InfraCheck),
}

#[derive(Debug, Args)]
pub struct InfraRender {
    /// The system.
    #[arg(value_enum)]
    pub system: System,
    /// The folder to write to; without, infra/SYSTEM.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InfraCheck {
    /// The systems; without, all.
    #[arg(value_enum)]
    pub systems: Vec<System>,
    /// The folder that holds a folder for each system.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[cfg_attr(not(feature = "package"), allow(dead_code))]
#[derive(Debug, Args)]
pub struct Package {
    /// The system.
    #[arg(value_enum)]
    pub system: System,
    /// Where the binaries were built to: DIR/FUNCTION/bootstrap, as `cargo lambda` has it, or DIR/FUNCTION.
    #[arg(long, value_name = "DIR", default_value = "target/lambda")]
    pub binaries: PathBuf,
    /// The folder to write to; without, infra/SYSTEM/packages.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take binaries of any machine, for tests; Lambda is told that they are for arm64.
    #[arg(long)]
    pub any_machine: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn status(text: &str) -> Result<OrderStatus, String> {
    OrderStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| "one of received, submitted, accepted, rejected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_an_example() {
        let command = Command::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            assert!(
                sub.get_after_help().is_some_and(|help| help.to_string().contains("Example")),
                "{}",
                sub.get_name()
            );
        }
    }
}
