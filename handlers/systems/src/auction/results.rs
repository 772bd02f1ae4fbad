//! Results: Lambda B, `store_result`, files accepted orders and fails the others into the dead-letter queue.

use super::{
    RESULT_PREFIXES,
    metrics::{ORDERS_STORED, RECEIVED_TO_STORED},
};
use quadrille::{
    Context, Event, Failure, Handled, Outcome, Stored, Timestamp,
    decimal::Decimal,
    domain::auction::{Order, OrderResult, OrderStatus, result_key},
    metrics::millis,
    planted,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The bucket that accepted orders are filed in.
pub const RESULTS_BUCKET: &str = "order-results";

/// "This order is decided", or why it can't be. Carries all that is needed to finish: it may be redriven when the order
/// itself is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderDecided {
    /// The order.
    pub record_id: String,
    /// The run.
    pub run_id: String,
    /// The decision; none where there is a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Decided>,
    /// The machine name of what is wrong with the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Cow<'static, str>>,
    /// A sentence about the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A decision with what is filed of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// Accepted or rejected.
    pub status: OrderStatus,
    /// What the auction gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Decimal>,
    /// As it was sent.
    pub parameter_1: String,
    /// As it was sent.
    pub parameter_2: Decimal,
    /// When.
    pub decided_at: Timestamp,
}

impl Event for OrderDecided {
    const TYPE: &'static str = "auction.order.decided";
    type Entity = Order;
    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.record_id)
    }
}

impl OrderDecided {
    /// What is told of an order that was just decided, or found undecidable.
    pub fn of(order: &Order, run_id: &str) -> Self {
        let result = order.result().map(|result| Decided {
            status: result.status,
            power: result.power.cloned(),
            parameter_1: result.parameter_1.to_owned(),
            parameter_2: result.parameter_2.clone(),
            decided_at: result.decided_at,
        });
        let (record_id, run_id) = (order.record_id.clone(), run_id.to_owned());
        let wrote = order.platform_status.as_ref();
        let detail = wrote.map(|status| format!("the platform wrote the status {status:?} in run {run_id}"));
        Self { record_id, run_id, result, fault: order.undecidable.clone(), detail }
    }

    /// A decision that fits no order of the run.
    pub fn fault(run_id: &str, record_id: &str, fault: &'static str) -> Self {
        let (record_id, run_id) = (record_id.to_owned(), run_id.to_owned());
        Self { record_id, run_id, result: None, fault: Some(Cow::Borrowed(fault)), detail: None }
    }

    /// A decision that could not be read.
    pub fn broken(run_id: &str, detail: String) -> Self {
        Self { detail: Some(detail), ..Self::fault(run_id, "", "broken_decision") }
    }
}

/// The reason of an order that the platform rejected: an end of business.
pub const REJECTED: &str = "rejected";

/// Lambda B. Accepted: the order is filed, once. Anything else is a permanent failure: `rejected`, `unknown_status`,
/// `decision_missing`, `unknown_order`, `conflicting_decision`, `broken_decision`.
///
/// # Errors
/// Those, and transient failures of table and bucket.
pub async fn store_result(order: Option<Stored<Order>>, event: OrderDecided, cx: Context<()>) -> Outcome<()> {
    if let Some(fault) = event.fault {
        let detail =
            event.detail.unwrap_or_else(|| format!("the decision of run {} fits no rule", event.run_id));
        return Err(Failure::permanent(fault, detail));
    }
    let Some(decided) = event.result else {
        return Err(Failure::permanent("decision_missing", "the event holds no decision"));
    };
    match decided.status {
        OrderStatus::Accepted => {}
        OrderStatus::Rejected => {
            return Err(Failure::permanent(
                REJECTED,
                format_args!("run {} rejected the order", event.run_id),
            ));
        }
        other => {
            return Err(Failure::permanent(
                "unknown_status",
                format_args!("an order is not filed as {other}"),
            ));
        }
    }
    if order.as_ref().is_some_and(|order| order.result_key.is_some()) {
        return Ok(Handled::already("already filed"));
    }
    let result = OrderResult {
        record_id: &event.record_id,
        status: decided.status,
        power: decided.power.as_ref(),
        parameter_1: &decided.parameter_1,
        parameter_2: &decided.parameter_2,
        run_id: &event.run_id,
        decided_at: if planted("object_from_clock") { cx.now() } else { decided.decided_at },
    };
    let body = serde_json::to_vec(&result).map_err(|error| Failure::permanent("unwritable", error))?;
    let dated = if planted("object_key_from_clock") { cx.now() } else { decided.decided_at };
    let key = result_key(&event.record_id, dated, cx.setting(RESULT_PREFIXES)?);
    // The key is a function of the decision: whoever comes second finds the same object there.
    cx.bucket(RESULTS_BUCKET)?.put_if_absent(&key, body).await?;
    let Some(mut order) = order else {
        return Ok(Handled::already("filed; the order itself has expired"));
    };
    order.result_key = Some(key);
    let took = millis(order.received_at, cx.now());
    Ok(order.commit("stored").measure(ORDERS_STORED, 1.0).measure(RECEIVED_TO_STORED, took).into())
}
