//! Snacks from outside, as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "../../../cli/tests/support/mod.rs"]
mod support;

use quadrille::domain::snacks::order_id;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use support::{Done, Engine, ask, command, eventually, notifications, on, quadrille, run};
use systems::snacks::kitchen::{Fate, SimulatedKitchen};

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");

/// A name that must not get anywhere but into the table.
const CUSTOMER: &str = "Zaphod Beeblebrox";

fn up(folder: &Path, args: &[&str]) -> Engine {
    let mut command = command(&["up", "snacks", "--port", "0", "--data"]);
    command.arg(folder).args(args);
    Engine::start(command, folder)
}

fn order(key: &str) -> Value {
    json!({
        "customerName": CUSTOMER, "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}], "totalAmount": 5,
        "idempotencyKey": key,
    })
}

/// The status of each order of these keys, once each is at its end: not NEW any more, or given up.
fn settled(engine: &Engine, keys: &[String]) -> BTreeMap<String, String> {
    statuses_once(engine, keys, |order| {
        let last = order["trail"].as_array().unwrap().last().unwrap();
        order["status"] != "NEW" || last["dead"].is_string()
    })
}

/// The status of each order of these keys, once `is_over` says so of each.
fn statuses_once(
    engine: &Engine,
    keys: &[String],
    is_over: impl Fn(&Value) -> bool,
) -> BTreeMap<String, String> {
    let end = |key: &String| {
        let order = eventually(&format!("{key} is at its end"), || {
            let answer = engine.get(&format!("/orders/{}", order_id(key)));
            assert_eq!(answer.status, 200, "{key}: {}", answer.text());
            Some(answer.json()).filter(&is_over)
        });
        (key.clone(), order["status"].as_str().unwrap().to_owned())
    };
    keys.iter().map(end).collect()
}

fn keys(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("order-{number}")).collect()
}

#[test]
fn the_demonstration_accounts_for_every_order_and_shows_each_end() {
    let summary = quadrille(&["demo", "snacks", "--orders", "200", "--json"]).json();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((&summary["system"], count("posted"), count("lost")), (&json!("snacks"), 200, 0));
    assert!(summary["seconds"].is_number() && summary["unfinished"] == 0, "{summary}");
    let ends = ["processed", "cancelled", "dead_lettered"].map(count);
    assert_eq!(ends.iter().sum::<u64>(), 200, "{summary}");
    assert!(ends.iter().all(|end| *end > 0), "{summary}");

    let shown = quadrille(&["demo", "snacks", "--seed", "1"]).ok();
    for part in [
        "Snacks by way of an event bus",
        "POST /orders",
        "One that is cancelled",
        "One that is dead lettered",
        "One that is processed",
        "Dead letters in order-processor-dlq",
        "{bus serverless-snacks-orders}",
        "A redrive",
    ] {
        assert!(shown.contains(part), "{part:?} is not shown: {shown}");
    }
}

#[test]
fn orders_are_posted_traced_cancelled_given_up_and_replayed_by_the_command() {
    let root = tempfile::tempdir().unwrap();
    let (folder, file) = (root.path().join("data"), root.path().join("orders.json"));
    let keys = keys(12);
    fs::write(&file, json!(keys.iter().map(|key| order(key)).collect::<Vec<_>>()).to_string()).unwrap();
    let engine = up(&folder, &["--failing", "12", "--busy", "20", "--log-level", "trace"]);
    let on = |arguments: &[&str]| on(&folder, arguments);
    let post = || on(&["post", "snacks", file.to_str().unwrap(), "--json"]).json();
    assert_eq!(post(), json!({"created": 12, "unchanged": 0, "conflict": 0}));
    assert_eq!(post(), json!({"created": 0, "unchanged": 12, "conflict": 0}), "a retry is the same order");

    let kitchen = SimulatedKitchen::new(1, 12, 20);
    let statuses = settled(&engine, &keys);
    for (key, status) in &statuses {
        let expected = if kitchen.fate(&order_id(key)) == Fate::Failing { "NEW" } else { "PROCESSED" };
        assert_eq!(status, expected, "{key}");
    }
    let failing: Vec<&String> =
        statuses.iter().filter(|(_, status)| *status == "NEW").map(|(key, _)| key).collect();
    let late = keys.iter().find(|key| kitchen.fate(&order_id(key)) == Fate::MadeLater).unwrap();
    let story = on(&["trace", "snacks", &order_id(late), "--json"]).json();
    let told =
        |entry: &Value| (entry["what"].as_str().unwrap().to_owned(), entry["attempt"].as_u64().unwrap());
    let timeline: Vec<(String, u64)> = story["timeline"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(timeline, [("created".to_owned(), 1), ("processed".to_owned(), 2)]);
    assert_eq!(story["status"], "PROCESSED");

    // Dead letters with their reason; a cancelled order's, replayed, makes nothing.
    let letters = on(&["dlq", "list", "snacks", "--json"]).json();
    let letters = letters.as_array().unwrap();
    assert_eq!(letters.len(), failing.len());
    assert!(
        letters.iter().all(|letter| letter["reason"] == "kitchen_busy" && letter["attempts"] == 3),
        "{letters:?}"
    );
    let cancelled = on(&["cancel", "snacks", &order_id(failing[0]), "--json"]).json();
    assert_eq!((&cancelled["status"], &cancelled["outcome"]), (&json!("CANCELLED"), &json!("cancelled")));
    let too_late = on(&["cancel", "snacks", &order_id(late)]);
    assert!(too_late.code == 4 && too_late.err.contains("can't be cancelled any more"), "{too_late:?}");
    let nobody = on(&["cancel", "snacks", "nobody"]);
    assert!(nobody.code == 3 && nobody.err.contains("no order has this id"), "{nobody:?}");
    let rows = |status: &str| {
        on(&["orders", "snacks", "--status", status, "--json"]).json().as_array().unwrap().clone()
    };
    assert_eq!(rows("PROCESSED").len(), 12 - failing.len());
    assert!(rows("PROCESSED").iter().all(|row| row.get("customerName").is_none() && row["totalAmount"] == 5));

    eventually("people are notified", || (!notifications(&folder).is_empty()).then_some(()));
    let done = engine.terminate();
    let engine = up(&folder, &["--failing", "0"]);
    let replayed = on(&["dlq", "redrive", "snacks", "--json"]).json();
    assert_eq!(replayed["redriven"], failing.len());
    let statuses = statuses_once(&engine, &keys, |order| order["status"] != "NEW");
    for key in &keys {
        let expected = if key == failing[0] { "CANCELLED" } else { "PROCESSED" };
        assert_eq!(statuses[key], expected, "{key}");
    }
    assert_eq!(on(&["dlq", "list", "snacks", "--json"]).json(), json!([]));
    drop(engine);
    tells_no_name(&folder, &done);
}

/// Neither logs nor notifications have the name of who ordered; the logs have all that there is to tell.
fn tells_no_name(folder: &Path, done: &Done) {
    assert!(done.err.contains("TRACE") || done.err.contains("DEBUG"), "{}", done.err);
    assert!(done.err.contains("dead-lettered"), "{}", done.err);
    let notifications = fs::read_to_string(folder.join("notifications.jsonl")).unwrap();
    assert!(notifications.contains("order-processor-dlq"), "{notifications}");
    for text in [&done.err, &done.out, &notifications] {
        for name in CUSTOMER.split(' ') {
            assert!(!text.contains(name), "{name} is told: {text}");
        }
    }
}

#[test]
fn a_wrong_order_is_told_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &[]);
    let mut wrong = order("a");
    wrong["totalAmount"] = json!(5.5);
    let refused = engine.ask("POST", "/orders", Some(wrong.to_string().as_bytes()));
    assert_eq!((refused.status, &refused.problem()["type"]), (400, &json!("/problems/invalid_order")));
    assert_eq!(refused.problem()["errors"][0]["detail"], "`totalAmount` is 5.5, and the items cost 5.");
    let mut send = command(&["send", "snacks", "order_creator", "-", "--data"]);
    send.arg(folder.path());
    let sent = run(send, wrong.to_string().as_bytes());
    assert!(sent.code == 4 && sent.err.contains("the items cost 5."), "{sent:?}");
    assert_eq!(engine.get(&format!("/orders/{}", order_id("a"))).status, 404, "nothing is stored");
}

#[test]
fn two_hundred_orders_each_reach_one_end_whatever_is_killed_and_posted_again() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(200);
    let args = ["--failing", "5", "--busy", "20"];
    let engine = up(folder.path(), &args);
    // Each is posted, and every eighth cancelled, by four senders at once; halfway the process is killed.
    let send = |address: &str, keys: &[String]| -> Vec<(String, u16)> {
        let mut answers = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let header = [("idempotency-key", key.as_str())];
            let body = order("the header counts").to_string();
            let posted =
                ask(address, "POST", "/orders", &header, Some(body.as_bytes())).map(|answer| answer.status);
            assert!(posted.as_ref().map_or(true, |status| [200, 201].contains(status)), "{posted:?}");
            if at % 8 == 0 {
                let path = format!("/orders/{}/cancel", order_id(key));
                if let Ok(answer) = ask(address, "POST", &path, &[], None) {
                    answers.push((key.clone(), answer.status));
                }
            }
        }
        answers
    };
    let address = engine.address.clone();
    let all_at_once = |address: &str, engine: Option<Engine>| -> Vec<(String, u16)> {
        std::thread::scope(|scope| {
            let senders: Vec<_> = keys.chunks(50).map(|keys| scope.spawn(|| send(address, keys))).collect();
            if let Some(engine) = engine {
                eventually("some are processed", || {
                    let first =
                        ask(&engine.address, "GET", &format!("/orders/{}", order_id(&keys[1])), &[], None);
                    first.ok().filter(|answer| answer.status == 200).map(drop)
                });
                engine.kill();
            }
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        })
    };
    let mut cancelled = all_at_once(&address, Some(engine));
    let engine = up(folder.path(), &args);
    let address = engine.address.clone();
    cancelled.extend(all_at_once(&address, None));

    let statuses = settled(&engine, &keys);
    assert_eq!(statuses.len(), 200);
    let kitchen = SimulatedKitchen::new(1, 5, 20);
    for (key, status) in &statuses {
        let expected: &[&str] = match kitchen.fate(&order_id(key)) {
            Fate::Failing => &["NEW", "CANCELLED"],
            _ => &["PROCESSED", "CANCELLED"],
        };
        assert!(expected.contains(&status.as_str()), "{key}: {status}");
    }
    for (key, answer) in cancelled {
        let is_cancelled = statuses[&key] == "CANCELLED";
        assert!(
            if is_cancelled { answer == 200 } else { [404, 409].contains(&answer) },
            "{key}: {answer}, {}",
            statuses[&key]
        );
    }
    let dead =
        support::subjects(on(folder.path(), &["dlq", "list", "snacks", "--json"]).json().as_array().unwrap());
    let new = keys.iter().filter(|key| statuses[*key] == "NEW");
    assert!(new.clone().all(|key| dead.contains(&order_id(key))) && new.count() > 0, "{dead:?}");
    engine.terminate();
}
