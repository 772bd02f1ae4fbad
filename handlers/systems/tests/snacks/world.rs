//! Snacks in memory, with a kitchen that does as a test says and remembers what it was told.

use async_trait::async_trait;
use quadrille::{
    Failure, Pipeline, Services, Stored, Timestamp,
    domain::snacks::Order,
    engine::Engine,
    http::{Method, Request, Response},
    memory::{Memory, VirtualClock},
    port::{Bus, BusEntry, NewMessage, PortError, Ports, SeededRandom, Topic},
    setting::Place,
    system::choreography,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use systems::snacks::{
    ORDERS_BUS, PROCESSED, Snacks,
    kitchen::{Kitchen, Ticket},
};

/// Longer than all attempts at an order with their waits.
pub const ALL_ATTEMPTS: Duration = Duration::from_secs(10);

/// A name that must not get anywhere but into the table.
pub const CUSTOMER: &str = "Zaphod Beeblebrox";

/// What happens while the kitchen prepares an order.
type Meanwhile =
    Box<dyn Fn(String, u32) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync>;

/// A kitchen that remembers.
#[derive(Default)]
pub struct WatchedKitchen {
    meanwhile: OnceLock<Meanwhile>,
    /// The orders that it was asked to prepare, each time.
    pub asked: Mutex<Vec<String>>,
    prepared: Mutex<BTreeSet<String>>,
    packed: Mutex<BTreeSet<String>>,
    called_off: Mutex<BTreeSet<String>>,
}

impl WatchedKitchen {
    /// What is packed and was not called off.
    pub fn made(&self) -> BTreeSet<String> {
        let packed = self.packed.lock().unwrap();
        packed.difference(&self.called_off.lock().unwrap()).cloned().collect()
    }

    pub fn called_off(&self) -> BTreeSet<String> {
        self.called_off.lock().unwrap().clone()
    }
}

#[async_trait]
impl Kitchen for WatchedKitchen {
    async fn prepare(&self, ticket: Ticket<'_>) -> Result<(), Failure> {
        self.asked.lock().unwrap().push(ticket.order_id.to_owned());
        if let Some(meanwhile) = self.meanwhile.get() {
            meanwhile(ticket.order_id.to_owned(), ticket.attempt).await?;
        }
        self.prepared.lock().unwrap().insert(ticket.order_id.to_owned());
        Ok(())
    }

    async fn pack(&self, ticket: Ticket<'_>) -> Result<(), Failure> {
        assert!(self.prepared.lock().unwrap().contains(ticket.order_id), "packed before it was prepared");
        self.packed.lock().unwrap().insert(ticket.order_id.to_owned());
        Ok(())
    }

    async fn call_off(&self, order_id: &str) -> Result<(), Failure> {
        self.called_off.lock().unwrap().insert(order_id.to_owned());
        Ok(())
    }
}

/// What was told outside, word for word.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The data of the events, as JSON.
    pub fn data(&self) -> Vec<Value> {
        self.all().iter().map(|text| serde_json::from_str::<Value>(text).unwrap()["data"].clone()).collect()
    }
}

struct WatchedTopic(Arc<dyn Topic>, Told);

#[async_trait]
impl Topic for WatchedTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.1.0.lock().unwrap().extend(messages.iter().map(|message| message.body.clone()));
        self.0.publish(messages).await
    }
}

struct WatchedBus(Arc<dyn Bus>, Told);

#[async_trait]
impl Bus for WatchedBus {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        for entry in &entries {
            assert_eq!((entry.source.as_str(), entry.detail_type.as_str()), ("snacks", "Order Created"));
        }
        self.1.0.lock().unwrap().extend(entries.iter().map(|entry| entry.detail.clone()));
        self.0.publish(entries).await
    }
}

pub struct World {
    pub clock: Arc<VirtualClock>,
    pub memory: Memory,
    pub kitchen: Arc<WatchedKitchen>,
    pub pipeline: Pipeline,
    /// Runs until the world is gone.
    _engine: Engine,
    /// What the bus was told, and what people were notified of.
    pub on_bus: Told,
    pub notified: Told,
}

impl World {
    /// A world with a kitchen that makes everything.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same, with ports that `change` has changed.
    pub fn with(change: impl FnOnce(&mut Ports)) -> Self {
        let snacks = choreography(&Snacks).unwrap();
        let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-29T12:00:00Z").unwrap()));
        let memory = Memory::new(snacks.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
        let kitchen = Arc::new(WatchedKitchen::default());
        let service: Arc<dyn Kitchen> = kitchen.clone();
        let mut ports = Ports { services: Services::new().with(service), ..memory.ports() };
        let (on_bus, notified) = (Told::default(), Told::default());
        let bus = Arc::clone(&ports.buses[ORDERS_BUS]);
        ports.buses.insert(ORDERS_BUS.to_owned(), Arc::new(WatchedBus(bus, on_bus.clone())));
        let topic = Arc::clone(&ports.topics[PROCESSED]);
        ports.topics.insert(PROCESSED.to_owned(), Arc::new(WatchedTopic(topic, notified.clone())));
        change(&mut ports);
        let settings = quadrille::Settings::read(Place::Command, &snacks.model().settings, |_| None).unwrap();
        let ports = snacks.equip(ports, settings).unwrap();
        let pipeline = Pipeline::new(snacks, ports);
        let engine = Engine::start(pipeline.clone());
        Self { clock, memory, kitchen, pipeline, _engine: engine, on_bus, notified }
    }

    /// What happens whenever the kitchen prepares an order: it is given the order's id and the attempt.
    pub fn meanwhile<F: Future<Output = Result<(), Failure>> + Send + 'static>(
        &self,
        happens: impl Fn(String, u32) -> F + Send + Sync + 'static,
    ) {
        let happens: Meanwhile = Box::new(move |order, attempt| Box::pin(happens(order, attempt)));
        assert!(self.kitchen.meanwhile.set(happens).is_ok(), "said twice");
    }

    pub async fn pass(&self, time: Duration) {
        self.clock.pass(time).await;
    }

    /// Posts an order, and answers with its id.
    pub async fn create(&self, key: &str) -> String {
        let answer = post(&self.pipeline, &order(Some(key)), &[]).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        json_of(&answer)["orderId"].as_str().unwrap().to_owned()
    }

    pub async fn order(&self, id: &str) -> Stored<Order> {
        self.memory.get::<Order>(id).await.unwrap().unwrap()
    }
}

/// An order of two snacks.
pub fn order(key: Option<&str>) -> Value {
    let mut order = json!({
        "customerName": CUSTOMER,
        "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}, {"name": "Nuts", "quantity": 1, "price": 3}],
        "totalAmount": 8,
    });
    if let Some(key) = key {
        order["idempotencyKey"] = json!(key);
    }
    order
}

pub async fn post(pipeline: &Pipeline, body: &Value, headers: &[(&str, &str)]) -> Response {
    let mut all = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let request = Request { headers: all, body: body.to_string().into(), ..Request::default() };
    pipeline.respond(Method::Post, "/orders", request).await.unwrap()
}

pub async fn cancel(pipeline: &Pipeline, id: &str) -> Response {
    let path = format!("/orders/{id}/cancel");
    pipeline.respond(Method::Post, &path, Request::default()).await.unwrap()
}

pub fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}
