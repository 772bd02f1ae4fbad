//! The keys of the configuration that scale a flow, by name: who writes the program uses them, and who computes what to set.

use super::program::logical;
use crate::{limits, model::StepModel};

/// Invocations that are reserved for the function of each route.
pub(crate) const HTTP_CONCURRENCY: &str = "httpConcurrency";
/// Requests a second that the stage lets through.
pub(crate) const HTTP_RATE: &str = "httpRate";
/// Requests at once that the stage lets through.
pub(crate) const HTTP_BURST: &str = "httpBurst";
/// [`HTTP_RATE`] where nobody sets it.
pub(crate) const HTTP_RATE_DEFAULT: u32 = 100;

/// Most records of a batch of the relay: 1,000, for each is sent on by a tenth or less of a request (Lambda: at most 10,000,
/// and 6 MB).
pub(crate) const RELAY_BATCH: u32 = 1_000;

/// Invocations of a step's function at the same time.
pub(crate) fn concurrency(step: &str) -> String {
    logical(step, "Concurrency")
}

/// [`concurrency`] where nobody sets it.
pub(crate) fn concurrency_default(step: &StepModel) -> u32 {
    let workers = u32::try_from(step.workers).unwrap_or(u32::MAX);
    step.maximum_concurrency
        .unwrap_or(workers)
        .clamp(*limits::MAXIMUM_CONCURRENCY.start(), *limits::MAXIMUM_CONCURRENCY.end())
}

/// The fewest pollers of a step's queue.
pub(crate) fn pollers_least(step: &str) -> String {
    logical(step, "PollersLeast")
}

/// The most pollers of a step's queue.
pub(crate) fn pollers_most(step: &str) -> String {
    logical(step, "PollersMost")
}

/// Invocations that are reserved for a function that no route has.
pub(crate) fn reserved(function: &str) -> String {
    logical(function, "Reserved")
}

/// Batches of a shard at the same time, of the stream of a table, or of the stream that a step reads itself.
pub(crate) fn factor(of: &str) -> String {
    logical(of, "Parallelization")
}

/// Read and write units that a table is kept warm for.
pub(crate) fn warm(table: &str) -> (String, String) {
    (logical(table, "WarmReads"), logical(table, "WarmWrites"))
}

/// Read and write units that the index of a table is kept warm for.
pub(crate) fn warm_index(table: &str) -> (String, String) {
    (logical(table, "IndexWarmReads"), logical(table, "IndexWarmWrites"))
}

/// Read and write units that a table, and its index, may use at most.
pub(crate) fn at_most(table: &str) -> (String, String) {
    (logical(table, "MostReads"), logical(table, "MostWrites"))
}
