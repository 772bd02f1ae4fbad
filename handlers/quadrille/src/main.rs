//! The `quadrille` command.

mod api;
mod args;
#[cfg(feature = "aws")]
mod aws;
mod bench;
mod bench_engine;
mod client;
mod commands;
mod demo;
mod error;
mod infra;
mod node;
#[cfg(feature = "package")]
mod package;
mod print;
mod token;
mod up;

use args::{Action, Command, LogFormat, LogLevel};
use clap::Parser as _;
use error::CommandError;
use std::{io::IsTerminal as _, process::ExitCode};

/// What is allocated on one thread is mostly freed on another here, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    // The demo and the benchmark reject orders on purpose: they are no news in their log.
    let shown = if matches!(command.action, Action::Demo(_) | Action::Bench(_)) {
        LogLevel::Error
    } else {
        LogLevel::Warn
    };
    log_to_stderr(command.log_format, command.log_level.unwrap_or(shown));
    // The store's thread has a processor's worth to do: a worker more than there are processors left costs switches.
    let workers = std::thread::available_parallelism().map_or(1, |processors| processors.get() - 1).max(1);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(workers).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command.action)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(action: Action) -> Result<(), CommandError> {
    match action {
        Action::Demo(args) => demo::demo(args).await,
        Action::Up(args) => up::up(args).await,
        Action::Post(args) => commands::post(args).await,
        Action::Kickoff(args) => commands::kickoff(args).await,
        Action::Orders(args) => commands::orders(args).await,
        Action::Trace(args) => commands::trace(args).await,
        Action::Queues(args) => commands::queues(args).await,
        Action::Dlq(args) => commands::dlq(args).await,
        Action::Bench(args) => bench::bench(args).await,
        Action::Infra(args) => infra::infra(args).await,
        #[cfg(feature = "package")]
        Action::Package(args) => tokio::task::spawn_blocking(move || package::package(&args))
            .await
            .map_err(|error| CommandError::Failed(format!("packaging broke off: {error}")))?,
        #[cfg(not(feature = "package"))]
        Action::Package(_) => Err(CommandError::Usage(
            "this build has no `package`: cargo run --release -p quadrille-cli --features package -- package …".into(),
        )),
        Action::Diagram => {
            print::line(node::standard()?.to_mermaid().trim_end());
            Ok(())
        }
    }
}

fn log_to_stderr(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
