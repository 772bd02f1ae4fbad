//! The checkout on AWS: what its infrastructure has beyond what follows from the definition.

use super::{
    gateway::SIMULATED,
    metrics::{
        ORDERS_COMPLETED, ORDERS_FAILED, ORDERS_INVALID, ORDERS_TAKEN_IN, PAYMENTS_DECLINED,
        PAYMENTS_REFUNDED, STOCK_RACES_LOST, STOCK_RETURNED, TAKEN_IN_TO_ENDED,
    },
};
use quadrille::infrastructure::{FunctionOptions, Infrastructure, Stack};

/// Adds the metrics of the dashboard, and the stacks.
pub(super) fn infrastructure(infrastructure: Infrastructure<'_>) -> Infrastructure<'_> {
    infrastructure
        .function("create_order", FunctionOptions::new().metrics([ORDERS_TAKEN_IN]))
        .function("receive_order", FunctionOptions::new().metrics([ORDERS_TAKEN_IN]))
        .function("validate_order", FunctionOptions::new().metrics([ORDERS_INVALID, STOCK_RACES_LOST]))
        .function(
            "process_payment",
            FunctionOptions::new().metrics([ORDERS_COMPLETED, PAYMENTS_DECLINED, TAKEN_IN_TO_ENDED]),
        )
        .function("fail_order", FunctionOptions::new().metrics([ORDERS_FAILED, TAKEN_IN_TO_ENDED]))
        .function("return_stock", FunctionOptions::new().metrics([STOCK_RETURNED, STOCK_RACES_LOST]))
        .function("void_payment", FunctionOptions::new().metrics([PAYMENTS_REFUNDED]))
        .stack(trial("dev", "Where main is deployed to: a simulated gateway, and nothing that must be kept."))
        .stack(trial("ephemeral", "Made for one test and removed after it; the pipeline copies this file."))
        .stack(
            Stack::new(
                "prod",
                "Real orders. Set `gateway` and `alarmEmail` to your own before the first deployment.",
            )
            .set("alarmEmail", "checkout-operators@example.com")
            .set("gateway", "https://payments.example.com")
            .set("logRetentionDays", 365)
            .set("oldVersionsDays", 365)
            .set("functionMemory", 512)
            .set("validateOrderConcurrency", 10)
            .set("processPaymentConcurrency", 10),
        )
}

/// A stack for trials: its gateway is simulated.
fn trial(name: &str, about: &str) -> Stack {
    Stack::disposable(name, about)
        .set("alarmEmail", "checkout-developers@example.com")
        .set("gateway", SIMULATED)
}
