//! The command line: help, exit codes, the operator's commands on a running engine and on a folder at rest, the demo,
//! and what is logged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use support::{
    Done, Engine, Order, POLL, POLL_DEAD, RESULTS, RESULTS_DEAD, body, command, dead_letters, eventually,
    expected, filed_by_id, on, orders, quadrille, run,
    server::{Reply, Server},
    subjects, whats,
};

const SEED: u64 = 7;

fn up(folder: &Path, more: &[&str]) -> Engine {
    let mut arguments = vec!["--seed", "7", "--backoff", "10ms"];
    arguments.extend(more);
    Engine::up(folder, &arguments)
}

/// An engine whose orders are all decided, and those of them that are dead letters.
fn decided(folder: &Path, count: usize) -> (Engine, BTreeSet<String>) {
    let engine = up(folder, &["--not-ready", "0"]);
    let all = orders("order-", count);
    engine.take(&all);
    engine.kickoff();
    engine.settled(count);
    (engine, expected(SEED, &all).1)
}

#[test]
fn every_command_has_an_example() {
    let help = quadrille(&["--help"]).ok();
    let of = |help: &str| -> Vec<String> {
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        names
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    };
    let commands = of(&help);
    let general = [
        "demo", "up", "send", "trigger", "list", "trace", "queues", "dlq", "infra", "scale", "package",
        "diagram",
    ];
    for known in general.into_iter().chain(["systems", "new", "post", "kickoff", "orders"]) {
        assert!(commands.iter().any(|command| command == known), "{known} is not in {commands:?}");
    }
    let mut all: Vec<Vec<String>> = commands.into_iter().map(|command| vec![command]).collect();
    for noun in ["dlq", "infra"] {
        let verbs = of(&quadrille(&[noun, "--help"]).ok());
        all.extend(verbs.into_iter().map(|verb| vec![noun.to_owned(), verb]));
    }
    assert!(all.len() >= 22, "{all:?}");
    for command in &all {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = quadrille(&arguments).ok();
        let examples = help.lines().skip_while(|line| !line.starts_with("Example"));
        let written = format!("quadrille {}", command.join(" "));
        assert!(examples.skip(1).any(|line| line.contains(&written)), "{command:?}: {help}");
    }
    for code in 0..=6 {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "exit code {code}: {help}"
        );
    }
    assert!(quadrille(&["--version"]).ok().starts_with("quadrille "));
}

#[test]
fn an_exit_code_says_what_kind_of_failure_it_is() {
    let root = tempfile::tempdir().unwrap();
    let (folder, nowhere) = (root.path().join("data"), root.path().join("nowhere"));
    let engine = up(&folder, &[]);
    engine.take(&[Order::new("a", "abc", "1")]);
    let post = |orders: &str| {
        let mut command = command(&["post", "-", "--data"]);
        command.arg(&folder);
        run(command, orders.as_bytes())
    };
    let fails = |done: Done, code: i32, says: &str| {
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{done:?}");
        assert!(done.err.contains(says), "{says:?} is not said: {}", done.err);
        assert!(!done.err.contains("panicked") && !done.err.contains("RUST_BACKTRACE"), "{}", done.err);
    };
    let usage: [&[&str]; 8] = [
        &[],
        &["nonsense"],
        &["up", "--every", "5"],
        &["up", "--deadline", "25h"],
        &["trace"],
        &["demo", "--orders", "0"],
        &["dlq", "redrive", "--rate", "0"],
        &["queues", "--url", "ftp://host"],
    ];
    for arguments in usage {
        fails(quadrille(arguments), 2, "");
    }
    #[cfg(not(feature = "aws"))]
    fails(quadrille(&["queues", "--target", "aws", "--stack", "dev"]), 2, "--features aws");
    fails(quadrille(&["queues", "--target", "aws"]), 2, "--stack NAME");
    fails(quadrille(&["queues", "--stack", "dev"]), 2, "--target aws");
    fails(quadrille(&["up", "--platform", "nonsense", "--data", nowhere.to_str().unwrap()]), 2, "--platform");
    fails(quadrille(&["up", "--backoff", "1h", "--deadline", "1s", "--port", "x"]), 2, "--port");
    fails(on(&folder, &["trace", "nobody"]), 3, "404");
    fails(on(&folder, &["dlq", "show", "999"]), 3, "no dead letter 999");
    fails(on(&folder, &["dlq", "list", "--queue", "nowhere"]), 3, "nowhere");
    fails(on(&nowhere, &["queues"]), 3, "there is no data folder");
    assert!(!nowhere.exists(), "a command that only looks makes no folder");
    fails(post("[]"), 4, "400");
    fails(post(r#"[{"record_id":"b","parameter_1":5,"parameter_2":4}]"#), 4, "/0/parameter_1");
    fails(post("no json"), 4, "400");
    let conflict = post(
        r#"[{"record_id":"a","parameter_1":"abc","parameter_2":2},{"record_id":"c","parameter_1":"","parameter_2":2}]"#,
    );
    assert_eq!((conflict.code, conflict.out.trim()), (4, "1 stored, 0 unchanged, 1 conflict"));
    assert!(conflict.err.contains(r#"conflict: {"record_id":"a"}"#), "{conflict:?}");
    assert!(conflict.err.contains("error: 1 in conflict"), "{conflict:?}");
    fails(quadrille(&["queues", "--url", "http://127.0.0.1:9"]), 5, "no answer from the engine");
    fails(on(&folder, &["post", root.path().join("missing.json").to_str().unwrap()]), 1, "missing.json");
    let port = engine.address.rsplit(':').next().unwrap();
    let taken = quadrille(&["up", "--port", port, "--data", nowhere.to_str().unwrap()]);
    fails(taken, 1, "is in use");
}

/// What can be seen of everything in a folder.
/// What `scale` tells of a system at a rate, and its exit code.
fn scaled(system: &str, rate: &str, more: &[&str]) -> (Option<i32>, Value) {
    let rate = ["scale", system, "--orders-per-second", rate, "--json"];
    let told = command(&[&rate[..], more].concat()).output().unwrap();
    (told.status.code(), serde_json::from_slice(&told.stdout).unwrap())
}

#[test]
fn ten_thousand_orders_a_second_are_over_no_limit_that_can_not_be_raised() {
    let (code, told) = scaled("auction", "10000", &[]);
    assert_eq!(code, Some(0), "{told}");
    let rows = told["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["verdict"] != "over"), "{told}");
    assert_eq!(
        (&told["bottleneck"]["at"], &told["slowest_step"]["at"]),
        (&json!("table orders"), &json!("poll_auction"))
    );
    // Set as it is told, all fits but what AWS is to be asked for.
    let mut set = BTreeMap::new();
    for (key, value) in rows.iter().filter_map(|row| row["set"].as_object()).flatten() {
        let known: &mut u64 = set.entry(key.clone()).or_default();
        *known = (*known).max(value.as_u64().unwrap());
    }
    let set: Vec<String> =
        set.into_iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
    let (code, again) = scaled("auction", "10000", &set.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{again}");
    for row in again["rows"].as_array().unwrap() {
        assert!(row["verdict"] == "fits" || row["verdict"] == "raise", "{row}");
    }
    // A limit of the flow that no setting lifts is told, and fails.
    let (code, told) = scaled("auction", "1000000", &[]);
    assert_eq!(code, Some(1));
    let over = |row: &Value| row["verdict"] == "over" && row["at"] == "poll_auction";
    assert!(told["rows"].as_array().unwrap().iter().any(over), "{told}");
}

#[test]
fn what_a_rate_meets_is_told_of_every_system_and_of_what_there_is_not_nothing() {
    for system in systems::ALL {
        let (code, told) = scaled(system.name(), "100", &[]);
        assert_eq!(code, Some(0), "{}: {told}", system.name());
        assert!(told["bottleneck"]["at"].is_string() && told["rows"].as_array().unwrap().len() > 8, "{told}");
        let slowest = told["slowest_step"]["at"].as_str().unwrap();
        let model = quadrille::system::choreography(*system).unwrap();
        let is_step = slowest == "relay" || model.model().handlers().any(|name| name == slowest);
        assert!(is_step, "{}: {slowest} is no step", system.name());
        let people = quadrille(&["scale", system.name(), "--orders-per-second", "100"]).ok();
        assert!(people.contains("Bottleneck, as things are set: "), "{people}");
        assert!(people.contains(&format!("The slowest step, as things are set: {slowest}, ")), "{people}");
        assert!(people.contains("https://docs.aws.amazon.com/"), "{people}");
    }
    let code = |arguments: &[&str]| {
        let all = [&["scale", "auction", "--orders-per-second"], arguments].concat();
        command(&all).output().unwrap().status.code()
    };
    assert_eq!(code(&["0"]), Some(2));
    assert_eq!(code(&["5", "--set", "nothing=1"]), Some(3));
    assert_eq!(code(&["5", "--stack", "nowhere"]), Some(3));
    assert_eq!(code(&["5", "--time", "nobody=1s"]), Some(3));
    assert_eq!(code(&["5", "--stack", "prod", "--time", "relay=1s"]), Some(0));
}

fn seen(folder: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut seen = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen.insert(path, (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()));
    }
    seen
}

/// The permissions of a folder, and of all in it that others may do anything with.
fn open_to_others(folder: &Path) -> Vec<(PathBuf, u32)> {
    let modes = seen(folder).into_keys().map(|path| {
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        (path, mode & 0o777)
    });
    modes.filter(|(_, mode)| mode & 0o077 != 0 || mode & 0o600 != 0o600).collect()
}

#[test]
fn what_an_engine_writes_is_its_owners_alone_whatever_the_umask() {
    for umask in ["000", "022", "027"] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let inner = command(&["demo", "auction", "--orders", "5", "--data", folder.to_str().unwrap()]);
        let mut outer = Command::new("sh");
        outer.arg("-c").arg(format!(r#"umask {umask}; exec "$0" "$@""#));
        outer.arg(inner.get_program()).args(inner.get_args());
        run(outer, b"").ok();
        assert!(folder.join("bucket").exists());
        assert_eq!(open_to_others(&folder), [], "umask {umask}");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let done = on(&folder, &["queues"]);
        assert!(done.code == 4 && done.err.contains("can be written by other users"), "{done:?}");
    }
}

#[test]
fn a_folder_has_one_engine_and_a_second_one_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, rejected) = decided(folder.path(), 12);
    assert!(!rejected.is_empty());
    eventually("the alarm is told, and its message gone", || {
        let queues = engine.queues();
        let left = |name: &str| {
            queues[name]["visible"].as_u64().unwrap() + queues[name]["in_flight"].as_u64().unwrap()
        };
        (support::notifications(folder.path()).len() == 1 && left("notify") == 0).then_some(())
    });
    let before = seen(folder.path());
    let second = run(Engine::command(folder.path(), &[]), b"");
    assert_eq!((second.code, second.out.as_str()), (5, ""), "{second:?}");
    let says = format!("--url http://{}", engine.address);
    assert!(
        second.err.contains("another engine has the folder") && second.err.contains(&says),
        "{}",
        second.err
    );
    let demo = on(folder.path(), &["demo"]);
    assert_eq!(demo.code, 5, "{demo:?}");
    on(folder.path(), &["queues"]).ok();
    let after = seen(folder.path());
    let changed: Vec<&PathBuf> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "who does not have the folder changed {changed:?}");

    // However the engine ends, the folder is free at once.
    engine.kill();
    let engine = up(folder.path(), &[]);
    engine.terminate();
    up(folder.path(), &[]).terminate();
}

/// What was stored of it stays: it is told, and the fault's place is one of the file.
#[test]
fn a_long_file_that_is_refused_in_its_second_request_tells_what_is_stored_and_where_the_fault_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = orders("order-", 1_501);
    all[1_500].parameter_1 = "x".repeat(1_025);
    let mut command = command(&["post", "-", "--data"]);
    command.arg(folder.path());
    up(folder.path(), &[]).terminate();
    let done = run(command, body(&all).as_bytes());
    assert_eq!((done.code, done.out.as_str()), (4, ""), "{done:?}");
    assert!(done.err.contains("/1500/parameter_1  "), "{}", done.err);
    let told = "; of 1501 in all, 1000 were sent before it: 1000 stored, 0 unchanged, 0 conflict";
    assert!(done.err.contains(told), "{}", done.err);
    let listed = on(folder.path(), &["orders", "--json", "--limit", "5000"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1_000);
}

#[test]
fn operators_work_through_the_engine_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let post = |orders: &[Order]| {
        let mut command = command(&["post", "-", "--json", "--data"]);
        command.arg(data);
        run(command, body(orders).as_bytes()).json()
    };
    let mut all = orders("order-", 2_500);
    // A thousand of them are more than a request's 1 MiB.
    all.iter_mut().for_each(|order| order.parameter_1 = "x".repeat(1_024));
    let engine = up(data, &["--not-ready", "0"]);
    assert_eq!(post(&all[..10]), json!({ "stored": 10, "unchanged": 0, "conflict": 0 }));
    assert_eq!(engine.order("order-1")["status"], "received", "the engine has what was posted through it");
    engine.terminate();

    // At rest: a file of any length is split into requests, and what was there is found.
    let file = data.join("orders.json");
    fs::write(&file, body(&all)).unwrap();
    let posted = on(data, &["post", file.to_str().unwrap(), "--json"]).json();
    assert_eq!(posted, json!({ "stored": 2_490, "unchanged": 10, "conflict": 0 }));
    let listed = on(data, &["orders", "--json", "--limit", "5000"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2_500);
    let text = on(data, &["orders", "--status", "received", "--limit", "3"]).ok();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.lines().skip(1).take(3).all(|line| line.contains("received  order-")), "{text}");
    assert!(text.contains("… and 2497 older") && text.ends_with("2500 in all: 2500 received\n"), "{text}");
    assert_eq!(on(data, &["orders", "--status", "accepted"]).ok(), "none\n");
    let unknown = on(data, &["orders", "--status", "cold"]);
    assert_eq!(unknown.code, 2, "{}", unknown.err);
    assert!(unknown.err.contains("received, submitted, accepted, rejected"), "{}", unknown.err);
    let kickoff = on(data, &["kickoff"]).ok();
    assert!(kickoff.contains("the message waits for the next `up`"), "{kickoff}");
    let queues = on(data, &["queues", "--json"]).json();
    let poll = queues.as_array().unwrap().iter().find(|queue| queue["name"] == POLL).unwrap().clone();
    assert_eq!(
        poll,
        json!({ "name": POLL, "visible": 1, "in_flight": 0, "delayed": 0, "dead": 0, "dead_letter_queue": POLL_DEAD })
    );
    assert!(!data.join("engine.json").exists());

    let engine = up(data, &["--not-ready", "0"]);
    engine.settled(2_500);
    let (accepted, rejected) = expected(SEED, &all);
    let ids = |status: &str| -> BTreeSet<String> {
        let listed = on(data, &["orders", "--json", "--limit", "5000", "--status", status]).json();
        let listed = listed.as_array().unwrap().iter();
        listed.map(|order| order["record_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ids("accepted"), ids("rejected")), (accepted.clone(), rejected.clone()));
    assert_eq!(filed_by_id(data).into_keys().collect::<BTreeSet<_>>(), accepted);
    let (mut listed, mut next) = (BTreeSet::new(), String::new());
    loop {
        let page = engine.get(&format!("/_quadrille/entities/order?limit=700{next}")).json();
        for order in page["entities"].as_array().unwrap() {
            assert!(listed.insert(order["id"].as_str().unwrap().to_owned()), "{order} comes twice");
        }
        match page["next"].as_str() {
            Some(place) => next = format!("&after={}", support::encoded(place)),
            None => break,
        }
    }
    assert_eq!(listed.len(), all.len(), "pages neither skip nor repeat");
    let url = format!("http://{}", engine.address);
    let by_url = quadrille(&["queues", "--json", "--url", &url]).json();
    assert_eq!(by_url, on(data, &["queues", "--json"]).json());
    let table = on(data, &["queues"]).ok();
    let row = table.lines().find(|line| line.starts_with("auction-results ")).unwrap();
    assert_eq!(row.split_whitespace().next_back().unwrap(), rejected.len().to_string());
    engine.terminate();

    // The dead letters are worked at rest as well, and the engine tells then that they are gone.
    let dead = dead_letters(data, RESULTS_DEAD);
    assert_eq!(subjects(&dead), rejected.iter().cloned().collect::<Vec<_>>());
    assert_eq!(on(data, &["dlq", "purge", "--yes", "--json"]).json()["purged"], json!(rejected.len()));
    assert_eq!(dead_letters(data, RESULTS_DEAD), [] as [Value; 0]);
}

#[test]
fn a_trace_tells_what_happened_and_what_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--backoff", "60s", "--not-ready", "1"]);
    let id = "../a b\u{202e}é";
    engine.take(&[Order::new(id, "SECRET-CONTENT", "1")]);
    let trace = |arguments: &[&str]| on(folder.path(), &[&["trace", id], arguments].concat());
    let before = trace(&["--json"]).json();
    assert_eq!(
        (&before["record_id"], &before["status"], &before["waiting"]),
        (&json!(id), &json!("received"), &Value::Null)
    );
    let run_id = engine.kickoff();
    let traced = eventually("the run waits for the platform", || {
        let traced = trace(&["--json"]).json();
        (traced["waiting"]["until"].is_string()).then_some(traced)
    });
    assert_eq!((&traced["status"], &traced["run_id"]), (&json!("submitted"), &json!(run_id)));
    let waiting = &traced["waiting"];
    assert_eq!(waiting["for"], "waiting: not ready (poll 1)");
    let millis = |at: &Value| quadrille::Timestamp::parse(at.as_str().unwrap()).unwrap().as_millis();
    let started = quadrille::Timestamp::parse(&run_id).unwrap().as_millis();
    let wait = millis(&waiting["until"]) - started;
    assert!((30_000..=61_000).contains(&wait), "the wait is the backoff, less its jitter: {wait} ms");
    assert_eq!(millis(&waiting["deadline"]) - started, 3_600_000);
    let timeline = traced["timeline"].as_array().unwrap();
    let of_order: Vec<&str> = timeline
        .iter()
        .filter(|entry| entry["of"] == "order")
        .map(|entry| entry["what"].as_str().unwrap())
        .collect();
    assert_eq!(of_order, ["received", &format!("submitted to run {run_id}")]);
    let times: Vec<i64> = timeline.iter().map(|entry| millis(&entry["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");
    for entry in timeline {
        assert!(["post_orders", "poll_auction"].contains(&entry["handler"].as_str().unwrap()), "{entry}");
        assert_eq!(entry["attempt"], 1);
    }

    let text = trace(&[]).ok();
    let until = &waiting["until"].as_str().unwrap()[11..23];
    let now = text.lines().find(|line| line.trim_start().starts_with("now: ")).unwrap();
    assert!(now.contains(&format!("waiting: not ready (poll 1) until {until}")), "{now}");
    assert!(!text.contains('\u{202e}') && !text.contains("SECRET-CONTENT"), "{text}");
    let order = engine.order(id);
    for known in ["correlation_id", "trace_id"] {
        assert_eq!(traced[known], order[known]);
        assert!(text.contains(order[known].as_str().unwrap()), "{text}");
    }
}

#[test]
fn a_trace_is_continued_from_the_request_that_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &["--not-ready", "0", "--log-format", "json", "--log-level", "debug"]);
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace_id}-b7ad6b7169203331-01");
    let all = orders("order-", 20);
    let posted = support::ask(
        &engine.address,
        "POST",
        "/orders",
        &[("traceparent", &traceparent)],
        Some(body(&all).as_bytes()),
    );
    assert_eq!(posted.unwrap().status, 202);
    engine.kickoff();
    engine.settled(all.len());
    let told: BTreeMap<String, Value> =
        all.iter().map(|order| (order.record_id.clone(), engine.order(&order.record_id))).collect();
    let correlations: BTreeSet<&str> =
        told.values().map(|order| order["correlation_id"].as_str().unwrap()).collect();
    assert_eq!(correlations.len(), all.len(), "each order is a flow of its own");
    let done = engine.terminate();

    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let lines: Vec<Value> = done
        .err
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
        let Some(event) = line["event"].as_str() else { continue };
        assert!(line["correlation_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        let trace = line["trace_id"].as_str().unwrap();
        assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
        let Some(id) = event.strip_prefix("order/").and_then(|event| event.split('@').next()) else {
            continue;
        };
        let (id, order) = told.get_key_value(id).unwrap();
        assert_eq!((&line["correlation_id"], trace), (&order["correlation_id"], trace_id), "{line}");
        assert_eq!(order["trace_id"], trace_id);
        *named.entry(id).or_default() += 1;
    }
    assert_eq!(named.len(), all.len(), "every order is named: {named:?}");
    assert!(named.values().all(|lines| *lines == 1), "{named:?}");
    assert!(!done.err.contains("plant "), "no content is logged");
}

#[test]
fn dead_letters_are_listed_shown_and_sent_back() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, rejected) = decided(folder.path(), 60);
    let data = folder.path();
    assert!(rejected.len() >= 10);
    let dlq = |arguments: &[&str]| on(data, &[&["dlq"], arguments].concat());
    let moved = |arguments: &[&str]| dlq(&[arguments, &["--json"]].concat()).json();

    let all = dead_letters(data, RESULTS_DEAD);
    assert_eq!(subjects(&all), rejected.iter().cloned().collect::<Vec<_>>());
    let few = moved(&["list", "--limit", "3", "--reason", "rejected"]);
    assert_eq!(few.as_array().unwrap(), &all[..3]);
    assert_eq!(moved(&["list", "--reason", "nothing"]), json!([]));
    assert_eq!(moved(&["list", "--queue", POLL_DEAD]), json!([]));
    // By their reasons first, and then the newest of them.
    let text = dlq(&["list", "--queue", RESULTS_DEAD, "--limit", "5"]).ok();
    assert_eq!(text.lines().count(), 3 + 5 + 2, "{text}");
    let group: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(group[..4], [&rejected.len().to_string(), RESULTS_DEAD, "rejected", "store_result"]);
    assert!(text.contains(&format!("… and {} older", rejected.len() - 5)), "{text}");
    assert!(dlq(&["list"]).ok().contains(&format!("{} dead letter(s) in ", rejected.len())));
    assert!(text.ends_with(&format!("{} dead letter(s) in {RESULTS_DEAD}\n", rejected.len())), "{text}");

    let id = all[4]["id"].as_str().unwrap();
    let shown = moved(&["show", id]);
    assert_eq!(shown, all[4]);
    for (member, value) in [
        ("age", "under_an_hour"),
        ("reason", "rejected"),
        ("handler", "store_result"),
        ("source_queue", RESULTS),
    ] {
        assert_eq!(shown[member], value);
    }
    assert_eq!(shown["attempts"], 1);
    let text = dlq(&["show", id]).ok();
    let message = &text[text.find('{').unwrap()..];
    let message: Value = serde_json::from_str(message).unwrap();
    assert_eq!((&message["specversion"], &message["subject"]), (&json!("1.0"), &shown["subject"]));
    let whole: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
    assert_eq!(whole, message);

    // A dry run only tells.
    for (act, done) in [(&["redrive", "--with-ends"][..], "redriven"), (&["purge", "--yes"], "purged")] {
        let dry = moved(&[act, &["--dry-run", "--limit", "7"]].concat());
        assert_eq!((&dry["dry_run"], &dry[done]), (&json!(true), &json!(7)));
        assert!(dlq(&[act, &["--dry-run"]].concat()).ok().contains("nothing was changed"));
    }
    assert_eq!(dead_letters(data, RESULTS_DEAD), all);

    // A rejection is an end of business: a redrive leaves it, unless it is asked for it.
    for more in [&["--dry-run"][..], &[]] {
        let left = moved(&[&["redrive"], more].concat());
        assert_eq!((&left["redriven"], &left["ends_left"]), (&json!(0), &json!(rejected.len())));
    }
    let text = dlq(&["redrive"]).ok();
    assert!(text.ends_with("an end of business: --with-ends sends them back too\n"), "{text}");
    let plan = folder.path().join("plan").to_str().unwrap().to_owned();
    let planned = moved(&["plan", "--out", &plan]);
    assert_eq!((&planned["letters"], &planned["ends_left"]), (&json!(0), &json!(rejected.len())));
    assert_eq!(dead_letters(data, RESULTS_DEAD), all);

    // What one walk passes over is there for the next.
    assert_eq!(moved(&["redrive", "--reason", "nothing"])["redriven"], 0);
    let one = moved(&["redrive", "--with-ends", "--limit", "1"]);
    assert_eq!((&one["redriven"], &one["dry_run"]), (&json!(1), &json!(false)));
    let back = |count: usize| {
        eventually("what was sent back is a dead letter again", || {
            let queues = engine.queues();
            let is_empty = queues[RESULTS]["visible"] == 0 && queues[RESULTS]["in_flight"] == 0;
            (is_empty && queues[RESULTS]["dead"] == json!(count)).then_some(())
        });
    };
    back(rejected.len());
    let after = dead_letters(data, RESULTS_DEAD);
    assert_eq!(subjects(&after), subjects(&all));
    let again: Vec<&Value> = after.iter().filter(|letter| !all.contains(letter)).collect();
    assert_eq!(again.len(), 1, "one came back, once");
    let before = all.iter().find(|letter| letter["subject"] == again[0]["subject"]).unwrap();
    assert_eq!(again[0]["first_seen"], before["first_seen"], "when it was first seen is kept");
    let trail = whats(&engine.order(again[0]["subject"].as_str().unwrap())["trail"]);
    assert_eq!(trail.iter().filter(|what| *what == "dead-lettered: rejected").count(), 2, "{trail:?}");

    // All of them, twice: each comes back once, and the command ends though it meets them again.
    for _ in 0..2 {
        let redriven = moved(&["redrive", "--reason", "rejected"]);
        assert_eq!(redriven["redriven"], json!(rejected.len()));
        back(rejected.len());
    }
    assert_eq!(subjects(&dead_letters(data, RESULTS_DEAD)), subjects(&all));

    // No faster than it is told to.
    let began = Instant::now();
    assert_eq!(moved(&["redrive", "--with-ends", "--limit", "8", "--rate", "10"])["redriven"], 8);
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    back(rejected.len());

    let purged = moved(&["purge", "--yes", "--limit", "2", "--reason", "rejected"]);
    assert_eq!(purged["purged"], 2);
    assert_eq!(dead_letters(data, RESULTS_DEAD).len(), rejected.len() - 2);
    let text = dlq(&["purge", "--yes"]).ok();
    assert!(text.starts_with(&format!("{} dead letter(s) purged", rejected.len() - 2)), "{text}");
    assert_eq!(engine.queues()[RESULTS]["dead"], 0);
    assert_eq!(filed_by_id(data).len(), 60 - rejected.len(), "no accepted order was touched");
}

#[test]
fn a_redrive_at_rest_is_worked_by_the_next_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, rejected) = decided(folder.path(), 20);
    engine.terminate();
    let redriven = on(folder.path(), &["dlq", "redrive", "--with-ends", "--json"]).json();
    assert_eq!(redriven["redriven"], json!(rejected.len()));
    assert_eq!(dead_letters(folder.path(), RESULTS_DEAD), [] as [Value; 0]);
    let engine = up(folder.path(), &[]);
    engine.settled(20);
    assert_eq!(subjects(&engine.dead_letters(RESULTS_DEAD)), rejected.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_demo_tells_the_story_and_sums_it_up() {
    let summary = |arguments: &[&str]| {
        let done = quadrille(&[&["demo", "--json"], arguments].concat());
        assert_eq!(done.out.lines().count(), 1, "{done:?}");
        done.json()
    };
    let numbers = |summary: &Value| {
        let number = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"));
        assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{summary}");
        ["posted", "accepted", "rejected", "stored", "dead_lettered", "polls", "lost"].map(number)
    };
    let (accepted, rejected) = expected(1, &orders("order-", 8));
    let (accepted, rejected) = (accepted.len() as u64, rejected.len() as u64);
    assert_eq!(numbers(&summary(&[])), [8, accepted, rejected, accepted, rejected, 4, 0]);
    // The 13th is withdrawn as soon as it is posted, and each 97th behind it.
    let is_kept = |order: &Order| {
        let number: u64 = order.record_id.strip_prefix("order-").unwrap().parse().unwrap();
        number % 97 != 13
    };
    let (kept, withdrawn): (Vec<Order>, Vec<Order>) = orders("order-", 1_500).into_iter().partition(is_kept);
    let (accepted, rejected) = expected(5, &kept);
    let (accepted, rejected) = (accepted.len() as u64, rejected.len() as u64);
    assert_eq!(summary(&[])["system"], "auction");
    let large = summary(&["--orders", "1500", "--seed", "5", "--not-ready", "1"]);
    assert_eq!(numbers(&large)[..5], [1_500, accepted, rejected, accepted, rejected]);
    assert_eq!(numbers(&large)[6], 0);
    assert_eq!(large["withdrawn"], withdrawn.len());

    let story = quadrille(&["demo", "--orders", "4"]).ok();
    for told in [
        "An energy-market auction",
        "POST /orders",
        "kickoff",
        "not ready",
        "Files in the bucket",
        "Dead letters",
        "In all",
        "0 lost",
    ] {
        assert!(story.contains(told), "{told:?} is not told: {story}");
    }
    assert!(!story.contains('\u{1b}'), "no colours where nobody looks");
}

#[test]
fn a_demo_takes_its_settings_from_the_environment_and_tells_what_is_wrong_with_one() {
    let demo = |variables: &[(&str, &str)]| {
        let mut command = command(&["demo", "--json", "--orders", "1"]);
        command.envs(variables.iter().copied());
        run(command, b"")
    };
    let polls = |variables: &[(&str, &str)]| demo(variables).json()["polls"].as_u64().unwrap();
    assert_eq!((polls(&[("QUADRILLE_NOT_READY", "0")]), polls(&[("QUADRILLE_NOT_READY", "2")])), (1, 3));
    for (name, value, says) in [
        ("SEED", "\"1\"", r#"--seed="\"1\"" stands in quotes: remove them"#),
        (
            "BACKOFF",
            "5",
            r#"--backoff="5" is not a whole number with its unit (200ms, 30s, 5m, 1h, 2d), up to 14d: set it to"#,
        ),
        ("DEADLINE", "25h", "up to 1d: set it to"),
        (
            "PLATFORM",
            "nonsense",
            "--platform=\"nonsense\" is not an http or https URL, or `simulated`: set it to",
        ),
        ("PLATFORM", "http://host/?a", "--platform=\"http://host/?a\" is of no use"),
    ] {
        let done = demo(&[(&format!("QUADRILLE_{name}"), value)]);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{done:?}");
        assert!(done.err.contains(says), "{says:?} is not said: {}", done.err);
    }
}

#[test]
fn a_demo_keeps_what_it_is_told_to_keep() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("kept");
    let arguments = ["demo", "--json", "--orders", "30", "--not-ready", "0"];
    let first = on(&folder, &arguments).json();
    let ends = filed_by_id(&folder);
    assert_eq!((ends.len() as u64, first["lost"].as_u64()), (first["stored"].as_u64().unwrap(), Some(0)));
    let second = on(&folder, &arguments).json();
    assert_eq!((second["posted"].as_u64(), second["lost"].as_u64()), (Some(30), Some(0)));
    assert_eq!((&first["notified"], &second["notified"]), (&json!(true), &json!(true)));
    let count = |name: &str| first[name].as_u64().unwrap() + second[name].as_u64().unwrap();
    let kept = filed_by_id(&folder);
    assert_eq!(kept.len() as u64, count("stored"));
    assert!(ends.iter().all(|(id, object)| kept.get(id) == Some(object)));
    assert_eq!(dead_letters(&folder, RESULTS_DEAD).len() as u64, count("dead_lettered"));
    let listed = on(&folder, &["orders", "--json", "--limit", "1000"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 60);
}

#[test]
fn the_diagram_is_a_flowchart_of_the_flow() {
    let diagram = quadrille(&["diagram"]).ok();
    assert!(diagram.starts_with("flowchart") || diagram.starts_with("graph"), "{diagram}");
    for step in ["post_orders", "poll_auction", "store_result", "auction-results-dlq"] {
        assert!(diagram.contains(step), "{step}: {diagram}");
    }
}

#[test]
fn a_log_that_nobody_reads_stops_neither_the_work_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (unread, log) = std::io::pipe().unwrap();
    let mut up =
        command(&["up", "--port", "0", "--seed", "7", "--not-ready", "0", "--log-level", "debug", "--data"]);
    up.arg(folder.path()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut engine = up.spawn().unwrap();
    drop(up);
    eventually("it listens", || folder.path().join("engine.json").exists().then_some(()));
    let mut post = command(&["post", "-", "--data"]);
    post.arg(folder.path());
    let all = orders("order-", 500);
    run(post, body(&all).as_bytes()).ok();
    on(folder.path(), &["kickoff"]).ok();
    // Each of them is several lines: together they are many times what a pipe takes.
    let accepted = expected(SEED, &all).0.len();
    eventually("the accepted ones are filed", || {
        (filed_by_id(folder.path()).len() == accepted).then_some(())
    });
    let pid = rustix::process::Pid::from_child(&engine);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = eventually("it ends", || engine.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    drop(unread);
}

/// An engine that can send one of two letters back, and not the other.
fn engine(is_denied: bool) -> Server {
    let is_first = std::sync::atomic::AtomicBool::new(true);
    Server::start(move |asked| {
        Reply::ok(match asked.path.as_str() {
            "/_quadrille/system" => json!({ "name": "auction" }).to_string(),
            "/_quadrille/redrive" if is_first.swap(false, std::sync::atomic::Ordering::SeqCst) => json!({
                "examined": 2, "moved": 1, "failed": { "auction-results: no": 1 }, "is_denied": is_denied,
                "done": false, "passed_over": ["receipt"],
            })
            .to_string(),
            "/_quadrille/redrive" => json!({ "examined": 0, "moved": 0, "done": true }).to_string(),
            "/_quadrille/give-back" => "{}".to_owned(),
            other => panic!("{other}"),
        })
    })
}

#[test]
fn a_redrive_that_could_not_send_all_back_is_no_success() {
    for (is_denied, code) in [(false, 1), (true, 4)] {
        let server = engine(is_denied);
        let done = run(command(&["dlq", "redrive", "--url", &server.url()]), b"");
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.err.contains("1 dead letter(s) could not be sent back"), "{done:?}");
        assert!(done.err.contains("1 time(s) auction-results: no"), "{done:?}");
        assert_eq!(done.out, "1 dead letter(s) redriven, 2 looked at\n");
        assert!(server.asked().iter().any(|asked| asked.path == "/_quadrille/give-back"));
    }
}
