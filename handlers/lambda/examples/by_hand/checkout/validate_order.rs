//! Finds out whether an order can be sold, and reserves its stock.

use super::{
    fail_order::OrderFailing,
    process_payment::PaymentDue,
    stock::{Stock, Taken},
};
use crate::shared::{Done, Item, Message, Queue, Sender, Step, Table, To, config, count, json, now};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{
        ErrorReason, OUT_OF_STOCK, Order, OrderStatus, Product, Reservation, ValidationError,
        ValidationResult,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

const VALIDATION_FAILED: &str = "validation_failed";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReceived {
    pub order_id: String,
}

struct Validation {
    orders: Table,
    stock: Stock,
    failing: Sender,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    let (stock, failing) = (Stock::new(&config)?, Sender::new(&config, "FAIL_QUEUE_URL")?);
    let queue = Queue::new(&config, 4, |attempt| Duration::from_secs(1 << attempt.min(3)))?;
    queue.work(Validation { orders, stock, failing }).await
}

impl Step for Validation {
    type Message = OrderReceived;
    const BUSINESS_ENDS: &'static [&'static str] = &[VALIDATION_FAILED, OUT_OF_STOCK];

    fn read(&self, body: &str) -> Result<OrderReceived, Failure> {
        json(body)
    }

    async fn handle(&self, received: &OrderReceived, _: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&received.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.order_status != OrderStatus::Pending {
            return Ok("already validated");
        }
        if !order.errors().is_empty() {
            return Err(refusal(order.errors()));
        }
        let errors = match self.held(&order).await? {
            Held::All(reservations) => {
                order.reservations = reservations;
                order.order_status = OrderStatus::Validated;
                order.validation_result = Some(result(Vec::new()));
                order.updated_at = now();
                let due = PaymentDue { order_id: order.order_id.clone(), asks: 0 };
                let due = Message::new(To::Queue("PAYMENT_QUEUE_URL".to_owned()), "payment.due", &due)?;
                self.orders.commit(&order, "validated, its stock reserved", vec![due]).await?;
                return Ok("validated");
            }
            Held::Not(errors) => errors,
            Held::Decided => return Ok("validated meanwhile"),
        };
        // Recorded, then failed: who gives it up is told of the reason, and its users of each error.
        let refused = refusal(&errors);
        order.validation_result = Some(result(errors));
        order.updated_at = now();
        self.orders.commit(&order, "found invalid", Vec::new()).await?;
        count("OrdersInvalid");
        Err(refused)
    }

    async fn note(&self, received: &OrderReceived, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&received.order_id, what).await
    }

    async fn given_up(&self, received: &OrderReceived, failure: &Failure) -> Result<(), Failure> {
        let error_reason = match failure.reason() {
            VALIDATION_FAILED => ErrorReason::ValidationFailed,
            OUT_OF_STOCK => ErrorReason::OutOfStock,
            _ => ErrorReason::ValidationUnavailable,
        };
        self.failing.send(&OrderFailing::of(&received.order_id, error_reason, failure)).await
    }
}

fn result(errors: Vec<ValidationError>) -> ValidationResult {
    ValidationResult { is_valid: errors.is_empty(), errors, validated_at: now() }
}

/// By the codes of the errors, for what they say is the order's content.
fn refusal(errors: &[ValidationError]) -> Failure {
    let codes: Vec<&str> = errors.iter().map(|error| error.code.as_ref()).collect();
    let is_stock = codes.iter().all(|code| *code == OUT_OF_STOCK);
    Failure::permanent(if is_stock { OUT_OF_STOCK } else { VALIDATION_FAILED }, codes.join(", "))
}

/// What an order holds of the stock.
enum Held {
    All(Vec<Reservation>),
    Not(Vec<ValidationError>),
    /// Another message of the order was faster.
    Decided,
}

impl Validation {
    async fn held(&self, order: &Item<Order>) -> Result<Held, Failure> {
        let wanted = order.wanted();
        let ids: Vec<&str> = wanted.keys().copied().collect();
        let found = self.stock.products.get_all::<Product>(&ids).await?;
        let products: BTreeMap<&str, &Product> =
            ids.iter().zip(&found).filter_map(|(id, product)| Some((*id, &**product.as_ref()?))).collect();
        let by_item: Vec<Option<&Product>> =
            order.items.iter().map(|item| products.get(item.product_id.as_str()).copied()).collect();
        let errors = order.faults(&by_item);
        if !errors.is_empty() {
            return Ok(Held::Not(errors));
        }
        let mut reservations = Vec::new();
        for (id, (units, at)) in wanted {
            let Some(product) = products.get(id) else { continue };
            match self.stock.take(&self.orders, &order.order_id, product, units).await? {
                Taken::All(taken) => reservations.extend(taken),
                Taken::Short => {
                    let pointer = format!("/items/{at}/quantity");
                    let message = "there are not as many units left";
                    return Ok(Held::Not(vec![ValidationError::new(pointer, OUT_OF_STOCK, message)]));
                }
                Taken::Decided => return Ok(Held::Decided),
            }
        }
        Ok(Held::All(reservations))
    }
}
