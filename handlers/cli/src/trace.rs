//! `trace`: the story of an entity, told with that of the entities it is related to.

use crate::{
    App,
    access::Access,
    args,
    client::{Client, encoded},
    error::CommandError,
    list::picked,
    print::{Shown, line, shown},
};
use quadrille::{
    Redriven, Timestamp, TrailDetails, TrailEntry,
    choreography::{EntityView, Path},
    excerpt,
    system::Meaning,
};
use serde_json::{Value, json};

/// Related entities that a story is told with.
const RELATED_MAX: usize = 8;

/// The story of one entity.
pub struct Story {
    entity: EntityView,
    related: Vec<EntityView>,
    /// Related entities whose stories can't be told, and why.
    untold: Vec<(String, String, String)>,
}

/// `trace [KIND] ID`; `kind` is the plain one of a word of the system's own, and `fields` those that its story begins with.
pub async fn trace(
    app: &App<'_>,
    args: args::Trace,
    kind: Option<&str>,
    fields: Option<&[&str]>,
) -> Result<(), CommandError> {
    let (kind, id) = named(app, &args.entity, kind)?;
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let story = Story::of(&client, kind, id).await?;
    if args.target.json {
        line(story.to_json(fields));
    } else {
        story.print(fields);
    }
    Ok(())
}

/// The entity that these words name; `kind` is the plain one.
pub fn named<'a>(
    app: &'a App<'_>,
    entity: &'a [String],
    kind: Option<&'a str>,
) -> Result<(&'a str, &'a str), CommandError> {
    match entity {
        [kind, id] => Ok((kind, id)),
        [id] => Ok((plain_kind(app, kind)?, id)),
        _ => Err(CommandError::Usage("say the kind and the id of one entity".into())),
    }
}

/// The kind that is meant where none is named: that of the system's own word, or the one that is alone.
fn plain_kind<'a>(app: &'a App<'_>, kind: Option<&'a str>) -> Result<&'a str, CommandError> {
    let words = app.system.words();
    let of_word = words.into_iter().find_map(|word| match word.means {
        Meaning::Trace { kind, .. } => Some(kind),
        _ => None,
    });
    let kind = kind.or(of_word);
    let kinds: Vec<&String> = app.choreography.model().tables.iter().flat_map(|table| &table.kinds).collect();
    match (kind, &kinds[..]) {
        (Some(kind), _) => Ok(kind),
        (None, [alone]) => Ok(alone),
        _ => {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            Err(CommandError::Usage(format!("say the kind before the id: {}", kinds.join(", "))))
        }
    }
}

impl Story {
    /// The story of an entity, with those it is related to.
    pub fn new(entity: EntityView, related: Vec<EntityView>) -> Self {
        Self { entity, related, untold: Vec::new() }
    }

    /// The story of the entity of this kind and id.
    pub async fn of(client: &Client, kind: &str, id: &str) -> Result<Self, CommandError> {
        let path = |kind: &str, id: &str| format!("/_quadrille/entities/{}/{}", encoded(kind), encoded(id));
        let entity: EntityView = client.get(&path(kind, id)).await?;
        let (mut related, mut untold) = (Vec::new(), Vec::new());
        for (kind, id) in entity.related.iter().take(RELATED_MAX) {
            match client.get(&path(kind, id)).await {
                Ok(other) => related.push(other),
                // One that has expired has no story any longer.
                Err(CommandError::NotFound(_)) => {}
                // One that can't be read has none either, and takes this one with it no more than that.
                Err(CommandError::Failed(why)) => untold.push((kind.clone(), id.clone(), why)),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { entity, related, untold })
    }

    /// What happened, in the order of time, each with the kind of its entity.
    fn entries(&self) -> Vec<(&str, &TrailEntry)> {
        let all = std::iter::once(&self.entity).chain(&self.related);
        let mut entries: Vec<(&str, &TrailEntry)> =
            all.flat_map(|one| one.trail.iter().map(|entry| (one.kind.as_str(), entry))).collect();
        entries.sort_by_key(|(_, entry)| entry.at);
        entries
    }

    /// The handlers that it has passed.
    pub fn path(&self) -> Path {
        Path::of(self.entries().into_iter().map(|(_, entry)| entry))
    }

    /// What is waited for, by whom, and until when it has to be over.
    fn waiting(&self) -> Option<(&TrailEntry, &EntityView)> {
        if self.entity.is_ended {
            return None;
        }
        let open = self.related.iter().filter(|other| !other.is_ended);
        let waiting = open.chain(Some(&self.entity)).filter_map(|one| Some((one.trail.last()?, one)));
        // Who is told until when it waits says more than who is not.
        let mut waiting: Vec<(&TrailEntry, &EntityView)> = waiting.collect();
        waiting.sort_by_key(|(entry, one)| (entry.until.is_none(), one.kind == self.entity.kind));
        waiting.first().copied().filter(|(entry, one)| entry.until.is_some() || one.kind != self.entity.kind)
    }

    /// As one object: the named fields, or what is known of every entity.
    pub fn to_json(&self, fields: Option<&[&str]>) -> Value {
        let entity = &self.entity;
        let timeline = self.entries().into_iter().map(|(of, entry)| {
            let mut told = json!({ "at": entry.at, "of": of, "what": entry.what, "handler": entry.handler,
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
        });
        let waiting = self
            .waiting()
            .map(|(entry, one)| json!({ "for": entry.what, "until": entry.until, "deadline": one.deadline }));
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
        let common = [
            ("kind", json!(entity.kind)),
            ("id", json!(entity.id)),
            ("status", json!(entity.status)),
            ("correlation_id", json!(entity.correlation_id)),
            ("trace_id", json!(entity.trace_id)),
            ("trail_dropped", json!(entity.trail_dropped)),
            ("waiting", json!(waiting)),
            ("timeline", timeline.collect()),
        ];
        let untold = self.untold.iter().map(|(kind, id, why)| json!({ "kind": kind, "id": id, "why": why }));
        for (name, value) in common {
            story.insert(name.to_owned(), value);
        }
        if !self.untold.is_empty() {
            story.insert("untold".to_owned(), untold.collect());
        }
        story.into()
    }

    /// For a person.
    pub fn print(&self, fields: Option<&[&str]>) {
        let entity = &self.entity;
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
        for (of, entry) in self.entries() {
            let attempt =
                if entry.attempt > 1 { format!(", attempt {}", entry.attempt) } else { String::new() };
            let until = entry.until.map(|until| format!(", until {}", clock(until))).unwrap_or_default();
            let of = if of == entity.kind { String::new() } else { format!("{}: ", excerpt(of, 100)) };
            let took = entry.details.as_ref().map(|details| format!(", in {} ms", details.took_millis));
            let took = took.unwrap_or_default();
            let by = format!("by {}{attempt}{took}{until}", excerpt(&entry.handler, 100));
            let what = excerpt(&entry.what, 400);
            line(format_args!("  {}  {of}{what}  {}", clock(entry.at), shown(&by, Shown::Dim)));
            if let Some(redriven) = &entry.redriven {
                line(shown(&format!("      {}", sent_back(redriven)), Shown::Dim));
            }
            let details = entry.details.iter();
            let told = details.flat_map(|told| [("input ", &told.input), ("output", &told.output)]);
            for (name, text) in told.filter(|(_, text)| !text.is_empty()) {
                line(shown(&format!("      {name} {}", excerpt(text, 1_100)), Shown::Dim));
            }
        }
        for (kind, id, why) in &self.untold {
            let told = format!("  the {kind} {}: {}", excerpt(id, 300), excerpt(why, 500));
            line(shown(&told, Shown::Bad));
        }
        if let Some((entry, one)) = self.waiting() {
            let until = entry.until.map(|until| format!(" until {}", clock(until))).unwrap_or_default();
            let deadline = one.deadline.map(|at| format!("; the deadline of the {} is {at}", one.kind));
            let what = excerpt(&entry.what, 400);
            line(format_args!("  now: {what}{until}{}", deadline.unwrap_or_default()));
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
}

/// How a message was sent back from a dead-letter queue.
pub fn sent_back(redriven: &Redriven) -> String {
    let Redriven { times, at, by, why } = redriven;
    let by = if by.is_empty() { String::new() } else { format!(" by {}", excerpt(by, 100)) };
    let why = if why.is_empty() { String::new() } else { format!(": {}", excerpt(why, 300)) };
    let times = if *times > 1 { format!(" ({times} times in all)") } else { String::new() };
    format!("sent back at {at}{by}{why}{times}")
}

/// The time of day.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).unwrap_or(&text).to_owned()
}
