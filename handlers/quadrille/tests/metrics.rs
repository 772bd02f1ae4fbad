//! `GET /metrics`: what an engine measures of itself, held to the format and to what the engine tells otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use support::{Engine, ask, eventually, expected, orders};

type Labels = BTreeMap<String, String>;

/// A family of metrics: its kind, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<(String, Labels), f64>,
}

/// Takes a name off the beginning of a text: letters, digits, `_` and, in a metric's, `:`.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(|byte: char| !(byte.is_ascii_alphanumeric() || byte == '_' || byte == ':'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    assert!(!name.is_empty() && !name.as_bytes()[0].is_ascii_digit(), "no name begins {text:?}");
    (name, rest)
}

/// Takes labels in braces off the beginning.
fn labels(text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return (labels, text) };
    while !rest.starts_with('}') {
        let (label, behind) = name(rest);
        let mut value = String::new();
        let mut characters = behind.strip_prefix("=\"").unwrap().char_indices();
        let end = loop {
            match characters.next().expect("a label's value ends") {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} is no escape"),
                }),
                (_, '\n') => panic!("a line ends within a label"),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(label.to_owned(), value).is_none(), "{label} twice: {text}");
        rest = &behind[2 + end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (labels, &rest[1..])
}

/// Reads version 0.0.4 of the format, and takes nothing that it does not allow.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends as the others");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, about) = name(rest);
            assert!(about.starts_with(' ') && about.len() > 5, "{line}");
            assert!(helped.insert(name.to_owned()), "{name} is explained twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = name(rest);
            assert!(["counter", "gauge", "histogram"].contains(&kind.trim()), "{line}");
            assert!(helped.contains(name), "{name} has no HELP before it");
            let family = Family { kind: kind.trim().to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
            name.clone_into(&mut current);
        } else {
            let (name, rest) = name(line);
            let (labels, value) = labels(rest);
            let value = value.strip_prefix(' ').unwrap();
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(current.as_str()).expect(line);
            let is_fit = match family.kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            assert!(is_fit && value.is_finite(), "{line}");
            assert!(family.samples.insert((name.to_owned(), labels), value).is_none(), "twice: {line}");
        }
    }
    for (name, family) in &families {
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// Buckets rise, and the last one, `+Inf`, has all.
fn check_histogram(name: &str, family: &Family) {
    let mut by_step: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in &family.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let bound: f64 = labels.remove("le").unwrap().parse().unwrap();
            by_step.entry(labels).or_default().push((bound, *value));
        }
    }
    assert!(!by_step.is_empty());
    for (labels, mut buckets) in by_step {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}: {buckets:?}");
        let count = family.samples[&(format!("{name}_count"), labels.clone())];
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}");
        assert!(family.samples.contains_key(&(format!("{name}_sum"), labels)), "{name}");
    }
}

fn scrape(engine: &Engine) -> BTreeMap<String, Family> {
    let answer = engine.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    parse(&answer.text())
}

/// A sample with these labels.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Labels =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let all = families.values().flat_map(|family| &family.samples);
    let found = all.into_iter().find(|((sample, of), _)| sample == name && *of == labels);
    *found.unwrap_or_else(|| panic!("{name} {labels:?}")).1
}

/// The samples agree with what the engine tells as JSON.
fn agrees(engine: &Engine) -> BTreeMap<String, Family> {
    // Of a time at which nothing moves: a notification, say, comes by itself.
    let told = || (engine.queues(), engine.get("/_quadrille/counts").json());
    let (families, queues, counts) = eventually("a moment of rest", || {
        let (before, families, after) = (told(), scrape(engine), told());
        (before == after).then_some((families, after.0, after.1))
    });
    for (name, queue) in &queues {
        let of = |kind: &str| queue[kind].as_f64().unwrap();
        let total = of("visible") + of("in_flight") + of("delayed");
        assert_eq!(value(&families, "quadrille_queue_messages", &[("queue", name)]), total, "{name}");
        let in_flight = value(&families, "quadrille_queue_messages_in_flight", &[("queue", name)]);
        assert_eq!(in_flight, of("in_flight"), "{name}");
        let dead = queue["dead_letter_queue"].as_str().unwrap();
        assert_eq!(value(&families, "quadrille_dead_letters", &[("queue", dead)]), of("dead"), "{name}");
        let age = value(&families, "quadrille_queue_oldest_message_age_seconds", &[("queue", name)]);
        assert_eq!(age > 0.0, total > 0.0, "{name}: {age} s, {total} messages");
    }
    for (step, counts) in counts.as_object().unwrap() {
        for (outcome, kind) in [
            ("handled", "done"),
            ("delayed", "later"),
            ("retried", "retried"),
            ("ended", "ended"),
            ("dead_lettered", "dead_lettered"),
        ] {
            let labels = [("step", step.as_str()), ("outcome", outcome)];
            let told = counts[kind].as_f64().unwrap();
            assert_eq!(value(&families, "quadrille_messages_total", &labels), told, "{step} {outcome}");
        }
        let ended: f64 =
            ["done", "ended", "dead_lettered"].iter().map(|kind| counts[kind].as_f64().unwrap()).sum();
        let of = [("step", step.as_str())];
        assert_eq!(value(&families, "quadrille_message_attempts_count", &of), ended, "{step}");
    }
    families
}

#[test]
fn metrics_are_in_the_format_and_agree_with_what_the_engine_tells() {
    const ORDERS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--not-ready", "2", "--backoff", "10ms"]);
    let before = agrees(&engine);
    assert!(value(&before, "quadrille_consumers", &[("step", "poll_auction")]) > 0.0);
    let all = orders("order-", ORDERS);
    engine.take(&all);
    engine.kickoff();
    engine.settled(ORDERS);
    let rejected = expected(7, &all).1.len() as f64;
    let after = agrees(&engine);
    let risen =
        |name: &str, labels: &[(&str, &str)]| value(&after, name, labels) - value(&before, name, labels);
    let results = ("step", "store_result");
    assert_eq!(risen("quadrille_messages_total", &[results, ("outcome", "dead_lettered")]), rejected);
    assert_eq!(
        risen("quadrille_messages_total", &[results, ("outcome", "handled")]),
        ORDERS as f64 - rejected
    );
    assert_eq!(risen("quadrille_dead_letters", &[("queue", "auction-results-dlq")]), rejected);
    assert_eq!(risen("quadrille_message_attempts_bucket", &[results, ("le", "1")]), ORDERS as f64);
    assert_eq!(risen("quadrille_message_attempts_sum", &[results]), ORDERS as f64);
    assert!(risen("quadrille_handler_duration_seconds_count", &[results]) >= ORDERS as f64);
    assert!(risen("quadrille_handler_duration_seconds_sum", &[results]) > 0.0);
    eventually("all is sent on", || {
        (value(&scrape(&engine), "quadrille_relay_lag_seconds", &[("table", "orders")]) == 0.0).then_some(())
    });

    // The document lists each of them, and nothing else.
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md")).unwrap();
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `quadrille_")?.split('`').next());
    let listed: BTreeSet<String> = listed.map(|name| format!("quadrille_{name}")).collect();
    assert_eq!(listed, after.keys().cloned().collect());
    engine.terminate();
}

#[test]
fn a_message_that_waits_is_counted_and_ages() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--not-ready", "1000", "--backoff", "5s"]);
    engine.take(&orders("order-", 3));
    engine.kickoff();
    // The poll waits for its time: the platform is not ready.
    let waiting = eventually("the poll waits", || {
        (engine.queues()["auction-poll"]["delayed"] == 1).then(|| agrees(&engine))
    });
    assert_eq!(value(&waiting, "quadrille_queue_messages", &[("queue", "auction-poll")]), 1.0);
    let age = |families: &BTreeMap<String, Family>| {
        value(families, "quadrille_queue_oldest_message_age_seconds", &[("queue", "auction-poll")])
    };
    let first = age(&waiting);
    eventually("it ages", || (age(&scrape(&engine)) > first).then_some(()));
}

#[test]
fn metrics_are_behind_the_same_checks_as_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().with_extension("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let engine = Engine::up(folder.path(), &["--token-file", token.to_str().unwrap()]);
    assert_eq!(engine.get("/metrics").status, 401);
    assert_eq!(engine.ask("POST", "/metrics", None).status, 401);
    let with = |headers: &[(&str, &str)]| {
        let all = [&[("authorization", "Bearer 0123456789abcdef")], headers].concat();
        ask(&engine.address, "GET", "/metrics", &all, None).unwrap()
    };
    let answer = with(&[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    parse(&answer.text());
    assert_eq!(with(&[("host", "elsewhere.test")]).status, 421);
    assert_eq!(with(&[("sec-fetch-site", "cross-site")]).status, 403);
    let posted =
        ask(&engine.address, "POST", "/metrics", &[("authorization", "Bearer 0123456789abcdef")], None);
    assert_eq!(posted.unwrap().status, 405);
    fs::remove_file(&token).unwrap();
}
