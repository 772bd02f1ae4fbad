//! `POST /orders/{orderId}/cancel`: cancels an order that the kitchen has not made.

use super::order_creator::Receipt;
use crate::shared::{Answer, Request, Table, config, count, now, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::snacks::{Order, OrderStatus},
};
use serde_json::json;

/// How often it looks anew where it lost a race.
const RACES_MAX: usize = 5;

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "ORDERS_TABLE_NAME", "orderId")?.shown();
    serve(async |request| cancel(&orders, request).await).await
}

async fn cancel(orders: &Table, request: Request) -> Result<Answer, Failure> {
    for _ in 0..=RACES_MAX {
        let Some(mut order) = orders.get::<Order>(request.parameter("orderId")).await? else {
            return Answer::problem(404, "no_such_order", "no order has this id");
        };
        match order.status {
            OrderStatus::Processed => {
                let detail = "the order is processed, and can't be cancelled any more";
                let with = json!({ "processedAt": order.processed_at });
                return Answer::problem_with(409, "already_processed", detail, with);
            }
            OrderStatus::Cancelled => return Answer::json(200, &Receipt::of(&order, "unchanged")),
            OrderStatus::New => order.cancel(now()),
        }
        if orders.put(&order, "cancelled", Vec::new()).await? {
            count("OrdersCancelled");
            return Answer::json(200, &Receipt::of(&order, "cancelled"));
        }
    }
    Err(Failure::transient("conflict", "others keep changing the order"))
}
