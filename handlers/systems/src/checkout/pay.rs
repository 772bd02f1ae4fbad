//! Payment: an order is charged once, and completed with that; or its charge is undone.

use super::{
    events::{OrderEnded, PaymentDue, PaymentVoid},
    gateway::{Answer, Charge, PaymentGateway, Receipt, Voided},
    metrics::{ORDERS_COMPLETED, PAYMENTS_DECLINED, PAYMENTS_REFUNDED, TAKEN_IN_TO_ENDED},
};
use quadrille::{
    Committed, Context, Failure, Handled, Outcome, Stored, Timestamp,
    domain::checkout::{Order, OrderStatus, PaymentResult, PaymentStatus},
    metrics::millis,
    planted,
};

type Emits = (PaymentDue, OrderEnded);

/// The reason of the failure for an order whose payment was declined.
pub const PAYMENT_DECLINED: &str = "payment_declined";

/// The provider of a payment that no gateway has told of yet.
const NOBODY_YET: &str = "gateway";

/// Charges an order, and completes it with the same commit. So there is no time at which somebody has paid for an order that
/// can still fail without its payment being undone.
///
/// # Errors
/// [`PAYMENT_DECLINED`], an end like any other; the failures of the gateway and the table.
pub async fn process_payment(
    mut order: Stored<Order>,
    event: PaymentDue,
    cx: Context<Emits>,
) -> Outcome<Emits> {
    if order.order_status != OrderStatus::Validated || event.asks < order.payment_asks {
        return Ok(Handled::already("asked again, or decided"));
    }
    if status(&order) == Some(PaymentStatus::Declined) {
        return Err(declined());
    }
    let mut charge = charge(&order)?;
    if planted("payment_without_key") {
        charge.key = format!("{}@{}", order.order_id, cx.now().as_millis());
    }
    let answer = cx.service::<dyn PaymentGateway>()?.charge(&charge, order.payment_asks).await?;
    let now = cx.now();
    order.updated_at = now;
    match answer {
        Answer::Pending(after) => {
            order.payment_asks += 1;
            order.payment_result = Some(pending(PaymentStatus::Pending, now));
            let again = PaymentDue { order_id: event.order_id, asks: order.payment_asks };
            Ok(order.commit("the payment is pending").emit_after(after, again).into())
        }
        Answer::Succeeded(receipt) => {
            order.order_status = OrderStatus::Completed;
            order.payment_transaction_id.clone_from(&receipt.transaction_id);
            order.payment_result = Some(decided(PaymentStatus::Succeeded, receipt, now));
            let (ended, took) = (OrderEnded::of(&order), millis(order.created_at, now));
            let commit = order.commit("paid, completed").emit(ended);
            Ok(commit.measure(ORDERS_COMPLETED, 1.0).measure(TAKEN_IN_TO_ENDED, took).into())
        }
        // Recorded, then failed: who gives it up is told of the reason, and its users of all that the gateway said.
        Answer::Declined(receipt) => {
            order.payment_result = Some(decided(PaymentStatus::Declined, receipt, now));
            let commit = order.commit("the payment was declined").measure(PAYMENTS_DECLINED, 1.0);
            match cx.commit(commit).await? {
                Committed::Applied => Err(declined()),
                Committed::Conflict => Err(Failure::transient("conflict", "the order changed meanwhile")),
            }
        }
    }
}

fn declined() -> Failure {
    Failure::permanent(PAYMENT_DECLINED, "the gateway declined the payment")
}

fn status(order: &Order) -> Option<PaymentStatus> {
    order.payment_result.as_ref().map(|result| result.status)
}

/// What an order's payment is known by: always the same for it, and another for a later order of its id.
pub fn payment_key(order: &Order) -> String {
    format!("{}@{}", order.order_id, order.created_at.as_millis())
}

fn charge(order: &Order) -> Result<Charge, Failure> {
    let (Some(user_id), Some(amount)) = (order.user_id.clone(), order.total_amount.clone()) else {
        // Such an order is found invalid before.
        return Err(Failure::permanent("nothing_to_charge", "the order has no user or no total"));
    };
    Ok(Charge { key: payment_key(order), order_id: order.order_id.clone(), user_id, amount })
}

/// A result that the gateway has not told of.
pub(super) fn pending(status: PaymentStatus, now: Timestamp) -> PaymentResult {
    PaymentResult {
        status,
        transaction_id: None,
        processed_at: now,
        provider: NOBODY_YET.to_owned(),
        message: None,
    }
}

fn decided(status: PaymentStatus, receipt: Receipt, now: Timestamp) -> PaymentResult {
    PaymentResult {
        status,
        transaction_id: receipt.transaction_id,
        processed_at: receipt.processed_at.unwrap_or(now),
        provider: receipt.provider,
        message: receipt.message,
    }
}

/// Undoes whatever became of the charge of an order that failed before the gateway had decided, or was heard.
///
/// # Errors
/// The failures of the gateway and the table.
pub async fn void_payment(mut order: Stored<Order>, _: PaymentVoid, cx: Context<()>) -> Outcome<()> {
    if status(&order) != Some(PaymentStatus::Voiding) {
        return Ok(Handled::already("voided"));
    }
    let voided = cx.service::<dyn PaymentGateway>()?.void(&payment_key(&order)).await?;
    let now = cx.now();
    order.updated_at = now;
    Ok(match voided {
        Voided::Nothing(receipt) => {
            order.payment_result = Some(decided(PaymentStatus::Voided, receipt, now));
            order.commit("nothing was charged, and nothing will be").into()
        }
        Voided::Refunded(receipt) => {
            order.payment_result = Some(decided(PaymentStatus::Refunded, receipt, now));
            order.commit("what was charged is paid back").measure(PAYMENTS_REFUNDED, 1.0).into()
        }
    })
}
