//! `quadrille demo`: the whole auction, once, before your eyes.

use crate::{
    args::{AuctionOptions, Demo},
    client::Client,
    commands::{print_letter, print_timeline, timeline},
    error::CommandError,
    node::Node,
    print::{Progress, Shown, line, shown},
    up::{Running, loopback},
};
use async_trait::async_trait;
use quadrille::{
    Alert, DeadLetter, Failure, Observation, Stored, Verdict, excerpt,
    operator::{self, Filter, Moved},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use systems::{
    auction::{
        results::RESULTS_BUCKET,
        run::{Phase, Run},
    },
    http_client::Method,
    notify::{FileNotifier, Notifier},
};
use tokio::sync::{broadcast, mpsc};

/// Orders up to which each step is shown on a line of its own.
const SHOWN_ONE_BY_ONE: u64 = 20;

/// Orders in a request.
const BATCH: u64 = 1_000;

/// The dead-letter queue that rejected orders end in.
const DEAD_LETTERS: &str = "auction-results-dlq";

/// How often the state is looked at while nothing else wakes the demo.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing at all may happen before the demo gives up waiting for the orders' ends.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// Hands alerts to the demo.
struct Told(mpsc::UnboundedSender<Alert>);

#[async_trait]
impl Notifier for Told {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        self.0.send(alert.clone()).map_err(|_| Failure::permanent("demo_over", "nobody listens any longer"))
    }
}

/// The ends that the orders reached, by the number in their id.
struct Ends {
    stored: Vec<bool>,
    dead: Vec<bool>,
}

struct Show {
    orders: u64,
    prefix: String,
    began: Instant,
    quiet: bool,
}

impl Show {
    fn one_by_one(&self) -> bool {
        self.orders <= SHOWN_ONE_BY_ONE && !self.quiet
    }

    fn title(&self, text: &str) {
        if !self.quiet {
            line(format_args!("\n{}", shown(text, Shown::Bold)));
        }
    }

    fn step(&self, who: &str, what: &str) {
        if !self.quiet {
            let at = format!("{:7.2} s", self.began.elapsed().as_secs_f64());
            line(format_args!("{}  {who:13}  {what}", shown(&at, Shown::Dim)));
        }
    }

    fn number_of(&self, record_id: &str) -> Option<usize> {
        let number: u64 = record_id.strip_prefix(&self.prefix)?.parse().ok()?;
        usize::try_from(number.checked_sub(1)?).ok().filter(|at| (*at as u64) < self.orders)
    }
}

pub async fn demo(args: Demo) -> Result<(), CommandError> {
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(CommandError::io("a temporary folder"))?),
    };
    let folder =
        args.data.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new("."));
    let (tell, mut told) = mpsc::unbounded_channel();
    let notifiers: Vec<(String, Arc<dyn Notifier>)> = vec![
        ("notify_demo".into(), Arc::new(Told(tell))),
        ("notify_file".into(), Arc::new(FileNotifier::new(folder.join("notifications.jsonl")))),
    ];
    // On a folder whose alarm is red from before, the demo's dead letters are told of in a digest, and it waits for that.
    let digest = Duration::from_secs(1);
    let options = AuctionOptions { digest, ..AuctionOptions::local(args.seed, args.not_ready) };
    let running = Running::start(Node::open(folder, &options, notifiers)?, loopback()).await?;
    // On a folder that is kept, each demo has orders of its own.
    let tag = running.engine.pipeline().ports().clock.now().as_millis();
    let prefix = if args.data.is_some() { format!("order-{tag}-") } else { "order-".to_owned() };
    let show = Show { orders: args.orders, prefix, began: Instant::now(), quiet: args.json };
    let outcome = play(&running, &show, &mut told, folder).await;
    running.stop().await;
    let summary = outcome?;
    if args.json {
        line(&summary);
    }
    let count = |name: &str| summary[name].as_u64().unwrap_or(0);
    if count("lost") > 0 || count("unfinished") > 0 {
        let text = format!("{} order(s) lost, {} without an end", count("lost"), count("unfinished"));
        return Err(CommandError::Incomplete(text));
    }
    Ok(())
}

async fn play(
    running: &Running,
    show: &Show,
    told: &mut mpsc::UnboundedReceiver<Alert>,
    folder: &Path,
) -> Result<Value, CommandError> {
    let client = Client::remote(&format!("http://{}", running.address), None)?;
    if !show.quiet {
        line(format_args!(
            "An energy-market auction on one machine: {} orders, an engine at http://{}, data in {}.",
            show.orders,
            running.address,
            folder.display()
        ));
    }
    show.title("What happens");
    let mut steps = running.engine.pipeline().observe();
    post(&client, show).await?;
    let started: Value = client.post("/_quadrille/kickoff", &json!({})).await?;
    let run_id = started["run_id"].as_str().unwrap_or_default().to_owned();
    show.step("kickoff", &format!("run {run_id}"));
    let run = watch(running, show, &run_id, &mut steps).await?;
    let dead = running.engine.pipeline().ports().queue(DEAD_LETTERS)?.depth().await?.total();
    let alert = first_alert(told, dead > 0).await;
    if let Some(alert) = &alert {
        show.step("alerts", &alert.summary());
    }
    let seconds = show.began.elapsed().as_secs_f64();
    let ends = ends(running, show).await?;
    let count = |ends: &[bool]| ends.iter().filter(|end| **end).count() as u64;
    let unfinished =
        ends.stored.iter().zip(&ends.dead).filter(|(stored, dead)| !**stored && !**dead).count() as u64;
    // An order that is in the table without an end is unfinished; one that is nowhere is lost.
    let lost = lost(running, show, &ends).await?;
    let summary = json!({
        "posted": show.orders, "accepted": run.accepted, "rejected": run.rejected, "stored": count(&ends.stored),
        "dead_lettered": count(&ends.dead), "polls": run.polls + 1, "lost": lost, "unfinished": unfinished - lost,
        "notified": alert.is_some(), "seconds": (seconds * 1000.0).round() / 1000.0,
    });
    if !show.quiet {
        epilogue(running, show, &client, &ends).await?;
        show.title("In all");
        line(format_args!(
            "{} posted, {} accepted and filed, {} rejected and dead-lettered, {} asks of the platform, {lost} lost, {seconds:.2} s",
            show.orders,
            count(&ends.stored),
            count(&ends.dead),
            run.polls + 1
        ));
        line("Next: `quadrille up` runs it as a service; `quadrille --help` names the rest.");
    }
    Ok(summary)
}

async fn post(client: &Client, show: &Show) -> Result<(), CommandError> {
    let progress = Progress::new();
    let mut posted = 0;
    while posted < show.orders {
        let until = (posted + BATCH).min(show.orders);
        let orders: Vec<Value> = (posted + 1..=until)
            .map(|number| {
                json!({ "record_id": format!("{}{number}", show.prefix), "parameter_1": format!("plant-{}", number % 7),
                    "parameter_2": number })
            })
            .collect();
        let answer = client.ask(Method::POST, "/orders", Some(serde_json::to_vec(&orders)?)).await?;
        let status = answer.status;
        let results: Value = answer.ok()?;
        if posted == 0 {
            let more = if show.orders > until { ", and so on" } else { "" };
            let taken = results["results"].as_array().map_or(0, Vec::len);
            show.step("POST /orders", &format!("{taken} orders taken ({status}){more}"));
        }
        posted = until;
        if show.orders > BATCH {
            progress.show(format_args!("posted {posted} of {}", show.orders));
        }
    }
    progress.clear();
    Ok(())
}

/// Shows each step until the run has ended and its queues are empty; answers the run.
async fn watch(
    running: &Running,
    show: &Show,
    run_id: &str,
    steps: &mut broadcast::Receiver<Arc<Observation>>,
) -> Result<Run, CommandError> {
    let pipeline = running.engine.pipeline();
    let progress = Progress::new();
    let key = [format!("run/{run_id}")];
    let mut state = None;
    let mut changed = Instant::now();
    loop {
        let step = tokio::time::timeout(LOOK_EVERY, steps.recv()).await;
        match step {
            Ok(Ok(step)) if show.one_by_one() || step.step == "poll_auction" => observed(show, &step),
            Ok(Err(broadcast::error::RecvError::Closed)) => {
                return Err(CommandError::Failed("the engine ended before the orders did".into()));
            }
            _ => {}
        }
        if !steps.is_empty() && show.one_by_one() {
            continue;
        }
        let counts = pipeline.counts();
        let finished = counts.get("store_result").map_or(0, |counts| counts.done + counts.dead_lettered);
        if !show.one_by_one() && !show.quiet {
            progress.show(format_args!("{finished} of {} orders at their end", show.orders));
        }
        let item = pipeline.ports().table("orders")?.get(&key).await?.pop().flatten();
        let run = item.as_ref().map(Stored::<Run>::read).transpose()?;
        let mut waiting = 0;
        for queue in
            operator::queues(pipeline).await?.iter().filter(|queue| queue.name.starts_with("auction-"))
        {
            waiting += queue.depth.total();
        }
        let now = (counts, run.as_ref().map(|run| run.version()));
        if state.as_ref() != Some(&now) {
            (state, changed) = (Some(now), Instant::now());
        }
        let ended = run.as_ref().is_some_and(|run| run.phase == Phase::Ended);
        let all = finished >= show.orders;
        let standstill = changed.elapsed() > STANDSTILL_MAX;
        if let Some(run) = run.filter(|_| (ended && waiting == 0 && all) || standstill) {
            progress.clear();
            return Ok(run.into_state());
        }
        if standstill {
            return Err(CommandError::Incomplete("the run did not start within a minute".into()));
        }
    }
}

fn observed(show: &Show, step: &Observation) {
    let about = if step.step == "poll_auction" {
        String::new()
    } else {
        format!("{}: ", excerpt(&step.subject, 300))
    };
    let what = match &step.verdict {
        Verdict::Done => format!("{about}{}", step.what),
        Verdict::Later(left) => format!("{about}not before {left:?} have passed"),
        Verdict::Retry(after, _) => {
            shown(&format!("{about}{}, again in {after:?}", step.what), Shown::Waiting)
        }
        Verdict::DeadLetter(_) => shown(&format!("{about}dead-lettered: {}", step.what), Shown::Bad),
    };
    if !step.step.starts_with("notify") {
        show.step(&step.step, &what);
    }
}

async fn first_alert(told: &mut mpsc::UnboundedReceiver<Alert>, expected: bool) -> Option<Alert> {
    if !expected {
        return None;
    }
    tokio::time::timeout(Duration::from_secs(5), told.recv()).await.ok().flatten()
}

/// Every end an order can have, read from the bucket and the dead-letter queue themselves.
async fn ends(running: &Running, show: &Show) -> Result<Ends, CommandError> {
    let size = usize::try_from(show.orders).unwrap_or(usize::MAX);
    let mut ends = Ends { stored: vec![false; size], dead: vec![false; size] };
    let ports = running.engine.pipeline().ports();
    let folder = running.node.folder().join("bucket").join(RESULTS_BUCKET).join("orders");
    let names = tokio::task::spawn_blocking(move || filed(&folder));
    let names = names.await.map_err(|error| CommandError::Failed(error.to_string()))?;
    for number in
        names.map_err(CommandError::io("the bucket's folder"))?.iter().filter_map(|id| show.number_of(id))
    {
        ends.stored[number] = true;
    }
    let (queue, mut after) = (ports.queue(DEAD_LETTERS)?, 0);
    loop {
        let page = queue.arrived(after, 1_000).await?;
        let Some((last, _)) = page.last() else {
            return Ok(ends);
        };
        after = *last;
        for (_, message) in &page {
            let subject = DeadLetter::read(message).subject.unwrap_or_default();
            if let Some(number) = show.number_of(&subject) {
                ends.dead[number] = true;
            }
        }
    }
}

/// The record ids of the filed orders, by the names of their files.
fn filed(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut ids = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ids),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_prefix("order_")?.strip_suffix(".json")?.split_once('_'));
        ids.extend(id.map(|(_, id)| id.to_owned()));
    }
    Ok(ids)
}

/// Orders that were taken and are nowhere: at no end, and not in the table.
async fn lost(running: &Running, show: &Show, ends: &Ends) -> Result<u64, CommandError> {
    let without: Vec<String> = (0..ends.stored.len())
        .filter(|at| !ends.stored[*at] && !ends.dead[*at])
        .map(|at| format!("order/{}{}", show.prefix, at + 1))
        .collect();
    let table = running.engine.pipeline().ports().table("orders")?;
    let mut lost = 0;
    for keys in without.chunks(1_000) {
        lost += table.get(keys).await?.iter().filter(|item| item.is_none()).count() as u64;
    }
    Ok(lost)
}

async fn epilogue(running: &Running, show: &Show, client: &Client, ends: &Ends) -> Result<(), CommandError> {
    show.title("The flow, as it is defined");
    line(running.node.choreography.to_text());
    for (title, ends) in [("An accepted order", &ends.stored), ("A rejected order", &ends.dead)] {
        if let Some(at) = ends.iter().position(|end| *end) {
            show.title(title);
            print_timeline(&timeline(client, &format!("{}{}", show.prefix, at + 1)).await?);
        }
    }
    show.title("Files in the bucket");
    let bucket = running.engine.pipeline().ports().bucket(RESULTS_BUCKET)?;
    let keys = bucket.list("orders/", None, 3).await?;
    for key in &keys.keys {
        line(format_args!("  {RESULTS_BUCKET}/{}", excerpt(key, 1_024)));
    }
    if keys.next.is_some() {
        line("  …");
    }
    if let Some(key) = keys.keys.first()
        && let Some(body) = bucket.get(key).await?
    {
        line(shown(&format!("  {}", String::from_utf8_lossy(&body)), Shown::Dim));
    }
    show.title("Dead letters");
    let pipeline = running.engine.pipeline();
    let page = operator::dead_letters(pipeline, DEAD_LETTERS, &Filter::default(), 0, 3).await?;
    page.letters.iter().for_each(print_letter);
    if page.next.is_some() {
        line("  …");
    }
    if let Some(first) = page.letters.first() {
        redrive(running, client, show, first.letter.subject.as_deref().unwrap_or_default()).await?;
    }
    Ok(())
}

/// Sends one dead letter back, and shows where it ends.
async fn redrive(
    running: &Running,
    client: &Client,
    show: &Show,
    expected: &str,
) -> Result<(), CommandError> {
    show.title("A redrive: one dead letter goes back to its queue");
    let mut steps = running.engine.pipeline().observe();
    let ask = json!({ "queue": DEAD_LETTERS, "filter": {}, "limit": 1 });
    let moved: Moved = client.post("/_quadrille/redrive", &ask).await?;
    show.step("redrive", &format!("{} sent back", moved.moved));
    let again = async {
        loop {
            let step = steps.recv().await.ok()?;
            if step.step == "store_result" {
                return Some(step);
            }
        }
    };
    if let Ok(Some(step)) = tokio::time::timeout(Duration::from_secs(5), again).await {
        observed(show, &step);
    }
    let about = if expected.is_empty() { "It" } else { expected };
    line(format_args!(
        "  {} is still rejected, so it is a dead letter again: a redrive mends what was broken, not what was decided.",
        excerpt(about, 300)
    ));
    Ok(())
}
