//! `quadrille bench`: measures the service as a process of its own, from outside.
//!
//! Each size runs on a fresh data folder: `quadrille up` is started, orders are posted over HTTP, and the clock stops when
//! every order is filed or dead-lettered. The folders are removed when all is measured: ext4 passes over what was freed in the
//! last minutes one by one when it looks for a free inode, which slows the next run down to a quarter. Processor time and
//! memory are the service's own, as the system counts them; the load comes from this process.

use crate::{
    args::Bench,
    client::Client,
    error::CommandError,
    print::{Progress, line},
};
use quadrille::StepCounts;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use systems::http_client::Method;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

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
    async fn start(folder: &Path, args: &Bench, every: &str) -> Result<Self, CommandError> {
        let program = std::env::current_exe().map_err(CommandError::io("this program's own path"))?;
        let not_ready = args.not_ready.to_string();
        let mut child = Command::new(program)
            .args(["up", "--port", "0", "--every", every, "--backoff", "10ms", "--log-level", "error"])
            .args(["--not-ready", &not_ready, "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(CommandError::io("starting the service"))?;
        let out =
            child.stdout.take().ok_or_else(|| CommandError::Failed("the service has no output".into()))?;
        let mut lines = BufReader::new(out).lines();
        let first =
            lines.next_line().await.map_err(CommandError::io("the service's output"))?.unwrap_or_default();
        let address = first.strip_prefix("listening on ").map(str::to_owned);
        let address =
            address.ok_or_else(|| CommandError::Failed(format!("the service did not start: {first:?}")))?;
        // What it prints later is read, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address })
    }

    fn client(&self) -> Result<Client, CommandError> {
        Client::remote(&self.address, None)
    }

    /// Orders that reached an end.
    async fn finished(&self, client: &Client) -> Result<StepCounts, CommandError> {
        let counts: BTreeMap<String, StepCounts> = client.get("/_quadrille/counts").await?;
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

    async fn stop(mut self) -> Result<(), CommandError> {
        self.child.kill().await.map_err(CommandError::io("stopping the service"))
    }
}

pub async fn bench(args: Bench) -> Result<(), CommandError> {
    if args.serve {
        return crate::bench_engine::serve().await;
    }
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

fn folder(args: &Bench) -> Result<tempfile::TempDir, CommandError> {
    let made = match &args.data {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    made.map_err(CommandError::io("a folder for the data"))
}

async fn throughput(args: &Bench, size: u64, folder: &Path) -> Result<Value, CommandError> {
    let service = Service::start(folder, args, "100ms").await?;
    let client = service.client()?;
    let before = service.processor_seconds();
    let began = Instant::now();
    let next = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut posting: JoinSet<Result<(), CommandError>> = JoinSet::new();
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
    let progress = Progress::new();
    let counts = loop {
        while let Some(posted) = posting.try_join_next() {
            posted.map_err(|error| CommandError::Failed(error.to_string()))??;
        }
        let counts = service.finished(&client).await?;
        let finished = counts.done + counts.dead_lettered;
        if finished >= size {
            break counts;
        }
        progress.show(format_args!("{finished} of {size}"));
        tokio::time::sleep(LOOK_EVERY).await;
    };
    progress.clear();
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

async fn post(client: &Client, from: u64, until: u64) -> Result<(), CommandError> {
    let orders: Vec<Value> = (from..until)
        .map(|at| json!({ "record_id": format!("bench-{at:08}"), "parameter_1": format!("plant-{}", at % 101), "parameter_2": at }))
        .collect();
    let answer = client.ask(Method::POST, "/orders", Some(serde_json::to_vec(&orders)?)).await?;
    answer.ok::<Value>().map(drop)
}

/// Latency of single orders on an idle service, and what it costs to have it idle.
async fn one_by_one(args: &Bench) -> Result<Value, CommandError> {
    let folder = folder(args)?;
    let service = Service::start(folder.path(), args, "336h").await?;
    let client = service.client()?;
    let mut latencies = Vec::new();
    for at in 0..SINGLE_ORDERS {
        let began = Instant::now();
        post(&client, at, at + 1).await?;
        client.post::<Value>("/_quadrille/kickoff", &json!({})).await?;
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
