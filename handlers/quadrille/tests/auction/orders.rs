//! The auction from outside: orders are posted over HTTP, runs are kicked off, and every order reaches exactly one end.

use crate::support::{
    self, Engine, Order, POLL, POLL_DEAD, RESULTS_DEAD, ask, body, decision, encoded, eventually, expected,
    filed_by_id, files, members, notifications, on, orders,
    server::{Reply, Server},
    subjects, whats,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};
use systems::auction::run::ORDERS_PER_ROUND;

const SEED: u64 = 7;
const QUICK: [&str; 4] = ["--seed", "7", "--backoff", "10ms"];

/// What stays as it is in the key of a result: RFC 3986's unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Milliseconds since the epoch of a time as the API writes it.
fn millis(at: &Value) -> i64 {
    quadrille::Timestamp::parse(at.as_str().unwrap()).unwrap().as_millis()
}

/// The text that an order's time of decision has in the key of its object.
fn compact(at: &str) -> String {
    at.split('.').next().unwrap().replace(['-', ':'], "") + "Z"
}

#[test]
fn every_order_reaches_exactly_one_end() {
    let numbers = [
        "4",
        "4.0",
        "2.10",
        "-0",
        "0.000",
        "1e3",
        "1E+2",
        "-1.50e-10",
        "12345678901234567890123456789012345678",
        "0.12345678901234567890123456789012345678",
        "99999999999999999999999999999999999999e88",
        "100000000000000000000000000000000000000000",
    ];
    let all: Vec<Order> = (0..48)
        .map(|n| Order::new(format!("order-{n}"), format!("text \"{n}\" é"), numbers[n % numbers.len()]))
        .collect();
    let (accepted, rejected) = expected(SEED, &all);
    assert!(accepted.len() > 20 && rejected.len() > 5, "the seed decides both ways");
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--backoff", "10ms", "--not-ready", "3"]);

    let answer = engine.post(&body(&all));
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (202, "application/json"));
    let rows: Vec<Value> =
        all.iter().map(|order| json!({ "record_id": order.record_id, "outcome": "stored" })).collect();
    assert_eq!(answer.json(), json!({ "results": rows }), "one row an order, in the order sent");
    for order in &all {
        let answer = engine.get(&format!("/orders/{}", encoded(&order.record_id)));
        let told = answer.json();
        assert_eq!(
            (answer.status, &told["status"], &told["record_id"], &told["parameter_1"]),
            (200, &json!("received"), &json!(order.record_id), &json!(order.parameter_1))
        );
        assert_eq!(members(&answer.body)["parameter_2"], order.parameter_2);
        assert_eq!(millis(&told["expires_at"]) - millis(&told["received_at"]), 24 * 3_600 * 1_000);
        assert_eq!(told.get("result_key"), None);
        assert_eq!(whats(&told["trail"]), ["received"]);
    }

    let run_id = engine.kickoff();
    engine.settled(all.len());

    let filed = filed_by_id(folder.path());
    assert_eq!(filed.keys().cloned().collect::<BTreeSet<_>>(), accepted);
    let letters = engine.dead_letters(RESULTS_DEAD);
    assert_eq!(subjects(&letters), rejected.iter().cloned().collect::<Vec<_>>());
    for letter in &letters {
        assert_eq!((&letter["reason"], &letter["handler"]), (&json!("rejected"), &json!("store_result")));
        let told = engine.order(letter["subject"].as_str().unwrap());
        assert_eq!(letter["correlation_id"], told["correlation_id"]);
    }
    for order in &all {
        let id = &order.record_id;
        let (status, power) = decision(SEED, id);
        let told = engine.order(id);
        assert_eq!((&told["status"], &told["run_id"]), (&json!(status.as_str()), &json!(run_id)));
        let mut way = vec!["received".to_owned(), format!("submitted to run {run_id}"), status.to_string()];
        let Some((key, object)) = filed.get(id) else {
            assert_eq!(told.get("result_key"), None);
            way.push("dead-lettered: rejected".to_owned());
            assert_eq!(whats(&told["trail"]), way);
            continue;
        };
        way.push("stored".to_owned());
        assert_eq!(whats(&told["trail"]), way);
        assert_eq!(told["result_key"], json!(key));
        let decided_at = told["decided_at"].as_str().unwrap();
        assert_eq!(*key, format!("orders/order_{}_{id}.json", compact(decided_at)));
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let members_of_it = [
            ("record_id", text(id)),
            ("status", text("accepted")),
            ("power", power.unwrap().to_string()),
            ("parameter_1", text(&order.parameter_1)),
            ("parameter_2", order.parameter_2.clone()),
            ("run_id", text(&run_id)),
            ("decided_at", text(decided_at)),
        ];
        let members_of_it = members_of_it.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(members(object), BTreeMap::from(members_of_it));
    }

    let run = engine.run(&run_id).unwrap();
    let asks: Vec<String> =
        whats(&run["trail"]).into_iter().filter(|what| what.starts_with("waiting")).collect();
    let not_ready = |poll: u32| format!("waiting: not ready (poll {poll})");
    assert_eq!(asks, [not_ready(1), not_ready(2), not_ready(3)]);
    assert_eq!((&run["state"]["phase"], &run["state"]["polls"]), (&json!("ended"), &json!(3)));
    assert_eq!(engine.dead_letters(POLL_DEAD), [] as [Value; 0]);
}

#[test]
fn an_id_is_data_and_never_a_path() {
    let ids = [
        "../../x".to_owned(),
        "/etc/passwd".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "a/b\\c".to_owned(),
        "a b".to_owned(),
        " ".to_owned(),
        "%2e%2e%2f".to_owned(),
        "a%b?c#d&e=f".to_owned(),
        "\"quoted\" <b>`$(touch x)`".to_owned(),
        "Ünïcödé 訂單 🦀".to_owned(),
        "e\u{301}".to_owned(),
        "é".to_owned(),
        "CON".to_owned(),
        "Case".to_owned(),
        "case".to_owned(),
        "x".repeat(256),
        "é".repeat(128),
        "../".repeat(85),
        "\"".repeat(256),
        "_order_".to_owned(),
        "\u{202e}nosj.x".to_owned(),
    ];
    let all: Vec<Order> = ids.iter().map(|id| Order::new(id, "abc", "1")).collect();
    // A seed by which the most hostile ones are filed, and a few others are not.
    let hostile = [&ids[..6], &ids[16..20]].concat();
    let decides = |seed: &u64| {
        let (accepted, rejected) = expected(*seed, &all);
        hostile.iter().all(|id| accepted.contains(id)) && rejected.len() > 2
    };
    let seed = (0..).find(decides).unwrap();
    let (accepted, rejected) = expected(seed, &all);
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b/data");
    let seed = seed.to_string();
    let engine = Engine::up(&folder, &["--seed", &seed, "--backoff", "10ms", "--not-ready", "0"]);
    engine.take(&all);
    engine.kickoff();
    engine.settled(all.len());

    let filed = filed_by_id(&folder);
    assert_eq!(filed.keys().cloned().collect::<BTreeSet<_>>(), accepted);
    let mut dead: Vec<String> = Vec::new();
    for letter in engine.dead_letters(RESULTS_DEAD) {
        // The subject is shown with its control and direction characters escaped; the message has it as it is.
        let message: Value = serde_json::from_str(letter["body"].as_str().unwrap()).unwrap();
        dead.push(message["subject"].as_str().unwrap().to_owned());
    }
    dead.sort();
    assert_eq!(dead, rejected.iter().cloned().collect::<Vec<_>>());
    for id in &ids {
        let told = engine.order(id);
        assert_eq!(told["record_id"], json!(id));
        if let Some((key, _)) = filed.get(id) {
            assert_eq!(told["result_key"], json!(key));
            let name = percent_encoding::utf8_percent_encode(id, UNRESERVED).to_string();
            assert!(key.ends_with(&format!("Z_{name}.json")), "{key}");
            assert_eq!(key.matches('/').count(), 1, "{key}");
        }
    }
    for unknown in ["x", "../x", "/etc/passwd/", "É", "CASE", "nobody's"] {
        let answer = engine.get(&format!("/orders/{}", encoded(unknown)));
        assert_eq!((answer.status, answer.problem()["title"].is_string()), (404, true), "{unknown}");
    }
    // A name that is not UTF-8 is no order's.
    assert_eq!(engine.get("/orders/%ff%fe").status, 404);

    engine.terminate();
    // The results, and what the simulated platform remembers.
    let buckets =
        ["order-results/orders", "auction-platform/runs"].map(|bucket| folder.join("bucket").join(bucket));
    for file in files(root.path()) {
        assert!(file.starts_with(&folder), "{file:?} lies outside the data folder");
        let is_object = file.to_string_lossy().ends_with(".json") && file.starts_with(folder.join("bucket"));
        assert!(!is_object || buckets.iter().any(|bucket| file.starts_with(bucket)), "{file:?}");
    }
}

#[test]
fn an_order_has_an_address_whatever_its_id_holds() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &[]);
    let ids = ["a", "a?b", "a%3Fb", "a%", "a/b", "..", "-", "~", "ü 1+2&record_id.hex=61"];
    let all: Vec<Order> = ids.into_iter().map(|id| Order::new(id, id, "1")).collect();
    assert_eq!(engine.post(&body(&all)).status, 202);
    for id in ids {
        let address = quadrille::http::address("/orders/{record_id}", |_| id);
        for path in [address, format!("/orders/{}", encoded(id))] {
            let answer = engine.get(&path);
            assert_eq!((answer.status, &answer.json()["record_id"]), (200, &json!(id)), "{path}");
        }
    }
    assert_eq!(engine.get("/orders/-?record_id.hex=63").status, 404);
    assert_eq!(engine.get("/orders/-?record_id.hex=6").status, 400);
}

#[test]
fn an_order_sent_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &QUICK);
    let row = |id: &str, outcome: &str| json!({ "record_id": id, "outcome": outcome });
    let (a, b) = (Order::new("a", "abc", "4"), Order::new("b", "def", "2.1"));
    engine.take(&[a.clone(), b.clone()]);
    let before = (engine.get("/orders/a").body, engine.get("/orders/b").body);

    let again = engine.post(&body(&[b.clone(), Order::new("a", "abc", "4.0")]));
    assert_eq!(
        (again.status, again.json()),
        (202, json!({ "results": [row("b", "unchanged"), row("a", "unchanged")] }))
    );
    let other = [
        Order::new("c", "new", "1"),
        Order::new("a", "abc", "4.0001"),
        Order::new("b", "DEF", "2.1"),
        Order::new("d", "new", "1"),
    ];
    let conflict = engine.post(&body(&other));
    assert_eq!(conflict.status, 409);
    assert_eq!(
        conflict.problem()["results"],
        json!([row("c", "stored"), row("a", "conflict"), row("b", "conflict"), row("d", "stored")])
    );
    assert_eq!((engine.get("/orders/a").body, engine.get("/orders/b").body), before);
    for new in ["c", "d"] {
        assert_eq!(engine.order(new)["status"], "received");
    }

    engine.kickoff();
    engine.settled(4);
    let ends = filed_by_id(folder.path());
    let decided = engine.get("/orders/a").body;
    assert_eq!(engine.post(&body(&[a])).json(), json!({ "results": [row("a", "unchanged")] }));
    assert_eq!(engine.get("/orders/a").body, decided, "a decided order is not opened again");
    engine.kickoff();
    engine.settled(4);
    assert_eq!(filed_by_id(folder.path()), ends);
}

#[test]
fn a_repeated_kickoff_repeats_nothing_and_a_later_one_takes_what_came_later() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--backoff", "20ms", "--not-ready", "2"]);
    let first = orders("first-", 30);
    engine.take(&first);
    // Two while the run waits for the platform, and two when it is over.
    let run = engine.kickoff();
    engine.kickoff();
    engine.settled(30);
    let ends = (filed_by_id(folder.path()), engine.dead_letters(RESULTS_DEAD));
    let trails: Vec<Value> =
        first.iter().map(|order| engine.order(&order.record_id)["trail"].clone()).collect();
    for _ in 0..2 {
        engine.kickoff();
        engine.settled(30);
    }
    assert_eq!((filed_by_id(folder.path()), engine.dead_letters(RESULTS_DEAD)), ends);

    let later = orders("later-", 30);
    engine.take(&later);
    let second = engine.kickoff();
    assert!(second > run, "a run's id is its time");
    engine.settled(60);
    for (order, trail) in first.iter().zip(&trails) {
        let told = engine.order(&order.record_id);
        assert_eq!((&told["run_id"], &told["trail"]), (&json!(run), trail));
    }
    for order in &later {
        let told = engine.order(&order.record_id);
        assert_eq!(told["run_id"], json!(second));
        assert_eq!(told["status"], decision(SEED, &order.record_id).0.as_str());
    }
    let (accepted, rejected) = expected(SEED, &[first, later].concat());
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
}

/// An engine whose platform has decided the second time it is polled.
fn up(folder: &Path, more: &[&str]) -> Engine {
    Engine::up(folder, &[&QUICK[..], &["--not-ready", "1"], more].concat())
}

#[test]
fn the_schedule_starts_runs_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &["--every", "200ms"]);
    let all = orders("scheduled-", 20);
    for (at, order) in all.iter().enumerate() {
        engine.take(std::slice::from_ref(order));
        if at % 5 == 0 {
            engine.settled(at + 1);
        }
    }
    engine.settled(all.len());
    for order in &all {
        let told = engine.order(&order.record_id);
        let run = quadrille::Timestamp::parse(told["run_id"].as_str().unwrap()).unwrap();
        assert_eq!(run.as_millis() % 200, 0, "a run is named by its scheduled time");
        let started = engine.get(&format!("/_quadrille/entities/run/{run}")).json();
        assert!(millis(&started["state"]["started_at"]) >= millis(&told["received_at"]), "{told} {started}");
        assert_eq!(told["trail"].as_array().unwrap().len(), 4, "{told}");
    }
}

#[test]
fn it_is_healthy_while_it_can_take_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &QUICK);
    let answer = engine.get("/healthz");
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
    assert_eq!(engine.get("/nothing").status, 404);
    for (method, path, allowed) in [
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("DELETE", "/orders/a", "GET, HEAD"),
        ("GET", "/orders", "POST"),
        ("DELETE", "/orders", "POST"),
        ("POST", "/_quadrille/queues", "GET, HEAD"),
        ("GET", "/_quadrille/schedules/kickoff", "POST"),
    ] {
        let answer = engine.ask(method, path, Some(b"{}"));
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, allowed), "{method} {path}");
    }
    assert_eq!(engine.ask("DELETE", "/nothing", None).status, 404);
    let address = engine.address.clone();
    engine.terminate();
    assert!(ask(&address, "GET", "/healthz", &[], None).is_err(), "nobody listens any more");
}

#[test]
fn a_stopped_engine_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let all = orders("kept-", 25);
    let arguments = ["--seed", "7", "--backoff", "1s", "--not-ready", "1"];
    let engine = Engine::up(folder.path(), &arguments);
    engine.take(&all);
    let run = engine.kickoff();
    let until = eventually("the run waits in its backoff", || {
        let run = engine.run(&run)?;
        let trail = run["trail"].as_array().unwrap();
        trail.last()?.get("until").map(millis)
    });
    let done = engine.terminate();
    assert!(done.out.contains("stopping"), "{}", done.out);
    assert!(!folder.path().join("engine.json").exists(), "it says no longer where it listens");
    assert_eq!(filed_by_id(folder.path()).len(), 0);

    let engine = Engine::up(folder.path(), &arguments);
    engine.settled(all.len());
    let (accepted, rejected) = expected(SEED, &all);
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
    for order in &all {
        let told = engine.order(&order.record_id);
        assert_eq!((&told["run_id"], told["trail"].as_array().unwrap().len()), (&json!(run), 4));
        assert!(millis(&told["decided_at"]) >= until, "the wait was kept over the restart");
    }
    assert_eq!(engine.run(&run).unwrap()["state"]["polls"], 1);
}

#[test]
fn what_is_in_hand_is_finished_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let all = orders("many-", 600);
    let arguments = ["--seed", "7", "--backoff", "10ms", "--not-ready", "0"];
    let engine = Engine::up(folder.path(), &arguments);
    engine.take(&all);
    engine.kickoff();
    eventually("the first results are filed", || (!support::filed(folder.path()).is_empty()).then_some(()));
    engine.terminate();
    // Nothing is half done: no message was received and left, and every filed order knows where it is filed.
    let filed = filed_by_id(folder.path());
    let queues = on(folder.path(), &["queues", "--json"]).json();
    for queue in queues.as_array().unwrap() {
        assert_eq!(queue["in_flight"], 0, "{queue}");
    }
    let told = on(folder.path(), &["orders", "--json", "--limit", "1000"]).json();
    let stored = told.as_array().unwrap().iter().filter_map(|order| order.get("result_key"));
    let stored: BTreeSet<&str> = stored.map(|key| key.as_str().unwrap()).collect();
    assert_eq!(stored, filed.values().map(|(key, _)| key.as_str()).collect());

    let engine = Engine::up(folder.path(), &arguments);
    engine.settled(all.len());
    let (accepted, rejected) = expected(SEED, &all);
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
    for order in &all {
        let told = engine.order(&order.record_id);
        assert_eq!(told["trail"].as_array().unwrap().len(), 4, "no step was repeated: {told}");
    }
}

#[test]
fn no_dead_letter_goes_unnotified_and_no_content_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--not-ready", "0", "--digest", "1s"]);
    let engine = Engine::up(folder.path(), &arguments);
    let secret = "SECRET-CONTENT";
    let batch = |prefix: &str| -> Vec<Order> {
        (0..40).map(|n| Order::new(format!("{prefix}-{n}"), format!("{secret} {n}"), "1")).collect()
    };
    let told = |state: &'static str| {
        let all = notifications(folder.path());
        all.into_iter().filter(move |alert| alert["state"] == state)
    };
    let arrived =
        |alerts: &[Value]| -> u64 { alerts.iter().map(|alert| alert["arrived"].as_u64().unwrap()).sum() };
    let (first, second, third) = (batch("first"), batch("second"), batch("third"));
    let rejected = |orders: &[Order]| expected(SEED, orders).1;

    engine.take(&first);
    engine.kickoff();
    engine.settled(40);
    let alarm = eventually("an alarm", || told("alarm").next());
    assert_eq!((&alarm["choreography"], &alarm["queue"]), (&json!("auction"), &json!(RESULTS_DEAD)));
    eventually("every dead letter is told of", || {
        let all: Vec<Value> = told("alarm").chain(told("digest")).collect();
        (arrived(&all) == rejected(&first).len() as u64).then_some(())
    });

    engine.take(&second);
    engine.kickoff();
    engine.settled(80);
    let dead = rejected(&first).len() + rejected(&second).len();
    eventually("later dead letters are told of while the alarm is red", || {
        let all: Vec<Value> = told("alarm").chain(told("digest")).collect();
        (arrived(&all) == dead as u64).then_some(())
    });
    assert_eq!(told("alarm").count(), 1);
    let digests: Vec<Value> = told("digest").collect();
    assert!(arrived(&digests) >= rejected(&second).len() as u64, "{digests:?}");
    assert_eq!(told("ok").count(), 0);

    let purged = on(folder.path(), &["dlq", "purge", "--yes", "--json"]).json();
    assert_eq!(purged["purged"], json!(dead));
    let ok = eventually("an all-clear", || told("ok").next());
    assert_eq!((&ok["depth"], &ok["arrived"]), (&json!(0), &json!(0)));

    engine.take(&third);
    engine.kickoff();
    eventually("a second alarm", || told("alarm").nth(1));
    let dead = dead + rejected(&third).len();
    eventually("every dead letter is told of, once", || {
        let all: Vec<Value> = told("alarm").chain(told("digest")).collect();
        let arrived = arrived(&all);
        assert!(arrived <= dead as u64, "{all:?}");
        (arrived == dead as u64).then_some(())
    });
    let done = engine.terminate();

    let all: BTreeSet<String> = [first, second, third].iter().flat_map(|orders| rejected(orders)).collect();
    let file = fs::read_to_string(folder.path().join("notifications.jsonl")).unwrap();
    for alert in notifications(folder.path()) {
        let members: Vec<&String> = alert.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["arrived", "at", "choreography", "depth", "queue", "reasons", "state", "subjects"]
        );
        for subject in alert["subjects"].as_array().unwrap() {
            assert!(all.contains(subject.as_str().unwrap()), "{subject}");
        }
        let by_reason = alert["reasons"].as_object().unwrap().values();
        assert_eq!(by_reason.filter_map(Value::as_u64).sum::<u64>(), alert["arrived"].as_u64().unwrap());
    }
    for text in [&file, &done.err, &done.out] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(done.err.contains("ALARM auction") && done.err.contains("OK auction"), "{}", done.err);
}

#[test]
fn an_alarm_reaches_slack() {
    let tries = AtomicUsize::new(0);
    let slack = Server::start(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Is(500, "busy".into()),
        _ => Reply::ok("ok"),
    });
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        Engine::command(folder.path(), &["--seed", "7", "--backoff", "10ms", "--not-ready", "0"]);
    command.env("QUADRILLE_WEBHOOK", format!("{}/services/T0/SECRET-PATH", slack.url()));
    let engine = Engine::start(command, folder.path());
    let mut all = orders("o-", 30);
    all.push(Order::new("<!channel> & `x`", "SECRET-CONTENT", "1"));
    all.push(Order::new("<@U123>", "SECRET-CONTENT", "1"));
    let (_, rejected) = expected(SEED, &all);
    engine.take(&all);
    engine.kickoff();
    let posts = eventually("the webhook is posted to again", || {
        let asked = slack.asked();
        (asked.len() >= 2).then_some(asked)
    });
    for post in &posts {
        assert_eq!((post.method.as_str(), post.path.as_str()), ("POST", "/services/T0/SECRET-PATH"));
        assert_eq!(post.headers["content-type"], "application/json");
        assert!(!post.body.contains("SECRET-CONTENT"), "{}", post.body);
    }
    assert_eq!(posts[0].body, posts[1].body, "the one that failed is told again");
    let message: Value = serde_json::from_str(&posts[1].body).unwrap();
    let members: Vec<&String> = message.as_object().unwrap().keys().collect();
    assert_eq!(members, ["blocks", "text"]);
    let count = rejected.len();
    assert_eq!(
        message["text"],
        format!("ALARM auction: {count} dead letter(s) in {RESULTS_DEAD} (rejected {count})")
    );
    for block in message["blocks"].as_array().unwrap() {
        assert!(["section", "context"].contains(&block["type"].as_str().unwrap()), "{block}");
    }
    let shown = message["blocks"].to_string();
    assert!(shown.contains("*Dead letters*") && shown.contains(RESULTS_DEAD), "{shown}");
    assert!(!shown.contains("<!channel>") && !shown.contains("<@U123>"), "nobody can be mentioned: {shown}");
    assert_eq!(engine.queues()[POLL]["dead"], 0);
    let done = engine.terminate();
    assert!(!done.err.contains("SECRET") && !done.out.contains("SECRET"), "{done:?}");
}

#[test]
fn posting_while_a_run_goes_on_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &["--every", "100ms"]);
    let all = orders("busy-", 400);
    std::thread::scope(|scope| {
        for part in all.chunks(100) {
            let engine = &engine;
            scope.spawn(move || part.chunks(10).for_each(|orders| engine.take(orders)));
        }
    });
    engine.settled(all.len());
    let (accepted, rejected) = expected(SEED, &all);
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
    engine.terminate();
}

#[test]
fn a_thousand_of_the_longest_ids_are_no_longer_than_any_limit() {
    // Each of these characters is two bytes wherever it is written as JSON.
    let longest_id = |n: u32| -> String {
        (0..256).map(|bit| if n >> bit.min(31) & 1 == 1 { '\\' } else { '"' }).collect()
    };
    let all: Vec<Order> = (0..1_000).map(|n| Order::new(longest_id(n), "\"".repeat(200), "1")).collect();
    let (accepted, _) = expected(SEED, &all);
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &[]);
    engine.take(&all);
    engine.kickoff();
    engine.settled(all.len());
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(engine.queues()[POLL]["dead"], 0);
}

#[test]
fn a_run_of_more_than_a_round_is_worked_in_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &[]);
    let all = orders("many-", ORDERS_PER_ROUND + 100);
    all.chunks(1_000).for_each(|orders| engine.take(orders));
    engine.kickoff();
    engine.settled(all.len());
    let (accepted, rejected) = expected(SEED, &all);
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
    engine.terminate();
}
