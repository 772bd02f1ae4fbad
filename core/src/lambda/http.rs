//! Requests: from API Gateway's HTTP APIs (payload 2.0) and from function URLs, which send the same.

use crate::{
    failure::Failure,
    http::{Problem, Request, Response},
    limits::HTTP_BODY_BYTES_MAX,
    path_parameters::{form, parameter},
    percent::ALL_BUT_UNRESERVED,
    pipeline::Pipeline,
};
use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{borrow::Cow, collections::BTreeMap};

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
    let path = match path(&event) {
        Ok(path) => path,
        Err(problem) => return Response::from(problem).into(),
    };
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
///
/// # Errors
/// The problem to answer with, 400, where more than one path may have been sent. Of an escape that is left nobody can tell
/// whether the API left it or the value holds its text, and what stood behind a `?` may be gone.
fn path(event: &ApiGatewayV2httpRequest) -> Result<String, Problem> {
    let raw = event.raw_path.as_deref().unwrap_or_default();
    let context = &event.request_context;
    let route = event.route_key.as_deref().or(context.route_key.as_deref()).unwrap_or(DEFAULT_ROUTE);
    let template = route.split_once(' ').map(|(_, template)| template);
    let is_url = context.domain_name.as_deref().is_some_and(|name| name.contains(".lambda-url."));
    match template {
        None if is_url => return Ok(raw.to_owned()),
        // Nothing of it is read.
        Some(fixed) if !fixed.split('/').any(|segment| parameter(segment).is_some()) => {
            return Ok(fixed.to_owned());
        }
        _ => {}
    }
    if raw.contains(['%', '?']) {
        return Err(ambiguous(template));
    }
    let Some(template) = template else {
        let stage = context.stage.as_deref().filter(|stage| *stage != DEFAULT_STAGE);
        let inside = stage.and_then(|stage| raw.strip_prefix('/')?.strip_prefix(stage));
        let inside = inside.filter(|path| path.is_empty() || path.starts_with('/')).unwrap_or(raw);
        return Ok(utf8_percent_encode(inside, PATH).to_string());
    };
    let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
    for segment in template.split('/') {
        let Some(name) = parameter(segment) else {
            decoded.push(segment);
            encoded.push(Cow::Borrowed(segment));
            continue;
        };
        let value = event.path_parameters.get(name.trim_end_matches('+'));
        let value =
            value.filter(|value| !value.contains(['%', '?'])).ok_or_else(|| ambiguous(Some(template)))?;
        decoded.push(value);
        encoded.push(utf8_percent_encode(value, ALL_BUT_UNRESERVED).into());
    }
    // Before it may stand a stage, or the base path of a domain of one's own.
    if !raw.trim_end_matches('/').ends_with(decoded.join("/").trim_end_matches('/')) {
        return Err(ambiguous(Some(template)));
    }
    Ok(encoded.join("/"))
}

fn ambiguous(template: Option<&str>) -> Problem {
    let form = form(template.unwrap_or("/…/{name}"));
    let detail = format_args!(
        "the API hands this path over in more than one reading; ask for {form}, HEX being the value's UTF-8 in hexadecimal digits"
    );
    Problem::new(400, "ambiguous_path", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::address, path_parameters::matched};
    use proptest::prelude::*;
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

    fn told(event_of: serde_json::Value) -> Option<String> {
        path(&event(event_of)).ok()
    }

    #[test]
    fn a_path_is_what_the_client_sent() {
        let api = json!({"routeKey": "GET /orders/{order_id}", "rawPath": "/orders/a b",
            "pathParameters": {"order_id": "a b"}});
        assert_eq!(told(api).unwrap(), "/orders/a%20b");
        let greedy = json!({"routeKey": "GET /orders/{order_id+}", "rawPath": "/prod/orders/a/b/",
            "requestContext": {"stage": "prod"}, "pathParameters": {"order_id": "a/b"}});
        assert_eq!(told(greedy).unwrap(), "/orders/a%2Fb");
        let fixed = json!({"routeKey": "POST /orders", "rawPath": "/other%25"});
        assert_eq!(told(fixed).unwrap(), "/orders");
        let url = json!({"rawPath": "/orders/a%2Fb%3F",
            "requestContext": {"domainName": "x.lambda-url.eu-central-1.on.aws"}});
        assert_eq!(told(url).unwrap(), "/orders/a%2Fb%3F");
        let catch_all = json!({"rawPath": "/orders/a b"});
        assert_eq!(told(catch_all).unwrap(), "/orders/a%20b");
        let staged = json!({"rawPath": "/prod/orders", "requestContext": {"stage": "prod"}});
        assert_eq!(told(staged).unwrap(), "/orders");
        let alike = json!({"rawPath": "/production", "requestContext": {"stage": "prod"}});
        assert_eq!(told(alike).unwrap(), "/production");
    }

    #[test]
    fn a_path_of_more_than_one_reading_is_refused_with_an_address_of_one() {
        let route = "GET /orders/{id}/cancel";
        for (raw, given) in [
            ("/orders/a%25/cancel", json!({"id": "a%25"})),
            ("/orders/a%25/cancel", json!({"id": "a%"})),
            ("/orders/a?/cancel", json!({"id": "a"})),
            ("/orders/a/cancel", json!({"id": "a?"})),
            ("/orders/a/cancel", json!({"id": "b"})),
            // No value at all must not make the name of the parameter the value.
            ("/orders/{id}/cancel", json!({})),
        ] {
            let event = event(json!({"routeKey": route, "rawPath": raw, "pathParameters": given}));
            let problem = path(&event).unwrap_err();
            assert_eq!(
                (problem.status, problem.problem_type.as_str()),
                (400, "/problems/ambiguous_path"),
                "{raw}"
            );
            assert!(problem.detail.contains("/orders/-/cancel?id.hex=HEX"), "{}", problem.detail);
        }
        assert_eq!(told(json!({"rawPath": "/orders/a%25"})), None);
    }

    /// What an HTTP API may make of a path before it matches it.
    #[derive(Clone, Copy, Debug)]
    enum Reading {
        Untouched,
        AllDecoded,
        /// As public captures show it.
        AllButPercent,
    }

    fn read(sent: &str, reading: Reading, is_cut: bool) -> String {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let decoded = match reading {
            Reading::Untouched => sent.to_owned(),
            Reading::AllDecoded => decode(sent),
            Reading::AllButPercent => sent.split("%25").map(decode).collect::<Vec<_>>().join("%25"),
        };
        let end = decoded.find('?').filter(|_| is_cut).unwrap_or(decoded.len());
        decoded[..end].to_owned()
    }

    /// The value of the parameter that a function reads of what an API hands over: `None` where it refuses, or the API finds
    /// no route.
    fn arrives(sent: &str, reading: Reading, is_cut: bool) -> Option<String> {
        let template = "/orders/{id}";
        let (path_sent, query) = sent.split_once('?').unwrap_or((sent, ""));
        let raw = read(path_sent, reading, is_cut);
        let id = raw.strip_prefix("/orders/").filter(|id| !id.is_empty() && !id.contains('/'))?.to_owned();
        let event =
            event(json!({"routeKey": format!("GET {template}"), "rawPath": raw, "rawQueryString": query,
            "pathParameters": {"id": id}}));
        let path = path(&event).ok()?;
        matched(template, &path, query).ok().flatten().map(|mut found| found.remove("id").unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn an_id_is_read_as_itself_or_not_at_all_whatever_an_api_makes_of_its_path(
            id in "[ab%?/#+&=~ü\\.\\-235F ]{1,8}|\\PC{1,4}",
        ) {
            let address = address("/orders/{id}", |_| &id);
            let encoded = format!("/orders/{}", utf8_percent_encode(&id, ALL_BUT_UNRESERVED));
            for reading in [Reading::Untouched, Reading::AllDecoded, Reading::AllButPercent] {
                for is_cut in [false, true] {
                    let by_address = arrives(&address, reading, is_cut);
                    prop_assert_eq!(by_address.as_ref(), Some(&id), "{:?} {}", reading, address);
                    // What the API has cut off leaves no trace: why such an id has an address of its own.
                    if !(is_cut && id.contains('?')) {
                        let by_path = arrives(&encoded, reading, is_cut);
                        prop_assert!(by_path.is_none() || by_path.as_ref() == Some(&id), "{:?} {:?}", reading, by_path);
                    }
                }
            }
            // A function URL hands over what was sent.
            let event = event(json!({"rawPath": encoded, "requestContext": {"domainName": "x.lambda-url.eu-west-1.on.aws"}}));
            let path = path(&event).unwrap();
            prop_assert_eq!(&matched("/orders/{id}", &path, "").unwrap().unwrap()["id"], &id);
        }
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
