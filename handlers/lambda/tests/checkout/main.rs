//! Every function of the checkout as the process that Lambda would run, on a peer that speaks AWS's protocols. Events in their
//! documented shape go in. The tests look at what they leave in the tables, in the queues, at the topic and at the gateway.
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
use function::Function;
use serde_json::{Value, json};
use server::{Server, response};
use std::sync::{Arc, Mutex};
use systems::checkout::{Checkout, NOTIFICATIONS};

/// The binary of all functions.
const BINARY: &str = env!("CARGO_BIN_EXE_checkout-functions");

/// A person's id that must not get anywhere but into the table and to the gateway.
const USER: &str = "zaphod-beeblebrox";

/// What the gateway was asked: method, path, and the key of a charge.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// A gateway that charges, declines those whose order begins with `declined`, and does not answer those with `unheard`.
async fn gateway() -> (Server, Asked) {
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    let server = Server::start(move |request| {
        let key = request.headers().get("idempotency-key").map_or("", |key| key.to_str().unwrap()).to_owned();
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        assert_eq!(request.headers()["authorization"], "Bearer sesame");
        let (status, answer) = match method.as_str() {
            "DELETE" => (200, json!({ "status": "refunded", "transactionId": "t-back" })),
            _ if key.starts_with("declined") => (402, json!({ "status": "declined", "message": "no funds" })),
            _ if key.starts_with("unheard") => (503, json!(null)),
            _ => (200, json!({ "status": "succeeded", "transactionId": "t-1", "provider": "acme" })),
        };
        kept.lock().unwrap().push((method, path, key));
        std::future::ready(Some(response(status, answer.to_string())))
    })
    .await;
    (server, asked)
}

/// Secrets Manager, which the peer has not: it has this one secret.
async fn secrets(value: String) -> Server {
    Server::start(move |_| {
        let secret = json!({ "Name": "a-secret", "SecretString": value });
        std::future::ready(Some(response(200, secret.to_string())))
    })
    .await
}

/// The checkout with its product, its gateway and its relay.
struct Shop {
    cloud: Cloud,
    gateway: Server,
    secrets: Server,
    asked: Asked,
    relay: Function,
}

impl Shop {
    async fn open(url: &'static str) -> Self {
        let cloud = Cloud::new(url, &Checkout, NOTIFICATIONS).await;
        let (gateway, asked) = gateway().await;
        let secrets = secrets("sesame".to_owned()).await;
        let relay = cloud.function("relay", &[]).await;
        let mut put = cloud.function("put_product", &[]).await;
        let product = json!({ "price": 2.5, "stock": 10 });
        let parameters = json!({ "productId": "tea" });
        let event = request("PUT", "/products/{productId}", "/products/tea", parameters, &product);
        assert_eq!(put.invoke(&event).await.unwrap()["statusCode"], 200);
        Self { cloud, gateway, secrets, asked, relay }
    }

    /// A function that finds the gateway.
    async fn paying(&self, name: &str) -> Function {
        let (gateway, secrets) =
            (format!("http://{}", self.gateway.address), format!("http://{}", self.secrets.address));
        let settings = [
            ("QUADRILLE_GATEWAY", gateway.as_str()),
            ("QUADRILLE_GATEWAY_TOKEN_SECRET", "token"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.as_str()),
        ];
        self.cloud.function(name, &settings).await
    }

    /// Sends on what the order's last commit emitted.
    async fn relayed(&mut self, id: &str) {
        let item = self.cloud.item(id).await;
        assert_eq!(self.relay.invoke(&record("orderId", id, &item)).await.unwrap(), done());
    }

    /// Takes an order in by the queue, and validates it.
    async fn validated(&mut self, id: &str, quantity: u32) {
        let mut receive = self.cloud.function("receive_order", &[]).await;
        let sent = message(&order(id, quantity).to_string(), 1);
        assert_eq!(receive.invoke(&sent).await.unwrap(), done());
        self.relayed(id).await;
        let due = self.cloud.received("validate-order").await;
        let mut validate = self.cloud.function("validate_order", &[]).await;
        assert_eq!(validate.invoke(&message(&due, 1)).await.unwrap(), done());
    }

    /// How many units are left.
    async fn left(&self) -> Value {
        let mut get = self.cloud.function("get_product", &[]).await;
        let parameters = json!({ "productId": "tea" });
        let event = request("GET", "/products/{productId}", "/products/tea", parameters, &Value::Null);
        body(&get.invoke(&event).await.unwrap())["available"].clone()
    }

    /// Lets what a step gave up fail, and gives its stock back.
    async fn fails(&mut self, id: &str) {
        let failing = self.cloud.received("fail-order").await;
        let mut fail = self.cloud.function("fail_order", &[]).await;
        assert_eq!(fail.invoke(&message(&failing, 1)).await.unwrap(), done());
        self.relayed(id).await;
        let back = self.cloud.received("return-stock").await;
        let mut give_back = self.cloud.function("return_stock", &[]).await;
        for attempt in 1..=2 {
            assert_eq!(give_back.invoke(&message(&back, attempt)).await.unwrap(), done());
        }
    }
}

fn order(id: &str, quantity: u32) -> Value {
    let item = json!({ "productId": "tea", "quantity": quantity, "price": 2.5 });
    json!({ "orderId": id, "userId": USER, "items": [item], "totalAmount": 2.5 * f64::from(quantity) })
}

#[tokio::test]
async fn an_order_of_the_queue_is_validated_paid_once_completed_and_told_of() {
    let Some(url) = peer::require("the checkout on AWS") else { return };
    let mut shop = Shop::open(url).await;
    shop.validated("paid", 3).await;
    assert_eq!(shown(&shop.cloud.item("paid").await)["orderStatus"], json!({ "S": "VALIDATED" }));
    assert_eq!(shop.left().await, 7);
    shop.relayed("paid").await;
    let due = shop.cloud.received("process-payment").await;
    let mut pay = shop.paying("process_payment").await;
    for attempt in 1..=2 {
        assert_eq!(pay.invoke(&message(&due, attempt)).await.unwrap(), done(), "delivered twice");
    }
    let item = shown(&shop.cloud.item("paid").await);
    assert_eq!(item["orderStatus"], json!({ "S": "COMPLETED" }));
    assert_eq!(item["paymentTransactionId"], json!({ "S": "t-1" }));
    assert_eq!(item["paymentResult"]["M"]["provider"], json!({ "S": "acme" }));
    assert_eq!(item["validationResult"]["M"]["isValid"], json!({ "BOOL": true }));
    let asked = shop.asked.lock().unwrap().clone();
    let [(method, path, key)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/payments"));
    assert!(key.starts_with("paid@"), "{key}");
    shop.relayed("paid").await;
    let told: Value = serde_json::from_str(&shop.cloud.notified().await).unwrap();
    let completed = json!({ "orderId": "paid", "orderStatus": "COMPLETED", "paymentTransactionId": "t-1" });
    assert_eq!(told["data"], completed);
    let metrics = pay.line("its metrics", |line| line.get("OrdersCompleted").is_some()).await;
    assert!(metrics["TakenInToEnded"].is_number() || metrics["TakenInToEnded"].is_array(), "{metrics}");
    for text in [pay.lines().concat(), shop.relay.lines().concat(), told.to_string(), due] {
        assert!(!text.contains(USER) && !text.contains("sesame"), "{text}");
    }
}

#[tokio::test]
async fn a_declined_payment_and_an_order_beyond_the_stock_fail_without_a_dead_letter() {
    let Some(url) = peer::require("failures of the checkout on AWS") else { return };
    let mut shop = Shop::open(url).await;
    shop.validated("declined", 10).await;
    shop.relayed("declined").await;
    let due = shop.cloud.received("process-payment").await;
    let mut pay = shop.paying("process_payment").await;
    assert_eq!(pay.invoke(&message(&due, 1)).await.unwrap(), done());
    // The stock is held until the order has failed.
    shop.validated("beyond", 1).await;
    assert_eq!(shop.left().await, 0);
    shop.fails("declined").await;
    assert_eq!(shop.left().await, 10);
    let item = shown(&shop.cloud.item("declined").await);
    assert_eq!(item["errorReason"], json!({ "S": "PAYMENT_FAILED" }));
    assert_eq!(item["errorCause"], json!({ "S": "payment_declined" }));
    assert_eq!(item["paymentResult"]["M"]["message"], json!({ "S": "no funds" }));
    let told: Value = serde_json::from_str(&shop.cloud.notified().await).unwrap();
    assert_eq!(told["data"]["errorReason"], "PAYMENT_FAILED");
    shop.fails("beyond").await;
    let item = shown(&shop.cloud.item("beyond").await);
    assert_eq!(item["errorReason"], json!({ "S": "OUT_OF_STOCK" }));
    let error = &item["validationResult"]["M"]["errors"]["L"][0]["M"];
    assert_eq!(error["pointer"], json!({ "S": "/items/0/quantity" }));
    for queue in ["validate-order-dlq", "process-payment-dlq", "fail-order-dlq"] {
        assert_eq!(shop.cloud.ports.queue(queue).unwrap().depth().await.unwrap().total(), 0, "{queue}");
    }
}

#[tokio::test]
async fn a_payment_that_is_given_up_is_a_dead_letter_and_its_order_fails_and_is_paid_back() {
    let Some(url) = peer::require("payments that are given up on AWS") else { return };
    let mut shop = Shop::open(url).await;
    shop.validated("unheard", 4).await;
    shop.relayed("unheard").await;
    let due = shop.cloud.received("process-payment").await;
    let mut pay = shop.paying("process_payment").await;
    for attempt in 1..=2 {
        let again = pay.invoke(&message(&due, attempt)).await.unwrap();
        assert_eq!(
            again["batchItemFailures"].as_array().map(Vec::len),
            Some(1),
            "attempt {attempt}: {again}"
        );
    }
    assert_eq!(pay.invoke(&message(&due, 3)).await.unwrap(), done());
    let letter = shop.cloud.letter("process-payment-dlq").await;
    assert_eq!(
        (letter.attributes["reason"].as_str(), letter.attributes["attempts"].as_str()),
        ("gateway_error", "3")
    );
    shop.fails("unheard").await;
    assert_eq!(shop.left().await, 10);
    let void = shop.cloud.received("void-payment").await;
    let mut voiding = shop.paying("void_payment").await;
    for attempt in 1..=2 {
        assert_eq!(voiding.invoke(&message(&void, attempt)).await.unwrap(), done(), "delivered twice");
    }
    let item = shown(&shop.cloud.item("unheard").await);
    assert_eq!(item["errorReason"], json!({ "S": "PAYMENT_UNAVAILABLE" }));
    assert_eq!(item["errorCause"], json!({ "S": "gateway_error" }));
    assert_eq!(item["paymentResult"]["M"]["status"], json!({ "S": "REFUNDED" }));
    let voids = shop.asked.lock().unwrap().iter().filter(|(method, ..)| method == "DELETE").count();
    assert_eq!(voids, 1);
    // Redriven, it finds the order failed, and nobody is charged any more.
    assert_eq!(pay.invoke(&message(&letter.body, 1)).await.unwrap(), done());
    assert_eq!(
        shown(&shop.cloud.item("unheard").await)["paymentResult"]["M"]["status"],
        json!({ "S": "REFUNDED" })
    );
}

#[tokio::test]
async fn orders_are_taken_and_told_of_by_the_http_api_and_what_is_no_order_is_a_dead_letter() {
    let Some(url) = peer::require("the checkout over HTTP on AWS") else { return };
    let shop = Shop::open(url).await;
    let mut create = shop.cloud.function("create_order", &[]).await;
    let post = request("POST", "/orders", "/orders", json!({}), &order("posted", 1));
    for outcome in ["stored", "unchanged"] {
        let answer = create.invoke(&post).await.unwrap();
        assert_eq!((&answer["statusCode"], &body(&answer)["outcome"]), (&json!(202), &json!(outcome)));
    }
    // As another program invokes it, with bare JSON.
    assert_eq!(create.invoke(&order("posted", 1)).await.unwrap()["outcome"], "unchanged");
    let mut get = shop.cloud.function("get_order", &[]).await;
    for (id, status) in [("posted", 200), ("nobody", 404)] {
        let parameters = json!({ "orderId": id });
        let event = request("GET", "/orders/{orderId}", &format!("/orders/{id}"), parameters, &Value::Null);
        assert_eq!(get.invoke(&event).await.unwrap()["statusCode"], status);
    }
    let mut receive = shop.cloud.function("receive_order", &[]).await;
    assert_eq!(receive.invoke(&message(r#"{"userId": "zaphod-beeblebrox"}"#, 1)).await.unwrap(), done());
    let letter = shop.cloud.letter("orders-dlq").await;
    assert_eq!(letter.attributes["reason"], "malformed_order");
    assert!(!receive.lines().concat().contains(USER));
}

#[tokio::test]
async fn an_alarm_of_a_dead_letter_queue_reaches_the_webhook() {
    let Some(url) = peer::require("alarms of the checkout on AWS") else { return };
    let cloud = Cloud::new(url, &Checkout, NOTIFICATIONS).await;
    let told = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&told);
    let webhook = Server::start(move |request| {
        kept.lock().unwrap().push(String::from_utf8_lossy(request.body()).into_owned());
        std::future::ready(Some(response(200, "ok")))
    })
    .await;
    let secrets = secrets(format!("http://{}/services/secret", webhook.address)).await;
    let endpoint = format!("http://{}", secrets.address);
    let settings =
        [("QUADRILLE_WEBHOOK_SECRET", "webhook"), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str())];
    let mut notify = cloud.function("notify", &settings).await;
    let mut alarm = fixture("topic");
    alarm["Records"][0]["Sns"]["Message"] = json!(fixture("alarm").to_string());
    assert_eq!(notify.invoke(&alarm).await.unwrap(), json!(null));
    let told = told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].contains("Threshold Crossed"), "{told:?}");
}
