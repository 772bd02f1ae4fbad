//! `POST /orders`, or a direct invocation: takes an order. Its table's stream hands it to `process_order`.

use crate::shared::{Answer, Item, Message, Request, Table, To, config, count, now, serve, variable};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::orders::{BODY_BYTES_MAX, Order, OrderStatus, new_order},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What makes the item one to be processed: the stream's filter asks for an outbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: String,
}

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "TABLE_NAME", "order_id")?.shown();
    let days = variable("TTL_DAYS")?.parse()?;
    serve(async |request| create(&orders, days, request).await).await
}

async fn create(orders: &Table, days: u32, request: Request) -> Result<Answer, Failure> {
    let new = match request.read("order", BODY_BYTES_MAX, new_order)? {
        Ok(new) => new,
        Err(refused) => return Ok(refused),
    };
    let key = match request.idempotency_key()? {
        Ok(key) => key,
        Err(refused) => return Ok(refused),
    };
    let Some(order_id) = new.id(key) else {
        let detail =
            "give an order_id or an idempotency_key, so that an order that is sent again is the same order";
        return Answer::problem(400, "unnamed_order", detail);
    };
    let order = Item::new(Order::take(order_id.clone(), new.clone(), now(), days));
    let created = OrderCreated { order_id: order_id.clone() };
    let message = Message::new(To::Stream, "orders.order.created", &created)?;
    let taken =
        |status: OrderStatus, outcome| json!({ "order_id": order_id, "status": status, "outcome": outcome });
    if orders.put(&order, "created", vec![message]).await? {
        count("OrdersCreated");
        return Answer::json(201, &taken(OrderStatus::New, "created"));
    }
    match orders.get::<Order>(&order_id).await? {
        Some(there) if there.same_content(&new) => Answer::json(200, &taken(there.status, "unchanged")),
        Some(_) => {
            let detail = "an order with this id is there with other content, and was not changed";
            Answer::problem(409, "conflict", detail)
        }
        None => Err(Failure::transient("expired_meanwhile", "an order with this id expired just now")),
    }
}
