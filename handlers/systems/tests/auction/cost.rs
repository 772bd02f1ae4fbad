//! What an order costs in one process: calls of the table, counted at its port, by how many orders a run has, how many shards there are,
//! and how many parts a run has. (`handlers/lambda/tests/cost` counts at the wire, in units, with the functions as processes.)
//!
//! `QUADRILLE_COST_ORDERS=100,10000,1000000 cargo test -p systems --test auction cost:: -- --nocapture` measures runs of so many
//! orders. A million take a gigabyte or more, and some minutes where the compiler optimises (docs/scale.md).

use crate::world::World;
use async_trait::async_trait;
use quadrille::{
    Pipeline,
    engine::Engine,
    port::{CommitError, IndexPage, IndexQuery, Item, PortError, ScanPage, Table, Write},
};
use std::{
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};
use systems::auction::{OPEN_SHARDS, ORDERS_PER_RUN, RUN_PARTS};
use tokio::time::timeout;

/// What one call of DynamoDB takes: 25 writes of a `BatchExecuteStatement`, 100 reads of a `BatchGetItem`.
const WRITES_PER_REQUEST: usize = 25;
const READS_PER_REQUEST: usize = 100;

/// How long a measurement may take: a million orders take some minutes.
const MEASURED_WITHIN: Duration = Duration::from_secs(900);

/// Bytes of an index page that are read for half a unit.
const READ_UNIT: usize = 4_096;

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    writes: usize,
    /// Entries that were put into the index, or taken out of it.
    index_changes: usize,
    reads: usize,
    queries: usize,
    empty_queries: usize,
    /// Halves of read units.
    query_halves: usize,
    requests: usize,
}

/// A table that counts.
struct Counted {
    table: Arc<dyn Table>,
    counts: Arc<Mutex<Counts>>,
}

impl Counted {
    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap());
    }
}

#[async_trait]
impl Table for Counted {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.count(|counts| {
            counts.reads += keys.len();
            counts.requests += keys.len().div_ceil(READS_PER_REQUEST);
        });
        self.table.get(keys).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        self.count(|counts| {
            counts.writes += writes.len();
            // What is new, and stands in no index, changes none.
            let in_index = |write: &&Write| write.expected > 0 || write.item.index.is_some();
            let changed = writes.iter().filter(in_index).filter(|write| write.index_changed);
            counts.index_changes += changed.count();
            counts.requests += writes.len().div_ceil(WRITES_PER_REQUEST);
        });
        self.table.commit(writes).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        let page = self.table.query(query).await?;
        let bytes: usize =
            page.items.iter().map(|item| item.key.len() + item.document.text().unwrap().len()).sum();
        self.count(|counts| {
            counts.queries += 1;
            counts.empty_queries += usize::from(page.items.is_empty());
            counts.query_halves += bytes.div_ceil(READ_UNIT).max(1);
            counts.requests += 1;
        });
        Ok(page)
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.table.count(partition, at_most).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.table.scan(after, limit).await
    }
}

/// The world's pipeline over a table that counts.
fn counted(world: &World) -> (Pipeline, Arc<Mutex<Counts>>) {
    let counts = Arc::<Mutex<Counts>>::default();
    let mut ports = (**world.pipeline.ports()).clone();
    let table = Arc::clone(ports.table("orders").unwrap());
    ports.tables.insert("orders".to_owned(), Arc::new(Counted { table, counts: Arc::clone(&counts) }));
    (Pipeline::new(world.pipeline.choreography().clone(), ports), counts)
}

/// What a run of `orders` costs, from its kickoff on.
async fn measure(orders: usize, shards: &str, parts: &str) -> Counts {
    // However many there are, they are one run's, or each part's.
    let said = [(OPEN_SHARDS, shards), (RUN_PARTS, parts), (ORDERS_PER_RUN, "10000000")];
    let world = World::with(Duration::ZERO, &said);
    let (pipeline, counts) = counted(&world);
    let ids: Vec<String> =
        (0..orders).map(|number| format!("7f8c1d2e-4b6a-4c3d-9e0f-{number:012}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for batch in ids.chunks(100) {
        world.post(batch).await;
    }
    let engine = Engine::start(pipeline);
    world.kick_off().await;
    engine.stop().await;
    for id in ids.iter().take(1).chain(ids.last()) {
        assert!(world.order(id).await.unwrap().result_key.is_some(), "{id}");
    }
    *counts.lock().unwrap()
}

#[allow(clippy::cast_precision_loss)] // The counts are small.
fn each(count: usize, orders: usize) -> f64 {
    count as f64 / orders.max(1) as f64
}

#[tokio::test]
async fn an_order_costs_a_run_the_same_however_many_there_are_and_a_shard_costs_it_little() {
    let said = std::env::var("QUADRILLE_COST_ORDERS").unwrap_or_else(|_| "100,3040".to_owned());
    let sizes = said.split(',').map(|said| said.parse::<usize>().unwrap());
    for orders in sizes {
        for (shards, parts) in [("8", "1"), ("64", "1"), ("64", "4")] {
            let counts = timeout(MEASURED_WITHIN, measure(orders, shards, parts)).await.unwrap();
            // Taken and submitted, decided, stored: three writes after the one that received it.
            let (writes, index) = (each(counts.writes, orders), each(counts.index_changes, orders));
            let (reads, halves) = (each(counts.reads, orders), each(counts.query_halves, orders));
            let requests = each(counts.requests, orders);
            let _ = writeln!(
                std::io::stderr(),
                "{orders} orders, {shards} shards, {parts} parts: an order {writes:.4} writes, {index:.4} index changes, \
                 {reads:.4} reads, {:.4} read units of queries, {requests:.4} requests; the run {} queries, {} of them empty",
                halves / 2.0,
                counts.queries,
                counts.empty_queries
            );
            let parts: f64 = parts.parse().unwrap();
            let few = 12.0 * parts / each(orders, 1);
            assert!(writes <= 3.005 + few && reads <= 2.01 + few && index <= 1.001 + few, "{counts:?}");
            // A shard is asked at least twice a run, for half a unit.
            let shards: f64 = shards.parse().unwrap();
            assert!(halves / 2.0 <= 0.13 + 2.5 * (shards + 2.0 * parts) / each(orders, 1), "{counts:?}");
        }
    }
}

#[tokio::test]
async fn a_run_without_orders_writes_nothing_and_asks_each_shard_twice() {
    // For orders to take, in eight at least; and for how long the oldest has waited.
    for (shards, queries) in [("1", 8 + 1), ("8", 8 + 8), ("64", 64 + 64)] {
        let counts = measure_idle(shards).await;
        // One more for the runs that are live.
        assert_eq!(
            (counts.writes, counts.queries, counts.query_halves),
            (0, queries + 1, queries + 1),
            "{counts:?}"
        );
    }
}

async fn measure_idle(shards: &str) -> Counts {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, shards)]);
    let (pipeline, counts) = counted(&world);
    let engine = Engine::start(pipeline);
    world.kick_off().await;
    engine.stop().await;
    *counts.lock().unwrap()
}
