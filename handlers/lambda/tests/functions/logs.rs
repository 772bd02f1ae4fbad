//! What a function prints: logs and metrics, each a line of JSON.

use crate::{
    aws::{Aws, Fault},
    function::{Function, TRACE_ID},
    http::post,
    queue::{batch, decided, take},
};
use serde_json::{Value, json};

#[tokio::test]
async fn every_line_is_json_and_tells_what_it_belongs_to() {
    let aws = Aws::start().await;
    take(&aws, &["a"]).await;
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_LOG".into(), "debug".into());
    let mut function = Function::start("store_result", &variables).await;
    for _ in 0..2 {
        let event = batch(&[("m-1", decided("a", "accepted")), ("m-2", "poison".into())]);
        function.invoke(&event).await.unwrap();
    }
    let handled = function.line("handled", |line| line["message"] == "handled").await;
    assert_eq!((&handled["step"], &handled["correlation_id"]), (&json!("store_result"), &json!("flow-a")));
    let span = &handled["span"];
    assert_eq!((&span["function"], &span["cold_start"]), (&json!("store_result"), &json!(true)));
    assert_eq!(
        (&span["trace_id"], &span["request_id"]),
        (&json!(TRACE_ID), &json!("8476a536-e9f4-11e8-9739-000000000001"))
    );
    let dead = function.line("dead-lettered", |line| line["message"] == "dead-lettered").await;
    assert!(dead["failure"].as_str().unwrap().starts_with("malformed: "), "{dead}");
    function.line("a warm invocation", |line| line["span"]["cold_start"] == false).await;
    for line in function.lines() {
        let read = serde_json::from_str::<Value>(&line).unwrap();
        // What the SDK says in detail may have data in it.
        let is_own = read["target"].as_str().is_none_or(|target| target.starts_with("quadrille"));
        assert!(is_own || read["level"] == "WARN" || read["level"] == "ERROR", "{line}");
    }
}

#[tokio::test]
async fn metrics_are_one_line_an_invocation_with_their_units() {
    let aws = Aws::start().await;
    let mut posting = Function::start("post_orders", &aws.variables()).await;
    let orders = json!([{"record_id": "a", "parameter_1": "abc", "parameter_2": 4},
        {"record_id": "b", "parameter_1": "abc", "parameter_2": 4}]);
    posting.invoke(&post(&orders)).await.unwrap();
    let line = posting.line("metrics", |line| line.get("_aws").is_some()).await;
    let directive = &line["_aws"]["CloudWatchMetrics"];
    let expected = json!([{"Namespace": "Quadrille", "Dimensions": [["choreography", "function"]],
        "Metrics": [{"Name": "OrdersReceived", "Unit": "Count"}]}]);
    assert_eq!((directive, &line["OrdersReceived"]), (&expected, &json!(2)));
    assert_eq!((&line["choreography"], &line["step"]), (&json!("auction"), &json!("post_orders")));
    assert_eq!(line["function"], "test-post_orders");
    // What is there already is not received again.
    posting.invoke(&post(&orders)).await.unwrap();
    posting
        .invoke(&post(&json!([{"record_id": "c", "parameter_1": "abc", "parameter_2": 4}])))
        .await
        .unwrap();
    let third = posting.line("one more", |line| line["OrdersReceived"] == 1).await;
    assert_eq!(third["cold_start"], false);
    let mut storing = Function::start("store_result", &aws.variables()).await;
    aws.fail("PutObject", &[Fault::Internal; 8]);
    storing
        .invoke(&batch(&[("m-1", decided("a", "rejected")), ("m-2", decided("b", "accepted"))]))
        .await
        .unwrap();
    let line = storing.line("metrics", |line| line.get("_aws").is_some()).await;
    assert_eq!((&line["DeadLettered"], &line["Retried"], line.get("Handled")), (&json!(1), &json!(1), None));
    aws.recover();
    storing.invoke(&batch(&[("m-2", decided("b", "accepted"))])).await.unwrap();
    let line = storing.line("stored", |line| line["OrdersStored"] == 1).await;
    assert!(line["ReceivedToStored"][0].as_f64().unwrap() >= 0.0, "{line}");
}
