//! The steps by hand, which are counted beside those on the library, do what they are counted for. Each runs as the process that
//! Lambda would run, on a peer that speaks AWS's protocols.
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
use events::{body, done, message, record, request};
use function::Function;
use serde_json::{Value, json};
use server::{Server, response};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use systems::{auction::Auction, checkout::Checkout, orders::Orders, snacks::Snacks};

/// The example that has all steps: `cargo test` builds it beside the tests.
const BINARY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../debug/examples/by_hand");

/// A name that must not get anywhere but into the table.
const CUSTOMER: &str = "Zaphod Beeblebrox";

/// A system by hand, over the tables, queues and topics of the system on the library.
struct ByHand {
    cloud: Cloud,
    variables: BTreeMap<String, String>,
}

impl ByHand {
    fn new(url: &str, cloud: Cloud, more: &[(&str, &str)]) -> Self {
        let how = "build it first: cargo build -p lambdas --features aws --example by_hand";
        assert!(std::path::Path::new(BINARY).exists(), "{BINARY} is not there; {how}");
        let variables = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let endpoint = ("AWS_ENDPOINT_URL".to_owned(), url.to_owned());
        Self { cloud, variables: variables.chain([endpoint]).collect() }
    }

    /// Starts a step that works this queue, or none.
    async fn step(&self, step: &str, queue: &str) -> Function {
        let mut variables = self.variables.clone();
        variables.insert("STEP".to_owned(), step.to_owned());
        if !queue.is_empty() {
            let url = |name: &str| self.cloud.names.queues[name].clone();
            variables.insert("QUEUE_URL".to_owned(), url(queue));
            variables.insert("DEAD_LETTERS_URL".to_owned(), url(&format!("{queue}-dlq")));
        }
        Function::start(step, &variables).await
    }

    /// Sends on what an item was written with last.
    async fn relayed(&self, key: &str, id: &str) {
        let item = self.cloud.item(id).await;
        let mut relay = self.step("relay", "").await;
        assert_eq!(relay.invoke(&record(key, id, &item)).await.unwrap(), done());
    }
}

fn again(answer: &Value) -> usize {
    answer["batchItemFailures"].as_array().unwrap().len()
}

fn snack(key: &str, total: f64) -> Value {
    let items = json!([{"name": "Chips", "quantity": 2, "price": 2.5}]);
    json!({"customerName": CUSTOMER, "snackItems": items, "totalAmount": total, "idempotencyKey": key})
}

#[tokio::test]
async fn a_snack_is_ordered_once_told_to_the_bus_made_and_told_of() {
    let Some(url) = peer::require("snacks by hand") else { return };
    let cloud = Cloud::new(url, &Snacks, systems::snacks::PROCESSED).await;
    let names = cloud.names.clone();
    let snacks = ByHand::new(
        url,
        cloud,
        &[
            ("ORDERS_TABLE_NAME", &names.tables["orders"]),
            ("EVENT_BUS_NAME", &names.buses["serverless-snacks-orders"]),
            ("PROCESSED_TOPIC_ARN", &names.topics["order-processed"]),
            ("SEED", "1"),
            ("FAILING", "0"),
            ("BUSY", "0"),
        ],
    );
    let mut creator = snacks.step("snacks/order_creator", "").await;
    let told = creator.invoke(&snack("a", 5.0)).await.unwrap();
    assert_eq!(told["outcome"], "created");
    assert_eq!(creator.invoke(&snack("a", 5.0)).await.unwrap()["outcome"], "unchanged");
    let post = |body: &Value| request("POST", "/orders", "/orders", json!({}), body);
    let refused = creator.invoke(&post(&snack("a", 4.99))).await.unwrap();
    assert_eq!(
        (&refused["statusCode"], &body(&refused)["errors"][0]["code"]),
        (&json!(400), &json!("wrong_total"))
    );
    let mut other = snack("a", 5.0);
    other["customerName"] = json!("Arthur");
    assert_eq!(creator.invoke(&post(&other)).await.unwrap()["statusCode"], 409);

    let id = told["orderId"].as_str().unwrap();
    snacks.relayed("orderId", id).await;
    let entry = snacks.cloud.received("order-processor").await;
    let mut processor = snacks.step("snacks/order_processor", "order-processor").await;
    for attempt in 1..=2 {
        assert_eq!(processor.invoke(&message(&entry, attempt)).await.unwrap(), done());
    }
    let item = snacks.cloud.item(id).await;
    assert_eq!((&item["status"], &item["version"]), (&json!({"S": "PROCESSED"}), &json!({"N": "2"})));
    assert_eq!(item["totalAmount"], json!({"N": "5"}));
    snacks.relayed("orderId", id).await;
    assert!(snacks.cloud.notified().await.contains(id));
    let parameters = json!({"orderId": id});
    let cancel = request("POST", "/orders/{orderId}/cancel", "/", parameters.clone(), &Value::Null);
    let mut canceller = snacks.step("snacks/cancel_order", "").await;
    assert_eq!(canceller.invoke(&cancel).await.unwrap()["statusCode"], 409);
    let get = request("GET", "/orders/{orderId+}", "/", parameters, &Value::Null);
    let told = snacks.step("snacks/get_order", "").await.invoke(&get).await.unwrap();
    assert_eq!(body(&told)["trail"][1]["what"], "processed");
    for text in [creator.lines().concat(), processor.lines().concat(), entry] {
        assert!(!text.contains("Zaphod"), "{text}");
    }
}

#[tokio::test]
async fn a_message_comes_again_after_a_wait_and_is_a_dead_letter_after_its_last_attempt() {
    let Some(url) = peer::require("dead letters by hand") else { return };
    let cloud = Cloud::new(url, &Snacks, systems::snacks::PROCESSED).await;
    let table = cloud.names.tables["orders"].clone();
    let mut snacks = ByHand::new(
        url,
        cloud,
        &[
            ("ORDERS_TABLE_NAME", &table),
            ("EVENT_BUS_NAME", "none"),
            ("SEED", "1"),
            ("FAILING", "100"),
            ("BUSY", "0"),
        ],
    );
    let mut creator = snacks.step("snacks/order_creator", "").await;
    let id = creator.invoke(&snack("a", 5.0)).await.unwrap()["orderId"].as_str().unwrap().to_owned();
    let at = "2026-11-20T09:16:00.000Z";
    let entry = json!({"detail": {"orderId": id, "totalAmount": 5, "createdAt": at}}).to_string();
    let mut failing = snacks.step("snacks/order_processor", "order-processor").await;
    for attempt in 1..=2 {
        assert_eq!(again(&failing.invoke(&message(&entry, attempt)).await.unwrap()), 1, "attempt {attempt}");
    }
    // A batch of it and of one that nobody can read: each has its own end.
    let mut batch = message(&entry, 3);
    let mut broken = batch["Records"][0].clone();
    (broken["messageId"], broken["body"]) = (json!("broken"), json!("{"));
    batch["Records"].as_array_mut().unwrap().push(broken);
    assert_eq!(failing.invoke(&batch).await.unwrap(), done());
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let letter = snacks.cloud.letter("order-processor-dlq").await;
        reasons.push(letter.attributes["reason"].clone());
    }
    reasons.sort();
    assert_eq!(reasons, ["kitchen_busy", "malformed_event"]);
    let item = snacks.cloud.item(&id).await;
    assert!(item["history"]["S"].as_str().unwrap().contains("dead-lettered: kitchen_busy"), "{item}");
    snacks.variables.insert("FAILING".to_owned(), "0".to_owned());
    let mut mended = snacks.step("snacks/order_processor", "order-processor").await;
    assert_eq!(mended.invoke(&message(&entry, 1)).await.unwrap(), done());
    assert_eq!(snacks.cloud.item(&id).await["status"], json!({"S": "PROCESSED"}));
}

#[tokio::test]
async fn of_a_streams_batch_poison_alone_is_a_dead_letter() {
    let Some(url) = peer::require("a stream by hand") else { return };
    let cloud = Cloud::new(url, &Orders, systems::orders::NOTIFICATIONS).await;
    let names = cloud.names.clone();
    let orders = ByHand::new(
        url,
        cloud,
        &[
            ("TABLE_NAME", &names.tables["orders"]),
            ("TTL_DAYS", "7"),
            ("TOPIC_ARN", &names.topics[systems::orders::NOTIFICATIONS]),
            ("DEAD_LETTERS_URL", &names.queues[systems::orders::DEAD_LETTERS]),
        ],
    );
    let mut create = orders.step("orders/create_order", "").await;
    let mut batch = fixture("stream");
    batch["Records"] = json!([]);
    for (id, amount) in [("poison", 4), ("sound", 3)] {
        let items = json!([{"product": "tea", "quantity": 2, "price": 1.5}]);
        let order = json!({"order_id": id, "customer": CUSTOMER, "email": "z@example.org", "items": items, "amount": amount});
        assert_eq!(create.invoke(&order).await.unwrap()["outcome"], "created");
        let item = record("order_id", id, &orders.cloud.item(id).await)["Records"][0].clone();
        batch["Records"].as_array_mut().unwrap().push(item);
    }
    let mut process = orders.step("orders/process_order", "").await;
    for _ in 0..2 {
        assert_eq!(process.invoke(&batch).await.unwrap(), done());
    }
    let letter = orders.cloud.letter(systems::orders::DEAD_LETTERS).await;
    assert_eq!(letter.attributes["reason"], "amount_mismatch");
    assert!(letter.body.contains("poison") && !format!("{letter:?}").contains("Zaphod"), "{letter:?}");
    let sound = orders.cloud.item("sound").await;
    assert_eq!((&sound["status"], &sound["version"]), (&json!({"S": "PROCESSED"}), &json!({"N": "2"})));
    orders.relayed("order_id", "sound").await;
    assert!(orders.cloud.notified().await.contains("sound"));
}

#[tokio::test]
async fn an_order_of_the_checkout_is_paid_once_or_fails_and_gives_its_stock_back() {
    let Some(url) = peer::require("the checkout by hand") else { return };
    let charges = Arc::new(AtomicU32::new(0));
    let kept = Arc::clone(&charges);
    let gateway = Server::start(move |asked| {
        kept.fetch_add(1, Ordering::SeqCst);
        let is_declined = asked.headers()["idempotency-key"].to_str().unwrap().starts_with("declined");
        let (status, answer) = if is_declined { (402, "declined") } else { (200, "succeeded") };
        let answer = json!({"status": answer, "transactionId": "t-1"}).to_string();
        std::future::ready(Some(response(status, answer)))
    })
    .await;
    let cloud = Cloud::new(url, &Checkout, systems::checkout::NOTIFICATIONS).await;
    let (names, gateway_url) = (cloud.names.clone(), format!("http://{}", gateway.address));
    let checkout = ByHand::new(
        url,
        cloud,
        &[
            ("ORDERS_TABLE_NAME", &names.tables["orders"]),
            ("PRODUCTS_TABLE_NAME", &names.tables["products"]),
            ("VALIDATE_QUEUE_URL", &names.queues["validate-order"]),
            ("PAYMENT_QUEUE_URL", &names.queues["process-payment"]),
            ("FAIL_QUEUE_URL", &names.queues["fail-order"]),
            ("STOCK_QUEUE_URL", &names.queues["return-stock"]),
            ("VOID_QUEUE_URL", &names.queues["void-payment"]),
            ("NOTIFICATIONS_TOPIC_ARN", &names.topics[systems::checkout::NOTIFICATIONS]),
            ("GATEWAY", &gateway_url),
            ("GATEWAY_TIMEOUT", "5"),
        ],
    );
    let tea = |method: &str, body: Value| {
        request(method, "/products/{productId}", "/products/tea", json!({"productId": "tea"}), &body)
    };
    let mut put = checkout.step("checkout/put_product", "").await;
    let product = json!({"price": 2.5, "stock": 10});
    assert_eq!(put.invoke(&tea("PUT", product)).await.unwrap()["statusCode"], 200);
    let mut get = checkout.step("checkout/get_product", "").await;
    let mut receive = checkout.step("checkout/receive_order", "orders").await;
    let mut validate = checkout.step("checkout/validate_order", "validate-order").await;
    let mut pay = checkout.step("checkout/process_payment", "process-payment").await;
    let mut left = Vec::new();
    for (id, quantity) in [("paid", 4), ("declined", 5), ("short", 100)] {
        let items = json!([{"productId": "tea", "quantity": quantity, "price": 2.5}]);
        let total = 2.5 * f64::from(quantity);
        let order = json!({"orderId": id, "userId": CUSTOMER, "items": items, "totalAmount": total});
        assert_eq!(receive.invoke(&message(&order.to_string(), 1)).await.unwrap(), done());
        checkout.relayed("orderId", id).await;
        let received = checkout.cloud.received("validate-order").await;
        assert_eq!(validate.invoke(&message(&received, 1)).await.unwrap(), done());
        assert_eq!(validate.invoke(&message(&received, 2)).await.unwrap(), done());
        if id != "short" {
            checkout.relayed("orderId", id).await;
            let due = checkout.cloud.received("process-payment").await;
            for attempt in 1..=2 {
                assert_eq!(pay.invoke(&message(&due, attempt)).await.unwrap(), done());
            }
        }
        left.push(body(&get.invoke(&tea("GET", Value::Null)).await.unwrap())["available"].clone());
    }
    assert_eq!((left, charges.load(Ordering::SeqCst)), (vec![json!(6), json!(1), json!(1)], 2));
    let mut fail = checkout.step("checkout/fail_order", "fail-order").await;
    let mut give_back = checkout.step("checkout/return_stock", "return-stock").await;
    // Each was given up twice, for it was delivered twice.
    for _ in 0..4 {
        let failing = checkout.cloud.received("fail-order").await;
        assert_eq!(fail.invoke(&message(&failing, 1)).await.unwrap(), done());
    }
    for (id, reason) in [("declined", "PAYMENT_FAILED"), ("short", "OUT_OF_STOCK")] {
        assert_eq!(checkout.cloud.item(id).await["errorReason"], json!({"S": reason}));
        checkout.relayed("orderId", id).await;
        let back = checkout.cloud.received("return-stock").await;
        for attempt in 1..=2 {
            assert_eq!(give_back.invoke(&message(&back, attempt)).await.unwrap(), done());
        }
    }
    assert_eq!(checkout.cloud.item("paid").await["orderStatus"], json!({"S": "COMPLETED"}));
    assert_eq!(body(&get.invoke(&tea("GET", Value::Null)).await.unwrap())["available"], 6);
}

#[tokio::test]
async fn a_run_of_the_auction_takes_the_open_orders_and_commits_what_the_platform_decides() {
    let Some(url) = peer::require("the auction by hand") else { return };
    let asks = AtomicU32::new(0);
    let platform = Server::start(move |asked| {
        let answer = match (asked.method().as_str(), asks.load(Ordering::SeqCst)) {
            ("PUT", _) => json!({}),
            (_, 0) => {
                asks.fetch_add(1, Ordering::SeqCst);
                json!({"results": false})
            }
            _ => json!({"results": true, "orders": [
                {"record_id": "a", "status": "accepted", "power": 1}, {"record_id": "nobody", "status": "accepted"},
            ]}),
        };
        std::future::ready(Some(response(200, answer.to_string())))
    })
    .await;
    let cloud = Cloud::new(url, &Auction, systems::auction::ALERTS).await;
    let (names, platform_url) = (cloud.names.clone(), format!("http://{}", platform.address));
    let auction = ByHand::new(
        url,
        cloud,
        &[
            ("TABLE_NAME", &names.tables["orders"]),
            ("POLL_QUEUE_URL", &names.queues["auction-poll"]),
            ("RESULTS_QUEUE_URL", &names.queues["auction-results"]),
            ("RESULTS_BUCKET", "none"),
            ("PLATFORM", &platform_url),
            ("PLATFORM_TIMEOUT", "5"),
            ("BACKOFF", "0"),
            ("DEADLINE", "3600"),
            ("ORDERS_PER_RUN", "1000"),
            ("OPEN_SHARDS", "64"),
            ("RUN_PARTS", "2"),
            ("RESULT_PREFIXES", "1"),
        ],
    );
    let mut post = auction.step("auction/post_orders", "").await;
    let order = |id: &str| json!({"record_id": id, "parameter_1": "abc", "parameter_2": 2.10});
    let posted = request("POST", "/orders", "/orders", json!({}), &json!([order("a"), order("c")]));
    for outcome in ["stored", "unchanged"] {
        let answer = post.invoke(&posted).await.unwrap();
        assert_eq!(
            (&answer["statusCode"], &body(&answer)["results"][1]["outcome"]),
            (&json!(202), &json!(outcome))
        );
    }
    let mut poll = auction.step("auction/poll_auction", "auction-poll").await;
    let kickoff = quadrille::Timestamp::from_millis(now()).to_string();
    let mut counts = [0; 4];
    // It is divided into two parts, and each has one of the orders.
    for run_id in [kickoff.clone(), format!("{kickoff}~0of2"), format!("{kickoff}~1of2")] {
        let mut event = json!({"run_id": run_id}).to_string();
        loop {
            for attempt in 1..=2 {
                assert_eq!(
                    poll.invoke(&message(&event, attempt)).await.unwrap(),
                    done(),
                    "{:#?}",
                    poll.lines()
                );
            }
            let item = auction.cloud.item(&format!("run/{run_id}")).await;
            let document: Value = serde_json::from_str(item["document"]["S"].as_str().unwrap()).unwrap();
            if document["phase"] == "Ended" {
                for (sum, name) in counts.iter_mut().zip(["submitted", "accepted", "rejected", "undecidable"])
                {
                    *sum += document[name].as_u64().unwrap();
                }
                break;
            }
            event = json!({"run_id": run_id, "round": document["round"]}).to_string();
        }
    }
    assert_eq!(counts, [2, 1, 0, 1]);
    let mut withdraw = auction.step("auction/withdraw_order", "").await;
    let path = "/orders/{record_id+}/withdrawal";
    let withdrawal = |id: &str| request("POST", path, "/", json!({ "record_id": id }), &Value::Null);
    assert_eq!(withdraw.invoke(&withdrawal("a")).await.unwrap()["statusCode"], 409);
    assert_eq!(withdraw.invoke(&withdrawal("nobody")).await.unwrap()["statusCode"], 404);
    let posted = request("POST", "/orders", "/orders", json!({}), &json!([order("unwanted")]));
    assert_eq!(post.invoke(&posted).await.unwrap()["statusCode"], 202);
    for outcome in ["withdrawn", "unchanged"] {
        let answer = withdraw.invoke(&withdrawal("unwanted")).await.unwrap();
        assert_eq!((&answer["statusCode"], &body(&answer)["outcome"]), (&json!(200), &json!(outcome)));
    }
    let mut store = auction.step("auction/store_result", "auction-results").await;
    auction.relayed("key", "order/c").await;
    let decided = auction.cloud.received("auction-results").await;
    assert_eq!(store.invoke(&message(&decided, 1)).await.unwrap(), done());
    let letter = auction.cloud.letter("auction-results-dlq").await;
    assert_eq!(letter.attributes["reason"], "decision_missing");
}

/// Milliseconds since 1970.
fn now() -> i64 {
    quadrille::port::Clock::now(&quadrille::port::SystemClock).as_millis()
}
