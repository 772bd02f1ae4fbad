//! The port to the payment gateway: charge an order, undo a charge.

mod http;
mod service;
mod simulated;

pub use http::{ANSWER_BYTES_MAX, HttpGateway};
pub use service::{
    GATEWAY, GATEWAY_DELAY, GATEWAY_OUTAGES, GATEWAY_TIMEOUT, GATEWAY_TOKEN, PAYMENTS_BUCKET, SEED,
    SIMULATED, service, settings,
};
pub use simulated::{CHARGES, Fate, REFUNDS, SimulatedGateway, fate, is_charge};

use async_trait::async_trait;
use quadrille::{Failure, Timestamp, decimal::Decimal};
use serde::Serialize;
use std::time::Duration;

/// The outside gateway that payments are made through. Every call may be repeated, and is, after a crash or a lost answer.
#[async_trait]
pub trait PaymentGateway: Send + Sync {
    /// Charges an order. Idempotent by its key: asked again, the gateway charges no second time and answers as before. `asks`
    /// counts the asks before this one that were answered with [`Answer::Pending`].
    ///
    /// # Errors
    /// A transient [`Failure`] where the gateway can't be reached, is busy or fails: it may have charged all the same. A
    /// permanent one where it refuses the request.
    async fn charge(&self, charge: &Charge, asks: u32) -> Result<Answer, Failure>;

    /// Undoes whatever became of the charge under this key, and keeps one that comes later from being made: a charge that is
    /// under way when this is asked charges nothing, or is paid back.
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    async fn void(&self, key: &str) -> Result<Voided, Failure>;
}

/// What the gateway is to charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    /// What the charge is known by, always the same for an order.
    #[serde(skip)]
    pub key: String,
    /// The order.
    pub order_id: String,
    /// Who pays.
    pub user_id: String,
    /// How much, exactly.
    pub amount: Decimal,
}

/// What the gateway says of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not decided: ask again after that long.
    Pending(Duration),
    /// Charged.
    Succeeded(Receipt),
    /// Not charged, and it never will be under this key.
    Declined(Receipt),
}

/// What the gateway tells of a charge that it decided, or undid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its name for the charge.
    pub transaction_id: Option<String>,
    /// When it decided; none where it does not say.
    pub processed_at: Option<Timestamp>,
    /// Who it is.
    pub provider: String,
    /// What it says to people.
    pub message: Option<String>,
}

/// What undoing a charge came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voided {
    /// Nothing was charged.
    Nothing(Receipt),
    /// What was charged is paid back.
    Refunded(Receipt),
}
