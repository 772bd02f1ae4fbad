//! Orders: an order as it is sent and as it is kept, and what is told of it.

use crate::{
    decimal::{Decimal, DecimalError},
    entity::Entity,
    ids,
    input::{Input, Reader as _, Refusal, array, decimal, field, integer, optional, text},
    limits::IDEMPOTENCY_KEY_BYTES_MAX,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// The largest body of a request, in bytes (64 KiB): the wire contract's limit. An order of that size fits an item of DynamoDB.
pub const BODY_BYTES_MAX: usize = 65_536;

/// The longest `order_id`, in bytes: the wire contract's limit.
pub const ORDER_ID_BYTES_MAX: usize = 64;

/// The longest `customer`, in bytes of UTF-8: the wire contract's limit.
pub const CUSTOMER_BYTES_MAX: usize = 256;

/// The longest `email`, in bytes: the longest address that mail is sent to (RFC 5321).
pub const EMAIL_BYTES_MAX: usize = 254;

/// The most `items` of an order: the wire contract's limit. There is at least one.
pub const ITEMS_MAX: usize = 100;

/// The longest `product`, in bytes of UTF-8: the wire contract's limit.
pub const PRODUCT_BYTES_MAX: usize = 128;

/// The largest `quantity` of an item: the wire contract's limit.
pub const QUANTITY_MAX: i64 = 1_000_000;

/// The code of an `order_id` with another character than `A-Z`, `a-z`, `0-9`, `-`, `_` and `.`. No address of a person is one.
pub const INVALID_ORDER_ID: &str = "invalid_order_id";

/// The code of an `email` that is no address.
pub const INVALID_EMAIL: &str = "invalid_email";

const DAY: Duration = Duration::from_secs(86_400);

/// An order as it was sent, checked and not yet stored. Equality is by value: an amount of `4` equals one of `4.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The id that the sender gave it.
    pub order_id: Option<String>,
    /// The sender's name for this order, where it gave no id: sent again, it is the same order.
    pub idempotency_key: Option<String>,
    /// Who ordered: personal, so in no log line, event or notification.
    pub customer: String,
    /// The customer's address: personal as well.
    pub email: String,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// What it comes to, as it was sent.
    pub amount: Decimal,
}

/// One product of an order, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The product.
    pub product: String,
    /// How many, at least one.
    pub quantity: i64,
    /// What one costs, not below zero, as it was sent.
    pub price: Decimal,
}

impl NewOrder {
    /// The order's id: the one that was given, or a UUID that is derived from the idempotency key, of the body or else
    /// `of_request`. `None` where nothing tells this order from another.
    pub fn id(&self, of_request: Option<&str>) -> Option<String> {
        let derived = || Some(ids::uuid("orders/order", self.idempotency_key.as_deref().or(of_request)?));
        self.order_id.clone().or_else(derived)
    }
}

/// Reads an order of a body, for [`input::read_request`](crate::input::read_request).
pub fn new_order(body: &Input<'_>) -> Option<NewOrder> {
    let fields = (
        optional("order_id", text(1..=ORDER_ID_BYTES_MAX).check(order_id)),
        optional("idempotency_key", text(1..=IDEMPOTENCY_KEY_BYTES_MAX).without_controls()),
        field("customer", text(1..=CUSTOMER_BYTES_MAX).without_controls()),
        field("email", text(3..=EMAIL_BYTES_MAX).without_controls().check(email)),
        field("items", array(1..=ITEMS_MAX, item).of("item", "items")),
        field("amount", decimal().at_least(0)),
    );
    body.object(fields, |(order_id, idempotency_key, customer, email, items, amount)| NewOrder {
        order_id,
        idempotency_key,
        customer,
        email,
        items,
        amount,
    })
}

fn item(item: &Input<'_>) -> Option<OrderItem> {
    let fields = (
        field("product", text(1..=PRODUCT_BYTES_MAX).without_controls()),
        field("quantity", integer(1..=QUANTITY_MAX)),
        field("price", decimal().at_least(0)),
    );
    item.object(fields, |(product, quantity, price)| OrderItem { product, quantity, price })
}

fn order_id(id: String) -> Result<String, Refusal> {
    let is_sound = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let refusal =
        || Refusal::new(INVALID_ORDER_ID, "`order_id` has letters, digits, '-', '_' and '.' alone.");
    is_sound.then_some(id).ok_or_else(refusal)
}

fn email(address: String) -> Result<String, Refusal> {
    let parts = address.split_once('@');
    let is_address = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let is_address = is_address && !address.contains(char::is_whitespace);
    let refusal = || Refusal::new(INVALID_EMAIL, "`email` is no address: name@example.org is one.");
    is_address.then_some(address).ok_or_else(refusal)
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Taken; it has still to be processed.
    New,
    /// Processed.
    Processed,
}

impl OrderStatus {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Processed => "PROCESSED",
        }
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// How far it has come.
    pub status: OrderStatus,
    /// Who ordered: personal.
    pub customer: String,
    /// The customer's address: personal as well.
    pub email: String,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// What it comes to, as it was sent.
    pub amount: Decimal,
    /// When it was taken.
    pub created_at: Timestamp,
    /// From when on it is gone.
    pub expires_at: Timestamp,
    /// When it was processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Timestamp>,
}

impl Order {
    /// An order as it is taken at `now`, to be kept for so many days.
    pub fn take(order_id: String, new: NewOrder, now: Timestamp, days: u32) -> Self {
        let NewOrder { customer, email, items, amount, .. } = new;
        let (status, expires_at) = (OrderStatus::New, now + DAY * days);
        Self {
            order_id,
            status,
            customer,
            email,
            items,
            amount,
            created_at: now,
            expires_at,
            processed_at: None,
        }
    }

    /// Whether it was sent with the same content.
    pub fn same_content(&self, new: &NewOrder) -> bool {
        (&self.customer, &self.email, &self.items, &self.amount)
            == (&new.customer, &new.email, &new.items, &new.amount)
    }

    /// What the items come to, exactly.
    ///
    /// # Errors
    /// The sum has too many digits, or is out of range.
    pub fn total(&self) -> Result<Decimal, DecimalError> {
        Decimal::checked_total(self.items.iter().map(|item| (item.quantity, &item.price)))
    }
}

impl Entity for Order {
    const KIND: &'static str = "order";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.order_id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }

    fn status(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.status.as_str()))
    }

    fn is_ended(&self) -> bool {
        self.status == OrderStatus::Processed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{self, code::*};

    const ORDER: &str = r#"{"order_id": "o-1", "customer": "Anna Müller", "email": "anna@example.org",
        "items": [{"product": "tea", "quantity": 2, "price": 1.50}, {"product": "cup", "quantity": 1, "price": 0.1}],
        "amount": 3.10}"#;

    fn read(body: &str) -> Result<NewOrder, Vec<(String, String)>> {
        input::read(body.as_bytes(), BODY_BYTES_MAX, new_order).map_err(|faults| {
            faults.into_iter().map(|fault| (fault.code.into_owned(), fault.pointer)).collect()
        })
    }

    fn taken(body: &str) -> Order {
        Order::take("o-1".into(), read(body).unwrap(), Timestamp::from_millis(0), 7)
    }

    #[test]
    fn an_order_is_read_as_it_was_sent_and_added_up_exactly() {
        let order = taken(ORDER);
        assert_eq!(order.items[0].price.as_str(), "1.50");
        assert_eq!(order.total(), Ok(order.amount.clone()));
        // In binary fractions, three times 0.1 is not 0.3.
        let tenths = taken(&ORDER.replace("\"quantity\": 1", "\"quantity\": 3").replace("3.10", "3.3"));
        assert_eq!(tenths.total(), Ok(tenths.amount));
        let wrong = taken(&ORDER.replace("3.10", "3.11"));
        assert_ne!(wrong.total(), Ok(wrong.amount));
    }

    #[test]
    fn the_same_content_is_told_by_value() {
        let order = taken(ORDER);
        assert!(order.same_content(&read(&ORDER.replace("3.10", "31e-1")).unwrap()));
        for (from, to) in [("Anna", "Anne"), ("anna@", "anne@"), ("tea", "mate"), ("3.10", "3.11")] {
            assert!(!order.same_content(&read(&ORDER.replace(from, to)).unwrap()), "{to}");
        }
    }

    #[test]
    fn an_id_is_given_or_derived_and_never_made_up() {
        let order = read(ORDER).unwrap();
        assert_eq!(order.id(Some("key")).as_deref(), Some("o-1"));
        let keyed = |key: &str| {
            read(&ORDER.replace("\"order_id\": \"o-1\"", &format!("\"idempotency_key\": \"{key}\""))).unwrap()
        };
        assert_eq!(keyed("a").id(None), keyed("a").id(Some("of the request")));
        assert_ne!(keyed("a").id(None), keyed("b").id(None));
        let unnamed = NewOrder { order_id: None, ..order };
        assert_eq!(unnamed.id(Some("a")), keyed("a").id(None));
        assert_eq!(unnamed.id(None), None);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        for (from, to, code, pointer) in [
            ("o-1", "anna@example.org", INVALID_ORDER_ID, "/order_id"),
            ("o-1", "", EMPTY, "/order_id"),
            ("Anna Müller", "\\u0007", CONTROL_CHARACTER, "/customer"),
            ("anna@example.org", "@example.org", INVALID_EMAIL, "/email"),
            ("anna@example.org", "anna of example", INVALID_EMAIL, "/email"),
            ("\"quantity\": 2", "\"quantity\": 0", NUMBER_OUT_OF_RANGE, "/items/0/quantity"),
            ("\"quantity\": 2", "\"quantity\": 2.5", NOT_AN_INTEGER, "/items/0/quantity"),
            ("1.50", "-1", NUMBER_OUT_OF_RANGE, "/items/0/price"),
            ("3.10", "\"3.10\"", WRONG_TYPE, "/amount"),
            ("\"order_id\"", "\"id\"", UNKNOWN_FIELD, "/id"),
        ] {
            let changed = ORDER.replacen(from, to, 1);
            assert_eq!(read(&changed), Err(vec![(code.to_owned(), pointer.to_owned())]), "{changed}");
        }
        let missing: Vec<String> = read("{}").unwrap_err().into_iter().map(|(_, pointer)| pointer).collect();
        assert_eq!(missing, ["/customer", "/email", "/items", "/amount"]);
    }

    #[test]
    fn an_order_keeps_the_digits_it_was_sent_with() {
        let order = taken(ORDER);
        assert_eq!(order.expires_at, Timestamp::from_millis(7 * 86_400_000));
        let text = serde_json::to_string(&order).unwrap();
        assert!(text.contains(r#""status":"NEW","customer":"Anna Müller""#), "{text}");
        assert!(text.contains(r#""amount":3.10"#), "{text}");
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
    }
}
