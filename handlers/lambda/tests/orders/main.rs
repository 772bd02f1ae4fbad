//! Every function of orders as the process that Lambda would run, on a peer that speaks AWS's protocols. Events in their
//! documented shape go in, and what they leave in the table, at the topic and in the dead-letter queue is looked at. Lambda's
//! part is played by the test: it hands the stream in, cuts a batch that failed in two, and gives a record up after its retries.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../shared/cloud.rs"]
mod cloud;
#[path = "../shared/definition.rs"]
mod definition;
#[path = "../shared/fixture.rs"]
mod documented;
#[path = "../shared/forward.rs"]
mod forward;
#[path = "../functions/function.rs"]
mod function;
#[path = "../../../../core/tests/aws/peer.rs"]
mod peer;
#[path = "../functions/server.rs"]
mod server;

use cloud::Cloud;
use documented::fixture;
use function::Function;
use quadrille::{DeadLetter, port::Message};
use serde_json::{Value, json};
use server::{Server, response};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use systems::orders::{DEAD_LETTERS, NOTIFICATIONS, Orders};

/// The binary of all functions.
const BINARY: &str = env!("CARGO_BIN_EXE_orders-functions");

/// A name that must not get anywhere but into the table.
const CUSTOMER: &str = "Zaphod Beeblebrox";

/// Lambda's retries of a record, as the mapping has them.
const RETRIES: u32 = 3;

fn order(id: &str) -> Value {
    json!({
        "order_id": id, "customer": CUSTOMER, "email": "zaphod@example.org",
        "items": [{"product": "towel", "quantity": 2, "price": 2.5}], "amount": 5,
    })
}

/// One whose items do not come to its amount.
fn poison(id: &str) -> Value {
    let mut order = order(id);
    order["amount"] = json!(6);
    order
}

/// A record of the stream: an item of the table as it is.
fn record(sequence: usize, id: &str, item: &Value) -> Value {
    let mut record = fixture("stream")["Records"][0].clone();
    record["dynamodb"]["SequenceNumber"] = json!(format!("{:021}", 800_000 + sequence));
    record["dynamodb"]["Keys"] = json!({"order_id": {"S": id}});
    record["dynamodb"]["NewImage"] = item.clone();
    record["dynamodb"]["StreamViewType"] = json!("NEW_IMAGE");
    record
}

/// Creates the orders, and the records of their creation.
async fn created(cloud: &Cloud, orders: &[Value]) -> Vec<Value> {
    let mut create = cloud.function("create_order", &[("TTL_DAYS", "7")]).await;
    let mut records = Vec::new();
    for (at, order) in orders.iter().enumerate() {
        let id = order["order_id"].as_str().unwrap();
        assert_eq!(create.invoke(order).await.unwrap()["outcome"], "created");
        records.push(record(at, id, &cloud.item(id).await));
    }
    records
}

/// Hands a batch in as Lambda does; answers with the records that it gave up.
async fn handed_in(function: &mut Function, records: &[Value]) -> Vec<Value> {
    let mut left = vec![(records.to_vec(), 0)];
    let mut given_up = Vec::new();
    while let Some((batch, tried)) = left.pop() {
        let answer = function.invoke(&json!({ "Records": batch })).await.unwrap();
        let Some(failed) = answer["batchItemFailures"][0]["itemIdentifier"].as_str() else { continue };
        let first = batch.iter().position(|record| record["dynamodb"]["SequenceNumber"] == failed).unwrap();
        let rest = batch[first..].to_vec();
        match rest.len() {
            1 if tried == RETRIES => given_up.extend(rest),
            1 => left.push((rest, tried + 1)),
            count => {
                // The first half first.
                left.push((rest[count / 2..].to_vec(), tried));
                left.push((rest[..count / 2].to_vec(), tried));
            }
        }
    }
    given_up
}

/// What Lambda sends to the dead-letter queue for a record that it gave up.
fn notice(record: &Value) -> String {
    let sequence = &record["dynamodb"]["SequenceNumber"];
    let mut notice = fixture("stream_given_up");
    notice["DDBStreamBatchInfo"]["startSequenceNumber"] = sequence.clone();
    notice["DDBStreamBatchInfo"]["endSequenceNumber"] = sequence.clone();
    notice.to_string()
}

/// Before the peer, and refuses what would change one of these orders.
async fn refusing(url: &'static str, refused: &Arc<Mutex<BTreeSet<String>>>) -> Server {
    let peer = url.strip_prefix("http://").unwrap();
    let refused = Arc::clone(refused);
    Server::start(move |request| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
        let writes = target.is_some_and(|target| target.contains("Put") || target.contains("Execute"));
        let is_refused = writes && refused.lock().unwrap().iter().any(|id| body.contains(id));
        async move {
            if is_refused {
                let body = json!({"__type": "com.amazonaws#AccessDeniedException", "message": "not you"});
                return Some(response(400, body.to_string()));
            }
            Some(forward::forward(peer, request).await.map(http_body_util::Full::new))
        }
    })
    .await
}

async fn letters(cloud: &Cloud) -> Vec<Message> {
    let queue = cloud.ports.queue(DEAD_LETTERS).unwrap();
    queue.receive(10, Duration::ZERO, Some(Duration::ZERO)).await.unwrap()
}

#[tokio::test]
async fn an_order_goes_from_bare_json_by_the_stream_to_the_topic_and_no_further_than_it_may() {
    let Some(url) = peer::require("orders on AWS") else { return };
    let cloud = Cloud::new(url, &Orders, NOTIFICATIONS).await;
    let records = created(&cloud, &[order("o-1")]).await;
    let mut create = cloud.function("create_order", &[("TTL_DAYS", "7")]).await;
    assert_eq!(create.invoke(&order("o-1")).await.unwrap()["outcome"], "unchanged", "the same order twice");
    assert!(create.invoke(&poison("o-1")).await.unwrap_err().to_string().contains("other content"));
    let item = cloud.item("o-1").await;
    assert_eq!((&item["status"], &item["customer"]), (&json!({"S": "NEW"}), &json!({"S": CUSTOMER})));
    let days = item["expires_at"]["N"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(days > 1_700_000_000 && days < 10_000_000_000, "seconds, for the time to live: {item}");

    let mut process = cloud.function("process_order", &[]).await;
    for _ in 0..2 {
        assert_eq!(handed_in(&mut process, &records).await, Vec::<Value>::new(), "the same record twice");
    }
    let item = cloud.item("o-1").await;
    assert_eq!((&item["status"], &item["version"]), (&json!({"S": "PROCESSED"}), &json!({"N": "2"})));
    let mut relay = cloud.function("relay", &[]).await;
    assert_eq!(handed_in(&mut relay, &[record(9, "o-1", &item)]).await, Vec::<Value>::new());
    let notified = cloud.notified().await;
    let event: Value = serde_json::from_str(&notified).unwrap();
    let data = json!({"order_id": "o-1", "status": "PROCESSED", "processed_at": item["processed_at"]["S"]});
    assert_eq!(event["data"], data);
    assert!(!["Zaphod", "zaphod", "towel"].iter().any(|personal| notified.contains(personal)), "{notified}");
    let metrics = process.line("its metrics", |line| line.get("OrdersProcessed").is_some()).await;
    assert!(!metrics["CreatedToProcessed"].is_null(), "{metrics}");
    for function in [&create, &process, &relay] {
        let lines = function.lines().join("\n");
        assert!(!lines.contains("Zaphod") && !lines.contains("zaphod@"), "{lines}");
    }
}

#[tokio::test]
async fn poison_alone_is_in_the_dead_letter_queue_with_its_reason_however_its_batch_is_cut() {
    let Some(url) = peer::require_that_can("poison among orders on AWS", peer::Can::BeMeddledWith) else {
        return;
    };
    let cloud = Cloud::new(url, &Orders, NOTIFICATIONS).await;
    let ids: Vec<String> = (0..10).map(|number| format!("o-{number}")).collect();
    let orders: Vec<Value> = ids.iter().map(|id| if id == "o-7" { poison(id) } else { order(id) }).collect();
    let records = created(&cloud, &orders).await;

    // While one can't be written, its batch is cut in two again and again, until it is alone.
    let refused = Arc::new(Mutex::new(BTreeSet::from(["o-3".to_owned()])));
    let proxy = refusing(url, &refused).await;
    let mut process = cloud.function_behind(&format!("http://{}", proxy.address), "process_order", &[]).await;
    let given_up = handed_in(&mut process, &records).await;
    assert_eq!(given_up, [records[3].clone()], "the one that can't be written, alone");
    let dead = letters(&cloud).await;
    let told: Vec<(Option<String>, String)> =
        dead.iter().map(DeadLetter::read).map(|letter| (letter.subject, letter.reason)).collect();
    assert_eq!(told, [(Some("o-7".to_owned()), "amount_mismatch".to_owned())]);
    assert!(!format!("{dead:?}").contains("Zaphod"));

    // Lambda tells of the one that it gave up, and once it can be written, it is sent again.
    let queue = cloud.ports.queue(DEAD_LETTERS).unwrap();
    let message = quadrille::port::NewMessage { body: notice(&given_up[0]), ..Default::default() };
    queue.send(vec![message]).await.remove(0).unwrap();
    let reasons: BTreeSet<String> =
        letters(&cloud).await.iter().map(|letter| DeadLetter::read(letter).reason).collect();
    assert_eq!(
        reasons,
        BTreeSet::from(["amount_mismatch".to_owned(), "retry_attempts_exhausted".to_owned()])
    );
    refused.lock().unwrap().clear();
    assert_eq!(handed_in(&mut process, &given_up).await, Vec::<Value>::new());

    for id in ids.iter().filter(|id| *id != "o-7") {
        let item = cloud.item(id).await;
        let once = (&json!({"S": "PROCESSED"}), &json!({"N": "2"}));
        assert_eq!((&item["status"], &item["version"]), once, "{id} was processed once");
    }
    assert_eq!(cloud.item("o-7").await["status"], json!({"S": "NEW"}));
}

#[tokio::test]
async fn an_order_is_taken_and_told_of_by_the_http_api() {
    let Some(url) = peer::require("orders over HTTP on AWS") else { return };
    let cloud = Cloud::new(url, &Orders, NOTIFICATIONS).await;
    let mut create = cloud.function("create_order", &[("TTL_DAYS", "7")]).await;
    let mut post = fixture("http_api");
    post["routeKey"] = json!("POST /orders");
    post["requestContext"]["routeKey"] = json!("POST /orders");
    post["headers"]["content-type"] = json!("application/json");
    post["headers"]["idempotency-key"] = json!("monday's");
    let mut unnamed = order("");
    unnamed.as_object_mut().unwrap().remove("order_id");
    post["body"] = json!(unnamed.to_string());
    let body = |answer: &Value| serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap();
    let taken = create.invoke(&post).await.unwrap();
    assert_eq!(taken["statusCode"], 201, "{taken}");
    let again = create.invoke(&post).await.unwrap();
    assert_eq!((&again["statusCode"], &body(&again)["order_id"]), (&json!(200), &body(&taken)["order_id"]));

    let mut get = fixture("http_api");
    get["routeKey"] = json!("GET /orders/{order_id+}");
    get["requestContext"]["routeKey"] = get["routeKey"].clone();
    get["requestContext"]["http"]["method"] = json!("GET");
    let id = body(&taken)["order_id"].as_str().unwrap().to_owned();
    (get["rawPath"], get["pathParameters"]) = (json!(format!("/orders/{id}")), json!({"order_id": id}));
    let told = cloud.function("get_order", &[]).await.invoke(&get).await.unwrap();
    assert_eq!((&told["statusCode"], &body(&told)["customer"]), (&json!(200), &json!(CUSTOMER)));
}
