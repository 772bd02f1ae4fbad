//! Snacks: an order as it is sent and as it is kept.

use crate::{
    decimal::{Decimal, DecimalError},
    entity::Entity,
    ids,
    input::{Input, array, decimal, field, integer, optional, text},
    limits::IDEMPOTENCY_KEY_BYTES_MAX,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// The largest body of a request, in bytes (64 KiB): the wire contract's limit. An order of that size fits an item of DynamoDB.
pub const BODY_BYTES_MAX: usize = 65_536;

/// The longest `customerName`, in bytes of UTF-8: the wire contract's limit. The shortest has one byte.
pub const CUSTOMER_NAME_BYTES_MAX: usize = 256;

/// The most `snackItems` of an order: the wire contract's limit. There is at least one.
pub const SNACK_ITEMS_MAX: usize = 100;

/// The longest `name` of a snack, in bytes of UTF-8: the wire contract's limit.
pub const SNACK_NAME_BYTES_MAX: usize = 128;

/// The largest `quantity` of a snack: the wire contract's limit.
pub const QUANTITY_MAX: i64 = 1_000_000;

/// What the ids of orders are derived under, for ever.
const NAMESPACE: &str = "serverless-snacks";

/// The code of a total that is not the sum.
pub const WRONG_TOTAL: &str = "wrong_total";

/// An order as it was sent, checked and not yet stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Who ordered: personal, so in no log line, event or notification.
    pub customer_name: String,
    /// What was ordered.
    pub snack_items: Vec<SnackItem>,
    /// The sum.
    pub total_amount: Decimal,
    /// The sender's name for this order; sent again, it is the same order.
    pub idempotency_key: Option<String>,
}

/// One snack of an order, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnackItem {
    /// Its name.
    pub name: String,
    /// How many, at least one.
    pub quantity: i64,
    /// What one costs, not below zero, as it was sent.
    pub price: Decimal,
}

/// What they cost: the sum of quantity times price, exactly.
///
/// # Errors
/// The sum has too many digits, or is out of range.
pub fn sum(items: &[SnackItem]) -> Result<Decimal, DecimalError> {
    Decimal::checked_total(items.iter().map(|item| (item.quantity, &item.price)))
}

/// Reads an order of a body, for [`input::read_request`](crate::input::read_request).
pub fn new_order(body: &Input<'_>) -> Option<NewOrder> {
    let items = array(1..=SNACK_ITEMS_MAX, snack_item).of("snack", "snacks");
    let fields = (
        field("customerName", text(1..=CUSTOMER_NAME_BYTES_MAX).without_controls()),
        field("snackItems", items),
        field("totalAmount", decimal().at_least(0)),
        optional("idempotencyKey", text(1..=IDEMPOTENCY_KEY_BYTES_MAX).without_controls()),
    );
    let order = body.object(fields, |(customer_name, snack_items, total_amount, idempotency_key)| {
        NewOrder { customer_name, snack_items, total_amount, idempotency_key }
    })?;
    match sum(&order.snack_items) {
        Ok(sum) if sum == order.total_amount => Some(order),
        Ok(sum) => {
            let told = order.total_amount;
            body.refuse(WRONG_TOTAL, format_args!("`totalAmount` is {told}, and the items cost {sum}."))
        }
        Err(error) => body.refuse(WRONG_TOTAL, format_args!("What the items cost can't be told: {error}.")),
    }
}

fn snack_item(item: &Input<'_>) -> Option<SnackItem> {
    let fields = (
        field("name", text(1..=SNACK_NAME_BYTES_MAX).without_controls()),
        field("quantity", integer(1..=QUANTITY_MAX)),
        field("price", decimal().at_least(0)),
    );
    item.object(fields, |(name, quantity, price)| SnackItem { name, quantity, price })
}

/// The id of the order that has this idempotency key: a UUID, the same for the same key.
pub fn order_id(idempotency_key: &str) -> String {
    ids::uuid(NAMESPACE, idempotency_key)
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Taken; the kitchen has still to make it.
    New,
    /// Made and packed.
    Processed,
    /// Cancelled before it was made.
    Cancelled,
}

impl OrderStatus {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Processed => "PROCESSED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An order, as its users know it from the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// A UUID, derived from the idempotency key where one was given.
    pub order_id: String,
    /// How far it has come.
    pub status: OrderStatus,
    /// Who ordered.
    pub customer_name: String,
    /// What was ordered.
    pub snack_items: Vec<SnackItem>,
    /// What it costs, as it was sent.
    pub total_amount: Decimal,
    /// When it was taken.
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When it was processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Timestamp>,
    /// When it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
}

impl Order {
    /// An order as it is taken at `now`.
    pub fn take(order_id: String, new: NewOrder, now: Timestamp) -> Self {
        Self {
            order_id,
            status: OrderStatus::New,
            customer_name: new.customer_name,
            snack_items: new.snack_items,
            total_amount: new.total_amount,
            created_at: now,
            updated_at: None,
            processed_at: None,
            cancelled_at: None,
        }
    }

    /// It is processed at `now`.
    pub fn process(&mut self, now: Timestamp) {
        self.status = OrderStatus::Processed;
        (self.updated_at, self.processed_at) = (Some(now), Some(now));
    }

    /// It is cancelled at `now`.
    pub fn cancel(&mut self, now: Timestamp) {
        self.status = OrderStatus::Cancelled;
        (self.updated_at, self.cancelled_at) = (Some(now), Some(now));
    }

    /// Whether it was sent with the same content. Numbers are the same where their values are.
    pub fn same_content(&self, new: &NewOrder) -> bool {
        self.customer_name == new.customer_name
            && self.snack_items == new.snack_items
            && self.total_amount == new.total_amount
    }
}

impl Entity for Order {
    const KIND: &'static str = "order";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.order_id)
    }

    fn status(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.status.as_str()))
    }

    fn is_ended(&self) -> bool {
        self.status != OrderStatus::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{self, Faults};

    fn read(body: &str) -> Result<NewOrder, Faults> {
        input::read(body.as_bytes(), BODY_BYTES_MAX, new_order)
    }

    fn body(items: &str, total: &str) -> String {
        format!(r#"{{"customerName": "Ada", "snackItems": {items}, "totalAmount": {total}}}"#)
    }

    #[track_caller]
    fn refused(body: &str, pointer: &str, code: &str) -> String {
        let faults = read(body).expect_err(body);
        let fault = faults.iter().find(|fault| fault.pointer == pointer && fault.code == code);
        fault.unwrap_or_else(|| panic!("no {code} at {pointer:?}: {faults:?}")).detail.clone()
    }

    #[test]
    fn a_total_is_the_exact_sum_however_it_is_written() {
        let items = r#"[{"name": "Chips", "quantity": 3, "price": 0.10}, {"name": "Nuts", "quantity": 1, "price": 2}]"#;
        for total in ["2.3", "2.30", "23e-1"] {
            let order = read(&body(items, total)).unwrap();
            assert_eq!(order.total_amount.as_str(), total);
            assert_eq!(order.snack_items[0].price.as_str(), "0.10");
        }
        let told = refused(&body(items, "2.31"), "", WRONG_TOTAL);
        assert_eq!(told, "`totalAmount` is 2.31, and the items cost 2.3.");
        // A binary fraction would call the sum of these wrong.
        let tenth = r#"{"name": "Chips", "quantity": 1, "price": 0.1}"#;
        assert!(read(&body(&format!("[{tenth}, {tenth}, {tenth}]"), "0.3")).is_ok());
        let long = r#"[{"name": "Dust", "quantity": 9, "price": 12345678901234567890123456789012345678}]"#;
        assert!(refused(&body(long, "1"), "", WRONG_TOTAL).contains("significant digits"));
    }

    #[test]
    fn quantities_are_positive_and_whole_and_prices_not_below_zero() {
        let item = |quantity: &str, price: &str| {
            body(&format!(r#"[{{"name": "Chips", "quantity": {quantity}, "price": {price}}}]"#), "1")
        };
        for quantity in ["0", "-1", "1000001"] {
            refused(&item(quantity, "1"), "/snackItems/0/quantity", "number_out_of_range");
        }
        refused(&item("1.5", "1"), "/snackItems/0/quantity", "not_an_integer");
        refused(&item("\"1\"", "1"), "/snackItems/0/quantity", "wrong_type");
        refused(&item("1", "-0.01"), "/snackItems/0/price", "number_out_of_range");
        refused(&item("1", "\"1.00\""), "/snackItems/0/price", "wrong_type");
        assert!(read(&item("1.0", "1")).is_ok(), "whole by its value");
        assert!(read(&body(r#"[{"name": "Tap water", "quantity": 1, "price": 0}]"#, "0")).is_ok());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults =
            read(r#"{"customerName": "", "snackItems": [{"name": "a"}], "tip": 1}"#).expect_err("faults");
        let found: Vec<(&str, &str)> =
            faults.iter().map(|fault| (fault.pointer.as_str(), &*fault.code)).collect();
        assert_eq!(
            found,
            [
                ("/tip", "unknown_field"),
                ("/customerName", "empty"),
                ("/snackItems/0/quantity", "missing_field"),
                ("/snackItems/0/price", "missing_field"),
                ("/totalAmount", "missing_field"),
            ]
        );
        refused(&body("[]", "0"), "/snackItems", "empty_array");
    }

    #[test]
    fn a_key_is_one_id_and_another_key_another() {
        assert_eq!(order_id("a"), order_id("a"));
        assert_ne!(order_id("a"), order_id("b"));
        // Kept for ever: an order that is sent again after an upgrade is the same order.
        assert_eq!(order_id("a"), "355bc9a2-2740-5b86-aaee-b31f852c840a");
    }

    #[test]
    fn an_order_is_written_as_its_users_know_it() {
        let items = r#"[{"name": "Chips", "quantity": 2, "price": 1.50}]"#;
        let new = read(&body(items, "3.00")).unwrap();
        let at = Timestamp::parse("2026-11-20T09:15:00Z").unwrap();
        let mut order = Order::take("1".into(), new.clone(), at);
        let written = |order: &Order| serde_json::to_string(order).unwrap();
        let head = |status: &str| {
            format!(
                r#"{{"orderId":"1","status":"{status}","customerName":"Ada","snackItems":[{{"name":"Chips","quantity":2,"price":1.50}}],"totalAmount":3.00,"createdAt":"2026-11-20T09:15:00.000Z""#
            )
        };
        assert_eq!(written(&order), format!("{}}}", head("NEW")));
        assert!(order.same_content(&new) && !order.is_ended());
        order.process(at);
        let times = r#","updatedAt":"2026-11-20T09:15:00.000Z","processedAt":"2026-11-20T09:15:00.000Z"}"#;
        assert_eq!(written(&order), head("PROCESSED") + times);
        assert_eq!(serde_json::from_str::<Order>(&written(&order)).unwrap(), order);
    }
}
