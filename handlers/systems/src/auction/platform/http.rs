//! The platform behind a base URL.

use super::{Answer, AuctionPlatform, SubmittedOrder, run_segment};
use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use quadrille::{
    Failure,
    http_client::Method,
    http_service::{BaseUrlError, HttpService, header_value},
    percent::ALL_BUT_UNRESERVED,
};
use serde::Serialize;
use std::time::Duration;

/// The longest answer that is read, in bytes (8 MiB). Our own limit: a platform with more to say has pages.
pub const ANSWER_BYTES_MAX: usize = 8 * 1_024 * 1_024;

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
    service: HttpService,
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
        Ok(Self { service: HttpService::new("platform", base_url, timeout, ANSWER_BYTES_MAX)? })
    }
}

#[async_trait]
impl AuctionPlatform for HttpPlatform {
    async fn submit(&self, run_id: &str, page: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        let path = format!("/runs/{}/orders/{page}", run_segment(run_id)?);
        let key = format!("{}/{page}", header_value(run_id));
        let headers = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
        let body = serde_json::to_vec(&Submission { orders })
            .map_err(|error| Failure::permanent("unwritable", format_args!("page {page}: {error}")))?;
        self.service.tell(Method::PUT, &path, &headers, Some(body)).await
    }

    async fn results(&self, run_id: &str, _polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        let mut path = format!("/runs/{}/results", run_segment(run_id)?);
        if let Some(token) = after {
            path.extend(["?after="].into_iter().chain(utf8_percent_encode(token, ALL_BUT_UNRESERVED)));
        }
        let key = header_value(run_id);
        let headers = [("idempotency-key", key.as_str()), ("accept", "application/json")];
        let answer = Answer::parse(&self.service.ask(Method::GET, &path, &headers, None).await?)?;
        if let Answer::Ready { next: Some(next), .. } = &answer
            && Some(next.as_str()) == after
        {
            // Followed, it would be asked for until the run's budget is gone.
            return Err(self.service.garbage("the platform names the page just read as the next one"));
        }
        Ok(answer)
    }
}
