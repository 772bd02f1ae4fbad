//! Orders as they are taken: what is checked, and what is one order.

use crate::world::{CUSTOMER, World, cancel, json_of, order, post};
use quadrille::{
    domain::snacks::order_id,
    http::{Method, Request},
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_wrong_total_is_refused_with_the_right_one_and_nothing_is_stored() {
    let world = World::new();
    let mut wrong = order(Some("a"));
    wrong["totalAmount"] = json!(8.01);
    let answer = post(&world.pipeline, &wrong, &[]).await;
    let problem = json_of(&answer);
    assert_eq!((answer.status, &problem["type"]), (400, &json!("/problems/invalid_order")));
    let fault = &problem["errors"][0];
    assert_eq!(fault["code"], "wrong_total");
    assert_eq!(fault["detail"], "`totalAmount` is 8.01, and the items cost 8.");
    assert!(world.memory.get::<quadrille::domain::snacks::Order>(&order_id("a")).await.unwrap().is_none());
    assert!(world.on_bus.all().is_empty());
}

#[tokio::test]
async fn invalid_orders_are_refused_with_every_fault_and_its_place() {
    let world = World::new();
    let with = |pointer: &str, value: Value| {
        let mut order = order(None);
        *order.pointer_mut(pointer).unwrap() = value;
        order
    };
    for (body, pointer, code) in [
        (with("/snackItems/0/quantity", json!(0)), "/snackItems/0/quantity", "number_out_of_range"),
        (with("/snackItems/0/quantity", json!(-2)), "/snackItems/0/quantity", "number_out_of_range"),
        (with("/snackItems/1/quantity", json!(1.5)), "/snackItems/1/quantity", "not_an_integer"),
        (with("/snackItems/0/price", json!("2.50")), "/snackItems/0/price", "wrong_type"),
        (with("/snackItems/0/price", json!(-2.5)), "/snackItems/0/price", "number_out_of_range"),
        (with("/snackItems/0/name", json!("")), "/snackItems/0/name", "empty"),
        (with("/snackItems", json!([])), "/snackItems", "empty_array"),
        (with("/snackItems", json!({})), "/snackItems", "not_an_array"),
        (with("/customerName", json!("a\u{0}b")), "/customerName", "control_character"),
        (with("/customerName", Value::Null), "/customerName", "wrong_type"),
        (with("/totalAmount", json!("8")), "/totalAmount", "wrong_type"),
        (json!({}), "/customerName", "missing_field"),
        (json!([]), "", "wrong_type"),
    ] {
        let answer = post(&world.pipeline, &body, &[]).await;
        let problem = json_of(&answer);
        let errors = problem["errors"].as_array().unwrap();
        let found = errors.iter().any(|fault| fault["pointer"] == pointer && fault["code"] == code);
        assert!(answer.status == 400 && found, "{body}: {problem}");
    }
    let plain = Request { body: order(None).to_string().into(), ..Request::default() };
    assert_eq!(world.pipeline.respond(Method::Post, "/orders", plain).await.unwrap().status, 415);
    let large = json!({ "customerName": "x".repeat(70_000) });
    assert_eq!(post(&world.pipeline, &large, &[]).await.status, 413);
    let unnamed = post(&world.pipeline, &order(None), &[("idempotency-key", "")]).await;
    assert_eq!(
        (unnamed.status, &json_of(&unnamed)["type"]),
        (400, &json!("/problems/invalid_idempotency_key"))
    );
    assert!(world.on_bus.all().is_empty());
}

#[tokio::test]
async fn the_same_key_is_the_same_order_and_never_another_one() {
    let world = World::new();
    let first = post(&world.pipeline, &order(None), &[("idempotency-key", "a")]).await;
    let id = json_of(&first)["orderId"].clone();
    assert_eq!((first.status, &id), (201, &json!(order_id("a"))));
    world.pass(Duration::from_secs(1)).await;
    // By header or by field; with a number that is written otherwise; and the answer tells how far it is.
    let mut again = order(Some("a"));
    again["totalAmount"] = json!(8.0);
    let again = post(&world.pipeline, &again, &[]).await;
    let told = json_of(&again);
    assert_eq!((again.status, &told["orderId"], &told["outcome"]), (200, &id, &json!("unchanged")));
    assert_eq!(
        (&told["status"], &told["createdAt"]),
        (&json!("PROCESSED"), &json!("2026-11-29T12:00:00.000Z"))
    );

    let mut other = order(Some("a"));
    other["customerName"] = json!("Ford");
    let refused = post(&world.pipeline, &other, &[]).await;
    assert_eq!((refused.status, &json_of(&refused)["outcome"]), (409, &json!("conflict")));
    assert_eq!(world.order(&order_id("a")).await.customer_name, CUSTOMER);
    assert_eq!((world.on_bus.all().len(), world.kitchen.made().len()), (1, 1));

    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(json_of(&post(&world.pipeline, &order(None), &[]).await)["orderId"].clone());
    }
    assert_ne!(ids[0], ids[1], "without a key it is a new order each time");
}

#[tokio::test]
async fn an_order_is_taken_by_direct_invocation_with_bare_json() {
    let world = World::new();
    let invoke = async |step: &str, body: Value| {
        let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
        let request = Request { headers, body: body.to_string().into(), ..Request::default() };
        world.pipeline.invoke(step, request).await.unwrap()
    };
    let created = invoke("order_creator", order(Some("a"))).await;
    assert_eq!((created.status, &json_of(&created)["orderId"]), (201, &json!(order_id("a"))));
    let told = invoke("get_order", json!({ "orderId": order_id("a") })).await;
    assert_eq!((told.status, &json_of(&told)["customerName"]), (200, &json!(CUSTOMER)));
    let cancelled = invoke("cancel_order", json!({ "orderId": order_id("a") })).await;
    assert_eq!((cancelled.status, &json_of(&cancelled)["status"]), (200, &json!("CANCELLED")));
}

#[tokio::test]
async fn an_order_is_told_with_its_numbers_as_they_were_sent() {
    let world = World::new();
    let text = format!(
        r#"{{"customerName": "{CUSTOMER}", "snackItems": [{{"name": "Chips", "quantity": 3, "price": 0.10}}], "totalAmount": 0.300}}"#
    );
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    let request = Request { headers, body: text.into(), ..Request::default() };
    let created = world.pipeline.respond(Method::Post, "/orders", request).await.unwrap();
    let id = json_of(&created)["orderId"].as_str().unwrap().to_owned();
    let path = format!("/orders/{id}");
    let told = world.pipeline.respond(Method::Get, &path, Request::default()).await.unwrap();
    let told = String::from_utf8(told.body).unwrap();
    assert!(told.contains(r#""price":0.10"#) && told.contains(r#""totalAmount":0.300"#), "{told}");
    let nobody = world.pipeline.respond(Method::Get, "/orders/nobody", Request::default()).await.unwrap();
    assert_eq!(nobody.status, 404);
    assert_eq!(cancel(&world.pipeline, "nobody").await.status, 404);
}
