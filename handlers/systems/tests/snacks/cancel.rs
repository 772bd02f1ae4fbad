//! An order is cancelled while it is processed: one of the two wins, and the other is told.

use crate::world::{ALL_ATTEMPTS, World, cancel, json_of};
use async_trait::async_trait;
use quadrille::{
    Failure, Pipeline,
    domain::snacks::{OrderStatus, order_id},
    memory::all_wait,
    port::{CommitError, IndexPage, IndexQuery, Item, PortError, ScanPage, Table, Write},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Notify;

#[tokio::test]
async fn an_order_is_cancelled_before_it_is_processed_and_is_not_made() {
    let world = World::new();
    let id = world.create("a").await;
    let cancelled = cancel(&world.pipeline, &id).await;
    assert_eq!((cancelled.status, &json_of(&cancelled)["outcome"]), (200, &json!("cancelled")));
    world.pass(ALL_ATTEMPTS).await;
    let order = world.order(&id).await;
    assert_eq!((order.status, order.version(), order.processed_at), (OrderStatus::Cancelled, 2, None));
    assert!(order.cancelled_at.is_some() && order.cancelled_at == order.updated_at);
    assert!(world.kitchen.made().is_empty() && world.notified.all().is_empty());
    let again = cancel(&world.pipeline, &id).await;
    assert_eq!((again.status, &json_of(&again)["outcome"]), (200, &json!("unchanged")));
}

#[tokio::test]
async fn an_order_that_is_cancelled_while_the_kitchen_works_is_called_off() {
    let world = World::new();
    let pipeline: Arc<OnceLock<Pipeline>> = Arc::new(OnceLock::new());
    let inside = Arc::clone(&pipeline);
    world.meanwhile(move |id, _| {
        let pipeline = inside.get().unwrap().clone();
        async move {
            assert_eq!(cancel(&pipeline, &id).await.status, 200);
            Ok(())
        }
    });
    assert!(pipeline.set(world.pipeline.clone()).is_ok());
    let id = world.create("a").await;
    world.pass(ALL_ATTEMPTS).await;
    assert_eq!(world.order(&id).await.status, OrderStatus::Cancelled);
    assert_eq!((world.kitchen.asked.lock().unwrap().len(), world.kitchen.made().len()), (1, 0));
    assert_eq!(world.kitchen.called_off(), BTreeSet::from([id]));
    assert!(world.notified.all().is_empty());
}

/// A table in which a cancellation is committed only once the order is processed.
struct Late {
    table: Arc<dyn Table>,
    /// The cancellation has read the order and is about to commit.
    arrived: Arc<Notify>,
}

#[async_trait]
impl Table for Late {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.table.get(keys).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.table.query(query).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        if writes.iter().any(|write| write.item.document.text().unwrap().contains("CANCELLED")) {
            self.arrived.notify_one();
            let keys: Vec<String> = writes.iter().map(|write| write.item.key.clone()).collect();
            while self.table.get(&keys).await.unwrap()[0].as_ref().unwrap().version < 2 {
                all_wait().await;
            }
        }
        self.table.commit(writes).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.table.scan(after, limit).await
    }
}

#[tokio::test]
async fn a_cancellation_that_is_overtaken_by_the_processing_is_told_so() {
    let arrived = Arc::new(Notify::new());
    let world = World::with(|ports| {
        let table = Arc::clone(&ports.tables["orders"]);
        ports.tables.insert("orders".to_owned(), Arc::new(Late { table, arrived: Arc::clone(&arrived) }));
    });
    // The kitchen works until the cancellation has read the order as NEW.
    world.meanwhile(move |_, _| {
        let arrived = Arc::clone(&arrived);
        async move {
            arrived.notified().await;
            Ok(())
        }
    });
    let id = world.create("a").await;
    let refused = cancel(&world.pipeline, &id).await;
    assert_eq!((refused.status, &json_of(&refused)["type"]), (409, &json!("/problems/already_processed")));
    world.pass(ALL_ATTEMPTS).await;
    let order = world.order(&id).await;
    assert_eq!((order.status, order.version()), (OrderStatus::Processed, 2));
    assert_eq!((world.kitchen.made().len(), world.kitchen.called_off().len()), (1, 0));
    assert_eq!(world.notified.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_cancellations_and_processings_at_once_exactly_one_wins_of_each() {
    let world = World::new();
    world.memory.deliver_twice();
    // Every third attempt at an order fails once, so that the two meet at different points.
    world.meanwhile(|id, attempt| async move {
        tokio::task::yield_now().await;
        match (id.bytes().last().unwrap_or_default() % 3, attempt) {
            (0, 1) => Err(Failure::transient("kitchen_busy", "no hand free")),
            _ => Ok(()),
        }
    });
    let keys: Vec<String> = (0..200).map(|number| format!("order-{number}")).collect();
    let mut cancelling = Vec::new();
    for key in &keys {
        let id = world.create(key).await;
        let pipeline = world.pipeline.clone();
        cancelling.push(tokio::spawn(async move {
            tokio::task::yield_now().await;
            cancel(&pipeline, &id).await.status
        }));
    }
    let mut answers = Vec::new();
    for asked in cancelling {
        answers.push(asked.await.unwrap());
    }
    let mut made = BTreeSet::new();
    for _ in 0..100 {
        world.pass(Duration::from_millis(100)).await;
    }
    for (key, answer) in keys.iter().zip(answers) {
        let order = world.order(&order_id(key)).await;
        match order.status {
            OrderStatus::Processed => assert_eq!(answer, 409, "{key}"),
            OrderStatus::Cancelled => assert_eq!(answer, 200, "{key}"),
            OrderStatus::New => panic!("{key} is at no end"),
        }
        assert_eq!(order.version(), 2, "{key}: only one of the two was committed");
        if order.status == OrderStatus::Processed {
            made.insert(order.order_id.clone());
        }
    }
    assert_eq!(world.kitchen.made(), made, "what is made is what is processed");
    assert_eq!(world.notified.all().len(), made.len());
}
