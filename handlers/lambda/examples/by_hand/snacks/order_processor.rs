//! From the bus, by a queue: the kitchen makes an order, once, and a topic is told.

use super::order_creator::OrderCreated;
use crate::shared::{
    Done, Message, Queue, Step, Table, To, backoff, config, count, json, now, took, variable,
};
use lambda_runtime::Error;
use quadrille::{
    Failure, Timestamp,
    domain::snacks::{Order, OrderStatus},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use systems::snacks::kitchen::{Kitchen, SimulatedKitchen, Ticket};

const WAIT_MAX: Duration = Duration::from_secs(300);

/// The whole entry, as the bus dead-letters it; its rule hands over the detail alone.
#[derive(Deserialize)]
struct Entry {
    detail: OrderCreated,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderProcessed<'a> {
    order_id: &'a str,
    processed_at: Timestamp,
}

struct Processor {
    orders: Table,
    kitchen: SimulatedKitchen,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    let (seed, failing, busy) = (variable("SEED")?, variable("FAILING")?, variable("BUSY")?);
    let kitchen = SimulatedKitchen::new(seed.parse()?, failing.parse()?, busy.parse()?);
    let queue = Queue::new(&config, 3, |attempt| backoff(attempt, WAIT_MAX))?;
    queue.work(Processor { orders, kitchen }).await
}

impl Step for Processor {
    type Message = OrderCreated;

    fn read(&self, body: &str) -> Result<OrderCreated, Failure> {
        json(body).map(|entry: Entry| entry.detail).or_else(|_| json(body))
    }

    async fn handle(&self, created: &OrderCreated, attempt: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&created.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        match order.status {
            OrderStatus::Processed => return Ok("already processed"),
            OrderStatus::Cancelled => {
                self.kitchen.call_off(&order.order_id).await?;
                return Ok("cancelled");
            }
            OrderStatus::New => {}
        }
        let ticket = Ticket { order_id: &order.order_id, items: &order.snack_items, attempt };
        self.kitchen.prepare(ticket).await?;
        self.kitchen.pack(ticket).await?;
        let now = now();
        order.process(now);
        let processed = OrderProcessed { order_id: &order.order_id, processed_at: now };
        let told = Message::new(To::Topic("PROCESSED_TOPIC_ARN".to_owned()), "Order Processed", &processed)?;
        self.orders.commit(&order, "processed", vec![told]).await?;
        count("OrdersProcessed");
        took("CreatedToProcessed", order.created_at);
        Ok("processed")
    }

    async fn note(&self, created: &OrderCreated, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&created.order_id, what).await
    }
}
