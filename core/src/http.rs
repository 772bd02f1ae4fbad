//! The HTTP side of a choreography, as far as a handler sees it: a request, a response, a problem.

pub use crate::path_parameters::address;

use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET: reads. A HEAD request is answered as a GET, without the body.
    Get,
    /// POST: takes something.
    Post,
    /// PUT: puts something in a place.
    Put,
    /// PATCH: changes a part of something.
    Patch,
    /// DELETE: removes something.
    Delete,
    /// OPTIONS: tells what can be asked.
    Options,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// The method of that name in a request line; a HEAD request is answered as a GET.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "HEAD" { "GET" } else { name };
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// As it stands in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that matched a route.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The route's parameters, percent-decoded: `order_id` of `/orders/{order_id}`.
    pub parameters: BTreeMap<String, String>,
    /// The query string, undecoded, without `?`.
    pub query: String,
    /// Headers by lower-case name; of several of a name the last.
    pub headers: BTreeMap<String, String>,
    /// At most 1 MiB.
    pub body: Bytes,
}

impl Request {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A parameter of the route's path; empty where there is none of that name.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The sender's name for this request, the header `Idempotency-Key`: a request that is sent again under it is the same.
    ///
    /// # Errors
    /// The problem to answer with, 400: it is empty or over [`IDEMPOTENCY_KEY_BYTES_MAX`], or has a control character.
    pub fn idempotency_key(&self) -> Result<Option<&str>, Problem> {
        let Some(key) = self.header("idempotency-key") else { return Ok(None) };
        if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && !key.contains(char::is_control) {
            return Ok(Some(key));
        }
        let detail = format_args!(
            "an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes without control characters"
        );
        Err(Problem::new(400, "invalid_idempotency_key", detail))
    }

    /// Whether the body is declared to be JSON in UTF-8, unencoded.
    pub fn is_json(&self) -> bool {
        let encoded =
            self.header("content-encoding").is_some_and(|value| !value.eq_ignore_ascii_case("identity"));
        let mut parts = self.header("content-type").unwrap_or_default().split(';').map(str::trim);
        let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
        let utf8 = parts.all(|parameter| {
            let lower = parameter.to_ascii_lowercase();
            !lower.starts_with("charset=") || matches!(lower[8..].trim_matches('"'), "utf-8" | "utf8")
        });
        json && utf8 && !encoded
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// Further headers, by lower-case name.
    pub headers: Vec<(&'static str, String)>,
}

impl Response {
    /// A JSON response.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self { status, content_type: "application/json", body, headers: Vec::new() },
            Err(error) => Problem::new(500, "unwritable", error).into(),
        }
    }

    /// Adds a header; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A problem, RFC 9457 (`application/problem+json`).
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// The machine name of the problem, as a relative URI reference.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: &'static str,
    /// What is wrong, and the way out.
    pub detail: String,
    /// Members of this problem type.
    #[serde(flatten)]
    pub members: BTreeMap<&'static str, serde_json::Value>,
}

impl Problem {
    /// A problem named `name` (`snake_case`).
    pub fn new(status: u16, name: &str, detail: impl fmt::Display) -> Self {
        Self {
            problem_type: format!("/problems/{name}"),
            status,
            title: title(status),
            detail: crate::failure::excerpt(&detail.to_string(), 1_024),
            members: BTreeMap::new(),
        }
    }

    /// The body is larger than is taken.
    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        let detail = format_args!("the body is over the limit of {bytes_max} bytes; send less at once");
        Self::new(413, "body_too_large", detail)
    }

    /// The path is there, and not for this method; `allowed` are those it has, as the header `allow` lists them.
    pub fn method_not_allowed(method: &str, allowed: &str) -> Response {
        let detail = format_args!("{method} is not offered here; {allowed} is");
        Response::from(Self::new(405, "method_not_allowed", detail)).with_header("allow", allowed)
    }

    /// Adds a member; one that can't be written as JSON is left out.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.members.insert(name, value);
        }
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        Self { status: problem.status, content_type: "application/problem+json", body, headers: Vec::new() }
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_short_text_or_a_problem() {
        let of = |key: &str| {
            let headers = BTreeMap::from([("idempotency-key".to_owned(), key.to_owned())]);
            let request = Request { headers, ..Request::default() };
            request.idempotency_key().map(|key| key.map(str::to_owned)).map_err(|problem| problem.status)
        };
        assert_eq!(Request::default().idempotency_key().ok(), Some(None));
        for sound in ["a", "\"8e03978e-40d5-43dd\"", &"x".repeat(IDEMPOTENCY_KEY_BYTES_MAX)] {
            assert_eq!(of(sound), Ok(Some(sound.to_owned())));
        }
        for wrong in ["", "a\tb", &"x".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)] {
            assert_eq!(of(wrong), Err(400), "{wrong:?}");
        }
    }
}
