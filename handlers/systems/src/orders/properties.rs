//! What holds of the orders whatever happens.

use super::{DEAD_LETTERS, NOTIFICATIONS, process::OrderProcessed};
use quadrille::{
    domain::orders::{Order, OrderStatus},
    sim::{Property, World, each_commit, eventually, sometimes},
};
use std::collections::BTreeMap;

/// All of it.
pub(super) fn properties() -> Vec<Property> {
    vec![
        each_commit::<Order>("an order is processed once", |before, after| match before {
            Some(before) if before.status == OrderStatus::Processed && **before != **after => {
                Err(format!("{} was processed at {:?}, and changed", after.order_id, before.processed_at))
            }
            _ => Ok(()),
        }),
        eventually("a topic tells one thing of an order", one_content),
        eventually("what a topic tells of an order is so", told_truly),
        eventually("nothing that a topic tells is personal", nothing_personal),
        eventually("no order expires before its end", no_early_expiry),
        sometimes("an order that does not add up is a dead letter", |world| {
            world.dead_letters(DEAD_LETTERS).iter().any(|letter| letter.reason == "amount_mismatch")
        }),
        sometimes("an order is processed at a second attempt", |world| {
            let orders = world.entities::<Order>();
            orders.iter().any(|order| order.trail().last().is_some_and(|entry| entry.attempt > 1))
        }),
    ]
}

fn one_content(world: &World<'_>) -> Result<(), String> {
    let mut said = BTreeMap::new();
    for event in world.published(NOTIFICATIONS) {
        let first = said.entry(event.subject.clone()).or_insert_with(|| event.data.get().to_owned());
        if *first != event.data.get() {
            return Err(format!("of {} it said {first}, and then {}", event.subject, event.data.get()));
        }
    }
    Ok(())
}

fn told_truly(world: &World<'_>) -> Result<(), String> {
    for event in world.published(NOTIFICATIONS) {
        let told: OrderProcessed = event.data_as().map_err(|failure| failure.to_string())?;
        let order = world.entity::<Order>(&told.order_id);
        let is_so =
            |order: &Order| order.status == told.status && order.processed_at == Some(told.processed_at);
        if order.is_some_and(|order| !is_so(&order)) {
            return Err(format!("{} is told of as {told:?}", event.subject));
        }
    }
    Ok(())
}

fn nothing_personal(world: &World<'_>) -> Result<(), String> {
    for event in world.published(NOTIFICATIONS) {
        let Some(order) = world.entity::<Order>(&event.subject) else { continue };
        let said = serde_json::to_string(&event).map_err(|error| error.to_string())?;
        if said.contains(&order.customer) || said.contains(&order.email) {
            return Err(said);
        }
    }
    Ok(())
}

fn no_early_expiry(world: &World<'_>) -> Result<(), String> {
    let letters = world.dead_letters(DEAD_LETTERS);
    let gone = letters.iter().find(|letter| letter.reason == "entity_gone");
    gone.map_or(Ok(()), |letter| Err(format!("{:?}: {}", letter.subject, letter.detail)))
}
