//! `bench --serve`: the engine behind the contract of a comparison with other engines, so that all are measured
//! by one driver in one run. Batches come in on one port, statistics go out on another; the platform is in the process and
//! answers "not ready" a given number of times per run, then accepts all orders but those whose id ends in 7.
//!
//! Environment: `PORT`, `STATS_PORT`, `DATA_DIR`, `RESULTS_DIR`, `NOT_READY`, `POLL_DELAY_MS`; `EVERY_MS`, the time between
//! two runs (0: one for each batch).

use super::{BenchError, line};
use crate::auction::{
    Auction, BACKOFF, EVERY, KICKOFF,
    platform::{Answer, AuctionPlatform, Decision, SubmittedOrder},
    results::RESULTS_BUCKET,
};
use async_trait::async_trait;
use quadrille::{
    Failure, Observation, Pipeline, Settings, System as _, Verdict,
    decimal::Decimal,
    engine::trigger,
    http::{Method, Problem, Request, Response},
    local::{AlarmPolicy, Local},
    notify::Notifier,
    port::{Bucket, ObjectPage, PortError, SystemClock, SystemRandom},
    server::{Server, ServerConfig, Service},
    setting::Place,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast;

/// How long a driver's connection may idle.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> Result<T, BenchError> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| format!("{name} is not a number").into()),
    }
}

fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The platform of the comparison. It remembers all it was given, so its pages are kept as JSON: less memory than as many texts.
struct Platform {
    not_ready: u32,
    pages: Mutex<HashMap<String, Vec<Box<[u8]>>>>,
}

#[async_trait]
impl AuctionPlatform for Platform {
    async fn submit(&self, run_id: &str, _: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        let ids: Vec<&str> = orders.iter().map(|order| order.record_id.as_str()).collect();
        let page = serde_json::to_vec(&ids).map_err(|error| Failure::permanent("unwritable", error))?;
        locked(&self.pages).entry(run_id.to_owned()).or_default().push(page.into());
        Ok(())
    }

    async fn results(&self, run_id: &str, polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        if polls < self.not_ready {
            return Ok(Answer::NotReady);
        }
        let number: usize = after.and_then(|after| after.parse().ok()).unwrap_or(0);
        let pages = locked(&self.pages);
        let all = pages.get(run_id).map(Vec::as_slice).unwrap_or_default();
        let page = all.get(number).map_or(&b"[]"[..], Box::as_ref);
        let ids: Vec<String> =
            serde_json::from_slice(page).map_err(|error| Failure::permanent("unreadable", error))?;
        let decide = |record_id: String| Decision {
            status: Some(if record_id.ends_with('7') { "rejected" } else { "accepted" }.to_owned()),
            power: Some(Decimal::from(1_u32)),
            record_id,
        };
        let decisions = ids.into_iter().map(decide).collect();
        let next = (number + 1 < all.len()).then(|| (number + 1).to_string());
        Ok(Answer::Ready { decisions, faults: Vec::new(), next })
    }
}

/// The results' folder as the contract wants it: nothing but one file an order, named after it. The bucket is the folder
/// above, so that what it needs besides objects lies beside the results.
struct Flat {
    bucket: Arc<dyn Bucket>,
    folder: String,
}

impl Flat {
    fn open(results: &Path) -> Result<Self, BenchError> {
        let parts = results.parent().zip(results.file_name().and_then(|name| name.to_str()));
        let (above, folder) = parts.ok_or("RESULTS_DIR is no folder in a folder")?;
        let bucket = quadrille::local::bucket(above)?;
        Ok(Self { bucket, folder: folder.to_owned() })
    }
}

#[async_trait]
impl Bucket for Flat {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        let name =
            key.strip_prefix("orders/order_").and_then(|name| name.split_once('_')).map_or(key, |(_, id)| id);
        self.bucket.put_if_absent(&format!("{}/{name}", self.folder), body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.bucket.get(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.bucket.list(prefix, after, limit).await
    }
}

/// What is told of the orders that reached an end.
#[derive(Default)]
struct Finished {
    accepted: u64,
    rejected: u64,
    last: u64,
    latencies_ms: Vec<f32>,
    /// When a batch began, and how many of its orders are not finished.
    began: HashMap<String, (u64, usize)>,
}

/// The batch of an order, by the names that the driver gives: all of its id but the last part.
fn batch_of(record_id: &str) -> &str {
    record_id.rsplit_once('-').map_or(record_id, |(batch, _)| batch)
}

impl Finished {
    fn begin(&mut self, record_id: &str, at: u64) {
        match self.began.get_mut(batch_of(record_id)) {
            Some((_, left)) => *left += 1,
            None => drop(self.began.insert(batch_of(record_id).to_owned(), (at, 1))),
        }
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a latency in milliseconds
    fn count(&mut self, step: &Observation) {
        let now = nanoseconds();
        match step.verdict {
            Verdict::Done => self.accepted += 1,
            Verdict::DeadLetter(_) => self.rejected += 1,
            _ => return,
        }
        self.last = now;
        let batch = batch_of(&step.subject);
        let Some((began, left)) = self.began.get_mut(batch) else { return };
        self.latencies_ms.push((now.saturating_sub(*began) as f64 / 1e6) as f32);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.began.remove(batch);
        }
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a percentile's place
    fn tell(&self, skip: usize) -> Value {
        // Sorted once, when nothing is under way: asked every few milliseconds, it would be measured with the rest.
        let told = if self.began.is_empty() { &self.latencies_ms[..] } else { &[] };
        let mut latencies: Vec<f32> = told.iter().skip(skip).copied().collect();
        latencies.sort_by(f32::total_cmp);
        let at = |share: f64| {
            latencies.get(((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1)))
        };
        json!({ "done": self.accepted + self.rejected, "accepted": self.accepted, "rejected": self.rejected,
            "last_done_ns": self.last, "p50_ms": at(0.5), "p99_ms": at(0.99) })
    }
}

#[derive(Deserialize)]
struct Batch {
    t0_ns: u64,
    orders: Box<RawValue>,
}

#[derive(Deserialize)]
struct Named {
    record_id: String,
}

/// Takes batches.
struct Ingest {
    pipeline: Pipeline,
    finished: Arc<Mutex<Finished>>,
    kickoff: bool,
}

impl Ingest {
    async fn take(&self, request: Request) -> Result<Response, Failure> {
        let malformed = |error| Failure::permanent("malformed", error);
        let batch: Batch = serde_json::from_slice(&request.body).map_err(malformed)?;
        let named: Vec<Named> = serde_json::from_str(batch.orders.get()).map_err(malformed)?;
        {
            let mut finished = locked(&self.finished);
            named.iter().for_each(|order| finished.begin(&order.record_id, batch.t0_ns));
        }
        let body = batch.orders.get().to_owned().into_bytes().into();
        let posted = self.pipeline.respond(Method::Post, "/orders", Request { body, ..request }).await;
        if self.kickoff {
            trigger(&self.pipeline, KICKOFF, self.pipeline.ports().clock.now()).await?;
        }
        posted.ok_or_else(|| Failure::permanent("no_route", "orders can't be posted"))
    }
}

impl Service for Ingest {
    async fn respond(&self, _: &str, _: &str, request: Request) -> Response {
        self.take(request)
            .await
            .unwrap_or_else(|failure| Problem::new(400, failure.reason(), failure.detail()).into())
    }
}

struct Statistics(Arc<Mutex<Finished>>);

impl Service for Statistics {
    async fn respond(&self, _: &str, _: &str, request: Request) -> Response {
        let skip = request.query.strip_prefix("skip=").and_then(|skip| skip.parse().ok()).unwrap_or(0);
        Response::json(200, &locked(&self.0).tell(skip))
    }
}

/// The auction's settings for a comparison.
fn settings(every: Duration, wait: Duration) -> Result<Settings, BenchError> {
    let millis = |time: Duration| format!("{}ms", time.as_millis().max(1));
    let model = Auction.define().build()?;
    let settings =
        Settings::read(Place::Command, &model.model().settings, |setting| match setting.name.as_str() {
            EVERY => Some(millis(every)),
            BACKOFF => Some(millis(wait)),
            _ => None,
        })?;
    Ok(settings)
}

/// Runs until it is told to stop.
pub(super) async fn serve() -> Result<(), BenchError> {
    let text =
        |name: &str| std::env::var(name).map_err(|_| format!("the environment variable {name} is missing"));
    let (data, results) = (text("DATA_DIR")?, text("RESULTS_DIR")?);
    let every: u64 = variable("EVERY_MS", 20)?;
    let wait = Duration::from_millis(variable("POLL_DELAY_MS", 0)?);
    let settings = settings(Duration::from_millis(if every == 0 { 86_400_000 } else { every }), wait)?;
    let platform: Arc<dyn AuctionPlatform> =
        Arc::new(Platform { not_ready: variable("NOT_READY", 2)?, pages: Mutex::default() });
    let choreography = Auction.define().build()?;
    let mut local =
        Local::open(Path::new(&data), choreography.model(), Arc::new(SystemClock), Arc::new(SystemRandom))?;
    let bucket = Flat::open(Path::new(&results))?;
    let mut ports = local.ports().clone();
    ports.buckets.insert(RESULTS_BUCKET.to_owned(), Arc::new(bucket));
    ports.services = ports.services.with(platform).with::<dyn Notifier>(Arc::new(Nobody));
    *local.ports_mut() = choreography.equip(ports, settings)?;
    let pipeline = local.pipeline(&choreography);
    let engine = local.start(&pipeline, AlarmPolicy::default());
    let finished: Arc<Mutex<Finished>> = Arc::default();
    let (mut steps, counting) = (pipeline.observe(), Arc::clone(&finished));
    tokio::spawn(async move {
        loop {
            match steps.recv().await {
                Ok(step) if step.step == "store_result" => locked(&counting).count(&step),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::error!(missed, "orders were not counted")
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    // The driver opens a connection to the statistics and leaves it idle for as long as it posts.
    let at = |port: u16| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        ServerConfig { idle_timeout: IDLE_MAX, ..ServerConfig::new(address) }
    };
    let ingest = Ingest { pipeline, finished: Arc::clone(&finished), kickoff: every == 0 };
    let ingest = Server::bind(at(variable("PORT", 9_080)?), ingest).await?;
    let statistics = Server::bind(at(variable("STATS_PORT", 9_081)?), Statistics(finished)).await?;
    line(format_args!("listening on http://{}", ingest.local_addr()));
    tokio::spawn(ingest.run(std::future::pending()));
    tokio::spawn(statistics.run(std::future::pending()));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    engine.stop().await;
    Ok(())
}

/// Alarms of a comparison interest nobody.
struct Nobody;

#[async_trait]
impl Notifier for Nobody {
    async fn notify(&self, _: &quadrille::Alert) -> Result<(), Failure> {
        Ok(())
    }
}
