//! The console, over the in-memory adapter: its files, its feed, and what a page may ask.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use futures_util::StreamExt as _;
use quadrille::{
    Consumer, Pipeline,
    console::{Console, Stage},
    http::{Request, Response},
    operator::{Api, LetterAges, LetterGroups},
    server::{EventStream, Service as _},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, time::Duration};
use support::*;

/// The most that all files of the page may have.
const PAGE_BYTES_MAX: u64 = 150_000;

const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn world() -> World {
    World::new(
        parcels::<(Scanned, Loaded)>()
            .on(Consumer::new("scan", scan).attempts(1, BACKOFF))
            .on(Consumer::new("load", idle::<Loaded>)),
    )
}

fn console(pipeline: &Pipeline) -> Console<Api> {
    Console::new(Api::new(pipeline.clone()), pipeline.clone(), Stage::Local)
}

async fn asked(console: &Console<Api>, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let headers = BTreeMap::from_iter(headers);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Request { headers, query: query.to_owned(), body: "{}".into(), ..Request::default() };
    console.respond(method, path, request).await
}

async fn told(console: &Console<Api>, path: &str) -> Value {
    let response = asked(console, "GET", path, &[]).await;
    assert_eq!(response.status, 200, "{path}");
    serde_json::from_slice(&response.body).unwrap()
}

fn listen(console: &Console<Api>, cursor: Option<&str>) -> Result<EventStream, Response> {
    let headers = cursor.iter().map(|cursor| ("last-event-id".to_owned(), (*cursor).to_owned())).collect();
    let request = Request { headers, ..Request::default() };
    console.listen("GET", "/_quadrille/events", &request).unwrap()
}

/// The name, the id and the data of the next event.
async fn event(world: &World, events: &mut EventStream) -> (String, String, Value) {
    let clock = &world.clock;
    let time = async {
        loop {
            clock.pass(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::select! {
        text = events.next() => text.unwrap(),
        () = time => unreachable!(),
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    assert!(text.ends_with("\n\n"), "{text:?}");
    let data = serde_json::from_str(field("data: ")).unwrap_or_default();
    (field("event: ").to_owned(), field("id: ").to_owned(), data)
}

/// Has so many parcels scanned, all under this place.
async fn scanned(world: &World, pipeline: &Pipeline, ids: &[String], place: &str) {
    for ids in ids.chunks(100) {
        for id in ids {
            world.post(&[id]).await;
            world.tell("scan", Scanned::new(id, place)).await;
        }
        pipeline.deliver("scan", &world.receive("scan").await).await.unwrap();
    }
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("parcel-{number}")).collect()
}

#[tokio::test]
async fn the_page_is_made_of_its_own_files_and_each_of_them_is_served_without_a_token() {
    let world = world();
    let console = console(&world.pipeline());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
    let mut bytes = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        bytes += file.metadata().unwrap().len();
        let name = file.file_name().into_string().unwrap();
        let path = match name.as_str() {
            "index.html" => "/_quadrille/".to_owned(),
            name => format!("/_quadrille/console/{name}"),
        };
        let served = asked(&console, "GET", &path, &[]).await;
        assert_eq!(served.status, 200, "{path}");
        assert!(served.body == std::fs::read(file.path()).unwrap(), "{path} is another file");
        assert!(console.is_open(&path));
        let policy = served.headers.iter().find(|(name, _)| *name == "content-security-policy").unwrap();
        assert!(policy.1.starts_with("default-src 'none'; script-src 'self';"), "{policy:?}");
        assert_eq!(asked(&console, "POST", &path, &[]).await.status, 405);
    }
    assert!((1..=PAGE_BYTES_MAX).contains(&bytes), "{bytes}");
    assert_eq!(console.path(), "/");
    assert_eq!(asked(&console, "GET", "/", &[]).await.content_type, "text/html; charset=utf-8");
    for path in ["/_quadrille/console/", "/_quadrille/console/../mod.rs", "/_quadrille/system", "/parcels/1"]
    {
        assert!(!console.is_open(path), "{path}");
    }
    assert_eq!(asked(&console, "GET", "/_quadrille/console/none.js", &[]).await.status, 404);
}

#[tokio::test]
async fn the_feed_tells_what_is_worked_and_goes_on_behind_a_cursor() {
    let world = world();
    let pipeline = world.pipeline();
    let console = console(&pipeline);
    let mut events = listen(&console, None).unwrap();
    let (name, _, hello) = event(&world, &mut events).await;
    assert_eq!((name.as_str(), &hello["missed"], &hello["is_new"]), ("hello", &json!(0), &json!(false)));
    scanned(&world, &pipeline, &ids(3), BURNT).await;
    let (name, first, told) = event(&world, &mut events).await;
    assert_eq!((name.as_str(), &told["left_out"]), ("work", &json!(0)));
    assert_eq!(told["counts"]["scan"]["dead_lettered"], 3);
    let work = told["work"].as_array().unwrap();
    assert_eq!(work.len(), 3);
    assert_eq!(
        (&work[0]["subject"], &work[0]["kind"], &work[0]["verdict"], &work[0]["attempt"]),
        (&json!("parcel-0"), &json!("parcel"), &json!("dead_letter"), &json!(1))
    );
    // Away for a while.
    drop(events);
    scanned(&world, &pipeline, &ids(2), "harbour").await;
    let mut events = listen(&console, Some(&first)).unwrap();
    assert_eq!(event(&world, &mut events).await.2["missed"], 0);
    let (_, second, told) = event(&world, &mut events).await;
    let subjects: Vec<&Value> =
        told["work"].as_array().unwrap().iter().map(|entry| &entry["subject"]).collect();
    assert_eq!(subjects, ["parcel-0", "parcel-1"]);
    assert_ne!(first, second);
    // A quarter of a minute in which nothing happens.
    assert_eq!(event(&world, &mut events).await, (String::new(), String::new(), Value::Null));
}

#[tokio::test]
async fn somebody_who_was_away_too_long_is_told_how_much_was_missed_and_the_latest_of_it() {
    let world = world();
    let pipeline = world.pipeline();
    let console = console(&pipeline);
    let mut events = listen(&console, None).unwrap();
    let (_, _, hello) = event(&world, &mut events).await;
    drop(events);
    scanned(&world, &pipeline, &ids(4_200), "harbour").await;
    let mut events = listen(&console, hello["cursor"].as_str()).unwrap();
    assert_eq!(event(&world, &mut events).await.2["missed"], 4_200 - 4_096);
    let (_, _, told) = event(&world, &mut events).await;
    assert_eq!((told["work"].as_array().unwrap().len(), &told["left_out"]), (100, &json!(3_996)));
    assert_eq!(told["work"][99]["subject"], "parcel-4199");
    for cursor in
        ["of another process-3", "", "x", "-", hello["cursor"].as_str().unwrap().trim_end_matches('0')]
    {
        let mut events = listen(&console, Some(cursor)).unwrap();
        let (_, _, hello) = event(&world, &mut events).await;
        assert_eq!((&hello["is_new"], &hello["missed"]), (&json!(true), &json!(0)), "{cursor:?}");
    }
}

#[tokio::test]
async fn no_more_listen_than_there_are_seats_and_whoever_leaves_makes_room() {
    let world = world();
    let console = console(&world.pipeline());
    let mut listening: Vec<EventStream> = Vec::new();
    let refused = loop {
        match listen(&console, None) {
            Ok(events) => listening.push(events),
            Err(refused) => break refused,
        }
    };
    assert_eq!((listening.len(), refused.status), (16, 503));
    assert!(refused.headers.contains(&("retry-after", "10".to_owned())), "{:?}", refused.headers);
    listening.pop();
    assert!(listen(&console, None).is_ok());
}

#[tokio::test]
async fn a_page_changes_nothing_unless_it_is_allowed_to() {
    let world = world();
    let reading = console(&world.pipeline());
    let acting = reading.clone().allowing_actions(true);
    let json_type = ("content-type", "application/json");
    for operation in
        ["redrive", "purge", "redrive-planned", "stop", "schedules/x", "invoke/post", "cancel/a/b"]
    {
        let path = format!("/_quadrille/{operation}");
        for mark in [("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")] {
            let response = asked(&reading, "POST", &path, &[json_type, mark]).await;
            let problem: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!((response.status, &problem["type"]), (403, &json!("/problems/read_only")), "{path}");
            assert_ne!(asked(&acting, "POST", &path, &[json_type, mark]).await.status, 403, "{path}");
        }
        // A command is not a page.
        assert_ne!(asked(&reading, "POST", &path, &[json_type]).await.status, 403, "{path}");
    }
    for looks in ["plan", "give-back"] {
        let path = format!("/_quadrille/{looks}");
        let response = asked(&reading, "POST", &path, &[json_type, ("origin", "http://x")]).await;
        assert_eq!(response.status, 400, "{path}");
    }
    assert_eq!(told(&reading, "/_quadrille/system").await["allows_actions"], false);
    assert_eq!(told(&acting, "/_quadrille/system").await["allows_actions"], true);
}

#[tokio::test]
async fn the_page_says_where_it_is_and_a_stack_of_an_unknown_name_is_production() {
    let world = world();
    let pipeline = world.pipeline();
    for (stage, target, place) in [
        (Stage::Local, "local", "local"),
        (Stage::Simulated, "simulated", "simulated"),
        (Stage::Aws { stack: "dev".into() }, "aws", "development"),
        (Stage::Aws { stack: "staging".into() }, "aws", "development"),
        (Stage::Aws { stack: "live".into() }, "aws", "production"),
        (Stage::Aws { stack: "developers".into() }, "aws", "production"),
    ] {
        let stack = if let Stage::Aws { stack } = &stage { json!(stack) } else { Value::Null };
        let console = Console::new(Api::new(pipeline.clone()), pipeline.clone(), stage);
        let about = told(&console, "/_quadrille/system").await;
        assert_eq!((&about["target"], &about["place"]), (&json!(target), &json!(place)));
        assert_eq!((&about["stack"], &about["name"]), (&stack, &json!("parcels")));
        assert_eq!(about["kinds"], json!([{ "kind": "parcel", "table": PARCELS, "cancelled_by": null }]));
    }
}

#[tokio::test]
async fn the_flow_is_told_as_a_graph_whose_edges_end_at_its_nodes() {
    let world = world();
    let flow = told(&console(&world.pipeline()), "/_quadrille/flow").await;
    let nodes: Vec<&Value> = flow["nodes"].as_array().unwrap().iter().map(|node| &node["id"]).collect();
    assert!(nodes.contains(&&json!("step_scan")) && nodes.contains(&&json!("table_parcels")), "{nodes:?}");
    let edges = flow["edges"].as_array().unwrap();
    assert!(edges.iter().all(|edge| nodes.contains(&&edge["from"]) && nodes.contains(&&edge["to"])));
    let told = |edge: &&Value| edge["from"] == "relay" && edge["to"] == "step_scan";
    let edge = edges.iter().find(told).unwrap();
    assert_eq!((&edge["label"], &edge["step"]), (&json!("parcel.scanned"), &json!("scan")));
}

#[tokio::test]
async fn dead_letters_are_counted_by_groups_a_page_at_a_time() {
    let world = world();
    let pipeline = world.pipeline();
    let console = console(&pipeline);
    scanned(&world, &pipeline, &ids(600), BURNT).await;
    scanned(&world, &pipeline, &["busy".to_owned()], BUSY).await;
    let (mut counts, mut pages, mut after) = (BTreeMap::<String, u64>::new(), 0, Some(0));
    while let Some(from) = after {
        let page =
            told(&console, &format!("/_quadrille/dead-letter-groups?queue=scan-dlq&after={from}")).await;
        let page: LetterGroups = serde_json::from_value(page).unwrap();
        for group in &page.groups {
            assert_eq!((group.handler.as_str(), group.is_end), ("scan", false));
            assert!(group.first <= group.last && group.last < group.deadline, "{group:?}");
            *counts.entry(group.reason.clone()).or_default() += group.count;
        }
        (pages, after) = (pages + 1, page.next);
    }
    assert_eq!((counts.values().copied().collect::<Vec<_>>(), pages), (vec![600, 1], 2));
    assert_eq!(asked(&console, "GET", "/_quadrille/dead-letter-groups?queue=none", &[]).await.status, 404);
}

#[tokio::test]
async fn dead_letters_are_counted_by_age_as_the_engines_clock_tells_it() {
    let world = world();
    let pipeline = world.pipeline();
    let console = console(&pipeline);
    // So many, and how long after them the next: they are a day old, a moment less, an hour, a moment less, and new.
    let rounds = [(4, MOMENT), (3, 23 * HOUR - MOMENT), (2, MOMENT), (1, HOUR - MOMENT), (5, Duration::ZERO)];
    let mut new = ids(15).into_iter();
    for (count, then) in rounds {
        let ids: Vec<String> = new.by_ref().take(count).collect();
        scanned(&world, &pipeline, &ids, BURNT).await;
        world.pass(then).await;
    }
    let page = told(&console, "/_quadrille/dead-letter-groups?queue=scan-dlq").await;
    let [group] = &serde_json::from_value::<LetterGroups>(page.clone()).unwrap().groups[..] else {
        panic!("{page}")
    };
    let LetterAges { under_an_hour, under_a_day, older } = group.ages;
    assert_eq!((group.count, under_an_hour, under_a_day, older), (15, 6, 5, 4), "{group:?}");
    let mut of_older_engine = page;
    of_older_engine["groups"][0].as_object_mut().unwrap().remove("ages");
    let read: LetterGroups = serde_json::from_value(of_older_engine).unwrap();
    assert_eq!((read.groups[0].count, read.groups[0].ages), (15, LetterAges::default()));
}
