//! The operator's commands: each asks the API and prints what it answers.

use crate::{
    api::{GiveBack, OrderPage, OrderRow, Walk},
    args::{Dlq, DlqMove, DlqOptions, DlqShow, Orders, Plain, Post, Trace},
    client::{Client, encoded},
    error::CommandError,
    print::{Array, Shown, line, shown},
};
use quadrille::{
    TrailEntry,
    domain::auction::{BODY_BYTES_MAX, ORDERS_PER_REQUEST_MAX},
    excerpt,
    operator::{DeadLetterPage, Filter, Listed, Moved, QueueStatus},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{collections::HashSet, io::Read as _, path::Path, time::Duration};
use systems::{
    auction::run::{Phase, Run},
    http_client::Method,
};
use tokio::sync::watch;

/// Dead letters moved by one request.
const WALK_PAGE: u64 = 100;

/// Dead letters that one request shows again.
const GIVEN_BACK_AT_ONCE: usize = 1_000;

/// Dead letters that a listing hides at most, where it has to receive them.
const HELD_MAX: usize = 10_000;

pub async fn post(args: Post) -> Result<(), CommandError> {
    let text = read(&args.file).await?;
    // What is no array is sent as it is: the API says what is wrong, and where.
    let orders: Vec<Box<RawValue>> = serde_json::from_str(&text).unwrap_or_default();
    let client = Client::open(&args.target).await?;
    let mut batches: Vec<Vec<u8>> = Vec::new();
    if orders.is_empty() || (orders.len() <= ORDERS_PER_REQUEST_MAX && text.len() <= BODY_BYTES_MAX) {
        batches.push(text.into_bytes());
    } else {
        batches.extend(requests(&orders));
    }
    let mut counts = [("stored", 0_u64), ("unchanged", 0), ("conflict", 0)];
    for batch in batches {
        let answer = client.ask(Method::POST, "/orders", Some(batch)).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if !matches!(answer.status, 202 | 409) {
            for fault in body["errors"].as_array().into_iter().flatten() {
                let text =
                    |name: &str| fault[name].as_str().map(|text| excerpt(text, 300)).unwrap_or_default();
                eprintln!("{}  {}", shown(&text("pointer"), Shown::Dim), text("detail"));
            }
            return Err(answer.refused());
        }
        for row in body["results"].as_array().into_iter().flatten() {
            let outcome = row["outcome"].as_str().unwrap_or_default();
            counts.iter_mut().filter(|(name, _)| *name == outcome).for_each(|(_, count)| *count += 1);
            if outcome == "conflict" && !args.target.json {
                let id = excerpt(row["record_id"].as_str().unwrap_or_default(), 300);
                eprintln!("conflict: {id} is there with other content");
            }
        }
    }
    let [(_, stored), (_, unchanged), (_, conflict)] = counts;
    if args.target.json {
        line(json!({ "stored": stored, "unchanged": unchanged, "conflict": conflict }));
    } else {
        line(format_args!("{stored} stored, {unchanged} unchanged, {conflict} in conflict"));
    }
    if conflict > 0 {
        return Err(CommandError::Refused(format!("{conflict} order(s) are there with other content")));
    }
    Ok(())
}

/// Bodies of as many orders as one request takes.
fn requests(orders: &[Box<RawValue>]) -> Vec<Vec<u8>> {
    let mut bodies: Vec<(usize, Vec<u8>)> = Vec::new();
    for order in orders {
        let order = order.get().as_bytes();
        // The comma before it, the bracket behind it.
        let fits = |(count, body): &&mut (usize, Vec<u8>)| {
            *count < ORDERS_PER_REQUEST_MAX && body.len() + order.len() + 2 <= BODY_BYTES_MAX
        };
        match bodies.last_mut().filter(fits) {
            Some((count, body)) => {
                *count += 1;
                body.push(b',');
                body.extend_from_slice(order);
            }
            None => bodies.push((1, [b"[", order].concat())),
        }
    }
    bodies.into_iter().map(|(_, body)| [body.as_slice(), b"]"].concat()).collect()
}

async fn read(file: &Path) -> Result<String, CommandError> {
    if file.as_os_str() == "-" {
        let read = tokio::task::spawn_blocking(|| {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        });
        let read = read.await.map_err(|error| CommandError::Failed(error.to_string()))?;
        return read.map_err(CommandError::io("standard input"));
    }
    tokio::fs::read_to_string(file).await.map_err(CommandError::io(file.display().to_string()))
}

pub async fn kickoff(args: Plain) -> Result<(), CommandError> {
    let client = Client::open(&args.target).await?;
    let started: Value = client.post("/_quadrille/kickoff", &json!({})).await?;
    if args.target.json {
        line(&started);
    } else {
        let run = started["run_id"].as_str().unwrap_or_default();
        line(format_args!("kicked off: run {run}, unless no order is open or another run is queued already"));
        if matches!(client, Client::Local { .. }) {
            line("No engine runs on this folder: the message waits for the next `quadrille up`.");
        }
    }
    Ok(())
}

pub async fn orders(args: Orders) -> Result<(), CommandError> {
    let client = Client::open(&args.target).await?;
    let (mut after, mut left) = (None::<String>, args.limit);
    let status = args.status.map(|status| format!("&status={status}")).unwrap_or_default();
    let mut all = Vec::new();
    while left > 0 {
        let from = after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
        // A page has as many rows as were looked at; of a status, there may be few among them.
        let page: OrderPage = client.get(&format!("/_quadrille/orders?limit=1000{status}{from}")).await?;
        let shown: Vec<OrderRow> = page.orders.into_iter().take(left).collect();
        left -= shown.len();
        for order in shown {
            if args.target.json {
                all.push(order);
            } else {
                let id = excerpt(&order.record_id, 300);
                line(format_args!("{}  {:9}  {id}", order.received_at, order.status.as_str()));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if args.target.json {
        line(&serde_json::to_value(all)?);
    }
    Ok(())
}

/// An order as `GET /orders/{record_id}` tells it, as far as the timeline needs it.
#[derive(Deserialize)]
struct Traced {
    record_id: String,
    status: String,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    result_key: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    trace_id: Option<String>,
    trail: Vec<TrailEntry>,
    #[serde(default)]
    trail_dropped: u32,
}

#[derive(Deserialize)]
struct TracedRun {
    run: Run,
    trail: Vec<TrailEntry>,
}

/// What happened to an order, and to its run meanwhile, in the order of time.
pub async fn timeline(client: &Client, record_id: &str) -> Result<Value, CommandError> {
    let order: Traced = client.get(&format!("/orders/{}", encoded(record_id))).await?;
    let run: Option<TracedRun> = match &order.run_id {
        Some(id) => match client.get(&format!("/_quadrille/run?run_id={}", encoded(id))).await {
            Ok(run) => Some(run),
            Err(CommandError::NotFound(_)) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let mut entries: Vec<Value> = Vec::new();
    let entry = |of: &str, entry: &TrailEntry| {
        json!({ "at": entry.at, "of": of, "what": entry.what, "handler": entry.handler, "attempt": entry.attempt,
            "until": entry.until })
    };
    entries.extend(order.trail.iter().map(|step| entry("order", step)));
    let mut waiting = None;
    if let Some(TracedRun { run, trail }) = &run {
        entries.extend(trail.iter().map(|step| entry("run", step)));
        let undecided = order.status == "submitted" && run.phase != Phase::Ended;
        let last = trail.last().filter(|_| undecided);
        waiting = last.map(|step| json!({ "for": step.what, "until": step.until, "deadline": run.deadline }));
    }
    // Times are texts of one length, so that they sort as they follow.
    entries.sort_by(|a, b| a["at"].as_str().cmp(&b["at"].as_str()));
    Ok(json!({
        "record_id": order.record_id, "status": order.status, "run_id": order.run_id, "result_key": order.result_key,
        "correlation_id": order.correlation_id, "trace_id": order.trace_id, "trail_dropped": order.trail_dropped,
        "waiting": waiting, "timeline": entries,
    }))
}

pub async fn trace(args: Trace) -> Result<(), CommandError> {
    let client = Client::open(&args.target).await?;
    let traced = timeline(&client, &args.record_id).await?;
    if args.target.json {
        line(&traced);
    } else {
        print_timeline(&traced);
    }
    Ok(())
}

/// Prints what [`timeline`] tells.
pub fn print_timeline(traced: &Value) {
    let text = |value: &Value| excerpt(value.as_str().unwrap_or_default(), 400);
    let status = text(&traced["status"]);
    line(format_args!(
        "{}  {}",
        shown(&text(&traced["record_id"]), Shown::Bold),
        shown(&status, Shown::of_status(&status))
    ));
    for (name, value) in [("correlation id", &traced["correlation_id"]), ("trace id", &traced["trace_id"])] {
        if value.is_string() {
            line(shown(&format!("  {name} {}", text(value)), Shown::Dim));
        }
    }
    for entry in traced["timeline"].as_array().into_iter().flatten() {
        let attempt = entry["attempt"].as_u64().filter(|attempt| *attempt > 1);
        let attempt = attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
        let until =
            entry["until"].as_str().map(|until| format!(", until {}", clock(until))).unwrap_or_default();
        let run = if entry["of"] == "run" { "  run: " } else { "  " };
        let what = text(&entry["what"]);
        let by = shown(&format!("by {}{attempt}{until}", text(&entry["handler"])), Shown::Dim);
        line(format_args!("  {}{run}{what}  {by}", clock(&text(&entry["at"]))));
    }
    if let Some(waiting) = traced["waiting"].as_object() {
        let until =
            waiting["until"].as_str().map(|until| format!(" until {}", clock(until))).unwrap_or_default();
        line(format_args!(
            "  now: {}{until}; the run's deadline is {}",
            text(&waiting["for"]),
            text(&waiting["deadline"])
        ));
    }
    if let Some(key) = traced["result_key"].as_str() {
        line(format_args!("  filed as {}", excerpt(key, 1_024)));
    }
}

/// The time of day of an RFC 3339 time.
fn clock(at: &str) -> &str {
    at.get(11..23).unwrap_or(at)
}

pub async fn queues(args: Plain) -> Result<(), CommandError> {
    let client = Client::open(&args.target).await?;
    let queues: Vec<QueueStatus> = client.get("/_quadrille/queues").await?;
    if args.target.json {
        line(&serde_json::to_value(queues)?);
        return Ok(());
    }
    line(format_args!("{:28} {:>9} {:>9} {:>9} {:>9}", "queue", "visible", "in flight", "delayed", "dead"));
    for queue in queues {
        let dead = format!("{:>9}", queue.dead);
        let dead = shown(&dead, if queue.dead > 0 { Shown::Bad } else { Shown::Plain });
        let depth = queue.depth;
        line(format_args!(
            "{:28} {:>9} {:>9} {:>9} {dead}",
            queue.name, depth.visible, depth.in_flight, depth.delayed
        ));
    }
    Ok(())
}

pub async fn dlq(args: Dlq) -> Result<(), CommandError> {
    match args {
        Dlq::List(options) => list(options).await,
        Dlq::Show(show) => self::show(show).await,
        Dlq::Redrive(walk) => self::walk(walk, "redrive").await,
        Dlq::Purge(walk) => self::walk(walk, "purge").await,
    }
}

/// Calls `each` with every dead letter that the options mean, until it says stop. What had to be received to be looked at
/// is given back at the end, however that comes.
async fn letters(
    client: &Client,
    options: &DlqOptions,
    each: impl FnMut(Listed) -> bool,
) -> Result<u64, CommandError> {
    let mut held = Vec::new();
    let looked = look(client, options, &mut held, each).await;
    let given_back = give_back(client, &options.queue, &held).await;
    let count = looked?;
    given_back?;
    Ok(count)
}

async fn look(
    client: &Client,
    options: &DlqOptions,
    held: &mut Vec<String>,
    mut each: impl FnMut(Listed) -> bool,
) -> Result<u64, CommandError> {
    let interrupted = interrupted()?;
    let (mut after, mut count) = (0, 0);
    // Where letters are received, one whose time is up is met again.
    let mut met: HashSet<String> = HashSet::new();
    let reason =
        options.reason.as_deref().map(|reason| format!("&reason={}", encoded(reason))).unwrap_or_default();
    loop {
        let left = options.limit.map_or(500, |limit| limit.saturating_sub(count).min(500));
        if left == 0 {
            return Ok(count);
        }
        if *interrupted.borrow() {
            return Err(CommandError::Failed("interrupted".to_owned()));
        }
        let queue = encoded(&options.queue);
        let path = format!("/_quadrille/dead-letters?queue={queue}&after={after}&limit={left}{reason}");
        let page: DeadLetterPage = client.get(&path).await?;
        let is_received = !page.held.is_empty();
        held.extend(page.held);
        for letter in page.letters {
            if is_received && !met.insert(letter.id.clone()) {
                continue;
            }
            count += 1;
            if !each(letter) {
                return Ok(count);
            }
        }
        match page.next {
            Some(_) if held.len() >= HELD_MAX => {
                eprintln!("{} dead letters were looked at: there may be more", held.len());
                return Ok(count);
            }
            Some(next) => after = next,
            None => return Ok(count),
        }
    }
}

/// Shows dead letters again that were hidden to look at others.
async fn give_back(client: &Client, queue: &str, receipts: &[String]) -> Result<(), CommandError> {
    for receipts in receipts.chunks(GIVEN_BACK_AT_ONCE) {
        let ask = GiveBack { queue: queue.to_owned(), receipts: receipts.to_vec() };
        let _: Value = client.post("/_quadrille/give-back", &ask).await?;
    }
    Ok(())
}

/// Becomes true with ctrl-C or SIGTERM, so that a command can end in good order.
fn interrupted() -> Result<watch::Receiver<bool>, CommandError> {
    let ended = crate::up::signal()?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        ended.await;
        tell.send_replace(true);
    });
    Ok(told)
}

async fn list(options: DlqOptions) -> Result<(), CommandError> {
    let client = Client::open(&options.target).await?;
    let json = options.target.json;
    let (mut array, mut failed) = (Array::new(), None);
    let count = letters(&client, &options, |listed| {
        if !json {
            print_letter(&listed);
            return true;
        }
        match serde_json::to_value(listed) {
            Ok(listed) => array.item(&listed),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    });
    let count = count.await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if json {
        array.end();
    } else {
        line(format_args!("{count} dead letter(s) in {}", options.queue));
    }
    Ok(())
}

/// One line about a dead letter.
pub fn print_letter(listed: &Listed) {
    let letter = &listed.letter;
    let subject = excerpt(letter.subject.as_deref().unwrap_or("-"), 300);
    let why = format!("{}: {}", letter.reason, excerpt(&letter.detail, 300));
    let about =
        format!("by {}, attempt {}, first seen {}", letter.handler, letter.attempts, letter.first_seen);
    line(format_args!(
        "{:>6}  {subject}  {}  {}",
        listed.id,
        shown(&why, Shown::Bad),
        shown(&about, Shown::Dim)
    ));
}

async fn show(show: DlqShow) -> Result<(), CommandError> {
    let client = Client::open(&show.options.target).await?;
    let mut found = None;
    letters(&client, &show.options, |listed| {
        if listed.id == show.id {
            found = Some(listed);
        }
        found.is_none()
    })
    .await?;
    let queue = &show.options.queue;
    let listed = found.ok_or_else(|| {
        CommandError::NotFound(format!(
            "{queue} holds no dead letter {}: `quadrille dlq list` names them",
            show.id
        ))
    })?;
    if show.options.target.json {
        line(&serde_json::to_value(&listed)?);
        return Ok(());
    }
    print_letter(&listed);
    // What can't be indented is no JSON, and shown as it is, its control characters escaped.
    let body: Result<Value, _> = serde_json::from_str(&listed.body);
    line(match body {
        Ok(body) => serde_json::to_string_pretty(&body)?,
        Err(_) => excerpt(&listed.body, 100_000),
    });
    Ok(())
}

async fn walk(args: DlqMove, act: &str) -> Result<(), CommandError> {
    let DlqMove { options, dry_run, rate } = args;
    let client = Client::open(&options.target).await?;
    let done = if act == "redrive" { "redriven" } else { "purged" };
    if dry_run {
        let json = options.target.json;
        let count = letters(&client, &options, |listed| {
            if !json {
                print_letter(&listed);
            }
            true
        });
        let count = count.await?;
        if json {
            line(json!({ "dry_run": true, done: count }));
        } else {
            line(format_args!("{count} dead letter(s) would be {done}; nothing was changed"));
        }
        return Ok(());
    }
    #[cfg(feature = "aws")]
    if let Client::Aws(aws) = &client
        && act == "redrive"
        && options.reason.is_none()
        && options.limit.is_none()
    {
        return aws.redrive_all(&options.queue, rate, options.target.json).await;
    }
    let mut interrupted = interrupted()?;
    let mut filter = Filter { reason: options.reason.clone(), before: None };
    let limit = options.limit.unwrap_or(u64::MAX);
    // At most a fifth of a second's worth at once, so that the rate is even.
    let page = rate.map_or(WALK_PAGE, |rate| (u64::from(rate) / 5).clamp(1, WALK_PAGE));
    let (mut moved, mut examined) = (0, 0);
    let mut passed_over: Vec<String> = Vec::new();
    let progress = crate::print::Progress::new();
    let walked: Result<(), CommandError> = async {
        while moved < limit && !*interrupted.borrow() {
            let began = std::time::Instant::now();
            let ask = Walk {
                queue: options.queue.clone(),
                filter: filter.clone(),
                limit: usize::try_from(page.min(limit - moved)).unwrap_or(1),
            };
            let step: Moved = client.post(&format!("/_quadrille/{act}"), &ask).await?;
            // What fails again meanwhile is left for the next time: a redrive ends.
            filter.before = filter.before.or(step.at);
            moved += step.moved;
            examined += step.examined;
            passed_over.extend(step.passed_over);
            if step.done {
                break;
            }
            progress.show(format_args!("{moved} {done}, {examined} looked at"));
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(
                    f64::from(u32::try_from(step.moved).unwrap_or(u32::MAX)) / f64::from(rate),
                );
                tokio::select! {
                    () = tokio::time::sleep(due.saturating_sub(began.elapsed())) => {}
                    _ = interrupted.wait_for(|is| *is) => {}
                }
            }
        }
        Ok(())
    }
    .await;
    progress.clear();
    let given_back = give_back(&client, &options.queue, &passed_over).await;
    walked.and(given_back)?;
    if options.target.json {
        line(json!({ "dry_run": false, done: moved, "examined": examined }));
    } else {
        line(format_args!("{moved} dead letter(s) {done}, {examined} looked at"));
    }
    if *interrupted.borrow() {
        return Err(CommandError::Failed("interrupted: the others are left for the next time".to_owned()));
    }
    Ok(())
}
