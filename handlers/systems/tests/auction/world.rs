//! The auction in memory, in a time that passes by hand, on a platform that does as a test says.

use async_trait::async_trait;
use quadrille::{
    Failure, Pipeline, Services, Stored, Timestamp,
    domain::auction::Order,
    engine::trigger,
    http::{Method, Request, Response},
    memory::{Memory, VirtualClock},
    port::{
        Clock as _, CommitError, IndexPage, IndexQuery, Item, PortError, Ports, ScanPage, SystemRandom,
        Table, Write,
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use systems::auction::{
    BACKOFF, EVERY, KICKOFF,
    platform::{Answer, AuctionPlatform, Decision, SubmittedOrder},
    run::Run,
};
use tokio::sync::Notify;

pub const HOUR: Duration = Duration::from_secs(3_600);

/// Pages of a run whose decisions it tells at once, and what it calls those behind them.
const PAGES_TOLD: usize = 10;
const PAGE: &str = "page ";

/// A platform that accepts everything, but decides nothing before a certain time.
pub struct Slow {
    pub clock: Arc<VirtualClock>,
    decides_at: Timestamp,
    /// Before this it can't be reached.
    pub away_until: Mutex<Timestamp>,
    /// How long it takes to take a page.
    pub takes: Mutex<Duration>,
    /// It refuses whatever it is asked.
    pub refuses: AtomicBool,
    /// It decides on the first page, and its further pages, without a decision, go round in a circle.
    pub circles: AtomicBool,
    /// It decides on a second page as well, for which it asks not to be asked before so long, once.
    pub rests: Mutex<Option<Duration>>,
    /// How often it was asked for results.
    pub asked: AtomicUsize,
    /// The pages of each run, as they came.
    pub submitted: Mutex<BTreeMap<String, Vec<Vec<String>>>>,
}

impl Slow {
    fn reached(&self) -> Result<(), Failure> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Failure::permanent("platform_refused", "it will not"));
        }
        let is_away = self.clock.now() < *self.away_until.lock().unwrap();
        if is_away { Err(Failure::transient("platform_unreachable", "nobody answers")) } else { Ok(()) }
    }
}

#[async_trait]
impl AuctionPlatform for Slow {
    async fn submit(&self, run_id: &str, _: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        self.reached()?;
        let taken = self.clock.now() + *self.takes.lock().unwrap();
        self.clock.sleep_until(taken).await;
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
        let page = after.and_then(|after| after.strip_prefix(PAGE)).map_or(0, |page| page.parse().unwrap());
        let (pages, more) = {
            let submitted = self.submitted.lock().unwrap();
            let rest = submitted.get(run_id).map_or(&[][..], |pages| &pages[page..]);
            (rest[..rest.len().min(PAGES_TOLD)].to_vec(), rest.len() > PAGES_TOLD)
        };
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
            next: if more {
                Some(format!("{PAGE}{}", page + PAGES_TOLD))
            } else {
                is_first.then(|| "the rest".to_owned())
            },
        })
    }
}

/// Where a commit is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Before,
    Behind,
}

/// A commit that is held until it is let go.
struct Hold {
    key: String,
    /// What its trail tells last.
    what: &'static str,
    at: Held,
    let_go: Arc<Notify>,
}

/// A table that fails one of its calls, and holds commits.
pub struct Meddled {
    table: Arc<dyn Table>,
    pub calls: AtomicUsize,
    /// Which call fails, from 1, and whether it is still made.
    pub fails: Mutex<Option<(usize, bool)>>,
    holds: Mutex<Vec<Hold>>,
    /// The longest page that was read of each partition of the index.
    pub longest: Mutex<BTreeMap<String, usize>>,
}

impl Meddled {
    /// Holds the next commit of this key whose trail tells `what`, until it is notified.
    pub fn hold(&self, key: &str, what: &'static str, at: Held) -> Arc<Notify> {
        let let_go = Arc::new(Notify::new());
        let hold = Hold { key: key.to_owned(), what, at, let_go: Arc::clone(&let_go) };
        self.holds.lock().unwrap().push(hold);
        let_go
    }

    fn called(&self) -> Option<bool> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.fails.lock().unwrap().filter(|(fails, _)| *fails == call).map(|(_, is_made)| is_made)
    }

    fn held(&self, writes: &[Write]) -> Option<Hold> {
        let mut holds = self.holds.lock().unwrap();
        let is_held = |hold: &Hold| {
            writes.iter().any(|write| {
                write.item.key == hold.key
                    && write.item.document.text().is_ok_and(|text| text.contains(hold.what))
            })
        };
        let at = holds.iter().position(is_held)?;
        Some(holds.remove(at))
    }
}

fn out() -> PortError {
    PortError::transient("orders", "the table is out")
}

#[async_trait]
impl Table for Meddled {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        if self.called().is_some() { Err(out()) } else { self.table.get(keys).await }
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let count = writes.len();
        let fails = || (0..count).map(|_| Err(CommitError::Port(out()))).collect();
        let hold = self.held(&writes);
        if let Some(hold) = hold.as_ref().filter(|hold| hold.at == Held::Before) {
            hold.let_go.notified().await;
        }
        let fate = self.called();
        let answers = if fate == Some(false) { fails() } else { self.table.commit(writes).await };
        if let Some(hold) = hold.filter(|hold| hold.at == Held::Behind) {
            hold.let_go.notified().await;
        }
        if fate == Some(true) { fails() } else { answers }
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        if self.called().is_some() {
            return Err(out());
        }
        let page = self.table.query(query).await?;
        let mut longest = self.longest.lock().unwrap();
        let longest = longest.entry(query.partition.clone()).or_default();
        *longest = page.items.len().max(*longest);
        Ok(page)
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.table.count(partition, at_most).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.table.scan(after, limit).await
    }
}

/// The auction on these ports: a run is started by hand.
fn pipeline(ports: Ports, said: &[(&str, &str)]) -> Pipeline {
    let auction = crate::auction();
    let settings = crate::settings(&auction, &[&[(EVERY, "14d"), (BACKOFF, "10s")], said].concat());
    let ports = auction.equip(ports, settings).unwrap();
    Pipeline::new(auction, ports)
}

pub struct World {
    pub clock: Arc<VirtualClock>,
    pub platform: Arc<Slow>,
    pub memory: Memory,
    pub table: Arc<Meddled>,
    pub pipeline: Pipeline,
}

impl World {
    /// An auction whose runs are started by hand, on a platform that decides after `decides_after`.
    pub fn new(decides_after: Duration) -> Self {
        Self::with(decides_after, &[])
    }

    /// The same with these settings.
    pub fn with(decides_after: Duration, said: &[(&str, &str)]) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-20T09:15:00Z").unwrap()));
        let decides_at = clock.now() + decides_after;
        let platform = Arc::new(Slow {
            clock: clock.clone(),
            decides_at,
            away_until: Mutex::new(clock.now()),
            takes: Mutex::default(),
            refuses: AtomicBool::new(false),
            circles: AtomicBool::new(false),
            rests: Mutex::default(),
            asked: AtomicUsize::new(0),
            submitted: Mutex::default(),
        });
        let auction = crate::auction();
        let memory = Memory::new(auction.model(), clock.clone(), Arc::new(SystemRandom));
        let service: Arc<dyn AuctionPlatform> = platform.clone();
        let mut ports = Ports { services: Services::new().with(service), ..memory.ports() };
        let table = Arc::new(Meddled {
            table: Arc::clone(&ports.tables["orders"]),
            calls: AtomicUsize::new(0),
            fails: Mutex::default(),
            holds: Mutex::default(),
            longest: Mutex::default(),
        });
        ports.tables.insert("orders".to_owned(), table.clone());
        let pipeline = pipeline(ports, said);
        Self { clock, platform, memory, table, pipeline }
    }

    /// It goes on with other settings.
    pub fn set(&mut self, said: &[(&str, &str)]) {
        self.pipeline = pipeline((**self.ports()).clone(), said);
    }

    pub fn ports(&self) -> &Arc<Ports> {
        self.pipeline.ports()
    }

    pub async fn send(&self, record_ids: &[&str]) -> Response {
        let order = |id: &&str| format!(r#"{{"record_id":"{id}","parameter_1":"abc","parameter_2":4}}"#);
        let body = format!("[{}]", record_ids.iter().map(order).collect::<Vec<_>>().join(","));
        let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
        let request = Request { body: body.into(), headers, ..Request::default() };
        self.pipeline.respond(Method::Post, "/orders", request).await.unwrap()
    }

    pub async fn post(&self, record_ids: &[&str]) {
        assert_eq!(self.send(record_ids).await.status, 202);
    }

    /// Starts a run, and gives its id.
    pub async fn kick_off(&self) -> String {
        let now = self.clock.now();
        trigger(&self.pipeline, KICKOFF, now).await.unwrap();
        self.clock.pass(Duration::from_secs(1)).await;
        now.to_string()
    }

    pub async fn order(&self, record_id: &str) -> Option<Stored<Order>> {
        self.memory.get(record_id).await.unwrap()
    }

    pub async fn run(&self, run_id: &str) -> Option<Stored<Run>> {
        self.memory.get(run_id).await.unwrap()
    }

    /// How many messages are dead in this queue.
    pub async fn dead(&self, queue: &str) -> u64 {
        self.ports().queue(queue).unwrap().depth().await.unwrap().total()
    }
}
