//! `GET /orders/{orderId}`: tells of an order.

use crate::shared::{Answer, Request, Table, config, serve};
use lambda_runtime::Error;
use quadrille::{Failure, domain::checkout::Order};

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "ORDERS_TABLE_NAME", "orderId")?.shown();
    serve(async |request| get(&orders, request).await).await
}

async fn get(orders: &Table, request: Request) -> Result<Answer, Failure> {
    match orders.get::<Order>(request.parameter("orderId")).await? {
        Some(order) => Answer::json(200, &order.told()?),
        None => Answer::problem(404, "no_such_order", "no order has this id"),
    }
}
