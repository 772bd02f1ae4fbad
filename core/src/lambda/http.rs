//! Requests: from API Gateway's HTTP APIs (payload 2.0) and from function URLs, which send the same.

use crate::{
    failure::Failure,
    http::{Problem, Request, Response},
    limits::HTTP_BODY_BYTES_MAX,
    percent::ALL_BUT_UNRESERVED,
    pipeline::Pipeline,
};
use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::collections::BTreeMap;

/// A path whose escapes are gone: its segments are kept apart.
const PATH: &AsciiSet = &ALL_BUT_UNRESERVED.remove(b'/');

/// The route of an HTTP API that takes what no other does, and of every function URL.
const DEFAULT_ROUTE: &str = "$default";

/// The stage that leaves no trace in the path.
const DEFAULT_STAGE: &str = "$default";

/// A response as Lambda takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
    is_base64_encoded: bool,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let mut headers: BTreeMap<&'static str, String> = response.headers.into_iter().collect();
        headers.insert("content-type", response.content_type.to_owned());
        headers.insert("cache-control", "no-store".to_owned());
        headers.insert("x-content-type-options", "nosniff".to_owned());
        let (body, is_base64_encoded) = match String::from_utf8(response.body) {
            Ok(text) => (text, false),
            Err(binary) => (BASE64_STANDARD.encode(binary.as_bytes()), true),
        };
        Self { status_code: response.status, headers, body, is_base64_encoded }
    }
}

/// The request that an event holds; `None` for bare JSON, which nobody wrapped.
///
/// # Errors
/// A permanent [`Failure`] `unexpected_event` for an event that looks like a request and is none.
pub(super) fn event(payload: &str) -> Result<Option<ApiGatewayV2httpRequest>, Failure> {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "requestContext")]
        context: Option<IgnoredAny>,
    }
    // serde reads a struct from an array as well.
    let is_object = payload.trim_start().starts_with('{');
    let is_wrapped =
        is_object && serde_json::from_str::<Shape>(payload).is_ok_and(|shape| shape.context.is_some());
    if is_wrapped { super::read(payload).map(Some) } else { Ok(None) }
}

/// Answers a request to `step`, and `GET /healthz`.
pub(super) async fn answer(pipeline: &Pipeline, step: &str, event: ApiGatewayV2httpRequest) -> Answer {
    let method = event.request_context.http.method.as_str().to_owned();
    let path = path(&event);
    let response = if matches!(method.as_str(), "GET" | "HEAD") && path == "/healthz" {
        pipeline.health().await
    } else {
        match request(event) {
            Ok(request) => pipeline.answer(Some(step), &method, &path, request).await,
            Err(problem) => problem.into(),
        }
    };
    Answer::from(response)
}

fn request(event: ApiGatewayV2httpRequest) -> Result<Request, Problem> {
    let body = body(event.body, event.is_base64_encoded)?;
    let headers = event.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    });
    Ok(Request {
        parameters: BTreeMap::new(),
        query: event.raw_query_string.unwrap_or_default(),
        headers: headers.collect(),
        body,
    })
}

fn body(body: Option<String>, is_base64: bool) -> Result<Bytes, Problem> {
    let body = body.unwrap_or_default();
    let too_large = || Problem::body_too_large(HTTP_BODY_BYTES_MAX);
    if !is_base64 {
        return if body.len() > HTTP_BODY_BYTES_MAX { Err(too_large()) } else { Ok(Bytes::from(body)) };
    }
    // Looked at before it is decoded: four characters hold three bytes, the last up to two less.
    if body.len() / 4 * 3 > HTTP_BODY_BYTES_MAX + 2 {
        return Err(too_large());
    }
    let decoded = BASE64_STANDARD
        .decode(body)
        .map_err(|_| Problem::new(400, "malformed_body", "the body is marked as base64 and is not"))?;
    if decoded.len() > HTTP_BODY_BYTES_MAX { Err(too_large()) } else { Ok(Bytes::from(decoded)) }
}

/// The path as the client sent it, percent-encoded.
///
/// A function URL sends it so. An HTTP API decodes the path before it sends it, which makes two segments of an encoded
/// slash; what it matched stands in `pathParameters`, from which the path is put together again.
fn path(event: &ApiGatewayV2httpRequest) -> String {
    let raw = event.raw_path.as_deref().unwrap_or_default();
    let context = &event.request_context;
    let route = event.route_key.as_deref().or(context.route_key.as_deref()).unwrap_or(DEFAULT_ROUTE);
    if let Some((_, template)) = route.split_once(' ') {
        return template
            .split('/')
            .map(|segment| {
                let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
                let value = name.and_then(|name| event.path_parameters.get(name.trim_end_matches('+')));
                value.map_or_else(
                    || segment.to_owned(),
                    |value| utf8_percent_encode(value, ALL_BUT_UNRESERVED).to_string(),
                )
            })
            .collect::<Vec<String>>()
            .join("/");
    }
    let is_url = context.domain_name.as_deref().is_some_and(|name| name.contains(".lambda-url."));
    if is_url {
        return raw.to_owned();
    }
    let stage = context.stage.as_deref().filter(|stage| *stage != DEFAULT_STAGE);
    let inside = stage.and_then(|stage| raw.strip_prefix('/')?.strip_prefix(stage));
    let inside = inside.filter(|path| path.is_empty() || path.starts_with('/')).unwrap_or(raw);
    utf8_percent_encode(inside, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(value: serde_json::Value) -> ApiGatewayV2httpRequest {
        let mut whole = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": {},
            "requestContext": {"domainName": "x.execute-api.eu-central-1.amazonaws.com", "stage": "$default",
                "http": {"method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t"}},
            "isBase64Encoded": false
        });
        for (name, value) in value.as_object().unwrap() {
            match value.as_object() {
                Some(inner) if whole[name].is_object() => {
                    whole[name].as_object_mut().unwrap().extend(inner.clone());
                }
                _ => whole[name] = value.clone(),
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_path_is_what_the_client_sent() {
        let api = json!({"routeKey": "GET /orders/{order_id}", "rawPath": "/orders/a/b",
            "pathParameters": {"order_id": "a/b?%"}});
        assert_eq!(path(&event(api)), "/orders/a%2Fb%3F%25");
        let greedy = json!({"routeKey": "GET /orders/{order_id+}", "pathParameters": {"order_id": "a/b"}});
        assert_eq!(path(&event(greedy)), "/orders/a%2Fb");
        let url = json!({"rawPath": "/orders/a%2Fb",
            "requestContext": {"domainName": "x.lambda-url.eu-central-1.on.aws"}});
        assert_eq!(path(&event(url)), "/orders/a%2Fb");
        let catch_all = json!({"rawPath": "/orders/a b%"});
        assert_eq!(path(&event(catch_all)), "/orders/a%20b%25");
        let staged = json!({"rawPath": "/prod/orders", "requestContext": {"stage": "prod"}});
        assert_eq!(path(&event(staged)), "/orders");
        let alike = json!({"rawPath": "/production", "requestContext": {"stage": "prod"}});
        assert_eq!(path(&event(alike)), "/production");
    }

    #[test]
    fn a_body_is_decoded_and_held_to_the_limit() {
        assert_eq!(body(None, false).unwrap(), "");
        assert_eq!(body(Some("YWI=".into()), true).unwrap(), "ab");
        assert_eq!(body(Some("*".into()), true).unwrap_err().status, 400);
        for more in [0, 1, 2, 3] {
            let whole = "x".repeat(HTTP_BODY_BYTES_MAX + more);
            let expected = if more == 0 { None } else { Some(413) };
            let encoded = BASE64_STANDARD.encode(&whole);
            assert_eq!(body(Some(encoded), true).err().map(|problem| problem.status), expected, "{more}");
            assert_eq!(body(Some(whole), false).err().map(|problem| problem.status), expected, "{more}");
        }
    }
}
