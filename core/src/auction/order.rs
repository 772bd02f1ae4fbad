//! An order as it is kept, and the result that is filed of it.

use super::{NewOrder, Number};
use crate::{
    Entity, Timestamp,
    port::{IndexEntry, stable_hash},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time::Duration};

/// How long an order is kept: 24 h from when it was received.
pub const ORDER_TIME_TO_LIVE: Duration = Duration::from_secs(86_400);

/// Partitions that the open orders are spread over in the sparse index: a DynamoDB partition takes 1,000 writes a
/// second, so 8 of them take 8,000 orders a second.
pub const OPEN_SHARDS: u64 = 8;

/// The index partition of the open orders of `shard`.
pub fn open_partition(shard: u64) -> String {
    format!("open/{shard}")
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Stored, in no run.
    Received,
    /// Belongs to a run.
    Submitted,
    /// The auction took it.
    Accepted,
    /// The auction did not take it.
    Rejected,
}

impl OrderStatus {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Received, Self::Submitted, Self::Accepted, Self::Rejected];

    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Submitted => "submitted",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// Whether the auction has decided.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Accepted | Self::Rejected)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id, 1 to 256 bytes of UTF-8 without control characters. Data: never a path.
    pub record_id: String,
    /// Text, at most 1,024 bytes.
    pub parameter_1: String,
    /// A number, exactly as it was sent.
    pub parameter_2: Number,
    /// How far it has come.
    pub status: OrderStatus,
    /// When it was stored.
    pub received_at: Timestamp,
    /// From when on it is gone.
    pub expires_at: Timestamp,
    /// The run it belongs to, or last belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What the auction gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Number>,
    /// When the run learnt of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Why there is no decision though its run has ended: the platform named none, or one that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecidable: Option<Cow<'static, str>>,
    /// Where its result is filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_key: Option<String>,
}

impl Order {
    /// An order as it is received at `now`.
    pub fn receive(new: NewOrder, now: Timestamp) -> Self {
        Self {
            record_id: new.record_id,
            parameter_1: new.parameter_1,
            parameter_2: new.parameter_2,
            status: OrderStatus::Received,
            received_at: now,
            expires_at: now + ORDER_TIME_TO_LIVE,
            run_id: None,
            power: None,
            decided_at: None,
            undecidable: None,
            result_key: None,
        }
    }

    /// Whether its run is still to decide it.
    pub fn is_undecided(&self) -> bool {
        !self.status.is_decided() && self.undecidable.is_none()
    }

    /// Whether it was sent with the same content.
    pub fn same_content(&self, new: &NewOrder) -> bool {
        self.parameter_1 == new.parameter_1 && self.parameter_2 == new.parameter_2
    }

    /// What the open orders of a shard are sorted by: their time in milliseconds, 15 digits, then their id; at most 272 bytes.
    pub fn index_sort(&self) -> String {
        // Put together without the formatter: a POST writes one for each of its orders.
        const DIGITS: &str = "000000000000000";
        let millis = self.received_at.as_millis().to_string();
        [&DIGITS[millis.len().min(DIGITS.len())..], &millis, "/", &self.record_id].concat()
    }

    /// Its result, once it is decided.
    pub fn result(&self) -> Option<OrderResult<'_>> {
        Some(OrderResult {
            record_id: &self.record_id,
            status: self.status,
            power: self.power.as_ref(),
            parameter_1: &self.parameter_1,
            parameter_2: &self.parameter_2,
            run_id: self.run_id.as_deref()?,
            decided_at: self.decided_at.filter(|_| self.status.is_decided())?,
        })
    }
}

impl Entity for Order {
    const KIND: &'static str = "order";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.record_id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }

    /// Open orders stand in the index, from their first commit until a run takes them: one index write in, one out.
    fn index(&self) -> Option<IndexEntry> {
        (self.status == OrderStatus::Received).then(|| IndexEntry {
            partition: open_partition(stable_hash(self.record_id.as_bytes()) % OPEN_SHARDS),
            sort: self.index_sort(),
        })
    }
}

/// What is filed of a decided order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderResult<'a> {
    /// The order's id.
    pub record_id: &'a str,
    /// `accepted`, or `rejected`.
    pub status: OrderStatus,
    /// What the auction gave it; `null` where it said nothing.
    pub power: Option<&'a Number>,
    /// As it was sent.
    pub parameter_1: &'a str,
    /// As it was sent.
    pub parameter_2: &'a Number,
    /// The run that decided it.
    pub run_id: &'a str,
    /// When.
    pub decided_at: Timestamp,
}

/// What stays as it is in the key of a result: RFC 3986's unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The key a result is filed under: `orders/order_20261120T091500Z_<percent-encoded record_id>.json`, at most 805
/// bytes.
pub fn result_key(record_id: &str, decided_at: Timestamp) -> String {
    let record_id: Cow<'_, str> = utf8_percent_encode(record_id, UNRESERVED).into();
    ["orders/order_", &decided_at.to_compact(), "_", &record_id, ".json"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> Order {
        let new =
            NewOrder { record_id: id.into(), parameter_1: "abc".into(), parameter_2: Number::from(4_i64) };
        Order::receive(new, Timestamp::from_millis(1_000))
    }

    #[test]
    fn only_open_orders_stand_in_the_index() {
        let mut order = order("a");
        for status in OrderStatus::ALL {
            order.status = status;
            assert_eq!(order.index().is_some(), status == OrderStatus::Received, "{status}");
        }
    }

    #[test]
    fn a_key_can_not_become_a_path() {
        let at = Timestamp::parse("2026-11-20T09:15:00Z").unwrap();
        assert_eq!(result_key("../../x", at), "orders/order_20261120T091500Z_..%2F..%2Fx.json");
        assert_eq!(result_key(&"é".repeat(128), at).len(), "orders/order_20261120T091500Z_.json".len() + 768);
    }

    #[test]
    fn the_sort_key_orders_by_time() {
        let (early, mut late) = (order("z"), order("a"));
        late.received_at = Timestamp::from_millis(2_000);
        assert!(early.index().unwrap().sort < late.index().unwrap().sort);
        assert_eq!(early.index().unwrap().sort, "000000000001000/z");
        late.received_at = Timestamp::MAX;
        assert_eq!(late.index().unwrap().sort, "253402300799999/a");
    }
}
