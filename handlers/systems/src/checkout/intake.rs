//! Orders are taken in: by a queue that others write to, and over HTTP.

use super::{
    events::{OrderReceived, OrderSent},
    metrics::ORDERS_TAKEN_IN,
};
use quadrille::{
    Commit, Committed, Context, Failure, Handled, Outcome, Stored, Timestamp,
    domain::checkout::{BODY_BYTES_MAX, Order, Sent, order},
    http::{Problem, Request, Response},
    input::read_request,
};
use serde_json::json;

type Emits = (OrderReceived,);

/// The reason of the failure for a message that has no order in it.
pub const MALFORMED_ORDER: &str = "malformed_order";

/// The reason of the failure for an order whose id another order has.
pub const ORDER_EXISTS: &str = "order_exists";

/// The order of a message of the queue.
///
/// # Errors
/// A permanent [`MALFORMED_ORDER`] where it has no `orderId` to tell of it by.
pub fn decode(body: &str) -> Result<OrderSent, Failure> {
    let sent = Sent::read(body.as_bytes());
    // The first fault alone, and without its sentence: that may repeat what was sent.
    sent.map(|sent| OrderSent { sent }).map_err(|faults| {
        let first = faults.first().map(|fault| fault.code.as_ref()).unwrap_or_default();
        Failure::permanent(MALFORMED_ORDER, format_args!("{} faults, the first is {first}", faults.len()))
    })
}

/// Takes an order of the queue in.
///
/// # Errors
/// A permanent [`ORDER_EXISTS`] where its id has another content.
pub async fn receive_order(
    order: Option<Stored<Order>>,
    event: OrderSent,
    cx: Context<Emits>,
) -> Outcome<Emits> {
    match order {
        None => Ok(taken_in(event.sent, cx.now()).into()),
        Some(order) if order.same_content(&event.sent) => Ok(Handled::already("taken in")),
        Some(_) => Err(Failure::permanent(ORDER_EXISTS, "another order has this id, and it stays")),
    }
}

fn taken_in(sent: Sent, now: Timestamp) -> Commit<Emits> {
    let order_id = sent.order_id().to_owned();
    let commit = Stored::new(Order::receive(sent, now)).commit("taken in");
    commit.emit(OrderReceived { order_id }).measure(ORDERS_TAKEN_IN, 1.0)
}

/// `POST /orders`: takes an order in. `202` with its id and `outcome`, `stored` or `unchanged` (it was there with the same
/// content); `409` where its id has another content; `400` with every fault of its shape.
///
/// # Errors
/// A [`Failure`] of the table: answered with 503, and safe to send again.
pub async fn create_order(request: Request, cx: Context<Emits>) -> Result<Response, Failure> {
    let order = match read_request(&request, "order", BODY_BYTES_MAX, order) {
        Ok(order) => order,
        Err(problem) => return Ok(problem.into()),
    };
    let (order_id, sent) = (order.order_id.clone(), Sent::Order(order));
    let answer = |outcome| json!({ "orderId": order_id, "outcome": outcome });
    if cx.commit(taken_in(sent.clone(), cx.now())).await? == Committed::Applied {
        return Ok(Response::json(202, &answer("stored")));
    }
    let there = cx.get_one::<Order>(&order_id).await?;
    match there {
        Some(order) if order.same_content(&sent) => Ok(Response::json(202, &answer("unchanged"))),
        Some(_) => {
            let problem = Problem::new(409, ORDER_EXISTS, "another order has this id, and it stays");
            Ok(problem.with("orderId", order_id).with("outcome", "conflict").into())
        }
        None => Err(Failure::transient("conflict", "an order of this id was there, and is gone")),
    }
}

/// `GET /orders/{orderId}`: the order with its trail, or 404.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn get_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    match cx.get_one::<Order>(request.parameter("orderId")).await? {
        Some(order) => Ok(Response::json(200, &order.told())),
        None => Ok(Problem::new(404, "no_such_order", "no order has this id").into()),
    }
}
