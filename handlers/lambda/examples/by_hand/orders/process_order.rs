//! Straight from the table's stream: an order that adds up is processed, and a topic is told. One that does not is a dead letter
//! at once, and the others of its batch go on.

use super::create_order::OrderCreated;
use crate::shared::{
    DeadLetters, Done, Message, Table, To, config, count, json, log, now,
    relay::{from, messages},
    took,
};
use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::DynamoDbEventResponse,
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use quadrille::{
    Failure, Timestamp,
    domain::orders::{Order, OrderStatus},
};
use serde::Serialize;

/// The notification: nothing in it is personal.
#[derive(Serialize)]
struct OrderProcessed<'a> {
    order_id: &'a str,
    status: OrderStatus,
    processed_at: Timestamp,
}

struct Processor {
    orders: Table,
    dead_letters: DeadLetters,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "TABLE_NAME", "order_id")?.shown();
    let processor = &Processor { orders, dead_letters: DeadLetters::new(&config)? };
    let batch = move |event: LambdaEvent<Event>| async move {
        for record in &event.payload.records {
            if let Err(failure) = processor.settle(record).await {
                log(
                    serde_json::json!({ "level": "WARN", "record": record.event_id, "reason": failure.reason() }),
                );
                return Ok(from(record));
            }
        }
        Ok::<_, Error>(DynamoDbEventResponse::default())
    };
    lambda_runtime::run(service_fn(batch)).await
}

impl Processor {
    /// Works a record to its end; a transient failure has Lambda hand it in again, with those behind it.
    async fn settle(&self, record: &EventRecord) -> Result<(), Failure> {
        for message in messages(record)?.iter().filter(|message| matches!(message.to, To::Stream)) {
            let created: OrderCreated = json(&message.body)?;
            match self.process(&created).await {
                Ok(done) => log(serde_json::json!({ "level": "INFO", "message": message.id, "done": done })),
                Err(failure) if failure.is_permanent() => {
                    log(
                        serde_json::json!({ "level": "WARN", "message": message.id, "reason": failure.reason() }),
                    );
                    let what = format!("dead-lettered: {}", failure.reason());
                    self.orders.note::<Order>(&created.order_id, &what).await?;
                    self.dead_letters.send(&message.body, &failure, 1, "").await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn process(&self, created: &OrderCreated) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&created.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.status != OrderStatus::New {
            return Ok("already processed");
        }
        // No number of the order stands in the failure: it goes into logs and dead letters.
        let total = order.total().map_err(|error| Failure::permanent("amount_out_of_range", error))?;
        if total != order.amount {
            return Err(Failure::permanent("amount_mismatch", "the items do not come to the amount"));
        }
        let now = now();
        (order.status, order.processed_at) = (OrderStatus::Processed, Some(now));
        let told = OrderProcessed { order_id: &order.order_id, status: order.status, processed_at: now };
        let told = Message::new(To::Topic("TOPIC_ARN".to_owned()), "orders.order.processed", &told)?;
        self.orders.commit(&order, "processed", vec![told]).await?;
        count("OrdersProcessed");
        took("CreatedToProcessed", order.created_at);
        Ok("processed")
    }
}
