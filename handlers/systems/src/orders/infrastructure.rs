//! Orders on AWS: what the infrastructure has beyond what follows from the definition.

use super::metrics::{CREATED_TO_PROCESSED, ORDERS_CREATED, ORDERS_PROCESSED};
use quadrille::infrastructure::{FunctionOptions, Infrastructure, Stack};

/// Adds the metrics of the dashboard, and the stacks.
pub(super) fn infrastructure(infrastructure: Infrastructure<'_>) -> Infrastructure<'_> {
    let process = FunctionOptions::new().metrics([ORDERS_PROCESSED, CREATED_TO_PROCESSED]);
    infrastructure
        .key_alias("techtest-orders")
        .function("create_order", FunctionOptions::new().metrics([ORDERS_CREATED]))
        .function("process_order", process)
        .stack(trial("dev", "Where main is deployed to: nothing that must be kept."))
        .stack(trial("ephemeral", "Made for one test and removed after it; the pipeline copies this file."))
        .stack(
            Stack::new("prod", "Real orders. Set `alarmEmail` to your own before the first deployment.")
                .set("alarmEmail", "orders-operators@example.com")
                .set("logRetentionDays", 365)
                .set("processOrderConcurrency", 10),
        )
}

fn trial(name: &str, about: &str) -> Stack {
    Stack::disposable(name, about).set("alarmEmail", "orders-developers@example.com")
}
