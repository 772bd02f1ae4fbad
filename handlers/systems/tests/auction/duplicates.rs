//! Every message comes twice in one batch, and once more when it was long deleted. The auction's ends are the same.

use async_trait::async_trait;
use quadrille::{
    Choreography, DeadLetter, Failure, Pipeline, Services, Settings, Stored, Timestamp, TrailEntry,
    domain::auction::{Order, OrderStatus},
    engine::{Engine, trigger},
    http::{Method, Request},
    local::{AlarmPolicy, Local},
    memory::Memory,
    port::{
        Bucket, Clock, Depth, Message, NewMessage, ObjectPage, PortError, Ports, Queue, Receipt, SystemClock,
        SystemRandom,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use systems::auction::{
    BACKOFF, EVERY, KICKOFF,
    platform::{Answer, AuctionPlatform, Decision, SimulatedPlatform, SubmittedOrder, decide},
    results::RESULTS_BUCKET,
    run::{Phase, Run},
};

const SEED: u64 = 7;
const NOT_READY: u32 = 4;
const ORDERS: usize = 60;
const RESULTS_DEAD: &str = "auction-results-dlq";

/// How long anything may take before a test gives up on it.
const BOUND: Duration = Duration::from_secs(60);

/// Marks the copy that comes later, so that it is not copied itself.
const LATER: &str = "comes-later";

/// Delivers every message twice in a batch, where batches are, and again after it was deleted.
struct Twice {
    inner: Arc<dyn Queue>,
    received: Mutex<HashMap<String, Message>>,
    copies: Arc<AtomicU64>,
}

#[async_trait]
impl Queue for Twice {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let mut messages = self.inner.receive((max / 2).max(1), wait, visibility).await?;
        for message in &mut messages {
            if message.attributes.remove(LATER).is_none() {
                self.received.lock().unwrap().insert(message.receipt.0.clone(), message.clone());
            }
        }
        if max > 1 {
            let again = messages.clone();
            self.copies.fetch_add(again.len() as u64, Ordering::Relaxed);
            messages.extend(again);
        }
        Ok(messages)
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.inner.receive_these(ids, visibility).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.inner.extend(receipts).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        let deleted: Vec<Message> = {
            let mut received = self.received.lock().unwrap();
            receipts.iter().filter_map(|receipt| received.remove(&receipt.0)).collect()
        };
        let copies = deleted.into_iter().enumerate().map(|(at, message)| NewMessage {
            body: message.body,
            attributes: [message.attributes, BTreeMap::from([(LATER.to_owned(), "1".to_owned())])]
                .into_iter()
                .flatten()
                .collect(),
            // At once, and when others have come in between.
            delay: Duration::from_millis(if at % 2 == 0 { 0 } else { 40 }),
            in_place_of: None,
            key: None,
        });
        let copies: Vec<NewMessage> = copies.collect();
        self.copies.fetch_add(copies.len() as u64, Ordering::Relaxed);
        // Before the delete, so that the queue is never empty while a copy is to come.
        self.inner.send(copies).await.into_iter().collect::<Result<(), PortError>>()?;
        self.inner.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.inner.depth().await
    }

    fn shows_arrivals(&self) -> bool {
        self.inner.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.inner.arrived(after, max).await
    }
}

/// A bucket that remembers what was put under each key.
struct Watched {
    inner: Arc<dyn Bucket>,
    puts: Arc<Mutex<BTreeMap<String, BTreeSet<Vec<u8>>>>>,
}

#[async_trait]
impl Bucket for Watched {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.puts.lock().unwrap().entry(key.to_owned()).or_default().insert(body.clone());
        self.inner.put_if_absent(key, body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.inner.list(prefix, after, limit).await
    }
}

/// What was handed over, by run, page and ids.
type Submissions = Arc<Mutex<BTreeSet<(String, u32, Vec<String>)>>>;

/// The simulated platform, with its asks counted.
struct Counted {
    inner: SimulatedPlatform,
    asks: Arc<AtomicU64>,
    submissions: Submissions,
}

#[async_trait]
impl AuctionPlatform for Counted {
    async fn submit(&self, run_id: &str, page: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        let ids = orders.iter().map(|order| order.record_id.clone()).collect();
        self.submissions.lock().unwrap().insert((run_id.to_owned(), page, ids));
        self.inner.submit(run_id, page, orders).await
    }

    async fn results(&self, run_id: &str, polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        self.asks.fetch_add(1, Ordering::Relaxed);
        self.inner.results(run_id, polls, after).await
    }
}

/// The auction with everything that is watched.
struct World {
    _folder: tempfile::TempDir,
    choreography: Choreography,
    platform: Arc<dyn AuctionPlatform>,
    settings: Settings,
    copies: Arc<AtomicU64>,
    puts: Arc<Mutex<BTreeMap<String, BTreeSet<Vec<u8>>>>>,
    asks: Arc<AtomicU64>,
    submissions: Submissions,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (asks, submissions) = (Arc::default(), Submissions::default());
        let memory = quadrille::local::bucket(&folder.path().join("platform")).unwrap();
        let platform = Counted {
            inner: SimulatedPlatform::new(memory, SEED, NOT_READY),
            asks: Arc::clone(&asks),
            submissions: Arc::clone(&submissions),
        };
        let choreography = crate::auction();
        let settings = crate::settings(&choreography, &[(EVERY, "14d"), (BACKOFF, "10ms")]);
        Self {
            _folder: folder,
            choreography,
            platform: Arc::new(platform),
            settings,
            copies: Arc::default(),
            puts: Arc::default(),
            asks,
            submissions,
        }
    }

    /// Puts the wrappers around the queues that have consumers, and around the bucket; and the platform to them.
    fn wrap(&self, ports: &mut Ports) {
        for queue in &self.choreography.model().queues {
            if queue.redrive.is_none() {
                continue;
            }
            let inner = Arc::clone(&ports.queues[&queue.name]);
            let twice = Twice { inner, received: Mutex::default(), copies: Arc::clone(&self.copies) };
            ports.queues.insert(queue.name.clone(), Arc::new(twice));
        }
        let inner = Arc::clone(&ports.buckets[RESULTS_BUCKET]);
        let watched = Watched { inner, puts: Arc::clone(&self.puts) };
        ports.buckets.insert(RESULTS_BUCKET.to_owned(), Arc::new(watched));
        ports.services = Services::new().with(Arc::clone(&self.platform));
        *ports = self.choreography.equip(ports.clone(), self.settings.clone()).unwrap();
    }

    /// Posts orders, lets a run decide them, and checks what it came to.
    async fn plays(&self, pipeline: &Pipeline) {
        let ids: Vec<String> = (1..=ORDERS).map(|number| format!("order-{number}")).collect();
        let order = |id| json!({ "record_id": id, "parameter_1": "plant", "parameter_2": 2.5 });
        let all: Vec<Value> = ids.iter().map(order).collect();
        for outcome in ["stored", "unchanged"] {
            let request = Request {
                headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
                body: json!(all).to_string().into(),
                ..Request::default()
            };
            let response = pipeline.respond(Method::Post, "/orders", request).await.unwrap();
            let rows: Value = serde_json::from_slice(&response.body).unwrap();
            let rows = rows["results"].as_array().unwrap().clone();
            assert_eq!((response.status, rows.len()), (202, ORDERS));
            assert!(rows.iter().all(|row| row["outcome"] == outcome), "{rows:?}");
        }
        let now = SystemClock.now();
        // The schedule may send its message twice as well.
        trigger(pipeline, KICKOFF, now).await.unwrap();
        trigger(pipeline, KICKOFF, now).await.unwrap();
        let run = self.over(pipeline, now).await;

        assert!(self.copies.load(Ordering::Relaxed) >= 3 * ORDERS as u64, "every message came again");
        let rounds = run.trail().entries.iter().map(|entry| (entry.what.to_string(), entry.until));
        let distinct: BTreeSet<_> = rounds.clone().collect();
        assert_eq!(rounds.count(), distinct.len(), "no round was walked twice: {:?}", run.trail());
        assert_eq!((run.polls, run.pages, run.submitted), (NOT_READY, 1, ORDERS as u64));
        assert_eq!(
            self.asks.load(Ordering::Relaxed),
            u64::from(NOT_READY) + 1,
            "no chain of polls was doubled"
        );
        // Both kickoffs may hand the page over, at the same time: it is the same one.
        let submissions = self.submissions.lock().unwrap().clone();
        assert_eq!(submissions.len(), 1, "{submissions:?}");
        let started = run.trail().entries.len() as u64;
        assert_eq!(run.version(), started, "each commit is in the trail");

        let dead = dead_letters(pipeline).await;
        let objects = objects(pipeline).await;
        let (mut accepted, mut rejected) = (0, 0);
        for id in &ids {
            let Decision { status, power, .. } = decide(SEED, id);
            let is_accepted = status.as_deref() == Some("accepted");
            let status = if is_accepted { OrderStatus::Accepted } else { OrderStatus::Rejected };
            let stored = order_of(pipeline, id).await;
            assert_eq!(stored.status, status, "{id}");
            let whats: Vec<&str> =
                stored.trail().entries.iter().map(|entry: &TrailEntry| &*entry.what).collect();
            let submitted = format!("submitted to run {now}");
            let (way, more) = whats.split_at(3);
            assert_eq!(way, ["received", &submitted, status.as_str()], "{id}");
            if is_accepted {
                accepted += 1;
                assert_eq!(more, ["stored"], "{id}");
                let key = stored.result_key.as_deref().unwrap();
                let body: Value = serde_json::from_slice(&objects[key]).unwrap();
                assert_eq!(body["record_id"], json!(id));
                assert_eq!(body["power"].to_string().parse::<f64>(), power.unwrap().as_str().parse::<f64>());
                assert!(!dead.contains_key(id), "{id} is at both ends");
            } else {
                rejected += 1;
                assert!(
                    !more.is_empty() && more.iter().all(|what| *what == "dead-lettered: rejected"),
                    "{id}: {more:?}"
                );
                assert!(dead[id].iter().all(|reason| reason == "rejected"), "{id}: {dead:?}");
            }
        }
        assert_eq!((run.accepted, run.rejected, run.undecidable), (accepted, rejected, 0));
        assert_eq!((objects.len() as u64, dead.len() as u64), (accepted, rejected));
        for (key, bodies) in self.puts.lock().unwrap().iter() {
            assert_eq!(bodies.len(), 1, "{key} is always the same object");
        }
    }

    /// Waits until the run has ended and every message, copies included, is gone.
    async fn over(&self, pipeline: &Pipeline, run: Timestamp) -> Stored<Run> {
        let began = Instant::now();
        let mut steps = pipeline.observe();
        loop {
            let mut left = 0;
            for queue in &self.choreography.model().queues {
                if queue.redrive.is_some() {
                    left += pipeline.ports().queue(&queue.name).unwrap().depth().await.unwrap().total();
                }
            }
            let table = pipeline.ports().table("orders").unwrap();
            let item = table.get(&[format!("run/{run}")]).await.unwrap().pop().flatten();
            let run = item.map(|item| Stored::<Run>::read(&item).unwrap());
            let ends = objects(pipeline).await.len() + dead_letters(pipeline).await.len();
            if let Some(run) = run.filter(|run| run.phase == Phase::Ended && left == 0 && ends == ORDERS) {
                return run;
            }
            assert!(
                began.elapsed() < BOUND,
                "not within {BOUND:?}: the end of it all; {left} messages, {ends} ends"
            );
            // The next step wakes it; the last one may have been before it began to listen.
            let _: Result<_, _> = tokio::time::timeout(Duration::from_millis(50), steps.recv()).await;
        }
    }
}

async fn order_of(pipeline: &Pipeline, id: &str) -> Stored<Order> {
    let table = pipeline.ports().table("orders").unwrap();
    let item = table.get(&[format!("order/{id}")]).await.unwrap().pop().flatten();
    Stored::read(&item.unwrap()).unwrap()
}

/// The reasons of dead letters, by order.
async fn dead_letters(pipeline: &Pipeline) -> BTreeMap<String, Vec<String>> {
    let letters = pipeline.ports().queue(RESULTS_DEAD).unwrap().arrived(0, 1_000).await.unwrap();
    let mut by_order: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, message) in letters {
        let letter = DeadLetter::read(&message);
        by_order.entry(letter.subject.unwrap()).or_default().push(letter.reason);
    }
    by_order
}

async fn objects(pipeline: &Pipeline) -> BTreeMap<String, Vec<u8>> {
    let bucket = pipeline.ports().bucket(RESULTS_BUCKET).unwrap();
    let mut objects = BTreeMap::new();
    for key in bucket.list("orders/", None, 1_000).await.unwrap().keys {
        let body = bucket.get(&key).await.unwrap().unwrap();
        objects.insert(key, body);
    }
    objects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_of_every_message_change_nothing_in_memory() {
    let world = World::new();
    let memory = Memory::new(world.choreography.model(), Arc::new(SystemClock), Arc::new(SystemRandom));
    let mut ports = memory.ports();
    world.wrap(&mut ports);
    let engine = Engine::start(Pipeline::new(world.choreography.clone(), ports));
    world.plays(engine.pipeline()).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_of_every_message_change_nothing_on_disk() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let model = world.choreography.model();
    let mut local = Local::open(folder.path(), model, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap();
    world.wrap(local.ports_mut());
    let pipeline = Pipeline::new(world.choreography.clone(), local.ports().clone());
    let engine = local.start(&pipeline, AlarmPolicy::default());
    world.plays(engine.pipeline()).await;
    engine.stop().await;
}
