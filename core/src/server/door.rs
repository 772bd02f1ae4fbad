//! What every request passes before the service sees it: its host, its site, the token, the body's size and time.

use super::{
    EventStream, ServerConfig, Service,
    body::AnswerBody,
    budget::{Budget, Share},
    progress::Progress,
    seats::Seats,
};
use crate::http::{Problem, Request, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::request::Parts,
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Answered without the token: it tells whether the service works and nothing else.
const HEALTH_PATH: &str = "/healthz";

/// What every request passes before the service sees it.
pub(super) struct Door<S> {
    config: ServerConfig,
    /// `host:port` by which this machine's programs reach the server, in lower case.
    names: Vec<String>,
    bodies: Budget,
    seats: Arc<Seats>,
    service: S,
}

/// An answer of the service.
enum Answer {
    Whole(Response),
    Events(EventStream),
}

/// An answer of the server itself.
struct Refusal {
    problem: Response,
    /// A header that belongs to it.
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: u16, name: &str, detail: impl fmt::Display) -> Self {
        Self { problem: Problem::new(status, name, detail).into(), header: None }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

impl<S: Service> Door<S> {
    pub(super) fn new(address: SocketAddr, mut config: ServerConfig, seats: Arc<Seats>, service: S) -> Self {
        let port = address.port();
        let mut names = vec![address.to_string()];
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            names.push(format!("{host}:{port}"));
        }
        if port == 80 {
            // The port that is left out.
            names.extend(names.clone().iter().map(|name| without_port(name).to_owned()));
        }
        config.hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        let bodies = Budget::new(config.bodies_bytes_max.max(config.body_bytes_max));
        Self { config, names, bodies, seats, service }
    }

    /// How long a request may take to arrive.
    pub(super) fn read_timeout(&self) -> Duration {
        self.config.read_timeout
    }

    /// How long a connection may wait for its next request.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
    }

    /// Answers one request, by the service or with a refusal.
    pub(super) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        progress: &Progress,
    ) -> hyper::Response<AnswerBody> {
        let since = progress.reading();
        let (head, body) = request.into_parts();
        let mut unread = !body.is_end_stream();
        let answered = self.pass(&head, body, since + self.config.read_timeout, progress, &mut unread).await;
        let mut response = match answered {
            Ok(Answer::Whole(response)) => written(response),
            // An answer without an end: the next request is never read.
            Ok(Answer::Events(events)) => {
                progress.streaming();
                return streamed(events);
            }
            Err(refusal) => {
                let mut response = written(refusal.problem);
                if let Some((name, value)) = refusal.header {
                    response.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                response
            }
        };
        if unread {
            progress.left_unread();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        progress.answered();
        response
    }

    async fn pass(
        &self,
        head: &Parts,
        body: Incoming,
        deadline: Instant,
        progress: &Progress,
        unread: &mut bool,
    ) -> Result<Answer, Refusal> {
        check_coding(&head.headers)?;
        self.check_host(head)?;
        self.check_site(&head.headers)?;
        let method = if head.method == Method::HEAD { "GET" } else { head.method.as_str() };
        let path = head.uri.path();
        if !(method == "GET" && (path == HEALTH_PATH || self.service.is_open(path))) {
            self.check_token(&head.headers)?;
        }
        // Until the service has answered.
        let mut share = self.bodies.share();
        let body = self.read(body, deadline, &mut share).await?;
        progress.answering();
        *unread = false;
        let request = Request {
            parameters: BTreeMap::new(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: self.readable(&head.headers),
            body,
        };
        if head.method == Method::GET
            && let Some(listens) = self.service.listen(method, path, &request)
        {
            return Ok(listens.map_or_else(Answer::Whole, Answer::Events));
        }
        let answered = AssertUnwindSafe(self.service.respond(method, path, request)).catch_unwind().await;
        answered.map(Answer::Whole).map_err(|_| {
            tracing::error!(method, path, "a request's handler panicked");
            Refusal::new(500, "panicked", "the request could not be finished; the engine's log tells why")
        })
    }

    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal::new(400, "host_required", "a request has exactly one Host header"));
        };
        // The request line may name a host too, and then that one counts (RFC 9112, 3.2.2).
        let named = head.uri.authority().map(|authority| authority.as_str());
        let all_own =
            host.to_str().is_ok_and(|host| self.is_own(host)) && named.is_none_or(|name| self.is_own(name));
        if all_own {
            return Ok(());
        }
        let detail = format_args!(
            "this server is not {host:?}; to reach it by that name, start it with that host allowed"
        );
        Err(Refusal::new(421, "other_host", detail))
    }

    fn check_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_own = |origin: &HeaderValue| {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| self.is_own(host))
        };
        let cross_site = headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site");
        if !cross_site && headers.get_all(header::ORIGIN).iter().all(is_own) {
            return Ok(());
        }
        Err(Refusal::new(403, "cross_site", "a web page of another site may not use this server"))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.config.token else {
            return Ok(());
        };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        if let (Some(given), None) = (given.next(), given.next())
            && let Some((scheme, given)) = given.as_bytes().split_at_checked("Bearer ".len())
            && scheme.eq_ignore_ascii_case(b"Bearer ")
            && token.is(given)
        {
            return Ok(());
        }
        let refusal = Refusal::new(
            401,
            "token_required",
            "send `Authorization: Bearer <token>` with the engine's token",
        );
        Err(refusal.with(header::WWW_AUTHENTICATE, "Bearer"))
    }

    /// Whether a host, with its port, is one of ours.
    fn is_own(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_extra = |extra: &String| *extra == host || extra == without_port(&host);
        self.names.contains(&host) || self.config.hosts.iter().any(is_extra)
    }

    /// The whole body, within its share of what all bodies may take.
    async fn read(&self, body: Incoming, deadline: Instant, share: &mut Share<'_>) -> Result<Bytes, Refusal> {
        let bytes_max = self.config.body_bytes_max;
        if !usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes <= bytes_max) {
            return Err(too_large(bytes_max));
        }
        let slow = |_| {
            let limit = self.config.read_timeout;
            let detail = format_args!("the request was not read to its end within {limit:?}");
            Refusal::new(408, "request_too_slow", detail)
        };
        timeout_at(deadline, self.gather(body, share)).await.map_err(slow)?
    }

    async fn gather(&self, mut body: Incoming, share: &mut Share<'_>) -> Result<Bytes, Refusal> {
        let bytes_max = self.config.body_bytes_max;
        let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let most = announced.unwrap_or(bytes_max).min(bytes_max);
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let cut = |_| Refusal::new(400, "body_cut_off", "the body ended too early or is not well-formed");
            let Ok(data) = frame.map_err(cut)?.into_data() else {
                continue;
            };
            if data.len() > bytes_max - whole.len() {
                return Err(too_large(bytes_max));
            }
            let needed = whole.len() + data.len();
            if needed > whole.capacity() {
                // Doubled, so that few copies are made, and counted as it is, not as it is filled.
                let capacity = needed.max(most.min(2 * whole.capacity()));
                if !share.grow_to(capacity) {
                    self.seats.make_room();
                    let detail =
                        "the requests in hand take all the room there is for bodies; send it again later";
                    let refusal = Refusal::new(503, "no_room_for_bodies", detail);
                    return Err(refusal.with(header::RETRY_AFTER, "1"));
                }
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole))
    }

    /// The headers a handler gets: those in UTF-8, without the token, which is no handler's business.
    fn readable(&self, headers: &HeaderMap) -> BTreeMap<String, String> {
        let is_token = |name: &HeaderName| self.config.token.is_some() && name == header::AUTHORIZATION;
        let readable = headers.iter().filter(|(name, _)| !is_token(name)).filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        readable.collect()
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal { problem: Problem::body_too_large(bytes_max).into(), header: None }
}

/// Whether the body is coded in no way but `chunked`, once: hyper undoes that one, and takes whatever ends in it.
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut codings = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let last = codings.next_back();
    let (chunked, others): (Vec<_>, Vec<_>) = codings.partition(|coding| is_chunked(coding));
    if !chunked.is_empty() {
        let detail = "the body is chunked more than once; send `Transfer-Encoding: chunked`";
        return Err(Refusal::new(400, "chunked_twice", detail));
    }
    if !others.is_empty() || last.is_some_and(|last| !is_chunked(last)) {
        let detail = "no transfer coding but chunked is taken; send the body as it is";
        return Err(Refusal::new(501, "transfer_coding", detail));
    }
    Ok(())
}

/// A host without its port. An IPv6 address stands in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A response as hyper writes it, which adds the length.
fn written(response: Response) -> hyper::Response<AnswerBody> {
    let mut written = hyper::Response::new(AnswerBody::Whole(Full::from(response.body)));
    // Below 200 it would be no final answer.
    let status = StatusCode::from_u16(response.status).ok().filter(|status| !status.is_informational());
    *written.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_str(response.content_type);
    let headers = written.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    written
}

/// Server-sent events, from now on.
fn streamed(events: EventStream) -> hyper::Response<AnswerBody> {
    let mut streamed = hyper::Response::new(AnswerBody::Events(events));
    let headers = streamed.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    streamed
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Service for Silent {
        async fn respond(&self, _: &str, _: &str, _: Request) -> Response {
            Response::json(200, &())
        }
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        let address = ([127, 0, 0, 1], 80).into();
        let door = Door::new(address, ServerConfig::new(address), Seats::new(1), Silent);
        for host in ["localhost", "localhost:80", "127.0.0.1", "[::1]", "[::1]:80"] {
            assert!(door.is_own(host), "{host}");
        }
        assert!(!door.is_own("localhost:8080") && !door.is_own("::1") && !door.is_own("[:"));
    }
}
