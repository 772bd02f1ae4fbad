//! Events of a system's functions as AWS hands them over, made of the documented ones, and what stands in their answers.
#![allow(dead_code)] // Each test binary uses a part of it.

use crate::documented::fixture;
use serde_json::{Value, json};

/// A request as an HTTP API hands it over.
pub fn request(method: &str, route: &str, path: &str, parameters: Value, body: &Value) -> Value {
    let mut event = fixture("http_api");
    event["routeKey"] = json!(format!("{method} {route}"));
    event["requestContext"]["routeKey"] = event["routeKey"].clone();
    event["requestContext"]["http"]["method"] = json!(method);
    event["requestContext"]["http"]["path"] = json!(path);
    event["rawPath"] = json!(path);
    event["pathParameters"] = parameters;
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(body.to_string());
    event
}

pub fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

/// A batch of one message, received for the `attempt`th time.
pub fn message(body: &str, attempt: u32) -> Value {
    let mut event = fixture("queue");
    event["Records"][0]["body"] = json!(body);
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!(attempt.to_string());
    event
}

/// A batch of the stream with one record: an item of the table as it is.
pub fn record(key: &str, id: &str, item: &Value) -> Value {
    let mut event = fixture("stream");
    let mut record = event["Records"][0].clone();
    record["eventName"] = json!("MODIFY");
    record["dynamodb"]["Keys"] = json!({key: {"S": id}});
    record["dynamodb"]["NewImage"] = item.clone();
    record["dynamodb"]["StreamViewType"] = json!("NEW_IMAGE");
    event["Records"] = json!([record]);
    event
}

/// Nothing that is to come again.
pub fn done() -> Value {
    json!({"batchItemFailures": []})
}

/// What a person sees of an item, without what the library keeps beside it.
pub fn shown(item: &Value) -> Value {
    let fields = item.as_object().unwrap().iter();
    let ours = ["document", "version", "outbox", "relay"];
    fields
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
