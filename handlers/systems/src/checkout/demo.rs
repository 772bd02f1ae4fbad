//! The checkout's demonstration: a shop with one product that everybody wants, orders that are wrong, payments that are
//! declined, and a gateway that is out for some.

use super::gateway::{CHARGES, GATEWAY_DELAY, GATEWAY_OUTAGES, PAYMENTS_BUCKET, REFUNDS, is_charge};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use percent_encoding::percent_decode_str;
use quadrille::{
    Entity, Failure, Pipeline, Stored,
    domain::checkout::{Order, OrderStatus, Product, StockPart},
    system::{DEAD_LETTERED, Demo, Evidence},
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entities looked at by one call.
const PAGE: usize = 1_000;

/// Objects read at once.
const READ_AT_ONCE: usize = 64;

/// The product that most orders want.
const HOT: &str = "lamp";
/// A product that soon runs out.
const SCARCE: &str = "clock";
/// A product that all get who want it.
const PLENTY: &str = "chair";

const COMPLETED: &str = "completed";
const VALIDATION_FAILED: &str = "validation_failed";
const OUT_OF_STOCK: &str = "out_of_stock";
const VALIDATION_UNAVAILABLE: &str = "validation_unavailable";
const PAYMENT_FAILED: &str = "payment_failed";
const PAYMENT_UNAVAILABLE: &str = "payment_unavailable";

const FAILED: [&str; 5] =
    [VALIDATION_FAILED, OUT_OF_STOCK, VALIDATION_UNAVAILABLE, PAYMENT_FAILED, PAYMENT_UNAVAILABLE];

pub(super) struct CheckoutDemo;

#[async_trait]
impl Demo for CheckoutDemo {
    fn subjects(&self) -> &'static str {
        "orders"
    }

    fn title(&self) -> &'static str {
        "A shop's checkout on one machine"
    }

    fn kind(&self) -> &'static str {
        "order"
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([(GATEWAY_DELAY, "100ms".to_owned()), (GATEWAY_OUTAGES, "1".to_owned())])
    }

    fn step(&self) -> &'static str {
        "create_order"
    }

    /// Nearly as many lamps as are ordered, a few clocks, and chairs for everybody.
    fn before(&self, first: &str, count: u64) -> Vec<(&'static str, Value)> {
        let product = |name: &str, price: f64, stock: u64| {
            ("put_product", json!({ "productId": of(name, first), "price": price, "stock": stock }))
        };
        // Of 20 orders 12 want a lamp, so that some at the end go without.
        let lamps = (count * 11).div_ceil(20);
        vec![
            product(HOT, 19.9, lamps),
            product(SCARCE, 80.0, count.div_ceil(50)),
            product(PLENTY, 45.5, count * 2),
        ]
    }

    fn body(&self, ids: &[String]) -> Value {
        let id = ids.concat(); // one order a request
        let number: u64 = id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let item = |name: &str, quantity: u32, price: f64| json!({ "productId": of(name, &id), "quantity": quantity, "price": price });
        let (items, total) = match number % 20 {
            // A product that nobody knows, an old price, and a wrong sum.
            5 => (vec![item("unicorn", 1, 1.0)], 1.0),
            10 => (vec![item(PLENTY, 1, 40.0)], 40.0),
            15 => (vec![item(HOT, 1, 19.9)], 20.0),
            2 | 12 => (vec![item(SCARCE, 1, 80.0)], 80.0),
            4 | 8 | 14 | 18 => (vec![item(HOT, 1, 19.9), item(PLENTY, 2, 45.5)], 110.9),
            0 | 16 => (vec![item(PLENTY, 1, 45.5)], 45.5),
            _ => (vec![item(HOT, 1, 19.9)], 19.9),
        };
        let user = format!("user-{}", number % 997);
        json!({ "orderId": id, "userId": user, "items": items, "totalAmount": total })
    }

    fn ends(&self) -> &'static [&'static str] {
        &[
            COMPLETED,
            VALIDATION_FAILED,
            OUT_OF_STOCK,
            VALIDATION_UNAVAILABLE,
            PAYMENT_FAILED,
            PAYMENT_UNAVAILABLE,
            DEAD_LETTERED,
        ]
    }

    /// A message that was given up lies in a dead-letter queue, and its order has failed all the same: that is its end. A dead
    /// letter alone is the end of an order that has no other: its queue gave it up, as no function lived to do so.
    fn counted(&self, evidence: &Evidence<'_>) -> Vec<&'static str> {
        let order = evidence.entity.filter(|order| order.is_ended);
        let end = order.and_then(|order| match order.status.as_deref() {
            Some("COMPLETED") => Some(COMPLETED),
            Some("FAILED") => {
                let reason = order.state["errorReason"].as_str().unwrap_or_default();
                FAILED.into_iter().find(|name| name.eq_ignore_ascii_case(reason))
            }
            _ => None,
        });
        let is_dead = !evidence.dead_letters.is_empty();
        end.or(is_dead.then_some(DEAD_LETTERED)).into_iter().collect()
    }

    /// What was charged and what was sold, which have to be what the completed orders say.
    async fn summary(&self, pipeline: &Pipeline) -> Result<Map<String, Value>, Failure> {
        let orders = all::<Order>(pipeline, "orders").await?;
        let charged = charged(pipeline).await?;
        let completed = orders.values().filter(|order| order.order_status == OrderStatus::Completed);
        let completed: BTreeSet<&str> = completed.map(|order| order.order_id.as_str()).collect();
        let wrongly = charged.iter().map(String::as_str).collect::<BTreeSet<_>>();
        let wrongly = wrongly.symmetric_difference(&completed).count();
        if wrongly > 0 {
            let detail =
                format_args!("{wrongly} orders are charged and not completed, or the other way round");
            return Err(Failure::permanent("wrongly_charged", detail));
        }
        let mut sold: BTreeMap<String, u64> = BTreeMap::new();
        for (_, mut part) in all::<StockPart>(pipeline, "products").await? {
            let marks: Vec<String> = part.marks.keys().cloned().collect();
            marks.iter().for_each(|id| _ = part.settle(id, orders.get(id).map(|order| &**order)));
            *sold.entry(part.product_id.clone()).or_default() += part.taken;
        }
        let mut bought: BTreeMap<String, u64> = BTreeMap::new();
        for order in orders.values().filter(|order| order.order_status == OrderStatus::Completed) {
            for item in &order.items {
                *bought.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
            }
        }
        sold.retain(|_, units| *units > 0);
        let stock = all::<Product>(pipeline, "products").await?;
        let is_over =
            |(id, units): (&String, &u64)| stock.get(id).is_none_or(|product| product.stock < *units);
        if sold != bought || sold.iter().any(is_over) {
            let detail = format_args!("sold {sold:?}, bought {bought:?}");
            return Err(Failure::permanent("stock_wrong", detail));
        }
        Ok(Map::from_iter([("charged".to_owned(), json!(charged.len())), ("sold".to_owned(), json!(sold))]))
    }
}

/// A product of the demonstration that an order is of: on a folder that is kept, each has its own.
fn of(product: &str, order_id: &str) -> String {
    let tag = order_id.rsplit_once('-').and_then(|(before, _)| before.split_once('-'));
    tag.map_or_else(|| product.to_owned(), |(_, tag)| format!("{product}-{tag}"))
}

/// All entities of a kind, by id.
async fn all<E: Entity>(pipeline: &Pipeline, table: &str) -> Result<BTreeMap<String, Stored<E>>, Failure> {
    let table = pipeline.ports().table(table)?;
    let prefix = format!("{}/", E::KIND);
    let (mut found, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let page = table.scan(after.as_deref(), PAGE).await?;
        for item in page.items.iter().filter(|item| item.key.starts_with(&prefix)) {
            let entity = Stored::<E>::read(item)?;
            found.insert(entity.id().into_owned(), entity);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// The orders that somebody paid for and was not paid back, by what the gateway remembers.
async fn charged(pipeline: &Pipeline) -> Result<BTreeSet<String>, Failure> {
    let bucket = pipeline.ports().bucket(PAYMENTS_BUCKET)?;
    let (mut charged, mut after) = (BTreeSet::new(), None::<String>);
    loop {
        let page = bucket.list(CHARGES, after.as_deref(), PAGE).await?;
        let reading = page.keys.into_iter().map(|key| async move {
            let is_charge = is_charge(&bucket.get(&key).await?.unwrap_or_default())?;
            let refund = key.replacen(CHARGES, REFUNDS, 1);
            let stands = is_charge && bucket.get(&refund).await?.is_none();
            Ok::<_, Failure>(order_of(&key).filter(|_| stands))
        });
        let mut read = stream::iter(reading).buffered(READ_AT_ONCE);
        while let Some(order) = read.next().await {
            charged.extend(order?);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(charged),
        }
    }
}

/// The order of a charge's key.
fn order_of(key: &str) -> Option<String> {
    let name = key.strip_prefix(CHARGES)?.strip_suffix(".json")?;
    let key = percent_decode_str(name).decode_utf8().ok()?;
    Some(key.rsplit_once('@')?.0.to_owned())
}
