//! Logs: which lines are written, where, and how.

use crate::{lines, panics};
use std::io::{self, IsTerminal as _, Write};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, fmt::MakeWriter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How the lines of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colour where standard error is a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes logs to standard error from now on: the lines of this library and of `targets`, the crates of the system, from
/// `level` on. Everything else has to warn at least, for what it says in detail may have data in it.
///
/// Logging holds nothing up and takes nothing down. A thread writes the lines; those that can't be written, or not as fast as they
/// come, are dropped, and a line tells how many. The same goes for the texts of panics. Keep what this gives until the program
/// ends: it sees to it that the last lines are written.
///
/// `None` where the program has a subscriber of `tracing` already: it keeps it, and this changes nothing.
///
/// ```
/// use quadrille::{LogFormat, LogLevel, init_logging};
///
/// let said = std::env::var("TEA_SHOP_LOG").ok().and_then(|level| level.parse().ok());
/// let _logs = init_logging(said.unwrap_or(LogLevel::WARN), LogFormat::Text, &["tea_shop"]);
/// ```
#[must_use = "the last lines are written when it is dropped"]
pub fn init_logging(level: LevelFilter, format: LogFormat, targets: &[&'static str]) -> Option<Logs> {
    if !write_to(|| Lined, level, format, targets) {
        return None;
    }
    // The standard one would wait for whoever reads standard error.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panics::text(panic.payload());
        lines::stderr().push(format!("panicked at {place}: {text}\n").as_bytes());
    }));
    Some(Logs(()))
}

/// The logs of a program. Dropping it waits until the lines so far are written, for a second at most.
#[derive(Debug)]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        lines::stderr().flush();
    }
}

/// Hands lines over; one that finds no room is counted.
struct Lined;

impl Write for Lined {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        lines::stderr().push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes logs to what `writer` makes, unless somebody writes them already.
pub(crate) fn write_to<W>(writer: W, level: LevelFilter, format: LogFormat, targets: &[&'static str]) -> bool
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    // It would tell of them on standard error, and panic where that can't be written.
    let lines = lines.log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(filter(level, targets))).try_init().is_ok()
}

fn filter(level: LevelFilter, targets: &[&'static str]) -> Targets {
    let own = targets.iter().copied().chain(["quadrille"]).map(|target| (target, level));
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_lines_of_a_system_are_written_and_those_of_others_only_where_they_warn() {
        for level in [LevelFilter::INFO, LevelFilter::DEBUG] {
            let filter = filter(level, &["systems"]);
            let least = level.into_level().unwrap();
            for target in ["systems", "systems::orders", "quadrille::pipeline", "quadrille_cli::up"] {
                assert!(filter.would_enable(target, &least), "{target} at {level}");
            }
            for target in ["aws_smithy_runtime::client", "hyper_util::client", "lambda_runtime"] {
                assert!(filter.would_enable(target, &Level::WARN), "{target}");
                assert!(!filter.would_enable(target, &Level::INFO), "{target} at {level}");
            }
        }
        assert!(!filter(LevelFilter::ERROR, &["systems"]).would_enable("systems", &Level::WARN));
    }
}
