//! `list`: entities of a kind, the newest first.

use crate::{
    App,
    access::Access,
    args::{List, OwnList},
    client::{Client, encoded},
    error::CommandError,
    print::{Progress, Shown, line, shown},
    table::{Cell, Format, Table},
    watch::Watch,
};
use quadrille::{
    Timestamp,
    choreography::EntityView,
    excerpt,
    operator::{EntityPage, UnreadableEntity},
    port::{Clock as _, SystemClock},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// What a row tells in place of the status of an entity that can't be read.
const UNREADABLE: &str = "unreadable";

/// The field of a row that tells the status.
const STATUS: &str = "status";

/// What a row tells in place of the status of an entity that has none.
const NONE: &str = "-";

/// Statuses that are counted one by one.
const STATUSES_MAX: usize = 100;

/// Version and last change of each that was shown, by its id.
type Seen = HashMap<String, (u64, Timestamp)>;

/// How far back is looked: a commit may be seen some time after the one that it came before.
const OVERLAP: Duration = Duration::from_secs(10);

/// `list KIND`.
pub async fn named(app: &App<'_>, args: List) -> Result<(), CommandError> {
    let List { kind, own } = args;
    list(app, own, &kind, None).await
}

/// Lists the entities of `kind`; `fields` are those of the state that a row has.
pub async fn list(
    app: &App<'_>,
    args: OwnList,
    kind: &str,
    fields: Option<&[&str]>,
) -> Result<(), CommandError> {
    let format = args.output.format_of(args.target.json, args.watch)?;
    if args.watch && args.counts {
        return Err(CommandError::Usage("--watch shows each that changes, and --counts none".to_owned()));
    }
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let watching = args.watch.then(|| Watch::by(&client, app)).transpose()?;
    let path = format!("/_quadrille/entities/{}?limit=1000{}", encoded(kind), args.query());
    let limit = if args.counts { 0 } else { args.limit };
    let began = SystemClock.now();
    let found = Found::of(&client, &path, limit, back(began)).await?;
    match format {
        Format::Json if args.counts => {
            line(json!({ "counts": found.counts, "unreadable": found.unreadable_count }))
        }
        Format::Json => found.print_json(kind, fields, args.watch),
        Format::Csv => found.table(fields, args.counts).print_csv()?,
        Format::Table => found.print(fields, &args),
    }
    match watching {
        Some(watching) => watch(watching, &client, &path, fields, (found.seen, began), format).await,
        None => Ok(()),
    }
}

/// What a look through the table found: the newest, and how many there are.
struct Found {
    /// By creation and id.
    newest: BTreeMap<(Timestamp, String), EntityView>,
    unreadable: Vec<UnreadableEntity>,
    unreadable_count: u64,
    counts: BTreeMap<String, u64>,
    seen: Seen,
}

impl Found {
    /// Looks through all pages, and holds the `limit` newest. Those that changed since `since` are seen.
    async fn of(client: &Client, path: &str, limit: usize, since: Timestamp) -> Result<Self, CommandError> {
        let mut found = Self {
            newest: BTreeMap::new(),
            unreadable: Vec::new(),
            unreadable_count: 0,
            counts: BTreeMap::new(),
            seen: Seen::new(),
        };
        let (progress, mut after, mut looked_at) = (Progress::new(), String::new(), 0);
        loop {
            let page: EntityPage = client.get(&format!("{path}{after}")).await?;
            looked_at += page.looked_at;
            for entity in page.entities {
                found.count(entity.status.as_deref().unwrap_or(NONE));
                if changed_at(&entity) >= since {
                    found.seen.insert(entity.id.clone(), (entity.version, changed_at(&entity)));
                }
                found.newest.insert((created_at(&entity), entity.id.clone()), entity);
                if found.newest.len() > limit {
                    found.newest.pop_first();
                }
            }
            found.unreadable_count += page.unreadable.len() as u64;
            let room = limit.saturating_sub(found.unreadable.len());
            found.unreadable.extend(page.unreadable.into_iter().take(room));
            match page.next {
                Some(next) => after = format!("&after={}", encoded(&next)),
                None => break,
            }
            progress.show(format_args!("{looked_at} looked at"));
        }
        progress.clear();
        Ok(found)
    }

    fn count(&mut self, status: &str) {
        let is_known = self.counts.contains_key(status) || self.counts.len() < STATUSES_MAX;
        let status = if is_known { status } else { "(others)" };
        *self.counts.entry(status.to_owned()).or_default() += 1;
    }

    fn all(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The newest first.
    fn entities(&self) -> impl Iterator<Item = &EntityView> {
        self.newest.values().rev()
    }

    fn print_json(&self, kind: &str, fields: Option<&[&str]>, watches: bool) {
        let unreadable = self.unreadable.iter().map(|entity| {
            let UnreadableEntity { id, version, why } = entity;
            json!({ "kind": kind, "id": id, "status": UNREADABLE, "version": version, "why": why })
        });
        let rows = self.entities().map(|entity| row(entity, fields)).chain(unreadable);
        match watches {
            true => rows.for_each(line),
            false => line(rows.collect::<Value>()),
        }
    }

    /// The entities, or the statuses alone, as rows.
    fn table(&self, fields: Option<&[&str]>, counts: bool) -> Table {
        if counts {
            let mut table = Table::new(["status", "count"]);
            for (status, count) in &self.counts {
                table.row([Cell::text(status), Cell::number(count)]);
            }
            return table;
        }
        let Some(fields) = fields else {
            let mut table = Table::new(["id", "status", "version", "created_at", "state"]);
            for entity in self.entities() {
                let status = Cell::text(entity.status.as_deref().unwrap_or_default());
                let created = Cell::text(created(entity));
                let state = Cell::text(entity.state.to_string());
                table.row([Cell::text(&entity.id), status, Cell::number(entity.version), created, state]);
            }
            return table;
        };
        let mut table = Table::new(fields.iter().copied());
        for entity in self.entities() {
            let row = named_fields(entity, fields);
            table.row(fields.iter().map(|field| Cell::text(plain(row.get(*field)))));
        }
        table
    }

    /// For a person.
    fn print(&self, fields: Option<&[&str]>, args: &OwnList) {
        if args.counts {
            self.table(fields, true).print();
        } else {
            self.print_entities(fields);
        }
        let shown_all = self.newest.len() as u64;
        let all = self.all();
        let mut counts: Vec<String> =
            self.counts.iter().map(|(status, count)| format!("{count} {}", excerpt(status, 60))).collect();
        if self.unreadable_count > 0 {
            counts.push(format!("{} unreadable", self.unreadable_count));
        }
        let (all, counts) = (all + self.unreadable_count, counts.join(", "));
        let left = all.saturating_sub(shown_all + self.unreadable.len() as u64);
        if left > 0 && !args.counts {
            line(format_args!("… and {left} older: --limit says how many are shown"));
        }
        match all {
            0 => line("none"),
            _ => line(format_args!("{all} in all: {counts}")),
        }
    }

    fn print_entities(&self, fields: Option<&[&str]>) {
        // Of the fields that a word names, those that are numbers tell something in a column.
        let numbers: Vec<&str> = fields
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|name| {
                let mut values = self.entities().map(|entity| entity.state.get(*name)).peekable();
                values.peek().is_some() && values.all(|value| value.is_some_and(Value::is_number))
            })
            .collect();
        let head = ["created", "status"].into_iter().chain(numbers.iter().copied()).chain(["id"]);
        let mut table = Table::new(head);
        for entity in self.entities() {
            let how = Shown::of_end(entity.is_ended, &entity.trail);
            let status = Cell::text(entity.status.as_deref().unwrap_or(NONE)).shown(how);
            let numbers = numbers.iter().map(|name| Cell::number(plain(entity.state.get(*name))));
            let cells = [Cell::text(created(entity)), status].into_iter().chain(numbers);
            table.row(cells.chain([Cell::text(&entity.id)]));
        }
        table.print();
        self.unreadable.iter().for_each(print_unreadable);
    }
}

/// The time from which on changes are looked for, where all before `at` were seen.
fn back(at: Timestamp) -> Timestamp {
    let overlap = i64::try_from(OVERLAP.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(overlap))
}

fn changed_at(entity: &EntityView) -> Timestamp {
    let last = entity.trail.last().map(|entry| entry.at);
    last.unwrap_or_else(|| created_at(entity))
}

fn created_at(entity: &EntityView) -> Timestamp {
    entity.created_at.unwrap_or(Timestamp::from_millis(0))
}

fn created(entity: &EntityView) -> String {
    entity.created_at.map(|at| at.to_string()).unwrap_or_default()
}

/// Shows each that has changed since.
async fn watch(
    mut watch: Watch,
    client: &Client,
    path: &str,
    fields: Option<&[&str]>,
    (mut seen, mut latest): (Seen, Timestamp),
    format: Format,
) -> Result<(), CommandError> {
    while watch.goes_on().await {
        let since = back(latest);
        let (mut changed, mut after) = (Vec::new(), String::new());
        loop {
            let page: EntityPage =
                client.get(&format!("{path}&since={}{after}", encoded(&since.to_string()))).await?;
            changed.extend(page.entities);
            match page.next {
                Some(next) => after = format!("&after={}", encoded(&next)),
                None => break,
            }
        }
        changed.sort_by_key(changed_at);
        seen.retain(|_, (_, at)| *at >= since);
        for entity in changed {
            latest = latest.max(changed_at(&entity));
            let shown = (entity.version, changed_at(&entity));
            if seen.insert(entity.id.clone(), shown) == Some(shown) {
                continue;
            }
            match format {
                Format::Json => line(row(&entity, fields)),
                Format::Table | Format::Csv => print(&entity),
            }
        }
    }
    Ok(())
}

fn print(entity: &EntityView) {
    let status = excerpt(entity.status.as_deref().unwrap_or(NONE), 40);
    line(format_args!("{}  {status:9}  {}", created(entity), excerpt(&entity.id, 300)));
}

fn print_unreadable(entity: &UnreadableEntity) {
    let why = shown(&excerpt(&entity.why, 300), Shown::Bad);
    line(format_args!("{:24}  {UNREADABLE}  {}  {why}", "", excerpt(&entity.id, 300)));
}

/// An entity as a row: the named fields of its state, or what is known of every entity.
fn row(entity: &EntityView, fields: Option<&[&str]>) -> Value {
    let Some(fields) = fields else {
        return json!({ "kind": entity.kind, "id": entity.id, "status": entity.status, "version": entity.version,
            "created_at": entity.created_at, "state": entity.state });
    };
    named_fields(entity, fields).into()
}

/// The named fields of an entity; as its status the one that it is looked for by.
fn named_fields(entity: &EntityView, fields: &[&str]) -> Map<String, Value> {
    let mut row = picked(&entity.state, fields);
    if fields.contains(&STATUS) && entity.status.is_some() {
        row.insert(STATUS.to_owned(), json!(entity.status));
    }
    row
}

/// The named fields of a state, those that it has.
pub fn picked(state: &Value, fields: &[&str]) -> Map<String, Value> {
    let value = |name: &&str| Some(((*name).to_owned(), state.get(*name)?.clone()));
    fields.iter().filter_map(value).collect()
}

/// A value as a cell has it: a text without its quotes, nothing where there is none.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
