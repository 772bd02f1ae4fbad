//! A demonstration, from its first request to the account of its ends.

use super::{
    evidence::{Account, account},
    show::Show,
};
use crate::{
    App,
    client::{Client, encoded},
    dlq::print_letter,
    error::CommandError,
    node::Running,
    print::{Progress, Shown, line, shown},
    story::Story,
};
use futures_util::{StreamExt as _, stream};
use quadrille::{
    Alert, Observation, Verdict, excerpt,
    http_client::Method,
    operator::{self, Filter, Moved},
    system::Demo,
};
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{broadcast, mpsc};

/// Posted at once: as many wait for one flush of the disk together, as the requests of many senders do.
const POSTED_AT_ONCE: usize = 32;

/// The status of what came too late.
const CONFLICT: u16 = 409;

/// How often the queues are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing may happen before the demonstration stops waiting.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// How long the first notification is waited for.
const ALERT_WITHIN: Duration = Duration::from_secs(5);

/// Plays it, and answers its summary.
pub async fn play(
    app: &App<'_>,
    demo: &dyn Demo,
    running: &Running,
    show: &Show,
    told: &mut mpsc::Receiver<Alert>,
) -> Result<Value, CommandError> {
    let client = Client::remote(&format!("http://{}", running.address), None)?;
    if !show.quiet {
        line(format_args!(
            "{}: {} {}, an engine at http://{}, data in {}.",
            demo.title(),
            show.count,
            demo.subjects(),
            running.address,
            running.node.folder().display()
        ));
    }
    show.title("What happens");
    for (step, body) in demo.before(&show.id(0), show.count) {
        let _: Value = client.post(&invocation(step), &body).await?;
    }
    let mut steps = running.engine.pipeline().observe();
    post(app, demo, &client, show).await?;
    for schedule in demo.triggers() {
        let path = format!("/_quadrille/schedules/{}", encoded(schedule));
        let triggered: Value = client.post(&path, &json!({})).await?;
        show.step(schedule, &format!("at {}", triggered["at"].as_str().unwrap_or_default()));
    }
    watch(demo, running, show, &mut steps).await?;
    let alert = first_alert(running, told).await?;
    if let Some(alert) = &alert {
        show.step("alarm", &alert.summary());
    }
    let seconds = show.began.elapsed().as_secs_f64();
    let account = account(demo, running, show).await?;
    let mut summary = Map::from_iter([
        ("system".to_owned(), json!(app.system.name())),
        ("posted".to_owned(), json!(show.count)),
    ]);
    summary.extend(account.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
    summary.extend(demo.summary(running.engine.pipeline()).await?);
    // One at two ends is as little at its one end as one at none.
    let rest = [
        ("lost", json!(account.lost)),
        ("unfinished", json!(account.unfinished + account.twice)),
        ("notified", json!(alert.is_some())),
        ("seconds", json!((seconds * 1000.0).round() / 1000.0)),
    ];
    summary.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    if !show.quiet {
        epilogue(demo, running, show, &client, &account).await?;
        show.title("In all");
        let ends = account.counts.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
        line(format_args!(
            "{} posted, {}, {} lost, {seconds:.2} s",
            show.count,
            ends.collect::<Vec<_>>().join(", "),
            account.lost
        ));
        line(format_args!(
            "Next: {} runs it as a service; {} names the rest.",
            app.typed("up"),
            app.typed("--help")
        ));
    }
    Ok(summary.into())
}

async fn post(app: &App<'_>, demo: &dyn Demo, client: &Client, show: &Show) -> Result<(), CommandError> {
    let route = app.choreography.model().routes.iter().find(|route| route.step == demo.step());
    let address = route.map(|route| route.address()).unwrap_or_default();
    let path = route.and_then(|route| route.path.clone()).unwrap_or_else(|| invocation(demo.step()));
    let (batch, total) = (demo.batch().max(1), usize::try_from(show.count).unwrap_or(usize::MAX));
    let requests = stream::iter((0..total).step_by(batch)).map(|from| {
        let ids: Vec<String> = (from..total.min(from + batch)).map(|at| show.id(at)).collect();
        post_one(demo, client, &path, ids)
    });
    let mut answers = requests.buffered((POSTED_AT_ONCE / batch).max(1));
    let progress = Progress::new();
    let mut posted = 0_usize;
    while let Some(status) = answers.next().await {
        let (status, first) = (status?, posted == 0);
        posted = total.min(posted + batch);
        if first {
            let more = if total > posted { ", and so on" } else { "" };
            show.step(&address, &format!("{posted} {} taken ({status}){more}", demo.subjects()));
        }
        if !show.one_by_one() && !show.quiet {
            progress.show(format_args!("posted {posted} of {total}"));
        }
    }
    progress.clear();
    Ok(())
}

/// Posts these ids in one request, and sends what follows at once; answers with the status.
async fn post_one(
    demo: &dyn Demo,
    client: &Client,
    path: &str,
    ids: Vec<String>,
) -> Result<u16, CommandError> {
    let body = serde_json::to_vec(&demo.body(&ids))?;
    let answer = client.ask(Method::POST, path, Some(body)).await?;
    if !(200..300).contains(&answer.status) {
        return Err(answer.refused());
    }
    for (step, body) in demo.then(&ids) {
        let answer = client.ask(Method::POST, &invocation(step), Some(serde_json::to_vec(&body)?)).await?;
        if !(200..300).contains(&answer.status) && answer.status != CONFLICT {
            return Err(answer.refused());
        }
    }
    Ok(answer.status)
}

/// Where a handler of requests is invoked directly.
fn invocation(step: &str) -> String {
    format!("/_quadrille/invoke/{}", encoded(step))
}

/// Shows each step until the engine has nothing more to do.
async fn watch(
    demo: &dyn Demo,
    running: &Running,
    show: &Show,
    steps: &mut broadcast::Receiver<Arc<Observation>>,
) -> Result<(), CommandError> {
    let pipeline = running.engine.pipeline();
    let progress = Progress::new();
    let (mut state, mut changed) = (None, Instant::now());
    loop {
        match tokio::time::timeout(LOOK_EVERY, steps.recv()).await {
            Ok(Ok(step)) if show.one_by_one() || show.number_of(&step.subject).is_none() => {
                show.observed(&step);
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => {
                return Err(CommandError::Failed("the engine ended before the flow did".into()));
            }
            _ => {}
        }
        if !steps.is_empty() && show.one_by_one() {
            continue;
        }
        // First: what the relay has in hand is in no queue, and is in one once the engine is idle.
        let is_idle = running.is_idle(LOOK_EVERY).await;
        let counts = pipeline.counts();
        let mut waiting = 0;
        for queue in operator::queues(pipeline).await? {
            waiting += queue.depth.total();
        }
        if !show.quiet && !show.one_by_one() {
            progress.show(format_args!("{waiting} messages wait, of {} {}", show.count, demo.subjects()));
        }
        if state.as_ref() != Some(&(counts.clone(), waiting)) {
            (state, changed) = (Some((counts, waiting)), Instant::now());
        }
        if (is_idle && waiting == 0) || changed.elapsed() > STANDSTILL_MAX {
            while let Ok(step) = steps.try_recv() {
                if show.one_by_one() || show.number_of(&step.subject).is_none() {
                    show.observed(&step);
                }
            }
            progress.clear();
            return Ok(());
        }
    }
}

/// The first notification, where there are dead letters.
async fn first_alert(
    running: &Running,
    told: &mut mpsc::Receiver<Alert>,
) -> Result<Option<Alert>, CommandError> {
    let pipeline = running.engine.pipeline();
    let mut dead = 0;
    for queue in operator::queues(pipeline).await? {
        dead += queue.dead;
    }
    if dead == 0 || pipeline.choreography().model().alarms.is_empty() {
        return Ok(None);
    }
    Ok(tokio::time::timeout(ALERT_WITHIN, told.recv()).await.ok().flatten())
}

async fn epilogue(
    demo: &dyn Demo,
    running: &Running,
    show: &Show,
    client: &Client,
    account: &Account,
) -> Result<(), CommandError> {
    show.title("The flow, as it is defined");
    line(running.node.choreography.to_text());
    for (end, at) in &account.first {
        show.title(&format!("One that is {}", end.replace('_', " ")));
        Story::of(client, demo.kind(), &show.entity(demo, *at)).await?.print(None, None, false);
    }
    objects(running, show, demo).await?;
    let pipeline = running.engine.pipeline();
    for queue in pipeline.choreography().model().dead_letter_queues() {
        let page = operator::dead_letters(pipeline, queue, &Filter::default(), 0, 3).await?;
        let Some(first) = page.letters.first() else { continue };
        show.title(&format!("Dead letters in {queue}"));
        page.letters.iter().for_each(print_letter);
        if page.next.is_some() {
            line("  …");
        }
        let subject = first.letter.subject.clone().unwrap_or_default();
        return redrive(running, client, show, queue, &subject).await;
    }
    Ok(())
}

/// Some of the objects that were filed.
async fn objects(running: &Running, show: &Show, demo: &dyn Demo) -> Result<(), CommandError> {
    for (name, bucket) in &running.engine.pipeline().ports().buckets {
        let page = bucket.list("", None, 3).await?;
        let filed: Vec<&String> = page.keys.iter().filter(|key| demo.filed(name, key).is_some()).collect();
        let Some(first) = filed.first() else { continue };
        show.title(&format!("Files in the bucket {name}"));
        filed.iter().for_each(|key| line(format_args!("  {name}/{}", excerpt(key, 1_024))));
        if page.next.is_some() {
            line("  …");
        }
        if let Some(body) = bucket.get(first).await? {
            line(shown(&format!("  {}", excerpt(&String::from_utf8_lossy(&body), 2_048)), Shown::Dim));
        }
    }
    Ok(())
}

/// Sends one dead letter back, and shows where it ends.
async fn redrive(
    running: &Running,
    client: &Client,
    show: &Show,
    queue: &str,
    expected: &str,
) -> Result<(), CommandError> {
    show.title("A redrive: one dead letter goes back to its queue");
    let mut steps = running.engine.pipeline().observe();
    let ask = json!({ "queue": queue, "filter": {}, "limit": 1 });
    let moved: Moved = client.post("/_quadrille/redrive", &ask).await?;
    show.step("redrive", &format!("{} sent back", moved.moved));
    while let Ok(Ok(step)) = tokio::time::timeout(ALERT_WITHIN, steps.recv()).await {
        if step.step == quadrille::notify::NOTIFY {
            continue;
        }
        show.observed(&step);
        match &step.verdict {
            Verdict::Retry(..) | Verdict::Later(_) => continue,
            Verdict::Done | Verdict::Ended(_) => {}
            Verdict::DeadLetter(_) => {
                let about = if expected.is_empty() { "It" } else { expected };
                line(format_args!(
                    "  {} ends as before: a redrive mends what was broken, not what was decided.",
                    excerpt(about, 300)
                ));
            }
        }
        break;
    }
    Ok(())
}
