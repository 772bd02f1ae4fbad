//! How the work of a handler, a table or a bucket grows with what enters a flow: what [`scale`](crate::scale) goes by.

use std::time::Duration;

/// How the work of a handler grows with what enters its flow. Without it, each that enters is one message, passes once, and is
/// committed once as each kind of entity that the handler may commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// How many of those that enter one message or request carries.
    pub per_message: Option<u32>,
    /// How often each of them passes the handler.
    pub passes: Option<u32>,
    /// How often the handler commits each of them, over all passes.
    pub commits: Option<u32>,
    /// How often the handler reads each of them from a table, over all passes.
    pub reads: Option<u32>,
    /// How long a full batch, or a request, takes as a rule. (What it takes at most is its timeout.)
    pub time: Option<Duration>,
    /// Its messages follow each other, one after the other; this setting says how many such rows there are.
    pub in_turn: Option<String>,
}

impl Workload {
    /// What holds where nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// One message or request carries so many of those that enter.
    #[must_use]
    pub fn per_message(mut self, number: u32) -> Self {
        self.per_message = Some(number);
        self
    }

    /// Each of those that enter passes the handler so often.
    #[must_use]
    pub fn passes(mut self, times: u32) -> Self {
        self.passes = Some(times);
        self
    }

    /// The handler commits each of those that enter so often, over all passes.
    #[must_use]
    pub fn commits(mut self, times: u32) -> Self {
        self.commits = Some(times);
        self
    }

    /// The handler reads each of those that enter so often from a table, over all passes.
    #[must_use]
    pub fn reads(mut self, times: u32) -> Self {
        self.reads = Some(times);
        self
    }

    /// A full batch, or a request, takes so long as a rule.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Each message is sent by the one before it, so that they follow each other. The setting `rows`, a whole number, says how
    /// many such rows of messages there are side by side.
    #[must_use]
    pub fn in_turn(mut self, rows: impl Into<String>) -> Self {
        self.in_turn = Some(rows.into());
        self
    }
}

/// What a setting spreads over several places: the index entries of entities over partitions, the objects of a bucket over
/// prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The setting, a whole number of places.
    pub setting: String,
    /// The kind of entities whose index entries are spread; none for a bucket.
    pub kind: Option<String>,
}

/// Units a second that a table is to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// Read units a second.
    pub reads: u32,
    /// Write units a second.
    pub writes: u32,
}
