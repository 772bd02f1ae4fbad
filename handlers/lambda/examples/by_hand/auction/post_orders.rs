//! `POST /orders`: checks the whole batch, then stores each order.

use crate::shared::{Answer, Item, Request, Table, config, metric, now, serve, variable};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::auction::{BODY_BYTES_MAX, NewOrder, Order, orders},
};
use serde::Serialize;
use serde_json::json;

/// What became of an order of a batch.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Stored,
    Unchanged,
    Conflict,
}

#[derive(Serialize)]
struct Row<'a> {
    record_id: &'a str,
    outcome: Outcome,
}

pub async fn run() -> Result<(), Error> {
    let table = Table::new(&config().await, "TABLE_NAME", "key")?;
    let shards = variable("OPEN_SHARDS")?.parse()?;
    serve(async |request| post(&table, shards, request).await).await
}

async fn post(table: &Table, shards: u64, request: Request) -> Result<Answer, Failure> {
    let orders = match request.read("orders", BODY_BYTES_MAX, orders)? {
        Ok(orders) => orders,
        Err(refused) => return Ok(refused),
    };
    let outcomes = take(table, shards, &orders).await?;
    let rows: Vec<Row<'_>> = orders
        .iter()
        .zip(outcomes)
        .map(|(order, outcome)| Row { record_id: &order.record_id, outcome })
        .collect();
    if rows.iter().any(|row| row.outcome == Outcome::Conflict) {
        let detail = "a record_id marked `conflict` is there with other content and was not changed; the others are stored";
        return Answer::problem_with(409, "conflict", detail, json!({ "results": rows }));
    }
    Answer::json(202, &json!({ "results": rows }))
}

async fn take(table: &Table, shards: u64, new: &[NewOrder]) -> Result<Vec<Outcome>, Failure> {
    let now = now();
    let order = |new: &NewOrder| {
        let order = Order::receive(new.clone(), now).spread_over(shards);
        (Item::new(order), "received".to_owned(), Vec::new())
    };
    let applied = table.put_all(new.iter().map(order).collect()).await?;
    metric("OrdersReceived", "Count", applied.iter().filter(|applied| **applied).count() as f64);
    let mut outcomes = vec![Outcome::Stored; new.len()];
    let there: Vec<usize> = (0..new.len()).filter(|at| !applied[*at]).collect();
    let ids: Vec<&String> = there.iter().map(|at| &new[*at].record_id).collect();
    for (at, existing) in there.into_iter().zip(table.get_all::<Order>(&ids).await?) {
        outcomes[at] = match existing {
            Some(existing) if existing.same_content(&new[at]) => Outcome::Unchanged,
            Some(_) => Outcome::Conflict,
            None => {
                let detail = "an order with this record_id expired just now";
                return Err(Failure::transient("expired_meanwhile", detail));
            }
        };
    }
    Ok(outcomes)
}
