//! The auction in a time that passes by hand: how long orders are kept, and in which order runs take them.

use async_trait::async_trait;
use quadrille::{
    Failure, Pipeline, Services, Stored, Timestamp,
    domain::auction::{Order, OrderStatus, record_of_result},
    engine::{Engine, trigger},
    http::{Method, Request},
    memory::{Memory, VirtualClock},
    port::{Clock as _, Ports, SystemRandom},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use systems::auction::{
    ALERTS, BACKOFF, EVERY, KICKOFF, OPEN_SHARDS, RESULT_PREFIXES, RUN_PARTS,
    platform::{Answer, AuctionPlatform, Decision, SubmittedOrder},
    results::RESULTS_BUCKET,
    run::{ORDERS_PER_PAGE, Phase, Run},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A platform that accepts everything, but decides nothing before a certain time.
pub struct Slow {
    clock: Arc<VirtualClock>,
    decides_at: Timestamp,
    /// Before this it can't be reached.
    away_until: Mutex<Timestamp>,
    /// It decides on the first page, and its further pages, without a decision, go round in a circle.
    circles: AtomicBool,
    /// It decides on a second page as well, for which it asks not to be asked before so long, once.
    rests: Mutex<Option<Duration>>,
    /// How often it was asked for results.
    asked: AtomicUsize,
    /// The pages of each run, as they came.
    submitted: Mutex<BTreeMap<String, Vec<Vec<String>>>>,
}

impl Slow {
    fn reached(&self) -> Result<(), Failure> {
        let is_away = self.clock.now() < *self.away_until.lock().unwrap();
        if is_away { Err(Failure::transient("platform_unreachable", "nobody answers")) } else { Ok(()) }
    }
}

#[async_trait]
impl AuctionPlatform for Slow {
    async fn submit(&self, run_id: &str, _: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        self.reached()?;
        let page = orders.iter().map(|order| order.record_id.clone()).collect();
        self.submitted.lock().unwrap().entry(run_id.to_owned()).or_default().push(page);
        Ok(())
    }

    async fn results(&self, run_id: &str, _: u32, after: Option<&str>) -> Result<Answer, Failure> {
        self.reached()?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.clock.now() < self.decides_at {
            return Ok(Answer::NotReady);
        }
        let pages = self.submitted.lock().unwrap().get(run_id).cloned().unwrap_or_default();
        let accepted = |record_id| Decision { record_id, status: Some("accepted".into()), power: None };
        if self.circles.load(Ordering::Relaxed) {
            let first = pages.into_iter().flatten().take(if after.is_none() { 1 } else { 0 });
            let next = if after == Some("round") { "and round" } else { "round" };
            return Ok(Answer::Ready {
                decisions: first.map(accepted).collect(),
                faults: Vec::new(),
                next: Some(next.to_owned()),
            });
        }
        let mut rests = self.rests.lock().unwrap();
        let is_first = rests.is_some() && after.is_none();
        if after.is_some()
            && let Some(rest) = rests.take()
        {
            let failure = Failure::transient("platform_throttled", "it rests");
            return Err(failure.not_before(Some(rest)));
        }
        let told = if is_first { 1 } else { usize::MAX };
        Ok(Answer::Ready {
            decisions: pages.into_iter().flatten().take(told).map(accepted).collect(),
            faults: Vec::new(),
            next: is_first.then(|| "the rest".to_owned()),
        })
    }
}

pub struct World {
    pub clock: Arc<VirtualClock>,
    pub platform: Arc<Slow>,
    memory: Memory,
    pub pipeline: Pipeline,
}

impl World {
    /// An auction whose runs are started by hand, on a platform that decides after `decides_after`.
    fn new(decides_after: Duration) -> Self {
        Self::with(decides_after, &[])
    }

    /// The same with these settings.
    pub fn with(decides_after: Duration, settings: &[(&str, &str)]) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-20T09:15:00Z").unwrap()));
        let decides_at = clock.now() + decides_after;
        let platform = Arc::new(Slow {
            clock: clock.clone(),
            decides_at,
            away_until: Mutex::new(clock.now()),
            circles: AtomicBool::new(false),
            rests: Mutex::default(),
            asked: AtomicUsize::new(0),
            submitted: Mutex::default(),
        });
        let auction = crate::auction();
        let memory = Memory::new(auction.model(), clock.clone(), Arc::new(SystemRandom));
        let pipeline = pipeline(&memory, &platform, settings);
        Self { clock, platform, memory, pipeline }
    }

    /// It goes on with other settings.
    fn set(&mut self, settings: &[(&str, &str)]) {
        self.pipeline = pipeline(&self.memory, &self.platform, settings);
    }

    fn ports(&self) -> &Ports {
        self.pipeline.ports()
    }

    pub async fn post(&self, record_ids: &[&str]) {
        let order = |id: &&str| format!(r#"{{"record_id":"{id}","parameter_1":"abc","parameter_2":4}}"#);
        let body = format!("[{}]", record_ids.iter().map(order).collect::<Vec<_>>().join(","));
        let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
        let request = Request { body: body.into(), headers, ..Request::default() };
        assert_eq!(self.pipeline.respond(Method::Post, "/orders", request).await.unwrap().status, 202);
    }

    pub async fn kick_off(&self) {
        trigger(&self.pipeline, KICKOFF, self.clock.now()).await.unwrap();
        self.clock.pass(Duration::from_secs(1)).await;
    }

    async fn run(&self, run_id: &str) -> Stored<Run> {
        let key = format!("run/{run_id}");
        let item = self.ports().table("orders").unwrap().get(&[key]).await.unwrap().pop().flatten().unwrap();
        Stored::read(&item).unwrap()
    }

    pub async fn order(&self, record_id: &str) -> Option<Stored<Order>> {
        let key = format!("order/{record_id}");
        let item = self.ports().table("orders").unwrap().get(&[key]).await.unwrap().pop().flatten()?;
        Some(Stored::read(&item).unwrap()).filter(|order: &Stored<Order>| order.expires_at > self.clock.now())
    }
}

fn pipeline(memory: &Memory, platform: &Arc<Slow>, settings: &[(&str, &str)]) -> Pipeline {
    let auction = crate::auction();
    let service: Arc<dyn AuctionPlatform> = platform.clone();
    let ports = Ports { services: Services::new().with(service), ..memory.ports() };
    let settings: Vec<(&str, &str)> =
        [(EVERY, "14d"), (BACKOFF, "10s")].into_iter().chain(settings.iter().copied()).collect();
    let ports = auction.equip(ports, crate::settings(&auction, &settings)).unwrap();
    Pipeline::new(auction, ports)
}

#[tokio::test]
async fn an_order_does_not_expire_while_runs_try_to_have_it_decided() {
    // The first run gives up before, the second one learns the decision a quarter of an hour after the 24 h.
    let world = World::new(24 * HOUR + HOUR / 4);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["late"]).await;
    world.clock.pass(22 * HOUR + HOUR / 2).await;
    world.kick_off().await;
    world.clock.pass(HOUR + HOUR / 4).await;
    assert_eq!(
        world.order("late").await.unwrap().status,
        OrderStatus::Submitted,
        "the run is past its deadline"
    );
    world.kick_off().await;
    world.clock.pass(HOUR).await;
    let order = world.order("late").await.unwrap();
    assert_eq!(order.status, OrderStatus::Accepted);
    let filed = world.ports().bucket(RESULTS_BUCKET).unwrap().list("", None, 10).await.unwrap().keys;
    assert_eq!(filed, [order.result_key.clone().unwrap()]);
    engine.stop().await;
}

#[tokio::test]
async fn a_platform_that_is_away_for_most_of_a_run_costs_nothing() {
    let world = World::new(Duration::ZERO);
    *world.platform.away_until.lock().unwrap() = world.clock.now() + 50 * HOUR / 60;
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["patient"]).await;
    world.kick_off().await;
    world.clock.pass(49 * HOUR / 60).await;
    assert_eq!(world.order("patient").await.unwrap().status, OrderStatus::Submitted);
    // The next attempt is five minutes away at most.
    world.clock.pass(7 * HOUR / 60).await;
    assert_eq!(world.order("patient").await.unwrap().status, OrderStatus::Accepted);
    let submitted = world.platform.submitted.lock().unwrap().len();
    assert_eq!(submitted, 1, "the run that began ended, and no other took its orders");
    let dead = world.ports().queue("auction-poll-dlq").unwrap().depth().await.unwrap();
    assert_eq!(dead.total(), 0);
    engine.stop().await;
}

#[tokio::test]
async fn a_platform_that_tells_in_circles_is_left_long_before_the_deadline() {
    let world = World::new(Duration::ZERO);
    world.platform.circles.store(true, Ordering::Relaxed);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["one", "two"]).await;
    world.kick_off().await;
    world.clock.pass(HOUR / 60).await;
    let (one, two) = (world.order("one").await.unwrap(), world.order("two").await.unwrap());
    let decided = [&one, &two].into_iter().filter(|order| order.status == OrderStatus::Accepted).count();
    let undecidable = [&one, &two].into_iter().filter_map(|order| order.undecidable.as_deref());
    assert_eq!((decided, undecidable.collect::<Vec<_>>()), (1, vec!["decision_missing"]));
    assert!(world.platform.asked.load(Ordering::Relaxed) < 1_100);
    engine.stop().await;
}

#[tokio::test]
async fn a_page_that_the_platform_asks_to_wait_for_is_waited_for() {
    let world = World::new(Duration::ZERO);
    *world.platform.rests.lock().unwrap() = Some(HOUR / 6);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["one", "two"]).await;
    world.kick_off().await;
    let accepted = async || {
        let orders = [world.order("one").await.unwrap(), world.order("two").await.unwrap()];
        orders.iter().filter(|order| order.status == OrderStatus::Accepted).count()
    };
    world.clock.pass(HOUR / 6 - Duration::from_secs(2)).await;
    assert_eq!((accepted().await, world.platform.asked.load(Ordering::Relaxed)), (1, 2));
    world.clock.pass(Duration::from_secs(2)).await;
    assert_eq!((accepted().await, world.platform.asked.load(Ordering::Relaxed)), (2, 3));
    engine.stop().await;
}

#[tokio::test]
async fn an_order_that_is_decided_in_time_is_kept_for_24_hours_and_no_longer() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["early"]).await;
    world.kick_off().await;
    let order = world.order("early").await.unwrap();
    assert_eq!(order.status, OrderStatus::Accepted);
    assert_eq!(order.expires_at, order.received_at + 24 * HOUR);
    assert!(world.ports().topics.contains_key(ALERTS));
    world.clock.pass(24 * HOUR).await;
    assert!(world.order("early").await.is_none());
    engine.stop().await;
}

/// Ids of that many orders, posted some at a time, a millisecond apart.
async fn post_many(world: &World, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|number| format!("order-{number:04}")).collect();
    for batch in ids.chunks(7) {
        world.post(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.clock.advance_to(world.clock.now() + Duration::from_millis(1));
    }
    ids
}

#[tokio::test]
async fn a_run_takes_orders_in_the_order_they_came_in_whatever_shard_they_fall_on() {
    for shards in ["1", "8", "64", "1000"] {
        let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, shards)]);
        let engine = Engine::start(world.pipeline.clone());
        let ids = post_many(&world, 2_000).await;
        world.kick_off().await;
        let submitted = world.platform.submitted.lock().unwrap().clone();
        let pages: Vec<Vec<String>> = submitted.into_values().flatten().collect();
        assert_eq!(pages.concat(), ids);
        // The shards are as full as chance makes them, and pages are full all the same.
        let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [ORDERS_PER_PAGE, ORDERS_PER_PAGE, 2_000 - 2 * ORDERS_PER_PAGE], "{shards} shards");
        engine.stop().await;
    }
}

#[tokio::test]
async fn orders_are_found_where_they_are_when_the_number_of_shards_has_grown() {
    let mut world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "8")]);
    let mut ids = post_many(&world, 100).await;
    world.set(&[(OPEN_SHARDS, "64")]);
    world.post(&["later-1", "later-2", "later-3"]).await;
    ids.extend(["later-1", "later-2", "later-3"].map(str::to_owned));
    // However few there are said to be, those of an older version are found.
    world.set(&[(OPEN_SHARDS, "64"), (RUN_PARTS, "3")]);
    let engine = Engine::start(world.pipeline.clone());
    world.kick_off().await;
    for id in &ids {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn what_was_spread_over_eight_partitions_is_found_whatever_the_setting_says() {
    let mut world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "8")]);
    let ids = post_many(&world, 100).await;
    world.set(&[(OPEN_SHARDS, "1")]);
    let engine = Engine::start(world.pipeline.clone());
    world.kick_off().await;
    for id in &ids {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_kickoff_that_is_divided_takes_each_order_once_and_every_part_ends() {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64"), (RUN_PARTS, "5")]);
    let engine = Engine::start(world.pipeline.clone());
    let mut ids = post_many(&world, 2_000).await;
    let at = world.clock.now();
    world.kick_off().await;
    // A kickoff that comes twice is the same runs.
    trigger(&world.pipeline, KICKOFF, at).await.unwrap();
    world.clock.pass(Duration::from_secs(1)).await;
    let submitted = world.platform.submitted.lock().unwrap().clone();
    let runs: Vec<String> = (0..5).map(|part| format!("{at}~{part}of5")).collect();
    assert_eq!(submitted.keys().cloned().collect::<Vec<_>>(), runs);
    let mut taken: Vec<String> = submitted.into_values().flatten().flatten().collect();
    taken.sort();
    ids.sort();
    assert_eq!(taken, ids);
    for run in runs.iter().chain([&at.to_string()]) {
        assert_eq!(world.run(run).await.phase, Phase::Ended, "{run}");
    }
    for id in &ids {
        assert!(world.order(id).await.unwrap().result_key.is_some(), "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn parts_that_passed_their_deadline_are_taken_over_also_by_fewer_of_them() {
    for later in ["5", "2", "1"] {
        let mut world = World::with(2 * HOUR, &[(OPEN_SHARDS, "64"), (RUN_PARTS, "5")]);
        let engine = Engine::start(world.pipeline.clone());
        let ids = post_many(&world, 100).await;
        world.kick_off().await;
        world.clock.pass(HOUR + HOUR / 4).await;
        engine.stop().await;
        world.set(&[(OPEN_SHARDS, "64"), (RUN_PARTS, later)]);
        let engine = Engine::start(world.pipeline.clone());
        world.kick_off().await;
        world.clock.pass(HOUR).await;
        for id in &ids {
            assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}, {later} parts");
        }
        engine.stop().await;
    }
}

#[tokio::test]
async fn results_are_filed_under_as_many_prefixes_as_are_set_and_each_order_names_its_own() {
    let world = World::with(Duration::ZERO, &[(RESULT_PREFIXES, "16")]);
    let engine = Engine::start(world.pipeline.clone());
    let ids = post_many(&world, 200).await;
    world.kick_off().await;
    let mut prefixes = BTreeSet::new();
    for id in &ids {
        let key = world.order(id).await.unwrap().result_key.clone().unwrap();
        assert!(world.ports().bucket(RESULTS_BUCKET).unwrap().get(&key).await.unwrap().is_some(), "{key}");
        assert_eq!(record_of_result(&key).as_deref(), Some(id.as_str()));
        prefixes.insert(key.split('/').nth(1).unwrap().to_owned());
    }
    assert_eq!(prefixes.len(), 16);
    engine.stop().await;
}
