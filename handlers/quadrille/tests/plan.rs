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
    thread,
};
use support::{
    Done, Engine,
    between::{Between, Stops},
    command, eventually, run,
};

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

/// Letters of each plan that is broken off.
const PLANNED: usize = 3;

/// A folder's plan of many letters, as so many plans of a few each.
fn parts(folder: &Path, place: &Path) -> Vec<String> {
    let whole = place.join("whole.jsonl");
    done(folder, &["plan", "--out", whole.to_str().unwrap()]).ok();
    let text = fs::read_to_string(whole).unwrap();
    let (head, letters) = text.split_once('\n').unwrap();
    let letters: Vec<&str> = letters.lines().collect();
    let part = |(number, letters): (usize, &[&str])| {
        let plan = place.join(format!("part-{number}.jsonl"));
        fs::write(&plan, [head, "\n", &letters.join("\n"), "\n"].concat()).unwrap();
        plan.to_str().unwrap().to_owned()
    };
    letters.chunks(PLANNED).enumerate().map(part).collect()
}

/// The redrive of a plan by way of somebody between.
fn redrive_by(between: &Between, folder: &Path, plan: &str) -> Command {
    let url = format!("http://{}", between.address);
    let mut command = command(&["dlq", "redrive", "snacks", "--plan", plan, "--by", "ann", "--rate", "2"]);
    command.args(["--json", "--url", &url]).current_dir(folder);
    command
}

/// Breaks the redrive of `plan` off at a request, and goes on with it; what both say that they sent.
fn broken_off(server: &str, folder: &Path, plan: &str, at: (u64, Stops)) -> Value {
    let between = Between::start(server, Some(at), "HTTP/1.1");
    let mut command = redrive_by(&between, folder, plan);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it asks so much", || between.has_stopped().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let on = Between::start(server, None, "HTTP/1.1");
    run(redrive_by(&on, folder, plan), b"").json()
}

#[test]
fn a_redrive_that_is_killed_at_any_of_its_requests_sends_each_letter_once() {
    // The system, the queues; then for each part the redrive and the queues, which are two parts here.
    const REQUESTS: u64 = 6;
    const PLANS: usize = 1 + 2 * REQUESTS as usize;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    dead(&folder, PLANS * PLANNED);
    let plans = parts(&folder, place.path());
    let mut up = command(&["up", "snacks", "--port", "0", "--busy", "0", "--failing", "0"]);
    up.args(["--allowed-host", "127.0.0.1", "--data"]).arg(&folder);
    let engine = Engine::start(up, &folder);
    let server = engine.address.clone();
    // One that nobody breaks off. The looks at its end are more or fewer, as its letters are worked later or sooner.
    let between = Between::start(&server, None, "HTTP/1.1");
    assert_eq!(run(redrive_by(&between, place.path(), &plans[0]), b"").json()["sent"], PLANNED);
    assert!(between.asked() >= REQUESTS, "{}", between.asked());
    let points = (1..=REQUESTS).flat_map(|number| [(number, Stops::Before), (number, Stops::Behind)]);
    let points: Vec<((u64, Stops), &String)> = points.zip(&plans[1..]).collect();
    thread::scope(|scope| {
        for points in points.chunks(points.len().div_ceil(8)) {
            let (server, place) = (&server, place.path());
            scope.spawn(move || {
                for (at, plan) in points {
                    let told = broken_off(server, place, plan, *at);
                    let count = |name: &str| told[name].as_u64().unwrap();
                    let all = count("sent") + count("sent_before") + count("missing");
                    assert_eq!((all, count("failed")), (PLANNED as u64, 0), "{at:?}: {told}");
                }
            });
        }
    });
    let times = sent_back(&engine, PLANS * PLANNED);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(engine.queues()["order-processor"]["dead"], 0);
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
fn of_a_plan_those_of_one_outcome_go_back_and_every_count_agrees() {
    const COUNT: usize = 100;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let plan = place.path().join("plan.jsonl").to_str().unwrap().to_owned();
    dead(&folder, COUNT);
    // The kitchen is mended for some.
    let engine = up(&folder, "40");
    let told = done(&folder, &["plan", "--out", &plan, "--json"]).json();
    let groups = told["groups"].as_array().unwrap();
    let foretold = |outcome: &str| {
        let group = groups.iter().find(|group| group["outcome"] == outcome);
        group.unwrap_or_else(|| panic!("{told}"))["letters"].as_u64().unwrap()
    };
    let (good, bad) = (foretold("done"), foretold("fails again"));
    assert_eq!(good + bad, COUNT as u64, "{told}");
    let redrive =
        ["redrive", "--plan", &plan, "--outcome", "done", "--stop-at", "5%", "--rate", "500", "--json"];
    let summary = done(&folder, &redrive).json();
    let counts = (&summary["planned"], &summary["sent"], &summary["dead_again"]);
    assert_eq!(counts, (&json!(good), &json!(good), &json!(0)), "{summary}");
    assert_eq!(engine.queues()["order-processor"]["dead"], bad);
    // The others are as they were.
    let others = done(&folder, &["plan", "--out", &format!("{plan}.2"), "--json"]).json();
    assert_eq!((&others["letters"], &others["groups"][0]["outcome"]), (&json!(bad), &json!("fails again")));
    assert_eq!(others["groups"].as_array().unwrap().len(), 1, "{others}");
    let wrong = done(&folder, &["redrive", "--plan", &plan, "--outcome", "good"]);
    assert!(wrong.code == 2 && wrong.err.contains("duplicate"), "{wrong:?}");
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
