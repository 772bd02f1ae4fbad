//! Units are taken from a product's stock for an order, and given back.
//!
//! The parts of a stock and the order are items of their own. Whoever changes a part reads the part first, then the order, then
//! commits the part as it was read. So a message that comes twice takes once: where the part has no mark of the order, the
//! order's record was not there yet when the part was read, or it is seen now.

use super::{
    events::StockReturn,
    metrics::{STOCK_RACES_LOST, STOCK_RETURNED},
};
use quadrille::{
    Committed, Context, Failure, Handled, Outcome, Stored,
    domain::checkout::{Order, OrderStatus, PARTS_MAX, Product, Reservation, STOCK_MAX, StockPart},
    planted,
};
use std::collections::{BTreeMap, BTreeSet};

/// How often a message looks for units before it is tried again later. Each time but the last another order got units, or gave
/// some back.
const ROUNDS_MAX: usize = 40;

/// The reason of the failure where others keep changing the stock.
pub const STOCK_BUSY: &str = "stock_busy";

/// What taking came to.
pub(super) enum Taken {
    /// It has all that it wants.
    All(Vec<Reservation>),
    /// There are not as many units. Those that it took stay marked, for the step that gives back.
    Short,
    /// The order is decided: another message of it was faster.
    Decided,
}

/// Takes `wanted` units of a product for an order.
///
/// An order begins at a part of its own, and goes on to the next where it loses a race for it. Where one part has too few
/// units, it looks at all of them at once.
pub(super) async fn take<Em>(
    cx: &Context<Em>,
    order_id: &str,
    product: &Product,
    wanted: u32,
) -> Result<Taken, Failure> {
    let walk = product.walk(order_id);
    let (mut looks_at_all, mut settles) = (false, false);
    for round in 0..ROUNDS_MAX {
        let one = [walk[round % walk.len()]];
        let look = if looks_at_all { walk.as_slice() } else { one.as_slice() };
        let Look { order, mut parts } = look_at(cx, order_id, &product.product_id, look, settles).await?;
        if order.is_none_or(|order| order.order_status != OrderStatus::Pending) {
            return Ok(Taken::Decided);
        }
        let marked: u32 = parts.iter().map(|part| part.marked(order_id)).sum();
        let mut missing = wanted.saturating_sub(marked);
        let mut changed = BTreeSet::new();
        for (at, part) in parts.iter_mut().enumerate().filter(|(_, part)| has_room(part, order_id)) {
            // As if a lost race asked for no second look at what is left.
            let stock = if round > 0 && planted("hold_without_check") { STOCK_MAX } else { product.stock };
            let units = part.take(order_id, missing, stock);
            missing -= units;
            changed.extend((units > 0).then_some(at));
        }
        if missing > 0 {
            // First wider, then closer: a mark that nobody needs any longer may hold units back.
            let are_held = parts.iter().flat_map(|part| part.marks.keys()).any(|id| id != order_id);
            if !looks_at_all {
                looks_at_all = true;
            } else if are_held && !settles {
                settles = true;
            } else if parts.iter().all(|part| has_room(part, order_id)) {
                return Ok(Taken::Short);
            } else {
                break;
            }
            continue;
        }
        let held = reservations(&parts, order_id);
        let lost = commit(cx, parts, &changed, "units taken").await?;
        if lost == 0 {
            return Ok(Taken::All(held));
        }
        // What was applied is marked: it is found among all.
        looks_at_all |= lost < changed.len();
    }
    Err(Failure::transient(STOCK_BUSY, "others keep changing the stock of a product"))
}

/// Whether a part may take another order.
fn has_room(part: &StockPart, order_id: &str) -> bool {
    part.marks.len() < StockPart::MARKS_MAX || part.marks.contains_key(order_id)
}

/// The units that parts have marked as an order's.
fn reservations(parts: &[Stored<StockPart>], order_id: &str) -> Vec<Reservation> {
    let of = |part: &Stored<StockPart>| Reservation {
        product_id: part.product_id.clone(),
        part: part.part,
        quantity: part.marked(order_id),
    };
    parts.iter().map(of).filter(|held| held.quantity > 0).collect()
}

/// Parts of a stock, and the order as it is after they were read.
struct Look {
    order: Option<Stored<Order>>,
    parts: Vec<Stored<StockPart>>,
}

/// Reads parts, and then the order. The marks of other orders are settled where a part has many of them, or where `settles`
/// asks for it.
async fn look_at<Em>(
    cx: &Context<Em>,
    order_id: &str,
    product_id: &str,
    parts: &[u32],
    settles: bool,
) -> Result<Look, Failure> {
    let ids: Vec<String> = parts.iter().map(|part| StockPart::id_of(product_id, *part)).collect();
    let found = cx.get::<StockPart>(&ids).await?;
    let or_new = |(found, part): (Option<Stored<StockPart>>, &u32)| {
        found.unwrap_or_else(|| Stored::new(StockPart::untouched(product_id, *part)))
    };
    let mut parts: Vec<Stored<StockPart>> = found.into_iter().zip(parts).map(or_new).collect();
    let crowded = parts.iter().filter(|part| settles || part.marks.len() >= StockPart::MARKS_TIDY);
    let others: BTreeSet<String> =
        crowded.flat_map(|part| part.marks.keys()).filter(|id| *id != order_id).cloned().collect();
    let ids: Vec<String> = std::iter::once(order_id.to_owned()).chain(others).collect();
    let mut orders: BTreeMap<String, Result<Option<Stored<Order>>, Failure>> =
        ids.iter().cloned().zip(cx.get_each::<Order>(&ids).await?).collect();
    let order = orders.remove(order_id).transpose()?.flatten();
    // The marks of another order that can't be read stay: nobody knows whether it needs them.
    let others = orders.iter().filter_map(|(id, order)| Some((id, order.as_ref().ok()?)));
    for (id, order) in others {
        for part in &mut parts {
            part.settle(id, order.as_deref());
        }
    }
    Ok(Look { order, parts })
}

/// Commits those parts of `parts` that changed; answers how many of them lost a race.
async fn commit<Em>(
    cx: &Context<Em>,
    parts: Vec<Stored<StockPart>>,
    changed: &BTreeSet<usize>,
    what: &'static str,
) -> Result<usize, Failure> {
    let changed = parts.into_iter().enumerate().filter(|(at, _)| changed.contains(at));
    let committed = cx.commit_all(changed.map(|(_, part)| part.commit(what)).collect()).await?;
    let lost = committed.iter().filter(|committed| **committed == Committed::Conflict).count();
    if lost > 0 {
        cx.measure(STOCK_RACES_LOST, lost as f64);
    }
    Ok(lost)
}

/// Gives back all that was taken for an order that failed.
///
/// # Errors
/// Transient failures of the tables.
pub async fn return_stock(mut order: Stored<Order>, _: StockReturn, cx: Context<()>) -> Outcome<()> {
    if order.order_status != OrderStatus::Failed || order.stock_returned {
        return Ok(Handled::already("given back"));
    }
    let products: BTreeSet<String> = order.items.iter().map(|item| item.product_id.clone()).collect();
    for product_id in products {
        if !give_back(&cx, &order, &product_id).await? {
            return Ok(Handled::already("given back meanwhile"));
        }
    }
    if order.reservations.is_empty() {
        return Ok(Handled::already("it held nothing"));
    }
    order.stock_returned = true;
    order.updated_at = cx.now();
    Ok(order.commit("its stock given back").measure(STOCK_RETURNED, 1.0).into())
}

/// Gives back what an order took of a product; false where another message has done that already.
async fn give_back(cx: &Context<()>, order: &Order, product_id: &str) -> Result<bool, Failure> {
    let recorded = order.reservations.iter().filter(|held| held.product_id == product_id);
    let mut parts: Vec<u32> = recorded.map(|held| held.part).collect();
    if order.reservations.is_empty() {
        // It may have failed between taking and its record: its marks are found among all.
        parts = (0..PARTS_MAX).collect();
    }
    for _ in 0..ROUNDS_MAX {
        let Look { order: now, mut parts } = look_at(cx, &order.order_id, product_id, &parts, false).await?;
        let Some(now) = now.filter(|now| !now.stock_returned) else { return Ok(false) };
        let changes = parts.iter_mut().map(|part| part.give_back(&now)).enumerate();
        let changed: BTreeSet<usize> = changes.filter_map(|(at, changed)| changed.then_some(at)).collect();
        if commit(cx, parts, &changed, "units given back").await? == 0 {
            return Ok(true);
        }
    }
    Err(Failure::transient(STOCK_BUSY, "others keep changing the stock of a product"))
}
