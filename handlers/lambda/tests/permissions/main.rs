//! Each function of each system calls for all that its permissions allow, and for nothing else. The functions run as the
//! processes that Lambda would run, on a peer that speaks AWS's protocols, and work the whole flow: one at a time, many at once,
//! and in situations that are faults. A permission that only a fault needs is named in [`FAULTS`] with it.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../shared/definition.rs"]
mod definition;
#[path = "../shared/fixture.rs"]
mod documented;
#[path = "../shared/events.rs"]
mod events;
#[path = "../shared/forward.rs"]
mod forward;
#[path = "../functions/function.rs"]
mod function;
#[path = "../shared/handed.rs"]
mod handed;
#[path = "../../../../core/tests/aws/peer.rs"]
mod peer;
#[path = "../functions/server.rs"]
mod server;
mod stack;
mod watch;

use documented::fixture;
use events::request;
use quadrille::{
    Timestamp,
    port::{Clock as _, SystemClock},
    system::System,
};
use serde_json::{Value, json};
use stack::Stack;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};
use systems::{
    auction::{Auction, KICKOFF},
    checkout::Checkout,
    orders::Orders,
    snacks::Snacks,
};
use watch::{Fault, Permission, STARTS};

/// The binary of functions that are started without another being named; none is here.
const BINARY: &str = env!("CARGO_BIN_EXE_auction-functions");

const ONE: &str = "one at a time";
const MANY: &str = "many at once";
const UNREADABLE: &str = "a message that can't be read is given up";
const AWAY: &str = "tables and buckets are away, and the message is hidden for its backoff";
const EARLY: &str = "an event is there before its time";
const REFUSED: &str = "a destination refuses for good";
const LOST: &str = "the answer to a put is lost";
const GIVEN_UP: &str = "a message is given up at its last attempt";

/// Permissions that no flow needs where all goes well: the action, what it is on (`*` for a dead-letter queue of whatever
/// name), and the situation that needs it.
const FAULTS: [(&str, &str, &str); 6] = [
    ("sqs:SendMessage", "*-dlq", UNREADABLE),
    ("sqs:SendMessage", "*-dlq", REFUSED),
    ("sqs:ChangeMessageVisibility", "*", AWAY),
    ("sqs:SendMessage", "*", EARLY),
    ("sqs:SendMessage", "*", GIVEN_UP),
    ("s3:GetObject", "*", LOST),
];

/// What Lambda itself calls in the name of a function's role, for its queue. For a stream it reads that, and where it gives a record
/// up it sends to the queue that is told of it. A rehearsal alone sees these (docs/delivery.md).
const OF_LAMBDA: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// What a function's policy allows on tables, queues, buckets, topics, buses and secrets, without Lambda's own part. Of keys,
/// logs and traces nothing is seen here.
fn allowed(stack: &Stack, function: &str) -> BTreeSet<Permission> {
    fn each<U: Copy>(
        allowed: &mut BTreeSet<Permission>,
        needed: &BTreeMap<String, BTreeSet<U>>,
        actions: impl Fn(U) -> &'static [&'static str],
    ) {
        for (name, uses) in needed {
            let actions = uses.iter().flat_map(|used| actions(*used));
            allowed.extend(actions.map(|action| ((*action).to_owned(), name.clone())));
        }
    }
    let model = stack.choreography.model();
    let needs = definition::needs(model, function);
    let mut allowed = BTreeSet::new();
    each(&mut allowed, &needs.tables, |used| used.actions());
    each(&mut allowed, &needs.queues, |used| used.actions());
    each(&mut allowed, &needs.buckets, |used| used.actions());
    each(&mut allowed, &needs.topics, |used| used.actions());
    each(&mut allowed, &needs.buses, |used| used.actions());
    let secrets = model.settings_of(function).into_iter().filter(|setting| setting.is_secret);
    let read = |name: &String| ("secretsmanager:GetSecretValue".to_owned(), name.clone());
    allowed.extend(secrets.map(|secret| read(&secret.name)));
    allowed.retain(|(action, _)| !OF_LAMBDA.contains(&action.as_str()));
    allowed
}

/// Whether `FAULTS` names this permission with one of these situations.
fn is_named((action, on): &Permission, situations: &BTreeSet<&str>) -> bool {
    FAULTS.iter().any(|(of, pattern, fault)| {
        let end = pattern.trim_start_matches('*');
        of == action && on.ends_with(end) && situations.contains(fault)
    })
}

/// What is amiss with the permissions of a system's functions.
fn amiss(stack: &Stack) -> Vec<String> {
    let mut amiss = Vec::new();
    for function in stack.functions() {
        let (allowed, seen) = (allowed(stack, &function), stack.watch.of(&function));
        for (action, on) in &allowed {
            match seen.get(&(action.clone(), on.clone())) {
                None => amiss.push(format!("{function}: nothing needs {action} on {on}")),
                Some(situations) => {
                    let well = [STARTS, ONE, MANY].iter().any(|well| situations.contains(well));
                    if !well && !is_named(&(action.clone(), on.clone()), situations) {
                        amiss.push(format!(
                            "{function}: {action} on {on} is needed in {situations:?} alone, which FAULTS does not name"
                        ));
                    }
                }
            }
        }
        let refused = seen.iter().filter(|(permission, _)| !allowed.contains(*permission));
        amiss.extend(refused.map(|((action, on), situations)| {
            format!("{function} would not be allowed {action} on {on}: {situations:?}")
        }));
    }
    amiss
}

/// After the flow: each step in each situation that is a fault.
async fn faults(stack: &mut Stack) {
    let steps = stack.choreography.model().steps.clone();
    stack.watch.situation(UNREADABLE, Fault::None);
    for step in &steps {
        stack.send(&step.queue, "{").await;
        assert!(stack.work(&step.name).await, "{}", step.name);
    }
    stack.watch.situation(AWAY, Fault::Away);
    stack.webhook_is_away(true);
    for step in &steps {
        let body = stack.handed.get(&step.name).unwrap_or_else(|| panic!("{} was handed nothing", step.name));
        stack.send(&step.queue, &body.clone()).await;
        assert!(stack.work(&step.name).await, "{}", step.name);
    }
    stack.webhook_is_away(false);
    stack.watch.situation(EARLY, Fault::None);
    for step in &steps {
        if stack.choreography.model().may_be_early(&step.event_type) {
            let mut event: Value = serde_json::from_str(&stack.handed[&step.name]).unwrap();
            event["id"] = json!("early");
            event["notbefore"] =
                json!(Timestamp::from_millis(SystemClock.now().as_millis() + 3_600_000).to_string());
            stack.send(&step.queue, &event.to_string()).await;
            while stack.work(&step.name).await {}
        }
    }
    stack.watch.situation(REFUSED, Fault::Refused);
    if stack.functions().contains(&"relay".to_owned()) {
        let records = stack.records.clone();
        stack.invoke("relay", &json!({ "Records": records })).await;
    }
}

/// An alarm, as the topic sends it to the queue of `notify`.
async fn alarm(stack: &mut Stack) {
    stack.send("notify", &fixture("alarm").to_string()).await;
    stack.work("notify").await;
}

async fn check(mut stack: Stack) {
    stack.watch.situation(ONE, Fault::None);
    alarm(&mut stack).await;
    faults(&mut stack).await;
    let amiss = amiss(&stack);
    assert!(amiss.is_empty(), "{amiss:#?}");
}

async fn deployed(
    test: &str,
    system: &dyn System,
    binary: &'static str,
    settings: &[(&str, &str)],
) -> Option<Stack> {
    let stack = Stack::deploy(peer::require(test)?, system, binary, settings).await;
    stack.watch.situation(ONE, Fault::None);
    Some(stack)
}

async fn post_orders(stack: &mut Stack, ids: Range<i64>) {
    let order = |id| json!({ "record_id": format!("o-{id}"), "parameter_1": "a", "parameter_2": 1 });
    let orders = Value::from(ids.map(order).collect::<Vec<_>>());
    let post = request("POST", "/orders", "/orders", json!({}), &orders);
    for _ in 0..2 {
        assert_eq!(stack.invoke("post_orders", &post).await["statusCode"], 202);
    }
}

/// Starts a run as the schedule would have done `seconds` ago: another run for each.
async fn kick_off(stack: &Stack, seconds: i64) {
    let at = Timestamp::from_millis((SystemClock.now().as_millis() / 1_000 - seconds) * 1_000);
    let (queues, message) = stack.choreography.scheduled_message(KICKOFF, at).unwrap();
    stack.send(&queues[0], &message).await;
}

#[tokio::test]
async fn each_function_of_the_auction_needs_all_that_it_may_do() {
    let settings = [
        ("platform", "simulated"),
        ("seed", "1"),
        ("not_ready", "1"),
        ("backoff", "1ms"),
        ("deadline", "1h"),
    ];
    let binary = env!("CARGO_BIN_EXE_auction-functions");
    let Some(mut stack) = deployed("permissions of the auction", &Auction, binary, &settings).await else {
        return;
    };
    for (situation, fault, ids) in
        [(LOST, Fault::Lost, 0..6), (ONE, Fault::None, 6..7), (MANY, Fault::None, 7..40)]
    {
        stack.watch.situation(situation, fault);
        post_orders(&mut stack, ids).await;
        kick_off(&stack, 0).await;
        stack.settle().await;
    }
    // Runs that are given up at their second round: one, then two at once.
    for (situation, runs) in [(ONE, 1..2), (MANY, 2..4)] {
        stack.watch.situation(situation, Fault::None);
        for run in runs.clone() {
            post_orders(&mut stack, 40 + run..41 + run).await;
            kick_off(&stack, 100 * run).await;
            assert!(stack.work("poll_auction").await, "{situation}");
        }
        stack.settle_without(Some("poll_auction")).await;
        for _ in runs {
            stack.give_up("poll_auction", GIVEN_UP).await;
        }
        stack.watch.situation(situation, Fault::None);
        stack.settle().await;
    }
    let get =
        request("GET", "/orders/{record_id+}", "/orders/o-1", json!({ "record_id": "o-1" }), &json!({}));
    assert_eq!(stack.invoke("get_order", &get).await["statusCode"], 200);
    post_orders(&mut stack, 90..91).await;
    let unwanted = json!({ "record_id": "o-90" });
    let (shape, path) = ("/orders/{record_id+}/withdrawal", "/orders/o-90/withdrawal");
    let withdrawal = request("POST", shape, path, unwanted, &json!({}));
    assert_eq!(stack.invoke("withdraw_order", &withdrawal).await["statusCode"], 200);
    check(stack).await;
}

#[tokio::test]
async fn each_function_of_snacks_needs_all_that_it_may_do() {
    let binary = env!("CARGO_BIN_EXE_snacks-functions");
    let settings = [("seed", "1"), ("failing", "0"), ("busy", "0")];
    let Some(mut stack) = deployed("permissions of snacks", &Snacks, binary, &settings).await else { return };
    let order = |key: usize| {
        json!({
            "customerName": "a", "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}], "totalAmount": 5,
            "idempotencyKey": key.to_string(),
        })
    };
    let mut id = String::new();
    for (situation, keys) in [(ONE, 0..1), (MANY, 1..5)] {
        stack.watch.situation(situation, Fault::None);
        for key in keys {
            for _ in 0..2 {
                let told = stack.invoke("order_creator", &order(key)).await;
                told["orderId"].as_str().unwrap().clone_into(&mut id);
            }
        }
        stack.settle().await;
    }
    let parameters = json!({ "orderId": id });
    let get =
        request("GET", "/orders/{orderId+}", &format!("/orders/{id}"), parameters.clone(), &Value::Null);
    assert_eq!(stack.invoke("get_order", &get).await["statusCode"], 200);
    let new = stack.invoke("order_creator", &order(99)).await["orderId"].clone();
    let path = format!("/orders/{}/cancel", new.as_str().unwrap());
    let cancel = request("POST", "/orders/{orderId}/cancel", &path, json!({ "orderId": new }), &Value::Null);
    assert_eq!(stack.invoke("cancel_order", &cancel).await["statusCode"], 200);
    stack.settle().await;
    check(stack).await;
}

#[tokio::test]
async fn each_function_of_orders_needs_all_that_it_may_do() {
    let binary = env!("CARGO_BIN_EXE_orders-functions");
    let Some(mut stack) = deployed("permissions of orders", &Orders, binary, &[("ttl_days", "7")]).await
    else {
        return;
    };
    let order = |id: usize| {
        json!({
            "order_id": format!("o-{id}"), "customer": "a", "email": "a@example.org",
            "items": [{"product": "towel", "quantity": 2, "price": 2.5}], "amount": 5,
        })
    };
    for (situation, ids) in [(ONE, 0..1), (MANY, 1..5)] {
        stack.watch.situation(situation, Fault::None);
        for id in ids {
            for _ in 0..2 {
                stack.invoke("create_order", &order(id)).await;
            }
        }
        stack.settle().await;
    }
    // What the stream does not hand in, a redrive does; several at once.
    for id in ["o-1", "o-2"] {
        let event = json!({
            "specversion": "1.0", "id": format!("order/{id}@again"), "source": "/orders/create_order",
            "type": "orders.order.created", "subject": id, "time": SystemClock.now(), "data": { "order_id": id },
        });
        stack.send("orders-process", &event.to_string()).await;
    }
    stack.settle().await;
    let get =
        request("GET", "/orders/{order_id+}", "/orders/o-1", json!({ "order_id": "o-1" }), &Value::Null);
    assert_eq!(stack.invoke("get_order", &get).await["statusCode"], 200);
    check(stack).await;
}

#[tokio::test]
async fn each_function_of_the_checkout_needs_all_that_it_may_do() {
    let binary = env!("CARGO_BIN_EXE_checkout-functions");
    let settings = [
        ("gateway", "simulated"),
        ("gateway_timeout", "5s"),
        ("gateway_delay", "1ms"),
        ("gateway_outages", "30"),
        ("seed", "1"),
    ];
    let Some(mut stack) = deployed("permissions of the checkout", &Checkout, binary, &settings).await else {
        return;
    };
    let parameters = json!({ "productId": "tea" });
    for price in [2.5, 2.5] {
        let product = json!({ "price": price, "stock": 10_000 });
        let put = request("PUT", "/products/{productId}", "/products/tea", parameters.clone(), &product);
        assert_eq!(stack.invoke("put_product", &put).await["statusCode"], 200);
    }
    let order = |id: usize, quantity: i64, is_wrong: bool| {
        json!({
            "orderId": format!("o-{id}"), "userId": "a",
            "totalAmount": quantity / 2 * 5 + i64::from(is_wrong),
            "items": [{ "productId": "tea", "quantity": quantity, "price": 2.5 }],
        })
    };
    for (situation, ids) in [(ONE, 0..1), (ONE, 1..2), (MANY, 2..42)] {
        stack.watch.situation(situation, Fault::None);
        for id in ids {
            // Some are of a wrong total, and fail; some are so large that they take from several parts of the stock.
            let order = order(id, if id % 3 == 0 { 400 } else { 2 }, id % 5 == 1);
            if id % 2 == 0 {
                stack.send("orders", &order.to_string()).await;
            } else {
                let post = request("POST", "/orders", "/orders", json!({}), &order);
                for _ in 0..2 {
                    stack.invoke("create_order", &post).await;
                }
            }
        }
        stack.settle().await;
    }
    // Payments that are given up: what was taken goes back, and the charge is undone. An answer of the gateway is lost, too.
    for (situation, fault, id) in [(LOST, Fault::Lost, 101), (ONE, Fault::None, 111)] {
        stack.watch.situation(situation, fault);
        // For some of them the gateway is out.
        for id in id..id + 5 {
            stack.send("orders", &order(id, 2, false).to_string()).await;
        }
        stack.settle().await;
        stack.send("orders", &order(id + 5, 2, false).to_string()).await;
        stack.settle_without(Some("process_payment")).await;
        stack.give_up("process_payment", GIVEN_UP).await;
        stack.watch.situation(situation, fault);
        stack.settle().await;
    }
    // Of ids that are taken, with other content: each entity is told.
    for id in [2, 4] {
        stack.send("orders", &order(id, 6, false).to_string()).await;
    }
    stack.settle().await;
    let get = request("GET", "/orders/{orderId+}", "/orders/o-2", json!({ "orderId": "o-2" }), &Value::Null);
    assert_eq!(stack.invoke("get_order", &get).await["statusCode"], 200);
    let get = request("GET", "/products/{productId+}", "/products/tea", parameters, &Value::Null);
    assert_eq!(stack.invoke("get_product", &get).await["statusCode"], 200);
    check(stack).await;
}
