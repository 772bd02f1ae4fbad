//! The HTTP side: orders are taken and told of.

use super::{
    OPEN_SHARDS,
    metrics::{ORDERS_RECEIVED, ORDERS_WITHDRAWN},
};
use quadrille::{
    Change, Committed, Context, Failure, Stored,
    domain::auction::{BODY_BYTES_MAX, NewOrder, Order, OrderStatus, orders},
    http::{Problem, Request, Response},
    input::read_request,
};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// What became of an order of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RowOutcome {
    /// It is stored now.
    Stored,
    /// It was there, with the same content.
    Unchanged,
    /// It was there, with other content, or with one that can't be read any longer. That stays.
    Conflict,
}

#[derive(Serialize)]
struct Row<'a> {
    record_id: &'a str,
    outcome: RowOutcome,
}

/// `POST /orders`: checks the whole batch, then stores each order. `202` with one row an order; `409` where a `record_id`
/// is there with other content (the other orders are stored); `400` with every fault, nothing stored; `415` for anything
/// but JSON.
///
/// # Errors
/// A [`Failure`] of the table: answered with 503, and safe to send again.
pub async fn post_orders(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let orders = match read_request(&request, "orders", BODY_BYTES_MAX, orders) {
        Ok(orders) => orders,
        Err(problem) => return Ok(problem.into()),
    };
    let outcomes = take(&orders, &cx).await?;
    let ids = orders.iter().map(|order| order.record_id.as_str());
    let rows: Vec<Row<'_>> =
        ids.zip(outcomes).map(|(record_id, outcome)| Row { record_id, outcome }).collect();
    if rows.iter().any(|row| row.outcome == RowOutcome::Conflict) {
        let detail = "a record_id marked `conflict` is there with other content, or can't be read any longer, and was not changed; \
                      the others are stored";
        return Ok(Problem::new(409, "conflict", detail).with("results", rows).into());
    }
    Ok(Response::json(202, &BTreeMap::from([("results", rows)])))
}

/// Stores orders.
async fn take(orders: &[NewOrder], cx: &Context<()>) -> Result<Vec<RowOutcome>, Failure> {
    let (now, shards) = (cx.now(), cx.setting(OPEN_SHARDS)?);
    let commits = orders.iter().map(|new| {
        let order = Order::receive(new.clone(), now).spread_over(shards);
        let order = Stored::new(order).with_correlation_id(cx.random().id());
        order.commit("received").measure(ORDERS_RECEIVED, 1.0)
    });
    let committed = cx.commit_all(commits.collect()).await?;
    let mut outcomes = vec![RowOutcome::Stored; orders.len()];
    let there: Vec<usize> = (0..orders.len()).filter(|at| committed[*at] == Committed::Conflict).collect();
    let ids: Vec<&String> = there.iter().map(|at| &orders[*at].record_id).collect();
    for (at, existing) in there.into_iter().zip(cx.get_each::<Order>(&ids).await?) {
        outcomes[at] = match existing {
            Ok(Some(existing)) if existing.same_content(&orders[at]) => RowOutcome::Unchanged,
            Ok(Some(_)) | Err(_) => RowOutcome::Conflict,
            Ok(None) => {
                let detail = "an order with this record_id expired just now";
                return Err(Failure::transient("expired_meanwhile", detail));
            }
        };
    }
    Ok(outcomes)
}

/// `GET /orders/{record_id}`: the order with its trail, or 404.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn get_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let found = cx.get_one::<Order>(request.parameter("record_id")).await?;
    Ok(found.map_or_else(no_such_order, |order| Response::json(200, &order.told())))
}

/// `POST /orders/{record_id}/withdrawal`: withdraws an order that no run has taken. Of this and of a run, which may take it at
/// the same time, the first commit wins. `200` once it is withdrawn, also where it was before; `409` where a run has it, or
/// has decided it; `404` where there is none.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn withdraw_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let withdraw = |_, order: Result<Option<Stored<Order>>, Failure>| match order {
        Err(failure) => Change::Keep(Err(failure)),
        Ok(None) => Change::Keep(Ok(no_such_order())),
        Ok(Some(mut order)) if order.status == OrderStatus::Received => {
            order.status = OrderStatus::Withdrawn;
            let answer = withdrawn(&order, "withdrawn");
            Change::Commit(order.commit("withdrawn").measure(ORDERS_WITHDRAWN, 1.0), Ok(answer))
        }
        Ok(Some(order)) if order.status == OrderStatus::Withdrawn => {
            Change::Keep(Ok(withdrawn(&order, "unchanged")))
        }
        Ok(Some(order)) => {
            let detail = "a run has taken the order, and it can't be withdrawn any more";
            let problem = Problem::new(409, "taken_by_run", detail);
            Change::Keep(Ok(problem.with("status", order.status).with("run_id", &order.run_id).into()))
        }
    };
    cx.change_one(request.parameter("record_id"), withdraw).await?
}

/// What became of an order that was to be withdrawn.
fn withdrawn(order: &Order, outcome: &str) -> Response {
    let told = json!({ "record_id": order.record_id, "status": order.status, "outcome": outcome });
    Response::json(200, &told)
}

fn no_such_order() -> Response {
    Problem::new(404, "no_such_order", "no order has this record_id, or it has expired").into()
}
