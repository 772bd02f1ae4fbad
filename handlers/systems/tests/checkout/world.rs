//! A shop in memory, in a time that passes by hand, and what has to be true of it whatever happened.

use crate::bank::{Bank, Fate};
use async_trait::async_trait;
use quadrille::{
    Choreography, DeadLetter, Entity, Event, Pipeline, Services, Settings, Stored, Timestamp,
    domain::checkout::{Order, OrderStatus, Product, StockPart},
    engine::Engine,
    http::{Method, Request, Response},
    memory::{Memory, VirtualClock},
    port::{
        CommitError, IndexPage, IndexQuery, Item, NewMessage, PortError, Ports, Random as _, ScanPage,
        SeededRandom, Table, Topic, Write,
    },
    setting::Place,
    system::choreography,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use systems::checkout::{Checkout, NOTIFICATIONS, ORDERS, gateway::PaymentGateway};

/// Fails one of the calls that go through it.
#[derive(Default)]
pub struct Meddler {
    calls: AtomicUsize,
    /// Which call, from 1, and whether it is still made.
    fails: Mutex<Option<(usize, bool)>>,
}

impl Meddler {
    /// The call of that number fails: before it is made, or unheard.
    pub fn fail(&self, call: usize, is_made: bool) {
        *self.fails.lock().unwrap() = Some((call, is_made));
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn before(&self) -> Result<(), ()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if *self.fails.lock().unwrap() == Some((call, false)) { Err(()) } else { Ok(()) }
    }

    pub fn after(&self) -> Result<(), ()> {
        let call = self.calls();
        if *self.fails.lock().unwrap() == Some((call, true)) { Err(()) } else { Ok(()) }
    }
}

/// A table whose calls a meddler may fail, that lets others run in between, and that measures what it is given.
pub struct Watched {
    table: Arc<dyn Table>,
    meddler: Arc<Meddler>,
    random: Arc<SeededRandom>,
    /// Others run up to so many times between a call and its effect.
    yields: u64,
    /// Writes that were applied, and the largest of them in bytes, by key.
    pub written: Mutex<BTreeMap<String, (usize, usize)>>,
    pub races: AtomicUsize,
    /// While it says so, no call gets through.
    pub is_out: Mutex<bool>,
}

impl Watched {
    async fn let_others_run(&self) {
        for _ in 0..self.yields.checked_ilog2().map_or(0, |_| self.random.next_u64() % self.yields) {
            tokio::task::yield_now().await;
        }
    }
}

fn out() -> PortError {
    PortError::transient("orders", "the table is out")
}

#[async_trait]
impl Table for Watched {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.meddler.before().map_err(|()| out())?;
        if *self.is_out.lock().unwrap() {
            return Err(out());
        }
        self.let_others_run().await;
        let found = self.table.get(keys).await;
        self.let_others_run().await;
        self.meddler.after().map_err(|()| out())?;
        found
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let count = writes.len();
        let fails = || (0..count).map(|_| Err(CommitError::Port(out()))).collect();
        if self.meddler.before().is_err() || *self.is_out.lock().unwrap() {
            return fails();
        }
        self.let_others_run().await;
        let sizes: Vec<(String, usize)> = writes
            .iter()
            .map(|write| {
                let outbox: usize = write.outbox.iter().map(|event| event.get().len()).sum();
                (write.item.key.clone(), write.item.document.text().unwrap().len() + outbox)
            })
            .collect();
        let answers = self.table.commit(writes).await;
        for ((key, bytes), answer) in sizes.into_iter().zip(&answers) {
            match answer {
                Ok(()) => {
                    let mut written = self.written.lock().unwrap();
                    let (count, largest) = written.entry(key).or_default();
                    (*count, *largest) = (*count + 1, bytes.max(*largest));
                }
                Err(_) => _ = self.races.fetch_add(1, Ordering::Relaxed),
            }
        }
        self.let_others_run().await;
        if self.meddler.after().is_err() { fails() } else { answers }
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.table.query(query).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.table.scan(after, limit).await
    }
}

/// A topic that remembers what it was told.
#[derive(Default)]
struct Heard(Mutex<Vec<Value>>);

#[async_trait]
impl Topic for Heard {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut heard = self.0.lock().unwrap();
        let read = |message: &NewMessage| serde_json::from_str(&message.body).unwrap();
        heard.extend(messages.iter().map(read));
        messages.iter().map(|_| Ok(())).collect()
    }
}

/// A shop.
pub struct World {
    pub clock: Arc<VirtualClock>,
    pub memory: Memory,
    pub bank: Arc<Bank>,
    pub meddler: Arc<Meddler>,
    pub orders: Arc<Watched>,
    pub products: Arc<Watched>,
    heard: Arc<Heard>,
    pub pipeline: Pipeline,
    engine: Option<Engine>,
}

pub fn checkout() -> Choreography {
    choreography(&Checkout).unwrap()
}

pub fn at_first() -> Timestamp {
    Timestamp::parse("2026-11-20T09:15:00Z").unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::with(1, 0)
    }

    /// A shop whose calls of tables are interleaved as `seed` says.
    pub fn with(seed: u64, yields: u64) -> Self {
        let (choreography, clock) = (checkout(), Arc::new(VirtualClock::new(at_first())));
        let random = Arc::new(SeededRandom::new(seed));
        let memory = Memory::new(choreography.model(), clock.clone(), random.clone());
        let (meddler, heard) = (Arc::<Meddler>::default(), Arc::<Heard>::default());
        let bank = Arc::new(Bank::new(Arc::clone(&meddler)));
        let mut ports = memory.ports();
        let watched = |name: &str| {
            Arc::new(Watched {
                table: Arc::clone(&ports.tables[name]),
                meddler: Arc::clone(&meddler),
                random: random.clone(),
                yields,
                written: Mutex::default(),
                races: AtomicUsize::default(),
                is_out: Mutex::default(),
            })
        };
        let (orders, products) = (watched("orders"), watched("products"));
        ports.tables.insert("orders".into(), orders.clone());
        ports.tables.insert("products".into(), products.clone());
        ports.topics.insert(NOTIFICATIONS.into(), heard.clone());
        let gateway: Arc<dyn PaymentGateway> = bank.clone();
        ports.services = Services::new().with(gateway);
        let settings = Settings::read(Place::Command, &choreography.model().settings, |_| None).unwrap();
        let ports: Ports = choreography.equip(ports, settings).unwrap();
        let pipeline = Pipeline::new(choreography, ports);
        Self { clock, memory, bank, meddler, orders, products, heard, pipeline, engine: None }
    }

    /// With its engine running.
    pub fn open() -> Self {
        Self::new().opened()
    }

    pub fn opened(mut self) -> Self {
        self.engine = Some(Engine::start(self.pipeline.clone()));
        self
    }

    pub async fn close(mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop().await;
        }
    }

    /// Puts a product up for sale.
    pub async fn sells(&self, product_id: &str, price: &str, stock: u64) {
        let price: Value = serde_json::from_str(price).unwrap();
        let body = json!({ "price": price, "stock": stock }).to_string();
        let response = self.ask(Method::Put, &format!("/products/{product_id}"), &body).await;
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    }

    pub async fn ask(&self, method: Method, path: &str, body: &str) -> Response {
        let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
        let request = Request { headers, body: body.to_owned().into(), ..Request::default() };
        self.pipeline.respond(method, path, request).await.unwrap()
    }

    /// Writes to the queue of orders as others do.
    pub async fn send(&self, body: impl Into<String>) {
        let message = NewMessage { body: body.into(), ..NewMessage::default() };
        let sent = self.pipeline.ports().queue(ORDERS).unwrap().send(vec![message]).await;
        assert!(sent.iter().all(Result::is_ok));
    }

    /// Lets so much time pass.
    pub async fn pass(&self, time: Duration) {
        self.clock.pass(time).await;
    }

    /// Lets time pass until nothing is under way any more.
    pub async fn settle(&self) {
        let mut quiet = 0;
        for round in 0..20_000 {
            // What the relay has in hand is in no queue: one look is not enough.
            quiet = if self.waiting().await == 0 { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
            // A wait of an hour is not looked at twice a second.
            self.pass(Duration::from_millis(if round < 40 { 500 } else { 20_000 })).await;
        }
        panic!("it does not come to an end");
    }

    /// Messages in the queues of steps.
    async fn waiting(&self) -> u64 {
        let mut waiting = 0;
        let queues = &self.pipeline.choreography().model().queues;
        for queue in queues.iter().filter(|queue| queue.redrive.is_some()) {
            waiting += self.pipeline.ports().queue(&queue.name).unwrap().depth().await.unwrap().total();
        }
        waiting
    }

    pub async fn find<E: Entity>(&self, id: &str) -> Option<Stored<E>> {
        self.memory.get::<E>(id).await.unwrap()
    }

    pub async fn order(&self, id: &str) -> Stored<Order> {
        self.find(id).await.unwrap_or_else(|| panic!("there is no order {id}"))
    }

    /// The notifications that an order's end was told by: status and reason.
    pub fn told(&self, order_id: &str) -> Vec<(String, Option<String>)> {
        let heard = self.heard.0.lock().unwrap();
        let of = heard.iter().map(|event| &event["data"]).filter(|data| data["orderId"] == order_id);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        of.map(|data| (text(&data["orderStatus"]).unwrap(), text(&data["errorReason"]))).collect()
    }

    /// All that was ever told.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.0.lock().unwrap().clone()
    }

    /// The reasons of the dead letters of a step's queue.
    pub async fn dead(&self, queue: &str) -> Vec<String> {
        let letters = self.pipeline.ports().queue(&format!("{queue}-dlq")).unwrap();
        let letters = letters.arrived(0, 1_000).await.unwrap();
        letters.iter().map(|(_, message)| DeadLetter::read(message).reason).collect()
    }

    /// All entities of a kind.
    pub async fn all<E: Entity>(&self, table: &Watched) -> BTreeMap<String, Stored<E>> {
        let (mut found, mut after) = (BTreeMap::new(), None::<String>);
        loop {
            let page = table.table.scan(after.as_deref(), 1_000).await.unwrap();
            for item in page.items.iter().filter(|item| item.key.starts_with(&format!("{}/", E::KIND))) {
                let entity = Stored::<E>::read(item).unwrap();
                found.insert(entity.id().into_owned(), entity);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    /// Holds the shop to what has to be true once nothing is under way. Every order has one end and was told of. Who completed
    /// paid once and holds what was ordered; who failed paid nothing and holds nothing. No product was sold beyond its stock.
    pub async fn adds_up(&self) {
        let orders = self.all::<Order>(&self.orders).await;
        let mut bought: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, order) in &orders {
            assert!(order.is_ended(), "{id} has not ended: {order:?}");
            assert_eq!(
                self.told(id).iter().collect::<std::collections::BTreeSet<_>>().len(),
                1,
                "{id} told once"
            );
            let charges = self.bank.charged.lock().unwrap().get(id).copied().unwrap_or_default();
            assert!(charges <= 1, "{id} was charged {charges} times");
            let is_paid = self.bank.fate(id) == Some(Fate::Charged);
            let is_completed = order.order_status == OrderStatus::Completed;
            assert_eq!(is_paid, is_completed, "{id}: {:?}, {order:?}", self.bank.fate(id));
            assert_eq!(order.payment_transaction_id.is_some(), is_completed, "{id}");
            if is_completed {
                let held: u32 = order.reservations.iter().map(|held| held.quantity).sum();
                let wanted: u32 = order.items.iter().map(|item| item.quantity).sum();
                assert_eq!(held, wanted, "{id} holds what it bought");
                for item in &order.items {
                    *bought.entry(&item.product_id).or_default() += u64::from(item.quantity);
                }
            }
        }
        let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
        let mut parts = self.all::<StockPart>(&self.products).await;
        for part in parts.values_mut() {
            let marks: Vec<String> = part.marks.keys().cloned().collect();
            assert!(marks.len() <= StockPart::MARKS_MAX, "{} marks", marks.len());
            for id in marks {
                assert!(part.settle(&id, orders.get(&id).map(|order| &**order)), "{id} is settled: {part:?}");
            }
        }
        for part in parts.values() {
            *taken.entry(&part.product_id).or_default() += part.taken;
        }
        taken.retain(|_, units| *units > 0);
        assert_eq!(taken, bought, "what was taken is what was bought");
        for product in self.all::<Product>(&self.products).await.values() {
            let units = taken.get(product.product_id.as_str()).copied().unwrap_or_default();
            assert!(units <= product.stock, "{units} of {product:?}");
        }
    }
}

/// An order of one item.
pub fn order(id: &str, product_id: &str, quantity: u32, price: &str) -> String {
    let total = quadrille::decimal::Decimal::parse(price).unwrap();
    let total = total.checked_mul(&quadrille::decimal::Decimal::from(quantity)).unwrap();
    format!(
        r#"{{"orderId": "{id}", "userId": "anna", "items": [{{"productId": "{product_id}", "quantity": {quantity}, "price": {price}}}], "totalAmount": {total}}}"#
    )
}

/// Sends an event to its step's queue, as a message that comes again does.
pub async fn again<E: Event>(world: &World, event: E) {
    world.memory.send(event).await.unwrap();
}
