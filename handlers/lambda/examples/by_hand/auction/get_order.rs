//! `GET /orders/{record_id}`: tells of an order.

use crate::shared::{Answer, Request, Table, config, serve};
use lambda_runtime::Error;
use quadrille::{Failure, domain::auction::Order};

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "TABLE_NAME", "key")?;
    serve(async |request| get(&orders, request).await).await
}

async fn get(orders: &Table, request: Request) -> Result<Answer, Failure> {
    match orders.get::<Order>(request.parameter("record_id")).await? {
        Some(order) => Answer::json(200, &order.told()?),
        None => Answer::problem(404, "no_such_order", "no order has this record_id, or it has expired"),
    }
}
