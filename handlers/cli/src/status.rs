//! `status` and `watch`: how it goes, on one screen.

use crate::{
    App,
    access::Access,
    args,
    client::Client,
    error::CommandError,
    events::{self, Told},
    print::{Shown, lasted, line, shown},
    screen,
    table::{Cell, Format, Table},
    watch::Watch,
    work,
};
use futures_util::StreamExt as _;
use quadrille::{
    Failing, StepCounts, Timestamp, excerpt,
    http_client::Method,
    operator::{QueueStatus, ScheduleStatus, Status},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    io::IsTerminal as _,
};

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
pub async fn status(app: &App<'_>, args: args::Rows) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let whole = Whole::of(&client).await?;
    match args.output.format(args.target.json) {
        Format::Json => line(whole.to_json()?),
        Format::Csv => whole.figures().print_csv()?,
        Format::Table => whole.lines(None).iter().for_each(line),
    }
    Ok(())
}

/// Lines of work that are kept for a screen: no terminal has more rows.
const WORK_KEPT_MAX: usize = 500;

/// `watch`: the same again and again, and what is worked meanwhile, until ctrl-C.
pub async fn watch(app: &App<'_>, args: args::Rows) -> Result<(), CommandError> {
    let format = args.output.format_of(args.target.json, true)?;
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let mut watch = Watch::by(&client, app)?;
    let mut shows = Shows {
        how: match format {
            Format::Json => How::Json,
            Format::Table | Format::Csv if std::io::stdout().is_terminal() => How::Screen,
            Format::Table | Format::Csv => How::Lines,
        },
        before: None,
        work: VecDeque::new(),
    };
    let mut work = events::work(&client).await;
    loop {
        shows.whole(Whole::of(&client).await?)?;
        loop {
            tokio::select! {
                biased;
                goes_on = watch.goes_on() => match goes_on {
                    true => break,
                    false => return Ok(()),
                },
                Some(told) = work.next() => shows.work(&told),
            }
        }
    }
}

/// What `watch` shows, and what it has shown.
struct Shows {
    how: How,
    before: Option<Whole>,
    /// The last lines of work, on a screen.
    work: VecDeque<String>,
}

/// How it is shown.
enum How {
    /// Drawn over what stood there.
    Screen,
    /// Lines for a person, whenever something has changed.
    Lines,
    /// Lines of JSON, likewise.
    Json,
}

impl Shows {
    fn whole(&mut self, whole: Whole) -> Result<(), CommandError> {
        let is_news = self.before.as_ref().is_none_or(|before| !before.says_the_same(&whole));
        match self.how {
            How::Screen => screen::draw(&whole.lines(self.before.as_ref()), self.work.make_contiguous()),
            How::Json if is_news => line(whole.to_json()?),
            How::Lines if is_news => {
                whole.lines(self.before.as_ref()).iter().for_each(line);
                line("");
            }
            How::Lines | How::Json => {}
        }
        self.before = Some(whole);
        Ok(())
    }

    fn work(&mut self, told: &Told) {
        let row = match (&self.how, told) {
            (How::Json, told) => Some(told.to_json().to_string()),
            (_, Told::Work(worked)) => work::row(worked),
            (_, Told::LeftOut(count)) => {
                Some(work::and(&format!("{count} before that are not told one by one")))
            }
            (_, Told::Untold(why)) => Some(shown(why, Shown::Waiting)),
        };
        let Some(row) = row else { return };
        match self.how {
            How::Json | How::Lines => line(row),
            // It stands there with the next look.
            How::Screen => {
                self.work.push_back(row);
                if self.work.len() > WORK_KEPT_MAX {
                    self.work.pop_front();
                }
            }
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

    /// All of it as one table: a row for each figure of the engine, of a queue, a step, a schedule and a failure.
    fn figures(&self) -> Table {
        let mut table = Table::new(["what", "name", "figure", "value"]);
        let mut rows = |what: &str, name: &str, figures: &[(&str, String)]| {
            for (figure, value) in figures {
                table.row([what, name, figure, value].map(Cell::text));
            }
        };
        let Status { name, now, queues, oldest, steps, failing, schedules, .. } = &self.status;
        let time = |at: Option<&Timestamp>| at.map(Timestamp::to_string).unwrap_or_default();
        rows("system", name, &[("now", now.to_string())]);
        if let Some(Engine { started_at, standing }) = &self.engine {
            let standing = standing.join(", ");
            rows("system", name, &[("started_at", time(started_at.as_ref())), ("standing", standing)]);
        }
        for QueueStatus { name, depth, dead, dead_letter_queue } in queues {
            let [visible, in_flight, delayed] = [depth.visible, depth.in_flight, depth.delayed];
            let depth =
                [("visible", visible), ("in_flight", in_flight), ("delayed", delayed), ("dead", *dead)];
            rows("queue", name, &depth.map(|(figure, count)| (figure, count.to_string())));
            let (first, dead) = (time(oldest.get(name)), time(oldest.get(dead_letter_queue)));
            rows("queue", name, &[("oldest", first), ("oldest_dead", dead)]);
        }
        for (step, StepCounts { done, later, retried, ended, dead_lettered }) in steps {
            let counts = [("done", done), ("later", later), ("retried", retried), ("ended", ended)];
            let counts = counts.into_iter().chain([("dead_lettered", dead_lettered)]);
            let counts: Vec<_> = counts.map(|(figure, count)| (figure, count.to_string())).collect();
            rows("step", step, &counts);
        }
        for ScheduleStatus { name, next, amiss } in schedules {
            let amiss = amiss.clone().unwrap_or_default();
            rows("schedule", name, &[("next", time(next.as_ref())), ("amiss", amiss)]);
        }
        for Failing { step, subject, attempt, attempts_max, reason, detail, next, .. } in failing {
            let attempts = [("attempt", attempt.to_string()), ("attempts_max", attempts_max.to_string())];
            rows("failing", subject, &[("step", step.clone()), ("reason", reason.clone())]);
            rows("failing", subject, &attempts);
            rows("failing", subject, &[("detail", detail.clone()), ("next", time(next.as_ref()))]);
        }
        table
    }

    /// Whether nothing has changed but the time.
    fn says_the_same(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.status, &other.status);
        let standing = |whole: &Self| whole.engine.as_ref().map(|engine| engine.standing.clone());
        *mine == Status { now: mine.now, ..theirs.clone() } && standing(self) == standing(other)
    }

    /// For a person; with how much was done a second since `before`.
    fn lines(&self, before: Option<&Self>) -> Vec<String> {
        let status = &self.status;
        let rates = before.map(|before| (&before.status.steps, status.now.since(before.status.now)));
        let tables = [queues(status), steps(&status.steps, rates), schedules(status)];
        let mut lines = vec![self.headline()];
        for rows in tables.iter().map(Table::lines).filter(|rows| !rows.is_empty()) {
            lines.push(String::new());
            lines.extend(rows);
        }
        if !status.failing.is_empty() {
            lines.push(String::new());
        }
        lines.extend(status.failing.iter().map(fails));
        if status.fails_more {
            lines.push("… and more: `list KIND --reason REASON` tells which".to_owned());
        }
        lines
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
