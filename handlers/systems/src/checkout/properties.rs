//! What holds of the checkout whatever happens.

use super::{
    NOTIFICATIONS,
    events::OrderEnded,
    gateway::{CHARGES, PAYMENTS_BUCKET, REFUNDS, is_charge},
    pay::payment_key,
};
use percent_encoding::percent_decode_str;
use quadrille::{
    domain::checkout::{ErrorReason, Mark, Order, OrderStatus, PaymentStatus, Product, StockPart, capacity},
    sim::{Property, World, always, each_commit, eventually, sometimes},
};
use std::collections::{BTreeMap, BTreeSet};

/// The dead-letter queues in which an order may lie that has not ended.
const GIVEN_UP_IN: [&str; 2] = ["validate-order-dlq", "process-payment-dlq"];

/// All of it.
pub(super) fn properties() -> Vec<Property> {
    vec![
        always("no more units are taken than there are", not_oversold),
        each_commit::<Order>("an order that is completed or failed stays so", stays),
        eventually(
            "an order is charged once where it is completed, and paid back or never charged where it failed",
            charged,
        ),
        eventually(
            "what is taken of the stock is what completed orders bought, and those hold that may be sent back",
            given_back,
        ),
        eventually("people are told one thing of each order, and that is so", told_truly),
        sometimes("a payment is declined", |world| is_any(world, ErrorReason::PaymentFailed)),
        sometimes("a product is out of stock", |world| is_any(world, ErrorReason::OutOfStock)),
        sometimes("a payment is undone", |world| {
            let undone = [PaymentStatus::Refunded, PaymentStatus::Voided];
            let orders = world.entities::<Order>();
            let mut results = orders.iter().filter_map(|order| order.payment_result.as_ref());
            results.any(|result| undone.contains(&result.status))
        }),
    ]
}

fn is_any(world: &World<'_>, reason: ErrorReason) -> bool {
    world.entities::<Order>().iter().any(|order| order.error_reason == Some(reason))
}

fn is_over(order: &Order) -> bool {
    matches!(order.order_status, OrderStatus::Completed | OrderStatus::Failed)
}

fn stays(before: Option<&quadrille::Stored<Order>>, after: &quadrille::Stored<Order>) -> Result<(), String> {
    let Some(before) = before.filter(|before| is_over(before)) else { return Ok(()) };
    let end = |order: &Order| (order.order_status, order.error_reason, order.payment_transaction_id.clone());
    if end(before) == end(after) {
        return Ok(());
    }
    Err(format!("{} was {:?}, and is {:?}", after.order_id, end(before), end(after)))
}

fn not_oversold(world: &World<'_>) -> Result<(), String> {
    for part in world.entities::<StockPart>() {
        let stock = world.entity::<Product>(&part.product_id).map_or(0, |product| product.stock);
        let most = capacity(stock, part.part);
        if part.taken > most {
            let (id, taken) = (&part.product_id, part.taken);
            return Err(format!("of {id}, part {} has {most} units, and {taken} are taken", part.part));
        }
    }
    Ok(())
}

/// The payment keys of the objects whose keys begin like this.
fn keys<'a>(objects: &'a [(String, Vec<u8>)], prefix: &str) -> Vec<(String, &'a [u8])> {
    let named = objects.iter().filter_map(|(key, body)| {
        let name = key.strip_prefix(prefix)?.strip_suffix(".json")?;
        Some((percent_decode_str(name).decode_utf8().ok()?.into_owned(), body.as_slice()))
    });
    named.collect()
}

fn charged(world: &World<'_>) -> Result<(), String> {
    let objects = world.objects(PAYMENTS_BUCKET);
    let refunds: BTreeSet<String> = keys(&objects, REFUNDS).into_iter().map(|(key, _)| key).collect();
    let mut charged = BTreeSet::new();
    for (key, body) in keys(&objects, CHARGES) {
        if is_charge(body).map_err(|failure| failure.to_string())? && !refunds.contains(&key) {
            charged.insert(key);
        }
    }
    for order in world.entities::<Order>() {
        let is_charged = charged.remove(&payment_key(&order));
        if is_over(&order) && is_charged != (order.order_status == OrderStatus::Completed) {
            let (id, status) = (&order.order_id, order.order_status.as_str());
            return Err(format!("{id} is {status}, and its charge stands: {is_charged}"));
        }
    }
    charged.first().map_or(Ok(()), |key| Err(format!("{key} was charged for no order, or a second time")))
}

/// By product, the units that are taken once every mark is settled, and those that completed orders bought.
fn given_back(world: &World<'_>) -> Result<(), String> {
    let (mut taken, mut bought) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let given_up = given_up(world);
    for part in world.entities::<StockPart>() {
        let mut part = StockPart::clone(&part);
        let marks: Vec<String> = part.marks.keys().cloned().collect();
        for id in &marks {
            let order = world.entity::<Order>(id);
            part.settle(id, order.as_deref().map(|order| &**order));
            // One that lies in a dead-letter queue holds what it holds, for it may be sent back.
            if let (Some(order), Some(Mark::Taken(units))) = (&order, part.marks.get(id))
                && order.order_status == OrderStatus::Pending
                && given_up.contains(id)
            {
                part.taken = part.taken.saturating_sub(u64::from(*units));
            }
        }
        *taken.entry(part.product_id).or_default() += part.taken;
    }
    for order in world.entities::<Order>() {
        let holds = match order.order_status {
            OrderStatus::Completed => true,
            OrderStatus::Validated => given_up.contains(&order.order_id),
            OrderStatus::Pending | OrderStatus::Failed => false,
        };
        for item in order.items.iter().filter(|_| holds) {
            *bought.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
        }
    }
    taken.retain(|_, units| *units > 0);
    if taken == bought { Ok(()) } else { Err(format!("taken {taken:?}, bought {bought:?}")) }
}

/// The orders that have not ended and lie in a dead-letter queue, as no function lived to fail them.
fn given_up(world: &World<'_>) -> BTreeSet<String> {
    let letters = GIVEN_UP_IN.iter().flat_map(|queue| world.dead_letters(queue));
    letters.filter_map(|letter| letter.subject).collect()
}

fn told_truly(world: &World<'_>) -> Result<(), String> {
    let mut told = BTreeMap::new();
    for event in world.published(NOTIFICATIONS) {
        let said = event.data.get().to_owned();
        let first = told.entry(event.subject.clone()).or_insert_with(|| said.clone());
        if *first != said {
            return Err(format!("of {} it said {first}, and then {said}", event.subject));
        }
    }
    for order in world.entities::<Order>().iter().filter(|order| is_over(order)) {
        let is_so = serde_json::to_string(&OrderEnded::of(order)).map_err(|error| error.to_string())?;
        if told.get(&order.order_id) != Some(&is_so) {
            return Err(format!("{is_so} is told as {:?}", told.get(&order.order_id)));
        }
    }
    Ok(())
}
