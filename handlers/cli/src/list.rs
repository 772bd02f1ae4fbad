//! `list`: entities of a kind.

use crate::{
    App,
    access::Access,
    args::{List, OwnList},
    client::{Client, encoded},
    error::CommandError,
    print::line,
};
use quadrille::{choreography::EntityView, excerpt, operator::EntityPage};
use serde_json::{Map, Value, json};

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
    let (mut after, mut left) = (None::<String>, args.limit);
    let status = args.status.as_deref().map(|status| format!("&status={}", encoded(status)));
    let status = status.unwrap_or_default();
    let mut rows = Vec::new();
    while left > 0 {
        let from = after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
        // A page has as many rows as were looked at; of a status, there may be few among them.
        let path = format!("/_quadrille/entities/{}?limit=1000{status}{from}", encoded(kind));
        let page: EntityPage = client.get(&path).await?;
        for entity in page.entities.into_iter().take(left) {
            left -= 1;
            match args.target.json {
                true => rows.push(row(&entity, fields)),
                false => print(&entity),
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if args.target.json {
        line(Value::from(rows));
    }
    Ok(())
}

fn print(entity: &EntityView) {
    let at = entity.created_at.map(|at| at.to_string()).unwrap_or_default();
    let status = excerpt(entity.status.as_deref().unwrap_or("-"), 40);
    line(format_args!("{at}  {status:9}  {}", excerpt(&entity.id, 300)));
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
