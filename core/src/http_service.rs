//! A service of others behind a base URL: its requests, and which of its failures may pass.
//!
//! An adapter of a service says what it asks and how it reads the answer. What is alike for all of them stands here: a timeout,
//! a broken connection, and the statuses 408, 425, 429 and 5xx may pass; every other status but 2xx does not, redirects among
//! them. The reasons begin with the service's name: `kitchen_timeout`, `kitchen_throttled`, `kitchen_error`,
//! `kitchen_unreachable`, `kitchen_garbage`, `kitchen_refused`, `kitchen_request_unusable`. A `Retry-After` comes with the failure:
//! the next attempt is not before. The service's words are left out of
//! them: they may repeat what it was sent.

use crate::{
    failure::Failure,
    http_client::{HttpAnswer, HttpClient, HttpClientError, Method, parse_url},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::{fmt, time::Duration};

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

/// A service behind a base URL.
#[derive(Clone, Debug)]
pub struct HttpService {
    name: &'static str,
    client: HttpClient,
    /// Without a slash at its end.
    base_url: String,
    answer_bytes_max: usize,
    /// Statuses beside 2xx whose bodies are answers.
    answers: &'static [u16],
}

impl HttpService {
    /// The service `name` (`kitchen`) at `base_url`, `http` or `https`; a path in it is kept. Each request has `timeout` from its
    /// start to the last byte of its answer, and an answer has at most `answer_bytes_max` bytes.
    ///
    /// # Errors
    /// [`BaseUrlError`]: it does not repeat the URL.
    pub fn new(
        name: &'static str,
        base_url: &str,
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Result<Self, BaseUrlError> {
        let url = parse_url(base_url)?;
        if url.query().is_some() || base_url.contains('#') {
            return Err(BaseUrlError::QueryOrFragment);
        }
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self { name, client: HttpClient::new(timeout)?, base_url, answer_bytes_max, answers: &[] })
    }

    /// It also answers with these statuses, and their bodies say what.
    #[must_use]
    pub fn answering_with(self, statuses: &'static [u16]) -> Self {
        Self { answers: statuses, ..self }
    }

    /// Sends a request and reads the body of its answer. `path` begins with a slash, and comes after the base URL.
    ///
    /// # Errors
    /// A [`Failure`] as the module says; `…_garbage` for an answer that is longer than the service may give.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        let answer = self.send(method, path, headers, body).await?;
        let (status, bytes_max) = (answer.status, self.answer_bytes_max);
        answer.body.ok_or_else(|| self.failure(&HttpClientError::TooLarge { status, bytes_max }))
    }

    /// [`ask`](Self::ask), where the answer's status says all: its body is of no use, however long it is.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn tell(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<(), Failure> {
        self.send(method, path, headers, body).await.map(|_| ())
    }

    /// The failure for an answer that can't be understood. Transient: a service that answers garbage (a proxy's error page, half
    /// a body) may answer properly the next time.
    pub fn garbage(&self, detail: impl fmt::Display) -> Failure {
        Failure::transient(self.reason("garbage"), detail)
    }

    /// An answer that says that the service did what it was asked to.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<HttpAnswer, Failure> {
        let url = [&self.base_url, path].concat();
        let sent = self.client.exchange(method, &url, headers, body, self.answer_bytes_max).await;
        let answer = sent.map_err(|error| self.failure(&error))?;
        self.check(answer.status).map_err(|failure| failure.not_before(answer.retry_after))?;
        Ok(answer)
    }

    /// Whether the service did what it was asked to.
    fn check(&self, status: u16) -> Result<(), Failure> {
        let detail = format!("the {} answered with status {status}", self.name);
        match status {
            200..=299 => Ok(()),
            _ if self.answers.contains(&status) => Ok(()),
            408 => Err(Failure::transient(self.reason("timeout"), detail)),
            425 | 429 => Err(Failure::transient(self.reason("throttled"), detail)),
            500..=599 => Err(Failure::transient(self.reason("error"), detail)),
            300..=399 => Err(Failure::permanent(
                self.reason("refused"),
                detail + ", a redirect, which is not followed",
            )),
            400..=499 => Err(Failure::permanent(self.reason("refused"), detail)),
            _ => Err(self.garbage(detail)),
        }
    }

    fn failure(&self, error: &HttpClientError) -> Failure {
        let detail = format_args!("the {}: {error}", self.name);
        match error {
            HttpClientError::Timeout(_) => Failure::transient(self.reason("timeout"), detail),
            HttpClientError::Connect(_) | HttpClientError::Tls(_) => {
                Failure::transient(self.reason("unreachable"), detail)
            }
            HttpClientError::TooLarge { .. } | HttpClientError::Protocol(_) => self.garbage(detail),
            HttpClientError::Request(_) => Failure::permanent(self.reason("request_unusable"), detail),
        }
    }

    fn reason(&self, what: &str) -> String {
        [self.name, "_", what].concat()
    }
}

/// A text as the value of a header, whatever stands in it: what can't is percent-encoded, and so is the escape's own sign.
pub fn header_value(text: &str) -> String {
    utf8_percent_encode(text, HEADER_ESCAPED).to_string()
}

/// What can't stand in a header as it is, and the escape's own sign.
const HEADER_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
