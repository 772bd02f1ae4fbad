//! The demonstration: orders are posted, some are cancelled at once, the kitchen makes most of the others, and each is followed
//! to its end.

use super::kitchen::{BUSY, FAILING, Fate, SimulatedKitchen};
use quadrille::{
    domain::snacks::order_id,
    system::{DEAD_LETTERED, Demo, Evidence},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The seed by which it is chosen what is cancelled: the kitchen's own, where nobody says another.
const SEED: u64 = 1;
/// Of how many of 100 orders each attempt fails, and how many are made at the second.
const FATES: (u64, u64) = (12, 20);

/// The snacks, and what one of each costs, in cents.
const SNACKS: [(&str, u64); 4] = [("Chips", 210), ("Nuts", 335), ("Pretzels", 180), ("Olives", 425)];

const CANCELLED: &str = "cancelled";

pub(super) struct SnacksDemo;

/// The number that an id ends with.
fn number(id: &str) -> u64 {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Whether an order is cancelled as soon as it is posted: half of those that the kitchen does not make at once, for there is time
/// to. Under another seed than its own it is a race, in which either may win.
fn is_cancelled(id: &str) -> bool {
    let kitchen = SimulatedKitchen::new(SEED, FATES.0, FATES.1);
    !number(id).is_multiple_of(2) && kitchen.fate(&order_id(id)) != Fate::Made
}

/// Cents as the number that people write.
#[allow(clippy::cast_precision_loss)] // Hundreds of them.
fn amount(cents: u64) -> Value {
    json!(cents as f64 / 100.0)
}

impl Demo for SnacksDemo {
    fn subjects(&self) -> &'static str {
        "orders"
    }

    fn title(&self) -> &'static str {
        "Snacks by way of an event bus, on one machine"
    }

    fn kind(&self) -> &'static str {
        "order"
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([(FAILING, FATES.0.to_string()), (BUSY, FATES.1.to_string())])
    }

    fn step(&self) -> &'static str {
        "order_creator"
    }

    fn body(&self, ids: &[String]) -> Value {
        let id = ids.concat(); // one order a request
        let number = number(&id);
        let first = usize::try_from(number).unwrap_or_default();
        let chosen = SNACKS.iter().cycle().skip(first % SNACKS.len()).take(1 + first % 3);
        let (mut items, mut total) = (Vec::new(), 0);
        for (name, cents) in chosen {
            let quantity = 1 + number % 5;
            total += quantity * cents;
            items.push(json!({ "name": name, "quantity": quantity, "price": amount(*cents) }));
        }
        json!({
            "customerName": format!("Customer {number}"), "snackItems": items, "totalAmount": amount(total),
            "idempotencyKey": id,
        })
    }

    fn entity(&self, id: &str) -> Option<String> {
        Some(order_id(id))
    }

    fn then(&self, ids: &[String]) -> Vec<(&'static str, Value)> {
        let cancelled = ids.iter().filter(|id| is_cancelled(id));
        cancelled.map(|id| ("cancel_order", json!({ "orderId": order_id(id) }))).collect()
    }

    fn ends(&self) -> &'static [&'static str] {
        &["processed", CANCELLED, DEAD_LETTERED]
    }

    /// An order may be cancelled whatever became of its message: a dead letter of it is no end of its own then.
    fn counted(&self, evidence: &Evidence<'_>) -> Vec<&'static str> {
        let status = evidence.entity.and_then(|order| order.status.as_deref());
        match (status, evidence.dead_letters) {
            (Some("CANCELLED"), _) => vec![CANCELLED],
            (Some("PROCESSED"), []) => vec!["processed"],
            (Some("PROCESSED"), _) => vec!["processed", DEAD_LETTERED],
            (_, []) => Vec::new(),
            _ => vec![DEAD_LETTERED],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::{domain::snacks::new_order, input};

    #[test]
    fn what_it_posts_is_sound() {
        for number in 1..=100 {
            let body = SnacksDemo.body(&[format!("order-{number}")]).to_string();
            assert!(input::read(body.as_bytes(), 65_536, new_order).is_ok(), "{body}");
        }
    }

    #[test]
    fn of_the_first_few_orders_some_fail_some_are_made_and_some_are_cancelled() {
        let kitchen = SimulatedKitchen::new(SEED, FATES.0, FATES.1);
        let ids: Vec<String> = (1..=8).map(|number| format!("order-{number}")).collect();
        let (cancelled, kept): (Vec<&String>, Vec<&String>) = ids.iter().partition(|id| is_cancelled(id));
        assert_eq!(SnacksDemo.then(&ids).len(), cancelled.len());
        let kept: Vec<Fate> = kept.into_iter().map(|id| kitchen.fate(&order_id(id))).collect();
        assert!(!cancelled.is_empty() && [Fate::Made, Fate::Failing].iter().all(|fate| kept.contains(fate)));
        let seed = crate::snacks::kitchen::settings()[0].model().default.clone();
        assert_eq!(seed, Some(SEED.to_string()));
    }
}
