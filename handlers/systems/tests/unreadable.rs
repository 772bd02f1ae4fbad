//! Of several orders one can't be read: it fails alone, is told under its id, and the others reach their ends. For every system that
//! works orders one by one; how a run of the auction goes on is in its own tests.
#![allow(clippy::unwrap_used)] // A panic is how a test fails.

use quadrille::{
    DeadLetter, Pipeline, Settings, System, Timestamp,
    engine::Engine,
    http::{Method, Request},
    memory::{Memory, VirtualClock},
    operator::{Api, EntityPage},
    port::{Damage, SeededRandom},
    server::Service as _,
    setting::Place,
    system::choreography,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use systems::{
    checkout::Checkout,
    orders::Orders,
    snacks::{
        Snacks,
        kitchen::{BUSY, FAILING},
    },
};

const ORDERS: usize = 12;
const KIND: &str = "order";

/// A system in memory, whose engine does not run yet.
struct World {
    memory: Memory,
    clock: Arc<VirtualClock>,
    pipeline: Pipeline,
}

impl World {
    /// With these values of its settings, by name.
    fn new<S: System>(system: &S, said: &[(&str, &str)]) -> Self {
        let choreography = choreography(system).unwrap();
        let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-29T12:00:00Z").unwrap()));
        let memory = Memory::new(choreography.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
        let value = |name: &str| Some(said.iter().find(|(said, _)| *said == name)?.1.to_owned());
        let settings =
            Settings::read(Place::Command, &choreography.model().settings, |setting| value(&setting.name));
        let ports = choreography.equip(memory.ports(), settings.unwrap()).unwrap();
        Self { memory, clock, pipeline: Pipeline::new(choreography, ports) }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) {
        let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
        let request = Request { headers, body: body.to_string().into(), ..Request::default() };
        let answer = self.pipeline.respond(method, path, request).await.unwrap();
        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
    }

    fn damage(&self, kind: &str, id: &str) {
        let tables = &self.pipeline.choreography().model().tables;
        let table = tables.iter().find(|table| table.kinds.iter().any(|held| held == kind)).unwrap();
        assert!(self.memory.damage(Damage::Item { table: &table.name, key: &format!("{kind}/{id}") }));
    }

    async fn listed(&self) -> EntityPage {
        let path = format!("/_quadrille/entities/{KIND}");
        let listed = Api::new(self.pipeline.clone()).respond("GET", &path, Request::default()).await;
        serde_json::from_slice(&listed.body).unwrap()
    }

    /// The statuses of the orders that can be read, by their ids.
    async fn statuses(&self) -> BTreeMap<String, String> {
        let entities = self.listed().await.entities.into_iter();
        entities.map(|entity| (entity.id, entity.status.unwrap())).collect()
    }

    /// The dead letters of all queues: the reasons, and what each is told to. What follows a message that is given up may be given up
    /// in its turn.
    async fn dead(&self) -> BTreeSet<(String, Option<String>)> {
        let mut dead = Vec::new();
        for name in self.pipeline.choreography().model().dead_letter_queues() {
            let arrived = self.pipeline.ports().queue(name).unwrap().arrived(0, 100).await.unwrap();
            dead.extend(arrived.iter().map(|(_, message)| DeadLetter::read(message)));
        }
        dead.into_iter().map(|letter| (letter.reason, letter.subject)).collect()
    }

    /// Works all that is there.
    async fn work(&self) {
        let engine = Engine::start(self.pipeline.clone());
        self.clock.pass(Duration::from_secs(3_600)).await;
        engine.stop().await;
    }
}

/// One of the orders that were sent is damaged before it is worked.
async fn one_order_fails_alone(world: World, end: &str) {
    let ids: Vec<String> = world.statuses().await.into_keys().collect();
    assert_eq!(ids.len(), ORDERS);
    let damaged = ids[5].clone();
    world.damage(KIND, &damaged);
    world.work().await;
    let statuses = world.statuses().await;
    assert_eq!(statuses.len(), ORDERS - 1);
    assert!(statuses.values().all(|status| status == end), "{statuses:?}");
    let unreadable: Vec<String> =
        world.listed().await.unreadable.into_iter().map(|entity| entity.id).collect();
    assert_eq!(unreadable, [damaged.as_str()]);
    assert_eq!(world.dead().await, BTreeSet::from([("unreadable_entity".to_owned(), Some(damaged))]));
}

#[tokio::test]
async fn of_orders_one_that_can_not_be_read_fails_alone_and_the_others_are_processed() {
    let world = World::new(&Orders, &[]);
    for number in 0..ORDERS {
        let items = json!([{ "product": "tea", "quantity": 3, "price": 1.1 }]);
        let order = json!({ "order_id": format!("o-{number:02}"), "customer": "Anna", "email": "anna@example.org",
            "items": items, "amount": 3.3 });
        world.send(Method::Post, "/orders", &order).await;
    }
    one_order_fails_alone(world, "PROCESSED").await;
}

#[tokio::test]
async fn of_snacks_one_order_that_can_not_be_read_fails_alone_and_the_others_are_processed() {
    let world = World::new(&Snacks, &[(FAILING, "0"), (BUSY, "0")]);
    for number in 0..ORDERS {
        let snacks = json!([{ "name": "Chips", "quantity": 3, "price": 2.5 }]);
        let order = json!({ "customerName": "Anna", "totalAmount": 7.5, "snackItems": snacks,
            "idempotencyKey": format!("o-{number:02}") });
        world.send(Method::Post, "/orders", &order).await;
    }
    one_order_fails_alone(world, "PROCESSED").await;
}

/// A shop with orders of tea, and of as many lamps as `lamps` says.
async fn shop(lamps: usize) -> World {
    let world = World::new(&Checkout, &[]);
    for product in ["tea", "lamp"] {
        let for_sale = json!({ "price": 2.5, "stock": 100 });
        world.send(Method::Put, &format!("/products/{product}"), &for_sale).await;
    }
    for number in 0..ORDERS {
        let product = if number < lamps { "lamp" } else { "tea" };
        let items = json!([{ "productId": product, "quantity": 2, "price": 2.5 }]);
        let order = json!({ "orderId": format!("o-{number:02}"), "userId": "anna", "totalAmount": 5, "items": items });
        world.send(Method::Post, "/orders", &order).await;
    }
    world
}

#[tokio::test]
async fn of_a_checkout_one_order_that_can_not_be_read_fails_alone_and_the_others_are_completed() {
    one_order_fails_alone(shop(0).await, "COMPLETED").await;
}

#[tokio::test]
async fn of_a_checkout_a_product_that_can_not_be_read_fails_its_own_orders_alone() {
    let world = shop(2).await;
    world.damage("product", "lamp");
    world.work().await;
    let of_lamps = ["o-00", "o-01"];
    let statuses = world.statuses().await;
    assert_eq!(statuses.len(), ORDERS);
    for (id, status) in statuses {
        assert_eq!(status, if of_lamps.contains(&id.as_str()) { "FAILED" } else { "COMPLETED" }, "{id}");
    }
    let dead = of_lamps.map(|id| ("unreadable_entity".to_owned(), Some(id.to_owned())));
    assert_eq!(world.dead().await, BTreeSet::from(dead));
}
