//! Bare JSON, from a program that invokes a function itself.

use super::{Deadlines, within};
use crate::{failure::Failure, http::Request, pipeline::Pipeline};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Answers `payload`, the body of a request to `step`, with the body of the response.
///
/// # Errors
/// A [`Failure`], which the program is told as the error of the invocation: of a response that is none of 2xx, its problem.
pub(super) async fn answer(
    pipeline: &Pipeline,
    step: &str,
    payload: &str,
    deadlines: Deadlines,
) -> Result<Box<RawValue>, Failure> {
    let request = Request {
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: payload.to_owned().into(),
        ..Request::default()
    };
    let late = || Failure::transient("timeout", "no answer in time; it is safe to invoke it again");
    let response = within(pipeline, deadlines, pipeline.invoke(step, request)).await.ok_or_else(late)??;
    let body = String::from_utf8_lossy(&response.body).into_owned();
    if !(200..300).contains(&response.status) {
        let reason = format!("status_{}", response.status);
        return Err(match response.status {
            500..=599 => Failure::transient(reason, body),
            _ => Failure::permanent(reason, body),
        });
    }
    let body = if body.is_empty() { "null".to_owned() } else { body };
    RawValue::from_string(body).map_err(|error| Failure::permanent("unwritable", error))
}
