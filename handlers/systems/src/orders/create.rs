//! The HTTP side, which is also invoked directly: orders are taken and told of.

use super::{TTL_DAYS, metrics::ORDERS_CREATED};
use quadrille::{
    Committed, Context, Failure, Stored,
    domain::orders::{BODY_BYTES_MAX, Order, OrderStatus, new_order},
    http::{Problem, Request, Response},
    input::read_request,
};
use serde::{Deserialize, Serialize};

/// "This order was taken": it is to be processed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: String,
}
quadrille::event!(OrderCreated: "orders.order.created", to Order by order_id);

#[derive(Serialize)]
struct Taken<'a> {
    order_id: &'a str,
    status: OrderStatus,
    outcome: &'static str,
}

/// `POST /orders`: `201` where the order is stored, `200` where it was there with the same content, `409` where another order
/// has its id; `400` with every fault, `415` for anything but JSON.
///
/// # Errors
/// A [`Failure`] of the table: answered with 503, and safe to send again.
pub async fn create_order(request: Request, cx: Context<(OrderCreated,)>) -> Result<Response, Failure> {
    let read = read_request(&request, "order", BODY_BYTES_MAX, new_order);
    let (new, key) = match read.and_then(|new| Ok((new, request.idempotency_key()?))) {
        Ok(read) => read,
        Err(problem) => return Ok(problem.into()),
    };
    let Some(order_id) = new.id(key) else {
        let detail =
            "give an order_id or an idempotency_key, so that an order that is sent again is the same order";
        return Ok(Problem::new(400, "unnamed_order", detail).into());
    };
    let days = u32::try_from(cx.setting::<u64>(TTL_DAYS)?).unwrap_or(u32::MAX);
    let order = Stored::new(Order::take(order_id.clone(), new.clone(), cx.now(), days));
    let event = OrderCreated { order_id: order_id.clone() };
    let commit = order.commit("created").measure(ORDERS_CREATED, 1.0).emit(event);
    let taken = |status, outcome| Taken { order_id: &order_id, status, outcome };
    if cx.commit(commit).await? == Committed::Applied {
        return Ok(Response::json(201, &taken(OrderStatus::New, "created")));
    }
    match cx.get_one::<Order>(&order_id).await? {
        Some(there) if there.same_content(&new) => Ok(Response::json(200, &taken(there.status, "unchanged"))),
        Some(_) => {
            let detail = "an order with this id is there with other content, and was not changed";
            Ok(Problem::new(409, "conflict", detail).into())
        }
        None => Err(Failure::transient("expired_meanwhile", "an order with this id expired just now")),
    }
}

/// `GET /orders/{order_id}`: the order with its trail, or 404.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn get_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    Ok(match cx.get_one::<Order>(request.parameter("order_id")).await? {
        Some(order) => Response::json(200, &order.told()),
        None => Problem::new(404, "no_such_order", "no order has this id, or it has expired").into(),
    })
}
