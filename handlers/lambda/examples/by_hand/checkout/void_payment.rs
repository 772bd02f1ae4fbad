//! Undoes whatever became of the charge of an order that failed before the gateway had decided, or was heard.

use super::process_payment::{decided, gateway, payment_key};
use crate::shared::{Done, Queue, Step, Table, backoff, config, count, json, now};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{Order, PaymentStatus},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use systems::checkout::gateway::{HttpGateway, PaymentGateway, Voided};

const WAIT_MAX: Duration = Duration::from_secs(900);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentVoid {
    pub order_id: String,
}

struct Void {
    orders: Table,
    gateway: HttpGateway,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    let step = Void { orders, gateway: gateway()? };
    Queue::new(&config, 12, |attempt| backoff(attempt, WAIT_MAX))?.work(step).await
}

impl Step for Void {
    type Message = PaymentVoid;

    fn read(&self, body: &str) -> Result<PaymentVoid, Failure> {
        json(body)
    }

    async fn handle(&self, void: &PaymentVoid, _: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&void.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.payment_result.as_ref().map(|result| result.status) != Some(PaymentStatus::Voiding) {
            return Ok("already voided");
        }
        let (status, receipt, what) = match self.gateway.void(&payment_key(&order)).await? {
            Voided::Nothing(receipt) => {
                (PaymentStatus::Voided, receipt, "nothing was charged, and nothing will be")
            }
            Voided::Refunded(receipt) => (PaymentStatus::Refunded, receipt, "what was charged is paid back"),
        };
        order.updated_at = now();
        order.payment_result = Some(decided(status, receipt, now()));
        self.orders.commit(&order, what, Vec::new()).await?;
        if status == PaymentStatus::Refunded {
            count("PaymentsRefunded");
        }
        Ok(what)
    }

    async fn note(&self, void: &PaymentVoid, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&void.order_id, what).await
    }
}
