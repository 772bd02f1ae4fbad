//! Decides that an order has failed. Only then is anything given back.

use super::{
    process_payment::{ended, pending},
    return_stock::StockReturn,
    void_payment::PaymentVoid,
};
use crate::shared::{Done, Message, Queue, Step, Table, To, backoff, config, count, json, now, took};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{ErrorReason, Order, OrderStatus, PaymentStatus},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(900);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderFailing {
    order_id: String,
    error_reason: ErrorReason,
    cause: String,
}

impl OrderFailing {
    pub fn of(order_id: &str, error_reason: ErrorReason, failure: &Failure) -> Self {
        Self { order_id: order_id.to_owned(), error_reason, cause: failure.reason().to_owned() }
    }
}

struct Fail {
    orders: Table,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    Queue::new(&config, 12, |attempt| backoff(attempt, WAIT_MAX))?.work(Fail { orders }).await
}

impl Step for Fail {
    type Message = OrderFailing;

    fn read(&self, body: &str) -> Result<OrderFailing, Failure> {
        json(body)
    }

    async fn handle(&self, failing: &OrderFailing, _: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&failing.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.order_status != failing.error_reason.fails() {
            return Ok("past that");
        }
        let order_id = failing.order_id.clone();
        order.order_status = OrderStatus::Failed;
        order.error_reason = Some(failing.error_reason);
        order.error_cause = Some(failing.cause.clone());
        order.updated_at = now();
        let mut messages = vec![ended(&order)?];
        if !order.items.is_empty() {
            let back = StockReturn { order_id: order_id.clone() };
            messages.push(Message::new(To::Queue("STOCK_QUEUE_URL".to_owned()), "stock.return", &back)?);
        }
        if failing.error_reason == ErrorReason::PaymentUnavailable {
            order.payment_result = Some(pending(PaymentStatus::Voiding, now()));
            let void = PaymentVoid { order_id };
            messages.push(Message::new(To::Queue("VOID_QUEUE_URL".to_owned()), "payment.void", &void)?);
        }
        self.orders.commit(&order, "failed", messages).await?;
        count("OrdersFailed");
        took("TakenInToEnded", order.created_at);
        Ok("failed")
    }

    async fn note(&self, failing: &OrderFailing, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&failing.order_id, what).await
    }
}
