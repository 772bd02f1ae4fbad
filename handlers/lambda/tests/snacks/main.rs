//! Every function of snacks as the process that Lambda would run, on a peer that speaks AWS's protocols. Events in their
//! documented shape go in. The tests look at what they leave in the table, on the bus, in the queues and at the topic.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../shared/cloud.rs"]
mod cloud;
#[path = "../shared/definition.rs"]
mod definition;
#[path = "../shared/fixture.rs"]
mod documented;
#[path = "../shared/events.rs"]
mod events;
#[path = "../functions/function.rs"]
mod function;
#[path = "../../../../core/tests/aws/peer.rs"]
mod peer;
#[path = "../functions/server.rs"]
mod server;

use cloud::Cloud;
use documented::fixture;
use events::{body, done, message, record, request, shown};
use serde_json::{Value, json};
use systems::snacks::{PROCESSED, Snacks};

/// The binary of all functions.
const BINARY: &str = env!("CARGO_BIN_EXE_snacks-functions");

/// A name that must not get anywhere but into the table.
const CUSTOMER: &str = "Zaphod Beeblebrox";

const DEAD: &str = "order-processor-dlq";

fn order(key: &str) -> Value {
    json!({
        "customerName": CUSTOMER, "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}], "totalAmount": 5,
        "idempotencyKey": key,
    })
}

#[tokio::test]
async fn an_order_goes_from_bare_json_by_the_bus_to_the_kitchen_and_to_the_topic() {
    let Some(url) = peer::require("snacks on AWS") else { return };
    let cloud = Cloud::new(url, &Snacks, PROCESSED).await;
    let mut creator = cloud.function("order_creator", &[]).await;
    let told = creator.invoke(&order("a")).await.unwrap();
    let id = told["orderId"].as_str().unwrap().to_owned();
    assert_eq!((&told["status"], &told["outcome"]), (&json!("NEW"), &json!("created")));
    assert_eq!(
        creator.invoke(&order("a")).await.unwrap()["outcome"],
        "unchanged",
        "a retry is the same order"
    );
    let mut wrong = order("b");
    wrong["totalAmount"] = json!(6);
    let refused = creator.invoke(&wrong).await.unwrap_err();
    assert!(refused.to_string().contains("the items cost 5"), "{refused}");

    let item = cloud.item(&id).await;
    let mut expected = json!({
        "orderId": {"S": id}, "status": {"S": "NEW"}, "customerName": {"S": CUSTOMER}, "totalAmount": {"N": "5"},
        "snackItems": {"L": [{"M": {"name": {"S": "Chips"}, "quantity": {"N": "2"}, "price": {"N": "2.5"}}}]},
        "createdAt": {"S": told["createdAt"]},
    });
    assert_eq!(shown(&item), expected);

    // From the stream by the relay to the bus, and by the rule to the queue.
    let mut relay = cloud.function("relay", &[]).await;
    assert_eq!(relay.invoke(&record("orderId", &id, &item)).await.unwrap(), done());
    let detail = cloud.received("order-processor").await;
    let event: Value = serde_json::from_str(&detail).unwrap();
    assert_eq!((&event["type"], &event["subject"]), (&json!("Order Created"), &json!(id)));

    let mut processor = cloud.function("order_processor", &[]).await;
    assert_eq!(processor.invoke(&message(&detail, 1)).await.unwrap(), done());
    assert_eq!(processor.invoke(&message(&detail, 2)).await.unwrap(), done(), "delivered twice");
    let item = cloud.item(&id).await;
    assert_eq!(item["version"], json!({"N": "2"}), "processed once");
    for at in ["processedAt", "updatedAt"] {
        let text = item[at]["S"].as_str().unwrap();
        assert!(text.len() == "2026-11-20T09:15:00.000Z".len() && text.ends_with('Z'), "{text}");
        expected[at] = item[at].clone();
    }
    expected["status"] = json!({"S": "PROCESSED"});
    assert_eq!(shown(&item), expected);

    assert_eq!(relay.invoke(&record("orderId", &id, &item)).await.unwrap(), done());
    let notified: Value = serde_json::from_str(&cloud.notified().await).unwrap();
    assert_eq!(notified["data"], json!({"orderId": id, "processedAt": item["processedAt"]["S"]}));

    for function in [&creator, &relay, &processor] {
        let lines = function.lines().join("\n");
        assert!(!lines.contains("Zaphod") && !lines.contains("Beeblebrox"), "{lines}");
    }
    for text in [detail, notified.to_string()] {
        assert!(!text.contains("Zaphod"), "{text}");
    }
    let metrics = processor.line("its metrics", |line| line.get("OrdersProcessed").is_some()).await;
    assert!(
        metrics["CreatedToProcessed"].is_number() || metrics["CreatedToProcessed"].is_array(),
        "{metrics}"
    );
}

#[tokio::test]
async fn orders_are_taken_told_of_and_cancelled_by_the_http_api() {
    let Some(url) = peer::require("snacks over HTTP on AWS") else { return };
    let cloud = Cloud::new(url, &Snacks, PROCESSED).await;
    let mut creator = cloud.function("order_creator", &[]).await;
    let mut post = request("POST", "/orders", "/orders", json!({}), &order("a"));
    post["headers"]["idempotency-key"] = json!("by header");
    let created = creator.invoke(&post).await.unwrap();
    assert_eq!(created["statusCode"], 201, "{created}");
    let id = body(&created)["orderId"].as_str().unwrap().to_owned();
    assert_eq!(creator.invoke(&post).await.unwrap()["statusCode"], 200);
    let mut wrong = order("a");
    wrong["totalAmount"] = json!(4.99);
    let refused = creator.invoke(&request("POST", "/orders", "/orders", json!({}), &wrong)).await.unwrap();
    let detail = body(&refused)["errors"][0]["detail"].clone();
    assert_eq!(
        (&refused["statusCode"], detail),
        (&json!(400), json!("`totalAmount` is 4.99, and the items cost 5."))
    );

    let parameters = json!({ "orderId": id });
    let get =
        request("GET", "/orders/{orderId+}", &format!("/orders/{id}"), parameters.clone(), &Value::Null);
    let mut getter = cloud.function("get_order", &[]).await;
    let told = getter.invoke(&get).await.unwrap();
    assert_eq!((&told["statusCode"], &body(&told)["customerName"]), (&json!(200), &json!(CUSTOMER)));

    let path = format!("/orders/{id}/cancel");
    let cancel = request("POST", "/orders/{orderId}/cancel", &path, parameters, &Value::Null);
    let mut canceller = cloud.function("cancel_order", &[]).await;
    let cancelled = canceller.invoke(&cancel).await.unwrap();
    assert_eq!((&cancelled["statusCode"], &body(&cancelled)["status"]), (&json!(200), &json!("CANCELLED")));

    // The event comes later, and finds it cancelled.
    let item = cloud.item(&id).await;
    assert_eq!((&item["status"], &item["version"]), (&json!({"S": "CANCELLED"}), &json!({"N": "2"})));
    let mut processor = cloud.function("order_processor", &[]).await;
    assert_eq!(processor.invoke(&message(&created_event(&id), 1)).await.unwrap(), done());
    assert_eq!(cloud.item(&id).await["version"], json!({"N": "2"}));
}

/// "There is a new order", as the relay publishes it.
fn created_event(id: &str) -> String {
    json!({
        "specversion": "1.0", "id": format!("order/{id}@1.1.0"), "source": "/snacks/order_creator", "type": "Order Created",
        "subject": id, "time": "2026-11-20T09:16:00.000Z",
        "data": {"orderId": id, "totalAmount": 5, "createdAt": "2026-11-20T09:16:00.000Z"},
    })
    .to_string()
}

#[tokio::test]
async fn the_third_failed_attempt_is_a_dead_letter_which_is_processed_when_it_comes_back() {
    let Some(url) = peer::require("dead letters of snacks on AWS") else { return };
    let cloud = Cloud::new(url, &Snacks, PROCESSED).await;
    let mut creator = cloud.function("order_creator", &[]).await;
    let id = creator.invoke(&order("a")).await.unwrap()["orderId"].as_str().unwrap().to_owned();
    let mut failing = cloud.function("order_processor", &[("QUADRILLE_FAILING", "100")]).await;
    for attempt in 1..=2 {
        let again = failing.invoke(&message(&created_event(&id), attempt)).await.unwrap();
        assert_eq!(again["batchItemFailures"].as_array().unwrap().len(), 1, "attempt {attempt}: {again}");
    }
    assert_eq!(failing.invoke(&message(&created_event(&id), 3)).await.unwrap(), done());
    let letter = cloud.letter(DEAD).await;
    let attribute = |name: &str| letter.attributes[name].as_str();
    assert_eq!((attribute("reason"), attribute("attempts")), ("kitchen_busy", "3"));
    assert_eq!(cloud.item(&id).await["status"], json!({"S": "NEW"}));
    assert!(!format!("{letter:?} {:?}", failing.lines()).contains("Zaphod"));

    // Redriven; and as EventBridge itself dead-letters what it could not hand to the queue: the whole event.
    let mut mended = cloud.function("order_processor", &[]).await;
    let mut redriven = message(&letter.body, 1);
    redriven["Records"][0]["attributes"]["SentTimestamp"] = json!("4102444800000");
    assert_eq!(mended.invoke(&redriven).await.unwrap(), done());
    assert_eq!(cloud.item(&id).await["status"], json!({"S": "PROCESSED"}));
    let other = creator.invoke(&order("b")).await.unwrap()["orderId"].as_str().unwrap().to_owned();
    let mut whole = fixture("bus");
    (whole["source"], whole["detail-type"]) = (json!("snacks"), json!("Order Created"));
    whole["detail"] = serde_json::from_str(&created_event(&other)).unwrap();
    assert_eq!(mended.invoke(&message(&whole.to_string(), 1)).await.unwrap(), done());
    assert_eq!(cloud.item(&other).await["status"], json!({"S": "PROCESSED"}));
}
