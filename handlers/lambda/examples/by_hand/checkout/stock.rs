//! Units are taken from a product's stock, which lies in parts. A part and an order are two items: whoever changes a part reads the
//! part first, then the order, then writes the part as it was read. A transaction of both would cost twice as much.

use crate::shared::{Item, Table, metric};
use aws_config::SdkConfig;
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{Order, OrderStatus, Product, Reservation, StockPart},
};
use std::collections::{BTreeMap, BTreeSet};

/// How often a message looks for units before it is tried again later.
pub const ROUNDS_MAX: usize = 40;

pub struct Stock {
    pub products: Table,
}

/// What taking came to.
pub enum Taken {
    All(Vec<Reservation>),
    /// There are not as many units. Those that it took stay marked, for the step that gives back.
    Short,
    /// The order is decided: another message of it was faster.
    Decided,
}

/// Parts of a stock, and the order as it is after they were read.
pub struct Look {
    pub order: Option<Item<Order>>,
    pub parts: Vec<Item<StockPart>>,
}

impl Stock {
    pub fn new(config: &SdkConfig) -> Result<Self, Error> {
        Ok(Self { products: Table::new(config, "PRODUCTS_TABLE_NAME", "key")? })
    }

    /// Takes `wanted` units of a product for an order: of a part of its own at first, then of the next, then of all.
    pub async fn take(
        &self,
        orders: &Table,
        order_id: &str,
        product: &Product,
        wanted: u32,
    ) -> Result<Taken, Failure> {
        let walk = product.walk(order_id);
        let (mut looks_at_all, mut settles) = (false, false);
        for round in 0..ROUNDS_MAX {
            let one = [walk[round % walk.len()]];
            let look = if looks_at_all { walk.as_slice() } else { one.as_slice() };
            let Look { order, mut parts } =
                self.look_at(orders, order_id, &product.product_id, look, settles).await?;
            if order.is_none_or(|order| order.order_status != OrderStatus::Pending) {
                return Ok(Taken::Decided);
            }
            let marked: u32 = parts.iter().map(|part| part.marked(order_id)).sum();
            let mut missing = wanted.saturating_sub(marked);
            let mut changed = BTreeSet::new();
            for (at, part) in parts.iter_mut().enumerate().filter(|(_, part)| has_room(part, order_id)) {
                let units = part.take(order_id, missing, product.stock);
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
            let lost = self.commit(parts, &changed, "units taken").await?;
            if lost == 0 {
                return Ok(Taken::All(held));
            }
            // What was applied is marked: it is found among all.
            looks_at_all |= lost < changed.len();
        }
        Err(Failure::transient("stock_busy", "others keep changing the stock of a product"))
    }

    /// Reads parts, then the order, and settles the marks of other orders where a part has many, or `settles` asks for it.
    pub async fn look_at(
        &self,
        orders: &Table,
        order_id: &str,
        product_id: &str,
        parts: &[u32],
        settles: bool,
    ) -> Result<Look, Failure> {
        let ids: Vec<String> = parts.iter().map(|part| StockPart::id_of(product_id, *part)).collect();
        let found = self.products.get_all::<StockPart>(&ids).await?;
        let or_new = |(found, part): (Option<Item<StockPart>>, &u32)| {
            found.unwrap_or_else(|| Item::new(StockPart::untouched(product_id, *part)))
        };
        let mut parts: Vec<Item<StockPart>> = found.into_iter().zip(parts).map(or_new).collect();
        let crowded = parts.iter().filter(|part| settles || part.marks.len() >= StockPart::MARKS_TIDY);
        let others: BTreeSet<String> =
            crowded.flat_map(|part| part.marks.keys()).filter(|id| *id != order_id).cloned().collect();
        let ids: Vec<String> = std::iter::once(order_id.to_owned()).chain(others).collect();
        let mut found: BTreeMap<String, Option<Item<Order>>> =
            ids.iter().cloned().zip(orders.get_all::<Order>(&ids).await?).collect();
        let order = found.remove(order_id).flatten();
        for part in &mut parts {
            for (id, order) in &found {
                part.settle(id, order.as_deref());
            }
        }
        Ok(Look { order, parts })
    }

    /// Writes those parts that changed; answers how many of them lost a race.
    pub async fn commit(
        &self,
        parts: Vec<Item<StockPart>>,
        changed: &BTreeSet<usize>,
        what: &str,
    ) -> Result<usize, Failure> {
        let changed = parts.into_iter().enumerate().filter(|(at, _)| changed.contains(at));
        let changed = changed.map(|(_, part)| (part, what.to_owned(), Vec::new())).collect();
        let lost = self.products.put_all(changed).await?.iter().filter(|applied| !**applied).count();
        if lost > 0 {
            metric("StockRacesLost", "Count", lost as f64);
        }
        Ok(lost)
    }
}

/// Whether a part may take another order.
fn has_room(part: &StockPart, order_id: &str) -> bool {
    part.marks.len() < StockPart::MARKS_MAX || part.marks.contains_key(order_id)
}

/// The units that parts have marked as an order's.
fn reservations(parts: &[Item<StockPart>], order_id: &str) -> Vec<Reservation> {
    let of = |part: &Item<StockPart>| Reservation {
        product_id: part.product_id.clone(),
        part: part.part,
        quantity: part.marked(order_id),
    };
    parts.iter().map(of).filter(|held| held.quantity > 0).collect()
}
