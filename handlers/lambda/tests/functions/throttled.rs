//! A peer that throttles, fails, and keeps its answers to itself after it did what was asked.

use crate::{
    aws::{Aws, Fault},
    function::Function,
    http::post,
    queue::{batch, decided, take},
};
use serde_json::{Value, json};

fn orders(ids: &[&str]) -> Value {
    post(&ids.iter().map(|id| json!({"record_id": id, "parameter_1": "abc", "parameter_2": 4})).collect())
}

#[tokio::test]
async fn a_request_goes_through_a_peer_that_recovers() {
    for fault in [Fault::Throttle, Fault::Internal, Fault::CutOff] {
        for ids in [&["a"][..], &["a", "b", "c"]] {
            let aws = Aws::start().await;
            let mut function = Function::start("post_orders", &aws.variables()).await;
            aws.fail(if ids.len() == 1 { "PutItem" } else { "BatchExecuteStatement" }, &[fault]);
            let answer = function.invoke(&orders(ids)).await.unwrap();
            assert_eq!(answer["statusCode"], 202, "{fault:?}: {answer}");
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            // A write whose answer was lost is this request's own: stored, and not found there.
            let all_stored = body["results"].as_array().unwrap().iter().all(|row| row["outcome"] == "stored");
            assert!(all_stored, "{fault:?}: {body}");
            assert!(ids.iter().all(|id| aws.version(&format!("order/{id}")).unwrap() == "1"));
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_recover_is_a_503_that_is_safe_to_repeat() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    aws.fail("PutItem", &[Fault::Throttle; 20]);
    let answer = function.invoke(&orders(&["a"])).await.unwrap();
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert!(answer["body"].as_str().unwrap().contains("safe to send it again"));
    assert_eq!(aws.version("order/a"), None);
}

#[tokio::test]
async fn a_result_is_filed_once_whatever_answer_was_lost() {
    for operation in ["PutObject", "PutItem"] {
        let aws = Aws::start().await;
        take(&aws, &["a"]).await;
        let mut function = Function::start("store_result", &aws.variables()).await;
        aws.fail(operation, &[Fault::CutOff]);
        let event = batch(&[("m-1", decided("a", "accepted"))]);
        // Here or on the next delivery: one object, one commit.
        let mut answer = function.invoke(&event).await.unwrap();
        if answer["batchItemFailures"] != json!([]) {
            answer = function.invoke(&event).await.unwrap();
        }
        assert_eq!(answer, json!({"batchItemFailures": []}), "{operation}");
        let objects = aws.state().objects.len();
        assert_eq!((objects, aws.version("order/a").unwrap().as_str()), (1, "2"), "{operation}");
    }
}

#[tokio::test]
async fn the_relay_sends_again_what_a_lost_answer_left_open() {
    let aws = Aws::start().await;
    let mut function = Function::start("relay", &aws.variables()).await;
    aws.fail("SendMessageBatch", &[Fault::CutOff, Fault::Throttle]);
    let event: Value = serde_json::from_str(&decided("a", "accepted")).unwrap();
    let mut record = crate::fixture("stream")["Records"][0].clone();
    record["dynamodb"]["Keys"] = json!({"key": {"S": "order/a"}});
    record["dynamodb"]["NewImage"] = json!({"key": {"S": "order/a"}, "version": {"N": "3"},
        "outbox": {"S": json!([event]).to_string()}, "relay": {"S": "1"}});
    let answer = function.invoke(&json!({ "Records": [record] })).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    // Twice, which is no more than a queue may do by itself.
    assert_eq!(aws.sent_to("auction-results").len(), 2);
}
