//! What happens to an order, and who is told.

use quadrille::{
    Event,
    domain::checkout::{ErrorReason, Order, OrderStatus, Sent},
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Others sent an order by the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderSent {
    /// What they wrote.
    pub sent: Sent,
}

impl Event for OrderSent {
    const TYPE: &'static str = "checkout.order.sent";
    type Entity = Order;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.sent.order_id())
    }
}

/// An order was taken in, and is to be validated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReceived {
    /// The order.
    pub order_id: String,
}
quadrille::event!(OrderReceived: "checkout.order.received", to Order by order_id);

/// An order's payment is due, or is to be asked for again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDue {
    /// The order.
    pub order_id: String,
    /// How often the gateway said before that it had not decided.
    pub asks: u32,
}
quadrille::event!(PaymentDue: "checkout.payment.due", to Order by order_id);

/// A step gave an order up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderFailing {
    /// The order.
    pub order_id: String,
    /// Why, as its users know it.
    pub error_reason: ErrorReason,
    /// The machine name of the failure.
    pub cause: String,
}
quadrille::event!(OrderFailing: "checkout.order.failing", to Order by order_id);

/// An order failed, and what was taken for it is to be given back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReturn {
    /// The order.
    pub order_id: String,
}
quadrille::event!(StockReturn: "checkout.stock.return", to Order by order_id);

/// An order failed, and whatever became of its payment is to be undone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentVoid {
    /// The order.
    pub order_id: String,
}
quadrille::event!(PaymentVoid: "checkout.payment.undo", to Order by order_id);

/// The notification: an order is completed, or has failed. It has ids and reasons, and nothing of a person.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderEnded {
    /// The order.
    pub order_id: String,
    /// `COMPLETED` or `FAILED`.
    pub order_status: OrderStatus,
    /// The gateway's name for its payment, once it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<ErrorReason>,
}
quadrille::event!(OrderEnded: "checkout.order.ended", to Order by order_id);

impl OrderEnded {
    /// What is told of an order that ended.
    pub fn of(order: &Order) -> Self {
        Self {
            order_id: order.order_id.clone(),
            order_status: order.order_status,
            payment_transaction_id: order.payment_transaction_id.clone(),
            error_reason: order.error_reason,
        }
    }
}
