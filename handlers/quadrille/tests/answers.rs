//! "Where is it, and why?", answered by commands on a running engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::domain::auction::OrderStatus;
use serde_json::json;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use support::{
    Engine, Order, RESULTS_DEAD, Watcher,
    between::Cable,
    body, command, decision, eventually, on, orders, run,
    server::{Reply, Server},
};
use tempfile::TempDir;

/// An engine whose platform nobody runs.
fn without_platform(folder: &Path) -> Engine {
    Engine::up(folder, &["--platform", "http://127.0.0.1:9"])
}

/// An engine whose platform decides as soon as it is asked, with its folder.
fn at_once() -> (TempDir, Engine) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--not-ready", "0"]);
    (folder, engine)
}

fn line_with<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part:?} is not in: {text}"))
}

/// The ids of an order that the simulated platform accepts, and of one that it rejects.
fn one_of_each() -> (Order, Order) {
    let of = |status| {
        orders("each-", 50).into_iter().find(|order| decision(1, &order.record_id).0 == status).unwrap()
    };
    (of(OrderStatus::Accepted), of(OrderStatus::Rejected))
}

#[test]
fn a_trace_tells_which_attempt_failed_why_and_when_the_next_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let engine = without_platform(folder.path());
    engine.take(&orders("order-", 2));
    engine.kickoff();
    let trace = |more: &[&str]| on(folder.path(), &[&["trace", "order-1"], more].concat());
    let story = eventually("the platform is out of reach", || {
        let story = trace(&["--json"]).json();
        story["failing"][0].is_object().then_some(story)
    });
    let failing = &story["failing"][0];
    assert_eq!(
        (&failing["step"], &failing["reason"]),
        (&"poll_auction".into(), &"platform_unreachable".into())
    );
    let text = trace(&[]).ok();
    let now = line_with(&text, "now: attempt ");
    let attempts = failing["attempts_max"].to_string();
    for part in
        [&format!(" of {attempts} failed: platform_unreachable: "), "; next try ", "  by poll_auction"]
    {
        assert!(now.contains(part), "{part:?}: {now}");
    }
    let next = now.split("next try ").nth(1).unwrap();
    assert!(next.as_bytes()[2] == b':' && next.as_bytes()[5] == b':', "{now}");
    line_with(&text, "the deadline of the run is ");
    // Nobody but the engine knows of it.
    engine.terminate();
    let at_rest = trace(&[]).ok();
    assert!(!at_rest.contains("now: attempt"), "{at_rest}");
    line_with(&at_rest, "no engine runs on this folder");
}

#[test]
fn a_trace_of_what_waits_for_a_run_tells_when_it_comes_and_what_is_in_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let engine = without_platform(folder.path());
    engine.take(&[Order::new("first", "a", "1")]);
    engine.kickoff();
    eventually("the run has the first", || (engine.order("first")["status"] == "submitted").then_some(()));
    engine.take(&[Order::new("second", "a", "1")]);
    let text = eventually("the run before stands in the way", || {
        let text = on(folder.path(), &["trace", "second"]).ok();
        text.contains("in its way").then_some(text)
    });
    let next = line_with(&text, "next: kickoff at ");
    assert!(next.ends_with(", by poll_auction"), "{next}");
    let way = line_with(&text, "in its way: ");
    assert!(way.contains("poll_auction fails") && way.contains("platform_unreachable: "), "{way}");
    engine.terminate();
}

#[test]
fn an_end_is_told_with_its_dead_letter_and_with_nothing_of_the_run_behind_it() {
    let (folder, engine) = at_once();
    let (accepted, rejected) = one_of_each();
    engine.take(&[accepted.clone(), rejected.clone()]);
    engine.kickoff();
    engine.settled(2);
    let trace = |id: &str, more: &[&str]| on(folder.path(), &[&["trace", id], more].concat());
    let story = trace(&rejected.record_id, &["--json"]).json();
    let last = story["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["of"], &last["what"]), (&"order".into(), &"dead-lettered: rejected".into()));
    let letter = &story["letters"][0];
    let (id, detail) = (letter["id"].as_str().unwrap(), letter["detail"].as_str().unwrap());
    let text = trace(&rejected.record_id, &[]).ok();
    line_with(&text, detail);
    let lies = line_with(&text, "dead letter ");
    assert!(lies.contains(&format!("dead letter {id} in {RESULTS_DEAD}, kept until ")), "{lies}");
    // The command that it names shows it.
    let named = lies.split_once(&format!(": `quadrille dlq show auction {id} --queue ")).unwrap().1;
    let shown =
        on(folder.path(), &["dlq", "show", "auction", id, "--queue", named.trim_end_matches('`')]).ok();
    assert!(shown.contains(&rejected.record_id), "{shown}");
    assert!(!text.contains("now: ") && !text.contains("next: "), "{text}");

    let text = trace(&accepted.record_id, &[]).ok();
    assert!(text.lines().any(|line| line.ends_with(" in all")) && text.contains(" UTC\n"), "{text}");
    assert!(line_with(&text, "submitted to run").contains('+'), "{text}");
    engine.terminate();
}

#[test]
fn a_trace_that_follows_goes_on_until_the_entity_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    let platform = Server::start(move |_| match ready.load(Ordering::Acquire) {
        false => Reply::ok(r#"{"results": false}"#),
        true => Reply::ok(r#"{"results": true, "orders": [{"record_id": "one", "status": "accepted"}]}"#),
    });
    let engine = Engine::up(folder.path(), &["--platform", &platform.url(), "--backoff", "10ms"]);
    engine.take(&[Order::new("one", "a", "1")]);
    engine.kickoff();
    let follow = |more: &[&str]| {
        let mut command = command(&["trace", "one", "--follow"]);
        command.args(more).arg("--data").arg(folder.path()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let (mut following, mut as_json) = (follow(&[]), follow(&["--json"]));
    let mut text = BufReader::new(following.stdout.take().unwrap());
    let mut told = String::new();
    while !told.contains("now: waiting: not ready") {
        assert_ne!(text.read_line(&mut told).unwrap(), 0, "{told}");
    }
    is_ready.store(true, Ordering::Release);
    // They end by themselves.
    text.read_to_string(&mut told).unwrap();
    assert!(following.wait().unwrap().success());
    let places: Vec<usize> = ["received", "submitted to run", "accepted", "stored"]
        .iter()
        .map(|what| told.find(&format!("  {what}")).unwrap_or_else(|| panic!("{what}: {told}")))
        .collect();
    assert!(places.is_sorted(), "{told}");
    assert_eq!(told.matches("  received  by").count(), 1, "{told}");
    let mut lines = String::new();
    as_json.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    assert!(as_json.wait().unwrap().success());
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "accepted");
    engine.terminate();
    // A folder that nobody works on has nothing to follow.
    let done = on(folder.path(), &["trace", "one", "--follow"]);
    assert_eq!(done.code, 5, "{done:?}");
}

#[test]
fn what_a_platform_says_is_told_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Server::start(|_| Reply::Is(500, "\u{1b}[31mred\u{202e}".into()));
    let engine = Engine::up(folder.path(), &["--platform", &platform.url()]);
    engine.take(&orders("order-", 1));
    engine.kickoff();
    let text = eventually("the platform answers with an error", || {
        let text = on(folder.path(), &["trace", "order-1"]).ok();
        text.contains("now: attempt").then_some(text)
    });
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    engine.terminate();
}

/// The ids of a list of orders, as its rows have them.
fn listed(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let rows = on(folder, &[&["orders", "--json"], arguments].concat()).json();
    rows.as_array().unwrap().iter().map(|row| row["record_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_list_tells_the_newest_first_how_many_more_there_are_and_how_many_of_each_status() {
    let (folder, engine) = at_once();
    for id in ["a", "b", "c"] {
        engine.take(&[Order::new(id, "x", "1")]);
    }
    let on = |arguments: &[&str]| on(folder.path(), arguments);
    let list = |arguments: &[&str]| listed(folder.path(), arguments);
    assert_eq!(list(&[]), ["c", "b", "a"]);
    assert_eq!(list(&["--limit", "2"]), ["c", "b"]);
    let text = on(&["orders", "--limit", "2"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].ends_with("  received  c") && lines[2].ends_with("  received  b"), "{text}");
    assert_eq!(lines[3..], ["… and 1 older: --limit says how many are shown", "3 in all: 3 received"]);
    let counts = on(&["list", "order", "--counts", "--json"]).json();
    assert_eq!(counts, json!({ "counts": { "received": 3 }, "unreadable": 0 }));
    let counts = on(&["orders", "--counts"]).ok();
    assert_eq!(counts, "status    count\nreceived      3\n3 in all: 3 received\n");
    assert_eq!(on(&["orders", "--watch", "--counts"]).code, 2);
    engine.terminate();
}

#[test]
fn a_list_takes_what_is_asked_for_by_time_run_and_reason() {
    let (folder, engine) = at_once();
    let (accepted, rejected) = one_of_each();
    engine.take(std::slice::from_ref(&accepted));
    let first = engine.kickoff();
    engine.settled(1);
    engine.take(std::slice::from_ref(&rejected));
    let second = engine.kickoff();
    engine.settled(2);
    let list = |arguments: &[&str]| listed(folder.path(), arguments);
    let (accepted, rejected) = ([accepted.record_id], [rejected.record_id]);
    assert_eq!(
        (list(&["--run", &first]), list(&["--related", &second])),
        (accepted.to_vec(), rejected.to_vec())
    );
    assert_eq!(list(&["--reason", "rejected"]), rejected);
    assert_eq!(list(&["--reason", "timeout"]), [""; 0]);
    // The second run began when all of the first was done.
    assert_eq!(
        (list(&["--since", &second]), list(&["--before", &second])),
        (rejected.to_vec(), accepted.to_vec())
    );
    assert_eq!((list(&["--since", "1h"]).len(), list(&["--before", "1h"]).len()), (2, 0));
    let wrong = on(folder.path(), &["orders", "--since", "yesterday"]);
    assert!(wrong.code == 2 && wrong.err.contains("2h"), "{wrong:?}");
    engine.terminate();
}

#[test]
fn rows_are_printed_as_csv_that_no_spreadsheet_runs() {
    let (folder, engine) = at_once();
    let (_, rejected) = one_of_each();
    engine.take(&[
        Order::new("=cmd|' /C calc'!A0", "x", "1"),
        Order::new("a,\"b", "x", "1"),
        rejected.clone(),
    ]);
    let csv = |arguments: &[&str]| on(folder.path(), &[arguments, &["--output", "csv"]].concat()).ok();
    let orders = csv(&["orders"]);
    let lines: Vec<&str> = orders.lines().collect();
    assert_eq!(lines[0], "record_id,status,received_at,run_id,result_key");
    assert!(lines.iter().any(|line| line.starts_with("'=cmd|' /C calc'!A0,received,")), "{orders}");
    assert!(lines.iter().any(|line| line.starts_with("\"a,\"\"b\",received,")), "{orders}");
    assert!(csv(&["list", "order", "--limit", "1"]).starts_with("id,status,version,created_at,state\n"));
    engine.kickoff();
    engine.settled(3);
    let letters = csv(&["dlq", "list"]);
    assert!(letters.starts_with("queue,id,reason,detail,handler,subject,"), "{letters}");
    let letter = line_with(&letters, &rejected.record_id);
    assert!(letter.starts_with("auction-results-dlq,") && letter.contains(",rejected,"), "{letter}");
    assert!(csv(&["queues"]).contains("queue,visible,in flight,delayed,dead\nauction-poll,0,0,0,0\n"));
    assert_eq!(on(folder.path(), &["queues", "--output", "csv", "--json"]).code, 2);
    engine.terminate();
}

#[test]
fn one_screen_tells_how_it_goes_and_what_fails_now() {
    let folder = tempfile::tempdir().unwrap();
    let on = |arguments: &[&str]| on(folder.path(), arguments);
    let engine = without_platform(folder.path());
    engine.take(&orders("order-", 2));
    engine.kickoff();
    let told = eventually("the platform is out of reach", || {
        let told = on(&["status", "--json"]).json();
        told["failing"][0].is_object().then_some(told)
    });
    assert_eq!(
        (&told["name"], &told["is_running"], &told["standing"]),
        (&"auction".into(), &true.into(), &json!([]))
    );
    assert!(told["started_at"].is_string() && told["oldest"]["auction-poll"].is_string(), "{told}");
    let text = on(&["status"]).ok();
    assert!(text.starts_with("auction  an engine runs since ") && text.contains("; well\n"), "{text}");
    assert!(line_with(&text, "poll_auction: attempt ").contains("platform_unreachable: "), "{text}");
    let poll = line_with(&text, "auction-poll ");
    assert_eq!(poll.split_whitespace().nth(1), Some("0"), "{poll}");
    assert!(line_with(&text, "kickoff  ").contains("Z, in "), "{text}");
    let retried = line_with(&text, "poll_auction  ").split_whitespace().nth(3).unwrap();
    assert!(retried.parse::<u64>().unwrap() > 0, "{text}");
    engine.terminate();
    let at_rest = on(&["status"]).ok();
    assert!(at_rest.starts_with("auction  no engine runs on this folder\n"), "{at_rest}");
    assert_eq!(on(&["status", "--json"]).json()["is_running"], false);
    assert_eq!(on(&["watch"]).code, 5);
}

#[test]
fn a_watched_status_is_told_anew_when_something_changes_until_it_is_ended() {
    let (folder, engine) = at_once();
    let mut command = command(&["watch", "--json", "--data"]);
    command.arg(folder.path());
    let watcher = Watcher::start(command);
    let done = |count: u64| {
        move |line: &str| {
            let told: serde_json::Value = serde_json::from_str(line).ok()?;
            (told["steps"]["poll_auction"]["done"].as_u64()? >= count).then_some(told)
        }
    };
    assert!(watcher.out.find(done(0)).is_some());
    engine.take(&orders("order-", 1));
    engine.kickoff();
    assert!(watcher.out.find(done(1)).is_some());
    let ended = watcher.terminate();
    assert_eq!(ended.code, 0, "{ended:?}");
    // What says the same is not told again.
    let statuses = ended.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut statuses = statuses.filter(|told| told["steps"].is_object()).map(|mut told| {
        told["now"] = json!(0);
        told
    });
    let first = statuses.next().unwrap();
    statuses.fold(first, |before, told| {
        assert_ne!(before, told);
        told
    });
    engine.terminate();
}

/// What a line of JSON tells of the work of this step on this subject.
fn work_of(step: &'static str, subject: &str) -> impl Fn(&str) -> Option<serde_json::Value> + use<> {
    let subject = quadrille::excerpt(subject, 500);
    move |line| {
        let work = serde_json::from_str::<serde_json::Value>(line).ok()?["work"].clone();
        (work["step"] == step && work["subject"] == subject).then_some(work)
    }
}

#[test]
fn a_watch_tells_what_is_worked_and_goes_on_where_its_connection_broke() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--not-ready", "0", "--allowed-host", "127.0.0.1"]);
    let cable = Cable::start(&engine.address, "GET /_quadrille/events");
    let watch = |more: &[&str]| {
        let mut command = command(&[&["watch"], more].concat());
        command.arg("--url").arg(format!("http://{}", cable.address));
        command.env("NO_COLOR", "1");
        command
    };
    let (as_json, as_text) = (Watcher::start(watch(&["--json"])), Watcher::start(watch(&[])));
    let low = Watcher::on_terminal_of(watch(&[]), (30, 110));
    for (watcher, begins) in [(&as_json, "{"), (&as_text, "auction  an engine"), (&low, "\u{1b}[H")] {
        assert!(watcher.out.find(|line| line.starts_with(begins).then_some(())).is_some(), "{begins}");
    }
    let (accepted, rejected) = one_of_each();
    let hostile = orders("hostile\u{202e}-", 50).into_iter();
    let hostile = hostile.filter(|order| decision(1, &order.record_id).0 == OrderStatus::Accepted);
    let hostile: Vec<Order> = hostile.take(20).collect();
    engine.take(&[accepted.clone(), rejected.clone()]);
    engine.take(&hostile);
    let run = engine.kickoff();
    for order in &hostile {
        as_json.out.find(work_of("store_result", &order.record_id)).unwrap();
    }
    let told = as_json.out.find(work_of("store_result", &rejected.record_id)).unwrap();
    assert_eq!((&told["verdict"], &told["kind"]), (&json!("dead_letter"), &json!("order")));
    let ended = as_json.out.find(work_of("poll_auction", &run)).unwrap();
    assert!(ended["at"].is_string() && ended["attempt"] == 1, "{ended}");
    // Whoever looks for lines has them as a terminal shows them.
    let line = |part: &str| as_text.out.find(|line| line.contains(part).then(|| line.to_owned())).unwrap();
    assert!(line(&format!("{}: stored", accepted.record_id))[8..].starts_with("  store_result  "));
    line(&format!("{}: dead-lettered: rejected: ", rejected.record_id));
    engine.settled(22);

    assert_eq!(cable.cut(), 3);
    engine.take(&[Order::new("meanwhile", "a", "1")]);
    engine.kickoff();
    as_json.out.find(work_of("store_result", "meanwhile")).unwrap();
    line("meanwhile: ");
    // The last of them stand on the screen, below the tables, as many as there is room for.
    low.out.find(|line| line.contains("meanwhile: stored").then_some(())).unwrap();
    let done: Vec<_> = [as_json, as_text, low].into_iter().map(Watcher::terminate).collect();
    for done in &done {
        assert_eq!(done.code, 0, "{done:?}");
        assert!(!done.out.contains('\u{202e}'), "{}", done.out);
        assert!(!done.out.contains("not told"), "{}", done.out);
    }
    let told = |line: &&str| work_of("store_result", "meanwhile")(line).is_some();
    assert_eq!(done[0].out.lines().filter(told).count(), 1, "nothing is told twice: {}", done[0].out);
    let mut most = 0;
    for frame in done[2].out.split("\u{1b}[H\u{1b}[J").skip(1) {
        let lines: Vec<&str> = frame.lines().collect();
        assert!(lines.len() < 30, "{} rows: {frame}", lines.len());
        most = most.max(lines.iter().filter(|line| line.contains("  store_result  ")).count());
    }
    assert!(most > 1, "{}", done[2].out);
    engine.terminate();
}

#[test]
fn a_watch_tells_when_what_failed_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = without_platform(folder.path());
    let watch = |more: &[&str]| {
        let mut command = command(&[&["watch"], more].concat());
        command.arg("--data").arg(folder.path());
        Watcher::start(command)
    };
    let (as_json, as_text) = (watch(&["--json"]), watch(&[]));
    for watcher in [&as_json, &as_text] {
        watcher.out.find(|_| Some(())).unwrap();
    }
    engine.take(&orders("order-", 1));
    let run = engine.kickoff();
    let is_retry = |line: &str| work_of("poll_auction", &run)(line).filter(|work| work["verdict"] == "retry");
    let retry = as_json.out.find(is_retry).unwrap();
    let at = |name: &str| quadrille::Timestamp::parse(retry[name].as_str().unwrap()).unwrap();
    assert!(at("next") > at("at"), "{retry}");
    let again = format!(", again in {:?}", at("next").since(at("at")));
    as_text.out.find(|line| line.ends_with(&again).then_some(())).unwrap();
    for watcher in [as_json, as_text] {
        assert_eq!(watcher.terminate().code, 0);
    }
    engine.terminate();
}

#[test]
fn a_watch_says_what_it_missed_and_why_nobody_tells() {
    let asked = AtomicUsize::new(0);
    let event =
        |name: &str, id: &str, data: serde_json::Value| format!("event: {name}\nid: {id}\ndata: {data}\n\n");
    let work = |subject: &str| {
        json!({ "at": "2026-11-30T12:00:00.000Z", "step": "brew", "subject": subject, "kind": "pot", "attempt": 2,
            "what": "cold", "verdict": "retry", "next": "2026-11-30T12:00:01.500Z" })
    };
    let hello = move |missed: u64, is_new: bool| {
        event("hello", "", json!({ "cursor": "c-1", "missed": missed, "is_new": is_new }))
    };
    let told = move |subject: &str, left_out: u64, id: &str| {
        event("work", id, json!({ "now": 0, "counts": {}, "work": [work(subject)], "left_out": left_out }))
    };
    let status = json!({ "name": "auction", "now": "2026-11-30T12:00:00Z", "queues": [], "oldest": {}, "steps": {},
        "failing": [], "fails_more": false, "schedules": [] });
    let engine = Server::start(move |asks| match asks.path.as_str() {
        "/_quadrille/events" => match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok(format!("{}{}", hello(0, false), told("first\u{1b}[31m", 0, "c-2"))),
            1 | 2 => Reply::Is(503, json!({ "detail": "16 listen already" }).to_string()),
            3 => Reply::ok(format!("{}{}", hello(7, false), told("second", 3, "c-12"))),
            4 => Reply::ok(hello(0, true)),
            5 => Reply::ok(told("third", 0, "c-13").replace("brew", "br\"ew")),
            _ => Reply::Never,
        },
        "/_quadrille/status" => Reply::ok(status.to_string()),
        _ => Reply::ok(json!({ "name": "auction" }).to_string()),
    });
    let watch = Watcher::start(command(&["watch", "--json", "--url", &engine.url()]));
    watch.out.find(|line| line.contains("is not told: ").then_some(())).unwrap();
    watch.out.find(|line| line.contains("is not told: JSON: ").then_some(())).unwrap();
    let done = watch.terminate();
    let lines = done.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.filter(|told| told["name"].is_null()).collect();
    let of = |at: usize, name: &str| lines[at][name].clone();
    assert_eq!(of(0, "work"), work("first\u{1b}[31m"));
    let why = of(1, "untold").as_str().unwrap().to_owned();
    assert!(why.contains("answered 503: 16 listen already"), "it is said once: {why}");
    assert_eq!((of(2, "left_out"), of(3, "left_out")), (json!(7), json!(3)));
    assert_eq!(of(4, "work"), work("second"));
    assert!(of(5, "untold").as_str().unwrap().contains("the engine was started again"), "{lines:?}");
    assert_eq!(lines.len(), 7, "{lines:?}");
    let asked = engine.asked().into_iter().filter(|asked| asked.path == "/_quadrille/events");
    let cursors: Vec<Option<String>> =
        asked.map(|asked| asked.headers.get("last-event-id").cloned()).collect();
    let cursor = |text: &str| Some(text.to_owned());
    assert_eq!(cursors[..5], [None, cursor("c-2"), cursor("c-2"), cursor("c-2"), cursor("c-12")]);
}

#[test]
fn runs_are_listed_with_what_became_of_their_orders() {
    let (folder, engine) = at_once();
    let (accepted, rejected) = one_of_each();
    engine.take(&[accepted, rejected]);
    let run = engine.kickoff();
    engine.settled(2);
    let runs = eventually("the run is over", || {
        let runs = on(folder.path(), &["runs", "--json", "--status", "ended"]).json();
        runs[0].is_object().then_some(runs)
    });
    let told = ["run_id", "status", "submitted", "accepted", "rejected"].map(|name| runs[0][name].clone());
    assert_eq!(told, [json!(run), json!("ended"), json!(2), json!(1), json!(1)]);
    let text = on(folder.path(), &["runs"]).ok();
    let head: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["created", "status", "submitted", "accepted", "rejected", "undecidable", "id"]);
    engine.terminate();
}

#[test]
fn on_a_terminal_an_engine_shows_what_it_does_and_elsewhere_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (accepted, rejected) = one_of_each();
    let all = [accepted.clone(), rejected.clone()];
    let file = folder.path().join("orders.json");
    std::fs::write(&file, body(&all)).unwrap();
    let data = folder.path().join("data");
    let work = |watcher: &dyn Fn(Command)| {
        let mut command = Engine::command(&data, &["--not-ready", "0"]);
        command.env("NO_COLOR", "1");
        watcher(command);
    };
    work(&|command| {
        let engine = Watcher::on_terminal(command);
        let line = |part: String| engine.out.find(|line| line.contains(&part).then(|| line.to_owned()));
        assert!(line("listening on http://".to_owned()).is_some());
        on(&data, &["post", file.to_str().unwrap()]).ok();
        let run = on(&data, &["kickoff", "--json"]).json()["run_id"].as_str().unwrap().to_owned();
        let stored = line(format!("{}: stored", accepted.record_id)).unwrap();
        assert!(stored[8..].starts_with("  store_result  "), "{stored}");
        assert!(line(format!("{}: dead-lettered: rejected: ", rejected.record_id)).is_some());
        assert!(line(format!("{run}: ended: 2 submitted, 1 accepted, 1 rejected")).is_some());
        let done = engine.terminate();
        // A rejected order is what the auction is for, and no fault that a log warns of.
        assert!(!done.err.contains("WARN"), "{}", done.err);
    });
    work(&|command| {
        let engine = Engine::start(command, &data);
        engine.take(&[Order::new("one more", "a", "1")]);
        engine.kickoff();
        engine.settled(3);
        let done = engine.terminate();
        assert!(!done.out.contains("poll_auction"), "{}", done.out);
    });
}

#[test]
fn a_trigger_tells_what_it_sent_who_works_it_and_how_it_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let kickoff = || on(folder.path(), &["kickoff"]).ok();
    let engine = Engine::up(folder.path(), &["--not-ready", "0"]);
    engine.take(&[Order::new("one", "a", "1")]);
    let told = kickoff();
    let run = told.lines().next().unwrap().strip_prefix("kickoff triggered: run_id ").unwrap();
    line_with(&told, "sent to the queue auction-poll, which poll_auction works, and may emit auction.");
    let follow = format!("`quadrille trace auction run {run} --follow` follows it");
    line_with(&told, &follow);
    line_with(&told, "An engine runs: it is worked now.");
    let traced = on(folder.path(), &["trace", "auction", "run", run, "--follow"]).ok();
    assert!(traced.contains("ended: 1 submitted"), "{traced}");
    engine.terminate();
    line_with(&kickoff(), "No engine runs on this folder: the message waits for the next `up`.");
}

#[test]
fn dead_letters_are_told_by_age_as_the_engines_clock_tells_it() {
    // Its clock is not this machine's. Letters are of an hour ago, and the millisecond before; of a day ago, and the same.
    let given_up = ["11:00:00.001", "11:00:00.000"].map(|time| format!("2031-05-06T{time}Z"));
    let earlier = ["12:00:00.001", "12:00:00.000", "11:59:59.000"].map(|time| format!("2031-05-05T{time}Z"));
    let letters = given_up.iter().chain(&earlier).enumerate().map(|(id, at)| {
        json!({ "id": id.to_string(), "reason": "rejected", "detail": "", "handler": "store_result", "source_queue": "auction-results",
            "subject": "order-1", "correlation_id": null, "attempts": 1, "first_seen": at, "dead_at": at, "body": "{}" })
    });
    let page = json!({ "letters": letters.collect::<Vec<_>>(), "next": null }).to_string();
    let engine = Server::start(move |asked| match asked.path.as_str() {
        "/_quadrille/system" => {
            Reply::ok(json!({ "name": "auction", "now": "2031-05-06T12:00:00.000Z" }).to_string())
        }
        path if path.contains("?queue=auction%2Dresults%2Ddlq&") => Reply::ok(page.clone()),
        _ => Reply::ok(json!({ "letters": [], "next": null }).to_string()),
    });
    let url = engine.url();
    let list = |more: &[&str]| run(command(&[&["dlq", "list", "--url", &url], more].concat()), b"");
    let text = list(&[]).ok();
    let cells = |number| -> Vec<&str> {
        text.lines().nth(number).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    assert_eq!(cells(0)[4..7], ["< 1 h", "< 1 day", "older"], "{text}");
    assert_eq!(cells(1)[..7], ["5", RESULTS_DEAD, "rejected", "store_result", "1", "2", "2"], "{text}");
    let letters = list(&["--json"]).json();
    let ages: Vec<_> = letters.as_array().unwrap().iter().map(|letter| &letter["age"]).collect();
    assert_eq!(ages, ["under_an_hour", "under_a_day", "under_a_day", "older", "older"]);
    let rows = list(&["--output", "csv"]).ok();
    assert!(rows.lines().nth(1).unwrap().ends_with(",under_an_hour"), "{rows}");
}
