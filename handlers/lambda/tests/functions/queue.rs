//! Batches of SQS: what is acknowledged, what is reported failed, and what becomes of it.

use crate::{
    aws::{Aws, Fault},
    fixture,
    function::Function,
    http::post,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A batch of messages with these ids and bodies.
pub fn batch(messages: &[(&str, String)]) -> Value {
    let mut event = fixture("queue");
    let like = event["Records"][0].clone();
    let records = messages.iter().map(|(id, body)| {
        let mut record = like.clone();
        record["messageId"] = json!(id);
        record["receiptHandle"] = json!(format!("receipt-{id}"));
        record["body"] = json!(body);
        record
    });
    event["Records"] = records.collect();
    event
}

/// "This order is decided", as the relay sends it.
pub fn decided(id: &str, status: &str) -> String {
    envelope(
        "auction.order.decided",
        id,
        json!({
            "record_id": id, "run_id": "2026-11-20T09:15:00.000Z",
            "result": {"status": status, "power": 1, "parameter_1": "abc", "parameter_2": 4,
                "decided_at": "2026-11-20T09:16:00.000Z"}
        }),
    )
    .to_string()
}

pub fn envelope(kind: &str, subject: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": format!("{kind}/{subject}"), "source": "/auction/test", "type": kind,
        "subject": subject, "time": "2026-11-20T09:16:00.000Z", "correlationid": format!("flow-{subject}"),
        "data": data
    })
}

/// The answer that reports these messages failed.
fn failures(ids: &[&str]) -> Value {
    let items: Vec<_> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
    json!({"batchItemFailures": items})
}

/// Takes orders of these ids.
pub async fn take(aws: &Aws, ids: &[&str]) {
    let orders = ids.iter().map(|id| json!({"record_id": id, "parameter_1": "abc", "parameter_2": 4}));
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let answer = function.invoke(&post(&orders.collect())).await.unwrap();
    assert_eq!(answer["statusCode"], 202, "{answer}");
}

fn key(id: &str) -> String {
    format!("/results/orders/order_20261120T091600Z_{id}.json")
}

fn attribute<'a>(message: &'a Value, name: &str) -> &'a str {
    message["MessageAttributes"][name]["StringValue"].as_str().unwrap()
}

#[tokio::test]
async fn of_a_batch_only_what_is_to_come_again_is_reported_failed() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b", "c"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    let event = batch(&[
        ("m-1", decided("a", "accepted")),
        ("m-2", decided("b", "rejected")),
        ("m-3", "Test message.".into()),
        ("m-4", decided("c", "accepted")),
    ]);
    let answer = function.invoke(&event).await.unwrap();
    // Rejected and poison: in the dead-letter queue, and acknowledged.
    assert_eq!(answer, failures(&[]));
    assert_eq!(aws.state().objects.keys().cloned().collect::<Vec<_>>(), [key("a"), key("c")]);
    let dead = aws.sent_to("auction-results-dlq");
    assert_eq!(dead.len(), 2, "{dead:?}");
    let rejected = dead.iter().find(|letter| attribute(letter, "reason") == "rejected").unwrap();
    assert_eq!(rejected["MessageBody"], decided("b", "rejected"));
    for (name, value) in [
        ("handler", "store_result"),
        ("source-queue", "auction-results"),
        ("correlation-id", "flow-b"),
        ("subject", "b"),
        ("attempts", "1"),
        ("first-seen", "2018-12-17T21:37:29.183Z"),
    ] {
        assert_eq!(attribute(rejected, name), value, "{name}");
    }
    let poison = dead.iter().find(|letter| attribute(letter, "reason") == "malformed").unwrap();
    assert_eq!(poison["MessageBody"], "Test message.");
    let trail = aws.order("b").unwrap()["trail"].to_string();
    assert!(trail.contains("dead-lettered: rejected"), "{trail}");
    // The answer deletes; the function itself never does.
    assert_eq!(aws.calls("DeleteMessageBatch"), 0);
}

#[tokio::test]
async fn a_transient_failure_is_hidden_for_its_backoff_and_reported_failed() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    // More often than the adapter tries.
    aws.fail("PutObject", &[Fault::Internal; 20]);
    let answer = function.invoke(&batch(&[("m-1", decided("a", "accepted"))])).await.unwrap();
    assert_eq!(answer, failures(&["m-1"]));
    let hidden = aws.state().visibility.clone();
    let seconds = hidden["receipt-m-1"];
    assert!((1..=2).contains(&seconds), "the step's first backoff is up to 1 s: {hidden:?}");
    assert_eq!(aws.sent_to("auction-results-dlq").len(), 0);
    assert_eq!(aws.version("order/a").unwrap(), "1");
}

#[tokio::test]
async fn the_last_attempt_is_a_dead_letter() {
    let aws = Aws::start().await;
    take(&aws, &["a"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    aws.fail("PutObject", &[Fault::Internal; 20]);
    let mut event = batch(&[("m-1", decided("a", "accepted"))]);
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!("40");
    let answer = function.invoke(&event).await.unwrap();
    assert_eq!(answer, failures(&[]), "{:#?}", function.lines());
    let dead = aws.sent_to("auction-results-dlq");
    assert_eq!((attribute(&dead[0], "reason"), attribute(&dead[0], "attempts")), ("port_unavailable", "40"));
}

#[tokio::test]
async fn a_duplicate_is_one_effect_in_one_batch_and_in_two() {
    let aws = Aws::start().await;
    take(&aws, &["a"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    let twice = batch(&[("m-1", decided("a", "accepted")), ("m-2", decided("a", "accepted"))]);
    assert_eq!(function.invoke(&twice).await.unwrap(), failures(&[]));
    assert_eq!(aws.version("order/a").unwrap(), "2");
    assert_eq!(function.invoke(&twice).await.unwrap(), failures(&[]));
    assert_eq!((aws.version("order/a").unwrap().as_str(), aws.state().objects.len()), ("2", 1));
    assert_eq!(aws.calls("PutObject"), 1);
}

#[tokio::test]
async fn what_can_not_be_dead_lettered_stays() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    aws.fail("SendMessageBatch", &[Fault::Internal; 20]);
    let event = batch(&[("m-1", decided("a", "rejected")), ("m-2", decided("b", "accepted"))]);
    assert_eq!(function.invoke(&event).await.unwrap(), failures(&["m-1"]));
    assert!(aws.state().objects.contains_key(&key("b")));
}

#[tokio::test]
async fn a_message_before_its_time_is_sent_on_and_acknowledged() {
    let aws = Aws::start().await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    let mut early: Value = serde_json::from_str(&decided("a", "accepted")).unwrap();
    early["notbefore"] = json!("2099-01-01T00:00:00.000Z");
    assert_eq!(function.invoke(&batch(&[("m-1", early.to_string())])).await.unwrap(), failures(&[]));
    let sent = aws.sent_to("auction-results");
    assert_eq!((&sent[0]["DelaySeconds"], &sent[0]["MessageBody"]), (&json!(900), &json!(early.to_string())));
}

#[tokio::test]
async fn near_the_deadline_nothing_is_begun_and_all_is_reported_failed() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    let event = batch(&[("m-1", decided("a", "accepted")), ("m-2", decided("b", "accepted"))]);
    // Less than what is kept for ending in order.
    let answer = function.invoke_within(&event, Duration::from_millis(150)).await.unwrap();
    assert_eq!(answer, failures(&["m-1", "m-2"]));
    assert_eq!((aws.calls("PutObject"), aws.sent_to("auction-results-dlq").len()), (0, 0));
    assert_eq!(function.invoke(&event).await.unwrap(), failures(&[]));
}

#[tokio::test]
async fn a_peer_that_never_answers_does_not_take_the_batch_into_a_timeout() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b"]).await;
    let mut function = Function::start("store_result", &aws.variables()).await;
    aws.fail("PutObject", &[Fault::Hang]);
    let event = batch(&[("m-1", decided("a", "accepted")), ("m-2", decided("b", "accepted"))]);
    let (began, time) = (Instant::now(), Duration::from_secs(3));
    let answer = function.invoke_within(&event, time).await.unwrap();
    assert!(began.elapsed() < time, "{:?}", began.elapsed());
    // One of the two was stored: which one met the silence is not said.
    let failed = answer["batchItemFailures"].as_array().unwrap();
    assert_eq!((failed.len(), aws.state().objects.len()), (1, 1), "{answer}");
    assert_eq!(function.invoke(&event).await.unwrap(), failures(&[]));
    assert_eq!(aws.state().objects.len(), 2);
}
