//! `list`: entities of a kind.

use crate::{
    App,
    access::Access,
    args::{List, OwnList},
    client::{Client, encoded},
    error::CommandError,
    print::{Shown, line, shown},
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
use std::{collections::HashMap, time::Duration};

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
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let watching = args.watch.then(|| Watch::by(&client, app)).transpose()?;
    let (mut after, mut left) = (None::<String>, args.limit);
    let status = args.status.as_deref().map(|status| format!("&status={}", encoded(status)));
    let status = status.unwrap_or_default();
    let mut rows = Vec::new();
    let (mut seen, began) = (Seen::new(), SystemClock.now());
    while left > 0 {
        let from = after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
        // A page has as many rows as were looked at; of a status, there may be few among them.
        let path = format!("/_quadrille/entities/{}?limit=1000{status}{from}", encoded(kind));
        let page: EntityPage = client.get(&path).await?;
        for entity in page.entities.into_iter().take(left) {
            left -= 1;
            match args.target.json {
                true if args.watch => line(row(&entity, fields)),
                true => rows.push(row(&entity, fields)),
                false => print(&entity),
            }
            seen.insert(entity.id.clone(), (entity.version, changed_at(&entity)));
        }
        for entity in page.unreadable.into_iter().take(left) {
            left -= 1;
            let row = json!({ "kind": kind, "id": entity.id, "status": UNREADABLE, "version": entity.version, "why": entity.why });
            match args.target.json {
                true if args.watch => line(row),
                true => rows.push(row),
                false => print_unreadable(&entity),
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if let Some(watching) = watching {
        let path = format!("/_quadrille/entities/{}?limit=1000{status}", encoded(kind));
        return watch(watching, &client, &path, fields, (seen, began), args.target.json).await;
    }
    if args.target.json {
        line(Value::from(rows));
    }
    Ok(())
}

/// What a row tells in place of the status of an entity that can't be read.
const UNREADABLE: &str = "unreadable";

/// Version and last change of each that was shown, by its id.
type Seen = HashMap<String, (u64, Timestamp)>;

/// How far back is looked: a commit may be seen some time after the one that it came before.
const OVERLAP: Duration = Duration::from_secs(10);

fn changed_at(entity: &EntityView) -> Timestamp {
    let last = entity.trail.last().map(|entry| entry.at);
    last.or(entity.created_at).unwrap_or(Timestamp::from_millis(0))
}

/// Shows each that has changed since.
async fn watch(
    mut watch: Watch,
    client: &Client,
    path: &str,
    fields: Option<&[&str]>,
    (mut seen, mut latest): (Seen, Timestamp),
    json: bool,
) -> Result<(), CommandError> {
    while watch.goes_on().await {
        let overlap = i64::try_from(OVERLAP.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(latest.as_millis().saturating_sub(overlap));
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
            match json {
                true => line(row(&entity, fields)),
                false => print(&entity),
            }
        }
    }
    Ok(())
}

fn print(entity: &EntityView) {
    let at = entity.created_at.map(|at| at.to_string()).unwrap_or_default();
    let status = excerpt(entity.status.as_deref().unwrap_or("-"), 40);
    line(format_args!("{at}  {status:9}  {}", excerpt(&entity.id, 300)));
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
    picked(&entity.state, fields).into()
}

/// The named fields of a state, those that it has.
pub fn picked(state: &Value, fields: &[&str]) -> Map<String, Value> {
    let value = |name: &&str| Some(((*name).to_owned(), state.get(*name)?.clone()));
    fields.iter().filter_map(value).collect()
}
