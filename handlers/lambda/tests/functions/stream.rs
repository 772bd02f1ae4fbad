//! Batches of the table's stream: the relay.

use crate::{
    aws::Aws,
    fixture,
    function::Function,
    queue::{decided, envelope},
};
use serde_json::{Value, json};

/// A record of a commit that emitted `events`.
fn record(sequence_number: &str, key: &str, version: u32, events: &[Value]) -> Value {
    let mut record = fixture("stream")["Records"][0].clone();
    record["eventName"] = json!(if version == 1 { "INSERT" } else { "MODIFY" });
    record["dynamodb"]["SequenceNumber"] = json!(sequence_number);
    record["dynamodb"]["Keys"] = json!({"key": {"S": key}});
    let mut image =
        json!({"key": {"S": key}, "version": {"N": version.to_string()}, "document": {"S": "{}"}});
    if !events.is_empty() {
        image["outbox"] = json!({"S": Value::from(events).to_string()});
        image["relay"] = json!({"S": "1"});
    }
    record["dynamodb"]["NewImage"] = image;
    record
}

fn event(records: Vec<Value>) -> Value {
    json!({ "Records": records })
}

fn event_of(id: &str) -> Value {
    serde_json::from_str(&decided(id, "accepted")).unwrap()
}

/// The orders that messages tell of, in their order.
fn subjects(messages: &[Value]) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            let body: Value = serde_json::from_str(message["MessageBody"].as_str().unwrap()).unwrap();
            body["subject"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn events_go_to_their_queues_in_order_and_with_their_delay() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    let mut poll = envelope("auction.poll", "r", json!({"run_id": "r", "round": 1}));
    poll["notbefore"] = json!("2099-01-01T00:00:00.000Z");
    let records = vec![
        record("111", "order/a", 3, &[event_of("a"), event_of("b")]),
        record("112", "run/r", 1, &[poll]),
        record("113", "order/c", 3, &[event_of("c")]),
    ];
    let answer = function.invoke(&event(records)).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(subjects(&aws.sent_to("auction-results")), ["a", "b", "c"]);
    let polls = aws.sent_to("auction-poll");
    assert_eq!((subjects(&polls), &polls[0]["DelaySeconds"]), (vec!["r".to_owned()], &json!(900)));
}

/// A table may have a name of its own for its key.
#[tokio::test]
async fn a_record_is_read_whatever_its_key_is_called() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    let mut records = Vec::new();
    for (number, name) in ["order_id", "key"].into_iter().enumerate() {
        let mut record = record(&number.to_string(), "order/a", 3, &[event_of(name)]);
        record["dynamodb"]["Keys"] = json!({name: {"S": "order/a"}});
        let image = record["dynamodb"]["NewImage"].as_object_mut().unwrap();
        let key = image.remove("key").unwrap();
        image.insert(name.to_owned(), key);
        records.push(record);
    }
    assert_eq!(function.invoke(&event(records)).await.unwrap(), json!({"batchItemFailures": []}));
    assert_eq!(subjects(&aws.sent_to("auction-results")), ["order_id", "key"]);
}

#[tokio::test]
async fn removals_and_commits_that_emitted_nothing_relay_nothing() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    // As documented, and an expired item of ours whose old image holds what it once emitted.
    let mut documented = fixture("stream");
    let mut expired = documented["Records"][1].clone();
    expired["dynamodb"]["OldImage"] =
        record("1", "order/a", 3, &[event_of("a")])["dynamodb"]["NewImage"].clone();
    documented["Records"].as_array_mut().unwrap().extend([expired, record("444", "order/b", 1, &[])]);
    assert_eq!(function.invoke(&documented).await.unwrap(), json!({"batchItemFailures": []}));
    assert!(aws.state().calls.is_empty());
}

#[tokio::test]
async fn the_checkpoint_is_the_first_record_that_was_not_sent() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    let records = (0..12).map(|n| {
        record(&format!("{}", 500 + n), &format!("order/{n:02}"), 2, &[event_of(&format!("{n:02}"))])
    });
    let records: Vec<Value> = records.collect();
    aws.state().refused.extend(["\"subject\":\"07\"".to_owned(), "\"subject\":\"09\"".to_owned()]);
    let answer = function.invoke(&event(records.clone())).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "507"}]}));
    aws.recover();
    // Lambda hands in all from the checkpoint on.
    let answer = function.invoke(&event(records[7..].to_vec())).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let sent = subjects(&aws.sent_to("auction-results"));
    for n in 0..12 {
        // What was sent beyond the checkpoint is sent twice.
        let times = sent.iter().filter(|subject| **subject == format!("{n:02}")).count();
        assert_eq!(times, if n == 8 || n > 9 { 2 } else { 1 }, "{n}: {sent:?}");
    }
}

#[tokio::test]
async fn a_record_that_can_not_be_read_or_that_nobody_consumes_stops_nobody_and_is_told_aloud() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    let mut broken = record("111", "order/a", 2, &[event_of("a")]);
    broken["dynamodb"]["NewImage"]["outbox"] = json!({"S": "[{"});
    let mut withdrawn = event_of("c");
    withdrawn["type"] = json!("auction.order.withdrawn");
    // Neither an attribute of a type that nobody knows, nor one that nobody needs and that is missing, is anything to it.
    let mut strange = record("112", "order/b", 2, &[event_of("b")]);
    strange["dynamodb"]["NewImage"]["document"] = json!({"NEW": ["x"]});
    strange["dynamodb"]["NewImage"]["more"] = json!({"NEW": {"x": 1}});
    strange["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("version");
    strange["dynamodb"]["SizeBytes"] = json!("many");
    for unused in ["eventVersion", "awsRegion", "eventID"] {
        strange.as_object_mut().unwrap().remove(unused);
    }
    // One that is no record at all.
    let mut records = vec![broken, strange, json!({"dynamodb": 7})];
    // Its consumer is no longer in the definition.
    records.push(record("113", "order/c", 2, &[withdrawn]));
    assert_eq!(function.invoke(&event(records)).await.unwrap(), json!({"batchItemFailures": []}));
    assert_eq!(subjects(&aws.sent_to("auction-results")), ["b"]);
    let line = function.line("the error", |line| line["reason"] == "unreadable_record").await;
    assert_eq!(line["key"], "order/a");
    let metrics = function.line("metrics", |line| line.get("_aws").is_some()).await;
    assert_eq!((&metrics["PassedOver"], &metrics["Relayed"]), (&json!(3), &json!(1)));
    // Each is a letter of its own: under its key, and as it is.
    let told = |letter: &Value| {
        let attribute =
            |name: &str| letter["MessageAttributes"][name]["StringValue"].as_str().map(str::to_owned);
        (
            attribute("reason").unwrap(),
            attribute("subject"),
            letter["MessageBody"].as_str().unwrap().to_owned(),
        )
    };
    let mut letters: Vec<_> = ["auction-left-dlq", "auction-poll-dlq", "auction-results-dlq"]
        .map(|queue| aws.sent_to(queue))
        .concat();
    letters.sort_by_key(|letter| letter["MessageBody"].to_string());
    let letters: Vec<_> = letters.iter().map(told).collect();
    let reason = "unreadable_record".to_owned();
    let broken = (reason.clone(), Some("order/a".to_owned()), "[{".to_owned());
    assert_eq!(letters, [broken, (reason, None, "{\"dynamodb\":7}".to_owned())]);
}
