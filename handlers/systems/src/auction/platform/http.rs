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
