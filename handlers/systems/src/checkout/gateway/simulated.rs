//! The gateway where there is none: its decisions are a function of a seed.

use super::{Answer, Charge, PaymentGateway, Receipt, Voided};
use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use quadrille::{
    Failure, Timestamp, Wire,
    decimal::Decimal,
    percent::ALL_BUT_UNRESERVED,
    port::{Bucket, Clock, stable_hash},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};

/// What the keys of charges begin with.
pub const CHARGES: &str = "charges/";

/// What the keys of refunds begin with.
pub const REFUNDS: &str = "refunds/";

/// Who it says that it is.
const PROVIDER: &str = "simulated";

/// A gateway that decides by seed and order, so that one order is decided alike in every process and on every machine. Nine of
/// ten are charged.
///
/// It remembers in a bucket and nowhere else: what became of a charge is one object, written once by whoever comes first, a
/// charge or its void. So it charges nobody twice, and nothing that was voided, whatever crashes.
#[derive(Clone)]
pub struct SimulatedGateway {
    /// What it remembers.
    pub bucket: Arc<dyn Bucket>,
    /// The time of what it decides.
    pub clock: Arc<dyn Clock>,
    /// What it decides by.
    pub seed: u64,
    /// How long it takes to decide: until then a charge is pending.
    pub delay: Duration,
    /// Of 100 charges, how many it never answers.
    pub outages: u64,
    /// How it is asked.
    pub wire: Wire,
}

impl fmt::Debug for SimulatedGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedGateway").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// What the gateway decides of an order's charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is charged.
    Succeeded,
    /// It is declined.
    Declined,
    /// It was voided before it was charged.
    Voided,
}

/// What `seed` decides of an order: nine of ten are charged.
pub fn fate(seed: u64, order_id: &str) -> Fate {
    if drawn(seed, "fate", order_id).is_multiple_of(10) { Fate::Declined } else { Fate::Succeeded }
}

/// A number drawn for an order and a matter, of bits that no other matter has.
fn drawn(seed: u64, matter: &str, order_id: &str) -> u64 {
    stable_hash([&seed.to_le_bytes(), matter.as_bytes(), order_id.as_bytes()].concat().as_slice()) >> 8
}

/// What is remembered of a charge.
#[derive(Serialize, Deserialize)]
struct Record {
    fate: Fate,
    transaction_id: String,
    processed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<Decimal>,
}

impl Record {
    fn receipt(self, message: &str) -> Receipt {
        Receipt {
            transaction_id: Some(self.transaction_id),
            processed_at: Some(self.processed_at),
            provider: PROVIDER.to_owned(),
            message: Some(message.to_owned()),
        }
    }
}

impl SimulatedGateway {
    /// Remembers a fate under a key, unless there is one: answers the first.
    async fn remembered(&self, key: &str, fate: Fate, amount: Option<&Decimal>) -> Result<Record, Failure> {
        let object = format!("{CHARGES}{}.json", utf8_percent_encode(key, ALL_BUT_UNRESERVED));
        let record = Record {
            fate,
            transaction_id: format!("sim-{:016x}", stable_hash(key.as_bytes())),
            processed_at: self.clock.now(),
            amount: amount.cloned(),
        };
        let body = serde_json::to_vec(&record).map_err(|error| Failure::permanent("unwritable", error))?;
        if self.bucket.put_if_absent(&object, body).await? {
            return Ok(record);
        }
        let body = self.bucket.get(&object).await?.unwrap_or_default();
        serde_json::from_slice(&body).map_err(|error| Failure::transient("gateway_garbage", error))
    }
}

#[async_trait]
impl PaymentGateway for SimulatedGateway {
    async fn charge(&self, charge: &Charge, asks: u32) -> Result<Answer, Failure> {
        let what = format!("charge {} {}", charge.key, charge.amount);
        self.wire.call(what, self.charged(charge, asks)).await
    }

    async fn void(&self, key: &str) -> Result<Voided, Failure> {
        self.wire.call(format!("void {key}"), self.voided(key)).await
    }
}

impl SimulatedGateway {
    async fn charged(&self, charge: &Charge, asks: u32) -> Result<Answer, Failure> {
        let order_id = &charge.order_id;
        if drawn(self.seed, "outage", order_id) % 100 < self.outages {
            return Err(Failure::transient(
                "gateway_unreachable",
                "the simulated gateway is out for this order",
            ));
        }
        // It may take its time again.
        if (asks == 0 || self.wire.is_fickle()) && !self.delay.is_zero() {
            return Ok(Answer::Pending(self.delay));
        }
        let record = self.remembered(&charge.key, fate(self.seed, order_id), Some(&charge.amount)).await?;
        Ok(match record.fate {
            Fate::Succeeded => Answer::Succeeded(record.receipt("charged")),
            Fate::Declined => Answer::Declined(record.receipt("declined by the issuer")),
            Fate::Voided => Answer::Declined(record.receipt("voided before it was charged")),
        })
    }

    async fn voided(&self, key: &str) -> Result<Voided, Failure> {
        let record = self.remembered(key, Fate::Voided, None).await?;
        if record.fate != Fate::Succeeded {
            return Ok(Voided::Nothing(record.receipt("nothing was charged")));
        }
        let object = format!("{REFUNDS}{}.json", utf8_percent_encode(key, ALL_BUT_UNRESERVED));
        let body = serde_json::to_vec(&record).map_err(|error| Failure::permanent("unwritable", error))?;
        // Once: whoever comes second finds it there.
        self.bucket.put_if_absent(&object, body).await?;
        Ok(Voided::Refunded(record.receipt("paid back")))
    }
}

/// Whether what is remembered of a charge says that somebody was charged.
///
/// # Errors
/// A permanent [`Failure`] where it can't be read.
pub fn is_charge(object: &[u8]) -> Result<bool, Failure> {
    let record: Result<Record, _> = serde_json::from_slice(object);
    record
        .map(|record| record.fate == Fate::Succeeded)
        .map_err(|error| Failure::permanent("gateway_garbage", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_are_charged_and_another_seed_decides_otherwise() {
        let fates = |seed| (0..10_000).map(move |n| fate(seed, &format!("order-{n}"))).collect::<Vec<_>>();
        let declined = fates(1).iter().filter(|fate| **fate == Fate::Declined).count();
        assert!((900..1_100).contains(&declined), "{declined}");
        assert_ne!(fates(1), fates(2));
    }
}
