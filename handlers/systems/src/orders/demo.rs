//! The demonstration: orders are created, and each is followed to its notification or its dead letter.

use super::NOTIFICATIONS;
use quadrille::{
    port::stable_hash,
    system::{DEAD_LETTERED, Demo, Evidence},
};
use serde_json::{Value, json};

/// One order of so many is poison: its items do not come to its amount.
const POISON_ONE_OF: u64 = 20;

const PRODUCTS: [&str; 5] = ["tea", "coffee", "cup", "kettle", "biscuits"];

/// An order that was processed, and that the topic told of.
const PROCESSED: &str = "processed";

/// An order that the topic told of.
const NOTIFICATION: &str = "notifications";

pub(super) struct OrdersDemo {
    seed: u64,
}

impl Default for OrdersDemo {
    fn default() -> Self {
        Self { seed: 1 }
    }
}

impl OrdersDemo {
    /// A number that the seed and the order's id make.
    fn drawn(&self, id: &str) -> u64 {
        stable_hash(format!("{}/{id}", self.seed).as_bytes())
    }
}

impl Demo for OrdersDemo {
    fn subjects(&self) -> &'static str {
        "orders"
    }

    fn title(&self) -> &'static str {
        "Orders, processed from a table's stream, on one machine"
    }

    fn kind(&self) -> &'static str {
        "order"
    }

    fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn step(&self) -> &'static str {
        "create_order"
    }

    fn body(&self, ids: &[String]) -> Value {
        let id = ids.concat(); // one order a request
        let drawn = self.drawn(&id);
        let (quantity, price) = (drawn / 100 % 9 + 1, drawn / 1_000 % 50 + 1);
        let product = PRODUCTS[(drawn / 100_000 % 5) as usize];
        let wrong = u64::from(drawn.is_multiple_of(POISON_ONE_OF));
        json!({
            "order_id": id,
            "customer": format!("Customer {}", drawn % 1_000),
            "email": format!("customer-{}@example.org", drawn % 1_000),
            "items": [{ "product": product, "quantity": quantity, "price": price }],
            "amount": quantity * price + wrong,
        })
    }

    fn ends(&self) -> &'static [&'static str] {
        &[PROCESSED, DEAD_LETTERED]
    }

    fn counts(&self) -> &'static [&'static str] {
        &[PROCESSED, NOTIFICATION, DEAD_LETTERED]
    }

    fn counted(&self, evidence: &Evidence<'_>) -> Vec<&'static str> {
        let status = evidence.entity.and_then(|order| order.status.as_deref());
        let is_told = evidence.publications.iter().any(|(topic, _)| topic == NOTIFICATIONS);
        let found = [
            (PROCESSED, is_told && status == Some("PROCESSED")),
            (NOTIFICATION, is_told),
            (DEAD_LETTERED, !evidence.dead_letters.is_empty()),
        ];
        found.into_iter().filter(|(_, is_found)| *is_found).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_says_which_orders_are_poison_and_some_are() {
        let poison = |seed: u64| -> Vec<usize> {
            let mut demo = OrdersDemo::default();
            demo.seed(seed);
            let is_poison = |at: &usize| {
                let body = demo.body(&[format!("order-{at}")]);
                let item = &body["items"][0];
                let number = |value: &Value| value.as_u64().unwrap();
                number(&item["quantity"]) * number(&item["price"]) != number(&body["amount"])
            };
            (1..=400).filter(is_poison).collect()
        };
        assert_eq!(poison(1), poison(1));
        assert_ne!(poison(1), poison(2));
        assert!((1..60).contains(&poison(1).len()), "{:?}", poison(1));
    }
}
