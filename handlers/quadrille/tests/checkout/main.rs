//! The checkout from outside, as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod crash;
#[path = "../support/mod.rs"]
mod support;
mod words;

use serde_json::{Value, json};
use std::{path::Path, process::Command};
use support::{Engine, command, encoded, eventually, run};

/// An engine on `folder` whose gateway decides fast.
fn up(folder: &Path) -> Engine {
    let mut command = command(&["up", "checkout", "--port", "0", "--gateway-delay", "1ms", "--data"]);
    command.arg(folder);
    Engine::start(command, folder)
}

/// A word of the checkout's on an engine.
fn word(engine: &Engine, words: &[&str]) -> Command {
    let mut command = command(words);
    command.args(["--url", &format!("http://{}", engine.address)]);
    command
}

/// Puts a product up for sale.
fn sells(engine: &Engine, product_id: &str, price: f64, stock: u64) {
    let body = json!({ "productId": product_id, "price": price, "stock": stock }).to_string();
    run(word(engine, &["send", "checkout", "put_product", "-"]), body.as_bytes()).ok();
}

/// An order of one item.
fn order(id: &str, product_id: &str, quantity: u32, price: f64) -> Value {
    let item = json!({ "productId": product_id, "quantity": quantity, "price": price });
    json!({ "orderId": id, "userId": "anna", "items": [item], "totalAmount": price * f64::from(quantity) })
}

/// An order, once it has ended.
fn ended(engine: &Engine, id: &str) -> Value {
    eventually(&format!("the end of {id}"), || {
        let order = engine.get(&format!("/orders/{}", encoded(id)));
        let order = (order.status == 200).then(|| order.json())?;
        ["COMPLETED", "FAILED"].contains(&order["orderStatus"].as_str()?).then_some(order)
    })
}
