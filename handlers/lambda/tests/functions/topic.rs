//! Alarms: notifications become the webhook's messages.

use crate::{
    aws::Aws,
    fixture,
    function::Function,
    queue::{batch, envelope},
    server::{Server, response},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What a webhook was told, with the path that it was told by.
type Told = Arc<Mutex<Vec<(String, Value)>>>;

/// A webhook that answers with these statuses in turn, and then with 200.
async fn webhook(statuses: Vec<u16>) -> (Server, Told) {
    let told = Told::default();
    let (kept, statuses) = (Arc::clone(&told), Mutex::new(statuses.into_iter()));
    let server = Server::start(move |request| {
        let status = statuses.lock().unwrap().next().unwrap_or(200);
        let body = serde_json::from_slice(request.body()).unwrap();
        kept.lock().unwrap().push((request.uri().path().to_owned(), body));
        std::future::ready(Some(response(status, "ok")))
    })
    .await;
    (server, told)
}

/// A function that has to find the webhook's URL in the secret `hook`.
async fn notify(aws: &Aws, server: &Server) -> Function {
    let url = format!("http://{}/services/T0/B0/secret", server.address);
    aws.state().secrets.insert("hook".into(), url);
    let mut variables: BTreeMap<String, String> = aws.variables();
    variables.insert("QUADRILLE_WEBHOOK_SECRET".into(), "hook".into());
    Function::start("notify", &variables).await
}

fn topic(message: &Value) -> Value {
    let mut event = fixture("topic");
    event["Records"][0]["Sns"]["Message"] = json!(message.to_string());
    event
}

#[tokio::test]
async fn an_alarm_of_cloudwatch_reaches_the_webhook() {
    let (aws, (server, told)) = (Aws::start().await, webhook(Vec::new()).await);
    let mut function = notify(&aws, &server).await;
    assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    let told_now = told.lock().unwrap().clone();
    let [(path, message)] = told_now.as_slice() else { panic!("{told_now:?}") };
    assert_eq!(path, "/services/T0/B0/secret");
    let text = message["text"].as_str().unwrap();
    let expected = "ALARM auction: auction-results-dlq-not-empty: Dead letters. (Threshold Crossed: 1 out of";
    assert!(text.starts_with(expected), "{text}");
    let blocks = message["blocks"].to_string();
    assert!(
        blocks.contains(":rotating_light: *Alarm*") && blocks.contains("2026-11-20T09:15:00.123Z"),
        "{blocks}"
    );
    // Read once, however many alarms there are; and never printed.
    function.invoke(&topic(&fixture("alarm"))).await.unwrap();
    assert_eq!(aws.calls("GetSecretValue"), 1);
    function.line("the second invocation", |line| line["span"]["cold_start"] == false).await;
    assert!(!function.lines().concat().contains("/services/T0"), "{:#?}", function.lines());
}

#[tokio::test]
async fn an_alert_of_our_own_comes_by_the_topic_and_by_a_queue() {
    let (aws, (server, told)) = (Aws::start().await, webhook(Vec::new()).await);
    let mut function = notify(&aws, &server).await;
    let alert = envelope(
        "quadrille.alert",
        "auction-results-dlq",
        json!({"choreography": "auction", "queue": "auction-results-dlq", "state": "alarm",
            "at": "2026-11-20T09:15:00.000Z", "depth": 2, "arrived": 2, "reasons": {"rejected": 2},
            "subjects": ["a", "b"]}),
    );
    assert_eq!(function.invoke(&topic(&alert)).await.unwrap(), json!(null));
    // A queue gets the bare message, or what SNS wraps it in.
    let wrapped =
        json!({"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": alert.to_string()});
    let bodies =
        [("m-1", alert.to_string()), ("m-2", wrapped.to_string()), ("m-3", fixture("alarm").to_string())];
    assert_eq!(function.invoke(&batch(&bodies)).await.unwrap(), json!({"batchItemFailures": []}));
    let mut texts: Vec<String> = told
        .lock()
        .unwrap()
        .iter()
        .map(|(_, message)| message["text"].as_str().unwrap()[..30].to_owned())
        .collect();
    texts.sort();
    assert_eq!(
        texts,
        [
            "ALARM auction: 2 dead letter(s",
            "ALARM auction: 2 dead letter(s",
            "ALARM auction: 2 dead letter(s",
            "ALARM auction: auction-results",
        ]
    );
}

#[tokio::test]
async fn a_webhook_that_is_down_fails_the_invocation_and_one_that_refuses_makes_a_dead_letter() {
    let (aws, (server, told)) = (Aws::start().await, webhook(vec![503, 404]).await);
    let mut function = notify(&aws, &server).await;
    let error = function.invoke(&topic(&fixture("alarm"))).await.unwrap_err();
    assert_eq!(error["errorType"], "webhook_error", "{error}");
    assert_eq!(aws.sent_to("notify-dlq").len(), 0);
    // Lambda tries an asynchronous invocation again.
    assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    let dead = aws.sent_to("notify-dlq");
    assert_eq!(dead[0]["MessageAttributes"]["reason"]["StringValue"], "webhook_refused", "{dead:?}");
    assert_eq!(told.lock().unwrap().len(), 2);
}

/// The infrastructure makes the secret without a value, and mail tells of alarms until somebody sets one.
#[tokio::test]
async fn without_a_webhook_as_yet_an_alarm_is_passed_over_and_logged() {
    let aws = Aws::start().await;
    let mut variables: BTreeMap<String, String> = aws.variables();
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:auction-dev-webhook-a1b2c3";
    variables.insert("QUADRILLE_WEBHOOK_SECRET".into(), arn.into());
    let mut function = Function::start("notify", &variables).await;
    assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    let told =
        |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("no webhook is set up"));
    function.line("a warning", told).await;
    assert_eq!(aws.sent_to("notify-dlq").len(), 0);
}

/// People set it while the function is warm: it must not go on without until its process is replaced.
#[tokio::test]
async fn a_webhook_that_is_set_up_later_is_told_by_the_same_process() {
    let (aws, (server, told)) = (Aws::start().await, webhook(Vec::new()).await);
    let mut variables: BTreeMap<String, String> = aws.variables();
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:auction-dev-webhook-a1b2c3";
    variables.insert("QUADRILLE_WEBHOOK_SECRET".into(), arn.into());
    let mut function = Function::start("notify", &variables).await;
    assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    aws.state().secrets.insert(arn.into(), format!("http://{}/services/T0/B0/secret", server.address));
    let began = std::time::Instant::now();
    while told.lock().unwrap().is_empty() {
        assert!(
            began.elapsed() < std::time::Duration::from_secs(20),
            "nobody is told: {:#?}",
            function.lines()
        );
        assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    }
    // Not at each of these invocations: seldom, and once it is there no more.
    let looks = || aws.state().calls.iter().filter(|call| *call == "GetSecretValue").count();
    let found = looks();
    assert!(found < 8, "{found} looks");
    assert_eq!(function.invoke(&topic(&fixture("alarm"))).await.unwrap(), json!(null));
    assert_eq!(looks(), found);
}

#[tokio::test]
async fn what_is_no_alarm_is_a_dead_letter() {
    let (aws, (server, told)) = (Aws::start().await, webhook(Vec::new()).await);
    let mut function = notify(&aws, &server).await;
    assert_eq!(function.invoke(&fixture("topic")).await.unwrap(), json!(null));
    let dead = aws.sent_to("notify-dlq");
    assert_eq!(dead[0]["MessageBody"], "Hello from SNS!");
    assert_eq!(dead[0]["MessageAttributes"]["reason"]["StringValue"], "malformed");
    assert!(told.lock().unwrap().is_empty());
}
