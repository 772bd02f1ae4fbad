//! Orders from outside, as a process of its own: the sandbox that its users know, a demonstration, and `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "../support/mod.rs"]
mod support;

use quadrille::port::{Random as _, SeededRandom};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use support::{Done, Engine, ask, command, eventually, on, quadrille, run, subjects};

fn up(folder: &Path) -> Engine {
    let mut command = command(&["up", "orders", "--port", "0", "--data"]);
    command.arg(folder);
    Engine::start(command, folder)
}

/// An order to send; one of each ten is poison.
fn order(number: usize) -> Value {
    let wrong = u64::from(is_poison(number));
    json!({
        "order_id": id(number), "customer": "Anna Müller", "email": "anna@example.org",
        "items": [{ "product": "tea", "quantity": 2, "price": 3 }], "amount": 6 + wrong,
    })
}

fn id(number: usize) -> String {
    format!("order-{number:04}")
}

fn is_poison(number: usize) -> bool {
    number % 10 == 3
}

/// The order as the command lists it, by its id.
fn listed(folder: &Path) -> BTreeMap<String, Value> {
    let orders = on(folder, &["orders", "orders", "--limit", "100000", "--json"]).json();
    let row = |order: &Value| (order["order_id"].as_str().unwrap().to_owned(), order.clone());
    orders.as_array().unwrap().iter().map(row).collect()
}

/// The orders that the topic told of, each as often as it did.
fn notified(folder: &Path) -> Vec<String> {
    let told = on(folder, &["notifications", "orders", "--limit", "500", "--json"]).json();
    let id = |told: &Value| told["event"]["data"]["order_id"].as_str().unwrap().to_owned();
    told.as_array().unwrap().iter().map(id).collect()
}

fn dead(folder: &Path) -> Vec<Value> {
    on(folder, &["dlq", "list", "orders", "--json"]).json().as_array().unwrap().clone()
}

/// Start, create, view, watch, inspect, stop, clean: all with this one command.
#[test]
fn the_sandbox_that_its_users_know_is_all_there() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sandbox");
    let on = |words: &[&str]| on(&folder, words);
    let engine = up(&folder);
    let create = ["create", "orders", "--customer", "Anna Müller", "--email", "anna@example.org"];
    let made = on(&[&create[..], &["--items", "tea,2,1.10", "--amount", "2.2", "--json"]].concat()).json();
    let order_id = made["order_id"].as_str().unwrap().to_owned();
    assert_eq!((&made["status"], &made["outcome"]), (&json!("NEW"), &json!("created")));

    // Field by field, and an amount that is wrong.
    let mut asked = command(&["create", "orders", "--json", "--data"]);
    asked.arg(&folder);
    let answers = "monday's\nBob\nbob@example.org\ntea\n2\n1.10\ncup\n1\n0.05\n\n2.3\n";
    let poison = run(asked, answers.as_bytes()).json()["order_id"].as_str().unwrap().to_owned();
    let refused = on(&[&create[..], &["--items", "tea,0,1.10", "--amount", "2.2"]].concat());
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("/items/0/quantity"), "{refused:?}");

    eventually("the orders are at their ends", || {
        let orders = listed(&folder);
        (orders[&order_id]["status"] == "PROCESSED" && dead(&folder).len() == 1).then_some(())
    });
    eventually("the topic told of it", || (notified(&folder) == [order_id.clone()]).then_some(()));
    let orders = on(&["orders", "orders"]).ok();
    let is_told = orders.lines().any(|line| line.contains("PROCESSED") && line.contains(&order_id));
    assert!(is_told && !orders.contains("Anna"), "{orders}");
    let notifications = on(&["notifications", "orders", "--json"]).ok();
    for personal in ["Anna", "anna@", "Bob", "monday", "tea"] {
        assert!(!notifications.contains(personal), "{personal}: {notifications}");
    }
    let letters = dead(&folder);
    let told = (&letters[0]["subject"], &letters[0]["reason"]);
    assert_eq!(told, (&json!(poison), &json!("amount_mismatch")));
    assert!(on(&["trace", "orders", &poison]).ok().contains("dead-lettered: amount_mismatch"));
    assert_eq!(engine.get(&format!("/orders/{order_id}")).json()["customer"], "Anna Müller");
    let log = engine.err.so_far().join("\n");
    assert!(!log.contains("Bob") && !log.contains("bob@"), "{log}");

    let stopped = on(&["stop", "orders"]).ok();
    assert!(stopped.contains("stopped"), "{stopped}");
    assert_eq!(engine.ended().code, 0);
    on(&["clean", "orders", "--yes"]).ok();
    assert!(!folder.exists());
}

#[test]
fn a_demonstration_accounts_for_every_order_and_its_seed_says_which_are_poison() {
    let demo = |seed: &str| {
        let summary = quadrille(&["demo", "orders", "--orders", "400", "--seed", seed, "--json"]).json();
        let count = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"));
        assert_eq!((summary["system"].as_str(), count("posted"), count("lost")), (Some("orders"), 400, 0));
        assert_eq!((count("processed") + count("dead_lettered"), count("unfinished")), (400, 0));
        assert_eq!(count("notifications"), count("processed"));
        assert!(summary["seconds"].is_number(), "{summary}");
        count("dead_lettered")
    };
    let (one, two) = (demo("1"), demo("2"));
    assert!(one > 0 && two > 0 && one != two, "{one} {two}");
    let wrong = quadrille(&["demo", "orders", "--seed", "x"]);
    assert!(wrong.code == 2 && wrong.err.contains("--seed is a whole number"), "{wrong:?}");
}

const ORDERS: usize = 300;
const KILLS: usize = 6;

/// Whatever was answered reaches exactly one end, whatever is killed, and an order that got no answer is sent again.
#[test]
fn every_order_taken_reaches_exactly_one_end_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let random = SeededRandom::new(20_261_129);
    let mut kills: BTreeSet<usize> = BTreeSet::new();
    while kills.len() < KILLS {
        kills.insert(usize::try_from(random.next_u64() % ORDERS as u64).unwrap());
    }
    let mut engine = up(folder.path());
    for number in 0..ORDERS {
        if kills.contains(&number) {
            engine.kill();
            engine = up(folder.path());
        }
        let body = order(number).to_string();
        let post = || ask(&engine.address, "POST", "/orders", &[], Some(body.as_bytes())).unwrap();
        assert_eq!(post().status, 201);
        if number % 7 == 0 {
            assert_eq!(post().status, 200, "the same order again");
        }
    }
    let poison: Vec<String> = (0..ORDERS).filter(|number| is_poison(*number)).map(id).collect();
    let sound: BTreeSet<String> = (0..ORDERS).filter(|number| !is_poison(*number)).map(id).collect();
    let told = || -> BTreeSet<String> { notified(folder.path()).into_iter().collect() };
    eventually("every order is at its end", || {
        let queues = engine.queues();
        let is_empty =
            ["visible", "in_flight", "delayed"].iter().all(|kind| queues["orders-process"][kind] == 0);
        (is_empty && told() == sound).then_some(())
    });
    for (id, order) in listed(folder.path()) {
        assert_eq!(order["status"], if sound.contains(&id) { "PROCESSED" } else { "NEW" }, "{id}");
    }
    for id in &sound {
        let versions = engine.get(&format!("/orders/{id}")).json()["version"].clone();
        assert_eq!(versions, 2, "{id} was processed once");
    }
    let mut letters = subjects(&dead(folder.path()));
    letters.dedup();
    assert_eq!(letters, poison);
    let done: Done = engine.terminate();
    assert!(!done.err.contains("panicked"), "{done:?}");
}
