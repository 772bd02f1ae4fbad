//! Orders as they are taken, told of and cancelled: by HTTP, and by who invokes the functions directly.

use super::metrics::{ORDERS_CANCELLED, ORDERS_CREATED};
use quadrille::{
    Change, Committed, Context, Failure, Stored, Timestamp,
    decimal::Decimal,
    domain::snacks::{BODY_BYTES_MAX, Order, OrderStatus, new_order, order_id},
    http::{Problem, Request, Response},
    input::read_request,
};
use serde::{Deserialize, Serialize};

/// "There is a new order", as the bus tells it: not who ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// The order.
    pub order_id: String,
    /// What it costs.
    pub total_amount: Decimal,
    /// When it was taken.
    pub created_at: Timestamp,
}
quadrille::event!(OrderCreated: "Order Created", to Order by order_id);

/// An order as its sender is told of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    order_id: &'a str,
    status: OrderStatus,
    created_at: Timestamp,
    outcome: &'static str,
}

impl<'a> Receipt<'a> {
    fn of(order: &'a Order, outcome: &'static str) -> Self {
        Self { order_id: &order.order_id, status: order.status, created_at: order.created_at, outcome }
    }
}

/// `POST /orders`: checks the order and stores it. Its id follows from the idempotency key, the header `Idempotency-Key` or
/// the field `idempotencyKey`; without one it is a new order each time. `201` for a new order, `200` where it is there already,
/// `409` where another one has the key, `400` with every fault.
///
/// # Errors
/// A [`Failure`] of the table: answered with 503, and safe to send again under its key.
pub async fn create_order(request: Request, cx: Context<(OrderCreated,)>) -> Result<Response, Failure> {
    let order = request
        .idempotency_key()
        .and_then(|key| Ok((key, read_request(&request, "order", BODY_BYTES_MAX, new_order)?)));
    let (key, new) = match order {
        Ok(order) => order,
        Err(problem) => return Ok(problem.into()),
    };
    let id = match key.or(new.idempotency_key.as_deref()) {
        Some(key) => order_id(key),
        None => order_id(&cx.random().id()),
    };
    let order = Order::take(id, new.clone(), cx.now());
    let created = OrderCreated {
        order_id: order.order_id.clone(),
        total_amount: order.total_amount.clone(),
        created_at: order.created_at,
    };
    let commit = Stored::new(order.clone()).commit("created").emit(created).measure(ORDERS_CREATED, 1.0);
    if cx.commit(commit).await? == Committed::Applied {
        return Ok(Response::json(201, &Receipt::of(&order, "created")));
    }
    let there = cx.get_one::<Order>(&order.order_id).await?;
    Ok(match there {
        Some(there) if there.same_content(&new) => Response::json(200, &Receipt::of(&there, "unchanged")),
        _ => {
            let detail = "another order has this idempotency key, and was not changed; use another key";
            let problem = Problem::new(409, "conflict", detail).with("outcome", "conflict");
            problem.with("orderId", &order.order_id).into()
        }
    })
}

fn no_such_order() -> Response {
    Problem::new(404, "no_such_order", "no order has this id").into()
}

/// `GET /orders/{orderId}`: the order with its trail, or 404.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn get_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let found = cx.get_one::<Order>(request.parameter("orderId")).await?;
    Ok(found.map_or_else(no_such_order, |order| Response::json(200, &order.told())))
}

/// `POST /orders/{orderId}/cancel`: cancels an order that the kitchen has not made. Of this and the processing, which may go on
/// at the same time, the first commit wins. `200` once it is cancelled, also where it was before, `409` where it is processed,
/// `404` where there is none.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn cancel_order(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let now = cx.now();
    let cancel = |_, order: Result<Option<Stored<Order>>, Failure>| match order {
        Err(failure) => Change::Keep(Err(failure)),
        Ok(None) => Change::Keep(Ok(no_such_order())),
        Ok(Some(order)) if order.status == OrderStatus::Processed => {
            let detail = "the order is processed, and can't be cancelled any more";
            let problem = Problem::new(409, "already_processed", detail);
            Change::Keep(Ok(problem.with("processedAt", order.processed_at).into()))
        }
        Ok(Some(order)) if order.status == OrderStatus::Cancelled => {
            Change::Keep(Ok(Response::json(200, &Receipt::of(&order, "unchanged"))))
        }
        Ok(Some(mut order)) => {
            order.cancel(now);
            let answer = Response::json(200, &Receipt::of(&order, "cancelled"));
            Change::Commit(order.commit("cancelled").measure(ORDERS_CANCELLED, 1.0), Ok(answer))
        }
    };
    cx.change_one(request.parameter("orderId"), cancel).await?
}
