//! `kill -9`, eight times, while orders for one product are under way. Each has one end, nobody pays for what failed, and the last
//! unit is sold. `ATTACK_KILLS` says another number, of as many orders a kill.

use super::{ended, order, sells, up};
use crate::support::{self, Engine, ask, files};
use quadrille::port::{Random as _, SeededRandom};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

const KILLS: u64 = 8;
const ORDERS_PER_KILL: usize = 50;
/// Units for a kill, less than it has orders.
const STOCK_PER_KILL: u64 = 41;

/// The keys of what somebody paid for and was not paid back, by what the simulated gateway remembers.
fn charged(folder: &Path) -> BTreeSet<String> {
    let (mut charged, mut refunded) = (BTreeSet::new(), BTreeSet::new());
    for file in files(&folder.join("bucket/payments")) {
        let place = file.strip_prefix(folder.join("bucket/payments")).unwrap().to_str().unwrap().to_owned();
        let (kind, name) = place.split_once('/').unwrap();
        let record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        match kind {
            "charges" if record["fate"] == "succeeded" => _ = charged.insert(name.to_owned()),
            "charges" | ".partial" => {}
            "refunds" => _ = refunded.insert(name.to_owned()),
            other => panic!("{other}"),
        }
    }
    assert!(refunded.is_subset(&charged));
    charged.difference(&refunded).cloned().collect()
}

/// Posts an order; whether that was answered.
fn posted(engine: &Engine, id: &str, quantity: u32) -> bool {
    let body = order(id, "lamp", quantity, 2.5).to_string();
    let answer = ask(&engine.address, "POST", "/orders", &[], Some(body.as_bytes()));
    answer.is_ok_and(|answer| answer.status == 202)
}

#[test]
fn whatever_is_killed_each_order_has_one_end_and_pays_once_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let random = SeededRandom::new(20_261_129);
    let mut engine = up(folder.path());
    let kills = support::number("ATTACK_KILLS", KILLS);
    let count = usize::try_from(kills).unwrap();
    let (orders, stock) = (count * ORDERS_PER_KILL, kills * STOCK_PER_KILL);
    sells(&engine, "lamp", 2.5, stock);
    for life in 0..count {
        for number in 0..ORDERS_PER_KILL {
            assert!(posted(&engine, &format!("order-{}", life * ORDERS_PER_KILL + number), 1));
        }
        // Some more requests, so that it dies in the middle of different things.
        for _ in 0..random.next_u64() % 40 {
            engine.get("/orders/none");
        }
        engine.kill();
        engine = up(folder.path());
    }
    let ends: Vec<Value> = (0..orders).map(|number| ended(&engine, &format!("order-{number}"))).collect();
    let ended_as = |end: &str| ends.iter().filter(|order| order["orderStatus"] == end).count();
    assert_eq!(ended_as("COMPLETED") + ended_as("FAILED"), orders);
    let reasons: BTreeSet<&str> = ends.iter().filter_map(|order| order["errorReason"].as_str()).collect();
    assert!(reasons.is_subset(&BTreeSet::from(["PAYMENT_FAILED", "OUT_OF_STOCK"])), "{reasons:?}");
    // What is left is sold to the last unit, and no further.
    let left = u32::try_from(stock).unwrap() - u32::try_from(ended_as("COMPLETED")).unwrap();
    let mut sold = ended_as("COMPLETED");
    // The simulated gateway declines some: the first that it lets pay gets all.
    let pays =
        |id: &str| systems::checkout::gateway::fate(1, id) == systems::checkout::gateway::Fate::Succeeded;
    let last = (0..99).map(|number| format!("last-{number}")).find(|id| pays(id)).unwrap();
    if left > 0 {
        assert!(posted(&engine, &last, left));
        assert_eq!(ended(&engine, &last)["orderStatus"], "COMPLETED", "{left} are left");
        sold += 1;
    }
    assert!(posted(&engine, "beyond", 1));
    assert_eq!(ended(&engine, "beyond")["errorReason"], "OUT_OF_STOCK");
    engine.terminate();
    assert_eq!(charged(folder.path()).len(), sold);
}
