//! `status` and `watch`: how it goes, on one screen.

use crate::{
    App,
    access::Access,
    args,
    client::Client,
    error::CommandError,
    print::{Shown, lasted, line, shown, text},
    table::{Cell, Table},
    watch::Watch,
};
use quadrille::{
    Failing, StepCounts, Timestamp, excerpt,
    http_client::Method,
    operator::{QueueStatus, Status},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::IsTerminal as _};

/// How it goes, and with the engine that runs it.
struct Whole {
    status: Status,
    /// None where none runs, or none is known.
    engine: Option<Engine>,
    is_at_rest: bool,
}

/// An engine that runs.
struct Engine {
    started_at: Option<Timestamp>,
    /// What stands still.
    standing: Vec<String>,
}

/// `status`.
pub async fn status(app: &App<'_>, args: args::Plain) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let whole = Whole::of(&client).await?;
    match args.target.json {
        true => line(whole.to_json()?),
        false => whole.print(None),
    }
    Ok(())
}

/// `watch`: the same again and again, until ctrl-C.
pub async fn watch(app: &App<'_>, args: args::Plain) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let mut watch = Watch::by(&client, app)?;
    let is_screen = std::io::stdout().is_terminal() && !args.target.json;
    let mut before: Option<Whole> = None;
    loop {
        let whole = Whole::of(&client).await?;
        let is_news = before.as_ref().is_none_or(|before| !before.says_the_same(&whole));
        match (args.target.json, is_screen) {
            (true, _) if is_news => line(whole.to_json()?),
            // From the upper left corner on, over what stood there.
            (false, true) => {
                text("\u{1b}[H\u{1b}[J");
                whole.print(before.as_ref());
            }
            (false, false) if is_news => {
                whole.print(before.as_ref());
                line("");
            }
            _ => {}
        }
        before = Some(whole);
        if !watch.goes_on().await {
            return Ok(());
        }
    }
}

impl Whole {
    async fn of(client: &Client) -> Result<Self, CommandError> {
        let status: Status = client.get("/_quadrille/status").await?;
        let engine = match client {
            Client::Remote { .. } => Some(Engine::of(client).await?),
            _ => None,
        };
        Ok(Self { status, engine, is_at_rest: client.is_at_rest() })
    }

    fn to_json(&self) -> Result<Value, CommandError> {
        let mut told = serde_json::to_value(&self.status)?;
        told["is_running"] = match (&self.engine, self.is_at_rest) {
            (Some(_), _) => json!(true),
            (None, true) => json!(false),
            // On AWS no engine runs: functions do.
            (None, false) => Value::Null,
        };
        if let Some(engine) = &self.engine {
            told["started_at"] = json!(engine.started_at);
            told["standing"] = json!(engine.standing);
        }
        Ok(told)
    }

    /// Whether nothing has changed but the time.
    fn says_the_same(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.status, &other.status);
        let standing = |whole: &Self| whole.engine.as_ref().map(|engine| engine.standing.clone());
        *mine == Status { now: mine.now, ..theirs.clone() } && standing(self) == standing(other)
    }

    /// For a person; with how much was done a second since `before`.
    fn print(&self, before: Option<&Self>) {
        let status = &self.status;
        line(self.headline());
        line("");
        queues(status).print();
        let rates = before.map(|before| (&before.status.steps, status.now.since(before.status.now)));
        line("");
        steps(&status.steps, rates).print();
        if !status.schedules.is_empty() {
            line("");
            schedules(status).print();
        }
        if status.failing.is_empty() {
            return;
        }
        line("");
        for failing in &status.failing {
            line(fails(failing));
        }
        if status.fails_more {
            line("… and more: `list KIND --reason REASON` tells which");
        }
    }

    fn headline(&self) -> String {
        let (name, now) = (shown(&self.status.name, Shown::Bold), self.status.now);
        match (&self.engine, self.is_at_rest) {
            (Some(Engine { started_at, standing }), _) => {
                let since = started_at.map(|at| format!(" since {at}, for {}", lasted(now.since(at))));
                let health = match standing.is_empty() {
                    true => shown("well", Shown::Good),
                    false => shown(&format!("this stands still: {}", standing.join(", ")), Shown::Bad),
                };
                format!("{name}  an engine runs{}; {health}", since.unwrap_or_default())
            }
            (None, true) => format!("{name}  no engine runs on this folder"),
            (None, false) => format!("{name}  at {now}"),
        }
    }
}

impl Engine {
    async fn of(client: &Client) -> Result<Self, CommandError> {
        #[derive(Deserialize)]
        struct About {
            #[serde(default)]
            started_at: Option<Timestamp>,
        }
        let About { started_at } = client.get("/_quadrille/system").await?;
        let health = client.ask(Method::GET, "/healthz", None).await?;
        let body: Value = serde_json::from_slice(&health.body).unwrap_or_default();
        let names = body["standing"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut standing: Vec<String> = names.map(|name| excerpt(name, 200)).collect();
        if health.status != 200 && standing.is_empty() {
            standing.push(format!("healthz answers {}", health.status));
        }
        Ok(Self { started_at, standing })
    }
}

fn queues(status: &Status) -> Table {
    let mut table = Table::new(["queue", "visible", "in flight", "delayed", "oldest", "dead", "oldest dead"]);
    let age = |name: &String| {
        let since = status.oldest.get(name).map(|at| lasted(status.now.since(*at)));
        Cell::text(since.unwrap_or_default())
    };
    for QueueStatus { name, depth, dead, dead_letter_queue } in &status.queues {
        let how = if *dead > 0 { Shown::Bad } else { Shown::Plain };
        let depth = [depth.visible, depth.in_flight, depth.delayed].map(Cell::number);
        let begins = [Cell::text(name)].into_iter().chain(depth);
        table.row(begins.chain([age(name), Cell::number(dead).shown(how), age(dead_letter_queue)]));
    }
    table
}

/// What became of messages, and where rates are told, how many were done a second.
fn steps(
    steps: &BTreeMap<String, StepCounts>,
    rates: Option<(&BTreeMap<String, StepCounts>, std::time::Duration)>,
) -> Table {
    let head = ["step", "done", "later", "retried", "ended", "dead-lettered"];
    let mut table = Table::new(head.into_iter().chain(rates.map(|_| "a second")));
    for (step, counts) in steps {
        let StepCounts { done, later, retried, ended, dead_lettered } = counts;
        let dead =
            Cell::number(dead_lettered).shown(if *dead_lettered > 0 { Shown::Bad } else { Shown::Plain });
        let counted = [done, later, retried, ended].map(Cell::number);
        let rate = rates.map(|(before, time)| {
            let before = before.get(step).map_or(0, |counts| counts.done);
            let since = done.saturating_sub(before) as f64 / time.as_secs_f64().max(0.001);
            Cell::number(format!("{since:.0}"))
        });
        table.row([Cell::text(step)].into_iter().chain(counted).chain([dead]).chain(rate));
    }
    table
}

fn schedules(status: &Status) -> Table {
    let mut table = Table::new(["schedule", "next", ""]);
    for schedule in &status.schedules {
        let next = schedule.next.map(|at| format!("{at}, in {}", lasted(at.since(status.now))));
        let amiss = Cell::text(schedule.amiss.clone().unwrap_or_default()).shown(Shown::Bad);
        table.row([Cell::text(&schedule.name), Cell::text(next.unwrap_or_default()), amiss]);
    }
    table
}

fn fails(failing: &Failing) -> String {
    let Failing { step, subject, attempt, attempts_max, reason, detail, next, .. } = failing;
    let next = next.map(|next| format!("; next try {next}")).unwrap_or_default();
    let why = format!("{}: {}", excerpt(reason, 100), excerpt(detail, 500));
    let told = format!(
        "{step}: attempt {attempt} of {attempts_max} failed for {}: {why}{next}",
        excerpt(subject, 200)
    );
    shown(&told, Shown::Waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(now: i64, done: u64, standing: &[&str]) -> Whole {
        let status = json!({
            "name": "shop", "now": Timestamp::from_millis(now), "queues": [], "oldest": {}, "failing": [],
            "fails_more": false, "schedules": [],
            "steps": { "brew": { "done": done, "later": 0, "retried": 0, "ended": 0, "dead_lettered": 0 } },
        });
        let standing = standing.iter().map(|name| (*name).to_owned()).collect();
        let engine = Some(Engine { started_at: None, standing });
        Whole { status: serde_json::from_value(status).unwrap(), engine, is_at_rest: false }
    }

    #[test]
    fn it_is_news_only_where_more_has_changed_than_the_time() {
        let before = whole(1_000, 7, &[]);
        assert!(before.says_the_same(&whole(2_000, 7, &[])));
        assert!(!before.says_the_same(&whole(1_000, 8, &[])));
        assert!(!before.says_the_same(&whole(1_000, 7, &["reads of pots"])));
    }
}
