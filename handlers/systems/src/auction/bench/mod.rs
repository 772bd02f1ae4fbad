//! `bench`: measures the auction's service as a process of its own, from outside.
//!
//! Each size runs on a fresh data folder: `quadrille up` is started, orders are posted over HTTP, and the clock stops when
//! every order is filed or dead-lettered. The folders are removed when all is measured: ext4 passes over what was freed in the
//! last minutes one by one when it looks for a free inode, which slows the next run down to a quarter. Processor time and
//! memory are the service's own, as the system counts them; the load comes from this process.

mod serve;

use clap::Parser;
use quadrille::{
    StepCounts,
    http_client::{HttpClient, Method},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    future::Future,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

/// Why a measurement broke off.
type BenchError = Box<dyn Error + Send + Sync>;

/// What is measured.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Measures the engine: orders a second from POST to file or dead letter, latency, processor time, memory.",
    after_help = "Example:\n  quadrille bench --orders 1000,10000,100000"
)]
struct Bench {
    /// Sizes of the runs.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    orders: Vec<u64>,
    /// Orders in a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
    /// Connections that post at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    /// How often the platform answers that it is not ready.
    #[arg(long, default_value_t = 2)]
    not_ready: u32,
    /// Serve the contract of a comparison with other engines instead (see `docs/performance.md`).
    #[arg(long)]
    serve: bool,
    /// The folder that data folders are made in; without, the temporary one. They take some 6 KB an order and 36 MB a run,
    /// until all is measured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `bench`, with the arguments behind the word.
pub(super) fn bench(arguments: Vec<OsString>) -> Pin<Box<dyn Future<Output = Result<(), BenchError>>>> {
    Box::pin(async move {
        let named = std::iter::once(OsString::from("bench")).chain(arguments);
        // Help is no error, and shown as clap shows it.
        let args = Bench::try_parse_from(named).unwrap_or_else(|error| error.exit());
        if args.serve { serve::serve().await } else { measure(args).await }
    })
}

/// A line on standard output; who does not read it any longer misses nothing else.
fn line(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line on standard error that is written over, where a person looks.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K{text}");
    }
}

/// The longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The service, as its load sees it.
#[derive(Clone)]
struct Client {
    http: HttpClient,
    base: String,
}

impl Client {
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, BenchError> {
        let url = format!("{}{path}", self.base);
        let headers = [("content-type", "application/json")];
        let (status, body) = self.http.send(method, &url, &headers, body, ANSWER_BYTES_MAX).await?;
        if !(200..300).contains(&status) {
            return Err(format!("{path} answered {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// How often the service is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Orders whose latency is measured one by one.
const SINGLE_ORDERS: u64 = 20;

/// How long an idle service is watched.
const IDLE_FOR: Duration = Duration::from_secs(3);

/// Clock ticks a second in /proc, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The service under measurement.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    async fn start(folder: &Path, args: &Bench, every: &str) -> Result<Self, BenchError> {
        let program = std::env::current_exe()?;
        let not_ready = args.not_ready.to_string();
        let mut child = Command::new(program)
            .args([
                "up",
                "auction",
                "--port",
                "0",
                "--every",
                every,
                "--backoff",
                "10ms",
                "--log-level",
                "error",
            ])
            .args(["--not-ready", &not_ready, "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or("the service has no output")?;
        let mut lines = BufReader::new(out).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        let address = first.strip_prefix("listening on ").map(str::to_owned);
        let address = address.ok_or_else(|| format!("the service did not start: {first:?}"))?;
        // What it prints later is read, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address })
    }

    fn client(&self) -> Result<Client, BenchError> {
        Ok(Client { http: HttpClient::new(TIMEOUT)?, base: self.address.clone() })
    }

    /// Orders that reached an end.
    async fn finished(&self, client: &Client) -> Result<StepCounts, BenchError> {
        let counts: BTreeMap<String, StepCounts> =
            client.ask(Method::GET, "/_quadrille/counts", None).await?;
        Ok(counts.get("store_result").copied().unwrap_or_default())
    }

    /// Processor seconds used so far; none where the system has no /proc.
    fn processor_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / TICKS_PER_SECOND)
    }

    /// The most memory it had resident, in MB.
    fn memory_peak_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? * 1024.0 / 1e6)
    }

    async fn stop(mut self) -> Result<(), BenchError> {
        Ok(self.child.kill().await?)
    }
}

async fn measure(args: Bench) -> Result<(), BenchError> {
    let mut rows = Vec::new();
    let mut folders = Vec::new();
    for size in &args.orders {
        let folder = folder(&args)?;
        let row = throughput(&args, *size, folder.path()).await?;
        folders.push(folder);
        if !args.json {
            print_throughput(&row);
        }
        rows.push(row);
    }
    let single = one_by_one(&args).await?;
    if args.json {
        line(json!({ "throughput": rows, "single": single }));
    } else {
        line(format_args!(
            "one order when idle: p50 {:.1} ms, p99 {:.1} ms from POST to file or dead letter ({} asks); idle processor {:.2} %",
            number(&single["p50_ms"]),
            number(&single["p99_ms"]),
            args.not_ready + 1,
            number(&single["idle_processor_percent"]),
        ));
    }
    Ok(())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn print_throughput(row: &Value) {
    line(format_args!(
        "{:>9} orders: {:>7.0} orders/s, {:>6.1} us processor an order, {:>6.1} MB at most, {:.2} s",
        row["orders"].as_u64().unwrap_or(0),
        number(&row["orders_per_second"]),
        number(&row["processor_us_per_order"]),
        number(&row["memory_peak_mb"]),
        number(&row["seconds"]),
    ));
}

fn folder(args: &Bench) -> std::io::Result<tempfile::TempDir> {
    match &args.data {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    }
}

async fn throughput(args: &Bench, size: u64, folder: &Path) -> Result<Value, BenchError> {
    let service = Service::start(folder, args, "100ms").await?;
    let client = service.client()?;
    let before = service.processor_seconds();
    let began = Instant::now();
    let next = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut posting: JoinSet<Result<(), BenchError>> = JoinSet::new();
    for _ in 0..args.connections {
        let (client, next, batch) = (service.client()?, std::sync::Arc::clone(&next), args.batch);
        posting.spawn(async move {
            loop {
                let from = next.fetch_add(batch, std::sync::atomic::Ordering::Relaxed);
                if from >= size {
                    return Ok(());
                }
                post(&client, from, (from + batch).min(size)).await?;
            }
        });
    }
    let counts = loop {
        while let Some(posted) = posting.try_join_next() {
            posted??;
        }
        let counts = service.finished(&client).await?;
        let finished = counts.done + counts.dead_lettered;
        if finished >= size {
            break counts;
        }
        progress(&format!("{finished} of {size}"));
        tokio::time::sleep(LOOK_EVERY).await;
    };
    progress("");
    let seconds = began.elapsed().as_secs_f64();
    let used = service.processor_seconds().zip(before).map(|(after, before)| after - before);
    let memory = service.memory_peak_mb();
    service.stop().await?;
    #[allow(clippy::cast_precision_loss)] // sizes of a benchmark
    let orders = size as f64;
    Ok(json!({
        "orders": size, "seconds": seconds, "orders_per_second": orders / seconds, "filed": counts.done,
        "dead_lettered": counts.dead_lettered, "processor_us_per_order": used.map(|used| used / orders * 1e6),
        "memory_peak_mb": memory,
    }))
}

async fn post(client: &Client, from: u64, until: u64) -> Result<(), BenchError> {
    let orders: Vec<Value> = (from..until)
        .map(|at| json!({ "record_id": format!("bench-{at:08}"), "parameter_1": format!("plant-{}", at % 101), "parameter_2": at }))
        .collect();
    client.ask::<Value>(Method::POST, "/orders", Some(serde_json::to_vec(&orders)?)).await.map(drop)
}

/// Latency of single orders on an idle service, and what it costs to have it idle.
async fn one_by_one(args: &Bench) -> Result<Value, BenchError> {
    let folder = folder(args)?;
    let service = Service::start(folder.path(), args, "336h").await?;
    let client = service.client()?;
    let mut latencies = Vec::new();
    for at in 0..SINGLE_ORDERS {
        let began = Instant::now();
        post(&client, at, at + 1).await?;
        let path = "/_quadrille/schedules/kickoff";
        client.ask::<Value>(Method::POST, path, Some(b"{}".to_vec())).await?;
        loop {
            let counts = service.finished(&client).await?;
            if counts.done + counts.dead_lettered > at {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.push(began.elapsed().as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    let before = service.processor_seconds();
    tokio::time::sleep(IDLE_FOR).await;
    let idle = service
        .processor_seconds()
        .zip(before)
        .map(|(after, before)| (after - before) / IDLE_FOR.as_secs_f64());
    service.stop().await?;
    Ok(json!({
        "orders": SINGLE_ORDERS, "p50_ms": latencies.get(latencies.len() / 2), "p99_ms": latencies.last(),
        "idle_processor_percent": idle.map(|idle| idle * 100.0),
    }))
}
