//! The processing of an order: the kitchen makes it, once.

use super::{
    kitchen::{Kitchen, Ticket},
    metrics::{CREATED_TO_PROCESSED, ORDERS_PROCESSED},
    orders::OrderCreated,
};
use quadrille::{
    Context, Handled, Outcome, Stored, Timestamp,
    domain::snacks::{Order, OrderStatus},
    metrics::millis,
    planted,
};
use serde::{Deserialize, Serialize};

/// "This order is processed", as people are notified of it: not who ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderProcessed {
    /// The order.
    pub order_id: String,
    /// When it was processed.
    pub processed_at: Timestamp,
}
quadrille::event!(OrderProcessed: "Order Processed", to Order by order_id);

/// Has a new order prepared and packed. One that is cancelled is called off, also where it was cancelled while the kitchen
/// worked: the commit then loses, and the handler finds it so.
///
/// # Errors
/// Those of the kitchen.
pub async fn process_order(
    mut order: Stored<Order>,
    _: OrderCreated,
    cx: Context<(OrderProcessed,)>,
) -> Outcome<(OrderProcessed,)> {
    let kitchen = cx.service::<dyn Kitchen>()?;
    match order.status {
        OrderStatus::Processed => return Ok(Handled::already("processed")),
        OrderStatus::Cancelled if !planted("cancelled_order_processed") => {
            kitchen.call_off(&order.order_id).await?;
            return Ok(Handled::already("cancelled"));
        }
        OrderStatus::Cancelled | OrderStatus::New => {}
    }
    let ticket = Ticket { order_id: &order.order_id, items: &order.snack_items, attempt: cx.attempt() };
    kitchen.prepare(ticket).await?;
    kitchen.pack(ticket).await?;
    let now = cx.now();
    order.process(now);
    let processed = OrderProcessed { order_id: order.order_id.clone(), processed_at: now };
    let took = millis(order.created_at, now);
    let commit = order.commit("processed").emit(processed);
    Ok(commit.measure(ORDERS_PROCESSED, 1.0).measure(CREATED_TO_PROCESSED, took).into())
}
