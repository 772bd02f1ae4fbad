//! The checkout: an order as it is sent and as it is kept, and what is sold.

mod stock;

pub use stock::{
    Mark, PARTS_MAX, PRODUCT_BODY_BYTES_MAX, Product, STOCK_MAX, StockPart, UNITS_BEFORE_NEXT, capacity,
    new_product,
};

use crate::{
    decimal::{Decimal, DecimalError},
    entity::Entity,
    input::{self, Fault, Faults, Input, array, decimal, field, integer, text},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// The largest order that is read, in bytes: our own limit.
pub const BODY_BYTES_MAX: usize = 65_536;

/// The longest id of an order, a user or a product, in bytes of UTF-8: our own limit.
pub const ID_BYTES_MAX: usize = 128;

/// The most items of an order: our own limit.
pub const ITEMS_MAX: usize = 50;

/// The most units of an item: our own limit.
pub const QUANTITY_MAX: u32 = 1_000;

/// An order as it was sent, its shape checked. Whether it can be sold is found out later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewOrder {
    /// Its sender's name for it.
    pub order_id: String,
    /// Who ordered.
    pub user_id: String,
    /// What was ordered, 1 to [`ITEMS_MAX`].
    pub items: Vec<Item>,
    /// What it costs, as its sender reckons.
    pub total_amount: Decimal,
}

/// An item of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The product.
    pub product_id: String,
    /// How many units, 1 to [`QUANTITY_MAX`].
    pub quantity: u32,
    /// What one unit costs, as its sender knows it.
    pub price: Decimal,
}

/// Reads an order, for [`input::read_request`]. Fields that it does not know are left alone: others write them.
pub fn order(body: &Input<'_>) -> Option<NewOrder> {
    let fields = (
        field("orderId", id()),
        field("userId", id()),
        field("items", array(1..=ITEMS_MAX, item).of("item", "items")),
        field("totalAmount", decimal().at_least(0)),
    );
    body.open_object(fields, |(order_id, user_id, items, total_amount)| NewOrder {
        order_id,
        user_id,
        items,
        total_amount,
    })
}

fn item(item: &Input<'_>) -> Option<Item> {
    let fields = (
        field("productId", id()),
        field("quantity", integer(1..=i64::from(QUANTITY_MAX))),
        field("price", decimal().at_least(0)),
    );
    item.open_object(fields, |(product_id, quantity, price)| Item {
        product_id,
        // Within the bounds that it was read with.
        quantity: u32::try_from(quantity).unwrap_or(QUANTITY_MAX),
        price,
    })
}

fn id() -> input::Text<'static> {
    text(1..=ID_BYTES_MAX).without_controls()
}

/// What others wrote to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sent {
    /// An order, its shape checked.
    Order(NewOrder),
    /// An order that lacks something, or has something wrong. It has an id, and so it ends as an order does.
    #[serde(rename_all = "camelCase")]
    Faulty {
        /// Its id.
        order_id: String,
        /// What is wrong with it.
        errors: Vec<ValidationError>,
    },
}

impl Sent {
    /// Reads a message.
    ///
    /// # Errors
    /// All that is wrong with it, where it has no id: no order could be told of it.
    pub fn read(body: &[u8]) -> Result<Self, Faults> {
        let faults = match input::read(body, BODY_BYTES_MAX, order) {
            Ok(order) => return Ok(Self::Order(order)),
            Err(faults) => faults,
        };
        let only_id = |body: &Input<'_>| body.open_object((field("orderId", id()),), |(id,)| id);
        match input::read(body, BODY_BYTES_MAX, only_id) {
            Ok(order_id) => Ok(Self::Faulty { order_id, errors: faults.iter().map(Into::into).collect() }),
            Err(_) => Err(faults),
        }
    }

    /// The order's id.
    pub fn order_id(&self) -> &str {
        match self {
            Self::Order(order) => &order.order_id,
            Self::Faulty { order_id, .. } => order_id,
        }
    }
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// It is there, and to be validated.
    Pending,
    /// It can be sold: its stock is reserved, and it is to be paid.
    Validated,
    /// It is paid.
    Completed,
    /// It is not sold, and why is its [`error_reason`](Order::error_reason).
    Failed,
}

impl OrderStatus {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Validated, Self::Completed, Self::Failed];

    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Validated => "VALIDATED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// Why an order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorReason {
    /// It lacks a field, names no product, or has another price or total than it should.
    ValidationFailed,
    /// There are not as many units as it wants.
    OutOfStock,
    /// It could not be validated: what is needed for that was not to be reached.
    ValidationUnavailable,
    /// Its payment was declined.
    PaymentFailed,
    /// It could not be paid: the gateway was not to be reached, or did not decide in time. Nothing is charged.
    PaymentUnavailable,
}

impl ErrorReason {
    /// The status of an order that can fail for this reason.
    pub fn fails(self) -> OrderStatus {
        match self {
            Self::ValidationFailed | Self::OutOfStock | Self::ValidationUnavailable => OrderStatus::Pending,
            Self::PaymentFailed | Self::PaymentUnavailable => OrderStatus::Validated,
        }
    }
}

/// What was found out about an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationResult {
    /// Whether it can be sold.
    pub is_valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ValidationError>,
    /// When.
    pub validated_at: Timestamp,
}

/// One thing that is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationError {
    /// Where, as a JSON Pointer into the order.
    pub pointer: String,
    /// What, for machines.
    pub code: Cow<'static, str>,
    /// What, for people.
    pub message: String,
}

/// The code of an item whose product is not known.
pub const UNKNOWN_PRODUCT: &str = "unknown_product";
/// The code of an item with another price than its product.
pub const WRONG_PRICE: &str = "wrong_price";
/// The code of an order with another total than its items.
pub const WRONG_TOTAL: &str = "wrong_total";
/// The code of an order that wants more of a product than there is.
pub const OUT_OF_STOCK: &str = "out_of_stock";

impl ValidationError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), code: code.into(), message: message.to_string() }
    }
}

impl From<&Fault> for ValidationError {
    fn from(fault: &Fault) -> Self {
        let Fault { pointer, code, detail, .. } = fault;
        Self { pointer: pointer.clone(), code: code.clone(), message: detail.clone() }
    }
}

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentStatus {
    /// The gateway has not decided.
    Pending,
    /// It is paid.
    Succeeded,
    /// It was declined.
    Declined,
    /// The order failed, and its payment is to be undone whatever became of it.
    Voiding,
    /// Nothing was charged, and nothing will be.
    Voided,
    /// What was charged is paid back.
    Refunded,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentResult {
    /// How far it has come.
    pub status: PaymentStatus,
    /// The gateway's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// When that was.
    pub processed_at: Timestamp,
    /// The gateway.
    pub provider: String,
    /// What the gateway says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Units of a product that are held for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The product.
    pub product_id: String,
    /// The part of its stock.
    pub part: u32,
    /// How many units.
    pub quantity: u32,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// Who ordered; none where that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What was ordered; nothing where that could not be read.
    pub items: Vec<Item>,
    /// What it costs; none where that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_amount: Option<Decimal>,
    /// How far it has come.
    pub order_status: OrderStatus,
    /// When it was taken in.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What was found out about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_result: Option<ValidationResult>,
    /// The stock that is held for it, or that it bought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// Whether that stock was given back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stock_returned: bool,
    /// How often the gateway said that it had not decided.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub payment_asks: u32,
    /// What became of its payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_result: Option<PaymentResult>,
    /// The gateway's name for its payment, once it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<ErrorReason>,
    /// The machine name of the failure behind that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_cause: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_false(yes: &bool) -> bool {
    !yes
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Order {
    /// An order as it is taken in at `now`. A faulty one is found invalid at once.
    pub fn receive(sent: Sent, now: Timestamp) -> Self {
        let (order_id, order, errors) = match sent {
            Sent::Order(order) => (order.order_id.clone(), Some(order), Vec::new()),
            Sent::Faulty { order_id, errors } => (order_id, None, errors),
        };
        let (user_id, items, total_amount) = match order {
            Some(order) => (Some(order.user_id), order.items, Some(order.total_amount)),
            None => (None, Vec::new(), None),
        };
        let is_faulty = !errors.is_empty();
        Self {
            order_id,
            user_id,
            items,
            total_amount,
            order_status: OrderStatus::Pending,
            created_at: now,
            updated_at: now,
            validation_result: is_faulty.then_some(ValidationResult {
                is_valid: false,
                errors,
                validated_at: now,
            }),
            reservations: Vec::new(),
            stock_returned: false,
            payment_asks: 0,
            payment_result: None,
            payment_transaction_id: None,
            error_reason: None,
            error_cause: None,
        }
    }

    /// Whether it was sent with the same content.
    pub fn same_content(&self, sent: &Sent) -> bool {
        match sent {
            Sent::Order(new) => {
                self.user_id.as_ref() == Some(&new.user_id)
                    && self.items == new.items
                    && self.total_amount.as_ref() == Some(&new.total_amount)
            }
            Sent::Faulty { errors, .. } => self.user_id.is_none() && self.errors().iter().eq(errors),
        }
    }

    /// What is wrong with it.
    pub fn errors(&self) -> &[ValidationError] {
        self.validation_result.as_ref().map(|result| result.errors.as_slice()).unwrap_or_default()
    }

    /// How many units of each product it wants, and the first item that wants them.
    pub fn wanted(&self) -> BTreeMap<&str, (u32, usize)> {
        let mut wanted = BTreeMap::new();
        for (at, item) in self.items.iter().enumerate() {
            let (units, _) = wanted.entry(item.product_id.as_str()).or_insert((0_u32, at));
            *units = units.saturating_add(item.quantity);
        }
        wanted
    }

    /// How many units of a part of a product's stock its record says are its.
    pub fn reserved(&self, product_id: &str, part: u32) -> u32 {
        let of_part = |held: &&Reservation| held.product_id == product_id && held.part == part;
        self.reservations.iter().filter(of_part).map(|held| held.quantity).sum()
    }

    /// What is wrong with it, given its products as they are: in the order of its items, `None` for one that is not there.
    pub fn faults(&self, products: &[Option<&Product>]) -> Vec<ValidationError> {
        let mut errors = Vec::new();
        for (at, (item, product)) in self.items.iter().zip(products).enumerate() {
            match product {
                None => errors.push(ValidationError::new(
                    format!("/items/{at}/productId"),
                    UNKNOWN_PRODUCT,
                    "no product has this id",
                )),
                Some(product) if product.price != item.price => errors.push(ValidationError::new(
                    format!("/items/{at}/price"),
                    WRONG_PRICE,
                    format_args!("the product costs {}", product.price),
                )),
                Some(_) => {}
            }
        }
        match (total(&self.items), &self.total_amount) {
            (Ok(total), Some(said)) if total == *said => {}
            (Ok(total), _) => errors.push(ValidationError::new(
                "/totalAmount",
                WRONG_TOTAL,
                format_args!("the items cost {total}"),
            )),
            (Err(error), _) => errors.push(ValidationError::new("/totalAmount", WRONG_TOTAL, error)),
        }
        errors
    }
}

/// What items cost: exact.
///
/// # Errors
/// It has too many digits.
pub fn total(items: &[Item]) -> Result<Decimal, DecimalError> {
    let cost = |item: &Item| item.price.checked_mul(&Decimal::from(item.quantity));
    let costs: Vec<Decimal> = items.iter().map(cost).collect::<Result<_, _>>()?;
    Decimal::checked_sum(&costs)
}

impl Entity for Order {
    const KIND: &'static str = "order";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.order_id)
    }

    fn status(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.order_status.as_str()))
    }

    /// Nothing more happens once it is paid, or once what it held and was charged is given back.
    fn is_ended(&self) -> bool {
        let is_voiding =
            self.payment_result.as_ref().is_some_and(|result| result.status == PaymentStatus::Voiding);
        match self.order_status {
            OrderStatus::Pending | OrderStatus::Validated => false,
            OrderStatus::Completed => true,
            OrderStatus::Failed => !is_voiding && (self.stock_returned || self.reservations.is_empty()),
        }
    }
}
