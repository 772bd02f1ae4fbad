//! Snacks on AWS: what their infrastructure has beyond what follows from the definition.

use super::metrics::{CREATED_TO_PROCESSED, ORDERS_CANCELLED, ORDERS_CREATED, ORDERS_PROCESSED};
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
        .stack(
            Stack::disposable("dev", "Where main is deployed to: nothing that must be kept.")
                .set(EMAIL, "snacks-developers@example.com"),
        )
        .stack(
            Stack::disposable(
                "ephemeral",
                "Made for one test and removed after it; the pipeline copies this file.",
            )
            .set(EMAIL, "snacks-developers@example.com"),
        )
        .stack(
            Stack::new("prod", "Real orders. Set `alarmEmail` to your own before the first deployment.")
                .set(EMAIL, "snacks-operators@example.com")
                .set("logRetentionDays", 365)
                .set("functionMemory", 512)
                .set("orderProcessorConcurrency", 50),
        )
}
