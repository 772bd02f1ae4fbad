//! Every way that an order can take, and when.

use crate::{
    bank::{Does, Fate},
    world::{World, again, order},
};
use quadrille::{
    Entity as _, TrailEntryKind,
    domain::checkout::{ErrorReason, OrderStatus, PaymentStatus, Product},
    http::Method,
};
use serde_json::{Value, json};
use std::time::Duration;
use systems::checkout::events::{OrderReceived, PaymentDue};

const SECOND: Duration = Duration::from_secs(1);

async fn shop() -> World {
    let world = World::open();
    world.sells("tea", "2.10", 10).await;
    world
}

/// The codes of what was found wrong with an order.
async fn errors(world: &World, id: &str) -> Vec<(String, String)> {
    let order = world.order(id).await;
    let result = order.validation_result.as_ref().unwrap();
    assert!(!result.is_valid);
    result.errors.iter().map(|error| (error.pointer.clone(), error.code.to_string())).collect()
}

fn pair(pointer: &str, code: &str) -> (String, String) {
    (pointer.to_owned(), code.to_owned())
}

#[tokio::test]
async fn an_order_that_is_sound_is_paid_and_completed_and_told_of() {
    let world = shop().await;
    world.send(order("1", "tea", 3, "2.1")).await;
    world.settle().await;
    let found = world.order("1").await;
    assert_eq!(found.order_status, OrderStatus::Completed);
    let state = serde_json::to_value(&*found).unwrap();
    let transaction = state["paymentTransactionId"].as_str().unwrap();
    assert!(transaction.starts_with("bank-1@"), "{transaction}");
    assert_eq!(state["orderStatus"], "COMPLETED");
    assert_eq!(state["validationResult"]["isValid"], true);
    let paid = &state["paymentResult"];
    assert_eq!((&paid["status"], &paid["transactionId"]), (&json!("SUCCEEDED"), &json!(transaction)));
    assert_eq!(
        (&paid["provider"], &paid["processedAt"]),
        (&json!("the bank"), &json!("1970-01-01T00:00:01.000Z"))
    );
    assert_eq!(world.told("1"), [("COMPLETED".to_owned(), None)]);
    assert!(
        world.heard().iter().all(|event| !event.to_string().contains("anna")),
        "nothing of a person is told"
    );
    let answer = world.ask(Method::Get, "/products/tea", "").await;
    let product: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&product["available"], &product["stock"]), (&json!(7), &json!(10)));
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn the_body_that_comes_twice_is_one_order_and_another_body_of_its_id_is_a_dead_letter() {
    let world = shop().await;
    let body = order("1", "tea", 1, "2.10");
    world.send(&body).await;
    world.send(&body).await;
    world.send(format!("{body} ")).await;
    world.send(order("1", "tea", 2, "2.10")).await;
    world.settle().await;
    let found = world.order("1").await;
    assert_eq!((found.items[0].quantity, found.order_status), (1, OrderStatus::Completed));
    assert_eq!(world.dead("orders").await, ["order_exists"]);
    assert_eq!(world.bank.asked("1"), 1);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn an_order_that_lacks_something_fails_and_one_without_an_id_is_a_dead_letter() {
    let world = shop().await;
    world
        .send(r#"{"orderId": "1", "items": [{"productId": "tea", "quantity": 0, "price": 2.1}], "x": 1}"#)
        .await;
    for body in [" ", "no order", "[]", r#"{"userId": "anna"}"#, r#"{"orderId": 7}"#] {
        world.send(body).await;
    }
    world.settle().await;
    let found = world.order("1").await;
    assert_eq!(found.order_status, OrderStatus::Failed);
    assert_eq!(found.error_reason, Some(ErrorReason::ValidationFailed));
    let wrong = [
        pair("/userId", "missing_field"),
        pair("/items/0/quantity", "number_out_of_range"),
        pair("/totalAmount", "missing_field"),
    ];
    assert_eq!(errors(&world, "1").await, wrong);
    assert_eq!(world.told("1"), [("FAILED".to_owned(), Some("VALIDATION_FAILED".to_owned()))]);
    assert_eq!(world.dead("orders").await, ["malformed_order"; 5]);
    assert!(world.dead("validate-order").await.is_empty(), "an invalid order is no dead letter");
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn an_order_that_does_not_fit_its_products_fails_at_once_with_each_error() {
    let world = shop().await;
    let items = r#"[{"productId": "tea", "quantity": 2, "price": 2}, {"productId": "milk", "quantity": 1, "price": 1}]"#;
    world.send(format!(r#"{{"orderId": "1", "userId": "a", "items": {items}, "totalAmount": 4.99}}"#)).await;
    world.send(order("2", "tea", 11, "2.10")).await;
    world.pass(SECOND).await;
    let wrong = [
        pair("/items/0/price", "wrong_price"),
        pair("/items/1/productId", "unknown_product"),
        pair("/totalAmount", "wrong_total"),
    ];
    assert_eq!(errors(&world, "1").await, wrong);
    assert_eq!(errors(&world, "2").await, [pair("/items/0/quantity", "out_of_stock")]);
    for (id, reason) in [("1", "VALIDATION_FAILED"), ("2", "OUT_OF_STOCK")] {
        assert_eq!(world.told(id), [("FAILED".to_owned(), Some(reason.to_owned()))], "without a retry");
        assert_eq!(world.bank.asked(id), 0);
    }
    let trail = world.order("1").await.trail().clone();
    let whats: Vec<&str> = trail.entries.iter().map(|entry| &*entry.what).collect();
    assert_eq!(whats, ["taken in", "found invalid", "ended: validation_failed", "failed"]);
    let ended = TrailEntryKind::Ended { reason: "validation_failed".into() };
    assert_eq!(trail.entries[2].kind, ended, "no dead letter");
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn an_order_of_several_products_gives_back_what_it_had_taken_where_one_runs_out() {
    let world = shop().await;
    world.sells("milk", "1", 1).await;
    let items = r#"[{"productId": "tea", "quantity": 2, "price": 2.1}, {"productId": "milk", "quantity": 2, "price": 1}, {"productId": "tea", "quantity": 8, "price": 2.1}]"#;
    world.send(format!(r#"{{"orderId": "1", "userId": "a", "items": {items}, "totalAmount": 23}}"#)).await;
    world.settle().await;
    assert_eq!(world.order("1").await.error_reason, Some(ErrorReason::OutOfStock));
    world.adds_up().await;
    // All of it is there again.
    world.send(order("2", "tea", 10, "2.10")).await;
    world.settle().await;
    assert_eq!(world.order("2").await.order_status, OrderStatus::Completed);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_declined_payment_fails_at_once_and_gives_the_stock_back() {
    let world = shop().await;
    world.bank.does(|_, _| Does::Declines);
    world.send(order("1", "tea", 10, "2.10")).await;
    world.pass(SECOND).await;
    let found = world.order("1").await;
    assert_eq!(
        (found.order_status, found.error_reason),
        (OrderStatus::Failed, Some(ErrorReason::PaymentFailed))
    );
    let result = found.payment_result.as_ref().unwrap();
    assert_eq!((result.status, result.provider.as_str()), (PaymentStatus::Declined, "the bank"));
    assert_eq!((world.bank.asked("1"), found.stock_returned), (1, true), "without a retry");
    assert!(world.dead("process-payment").await.is_empty(), "a declined payment is no dead letter");
    assert_eq!(world.told("1"), [("FAILED".to_owned(), Some("PAYMENT_FAILED".to_owned()))]);
    world.bank.does(|_, _| Does::Charges);
    world.send(order("2", "tea", 10, "2.10")).await;
    world.settle().await;
    assert_eq!(world.order("2").await.order_status, OrderStatus::Completed);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_gateway_that_is_out_is_asked_twice_more_after_2_and_4_seconds() {
    let world = shop().await;
    world.bank.does(|_, nth| if nth < 2 { Does::IsOut } else { Does::Charges });
    world.send(order("1", "tea", 1, "2.10")).await;
    for (asked, wait) in [(1, 1_999), (2, 3_999), (3, 1)] {
        world.pass(Duration::from_millis(1)).await;
        assert_eq!(world.bank.asked("1"), asked);
        world.pass(Duration::from_millis(wait)).await;
    }
    assert_eq!(world.order("1").await.order_status, OrderStatus::Completed);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_payment_that_is_given_up_fails_the_order_and_whatever_was_charged_is_paid_back() {
    for (does, fate, status) in [
        (Does::IsOut, Fate::Voided, PaymentStatus::Voided),
        (Does::Refuses, Fate::Voided, PaymentStatus::Voided),
        (Does::Hangs, Fate::Voided, PaymentStatus::Voided),
        (Does::ChargesUnheard, Fate::Refunded, PaymentStatus::Refunded),
    ] {
        let world = shop().await;
        world.bank.does(move |_, _| does);
        world.send(order("1", "tea", 10, "2.10")).await;
        world.settle().await;
        let found = world.order("1").await;
        assert_eq!(found.error_reason, Some(ErrorReason::PaymentUnavailable), "{does:?}");
        assert_eq!(found.payment_result.as_ref().unwrap().status, status, "{does:?}");
        assert_eq!((world.bank.fate("1"), found.stock_returned), (Some(fate), true), "{does:?}");
        assert_eq!(world.bank.asked("1"), if does == Does::Refuses { 1 } else { 3 }, "{does:?}");
        assert_eq!(
            world.dead("process-payment").await.len(),
            1,
            "{does:?}: somebody has to look at the gateway"
        );
        world.adds_up().await;
        world.close().await;
    }
}

#[tokio::test]
async fn a_payment_that_can_not_be_voided_yet_is_voided_once_it_can() {
    let world = shop().await;
    world.bank.does(|_, _| Does::ChargesUnheard);
    *world.bank.voids_fail.lock().unwrap() = true;
    world.send(order("1", "tea", 10, "2.10")).await;
    world.pass(600 * SECOND).await;
    let found = world.order("1").await;
    assert_eq!(
        (found.order_status, found.stock_returned),
        (OrderStatus::Failed, true),
        "the stock does not wait"
    );
    assert_eq!(found.payment_result.as_ref().unwrap().status, PaymentStatus::Voiding);
    assert!(!found.is_ended());
    *world.bank.voids_fail.lock().unwrap() = false;
    world.settle().await;
    assert_eq!(world.bank.fate("1"), Some(Fate::Refunded));
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_charge_that_comes_after_its_void_charges_nothing() {
    let world = shop().await;
    world.bank.does(|_, _| Does::IsOut);
    world.send(order("1", "tea", 1, "2.10")).await;
    world.settle().await;
    world.bank.does(|_, _| Does::Charges);
    // A message that was hidden somewhere all the time.
    again(&world, PaymentDue { order_id: "1".into(), asks: 0 }).await;
    world.settle().await;
    assert_eq!(
        (world.bank.fate("1"), world.order("1").await.order_status),
        (Some(Fate::Voided), OrderStatus::Failed)
    );
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_payment_that_is_pending_is_asked_for_again_when_the_gateway_says() {
    let world = shop().await;
    world.bank.does(|_, nth| if nth < 2 { Does::Waits(60 * SECOND) } else { Does::Charges });
    world.send(order("1", "tea", 1, "2.10")).await;
    world.pass(59 * SECOND).await;
    assert_eq!(world.bank.asked("1"), 1);
    assert_eq!(world.order("1").await.payment_result.as_ref().unwrap().status, PaymentStatus::Pending);
    // One that comes twice asks once.
    again(&world, PaymentDue { order_id: "1".into(), asks: 0 }).await;
    world.pass(62 * SECOND).await;
    assert_eq!(world.bank.asked("1"), 3);
    assert_eq!(world.order("1").await.order_status, OrderStatus::Completed);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_payment_that_stays_pending_is_given_up_after_an_hour_and_voided() {
    let world = shop().await;
    world.bank.does(|_, _| Does::Waits(60 * SECOND));
    world.send(order("1", "tea", 1, "2.10")).await;
    world.settle().await;
    let found = world.order("1").await;
    assert_eq!(found.error_reason, Some(ErrorReason::PaymentUnavailable));
    assert_eq!(found.error_cause.as_deref(), Some("deadline_passed"));
    assert_eq!(world.bank.fate("1"), Some(Fate::Voided));
    assert!((59..=61).contains(&world.bank.asked("1")), "{}", world.bank.asked("1"));
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn validation_is_tried_again_after_2_4_and_8_seconds_and_then_given_up_with_its_stock_given_back() {
    let world = shop().await;
    let down = |is_out| *world.products.is_out.lock().unwrap() = is_out;
    down(true);
    world.send(order("1", "tea", 10, "2.10")).await;
    world.send(order("2", "tea", 10, "2.10")).await;
    world.pass(13_999 * SECOND / 1_000).await;
    for id in ["1", "2"] {
        assert_eq!(world.order(id).await.order_status, OrderStatus::Pending, "after three attempts");
    }
    // The fourth of one finds it up again, that of the other does not: they came one after the other.
    world.pass(SECOND / 100).await;
    for id in ["1", "2"] {
        let found = world.order(id).await;
        assert_eq!(found.error_reason, Some(ErrorReason::ValidationUnavailable));
        assert_eq!(found.error_cause.as_deref(), Some("port_unavailable"));
    }
    assert_eq!(world.dead("validate-order").await, ["port_unavailable"; 2]);
    down(false);
    world.send(order("3", "tea", 10, "2.10")).await;
    world.settle().await;
    assert_eq!(world.order("3").await.order_status, OrderStatus::Completed);
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn every_message_may_come_twice() {
    let world = shop().await;
    world.memory.deliver_twice();
    world.bank.does(|id, nth| match id {
        "1" if nth == 0 => Does::Waits(SECOND),
        "2" => Does::Declines,
        "3" => Does::ChargesUnheard,
        _ => Does::Charges,
    });
    for id in ["1", "2", "3", "4", "5"] {
        world.send(order(id, "tea", if id == "5" { 11 } else { 2 }, "2.10")).await;
    }
    world.settle().await;
    let mut ends = Vec::new();
    for id in ["1", "2", "3", "4", "5"] {
        ends.push(world.order(id).await.error_reason);
    }
    use ErrorReason::{OutOfStock, PaymentFailed, PaymentUnavailable};
    assert_eq!(ends, [None, Some(PaymentFailed), Some(PaymentUnavailable), None, Some(OutOfStock)]);
    world.adds_up().await;
    // And once more, when all is over.
    for id in ["1", "2", "3", "4", "5"] {
        again(&world, OrderReceived { order_id: id.into() }).await;
        again(&world, PaymentDue { order_id: id.into(), asks: 0 }).await;
    }
    world.settle().await;
    world.adds_up().await;
    world.close().await;
}

#[tokio::test]
async fn a_person_posts_an_order_and_is_told_of_it() {
    let world = shop().await;
    let post = async |body: &str| {
        let response = world.ask(Method::Post, "/orders", body).await;
        (response.status, serde_json::from_slice::<Value>(&response.body).unwrap())
    };
    let body = order("1", "tea", 1, "2.10");
    assert_eq!(post(&body).await, (202, json!({ "orderId": "1", "outcome": "stored" })));
    assert_eq!(post(&body).await, (202, json!({ "orderId": "1", "outcome": "unchanged" })));
    let (status, problem) = post(&order("1", "tea", 2, "2.10")).await;
    assert_eq!((status, &problem["outcome"]), (409, &json!("conflict")));
    let (status, problem) = post(r#"{"orderId": "2"}"#).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(3)));
    assert!(world.find::<quadrille::domain::checkout::Order>("2").await.is_none());
    world.settle().await;
    let response = world.ask(Method::Get, "/orders/1", "").await;
    let told: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!((response.status, &told["orderStatus"]), (200, &json!("COMPLETED")));
    let whats: Vec<&str> =
        told["trail"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["taken in", "validated, its stock reserved", "paid, completed"]);
    assert_eq!(world.ask(Method::Get, "/orders/2", "").await.status, 404);
    assert!(world.find::<Product>("tea").await.is_some());
    world.close().await;
}
