//! Products are put up for sale, and their stock only grows.

use crate::world::{World, order};
use quadrille::{domain::checkout::OrderStatus, http::Method};
use serde_json::{Value, json};

async fn put(world: &World, body: &Value) -> (u16, Value) {
    let response = world.ask(Method::Put, "/products/tea%2Fgreen", &body.to_string()).await;
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

#[tokio::test]
async fn a_product_is_put_up_changed_and_told_of() {
    let world = World::open();
    assert_eq!(world.ask(Method::Get, "/products/tea%2Fgreen", "").await.status, 404);
    let tea = json!({ "price": 2.5, "stock": 3 });
    for _ in 0..2 {
        assert_eq!(
            put(&world, &tea).await,
            (200, json!({ "productId": "tea/green", "price": 2.5, "stock": 3 }))
        );
    }
    let (status, problem) = put(&world, &json!({ "price": 2.5, "stock": 2 })).await;
    assert_eq!((status, &problem["stock"]), (409, &json!(3)));
    let (status, problem) = put(&world, &json!({ "price": -1, "stock": 2.5, "colour": "green" })).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(3)));
    let long = format!("/products/{}", "x".repeat(129));
    assert_eq!(world.ask(Method::Put, &long, &tea.to_string()).await.status, 400);
    let (status, _) = put(&world, &json!({ "name": "Green tea", "price": 3, "stock": 300 })).await;
    assert_eq!(status, 200);
    let told: Value =
        serde_json::from_slice(&world.ask(Method::Get, "/products/tea%2Fgreen", "").await.body).unwrap();
    let all =
        json!({ "productId": "tea/green", "name": "Green tea", "price": 3, "stock": 300, "available": 300 });
    assert_eq!(told, all);
    world.close().await;
}

#[tokio::test]
async fn more_stock_is_sold_to_the_last_unit_and_no_further() {
    let world = World::open();
    let mut next = 0;
    let mut completed = 0;
    for stock in [1, 7, 8, 9, 40, 260] {
        world.sells("tea", "1", stock).await;
        for _ in 0..(stock - completed + 2) {
            world.send(order(&format!("order-{next}"), "tea", 1, "1")).await;
            next += 1;
        }
        world.settle().await;
        completed = 0;
        for number in 0..next {
            let status = world.order(&format!("order-{number}")).await.order_status;
            completed += u64::from(status == OrderStatus::Completed);
        }
        assert_eq!(completed, stock);
    }
    world.adds_up().await;
    world.close().await;
}
