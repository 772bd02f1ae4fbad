//! What came of a run of the suite.

use crate::{failure::excerpt, port::PortError};
use std::{fmt, time::Duration};

/// Most ids that a violation writes out; their number is always whole.
const IDS_SHOWN_MAX: usize = 10;

/// Every scenario with its outcome, in the order of play. Its text is for people: a line a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All scenarios of the suite.
    pub scenarios: Vec<ScenarioReport>,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioReport {
    /// Its name, `port::what_holds`.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// It was not played, and why.
    Skipped(String),
    /// The promise was broken.
    Failed(Violation),
}

/// How a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Something is other than promised.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was looked at.
        what: String,
        /// What was promised.
        expected: String,
        /// What is.
        found: String,
    },
    /// A set is not the promised one.
    #[error("{what}: missing {}, extra {}", Ids(missing), Ids(extra))]
    Ids {
        /// What was looked at.
        what: String,
        /// What should be there and is not.
        missing: Vec<String>,
        /// What is there and should not be.
        extra: Vec<String>,
    },
    /// A call failed that has to succeed.
    #[error("{what} failed: {error}")]
    Call {
        /// The call.
        what: String,
        /// Its error.
        error: String,
    },
    /// The adapter panicked.
    #[error("a panic: {message}")]
    Panics {
        /// Its message.
        message: String,
    },
    /// Something has no end.
    #[error("{what} has no end within {time:?}")]
    Hangs {
        /// What was waited for.
        what: String,
        /// How long, in real time.
        time: Duration,
    },
}

impl From<PortError> for Violation {
    fn from(error: PortError) -> Self {
        Self::Call { what: "a call".to_owned(), error: error.to_string() }
    }
}

impl Violation {
    /// Says that `found` was met where `expected` was promised. Long texts are cut.
    pub(super) fn differs(
        what: impl Into<String>,
        expected: impl fmt::Debug,
        found: impl fmt::Debug,
    ) -> Self {
        let text = |value: &dyn fmt::Debug| excerpt(&format!("{value:?}"), 300);
        Self::Differs { what: what.into(), expected: text(&expected), found: text(&found) }
    }
}

struct Ids<'a>(&'a [String]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        write!(f, "{} (", self.0.len())?;
        for (at, id) in self.0.iter().take(IDS_SHOWN_MAX).enumerate() {
            write!(f, "{}{:?}", if at == 0 { "" } else { ", " }, excerpt(id, 80))?;
        }
        f.write_str(if self.0.len() > IDS_SHOWN_MAX { ", …)" } else { ")" })
    }
}

impl Report {
    /// The scenarios that failed.
    pub fn failures(&self) -> Vec<&ScenarioReport> {
        self.scenarios.iter().filter(|scenario| matches!(scenario.outcome, Outcome::Failed(_))).collect()
    }

    /// The scenarios that were not played.
    pub fn skipped(&self) -> Vec<&ScenarioReport> {
        self.scenarios.iter().filter(|scenario| matches!(scenario.outcome, Outcome::Skipped(_))).collect()
    }
}

impl fmt::Display for ScenarioReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed   {}", self.name),
            Outcome::Skipped(why) => write!(f, "skipped  {} ({why})", self.name),
            Outcome::Failed(violation) => write!(f, "FAILED   {}\n             {violation}", self.name),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for scenario in &self.scenarios {
            writeln!(f, "    {scenario}")?;
        }
        let (failed, skipped) = (self.failures().len(), self.skipped().len());
        let passed = self.scenarios.len() - failed - skipped;
        write!(f, "conformance: {passed} passed, {skipped} skipped, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well() {
        let ids = |count: usize| (0..count).map(|id| id.to_string()).collect();
        let violation = Violation::Ids { what: "arrivals".to_owned(), missing: ids(12), extra: ids(0) };
        let report = Report {
            scenarios: vec![
                ScenarioReport { name: "a::holds", outcome: Outcome::Passed },
                ScenarioReport { name: "b::waits", outcome: Outcome::Skipped("c is not claimed".to_owned()) },
                ScenarioReport { name: "c::fails", outcome: Outcome::Failed(violation) },
            ],
        };
        let text = r#"    passed   a::holds
    skipped  b::waits (c is not claimed)
    FAILED   c::fails
             arrivals: missing 12 ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", …), extra none
conformance: 1 passed, 1 skipped, 1 failed"#;
        assert_eq!(report.to_string(), text);
        assert_eq!(report.failures().iter().map(|scenario| scenario.name).collect::<Vec<_>>(), ["c::fails"]);
    }
}
