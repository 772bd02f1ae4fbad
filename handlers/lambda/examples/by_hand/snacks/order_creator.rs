//! `POST /orders`, or a direct invocation: takes an order, and tells the bus of it.

use crate::shared::{Answer, Item, Message, Request, Table, To, config, count, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure, Timestamp,
    decimal::Decimal,
    domain::snacks::{BODY_BYTES_MAX, Order, OrderStatus, new_order, order_id},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The entry of the bus.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    pub order_id: String,
    pub total_amount: Decimal,
    pub created_at: Timestamp,
}

/// What its sender is told of an order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt<'a> {
    order_id: &'a str,
    status: OrderStatus,
    created_at: Timestamp,
    outcome: &'static str,
}

impl<'a> Receipt<'a> {
    pub fn of(order: &'a Order, outcome: &'static str) -> Self {
        Self { order_id: &order.order_id, status: order.status, created_at: order.created_at, outcome }
    }
}

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "ORDERS_TABLE_NAME", "orderId")?.shown();
    serve(async |request| create(&orders, request).await).await
}

async fn create(orders: &Table, request: Request) -> Result<Answer, Failure> {
    let key = match request.idempotency_key()? {
        Ok(key) => key,
        Err(refused) => return Ok(refused),
    };
    let new = match request.read("order", BODY_BYTES_MAX, new_order)? {
        Ok(new) => new,
        Err(refused) => return Ok(refused),
    };
    // Without a key it is a new order each time, but where Lambda itself retries the invocation.
    let id = order_id(key.or(new.idempotency_key.as_deref()).unwrap_or(&request.id));
    let order = Item::new(Order::take(id, new.clone(), crate::shared::now()));
    let created = OrderCreated {
        order_id: order.order_id.clone(),
        total_amount: order.total_amount.clone(),
        created_at: order.created_at,
    };
    let message = Message::new(To::Bus("EVENT_BUS_NAME".to_owned()), "Order Created", &created)?;
    if orders.put(&order, "created", vec![message]).await? {
        count("OrdersCreated");
        return Answer::json(201, &Receipt::of(&order, "created"));
    }
    match orders.get::<Order>(&order.order_id).await? {
        Some(there) if there.same_content(&new) => Answer::json(200, &Receipt::of(&there, "unchanged")),
        _ => {
            let detail = "another order has this idempotency key, and was not changed; use another key";
            let with = json!({ "outcome": "conflict", "orderId": order.order_id });
            Answer::problem_with(409, "conflict", detail, with)
        }
    }
}
