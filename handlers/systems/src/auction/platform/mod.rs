//! The port to the auction platform: hand a run's orders over, ask for their decisions.

mod answer;
mod http;
mod service;
mod simulated;

pub use answer::{
    Answer, DECISION_FAULTS_MAX, Decision, PAGE_TOKEN_BYTES_MAX, PLATFORM_GARBAGE, STATUS_BYTES_MAX,
};
pub use http::{ANSWER_BYTES_MAX, HttpPlatform};
pub use service::{
    NOT_READY, PLATFORM, PLATFORM_BUCKET, PLATFORM_TIMEOUT, SEED, SIMULATED, service, settings,
};
pub use simulated::{SimulatedPlatform, decide};

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use quadrille::{Failure, decimal::Decimal, domain::auction::Order, percent::ALL_BUT_UNRESERVED};
use serde::Serialize;
use std::fmt;

/// The longest id of a run, in bytes. Our own limit: percent-encoded it still fits the key of an object, 1,024 bytes.
pub const RUN_ID_BYTES_MAX: usize = 256;

/// The outside platform that auctions orders. Every call may be repeated, and is, after a crash or a lost answer.
#[async_trait]
pub trait AuctionPlatform: Send + Sync {
    /// Hands page `page` (counted from 0) of the run's orders over. Idempotent by run, page and content: sending it
    /// again changes nothing, and a page that is sent again with other content adds to it.
    ///
    /// # Errors
    /// A transient [`Failure`] where the platform can't be reached, is busy or fails; a permanent one where it
    /// refuses the request.
    async fn submit(&self, run_id: &str, page: u32, orders: &[SubmittedOrder]) -> Result<(), Failure>;

    /// Asks for the run's results. `polls` counts the asks of this run before this one that were answered "not
    /// ready"; `after` is [`Answer::Ready::next`] of the answer before, none for the first page.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); and a transient one where the answer can't be read.
    async fn results(&self, run_id: &str, polls: u32, after: Option<&str>) -> Result<Answer, Failure>;
}

/// What the platform is told of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubmittedOrder {
    /// The order's id.
    pub record_id: String,
    /// As it was sent to us.
    pub parameter_1: String,
    /// As it was sent to us, digit by digit.
    pub parameter_2: Decimal,
}

impl From<&Order> for SubmittedOrder {
    fn from(order: &Order) -> Self {
        Self {
            record_id: order.record_id.clone(),
            parameter_1: order.parameter_1.clone(),
            parameter_2: order.parameter_2.clone(),
        }
    }
}

/// The run's id as one segment of a path.
///
/// # Errors
/// A permanent `run_id_unusable` for an id that is empty or too long, and for `.` and `..`, which servers and proxies
/// take for steps in the path, encoded or not.
fn run_segment(run_id: &str) -> Result<impl fmt::Display, Failure> {
    if run_id.is_empty() || run_id.len() > RUN_ID_BYTES_MAX || matches!(run_id, "." | "..") {
        let detail =
            format_args!("a run's id has 1 to {RUN_ID_BYTES_MAX} bytes and is neither \".\" nor \"..\"");
        return Err(Failure::permanent("run_id_unusable", detail));
    }
    Ok(utf8_percent_encode(run_id, ALL_BUT_UNRESERVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_run_stays_one_segment() {
        let segment = |run_id: &str| run_segment(run_id).map(|segment| segment.to_string());
        assert_eq!(segment("2026-11-20T09:15:00.000Z").unwrap(), "2026-11-20T09%3A15%3A00.000Z");
        assert_eq!(segment("../a b?#é").unwrap(), "..%2Fa%20b%3F%23%C3%A9");
        for unusable in ["", ".", "..", &"x".repeat(257)] {
            assert_eq!(segment(unusable).unwrap_err().reason(), "run_id_unusable");
        }
    }
}
