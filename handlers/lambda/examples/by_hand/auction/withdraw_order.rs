//! `POST /orders/{record_id}/withdrawal`: withdraws an order that no run has taken.

use crate::shared::{Answer, Request, Table, config, count, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::auction::{Order, OrderStatus},
};
use serde_json::json;

/// How often it looks anew where it lost a race.
const RACES_MAX: usize = 5;

pub async fn run() -> Result<(), Error> {
    let orders = Table::new(&config().await, "TABLE_NAME", "key")?;
    serve(async |request| withdraw(&orders, request).await).await
}

async fn withdraw(orders: &Table, request: Request) -> Result<Answer, Failure> {
    for _ in 0..=RACES_MAX {
        let Some(mut order) = orders.get::<Order>(request.parameter("record_id")).await? else {
            return Answer::problem(404, "no_such_order", "no order has this record_id, or it has expired");
        };
        match order.status {
            OrderStatus::Received => order.status = OrderStatus::Withdrawn,
            OrderStatus::Withdrawn => return answer(&order, "unchanged"),
            OrderStatus::Submitted | OrderStatus::Accepted | OrderStatus::Rejected => {
                let detail = "a run has taken the order, and it can't be withdrawn any more";
                let with = json!({ "status": order.status, "run_id": order.run_id });
                return Answer::problem_with(409, "taken_by_run", detail, with);
            }
        }
        if orders.put(&order, "withdrawn", Vec::new()).await? {
            count("OrdersWithdrawn");
            return answer(&order, "withdrawn");
        }
    }
    Err(Failure::transient("conflict", "others keep changing the order"))
}

fn answer(order: &Order, outcome: &str) -> Result<Answer, Failure> {
    let told = json!({ "record_id": order.record_id, "status": order.status, "outcome": outcome });
    Answer::json(200, &told)
}
