//! The platform behind a base URL.

use super::{Answer, AuctionPlatform, PLATFORM_GARBAGE, SubmittedOrder, run_segment};
use async_trait::async_trait;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use quadrille::http_client::{HttpClient, HttpClientError, Method, parse_url};
use quadrille::{Failure, percent::ALL_BUT_UNRESERVED};
use serde::Serialize;
use std::time::Duration;

/// The longest answer that is read, in bytes (8 MiB). Our own limit: a platform with more to say has pages.
pub const ANSWER_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// What can't stand in a header as it is, and the escape's own sign.
const HEADER_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Why a base URL is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It is no URL of `http` or `https` with a host and without credentials; or there is no client.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// Paths are appended to it, so a query or a fragment has no place in it.
    #[error("the base URL has a query or a fragment")]
    QueryOrFragment,
}

/// The platform over HTTP:
///
/// - `PUT {base}/runs/{run_id}/orders/{page}` with `{"orders": [...]}` and `Idempotency-Key: {run_id}/{page}`; any 2xx
///   will do;
/// - `GET {base}/runs/{run_id}/results`, with `?after={token}` for a page after the first, and
///   `Idempotency-Key: {run_id}`; the answer is read by [`Answer::parse`].
///
/// `run_id` and `token` are percent-encoded. Timeouts, broken connections, 408, 425, 429 and 5xx are transient
/// failures; every other status but 2xx is a permanent one, redirects among them.
#[derive(Clone, Debug)]
pub struct HttpPlatform {
    client: HttpClient,
    /// Without a slash at its end.
    base_url: String,
}

#[derive(Serialize)]
struct Submission<'a> {
    orders: &'a [SubmittedOrder],
}

impl HttpPlatform {
    /// The platform at `base_url`, `http` or `https`; a path in it is kept. Each request has `timeout` from its start
    /// to the last byte of its answer.
    ///
    /// # Errors
    /// [`BaseUrlError`]: it does not repeat the URL.
    pub fn new(base_url: &str, timeout: Duration) -> Result<Self, BaseUrlError> {
        let url = parse_url(base_url)?;
        if url.query().is_some() || base_url.contains('#') {
            return Err(BaseUrlError::QueryOrFragment);
        }
        Ok(Self { client: HttpClient::new(timeout)?, base_url: base_url.trim_end_matches('/').to_owned() })
    }
}

#[async_trait]
impl AuctionPlatform for HttpPlatform {
    async fn submit(&self, run_id: &str, page: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        let url = format!("{}/runs/{}/orders/{page}", self.base_url, run_segment(run_id)?);
        let key = format!("{}/{page}", utf8_percent_encode(run_id, HEADER_ESCAPED));
        let headers = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
        let body = serde_json::to_vec(&Submission { orders })
            .map_err(|error| Failure::permanent("unwritable", format_args!("page {page}: {error}")))?;
        match self.client.send(Method::PUT, &url, &headers, Some(body), ANSWER_BYTES_MAX).await {
            // What the platform says beside its status is of no use, however long it is.
            Ok((status, _)) | Err(HttpClientError::TooLarge { status, .. }) => check(status),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn results(&self, run_id: &str, _polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        let mut url = format!("{}/runs/{}/results", self.base_url, run_segment(run_id)?);
        if let Some(token) = after {
            url.extend(["?after="].into_iter().chain(utf8_percent_encode(token, ALL_BUT_UNRESERVED)));
        }
        let key = utf8_percent_encode(run_id, HEADER_ESCAPED).to_string();
        let headers = [("idempotency-key", key.as_str()), ("accept", "application/json")];
        let body = match self.client.send(Method::GET, &url, &headers, None, ANSWER_BYTES_MAX).await {
            Ok((status, body)) => check(status).map(|()| body)?,
            Err(error @ HttpClientError::TooLarge { status, .. }) => {
                return Err(check(status).err().unwrap_or_else(|| failure(&error)));
            }
            Err(error) => return Err(failure(&error)),
        };
        let answer = Answer::parse(&body)?;
        if let Answer::Ready { next: Some(next), .. } = &answer
            && Some(next.as_str()) == after
        {
            // Followed, it would be asked for until the run's budget is gone.
            return Err(Failure::transient(
                PLATFORM_GARBAGE,
                "the platform names the page just read as the next one",
            ));
        }
        Ok(answer)
    }
}

/// Whether the platform did what it was asked to. Its words are left out: they may repeat an order.
fn check(status: u16) -> Result<(), Failure> {
    let detail = format!("the platform answered with status {status}");
    match status {
        200..=299 => Ok(()),
        408 => Err(Failure::transient("platform_timeout", detail)),
        425 | 429 => Err(Failure::transient("platform_throttled", detail)),
        500..=599 => Err(Failure::transient("platform_error", detail)),
        300..=399 => {
            Err(Failure::permanent("platform_refused", detail + ", a redirect, which is not followed"))
        }
        400..=499 => Err(Failure::permanent("platform_refused", detail)),
        _ => Err(Failure::transient(PLATFORM_GARBAGE, detail)),
    }
}

fn failure(error: &HttpClientError) -> Failure {
    let detail = format_args!("the platform: {error}");
    match error {
        HttpClientError::Timeout(_) => Failure::transient("platform_timeout", detail),
        HttpClientError::Connect(_) | HttpClientError::Tls(_) => {
            Failure::transient("platform_unreachable", detail)
        }
        HttpClientError::TooLarge { .. } | HttpClientError::Protocol(_) => {
            Failure::transient(PLATFORM_GARBAGE, detail)
        }
        HttpClientError::Request(_) => Failure::permanent("platform_request_unusable", detail),
    }
}

#[cfg(test)]
#[path = "../../../../../core/tests/support/http_server.rs"]
mod http_server;

#[cfg(test)]
mod tests {
    use super::{
        http_server::{response, serve},
        *,
    };
    use bytes::Bytes;
    use hyper::Request;
    use quadrille::decimal::Decimal;
    use std::{
        net::SocketAddr,
        sync::{Arc, Mutex},
    };
    use tokio::net::TcpListener;

    const RUN: &str = "2026-11-20T09:15:00Z";
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn platform(server: SocketAddr) -> HttpPlatform {
        HttpPlatform::new(&format!("http://{server}/v1/"), TIMEOUT).unwrap()
    }

    fn orders() -> [SubmittedOrder; 1] {
        let parameter_2 = Decimal::parse("2.10").unwrap();
        [SubmittedOrder { record_id: "a".into(), parameter_1: "abc".into(), parameter_2 }]
    }

    fn kind(failure: &Failure) -> (&str, bool) {
        (failure.reason(), failure.is_permanent())
    }

    /// A server that gives these answers, one after the other, and the log of what it was asked.
    async fn scripted(answers: &'static [(u16, &'static str)]) -> (HttpPlatform, Arc<Mutex<Vec<String>>>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&log);
        let server = serve(move |request: Request<Bytes>| {
            let key = request.headers()["idempotency-key"].to_str().unwrap();
            let body = std::str::from_utf8(request.body()).unwrap();
            let mut asked = asked.lock().unwrap();
            asked.push(format!("{} {} [{key}] {body}", request.method(), request.uri()));
            let (status, body) = answers[asked.len() - 1];
            Some(response(status, body))
        })
        .await;
        (platform(server), log)
    }

    #[tokio::test]
    async fn a_run_is_submitted_and_its_results_are_paged() {
        let (platform, log) = scripted(&[
            (204, ""),
            (200, r#"{"results": false}"#),
            (
                200,
                r#"{"results": true, "orders": [{"record_id": "a", "status": "accepted"}], "next": "p/2 é"}"#,
            ),
            (200, r#"{"results": true, "orders": [{"record_id": "b", "status": "rejected"}]}"#),
        ])
        .await;
        platform.submit(RUN, 7, &orders()).await.unwrap();
        assert_eq!(platform.results(RUN, 0, None).await, Ok(Answer::NotReady));
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let Answer::Ready { decisions, faults, next } =
                platform.results(RUN, 1, after.as_deref()).await.unwrap()
            else {
                panic!("not ready")
            };
            assert!(faults.is_empty());
            seen.extend(decisions.into_iter().map(|decision| decision.record_id));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(
            *log.lock().unwrap(),
            [
                "PUT /v1/runs/2026-11-20T09%3A15%3A00Z/orders/7 [2026-11-20T09:15:00Z/7] \
                 {\"orders\":[{\"record_id\":\"a\",\"parameter_1\":\"abc\",\"parameter_2\":2.10}]}",
                "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results [2026-11-20T09:15:00Z] ",
                "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results [2026-11-20T09:15:00Z] ",
                "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results?after=p%2F2%20%C3%A9 [2026-11-20T09:15:00Z] ",
            ]
        );
    }

    #[tokio::test]
    async fn an_id_with_anything_in_it_stays_one_segment_and_one_line() {
        let (platform, log) = scripted(&[(200, "")]).await;
        platform.submit("../a%\r\né", 0, &[]).await.unwrap();
        let expected = "PUT /v1/runs/..%2Fa%25%0D%0A%C3%A9/orders/0 [../a%25%0D%0A%C3%A9/0] {\"orders\":[]}";
        assert_eq!(*log.lock().unwrap(), [expected]);
        assert_eq!(platform.submit("..", 0, &[]).await.unwrap_err().reason(), "run_id_unusable");
    }

    #[tokio::test]
    async fn it_fails_and_recovers() {
        let (platform, _) = scripted(&[
            (500, "oops"),
            (200, "<html>"),
            (200, r#"{"results": true, "next": "same"}"#),
            (200, r#"{"results": false}"#),
        ])
        .await;
        for (after, reason) in
            [(None, "platform_error"), (None, PLATFORM_GARBAGE), (Some("same"), PLATFORM_GARBAGE)]
        {
            assert_eq!(kind(&platform.results(RUN, 0, after).await.unwrap_err()), (reason, false));
        }
        assert_eq!(platform.results(RUN, 0, None).await, Ok(Answer::NotReady));
    }

    #[tokio::test]
    async fn every_status_has_its_failure() {
        let (platform, log) = scripted(&[
            (301, ""),
            (400, ""),
            (404, ""),
            (408, ""),
            (425, ""),
            (429, ""),
            (503, ""),
            (700, ""),
            (202, "accepted"),
        ])
        .await;
        for (reason, is_permanent) in [
            ("platform_refused", true),
            ("platform_refused", true),
            ("platform_refused", true),
            ("platform_timeout", false),
            ("platform_throttled", false),
            ("platform_throttled", false),
            ("platform_error", false),
            (PLATFORM_GARBAGE, false),
        ] {
            assert_eq!(kind(&platform.submit(RUN, 0, &[]).await.unwrap_err()), (reason, is_permanent));
        }
        assert_eq!(platform.submit(RUN, 0, &[]).await, Ok(()));
        assert_eq!(log.lock().unwrap().len(), 9, "a redirect is not followed");
    }

    #[tokio::test]
    async fn a_platform_that_hangs_or_is_away_is_asked_again() {
        let hanging = HttpPlatform {
            client: HttpClient::new(Duration::from_millis(50)).unwrap(),
            ..platform(serve(|_| None).await)
        };
        assert_eq!(kind(&hanging.results(RUN, 0, None).await.unwrap_err()), ("platform_timeout", false));
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(
            kind(&platform(away).submit(RUN, 0, &[]).await.unwrap_err()),
            ("platform_unreachable", false)
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_judged_by_its_status_where_that_is_enough() {
        let long = Bytes::from(vec![b' '; ANSWER_BYTES_MAX + 1]);
        let server = serve(move |request| {
            Some(response(if request.uri().path().contains("refused") { 400 } else { 200 }, long.clone()))
        })
        .await;
        let platform = platform(server);
        assert_eq!(platform.submit(RUN, 0, &[]).await, Ok(()));
        assert_eq!(kind(&platform.results(RUN, 0, None).await.unwrap_err()), (PLATFORM_GARBAGE, false));
        assert_eq!(
            kind(&platform.results("refused", 0, None).await.unwrap_err()),
            ("platform_refused", true)
        );
    }

    #[tokio::test]
    async fn a_base_url_is_a_base() {
        for url in ["http://host", "https://host:8443/a/b/"] {
            assert!(HttpPlatform::new(url, TIMEOUT).is_ok(), "{url}");
        }
        for url in ["http://host/?a", "https://host/#a", "http://host#"] {
            assert_eq!(HttpPlatform::new(url, TIMEOUT).unwrap_err(), BaseUrlError::QueryOrFragment, "{url}");
        }
        for url in ["", "host", "ftp://host", "file:///tmp", "http://secret:secret@host/"] {
            let error = HttpPlatform::new(url, TIMEOUT).unwrap_err();
            assert!(matches!(error, BaseUrlError::Client(HttpClientError::Request(_))), "{url}: {error:?}");
        }
    }
}
