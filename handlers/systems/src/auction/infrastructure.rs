//! The auction on AWS: what its infrastructure has beyond what follows from the definition.

use super::{
    metrics::{
        ORDERS_ACCEPTED, ORDERS_RECEIVED, ORDERS_REJECTED, ORDERS_STORED, ORDERS_UNDECIDABLE,
        ORDERS_WITHDRAWN, POLLS, POLLS_NOT_READY, RECEIVED_TO_DECIDED, RECEIVED_TO_STORED,
    },
    platform::SIMULATED,
};
use quadrille::infrastructure::{FunctionOptions, Infrastructure, Stack};

/// Adds the metrics of the dashboard, and the stacks.
pub(super) fn infrastructure(infrastructure: Infrastructure<'_>) -> Infrastructure<'_> {
    let poll = FunctionOptions::new()
        .metrics([POLLS, POLLS_NOT_READY, ORDERS_ACCEPTED, ORDERS_REJECTED, ORDERS_UNDECIDABLE])
        .metrics([RECEIVED_TO_DECIDED]);
    infrastructure
        .function("post_orders", FunctionOptions::new().metrics([ORDERS_RECEIVED]))
        .function("withdraw_order", FunctionOptions::new().metrics([ORDERS_WITHDRAWN]))
        .function("poll_auction", poll)
        .function("store_result", FunctionOptions::new().metrics([ORDERS_STORED, RECEIVED_TO_STORED]))
        .stack(trial(
            "dev",
            "Where main is deployed to: a simulated platform, and nothing that must be kept.",
        ))
        .stack(trial("ephemeral", "Made for one test and removed after it; the pipeline copies this file."))
        .stack(
            Stack::new(
                "prod",
                "Real orders. Set `platform` and `alarmEmail` to your own before the first deployment.",
            )
            .set("alarmEmail", "auction-operators@example.com")
            .set("platform", "https://auction-platform.example.com")
            .set("logRetentionDays", 365)
            .set("oldVersionsDays", 365)
            .set("functionMemory", 512)
            .set("pollAuctionConcurrency", 10)
            .set("storeResultConcurrency", 10),
        )
}

/// A stack for trials: its platform is simulated.
fn trial(name: &str, about: &str) -> Stack {
    Stack::disposable(name, about)
        .set("alarmEmail", "auction-developers@example.com")
        .set("platform", SIMULATED)
        .set("kickoffSchedule", "rate(1 hour)")
        .set("kickoffPeriod", 3_600)
        .set("kickoffPatience", 3 * 3_600)
}
