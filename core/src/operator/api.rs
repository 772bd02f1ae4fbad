//! What an engine answers over HTTP: the choreography's own routes, `GET /healthz`, and under `/_quadrille/` what an operator's
//! commands ask. The same in the process of a command that works on a folder at rest, or on a stack of AWS.

use super::{Act, ExportPage, ExportedItem, Filter, Plans, Walk, story};
use crate::{
    choreography::EntityView,
    engine::trigger,
    failure::Failure,
    http::{Method, Problem, Request, Response},
    pipeline::Pipeline,
    server::Service,
    timestamp::Timestamp,
    trail::TrailEntryKind,
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};
use tokio::sync::Notify;

/// What the paths of the operator's questions begin with.
pub const OPERATOR: &str = "/_quadrille/";

/// Most items that one question for entities looks at.
const PAGE_ITEMS_MAX: usize = 1_000;

/// Most items of one page of an export: each may have 400 KB.
const ITEMS_EXPORTED_MAX: usize = 100;

/// A choreography's API.
#[derive(Clone, Debug)]
pub struct Api {
    pipeline: Pipeline,
    plans: Arc<Plans>,
    stop: Option<Arc<Notify>>,
}

/// A page of entities: those of the items looked at that are asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EntityPage {
    /// The entities.
    pub entities: Vec<EntityView>,
    /// What is of the kind and can't be read, whatever status was asked for: nobody knows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableEntity>,
    /// Where the next page begins; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many items of the table were looked at, those of other kinds among them.
    #[serde(default)]
    pub looked_at: usize,
}

/// An entity that is there and can't be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnreadableEntity {
    /// Its id, as far as that can be read.
    pub id: String,
    /// Its version; 0 where that can't be read.
    pub version: u64,
    /// Why.
    pub why: String,
}

/// What a walk passed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    /// The dead-letter queue.
    pub queue: String,
    /// The receipts.
    pub receipts: Vec<String>,
}

/// Which entities of a kind are asked for.
struct EntityFilter<'a> {
    status: Option<&'a String>,
    /// Only those that have changed at this time or later.
    since: Option<Timestamp>,
    /// Only those that have not changed since.
    before: Option<Timestamp>,
    /// Only those whose story is told with an entity of this id.
    related: Option<&'a String>,
    /// Only those of which a message was given up for this reason, or fails for it now.
    reason: Option<&'a String>,
}

impl<'a> EntityFilter<'a> {
    fn read(query: &'a BTreeMap<String, String>) -> Result<Self, Failure> {
        let time = |name: &str| query.get(name).map(|at| Timestamp::parse(at).map_err(invalid)).transpose();
        let (since, before) = (time("since")?, time("before")?);
        let (status, related, reason) = (query.get("status"), query.get("related"), query.get("reason"));
        Ok(Self { status, since, before, related, reason })
    }

    fn takes(&self, pipeline: &Pipeline, entity: &EntityView) -> bool {
        let changed = entity.trail.last().map(|entry| entry.at);
        let failed = |reason: &String| {
            let given_up = entity.trail.iter().any(|entry| match &entry.kind {
                TrailEntryKind::DeadLettered { reason: of } | TrailEntryKind::Ended { reason: of } => {
                    of == reason
                }
                _ => false,
            });
            let mut failing = pipeline.failing(&entity.kind, &entity.id).into_iter();
            given_up || failing.any(|failing| failing.next.is_some() && failing.reason == *reason)
        };
        (self.status.is_none() || entity.status.as_ref() == self.status)
            && self.since.is_none_or(|since| changed.is_none_or(|at| at >= since))
            && self.before.is_none_or(|before| changed.is_none_or(|at| at <= before))
            && self.related.is_none_or(|id| entity.related.iter().any(|(_, related)| related == id))
            && self.reason.is_none_or(failed)
    }
}

impl Service for Api {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        let answered = match (method, path) {
            ("GET", "/healthz") => return self.pipeline.health().await,
            (_, "/healthz") => return Problem::method_not_allowed(method, "GET, HEAD"),
            (_, path) => match path.strip_prefix(OPERATOR) {
                Some(asked) => self.operate(method, asked, &request).await,
                None => return self.pipeline.answer(None, method, path, request).await,
            },
        };
        answered.unwrap_or_else(|failure| problem(&failure).into())
    }
}

/// The reason of what AWS grants no permission for.
const DENIED: &str = "port_denied";

fn problem(failure: &Failure) -> Problem {
    let status = match failure.reason() {
        "no_such_queue" | "no_kind" | "no_table" | "no_entity" | "no_schedule" | "no_step" | "no_outlet"
        | "not_kept" | "not_cancelled" => 404,
        "invalid_request" | "invalid_place" => 400,
        DENIED => 403,
        _ if failure.is_permanent() => 500,
        _ => 503,
    };
    Problem::new(status, failure.reason(), failure.detail())
}

impl Api {
    /// The API of `pipeline`'s choreography.
    pub fn new(pipeline: Pipeline) -> Self {
        Self { pipeline, plans: Arc::default(), stop: None }
    }

    /// The pipeline that it is the API of.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The same of a process that ends when it is asked to: `POST /_quadrille/stop` then tells `stop`.
    #[must_use]
    pub fn stopped_by(mut self, stop: Arc<Notify>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Answers `asked`, the path behind the prefix.
    async fn operate(&self, method: &str, asked: &str, request: &Request) -> Result<Response, Failure> {
        let parts = parts(asked)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let reads = match parts[..] {
            ["system" | "status" | "flow" | "queues" | "counts" | "dead-letters" | "dead-letter-groups"]
            | ["publications" | "entities" | "items", _] => true,
            ["entities" | "stories", _, _] => true,
            ["schedules", _] | ["invoke", _] | ["cancel", _, _] => false,
            ["redrive" | "purge" | "give-back" | "plan" | "redrive-planned" | "stop"] => false,
            _ => return Ok(Problem::new(404, "not_found", "no such operation").into()),
        };
        match (Method::parse(method), reads) {
            (Some(Method::Get), true) => self.read(&parts, &query(&request.query)?).await,
            // JSON is asked for so that no web page can make a browser send this without a preflight, which nobody answers.
            (Some(Method::Post), false) if !request.is_json() => {
                Ok(Problem::new(415, "unsupported_media_type", "send application/json").into())
            }
            (Some(Method::Post), false) => self.change(&parts, request).await,
            _ => Ok(Problem::method_not_allowed(method, if reads { "GET, HEAD" } else { "POST" })),
        }
    }

    async fn read(&self, parts: &[&str], query: &BTreeMap<String, String>) -> Result<Response, Failure> {
        let model = self.pipeline.choreography().model();
        match parts {
            ["system"] => Ok(Response::json(200, &serde_json::json!({ "name": model.name }))),
            ["flow"] => Ok(Response::json(200, &self.pipeline.choreography().graph())),
            ["dead-letter-groups"] => {
                let (queue, after) = (required(query, "queue")?, number(query, "after", 0)?);
                let groups = super::dead_letter_groups(&self.pipeline, queue, after).await?;
                Ok(Response::json(200, &groups))
            }
            ["status"] => Ok(Response::json(200, &super::status(&self.pipeline).await?)),
            ["queues"] => Ok(Response::json(200, &super::queues(&self.pipeline).await?)),
            ["counts"] => Ok(Response::json(200, &self.pipeline.counts())),
            ["dead-letters"] => {
                let text = |name: &str| query.get(name).cloned();
                let since = text("since").map(|at| Timestamp::parse(&at).map_err(invalid)).transpose()?;
                let before = text("before").map(|at| Timestamp::parse(&at).map_err(invalid)).transpose()?;
                let (reason, handler, subject) = (text("reason"), text("handler"), text("subject"));
                let filter = Filter { reason, handler, subject, since, before, leaves_ends: false };
                let (after, limit) = (number(query, "after", 0)?, number(query, "limit", 100)?);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(super::PAGE_MAX);
                let queue = required(query, "queue")?;
                let page = super::dead_letters(&self.pipeline, queue, &filter, after, limit).await?;
                Ok(Response::json(200, &page))
            }
            ["publications", outlet] => {
                let after = query.get("after").map(|_| number(query, "after", 0)).transpose()?;
                let limit = usize::try_from(number(query, "limit", 100)?).unwrap_or(usize::MAX);
                let limit = limit.min(super::PAGE_MAX);
                let found = super::publications(&self.pipeline, outlet, after, limit).await?;
                Ok(Response::json(200, &found))
            }
            ["items", table] => self.items(table, query).await,
            ["entities", kind] => self.entities(kind, query).await,
            ["entities", kind, id] => {
                Ok(Response::json(200, &story::entity(&self.pipeline, kind, id).await?))
            }
            ["stories", kind, id] => Ok(Response::json(200, &super::story(&self.pipeline, kind, id).await?)),
            _ => Ok(Problem::new(404, "not_found", "no such operation").into()),
        }
    }

    async fn change(&self, parts: &[&str], request: &Request) -> Result<Response, Failure> {
        match parts {
            ["schedules", name] => {
                let now = self.pipeline.ports().clock.now();
                trigger(&self.pipeline, name, now).await?;
                Ok(Response::json(202, &serde_json::json!({ "schedule": name, "at": now })))
            }
            ["cancel", kind, id] => self.cancel(kind, id, request).await,
            ["invoke", step] => self.pipeline.invoke(step, request.clone()).await,
            ["stop"] => match &self.stop {
                Some(stop) => {
                    stop.notify_one();
                    Ok(Response::json(202, &serde_json::json!({ "stopping": true })))
                }
                None => Ok(Problem::new(404, "not_found", "no process here ends when it is asked to").into()),
            },
            ["redrive" | "purge"] => {
                let walk: Walk = body(request)?;
                let act = if parts == ["redrive"] { Act::Redrive } else { Act::Purge };
                let moved = super::walk(&self.pipeline, &walk, act).await?;
                Ok(Response::json(200, &moved))
            }
            ["plan"] => {
                Ok(Response::json(200, &super::plan(&self.pipeline, &self.plans, &body(request)?).await?))
            }
            ["redrive-planned"] => {
                Ok(Response::json(200, &super::redrive_planned(&self.pipeline, &body(request)?).await?))
            }
            ["give-back"] => {
                let GiveBack { queue, receipts } = body(request)?;
                super::give_back(&self.pipeline, &queue, receipts).await?;
                Ok(Response::json(200, &serde_json::json!({})))
            }
            _ => Ok(Problem::new(404, "not_found", "no such operation").into()),
        }
    }

    /// Asks the route that cancels entities of this kind.
    async fn cancel(&self, kind: &str, id: &str, request: &Request) -> Result<Response, Failure> {
        let mut routes = self.pipeline.choreography().model().routes.iter();
        let found = routes.find_map(|route| {
            let cancels = route.cancels.as_deref() == Some(kind);
            Some((route, route.one_parameter().filter(|_| cancels)?))
        });
        let (route, parameter) = found.ok_or_else(|| {
            Failure::permanent("not_cancelled", format_args!("no route cancels entities of kind {kind:?}"))
        })?;
        let body = serde_json::json!({ parameter: id }).to_string();
        let request = Request { body: body.into(), ..request.clone() };
        self.pipeline.invoke(&route.step, request).await
    }

    /// A page of the table that holds the kind, of which those entities are told that are of the kind, live, and as is asked for.
    async fn entities(&self, kind: &str, query: &BTreeMap<String, String>) -> Result<Response, Failure> {
        let limit = usize::try_from(number(query, "limit", 100)?).unwrap_or(usize::MAX);
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let after = query.get("after");
        let wanted = EntityFilter::read(query)?;
        let table =
            self.pipeline.ports().table(story::table_of(self.pipeline.choreography().model(), kind)?)?;
        let scanned = table.scan(after.map(String::as_str), limit).await?;
        let prefix = [kind, "/"].concat();
        let looked_at = scanned.items.len();
        let mut page = EntityPage { next: scanned.next, looked_at, ..EntityPage::default() };
        for item in scanned.items.iter().filter(|item| item.key.starts_with(&prefix)) {
            let entity = match story::live(&self.pipeline, item) {
                Ok(entity) => entity,
                Err(failure) => {
                    let (id, why) = (item.key[prefix.len()..].to_owned(), failure.detail().to_owned());
                    page.unreadable.push(UnreadableEntity { id, version: item.version, why });
                    continue;
                }
            };
            page.entities.extend(entity.filter(|entity| wanted.takes(&self.pipeline, entity)));
        }
        Ok(Response::json(200, &page))
    }

    /// A page of a table, each item as it is kept.
    async fn items(&self, table: &str, query: &BTreeMap<String, String>) -> Result<Response, Failure> {
        let limit = usize::try_from(number(query, "limit", 100)?).unwrap_or(usize::MAX);
        let limit = limit.clamp(1, ITEMS_EXPORTED_MAX);
        let unknown = |_| {
            let names: Vec<&str> = self.pipeline.ports().tables.keys().map(String::as_str).collect();
            Failure::permanent(
                "no_table",
                format_args!("there is no table {table:?}; there are {}", names.join(", ")),
            )
        };
        let table = self.pipeline.ports().table(table).map_err(unknown)?;
        let scanned = table.scan(query.get("after").map(String::as_str), limit).await?;
        let items = scanned.items.into_iter().map(ExportedItem::from).collect();
        Ok(Response::json(200, &ExportPage { items, next: scanned.next }))
    }
}

fn invalid(detail: impl std::fmt::Display) -> Failure {
    Failure::permanent("invalid_request", detail)
}

/// The segments of a path, decoded.
fn parts(path: &str) -> Result<Vec<String>, Failure> {
    path.split('/').map(decoded).collect()
}

fn decoded(part: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| invalid("the path or the query is not UTF-8"))
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(invalid)
}

fn query(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn required<'a>(query: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, Failure> {
    let missing = || invalid(format_args!("the query parameter {name} is missing"));
    query.get(name).map(String::as_str).ok_or_else(missing)
}

fn number(query: &BTreeMap<String, String>, name: &str, default: u64) -> Result<u64, Failure> {
    let Some(text) = query.get(name) else {
        return Ok(default);
    };
    text.parse().map_err(|_| invalid(format_args!("the query parameter {name} is not a number")))
}
