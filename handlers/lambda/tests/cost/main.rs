//! What an order costs on AWS: the whole flow with the functions as the processes that Lambda would run, every call that AWS
//! would charge for counted at the wire, and the sum held against the tables of `docs/cost.md`.
//!
//! The peer (ministack) has no prices and no units: requests are counted by proxies before it, units by a copy of the table
//! that follows the requests. Lambda's own part is played by the test: it takes messages from the queues and deletes them,
//! which is charged and so counted, and reads the table's stream, which is free for a function and so not counted.
//!
//! The same calls show that each function does what its permissions, as they are derived, allow, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../shared/definition.rs"]
mod definition;
mod document;
#[path = "../shared/forward.rs"]
mod forward;
#[path = "../functions/function.rs"]
mod function;
#[path = "../shared/handed.rs"]
mod handed;
mod lambda;
mod meter;
#[path = "../../../../core/tests/aws/peer.rs"]
mod peer;
mod permissions;
mod runs;
#[path = "../functions/server.rs"]
mod server;
mod systems_cost;
mod units;

use lambda::Stack;
use meter::Counts;
use permissions::Done;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write as _};
use systems::auction::platform::{PLATFORM_BUCKET, decide};

/// The binary of all functions.
const BINARY: &str = env!("CARGO_BIN_EXE_auction-functions");

/// Twice what a round takes.
const ORDERS: usize = 1_520;
const ORDERS_PER_REQUEST: usize = 100;
const SEED: u64 = 1;
/// How often the platform is not ready.
const NOT_READY: u32 = 3;

/// What a GB-second of Lambda is used for: how long each function is taken to run, in milliseconds. Assumed, as what
/// stands in for AWS here has neither its latencies nor its processors.
const ASSUMED_MILLIS: [(&str, f64); 4] =
    [("post_orders", 60.0), ("poll_auction", 800.0), ("relay", 60.0), ("store_result", 400.0)];
const MEMORY_GB: f64 = 0.25;

/// So many orders that the platform decides so.
fn orders(status: &str, count: usize) -> Vec<Value> {
    let ids = (0..).map(|number| format!("7f8c1d2e-4b6a-4c3d-9e0f-{number:012}"));
    let ids = ids.filter(|id| decide(SEED, id).status.as_deref() == Some(status));
    let order = |id: String| json!({ "record_id": id, "parameter_1": "abc", "parameter_2": 2.1 });
    ids.map(order).take(count).collect()
}

/// A run of so many orders that are decided so, from the first request to the last result; with what `settings` say.
async fn run(url: &str, status: &str, count: usize, settings: &[(&str, &str)]) -> Stack {
    let auction = quadrille::system::choreography(&systems::auction::Auction).unwrap();
    let mut stack = Stack::deploy(url, auction, SEED, NOT_READY, PLATFORM_BUCKET, settings).await;
    for orders in orders(status, count).chunks(ORDERS_PER_REQUEST) {
        stack.post(orders).await;
    }
    stack.kick_off().await;
    while stack.relay().await {
        stack.polled().await;
    }
    stack.results().await;
    assert!(!stack.relay().await, "what is stored tells nobody");
    stack.assert_over(status, count).await;
    stack
}

/// What an order uses that is decided so, by caller, with the size of the largest; and what each function did.
async fn measure(url: &str, status: &str) -> ((BTreeMap<String, Counts>, usize), BTreeMap<String, Done>) {
    let mut stack = run(url, status, ORDERS, &[]).await;
    let used = stack.used();
    // Once more, for what it takes to find them unchanged; it is not counted.
    stack.post(&orders(status, 2)).await;
    (used, stack.done())
}

/// The sum of all callers, an order.
#[allow(clippy::cast_precision_loss)] // The counts are small.
fn per_order(by_caller: &BTreeMap<String, Counts>, orders: usize) -> Counts {
    let mut sum = Counts::new();
    for (caller, counts) in by_caller {
        for (what, count) in counts {
            *sum.entry(what.clone()).or_default() += count / orders as f64;
        }
        let millis =
            ASSUMED_MILLIS.iter().find(|(name, _)| name == caller).map_or(0.0, |(_, millis)| *millis);
        let invocations = counts.get("Lambda requests").copied().unwrap_or(0.0);
        let seconds = invocations * millis / 1_000.0;
        *sum.entry("Lambda GB-seconds".to_owned()).or_default() += seconds * MEMORY_GB / orders as f64;
    }
    sum
}

#[tokio::test]
async fn an_order_costs_what_the_document_says_and_takes_the_permissions_that_are_derived() {
    let Some(url) = peer::require_that_can("the cost of an order", peer::Can::BeMeddledWith) else { return };
    let mut columns = Vec::new();
    let mut done: BTreeMap<String, Done> = BTreeMap::new();
    for status in ["accepted", "rejected"] {
        let ((by_caller, largest), did) = measure(url, status).await;
        did.into_iter().for_each(|(function, did)| done.entry(function).or_default().extend(did));
        let sum = per_order(&by_caller, ORDERS);
        let mut told =
            format!("an order that is {status}, {ORDERS} at once; the largest has {largest} bytes\n");
        for (what, count) in &sum {
            told += &format!("{count:>10.4} {what}\n");
            for (caller, counts) in &by_caller {
                if let Some(count) = counts.get(what) {
                    told += &format!("{:>10} {count:>8} {caller}\n", "");
                }
            }
        }
        // Not by a macro: what a test that passes prints is kept back.
        let _ = writeln!(std::io::stderr(), "{told}");
        columns.push(sum);
    }
    let [accepted, rejected] = columns.try_into().unwrap();
    document::check(&accepted, &rejected);
    permissions::check(&done);
}
