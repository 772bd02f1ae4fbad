//! What holds of the snacks whatever happens.

use super::{PROCESSED, kitchen::Kitchen, processing::OrderProcessed};
use quadrille::{
    domain::snacks::{Order, OrderStatus},
    service_name,
    sim::{Property, World, each_commit, eventually, sometimes},
};
use std::collections::{BTreeMap, BTreeSet};

/// All of it.
pub(super) fn properties() -> Vec<Property> {
    vec![
        each_commit::<Order>("an order is cancelled or processed, and never both", |before, after| {
            if after.processed_at.is_some() && after.cancelled_at.is_some() {
                return Err(format!("{} is both", after.order_id));
            }
            match before {
                Some(before) if before.status != OrderStatus::New && **before != **after => {
                    Err(format!("{} was {}, and changed", after.order_id, before.status))
                }
                _ => Ok(()),
            }
        }),
        eventually(
            "people are told once of each order that is processed, and of no other",
            told_of_processed,
        ),
        eventually("the kitchen makes what is processed", made),
        sometimes("an order is cancelled", |world| is_any(world, OrderStatus::Cancelled)),
        sometimes("an order is too late to be cancelled, or to be made", |world| {
            let called_off = asked(world, "call off ");
            let prepared = asked(world, "prepare ");
            called_off.intersection(&prepared).next().is_some()
        }),
        sometimes("an order that the kitchen never makes is a dead letter", |world| {
            !world.dead_letters("order-processor-dlq").is_empty()
        }),
    ]
}

fn is_any(world: &World<'_>, status: OrderStatus) -> bool {
    world.entities::<Order>().iter().any(|order| order.status == status)
}

/// The orders for which the kitchen was asked this.
fn asked(world: &World<'_>, what: &str) -> BTreeSet<String> {
    let asked = world.asked(service_name::<dyn Kitchen>()).iter();
    asked.filter_map(|asked| asked.what.strip_prefix(what)).map(str::to_owned).collect()
}

fn told_of_processed(world: &World<'_>) -> Result<(), String> {
    let mut told = BTreeMap::new();
    for event in world.published(PROCESSED) {
        let said: OrderProcessed = event.data_as().map_err(|failure| failure.to_string())?;
        if told.insert(said.order_id.clone(), said.processed_at).is_some_and(|at| at != said.processed_at) {
            return Err(format!("{} is told of with two times", said.order_id));
        }
    }
    for order in world.entities::<Order>() {
        if told.get(&order.order_id).copied() != order.processed_at {
            let told = told.get(&order.order_id);
            return Err(format!("{} is {}, and told of as of {told:?}", order.order_id, order.status));
        }
    }
    Ok(())
}

fn made(world: &World<'_>) -> Result<(), String> {
    let packed = asked(world, "pack ");
    let orders = world.entities::<Order>();
    let unmade = |order: &&std::sync::Arc<quadrille::Stored<Order>>| {
        order.status == OrderStatus::Processed && !packed.contains(&order.order_id)
    };
    orders.iter().find(unmade).map_or(Ok(()), |order| Err(format!("{} was not packed", order.order_id)))
}
