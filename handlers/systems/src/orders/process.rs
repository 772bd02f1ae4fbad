//! Processing: an order that adds up is processed, and the topic is told. One that does not is a dead letter at once.

use super::{
    create::OrderCreated,
    metrics::{CREATED_TO_PROCESSED, ORDERS_PROCESSED},
};
use quadrille::{
    Context, Failure, Handled, Outcome, Stored, Timestamp,
    domain::orders::{Order, OrderStatus},
    metrics::millis,
    planted,
};
use serde::{Deserialize, Serialize};

/// The notification of a processed order. Whoever subscribes to the topic reads it: nothing in it is personal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProcessed {
    /// The order.
    pub order_id: String,
    /// `PROCESSED`.
    pub status: OrderStatus,
    /// When.
    pub processed_at: Timestamp,
}
quadrille::event!(OrderProcessed: "orders.order.processed", to Order by order_id);

/// Processes an order: once, however often it is told to.
///
/// # Errors
/// A permanent `amount_mismatch` where the items do not come to the amount, `amount_out_of_range` where they come to more than a
/// number can hold. No retry helps, so the order is a dead letter at once, and those beside it in the batch go on.
pub async fn process_order(
    mut order: Stored<Order>,
    event: OrderCreated,
    cx: Context<(OrderProcessed,)>,
) -> Outcome<(OrderProcessed,)> {
    if order.status != OrderStatus::New && !planted("processed_again") {
        return Ok(Handled::already("processed"));
    }
    // By zero, where it is not the first attempt.
    let _ = planted("panics_when_redelivered").then(|| 1 / 2_u32.saturating_sub(cx.attempt()));
    // No number of the order stands in the failure: it goes into logs and notifications.
    let total = order.total().map_err(|error| Failure::permanent("amount_out_of_range", error))?;
    if total != order.amount {
        return Err(Failure::permanent("amount_mismatch", "the items do not come to the amount"));
    }
    let now = cx.now();
    (order.status, order.processed_at) = (OrderStatus::Processed, Some(now));
    let took = millis(order.created_at, now);
    let told = OrderProcessed { order_id: event.order_id, status: order.status, processed_at: now };
    let commit = order.commit("processed").emit(told);
    Ok(commit.measure(ORDERS_PROCESSED, 1.0).measure(CREATED_TO_PROCESSED, took).into())
}
