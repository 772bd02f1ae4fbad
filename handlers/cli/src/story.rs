//! The story of an entity, as it is told: for a person, or as one object.

use crate::{
    App,
    client::{Client, encoded},
    error::CommandError,
    list::picked,
    print::{Shown, lasted, line, shown},
    table::{Cell, Table},
};
use quadrille::{
    Failing, Redriven, Timestamp, TrailDetails, TrailEntry, TrailEntryKind,
    choreography::{EntityView, Path},
    excerpt,
    operator::{self, NextRun, StoryLetter},
};
use serde_json::{Value, json};

/// The story of one entity.
pub struct Story(operator::Story);

/// An entry of it, with the kind of its entity.
type Entry<'a> = (&'a EntityView, &'a TrailEntry);

impl Story {
    /// The story of an entity, with those it is related to, where nobody is asked for more.
    pub fn new(entity: EntityView, related: Vec<EntityView>) -> Self {
        Self(operator::Story::of(entity, related))
    }

    /// The story of the entity of this kind and id.
    pub async fn of(client: &Client, kind: &str, id: &str) -> Result<Self, CommandError> {
        let path = format!("/_quadrille/stories/{}/{}", encoded(kind), encoded(id));
        Ok(Self(client.get(&path).await?))
    }

    pub fn kind(&self) -> &str {
        &self.0.entity.kind
    }

    pub fn id(&self) -> &str {
        &self.0.entity.id
    }

    /// Whether nothing more happens: it has ended, and nothing of it is tried again.
    pub fn is_over(&self) -> bool {
        self.0.entity.is_ended && self.0.failing.iter().all(|failing| failing.next.is_none())
    }

    /// What happened, in the order of time. Behind its own end, of others nothing.
    fn entries(&self) -> Vec<Entry<'_>> {
        let entity = &self.0.entity;
        let end = entity.trail.last().map(|entry| entry.at).filter(|_| entity.is_ended);
        let of_others = self.0.related.iter().flat_map(|one| one.trail.iter().map(move |entry| (one, entry)));
        let of_others = of_others.filter(|(_, entry)| end.is_none_or(|end| entry.at <= end));
        let mut entries: Vec<Entry<'_>> =
            entity.trail.iter().map(|entry| (entity, entry)).chain(of_others).collect();
        entries.sort_by_key(|(_, entry)| entry.at);
        entries
    }

    /// The handlers that it has passed.
    pub fn path(&self) -> Path {
        Path::of(self.entries().into_iter().map(|(_, entry)| entry))
    }

    /// As one object: the named fields, or what is known of every entity.
    pub fn to_json(&self, fields: Option<&[&str]>) -> Value {
        let entity = &self.0.entity;
        let mut story = match fields {
            Some(fields) => {
                let mut picked = picked(&entity.state, fields);
                for field in fields {
                    picked.entry(*field).or_insert(Value::Null);
                }
                picked
            }
            None => serde_json::Map::from_iter([("state".to_owned(), entity.state.clone())]),
        };
        let timeline = self.entries().into_iter().map(|(of, entry)| entry_to_json(of, entry));
        let common = [
            ("kind", json!(entity.kind)),
            ("id", json!(entity.id)),
            ("status", json!(entity.status)),
            ("correlation_id", json!(entity.correlation_id)),
            ("trace_id", json!(entity.trace_id)),
            ("trail_dropped", json!(entity.trail_dropped)),
            ("waiting", json!(self.0.waiting)),
            ("failing", json!(self.0.failing)),
            ("next_run", json!(self.0.next_run)),
            ("letters", json!(self.0.letters)),
            ("timeline", timeline.collect()),
        ];
        for (name, value) in common {
            story.insert(name.to_owned(), value);
        }
        let untold =
            self.0.untold.iter().map(|(kind, id, why)| json!({ "kind": kind, "id": id, "why": why }));
        if !self.0.untold.is_empty() {
            story.insert("untold".to_owned(), untold.collect());
        }
        story.into()
    }

    /// What happened, as rows.
    pub fn table(&self) -> Table {
        let head = ["at", "kind", "id", "what", "handler", "attempt", "until", "took_ms", "input", "output"];
        let mut table = Table::new(head);
        for (of, entry) in self.entries() {
            let until = entry.until.map(|until| until.to_string()).unwrap_or_default();
            let TrailDetails { took_millis, input, output } = entry.details.clone().unwrap_or_default();
            let took = entry.details.as_ref().map(|_| took_millis.to_string()).unwrap_or_default();
            let (at, attempt) = (entry.at.to_string(), entry.attempt.to_string());
            let row = [
                &at,
                &of.kind,
                &of.id,
                &*entry.what,
                &*entry.handler,
                &attempt,
                &until,
                &took,
                &input,
                &output,
            ];
            table.row(row.map(Cell::text));
        }
        table
    }

    /// For a person. Where no engine runs on the folder, that is said too.
    pub fn print(&self, app: Option<&App<'_>>, fields: Option<&[&str]>, is_at_rest: bool) {
        let entity = &self.0.entity;
        let status = excerpt(entity.status.as_deref().unwrap_or_default(), 100);
        line(format_args!(
            "{}  {}",
            shown(&excerpt(&entity.id, 400), Shown::Bold),
            shown(&status, Shown::of_end(entity.is_ended, &entity.trail))
        ));
        let known = [("correlation id", &entity.correlation_id), ("trace id", &entity.trace_id)];
        for (name, value) in known {
            if let Some(value) = value {
                line(shown(&format!("  {name} {}", excerpt(value, 400)), Shown::Dim));
            }
        }
        let entries = self.entries();
        let mut before = None;
        for entry in &entries {
            self.print_entry(app, *entry, before);
            before = Some(entry.1.at);
        }
        if let (Some((_, first)), Some((_, last))) = (entries.first(), entries.last())
            && entries.len() > 1
        {
            let all = format!("  {} in all", lasted(last.at.since(first.at)));
            line(shown(&all, Shown::Dim));
        }
        for (kind, id, why) in &self.0.untold {
            let told = format!("  the {kind} {}: {}", excerpt(id, 300), excerpt(why, 500));
            line(shown(&told, Shown::Bad));
        }
        if let Some(why) = &self.0.letters_untold {
            line(shown(&format!("  dead letters could not be looked at: {}", excerpt(why, 500)), Shown::Bad));
        }
        self.now().iter().for_each(line);
        if is_at_rest && !entity.is_ended {
            line("  no engine runs on this folder: nothing happens until one does");
        }
        for field in fields.unwrap_or_default() {
            // The head of the story has id and status already, and a related entity tells its own story.
            let said = |value: &str| {
                value == entity.id || *field == "status" || entity.related.iter().any(|(_, id)| id == value)
            };
            if let Some(value) = entity.state.get(*field).and_then(Value::as_str).filter(|value| !said(value))
            {
                line(format_args!("  {} {}", field.replace('_', " "), excerpt(value, 1_024)));
            }
        }
    }

    /// What is new since `told`.
    pub fn print_since(&self, app: &App<'_>, told: &Self) {
        let known = told.entries();
        let mut before = known.last().map(|(_, entry)| entry.at);
        let is_new = |(of, entry): &Entry<'_>| {
            !known.iter().any(|(one, told)| one.kind == of.kind && one.id == of.id && told == entry)
        };
        for entry in self.entries().into_iter().filter(is_new) {
            self.print_entry(Some(app), entry, before);
            before = before.max(Some(entry.1.at));
        }
        let (now, then) = (self.now(), told.now());
        now.iter().filter(|text| !then.contains(text)).for_each(line);
        let (status, was) = (&self.0.entity.status, &told.0.entity.status);
        if let Some(status) = status.as_ref().filter(|_| status != was) {
            let how = Shown::of_end(self.0.entity.is_ended, &self.0.entity.trail);
            line(format_args!("  is {}", shown(&excerpt(status, 100), how)));
        }
    }

    /// One entry; `before` is when the one before it was.
    fn print_entry(&self, app: Option<&App<'_>>, (of, entry): Entry<'_>, before: Option<Timestamp>) {
        if before.is_none_or(|before| date(before) != date(entry.at)) {
            line(shown(&format!("  {} UTC", date(entry.at)), Shown::Dim));
        }
        let since = before.map(|before| format!("+{}", lasted(entry.at.since(before)))).unwrap_or_default();
        let attempt = if entry.attempt > 1 { format!(", attempt {}", entry.attempt) } else { String::new() };
        let until = entry.until.map(|until| format!(", until {}", moment(until, entry.at)));
        let own = &self.0.entity;
        let is_own = of.kind == own.kind && of.id == own.id;
        let of_other = if is_own { String::new() } else { format!("{}: ", excerpt(&of.kind, 100)) };
        let took = entry.details.as_ref().map(|details| format!(", in {} ms", details.took_millis));
        let (took, until) = (took.unwrap_or_default(), until.unwrap_or_default());
        let by = format!("by {}{attempt}{took}{until}", excerpt(&entry.handler, 100));
        let what = excerpt(&entry.what, 400);
        let since = shown(&format!("{since:>11}"), Shown::Dim);
        line(format_args!("  {}{since}  {of_other}{what}  {}", clock(entry.at), shown(&by, Shown::Dim)));
        if let Some(redriven) = &entry.redriven {
            line(shown(&format!("      {}", sent_back(redriven)), Shown::Dim));
        }
        let details = entry.details.iter();
        let told = details.flat_map(|told| [("input ", &told.input), ("output", &told.output)]);
        for (name, text) in told.filter(|(_, text)| !text.is_empty()) {
            line(shown(&format!("      {name} {}", excerpt(text, 1_100)), Shown::Dim));
        }
        if let TrailEntryKind::DeadLettered { reason } = &entry.kind {
            self.print_given_up(app, of, entry, reason);
        }
    }

    /// Why a message was given up, and where it lies.
    fn print_given_up(&self, app: Option<&App<'_>>, of: &EntityView, entry: &TrailEntry, reason: &str) {
        let is_meant = |by: &str, subject: &str, of_reason: &str| {
            *by == *entry.handler && subject == of.id && of_reason == reason
        };
        // The letter is written just after the entry, and the entry tells of the one that was next.
        let letters = self.0.letters.iter().rev();
        let mut letters = letters.filter(|letter| is_meant(&letter.handler, &letter.subject, &letter.reason));
        if let Some(StoryLetter { queue, id, detail, deadline, .. }) =
            letters.find(|letter| letter.dead_at >= entry.at)
        {
            line(shown(&format!("      {}", excerpt(detail, 1_024)), Shown::Bad));
            let shows = app.map(|app| {
                let system =
                    if app.systems.len() > 1 { format!("{} ", app.system.name()) } else { String::new() };
                format!(": {}", app.typed(&format!("dlq show {system}{id} --queue {queue}")))
            });
            let shows = shows.unwrap_or_default();
            let lies =
                format!("      dead letter {} in {queue}, kept until {deadline}{shows}", excerpt(id, 200));
            line(shown(&lies, Shown::Dim));
            return;
        }
        let failing = self.0.failing.iter().find(|failing| {
            failing.next.is_none() && is_meant(&failing.step, &failing.subject, &failing.reason)
        });
        if let Some(Failing { detail, .. }) = failing {
            line(shown(&format!("      {}", excerpt(detail, 1_024)), Shown::Bad));
        }
    }

    /// What is the matter with it now, a line each.
    fn now(&self) -> Vec<String> {
        let last = self.entries().last().map(|(_, entry)| entry.at).unwrap_or_default();
        let mut now: Vec<String> =
            self.0.failing.iter().filter_map(|failing| failed(failing, last)).collect();
        if let Some(waiting) = &self.0.waiting {
            let deadline =
                waiting.deadline.map(|at| format!("the deadline of the {} is {at}", waiting.of.kind));
            // One that fails does not wait for what it did last.
            let fails = self
                .0
                .failing
                .iter()
                .any(|failing| failing.subject == waiting.of.id && failing.next.is_some());
            let until =
                waiting.until.map(|until| format!(" until {}", moment(until, last))).unwrap_or_default();
            let waits = format!("now: {}{until}", excerpt(&waiting.what, 400));
            let told: Vec<String> = Some(waits).filter(|_| !fails).into_iter().chain(deadline).collect();
            now.extend(Some(format!("  {}", told.join("; "))).filter(|_| !told.is_empty()));
        }
        if let Some(NextRun { schedule, at, steps, in_its_way, amiss }) = &self.0.next_run {
            let steps = steps.join(", ");
            now.push(format!("  next: {} at {}, by {steps}", excerpt(schedule, 100), moment(*at, last)));
            let failed = in_its_way.iter().map(|failing| {
                let Failing { step, subject, attempt, attempts_max, reason, detail, .. } = failing;
                let why = format!("{}: {}", excerpt(reason, 100), excerpt(detail, 500));
                let subject = excerpt(subject, 200);
                format!(
                    "  in its way: {step} fails, attempt {attempt} of {attempts_max} for {subject}: {why}"
                )
            });
            now.extend(failed.map(|text| shown(&text, Shown::Bad)));
            now.extend(
                amiss.iter().map(|amiss| shown(&format!("  in its way: {schedule}: {amiss}"), Shown::Bad)),
            );
        }
        now
    }
}

/// A failure that is tried again.
fn failed(failing: &Failing, last: Timestamp) -> Option<String> {
    let Failing { step, attempt, attempts_max, reason, detail, next, .. } = failing;
    let next = moment((*next)?, last);
    let next = next.split('.').next().unwrap_or(&next);
    let why = format!("{}: {}", excerpt(reason, 100), excerpt(detail, 1_024));
    let now = format!("  now: attempt {attempt} of {attempts_max} failed: {why}; next try {next}");
    Some(format!("{}  {}", shown(&now, Shown::Waiting), shown(&format!("by {step}"), Shown::Dim)))
}

fn entry_to_json(of: &EntityView, entry: &TrailEntry) -> Value {
    let mut told = json!({ "at": entry.at, "of": of.kind, "what": entry.what, "handler": entry.handler,
        "attempt": entry.attempt, "until": entry.until });
    if let Some(redriven) = &entry.redriven {
        told["redriven"] = json!(redriven);
    }
    if let Some(TrailDetails { took_millis, input, output }) = &entry.details {
        told["took_millis"] = json!(took_millis);
        told["input"] = json!(input);
        told["output"] = json!(output);
    }
    told
}

/// How a message was sent back from a dead-letter queue.
fn sent_back(redriven: &Redriven) -> String {
    let Redriven { times, at, by, why } = redriven;
    let by = if by.is_empty() { String::new() } else { format!(" by {}", excerpt(by, 100)) };
    let why = if why.is_empty() { String::new() } else { format!(": {}", excerpt(why, 300)) };
    let times = if *times > 1 { format!(" ({times} times in all)") } else { String::new() };
    format!("sent back at {at}{by}{why}{times}")
}

/// A time as it is told beside `other`: with its date where that is another one.
fn moment(at: Timestamp, other: Timestamp) -> String {
    if date(at) == date(other) { clock(at) } else { format!("{} {}", date(at), clock(at)) }
}

fn date(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('T').next().unwrap_or(&text).to_owned()
}

/// The time of day.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entity with an entry at each of these seconds.
    fn entity(kind: &str, is_ended: bool, seconds: &[i64]) -> EntityView {
        let entry =
            |second: &i64| json!({ "at": Timestamp::from_millis(second * 1_000), "what": "x", "by": "h" });
        let trail: Vec<Value> = seconds.iter().map(entry).collect();
        let view = json!({ "kind": kind, "id": "1", "is_ended": is_ended, "version": 1, "state": {}, "trail": trail });
        serde_json::from_value(view).unwrap()
    }

    fn told(story: &Story) -> Vec<(&str, i64)> {
        let entries = story.entries().into_iter();
        entries.map(|(of, entry)| (of.kind.as_str(), entry.at.as_millis() / 1_000)).collect()
    }

    #[test]
    fn behind_its_end_nothing_of_others_is_told() {
        let run = || vec![entity("run", false, &[2, 5])];
        let open = Story::new(entity("order", false, &[1, 3]), run());
        assert_eq!(told(&open), [("order", 1), ("run", 2), ("order", 3), ("run", 5)]);
        let ended = Story::new(entity("order", true, &[1, 3]), run());
        assert_eq!(told(&ended), [("order", 1), ("run", 2), ("order", 3)]);
        assert!(ended.is_over() && !open.is_over());
    }

    #[test]
    fn a_time_is_told_with_its_date_where_that_is_another() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let late = at("2026-11-30T23:59:59.500Z");
        assert_eq!(moment(late, at("2026-11-30T00:00:00Z")), "23:59:59.500");
        assert_eq!(moment(at("2026-12-01T00:00:01Z"), late), "2026-12-01 00:00:01.000");
        for (millis, said) in [(7, "7 ms"), (1_999, "1.9 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")]
        {
            assert_eq!(lasted(std::time::Duration::from_millis(millis)), said);
        }
    }
}
