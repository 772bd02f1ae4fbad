//! Logs: lines of JSON on standard output, which Lambda hands to CloudWatch.

use crate::logging::{LogFormat, write_to};
use tracing::level_filters::LevelFilter;

/// The variable that says which lines are written; it is looked at first.
const LEVEL: &str = "QUADRILLE_LOG";

/// What Lambda's own logging controls set.
const LAMBDA_LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// Writes logs from now on, as [`crate::init_logging`] does, but as JSON and to standard output. `QUADRILLE_LOG` or else
/// `AWS_LAMBDA_LOG_LEVEL` says which (`error`, `warn`, `info`, `debug`, `trace`, in any case); without either, or with
/// another word, `info`. Gives whether it does so.
pub fn init_logging(targets: &[&'static str]) -> bool {
    let read = |name: &str| std::env::var(name).ok();
    let level = read(LEVEL).or_else(|| read(LAMBDA_LEVEL));
    let level = level.and_then(|level| level.parse::<LevelFilter>().ok()).unwrap_or(LevelFilter::INFO);
    write_to(std::io::stdout, level, LogFormat::Json, targets)
}
