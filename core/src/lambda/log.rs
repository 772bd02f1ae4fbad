//! Logs: lines of JSON on standard output, which Lambda hands to CloudWatch.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// The variable that says which lines are written; it is looked at first.
const LEVEL: &str = "QUADRILLE_LOG";

/// What Lambda's own logging controls set.
const LAMBDA_LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// Writes logs from now on. `QUADRILLE_LOG` or else `AWS_LAMBDA_LOG_LEVEL` says which (`error`, `warn`, `info`, `debug`,
/// `trace`, in any case); without either, or with another word, `info`. The level holds for this library and for `targets`,
/// the crates of the system; everything else, the SDK among it, has to warn at least, for what it says in detail may have
/// data in it.
pub fn init_logging(targets: &[&'static str]) {
    let read = |name: &str| std::env::var(name).ok();
    let level = read(LEVEL).or_else(|| read(LAMBDA_LEVEL));
    let level = level.and_then(|level| level.parse::<LevelFilter>().ok()).unwrap_or(LevelFilter::INFO);
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stdout)
        .with_filter(filter(level, targets));
    // There is one already where a test, or a host of its own, set it: that one stays.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

fn filter(level: LevelFilter, targets: &[&'static str]) -> Targets {
    let own = targets.iter().copied().chain(["quadrille"]).map(|target| (target, level));
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        choreography::{Choreography, Definition},
        system::System,
    };
    use tracing::Level;

    struct TeaShop;

    impl System for TeaShop {
        fn name(&self) -> &'static str {
            "tea-shop"
        }

        fn about(&self) -> &'static str {
            "Serves tea."
        }

        fn define(&self) -> Definition {
            Choreography::define(self.name())
        }
    }

    #[test]
    fn the_lines_of_a_system_are_written_and_those_of_the_sdk_only_where_they_warn() {
        let system: &dyn System = &TeaShop;
        assert_eq!(system.log_target(), "quadrille", "the crate that its type is of");
        for level in [LevelFilter::INFO, LevelFilter::DEBUG] {
            let filter = filter(level, &["systems"]);
            let least = level.into_level().unwrap();
            for target in ["systems", "systems::orders", "quadrille::pipeline"] {
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
