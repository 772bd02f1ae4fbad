//! What several steps share: a system needs each of these once.

mod http;
mod queue;
pub mod relay;
mod table;

pub use http::{Answer, Request, serve};
pub use queue::{DeadLetters, Done, Queue, Sender, Step, backoff, json};
pub use table::{Item, Listed, Message, Table, To};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use lambda_runtime::Error;
use quadrille::{Failure, Timestamp};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// `aws_config::load_from_env`, with the HTTPS client that this workspace builds the SDK for.
pub async fn config() -> SdkConfig {
    quadrille::aws::configuration().load().await
}

pub fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("the variable {name} is not set").into())
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A transient failure of a service of AWS. The error's own text may repeat what was sent, so its code alone is told.
pub fn unavailable(service: &'static str, error: &impl ProvideErrorMetadata) -> Failure {
    Failure::transient(service, error.code().unwrap_or("no answer"))
}

/// A line of the log: ids and reasons, and nothing of a person.
pub fn log(line: Value) {
    println!("{line}");
}

/// A metric, as CloudWatch reads it from the log.
pub fn metric(name: &str, unit: &str, value: f64) {
    let step = std::env::var("STEP").unwrap_or_default();
    let metrics = json!([{ "Namespace": "ByHand", "Dimensions": [["step"]], "Metrics": [{ "Name": name, "Unit": unit }] }]);
    let about = json!({ "Timestamp": now().as_millis(), "CloudWatchMetrics": metrics });
    log(json!({ "_aws": about, "step": step, name: value }));
}

pub fn count(name: &str) {
    metric(name, "Count", 1.0);
}

/// The time since `from`, as a metric.
pub fn took(name: &str, from: Timestamp) {
    metric(name, "Milliseconds", now().since(from).as_secs_f64() * 1_000.0);
}
