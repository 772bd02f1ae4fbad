//! What bounds and measures a piece of work from outside.

use super::Pipeline;
use crate::{metrics::Meter, timestamp::Timestamp};
use std::time::Duration;

/// What bounds and measures a piece of work from outside: on Lambda, one invocation of a function. The default bounds and
/// measures nothing.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Nothing is begun after this time, and what is not done by then counts as a transient failure.
    pub deadline: Option<Timestamp>,
    /// The trace of what carries none of its own (W3C `traceparent`).
    pub traceparent: Option<String>,
    /// Gathers the metrics.
    pub meter: Meter,
}

impl Pipeline {
    /// What bounds and measures it.
    #[cfg(feature = "lambda")]
    pub(crate) fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// When work that may take `timeout` has to be over.
    pub(super) fn end_of(&self, timeout: Duration) -> Timestamp {
        let end = self.ports.clock.now() + timeout;
        self.invocation.deadline.map_or(end, |deadline| deadline.min(end))
    }
}
