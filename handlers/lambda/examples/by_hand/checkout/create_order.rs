//! `POST /orders`: takes an order of a person in.

use super::receive_order::taken_in;
use crate::shared::{Answer, Request, Table, config, count, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{BODY_BYTES_MAX, Order, Sent, order},
};
use serde_json::json;

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "ORDERS_TABLE_NAME", "orderId")?.shown();
    serve(async |request| create(&orders, request).await).await
}

async fn create(orders: &Table, request: Request) -> Result<Answer, Failure> {
    let order = match request.read("order", BODY_BYTES_MAX, order)? {
        Ok(order) => order,
        Err(refused) => return Ok(refused),
    };
    let (order_id, sent) = (order.order_id.clone(), Sent::Order(order));
    let answer = |outcome| json!({ "orderId": order_id, "outcome": outcome });
    let (order, message) = taken_in(sent.clone())?;
    if orders.put(&order, "taken in", vec![message]).await? {
        count("OrdersTakenIn");
        return Answer::json(202, &answer("stored"));
    }
    match orders.get::<Order>(&order_id).await? {
        Some(order) if order.same_content(&sent) => Answer::json(202, &answer("unchanged")),
        Some(_) => {
            let detail = "another order has this id, and it stays";
            Answer::problem_with(409, "order_exists", detail, answer("conflict"))
        }
        None => Err(Failure::transient("conflict", "an order of this id was there, and is gone")),
    }
}
