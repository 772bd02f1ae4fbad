//! A redrive by plan, as an operator does it: foretold, ramped, stopped, broken off, and gone on with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "../../cli/tests/support/mod.rs"]
mod support;

use quadrille::domain::snacks::order_id;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};
use support::{Done, Engine, command, eventually, run};

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");

const DEAD: &str = "order-processor-dlq";

/// An engine whose kitchen fails so many of 100 orders.
fn up(folder: &Path, failing: &str) -> Engine {
    let mut command =
        command(&["up", "snacks", "--port", "0", "--busy", "0", "--failing", failing, "--data"]);
    command.arg(folder);
    Engine::start(command, folder)
}

/// A folder with so many orders, each of which is a dead letter.
fn dead(folder: &Path, count: usize) {
    let engine = up(folder, "100");
    for number in 0..count {
        let order = json!({ "customerName": "Ann", "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}],
            "totalAmount": 5, "idempotencyKey": format!("order-{number}") });
        let answer = engine.ask("POST", "/orders", Some(order.to_string().as_bytes()));
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }
    eventually("all are dead letters", || {
        let queues = engine.queues();
        (queues["order-processor"]["dead"] == json!(count)).then_some(())
    });
    engine.ask_to_end();
    engine.ended();
}

/// `dlq …` on a folder, with a kitchen that fails nobody.
fn dlq(folder: &Path, args: &[&str]) -> Command {
    let mut command = command(&["dlq"]);
    command.arg(args[0]).arg("snacks").args(&args[1..]).arg("--data").arg(folder);
    command.env("QUADRILLE_FAILING", "0").env("QUADRILLE_BUSY", "0");
    command
}

fn done(folder: &Path, args: &[&str]) -> Done {
    run(dlq(folder, args), b"")
}

/// How often the trail of each order tells of a commit by a message that was sent back.
fn sent_back(engine: &Engine, count: usize) -> BTreeMap<String, usize> {
    let of = |number: usize| {
        let id = order_id(&format!("order-{number}"));
        let order = eventually("it is processed", || {
            let order = engine.get(&format!("/orders/{id}")).json();
            (order["status"] == "PROCESSED").then_some(order)
        });
        let trail = order["trail"].as_array().unwrap().clone();
        let redriven = trail.iter().filter(|entry| entry["redriven"] == 1 && entry["redriven_by"] == "ann");
        (id, redriven.count())
    };
    (0..count).map(of).collect()
}

#[test]
fn a_redrive_that_is_killed_again_and_again_sends_each_letter_once() {
    const COUNT: usize = 60;
    let place = tempfile::tempdir().unwrap();
    let (folder, plan) = (place.path().join("data"), place.path().join("plan.jsonl"));
    let plan = plan.to_str().unwrap();
    dead(&folder, COUNT);
    let told = done(&folder, &["plan", "--out", plan, "--json"]).json();
    let group = &told["groups"][0];
    assert_eq!(
        (&told["letters"], &group["outcome"], &group["letters"]),
        (&json!(COUNT), &json!("done"), &json!(COUNT))
    );
    assert_eq!(done(&folder, &["plan", "--out", plan]).code, 1, "a plan that is there is not written over");

    let engine = up(&folder, "0");
    let redrive = ["redrive", "--plan", plan, "--rate", "20", "--by", "ann", "--json"];
    let record = format!("{plan}.record");
    let lines = || fs::read_to_string(&record).map_or(0, |text| text.lines().count());
    for _ in 0..4 {
        let before = lines();
        let mut child = dlq(&folder, &redrive).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Somewhere between what it is about to do and what it has done.
        eventually("it has written something", || (lines() > before + 1).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let summary = done(&folder, &redrive).json();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("sent") + count("sent_before") + count("missing"), COUNT as u64, "{summary}");
    assert_eq!((count("failed"), count("left"), count("dead_again")), (0, 0, 0), "{summary}");
    let times = sent_back(&engine, COUNT);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(engine.queues()["order-processor"]["dead"], 0);
    // Once more it does nothing.
    let again = done(&folder, &redrive).json();
    assert_eq!(again["sent"], 0, "{again}");
    let text = fs::read_to_string(&record).unwrap();
    let begun = text.lines().filter(|line| line.contains(r#""begun":"#) && line.contains(r#""by":"ann""#));
    assert_eq!(begun.count(), 6);
}

#[test]
fn a_redrive_whose_letters_fail_again_stops_and_those_sent_back_too_often_stay() {
    const COUNT: usize = 30;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let plan_in = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    dead(&folder, COUNT);
    // The kitchen burns on: the plan foretold otherwise.
    let engine = up(&folder, "100");
    let failed = |args: &[&str]| {
        let done = done(&folder, args);
        (
            done.code,
            serde_json::from_str::<Value>(done.out.lines().last().unwrap_or_default()).unwrap_or_default(),
        )
    };
    let plan = plan_in("1");
    // Asked of the engine, whose build and settings would work the letters, it is told as it is.
    let told = done(&folder, &["plan", "--out", &plan, "--json"]).json();
    assert_eq!(told["groups"][0]["outcome"], "fails again", "{told}");
    let (code, summary) = failed(&["redrive", "--plan", &plan, "--rate", "5", "--stop-at", "5%", "--json"]);
    assert_eq!(code, 1, "{summary}");
    let sent = summary["sent"].as_u64().unwrap();
    assert!((2..COUNT as u64).contains(&sent), "{summary}");
    // All of them once more, and then none that was sent back already.
    eventually("all are dead letters again", || {
        (engine.queues()["order-processor"]["dead"] == COUNT).then_some(())
    });
    let plan = plan_in("2");
    done(&folder, &["plan", "--out", &plan]).ok();
    let (_, summary) =
        failed(&["redrive", "--plan", &plan, "--rate", "1000", "--quarantine-after", "1", "--json"]);
    assert_eq!(
        (&summary["quarantined"], &summary["sent"]),
        (&json!(sent), &json!(COUNT as u64 - sent)),
        "{summary}"
    );
}

#[test]
fn letters_are_told_of_all_queues_and_nothing_is_purged_unasked() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    dead(&folder, 3);
    let text = done(&folder, &["list"]).ok();
    let group: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((group[0], group[1], group[3]), ("3", DEAD, "order_processor"), "{text}");
    assert!(text.trim_end().ends_with("3 dead letter(s) in 3 queues"), "{text}");
    let listed = done(&folder, &["list", "--json"]).json();
    let subject = listed[0]["subject"].as_str().unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["queue"]), (3, &json!(DEAD)));
    let one =
        |args: &[&str]| done(&folder, &[&["list", "--json"], args].concat()).json().as_array().unwrap().len();
    assert_eq!(
        (one(&["--of", subject]), one(&["--handler", "order_processor"]), one(&["--handler", "x"])),
        (1, 3, 0)
    );
    let at = listed[0]["dead_at"].as_str().unwrap();
    assert_eq!((one(&["--before", at]), one(&["--since", "2999-01-01T00:00:00Z"])), (1, 0));
    // A plan that does not come to its end is none.
    let (plan, body) = (place.path().join("plan"), place.path().join("body"));
    fs::write(&body, "{}").unwrap();
    let wrong = |id: &str| format!("{id}={}", body.display());
    for (id, code) in [("nobody", 3), (listed[0]["id"].as_str().unwrap(), 4)] {
        let refused = done(&folder, &["plan", "--out", plan.to_str().unwrap(), "--body", &wrong(id)]);
        assert_eq!((refused.code, plan.exists()), (code, false), "{refused:?}");
    }
    let refused = done(&folder, &["purge"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--yes"), "{refused:?}");
    assert_eq!(one(&[]), 3);
    assert_eq!(done(&folder, &["purge", "--yes", "--json"]).json()["purged"], 3);
    assert_eq!(one(&[]), 0);
}
