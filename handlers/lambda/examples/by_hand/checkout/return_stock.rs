//! Gives back all that was taken for an order that failed.

use super::stock::{Look, ROUNDS_MAX, Stock};
use crate::shared::{Done, Queue, Step, Table, backoff, config, count, json, now};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{Order, OrderStatus, PARTS_MAX},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

const WAIT_MAX: Duration = Duration::from_secs(900);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReturn {
    pub order_id: String,
}

struct Return {
    orders: Table,
    stock: Stock,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "ORDERS_TABLE_NAME", "orderId")?.shown();
    let step = Return { orders, stock: Stock::new(&config)? };
    Queue::new(&config, 12, |attempt| backoff(attempt, WAIT_MAX))?.work(step).await
}

impl Step for Return {
    type Message = StockReturn;

    fn read(&self, body: &str) -> Result<StockReturn, Failure> {
        json(body)
    }

    async fn handle(&self, returned: &StockReturn, _: u32) -> Done {
        let Some(mut order) = self.orders.get::<Order>(&returned.order_id).await? else {
            return Err(Failure::permanent("entity_gone", "the order of this message is gone"));
        };
        if order.order_status != OrderStatus::Failed || order.stock_returned {
            return Ok("already given back");
        }
        let products: BTreeSet<String> = order.items.iter().map(|item| item.product_id.clone()).collect();
        for product_id in products {
            if !self.give_back(&order, &product_id).await? {
                return Ok("given back meanwhile");
            }
        }
        if order.reservations.is_empty() {
            return Ok("it held nothing");
        }
        order.stock_returned = true;
        order.updated_at = now();
        self.orders.commit(&order, "its stock given back", Vec::new()).await?;
        count("StockReturned");
        Ok("given back")
    }

    async fn note(&self, returned: &StockReturn, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&returned.order_id, what).await
    }
}

impl Return {
    /// Gives back what an order took of a product; false where another message has done that already.
    async fn give_back(&self, order: &Order, product_id: &str) -> Result<bool, Failure> {
        let recorded = order.reservations.iter().filter(|held| held.product_id == product_id);
        let mut parts: Vec<u32> = recorded.map(|held| held.part).collect();
        if order.reservations.is_empty() {
            // It may have failed between taking and its record: its marks are found among all.
            parts = (0..PARTS_MAX).collect();
        }
        for _ in 0..ROUNDS_MAX {
            let look = self.stock.look_at(&self.orders, &order.order_id, product_id, &parts, false).await?;
            let Look { order: now, mut parts } = look;
            let Some(now) = now.filter(|now| !now.stock_returned) else { return Ok(false) };
            let changes = parts.iter_mut().map(|part| part.give_back(&now)).enumerate();
            let changed = changes.filter_map(|(at, changed)| changed.then_some(at)).collect();
            if self.stock.commit(parts, &changed, "units given back").await? == 0 {
                return Ok(true);
            }
        }
        Err(Failure::transient("stock_busy", "others keep changing the stock of a product"))
    }
}
