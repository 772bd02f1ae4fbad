//! What an order costs at the wire, by how many orders a run has and how many shards there are; and what a run without orders costs.
//!
//! `QUADRILLE_COST_ORDERS=100,10000 cargo test -p lambdas --features aws --test cost runs:: -- --nocapture` measures runs of so many.

use crate::{meter::Counts, peer, per_order, run};
use std::io::Write as _;

const TABLE: &str = "DynamoDB table write units";
const INDEX: &str = "DynamoDB index write units";
const READS: &str = "DynamoDB read units";
const REQUESTS: &str = "DynamoDB requests";
const QUEUES: &str = "SQS requests";
const COLUMNS: [&str; 5] = [TABLE, INDEX, READS, REQUESTS, QUEUES];

async fn measure(url: &str, orders: usize, shards: u32) -> Counts {
    let stack = run(url, "accepted", orders, &[("QUADRILLE_OPEN_SHARDS", &shards.to_string())]).await;
    let counts = per_order(&stack.used().0, orders.max(1));
    let figures = COLUMNS.map(|column| format!("{:.3}", counts.get(column).copied().unwrap_or(0.0)));
    let _ = writeln!(std::io::stderr(), "| {orders} | {shards} | {} |", figures.join(" | "));
    counts
}

#[tokio::test]
async fn an_order_costs_the_same_at_the_wire_however_many_a_run_has_and_a_shard_costs_it_a_read_unit() {
    let Some(url) = peer::require_that_can("the cost of a run", peer::Can::BeMeddledWith) else { return };
    let said = std::env::var("QUADRILLE_COST_ORDERS").unwrap_or_else(|_| "100".to_owned());
    for orders in said.split(',').map(|said| said.parse::<u32>().unwrap()) {
        for shards in [8, 64] {
            let counts = measure(url, orders as usize, shards).await;
            let (orders, shards) = (f64::from(orders), f64::from(shards));
            // The run's own: a commit a round, a page of 760 orders, and what it takes to find it.
            let (few, shares) = (12.0 / orders, 2.5 * shards / orders);
            assert!(counts[TABLE] <= 4.07 + few && counts[INDEX] <= 2.01 + few, "{counts:?}");
            assert!(
                counts[READS] <= 2.2 + few + shares && counts[REQUESTS] <= 0.35 + few + shares,
                "{counts:?}"
            );
        }
    }
    // Without orders: half a read unit a shard, and as much to tell that nothing waits there. Beside it the run's own state is read,
    // and which runs are live.
    for shards in [8_u32, 64] {
        let counts = measure(url, 0, shards).await;
        let write = counts.get(TABLE).copied().unwrap_or(0.0) + counts.get(INDEX).copied().unwrap_or(0.0);
        assert_eq!((write, counts[READS]), (0.0, f64::from(shards) + 1.5), "{counts:?}");
        assert_eq!(counts[REQUESTS], 2.0 * f64::from(shards) + 2.0, "{counts:?}");
    }
}
