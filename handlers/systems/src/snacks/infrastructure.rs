//! Snacks on AWS: what their infrastructure has beyond what follows from the definition.

use super::{
    kitchen::{BUSY, FAILING},
    metrics::{CREATED_TO_PROCESSED, ORDERS_CANCELLED, ORDERS_CREATED, ORDERS_PROCESSED},
};
use quadrille::infrastructure::{FunctionOptions, Infrastructure, Stack};

/// The key of the address that alarms are mailed to.
const EMAIL: &str = "alarmEmail";

/// Adds the metrics of the dashboard, and the stacks.
pub(super) fn infrastructure(infrastructure: Infrastructure<'_>) -> Infrastructure<'_> {
    let shows = |metrics: &[_]| FunctionOptions::new().metrics(metrics.iter().copied());
    infrastructure
        .function("order_creator", shows(&[ORDERS_CREATED]))
        .function("cancel_order", shows(&[ORDERS_CANCELLED]))
        .function("order_processor", shows(&[ORDERS_PROCESSED, CREATED_TO_PROCESSED]))
        .stack(trial(
            "dev",
            "Where main is deployed to: a kitchen that fails at times, and nothing that must be kept.",
        ))
        .stack(trial("ephemeral", "Made for one test and removed after it; the pipeline copies this file."))
        .stack(
            Stack::new("prod", "Real orders. Set `alarmEmail` to your own before the first deployment.")
                .set(EMAIL, "snacks-operators@example.com")
                .set("logRetentionDays", 365)
                .set("functionMemory", 512)
                .set("orderProcessorConcurrency", 50),
        )
}

/// A stack for trials, whose kitchen fails now and then, so that a test sees every end of an order.
fn trial(name: &str, about: &str) -> Stack {
    Stack::disposable(name, about).set(EMAIL, "snacks-developers@example.com").set(FAILING, 25).set(BUSY, 20)
}
