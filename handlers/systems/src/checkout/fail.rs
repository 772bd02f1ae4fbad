//! Failure: whatever gave an order up, it ends here, and what was done for it is undone.

use super::{
    events::{OrderEnded, OrderFailing, OrderReceived, PaymentDue, PaymentVoid, StockReturn},
    metrics::{ORDERS_FAILED, TAKEN_IN_TO_ENDED},
    pay::{PAYMENT_DECLINED, pending},
    validate::VALIDATION_FAILED,
};
use quadrille::{
    Context, Failure, Handled, Outcome, RECEIVES_EXHAUSTED, Stored,
    domain::checkout::{ErrorReason, OUT_OF_STOCK, Order, OrderStatus, PaymentStatus},
    metrics::millis,
    planted,
};

type Emits = (OrderEnded, StockReturn, PaymentVoid);

/// What follows where validation is given up.
pub fn not_validated(event: &OrderReceived, failure: &Failure) -> OrderFailing {
    let error_reason = match failure.reason() {
        VALIDATION_FAILED => ErrorReason::ValidationFailed,
        OUT_OF_STOCK => ErrorReason::OutOfStock,
        _ => ErrorReason::ValidationUnavailable,
    };
    failing(&event.order_id, error_reason, failure)
}

/// What follows where payment is given up.
pub fn not_paid(event: &PaymentDue, failure: &Failure) -> OrderFailing {
    let error_reason = match failure.reason() {
        PAYMENT_DECLINED => ErrorReason::PaymentFailed,
        _ => ErrorReason::PaymentUnavailable,
    };
    failing(&event.order_id, error_reason, failure)
}

fn failing(order_id: &str, error_reason: ErrorReason, failure: &Failure) -> OrderFailing {
    OrderFailing { order_id: order_id.to_owned(), error_reason, cause: failure.reason().to_owned() }
}

/// Decides that an order has failed. From then on nothing can complete it, and only then is anything given back.
///
/// # Errors
/// Transient failures of the table.
pub async fn fail_order(mut order: Stored<Order>, event: OrderFailing, cx: Context<Emits>) -> Outcome<Emits> {
    if order.order_status != event.error_reason.fails() {
        // It went on by another message, or has failed already.
        return Ok(Handled::already("past that"));
    }
    let (now, order_id) = (cx.now(), event.order_id);
    let may_be_charged =
        event.error_reason == ErrorReason::PaymentUnavailable && !planted("refund_forgotten");
    order.order_status = OrderStatus::Failed;
    order.error_reason = Some(event.error_reason);
    order.error_cause = Some(event.cause);
    order.updated_at = now;
    if may_be_charged {
        order.payment_result = Some(pending(PaymentStatus::Voiding, now));
    }
    let (ended, took) = (OrderEnded::of(&order), millis(order.created_at, now));
    let is_forgotten = planted("compensation_forgotten_on_crash")
        && order.error_cause.as_deref() == Some(RECEIVES_EXHAUSTED);
    let may_hold = !order.items.is_empty() && !is_forgotten;
    let mut commit = order.commit("failed").emit(ended);
    if may_hold {
        commit = commit.emit(StockReturn { order_id: order_id.clone() });
    }
    if may_be_charged {
        commit = commit.emit(PaymentVoid { order_id });
    }
    Ok(commit.measure(ORDERS_FAILED, 1.0).measure(TAKEN_IN_TO_ENDED, took).into())
}
