//! The console: pages that show what happens in a system, in a browser, with the feed that keeps them live.
//!
//! The pages are files without a build step, compiled in. They ask the [operator's API](crate::operator::Api) and change nothing,
//! unless it is said that they may. What a browser sends is known by the headers that no page can leave out.

mod feed;

use crate::{
    http::{Method, Problem, Request, Response},
    model::Model,
    operator::OPERATOR,
    pipeline::Pipeline,
    server::{EventStream, Service},
    timestamp::Timestamp,
};
use feed::Feed;
pub use feed::{Became, Worked};
use serde::Serialize;
use std::sync::Arc;

/// Where the pages' other files are, behind the prefix of the operator's API.
const FILES_AT: &str = "console/";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml; charset=utf-8";

/// The page, and its other files: name, media type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("page/index.html")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("aside.js", SCRIPT, include_str!("page/aside.js")),
    ("clock.js", SCRIPT, include_str!("page/clock.js")),
    ("confirm.js", SCRIPT, include_str!("page/confirm.js")),
    ("console.css", STYLE, include_str!("page/console.css")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("file.js", SCRIPT, include_str!("page/file.js")),
    ("filter.js", SCRIPT, include_str!("page/filter.js")),
    ("flow.js", SCRIPT, include_str!("page/flow.js")),
    ("graph.js", SCRIPT, include_str!("page/graph.js")),
    ("icon-development.svg", PICTURE, include_str!("page/icon-development.svg")),
    ("icon-local.svg", PICTURE, include_str!("page/icon-local.svg")),
    ("icon-production.svg", PICTURE, include_str!("page/icon-production.svg")),
    ("icon-simulated.svg", PICTURE, include_str!("page/icon-simulated.svg")),
    ("icon.svg", PICTURE, include_str!("page/icon.svg")),
    ("kept.js", SCRIPT, include_str!("page/kept.js")),
    ("layout.js", SCRIPT, include_str!("page/layout.js")),
    ("letters.js", SCRIPT, include_str!("page/letters.js")),
    ("live.js", SCRIPT, include_str!("page/live.js")),
    ("plan.js", SCRIPT, include_str!("page/plan.js")),
    ("redrive.js", SCRIPT, include_str!("page/redrive.js")),
    ("search.js", SCRIPT, include_str!("page/search.js")),
    ("state.js", SCRIPT, include_str!("page/state.js")),
    ("story.js", SCRIPT, include_str!("page/story.js")),
];

/// What a page may do (Content Security Policy, level 3): it is made of its own files, and asks its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a page may ask by POST in any case: it changes nothing.
const LOOKS: [&str; 2] = ["plan", "give-back"];

/// Where a system runs that the console shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On the engine of one machine.
    Local,
    /// In a simulation.
    Simulated,
    /// A stack on AWS.
    Aws {
        /// Its name.
        stack: String,
    },
}

/// Stacks that are no production. Every other one is held for it: a mistake is then on the safe side.
const DEVELOPMENT: [&str; 6] = ["dev", "development", "test", "testing", "staging", "sandbox"];

impl Stage {
    fn target(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Simulated => "simulated",
            Self::Aws { .. } => "aws",
        }
    }

    fn stack(&self) -> Option<&str> {
        match self {
            Self::Aws { stack } => Some(stack),
            Self::Local | Self::Simulated => None,
        }
    }

    /// In the word of the page, by which nobody takes one for another.
    fn place(&self) -> &'static str {
        match self.stack() {
            None => self.target(),
            Some(stack) if DEVELOPMENT.contains(&stack) => "development",
            Some(_) => "production",
        }
    }
}

/// A service with the console of its pipeline beside it.
#[derive(Clone, Debug)]
pub struct Console<S> {
    service: S,
    pipeline: Pipeline,
    feed: Arc<Feed>,
    stage: Stage,
    allows_actions: bool,
    started_at: Timestamp,
    is_root_taken: bool,
}

/// What the page is about.
#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    version: &'static str,
    target: &'static str,
    stack: Option<&'a str>,
    place: &'static str,
    allows_actions: bool,
    now: Timestamp,
    started_at: Timestamp,
    kinds: Vec<Kind<'a>>,
    schedules: Vec<&'a str>,
}

/// A kind of entities.
#[derive(Serialize)]
struct Kind<'a> {
    kind: &'a str,
    table: &'a str,
    /// The handler that cancels such a one.
    cancelled_by: Option<&'a str>,
}

/// The kinds that the tables hold.
fn kinds(model: &Model) -> impl Iterator<Item = Kind<'_>> {
    model.tables.iter().flat_map(|table| &table.kinds).filter_map(|kind| {
        let by = model.routes.iter().find(|route| route.cancels.as_ref() == Some(kind));
        let table = model.table_of(kind)?;
        Some(Kind { kind, table, cancelled_by: by.map(|route| route.step.as_str()) })
    })
}

impl<S: Service> Console<S> {
    /// `service`, which works with `pipeline`, with a console that changes nothing. A route of the choreography that has the path
    /// `/` itself keeps it: the console is at `/_quadrille/` then.
    pub fn new(service: S, pipeline: Pipeline, stage: Stage) -> Self {
        let mut routes = pipeline.choreography().model().routes.iter();
        let is_root_taken =
            routes.any(|route| route.method == Method::Get && route.path.as_deref() == Some("/"));
        let feed = Arc::new(Feed::new(pipeline.clone()));
        let started_at = pipeline.ports().clock.now();
        Self { service, pipeline, feed, stage, allows_actions: false, started_at, is_root_taken }
    }

    /// The same whose pages may do what an operator's commands do.
    #[must_use]
    pub fn allowing_actions(self, allows_actions: bool) -> Self {
        Self { allows_actions, ..self }
    }

    /// The path of the page.
    pub fn path(&self) -> &'static str {
        if self.is_root_taken { OPERATOR } else { "/" }
    }

    /// The file of this path.
    fn file(&self, path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
        let name = match path.strip_prefix(OPERATOR) {
            Some("") => "index.html",
            Some(asked) => asked.strip_prefix(FILES_AT)?,
            None if path == "/" && !self.is_root_taken => "index.html",
            None => return None,
        };
        FILES.iter().find(|(known, ..)| *known == name)
    }

    fn about(&self) -> Response {
        let model: &Model = self.pipeline.choreography().model();
        let about = About {
            name: &model.name,
            version: env!("CARGO_PKG_VERSION"),
            target: self.stage.target(),
            stack: self.stage.stack(),
            place: self.stage.place(),
            allows_actions: self.allows_actions,
            now: self.pipeline.ports().clock.now(),
            started_at: self.started_at,
            kinds: kinds(model).collect(),
            schedules: model.schedules.iter().map(|schedule| schedule.name.as_str()).collect(),
        };
        Response::json(200, &about)
    }

    /// Whether a page asks for what only a command may.
    fn is_refused(&self, method: &str, asked: &str, request: &Request) -> bool {
        let is_of_page = request.header("origin").is_some() || request.header("sec-fetch-site").is_some();
        !self.allows_actions && is_of_page && method != "GET" && !LOOKS.contains(&asked)
    }
}

impl<S: Service> Service for Console<S> {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        if let Some((_, content_type, text)) = self.file(path) {
            if method != "GET" {
                return Problem::method_not_allowed(method, "GET, HEAD");
            }
            let (status, body) = (200, text.as_bytes().to_vec());
            let headers = vec![
                ("content-security-policy", POLICY.to_owned()),
                ("referrer-policy", "no-referrer".to_owned()),
                ("cross-origin-opener-policy", "same-origin".to_owned()),
            ];
            return Response { status, content_type, body, headers };
        }
        match path.strip_prefix(OPERATOR) {
            Some("system") if method == "GET" => self.about(),
            Some(asked) if self.is_refused(method, asked, &request) => {
                let detail = "the pages only look: start it with `--allow-actions` to have them act";
                Problem::new(403, "read_only", detail).into()
            }
            _ => self.service.respond(method, path, request).await,
        }
    }

    fn listen(&self, method: &str, path: &str, request: &Request) -> Option<Result<EventStream, Response>> {
        if method != "GET" || path.strip_prefix(OPERATOR) != Some("events") {
            return None;
        }
        let stream = self.feed.listen(request.header("last-event-id"));
        Some(stream.map_err(|problem| Response::from(problem).with_header("retry-after", "10")))
    }

    fn is_open(&self, path: &str) -> bool {
        self.file(path).is_some()
    }
}
