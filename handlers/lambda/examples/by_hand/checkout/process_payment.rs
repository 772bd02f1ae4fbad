//! Charges an order, and completes it with the same write.

use super::fail_order::OrderFailing;
use crate::shared::{
    Done, Message, Queue, Sender, Step, Table, To, config, count, json, now, took, variable,
};
use lambda_runtime::Error;
use quadrille::{
    Failure, Timestamp,
    domain::checkout::{ErrorReason, Order, OrderStatus, PaymentResult, PaymentStatus},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use systems::checkout::gateway::{Answer, Charge, HttpGateway, PaymentGateway, Receipt};

const PAYMENT_DECLINED: &str = "payment_declined";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDue {
    pub order_id: String,
    pub asks: u32,
}

/// The notification: ids and reasons, and nothing of a person.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderEnded<'a> {
    order_id: &'a str,
    order_status: OrderStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_transaction_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_reason: Option<ErrorReason>,
}

/// The message that tells of an order that ended.
pub fn ended(order: &Order) -> Result<Message, Failure> {
    let ended = OrderEnded {
        order_id: &order.order_id,
        order_status: order.order_status,
        payment_transaction_id: order.payment_transaction_id.as_deref(),
        error_reason: order.error_reason,
    };
    Message::new(To::Topic("NOTIFICATIONS_TOPIC_ARN".to_owned()), "order.ended", &ended)
}

struct Payment {
    orders: Table,
    gateway: HttpGateway,
    failing: Sender,
}

/// The gateway, as the environment says.
pub fn gateway() -> Result<HttpGateway, Error> {
    let timeout = Duration::from_secs(variable("GATEWAY_TIMEOUT")?.parse()?);
    Ok(HttpGateway::new(&variable("GATEWAY")?, variable("GATEWAY_TOKEN").ok().as_deref(), timeout)?)
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    let (gateway, failing) = (gateway()?, Sender::new(&config, "FAIL_QUEUE_URL")?);
    let queue = Queue::new(&config, 3, |attempt| Duration::from_secs(1 << attempt.min(2)))?;
    queue.work(Payment { orders, gateway, failing }).await
}

impl Step for Payment {
    type Message = PaymentDue;
    const BUSINESS_ENDS: &'static [&'static str] = &[PAYMENT_DECLINED];

    fn read(&self, body: &str) -> Result<PaymentDue, Failure> {
        json(body)
    }

    async fn handle(&self, due: &PaymentDue, _: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&due.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.order_status != OrderStatus::Validated || due.asks < order.payment_asks {
            return Ok("asked again, or decided");
        }
        if order.payment_result.as_ref().is_some_and(|result| result.status == PaymentStatus::Declined) {
            return Err(declined());
        }
        let answer = self.gateway.charge(&charge(&order)?, order.payment_asks).await?;
        order.updated_at = now();
        match answer {
            Answer::Pending(after) => {
                order.payment_asks += 1;
                order.payment_result = Some(pending(PaymentStatus::Pending, now()));
                let again = PaymentDue { order_id: due.order_id.clone(), asks: order.payment_asks };
                let again = Message::new(To::Queue("PAYMENT_QUEUE_URL".to_owned()), "payment.due", &again)?;
                let again = Message { delay: after, ..again };
                self.orders.commit(&order, "the payment is pending", vec![again]).await?;
                Ok("pending")
            }
            Answer::Succeeded(receipt) => {
                order.order_status = OrderStatus::Completed;
                order.payment_transaction_id.clone_from(&receipt.transaction_id);
                order.payment_result = Some(decided(PaymentStatus::Succeeded, receipt, now()));
                self.orders.commit(&order, "paid, completed", vec![ended(&order)?]).await?;
                count("OrdersCompleted");
                took("TakenInToEnded", order.created_at);
                Ok("paid, completed")
            }
            // Recorded, then failed: who gives it up is told of the reason, and its users of all that the gateway said.
            Answer::Declined(receipt) => {
                order.payment_result = Some(decided(PaymentStatus::Declined, receipt, now()));
                self.orders.commit(&order, "the payment was declined", Vec::new()).await?;
                count("PaymentsDeclined");
                Err(declined())
            }
        }
    }

    async fn note(&self, due: &PaymentDue, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&due.order_id, what).await
    }

    async fn given_up(&self, due: &PaymentDue, failure: &Failure) -> Result<(), Failure> {
        let error_reason = match failure.reason() {
            PAYMENT_DECLINED => ErrorReason::PaymentFailed,
            _ => ErrorReason::PaymentUnavailable,
        };
        self.failing.send(&OrderFailing::of(&due.order_id, error_reason, failure)).await
    }
}

fn declined() -> Failure {
    Failure::permanent(PAYMENT_DECLINED, "the gateway declined the payment")
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
pub fn pending(status: PaymentStatus, now: Timestamp) -> PaymentResult {
    let provider = "gateway".to_owned();
    PaymentResult { status, transaction_id: None, processed_at: now, provider, message: None }
}

pub fn decided(status: PaymentStatus, receipt: Receipt, now: Timestamp) -> PaymentResult {
    PaymentResult {
        status,
        transaction_id: receipt.transaction_id,
        processed_at: receipt.processed_at.unwrap_or(now),
        provider: receipt.provider,
        message: receipt.message,
    }
}
