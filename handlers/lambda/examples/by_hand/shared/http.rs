//! The HTTP side: an event of API Gateway, or the bare JSON of who invokes the function directly, and its answer.

use super::log;
use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use quadrille::{
    Failure, excerpt,
    input::{self, Reader},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::collections::HashMap;

/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// A request.
pub struct Request {
    /// Lambda's name for the invocation, the same where it is retried.
    pub id: String,
    pub body: Vec<u8>,
    pub parameters: HashMap<String, String>,
    is_json: bool,
    /// By a bare invocation, which gets a bare answer.
    is_direct: bool,
    key: Option<String>,
}

/// An answer: what API Gateway makes a response of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: Map<String, Value>,
    body: String,
}

impl Answer {
    pub fn json(status: u16, body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(status, "application/json", body)
    }

    pub fn problem(status: u16, name: &str, detail: &str) -> Result<Self, Failure> {
        Self::problem_with(status, name, detail, json!({}))
    }

    /// A problem of RFC 9457 with more members.
    pub fn problem_with(status: u16, name: &str, detail: &str, mut with: Value) -> Result<Self, Failure> {
        with["type"] = json!(format!("/problems/{name}"));
        with["status"] = json!(status);
        with["detail"] = json!(excerpt(detail, 1_024));
        Self::of(status, "application/problem+json", &with)
    }

    fn of(status_code: u16, content_type: &str, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::permanent("unwritable", error))?;
        let headers = Map::from_iter([("content-type".to_owned(), json!(content_type))]);
        Ok(Self { status_code, headers, body })
    }
}

impl Request {
    fn of(event: LambdaEvent<Box<RawValue>>) -> Result<Self, Error> {
        let (payload, id) = (event.payload.get(), event.context.request_id);
        let Some(request) =
            serde_json::from_str::<ApiGatewayV2httpRequest>(payload).ok().filter(|it| it.raw_path.is_some())
        else {
            let fields: HashMap<String, Value> = serde_json::from_str(payload).unwrap_or_default();
            let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
            let parameters = fields.into_iter().filter_map(text).collect();
            return Ok(Self {
                id,
                body: payload.into(),
                parameters,
                is_json: true,
                is_direct: true,
                key: None,
            });
        };
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let is_plain = header("content-encoding").is_none_or(|it| it.eq_ignore_ascii_case("identity"));
        let media = header("content-type").unwrap_or_default().to_ascii_lowercase().replace([' ', '"'], "");
        let is_json = matches!(media.as_str(), "application/json" | "application/json;charset=utf-8");
        let key = header("idempotency-key").map(str::to_owned);
        let body = request.body.unwrap_or_default();
        let body = if request.is_base64_encoded { base64(&body)? } else { body.into_bytes() };
        let (parameters, is_json) = (request.path_parameters, is_json && is_plain);
        Ok(Self { id, body, parameters, is_json, is_direct: false, key })
    }

    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Its body, or the answer that tells every fault of it.
    pub fn read<R: Reader>(
        &self,
        what: &str,
        bytes_max: usize,
        reader: R,
    ) -> Result<Result<R::Value, Answer>, Failure> {
        let refused = if !self.is_json {
            Answer::problem(415, "unsupported_media_type", "send application/json, in UTF-8")
        } else if self.body.len() > bytes_max {
            Answer::problem(
                413,
                "body_too_large",
                &format!("the body is over the limit of {bytes_max} bytes"),
            )
        } else {
            match input::read(&self.body, bytes_max, reader) {
                Ok(read) => return Ok(Ok(read)),
                Err(faults) => {
                    let (name, detail) = (format!("invalid_{what}"), "nothing was stored; see `errors`");
                    Answer::problem_with(400, &name, detail, json!({ "errors": faults }))
                }
            }
        };
        refused.map(Err)
    }

    /// The header that makes a repeated request the same one, or the answer to one that is no key.
    pub fn idempotency_key(&self) -> Result<Result<Option<&str>, Answer>, Failure> {
        let is_key = |key: &str| (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains(char::is_control);
        if self.key.as_deref().is_none_or(is_key) {
            return Ok(Ok(self.key.as_deref()));
        }
        let detail = "an Idempotency-Key has 1 to 256 bytes without control characters";
        Answer::problem(400, "invalid_idempotency_key", detail).map(Err)
    }
}

fn base64(body: &str) -> Result<Vec<u8>, Error> {
    let encoded = serde_json::from_value::<aws_lambda_events::encodings::Base64Data>(json!(body))?;
    Ok(encoded.0)
}

/// Answers requests until Lambda ends the process. A failure is a 503, which is safe to send again.
pub async fn serve(handle: impl AsyncFn(Request) -> Result<Answer, Failure>) -> Result<(), Error> {
    let handle = &handle;
    let answer = move |event: LambdaEvent<Box<RawValue>>| async move {
        let request = Request::of(event)?;
        let (id, is_direct) = (request.id.clone(), request.is_direct);
        let answer = handle(request).await.or_else(|failure| {
            log(json!({ "level": "ERROR", "request": id, "reason": failure.reason(), "detail": failure.detail() }));
            Answer::problem(503, failure.reason(), "try again")
        })?;
        log(json!({ "level": "INFO", "request": id, "status": answer.status_code }));
        match (is_direct, answer.status_code) {
            (false, _) => Ok(serde_json::to_value(answer)?),
            (true, ..400) => Ok(serde_json::from_str::<Value>(&answer.body)?),
            (true, _) => Err(Error::from(answer.body)),
        }
    };
    lambda_runtime::run(service_fn(answer)).await
}
