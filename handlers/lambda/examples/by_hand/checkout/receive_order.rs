//! The queue that others write to: takes an order in.

use super::validate_order::OrderReceived;
use crate::shared::{Done, Item, Message, Queue, Step, Table, To, backoff, config, count, now};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{Order, Sent},
};
use std::time::Duration;

/// Nothing else can tell of an order that is not taken in: it waits for its table, for an hour and more.
const WAIT_MAX: Duration = Duration::from_secs(900);

struct Intake {
    orders: Table,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    Queue::new(&config, 12, |attempt| backoff(attempt, WAIT_MAX))?.work(Intake { orders }).await
}

impl Step for Intake {
    type Message = Sent;

    fn read(&self, body: &str) -> Result<Sent, Failure> {
        // The first fault alone, and without its sentence: that may repeat what was sent.
        Sent::read(body.as_bytes()).map_err(|faults| {
            let first = faults.first().map(|fault| fault.code.as_ref()).unwrap_or_default();
            let detail = format_args!("{} faults, the first is {first}", faults.len());
            Failure::permanent("malformed_order", detail)
        })
    }

    async fn handle(&self, sent: &Sent, _: u32) -> Done {
        match self.orders.get::<Order>(sent.order_id()).await? {
            None => {
                let (order, message) = taken_in(sent.clone())?;
                self.orders.commit(&order, "taken in", vec![message]).await?;
                count("OrdersTakenIn");
                Ok("taken in")
            }
            Some(order) if order.same_content(sent) => Ok("already taken in"),
            Some(_) => Err(Failure::permanent("order_exists", "another order has this id, and it stays")),
        }
    }

    async fn note(&self, sent: &Sent, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(sent.order_id(), what).await
    }
}

/// A new order, and the message that has it validated.
pub fn taken_in(sent: Sent) -> Result<(Item<Order>, Message), Failure> {
    let received = OrderReceived { order_id: sent.order_id().to_owned() };
    let message = Message::new(To::Queue("VALIDATE_QUEUE_URL".to_owned()), "order.received", &received)?;
    Ok((Item::new(Order::receive(sent, now())), message))
}
