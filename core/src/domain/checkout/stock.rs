//! What is sold, and how much of it is there.
//!
//! The stock of a product lies in parts, each an item of its own, so that thousands of orders for one product at once do not
//! all change one item. How many units a part has to sell follows from the product's stock alone: [`capacity`]. A part says
//! how many of them are taken.
//!
//! A part and an order are two items, and no write changes both. So a part that gives units to an order, or takes them back,
//! keeps a [`Mark`] of that until the order's own record tells of it; only then is the mark dropped. An item is therefore as
//! large as the number of orders between these two writes, and not as that of the orders that bought something.

use super::{ID_BYTES_MAX, Order, OrderStatus};
use crate::{
    decimal::Decimal,
    entity::Entity,
    input::{Input, decimal, field, integer, optional, text},
    port::stable_hash,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// The most parts of a product's stock. A partition of DynamoDB takes 1,000 write units a second, and a part needs some two a
/// sale: 32 parts sell some 16,000 orders a second.
pub const PARTS_MAX: u32 = 32;

/// Units that a part has before the next one gets any: a small stock lies in few parts.
pub const UNITS_BEFORE_NEXT: u64 = 8;

/// The largest stock of a product: our own limit.
pub const STOCK_MAX: u64 = 1_000_000_000;

/// The largest body of a product, in bytes: our own limit.
pub const PRODUCT_BODY_BYTES_MAX: usize = 4_096;

/// The longest name of a product, in bytes: our own limit.
const NAME_BYTES_MAX: usize = 256;

/// A product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    pub product_id: String,
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What a unit costs.
    pub price: Decimal,
    /// All units that were ever put up for sale. It only grows.
    pub stock: u64,
}
crate::entity!(Product: "product", by product_id);

/// Reads a product, but for its id, which is in the path. A direct invocation has it in the body as well.
pub fn new_product(body: &Input<'_>) -> Option<Product> {
    let fields = (
        optional("productId", text(1..=ID_BYTES_MAX).without_controls()),
        optional("name", text(1..=NAME_BYTES_MAX)),
        field("price", decimal().at_least(0)),
        field("stock", integer(0..=i64::try_from(STOCK_MAX).unwrap_or(i64::MAX))),
    );
    body.object(fields, |(product_id, name, price, stock)| Product {
        product_id: product_id.unwrap_or_default(),
        name,
        price,
        // Not negative: within the bounds that it was read with.
        stock: u64::try_from(stock).unwrap_or_default(),
    })
}

/// How many units of a stock lie in part `part`. More stock leaves none of its parts with less.
pub fn capacity(stock: u64, part: u32) -> u64 {
    let (part, parts) = (u64::from(part), u64::from(PARTS_MAX));
    let at_first = stock.saturating_sub(part * UNITS_BEFORE_NEXT).min(UNITS_BEFORE_NEXT);
    let beyond = stock.saturating_sub(parts * UNITS_BEFORE_NEXT);
    at_first + beyond / parts + u64::from(part < beyond % parts)
}

impl Product {
    /// The parts of its stock that have units to sell, in the order in which an order looks at them.
    pub fn walk(&self, order_id: &str) -> Vec<u32> {
        let count = self.stock.div_ceil(UNITS_BEFORE_NEXT).clamp(1, u64::from(PARTS_MAX));
        let count = u32::try_from(count).unwrap_or(PARTS_MAX);
        let first = u32::try_from(stable_hash(order_id.as_bytes()) % u64::from(count)).unwrap_or_default();
        (0..count).map(|step| (first + step) % count).collect()
    }
}

/// What a part remembers of an order until the order's own record tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    /// So many units were taken for it.
    Taken(u32),
    /// The units that its record names were given back.
    Returned,
}

/// A part of a product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockPart {
    /// The product.
    pub product_id: String,
    /// Which part.
    pub part: u32,
    /// Units that are held for orders, or sold.
    pub taken: u64,
    /// By order, what its record does not tell of yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, Mark>,
}

impl Entity for StockPart {
    const KIND: &'static str = "stock";

    fn id(&self) -> Cow<'_, str> {
        Cow::Owned(Self::id_of(&self.product_id, self.part))
    }
}

impl StockPart {
    /// The most marks that a part keeps: beyond it takes no further order until some are dropped. Our own limit: with marks of
    /// the longest ids it still has less than 10 KB.
    pub const MARKS_MAX: usize = 64;

    /// From so many marks on, whoever changes the part looks which can be dropped.
    pub const MARKS_TIDY: usize = 8;

    /// The id of a part.
    pub fn id_of(product_id: &str, part: u32) -> String {
        format!("{product_id}/{part}")
    }

    /// A part that nothing was taken from.
    pub fn untouched(product_id: &str, part: u32) -> Self {
        Self { product_id: product_id.to_owned(), part, taken: 0, marks: BTreeMap::new() }
    }

    /// The units that it has left of a product's `stock`.
    pub fn available(&self, stock: u64) -> u64 {
        capacity(stock, self.part).saturating_sub(self.taken)
    }

    /// The units that it took for an order and that the order's record does not tell of.
    pub fn marked(&self, order_id: &str) -> u32 {
        match self.marks.get(order_id) {
            Some(Mark::Taken(units)) => *units,
            Some(Mark::Returned) | None => 0,
        }
    }

    /// Takes up to `units` for an order, as many as are there of `stock`; answers how many.
    pub fn take(&mut self, order_id: &str, units: u32, stock: u64) -> u32 {
        let units = u32::try_from(self.available(stock)).unwrap_or(u32::MAX).min(units);
        if units > 0 {
            self.taken += u64::from(units);
            let marked = self.marked(order_id);
            self.marks.insert(order_id.to_owned(), Mark::Taken(marked + units));
        }
        units
    }

    /// Gives back all that it took for an order that failed, as the order's record and its mark say; once, however often it
    /// is asked. Answers whether it changed.
    pub fn give_back(&mut self, order: &Order) -> bool {
        let reserved = order.reserved(&self.product_id, self.part);
        let units = match self.marks.get(&order.order_id) {
            Some(Mark::Returned) => return false,
            // What the record names is part of it.
            Some(Mark::Taken(units)) => *units,
            None => reserved,
        };
        if units == 0 {
            return false;
        }
        self.taken = self.taken.saturating_sub(u64::from(units));
        if reserved > 0 {
            self.marks.insert(order.order_id.clone(), Mark::Returned);
        } else {
            self.marks.remove(&order.order_id);
        }
        true
    }

    /// Drops the mark of an order whose record has caught up with it, and gives back what was taken and is in no record:
    /// `order` is as it was read after this part was. Answers whether it changed.
    pub fn settle(&mut self, order_id: &str, order: Option<&Order>) -> bool {
        let Some(mark) = self.marks.get(order_id).copied() else { return false };
        let excess = match (mark, order) {
            (Mark::Taken(units), None) => units,
            (Mark::Returned, None) => 0,
            (Mark::Taken(units), Some(order)) => {
                let reserved = order.reserved(&self.product_id, self.part);
                match order.order_status {
                    OrderStatus::Pending => return false,
                    // Its stock is given back by the step that does so, and not twice.
                    OrderStatus::Failed if reserved > 0 && !order.stock_returned => return false,
                    OrderStatus::Failed => units,
                    OrderStatus::Validated | OrderStatus::Completed => units.saturating_sub(reserved),
                }
            }
            (Mark::Returned, Some(order)) if order.stock_returned => 0,
            (Mark::Returned, Some(_)) => return false,
        };
        self.taken = self.taken.saturating_sub(u64::from(excess));
        self.marks.remove(order_id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_hold_the_stock_and_more_stock_takes_from_none(stock in 0..100_000_u64, more in 0..1_000_u64) {
            let sum = |stock| (0..PARTS_MAX).map(|part| capacity(stock, part)).sum::<u64>();
            prop_assert_eq!(sum(stock), stock);
            for part in 0..PARTS_MAX {
                prop_assert!(capacity(stock, part) <= capacity(stock + more, part));
            }
        }

        #[test]
        fn an_order_walks_over_every_part_that_has_units_once(stock in 0..100_000_u64, order in ".{1,20}") {
            let product = Product { product_id: "p".into(), name: None, price: Decimal::from(1), stock };
            let mut walk = product.walk(&order);
            walk.sort_unstable();
            let with_units: Vec<u32> = (0..PARTS_MAX).filter(|part| *part == 0 || capacity(stock, *part) > 0).collect();
            prop_assert_eq!(walk, with_units);
        }
    }

    #[test]
    fn orders_begin_at_different_parts() {
        let product = Product { product_id: "p".into(), name: None, price: Decimal::from(1), stock: 1_000 };
        let mut firsts = [0_u32; PARTS_MAX as usize];
        (0..3_200).for_each(|order| firsts[product.walk(&format!("order-{order}"))[0] as usize] += 1);
        assert!(firsts.iter().all(|count| (50..=160).contains(count)), "{firsts:?}");
    }
}
