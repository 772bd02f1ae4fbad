//! Orders in this process, in memory and virtual time: what is taken once, what is processed once, and what others are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

use quadrille::{
    Choreography, Failure, Stored, Timestamp,
    domain::orders::Order,
    engine::Engine,
    http::{Method, Request, Response},
    memory::{Memory, VirtualClock},
    port::{Clock as _, SeededRandom},
    system::choreography,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use systems::orders::{NOTIFICATIONS, OrderCreated, OrderProcessed, Orders};

const DAY: Duration = Duration::from_secs(86_400);

/// The queue of what is told to `process_order` where nobody hands it the stream.
const QUEUE: &str = "orders-process";

/// The system, running.
struct World {
    memory: Memory,
    clock: Arc<VirtualClock>,
    engine: Engine,
}

impl World {
    fn with(said: &[(&str, &str)]) -> Self {
        let orders: Choreography = choreography(&Orders).unwrap();
        let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-29T12:00:00Z").unwrap()));
        let memory = Memory::new(orders.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
        let engine = memory.start(orders, said).unwrap();
        Self { memory, clock, engine }
    }

    fn new() -> Self {
        Self::with(&[])
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let mut all = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let body = body.to_string().into_bytes().into();
        let request = Request { headers: all, body, ..Request::default() };
        let answer: Response = self.engine.pipeline().respond(method, path, request).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        self.ask(Method::Post, "/orders", &[], body).await
    }

    async fn order(&self, id: &str) -> Option<Stored<Order>> {
        self.memory.get::<Order>(id).await.unwrap()
    }

    async fn told(&self) -> Vec<String> {
        let told = self.memory.published::<OrderProcessed>(NOTIFICATIONS).await.unwrap();
        let mut ids: Vec<String> = told.into_iter().map(|told| told.order_id).collect();
        ids.sort();
        ids
    }

    /// The dead letters: which order, and why.
    async fn dead(&self) -> Vec<(String, String)> {
        let letters = self.memory.dead_letters::<OrderCreated>(QUEUE).await.unwrap();
        letters.into_iter().map(|(event, letter)| (event.order_id, letter.reason)).collect()
    }

    async fn pass(&self) {
        self.clock.pass(Duration::from_secs(60)).await;
    }
}

fn order(id: &str) -> Value {
    json!({
        "order_id": id, "customer": "Anna Müller", "email": "anna@example.org",
        "items": [{ "product": "tea", "quantity": 3, "price": 1.1 }], "amount": 3.3,
    })
}

/// One whose items do not come to its amount.
fn poison(id: &str) -> Value {
    let mut order = order(id);
    order["amount"] = json!(3.31);
    order
}

#[tokio::test]
async fn an_order_is_taken_processed_and_told_of() {
    let world = World::new();
    let (status, taken) = world.post(&order("o-1")).await;
    assert_eq!((status, taken), (201, json!({ "order_id": "o-1", "status": "NEW", "outcome": "created" })));
    world.pass().await;
    let (status, told) = world.ask(Method::Get, "/orders/o-1", &[], &Value::Null).await;
    assert_eq!((status, &told["status"], &told["amount"]), (200, &json!("PROCESSED"), &json!(3.3)));
    assert_eq!(told["processed_at"], told["trail"][1]["at"]);
    let whats: Vec<&Value> = told["trail"].as_array().unwrap().iter().map(|entry| &entry["what"]).collect();
    assert_eq!(whats, ["created", "processed"]);
    assert_eq!((world.told().await, world.dead().await), (vec!["o-1".to_owned()], vec![]));
    assert_eq!(world.ask(Method::Get, "/orders/nobody", &[], &Value::Null).await.0, 404);
    world.engine.stop().await;
}

#[tokio::test]
async fn the_same_order_twice_is_one_order_and_another_under_its_id_is_refused() {
    let world = World::new();
    assert_eq!(world.post(&order("o-1")).await.0, 201);
    let (status, again) = world.post(&order("o-1")).await;
    assert_eq!((status, &again["outcome"]), (200, &json!("unchanged")));
    world.pass().await;
    let (status, again) = world.post(&order("o-1")).await;
    assert_eq!((status, &again["status"]), (200, &json!("PROCESSED")));
    let mut other = order("o-1");
    other["customer"] = json!("Bob");
    assert_eq!(world.post(&other).await.0, 409);
    world.pass().await;
    let kept = world.order("o-1").await.unwrap();
    assert_eq!((kept.customer.as_str(), kept.version()), ("Anna Müller", 2));
    assert_eq!(world.told().await, ["o-1"]);
    world.engine.stop().await;
}

#[tokio::test]
async fn an_order_without_an_id_is_known_by_the_senders_key_in_the_body_or_beside_it() {
    let world = World::new();
    let mut unnamed = order("");
    unnamed.as_object_mut().unwrap().remove("order_id");
    let (status, problem) = world.post(&unnamed).await;
    assert_eq!((status, &problem["type"]), (400, &json!("/problems/unnamed_order")));
    let header = [("idempotency-key", "monday's")];
    let (status, first) = world.ask(Method::Post, "/orders", &header, &unnamed).await;
    assert_eq!(status, 201);
    let (status, again) = world.ask(Method::Post, "/orders", &header, &unnamed).await;
    assert_eq!((status, &again["order_id"]), (200, &first["order_id"]));
    let mut keyed = unnamed.clone();
    keyed["idempotency_key"] = json!("monday's");
    assert_eq!(world.post(&keyed).await.1["order_id"], first["order_id"]);
    keyed["idempotency_key"] = json!("tuesday's");
    assert_eq!(world.post(&keyed).await.0, 201);
    let faulty = json!({ "order_id": "o-1", "customer": "", "items": [], "amount": -1 });
    let (status, problem) = world.post(&faulty).await;
    let pointers: Vec<&Value> =
        problem["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!((status, pointers.len()), (400, 4), "{pointers:?}");
    assert!(world.order("o-1").await.is_none(), "nothing was stored");
    world.engine.stop().await;
}

#[tokio::test]
async fn a_record_that_comes_twice_has_one_effect() {
    let world = World::new();
    world.memory.deliver_twice();
    for number in 0..25 {
        assert_eq!(world.post(&order(&format!("o-{number:02}"))).await.0, 201);
    }
    world.pass().await;
    let ids: Vec<String> = (0..25).map(|number| format!("o-{number:02}")).collect();
    for id in &ids {
        assert_eq!(world.order(id).await.unwrap().version(), 2, "{id}");
    }
    assert_eq!(world.told().await, ids);
    world.engine.stop().await;
}

#[tokio::test]
async fn poison_alone_is_a_dead_letter_at_once_with_its_reason_and_its_neighbours_are_processed() {
    let world = World::new();
    for number in 0..10 {
        let id = format!("o-{number}");
        let body = if number == 4 { poison(&id) } else { order(&id) };
        assert_eq!(world.post(&body).await.0, 201);
    }
    world.pass().await;
    assert_eq!(world.dead().await, [("o-4".to_owned(), "amount_mismatch".to_owned())]);
    let letters = world.memory.dead_letters::<OrderCreated>(QUEUE).await.unwrap();
    assert_eq!((letters[0].1.attempts, letters[0].1.handler.as_str()), (1, "process_order"));
    let kept = world.order("o-4").await.unwrap();
    assert_eq!(kept.trail().entries.last().unwrap().what, "dead-lettered: amount_mismatch");
    assert_eq!(world.told().await.len(), 9);
    let mut huge = poison("huge");
    (huge["items"][0]["price"], huge["items"][0]["quantity"]) =
        (serde_json::from_str("9.9e125").unwrap(), json!(1_000));
    assert_eq!(world.post(&huge).await.0, 201);
    world.pass().await;
    assert_eq!(world.dead().await[1], ("huge".to_owned(), "amount_out_of_range".to_owned()));
    world.engine.stop().await;
}

/// What others can read: the whole message, not only what it is read as.
#[tokio::test]
async fn no_notification_dead_letter_or_event_holds_personal_data() {
    let world = World::new();
    let personal = ["Anna Müller", "Anna", "anna@example.org", "example.org", "anna"];
    let mut keyed = order("");
    keyed.as_object_mut().unwrap().remove("order_id");
    keyed["idempotency_key"] = json!("anna@example.org");
    for body in [order("o-1"), poison("o-2"), keyed] {
        assert_eq!(world.post(&body).await.0, 201);
    }
    world.pass().await;
    let ports = world.memory.ports();
    let told = ports.published[NOTIFICATIONS].arrived(0, 10).await.unwrap();
    let dead = ports.queues["orders-dlq"].arrived(0, 10).await.unwrap();
    assert_eq!((told.len(), dead.len()), (2, 1));
    for (_, message) in told.iter().chain(&dead) {
        let whole = format!("{} {:?}", message.body, message.attributes);
        for personal in personal {
            assert!(!whole.contains(personal), "{personal}: {whole}");
        }
        assert!(!whole.contains("3.3"), "nor what was ordered: {whole}");
    }
    world.engine.stop().await;
}

#[tokio::test]
async fn an_order_is_gone_after_the_days_that_the_setting_says() {
    for (said, days) in [(&[][..], 7), (&[("ttl_days", "2")], 2)] {
        let world = World::with(said);
        let began = world.clock.now();
        world.post(&order("o-1")).await;
        assert_eq!(world.order("o-1").await.unwrap().expires_at, began + DAY * days);
        world.clock.pass(DAY * days - Duration::from_secs(1)).await;
        assert!(world.order("o-1").await.is_some());
        world.clock.pass(Duration::from_secs(1)).await;
        assert!(world.order("o-1").await.is_none());
        assert_eq!(world.post(&order("o-1")).await.0, 201, "its id is free again");
        world.engine.stop().await;
    }
}

/// A dead letter may be redriven when the order itself is gone.
#[tokio::test]
async fn a_record_of_an_order_that_is_gone_ends_in_a_named_way_and_is_told_to_nobody() -> Result<(), Failure>
{
    let world = World::new();
    world.memory.send(OrderCreated { order_id: "gone".into() }).await?;
    world.pass().await;
    assert_eq!(world.dead().await, [("gone".to_owned(), "entity_gone".to_owned())]);
    assert!(world.told().await.is_empty());
    world.engine.stop().await;
    Ok(())
}
