//! The HTTP API: the choreography's own routes, `GET /healthz`, and under `/_quadrille/` what the operator's commands ask.

use quadrille::{
    Failure, Pipeline, Stored, Timestamp,
    domain::auction::{Order, OrderStatus},
    engine::trigger,
    http::{Problem, Request, Response},
    operator::{self, Act, Filter},
    server::Service,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use systems::auction::{KICKOFF, run::Run};

/// The service of a node.
#[derive(Clone)]
pub struct Api {
    pipeline: Pipeline,
}

/// A listed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderRow {
    pub record_id: String,
    pub status: OrderStatus,
    pub received_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_key: Option<String>,
}

/// A page of orders: those of the `limit` items looked at that are asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderPage {
    pub orders: Vec<OrderRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a redrive or purge is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walk {
    pub queue: String,
    #[serde(default)]
    pub filter: Filter,
    pub limit: usize,
}

/// What a walk passed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    pub queue: String,
    pub receipts: Vec<String>,
}

impl Service for Api {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        let answered = match (method, path) {
            ("GET", "/healthz") => self.health().await,
            (_, "/healthz") => return Problem::method_not_allowed(method, "GET, HEAD"),
            (_, path) if path.starts_with("/_quadrille/") => self.operate(method, path, &request).await,
            _ => return self.pipeline.answer(None, method, path, request).await,
        };
        answered.unwrap_or_else(|failure| problem(&failure).into())
    }
}

fn problem(failure: &Failure) -> Problem {
    let status = match failure.reason() {
        "no_such_queue" | "no_such_run" => 404,
        "invalid_request" => 400,
        _ if failure.is_permanent() => 500,
        _ => 503,
    };
    Problem::new(status, failure.reason(), failure.detail())
}

impl Api {
    pub fn new(pipeline: Pipeline) -> Self {
        Self { pipeline }
    }

    /// Healthy: the store answers, and what it answers would be durable.
    async fn health(&self) -> Result<Response, Failure> {
        self.pipeline.health().await?;
        Ok(Response::json(200, &serde_json::json!({ "status": "ok" })))
    }

    async fn operate(&self, method: &str, path: &str, request: &Request) -> Result<Response, Failure> {
        let query = query(&request.query)?;
        // JSON is asked for so that no web page can make a browser send this without a preflight, which nobody answers.
        if method == "POST" && !request.is_json() {
            return Ok(Problem::new(415, "unsupported_media_type", "send application/json").into());
        }
        match (method, path) {
            ("GET", "/_quadrille/queues") => {
                Ok(Response::json(200, &operator::queues(&self.pipeline).await?))
            }
            ("GET", "/_quadrille/counts") => Ok(Response::json(200, &self.pipeline.counts())),
            ("GET", "/_quadrille/orders") => self.orders(&query).await,
            ("GET", "/_quadrille/run") => self.run(&query).await,
            ("POST", "/_quadrille/kickoff") => {
                let now = self.pipeline.ports().clock.now();
                trigger(&self.pipeline, KICKOFF, now).await?;
                Ok(Response::json(202, &serde_json::json!({ "run_id": now })))
            }
            ("GET", "/_quadrille/dead-letters") => {
                let filter = Filter { reason: query.get("reason").cloned(), before: None };
                let (after, limit) = (number(&query, "after", 0)?, number(&query, "limit", 100)?);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(operator::PAGE_MAX);
                let queue = required(&query, "queue")?;
                let page = operator::dead_letters(&self.pipeline, queue, &filter, after, limit).await?;
                Ok(Response::json(200, &page))
            }
            ("POST", "/_quadrille/redrive" | "/_quadrille/purge") => {
                let walk: Walk = body(request)?;
                let act = if path.ends_with("redrive") { Act::Redrive } else { Act::Purge };
                let moved =
                    operator::walk(&self.pipeline, &walk.queue, &walk.filter, act, walk.limit).await?;
                Ok(Response::json(200, &moved))
            }
            ("POST", "/_quadrille/give-back") => {
                let GiveBack { queue, receipts } = body(request)?;
                operator::give_back(&self.pipeline, &queue, receipts).await?;
                Ok(Response::json(200, &serde_json::json!({})))
            }
            (
                _,
                "/_quadrille/queues"
                | "/_quadrille/counts"
                | "/_quadrille/orders"
                | "/_quadrille/run"
                | "/_quadrille/dead-letters",
            ) => Ok(Problem::method_not_allowed(method, "GET, HEAD")),
            (
                _,
                "/_quadrille/kickoff" | "/_quadrille/redrive" | "/_quadrille/purge" | "/_quadrille/give-back",
            ) => Ok(Problem::method_not_allowed(method, "POST")),
            _ => Ok(Problem::new(404, "not_found", "no such operation").into()),
        }
    }

    async fn orders(&self, query: &BTreeMap<String, String>) -> Result<Response, Failure> {
        let limit = usize::try_from(number(query, "limit", 100)?).unwrap_or(usize::MAX).clamp(1, 1_000);
        let wanted = query.get("status");
        let table = self.pipeline.ports().table("orders")?;
        let mut page = OrderPage { orders: Vec::new(), next: query.get("after").cloned() };
        let now = self.pipeline.ports().clock.now();
        let scanned = table.scan(page.next.as_deref(), limit).await?;
        page.next = scanned.next;
        for item in scanned.items.iter().filter(|item| item.key.starts_with("order/")) {
            let order: Stored<Order> = Stored::read(item)?;
            if order.expires_at <= now || wanted.is_some_and(|status| status != order.status.as_str()) {
                continue;
            }
            let order = order.into_state();
            page.orders.push(OrderRow {
                record_id: order.record_id,
                status: order.status,
                received_at: order.received_at,
                run_id: order.run_id,
                result_key: order.result_key,
            });
        }
        Ok(Response::json(200, &page))
    }

    async fn run(&self, query: &BTreeMap<String, String>) -> Result<Response, Failure> {
        let id = required(query, "run_id")?;
        let key = format!("run/{id}");
        let found = self.pipeline.ports().table("orders")?.get(&[key]).await?.pop().flatten();
        let item = found
            .ok_or_else(|| Failure::permanent("no_such_run", "no run has this id, or it has expired"))?;
        let run: Stored<Run> = Stored::read(&item)?;
        Ok(Response::json(200, &serde_json::json!({ "run": &*run, "trail": run.trail().entries })))
    }
}

fn invalid(detail: impl std::fmt::Display) -> Failure {
    Failure::permanent("invalid_request", detail)
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(invalid)
}

fn query(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let decode = |part: &str| {
        let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| invalid("the query is not UTF-8"))
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn required<'a>(query: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, Failure> {
    query
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| invalid(format_args!("the query parameter {name} is missing")))
}

fn number(query: &BTreeMap<String, String>, name: &str, default: u64) -> Result<u64, Failure> {
    let Some(text) = query.get(name) else {
        return Ok(default);
    };
    text.parse().map_err(|_| invalid(format_args!("the query parameter {name} is not a number")))
}
