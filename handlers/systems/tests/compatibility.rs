//! What a system stores and sends outlives the version that wrote it: entities live for days or for ever, a message waits for
//! days, a dead letter for two weeks. `fixtures/SYSTEM/` holds examples of each, as a version wrote them, in one file for
//! each kind of entity and each type of event. A fixture is never changed: where what is written changes, a file of the next
//! version is added beside it, and every reader goes on reading both.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use quadrille::{
    Entity, Event, Stored,
    choreography::Model,
    domain::{self, auction::Order, checkout, snacks},
    port::Item,
    system::choreography,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use systems::{
    auction::{
        results::OrderDecided,
        run::{LeaveRun, PollAuction, Run, RunPage},
    },
    checkout::events::{
        OrderEnded, OrderFailing, OrderReceived, OrderSent, PaymentDue, PaymentVoid, StockReturn,
    },
    orders,
    snacks::{orders::OrderCreated, processing::OrderProcessed},
};

/// What today's code makes of a value: what it writes after it has read it.
type Rewrite = fn(&Value) -> Value;

/// How today's code reads each kind of entity and each type of event of a system.
fn readers(system: &str) -> BTreeMap<&'static str, Rewrite> {
    match system {
        "auction" => BTreeMap::from([
            (Order::KIND, entity::<Order> as Rewrite),
            (Run::KIND, entity::<Run>),
            (RunPage::KIND, entity::<RunPage>),
            (PollAuction::TYPE, data::<PollAuction>),
            (LeaveRun::TYPE, data::<LeaveRun>),
            (OrderDecided::TYPE, data::<OrderDecided>),
        ]),
        "snacks" => BTreeMap::from([
            (snacks::Order::KIND, entity::<snacks::Order> as Rewrite),
            (OrderCreated::TYPE, data::<OrderCreated>),
            (OrderProcessed::TYPE, data::<OrderProcessed>),
        ]),
        "orders" => BTreeMap::from([
            (domain::orders::Order::KIND, entity::<domain::orders::Order> as Rewrite),
            (orders::OrderCreated::TYPE, data::<orders::OrderCreated>),
            (orders::OrderProcessed::TYPE, data::<orders::OrderProcessed>),
        ]),
        "checkout" => BTreeMap::from([
            (checkout::Order::KIND, entity::<checkout::Order> as Rewrite),
            (checkout::Product::KIND, entity::<checkout::Product>),
            (checkout::StockPart::KIND, entity::<checkout::StockPart>),
            (OrderSent::TYPE, data::<OrderSent>),
            (OrderReceived::TYPE, data::<OrderReceived>),
            (PaymentDue::TYPE, data::<PaymentDue>),
            (OrderFailing::TYPE, data::<OrderFailing>),
            (StockReturn::TYPE, data::<StockReturn>),
            (PaymentVoid::TYPE, data::<PaymentVoid>),
            (OrderEnded::TYPE, data::<OrderEnded>),
        ]),
        _ => BTreeMap::new(),
    }
}

fn data<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let read: T = serde_json::from_str(&value.to_string()).unwrap();
    serde_json::to_value(read).unwrap()
}

/// An entity is read from its item, which has more than its state.
fn entity<E: Entity>(state: &Value) -> Value {
    let document = json!({"state": state, "trail": {"entries": []}, "created_at": "2026-11-20T09:15:00Z"});
    let item = Item {
        key: "x/1".into(),
        version: 1,
        document: document.to_string().into(),
        expires_at: None,
        index: None,
    };
    let stored = Stored::<E>::read(&item).unwrap();
    serde_json::to_value(stored.into_state()).unwrap()
}

/// The fixtures of a system: of which kind or type, of which version, and the examples.
fn fixtures(system: &str) -> Vec<(String, String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(system);
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json").unwrap();
        let (of, version) = name.rsplit_once('.').unwrap();
        let examples = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (of.to_owned(), version.to_owned(), examples)
    };
    let mut fixtures: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
    fixtures.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    fixtures
}

/// The kinds of entities that tables hold, and the types of events that are sent or consumed.
fn stored_and_sent(model: &Model) -> BTreeSet<&str> {
    let kinds = model.tables.iter().flat_map(|table| &table.kinds);
    let by_steps = model.steps.iter().flat_map(|step| step.emits.iter().chain([&step.event_type]));
    let by_routes = model.routes.iter().flat_map(|route| &route.emits);
    let by_schedules = model.schedules.iter().map(|schedule| &schedule.event_type);
    kinds.chain(by_steps).chain(by_routes).chain(by_schedules).map(String::as_str).collect()
}

#[test]
fn all_that_a_system_stores_or_sends_has_a_fixture() {
    for system in systems::ALL {
        let (choreography, system) = (choreography(*system).unwrap(), system.name());
        let (fixtures, readers) = (fixtures(system), readers(system));
        let found: BTreeSet<&str> = fixtures.iter().map(|(of, ..)| of.as_str()).collect();
        // The library's own events have their fixtures beside its tests.
        let all = stored_and_sent(choreography.model());
        for name in all.into_iter().filter(|name| !name.starts_with("quadrille.")) {
            let file = format!("tests/fixtures/{system}/{name}.v1.json");
            assert!(found.contains(name), "add {file}, with examples of what is written");
        }
        for name in found {
            assert!(readers.contains_key(name), "nothing reads the fixture of {system}'s {name:?}");
        }
    }
}

#[test]
fn todays_code_reads_every_fixture_and_loses_nothing_of_it() {
    for system in systems::ALL.iter().map(|system| system.name()) {
        for (of, version, examples) in fixtures(system) {
            assert!(!examples.is_empty(), "{system}: {of}.{version}");
            for example in examples {
                assert_eq!(readers(system)[of.as_str()](&example), example, "{system}: {of}.{version}");
            }
        }
    }
}

/// Objects: the example itself, a decision in an event, what a phase knows, and an item of an order.
const PLACES: [&str; 7] = [
    "",
    "/result",
    "/phase/taking_over",
    "/phase/deciding",
    "/phase/reconciling",
    "/snackItems/0",
    "/items/0",
];

#[test]
fn what_a_later_version_adds_is_ignored() {
    let newer = json!({"from": ["a", "later", "version"]});
    for system in systems::ALL.iter().map(|system| system.name()) {
        for (of, version, examples) in fixtures(system) {
            for example in examples {
                for place in PLACES {
                    let mut more = example.clone();
                    if let Some(Value::Object(object)) = more.pointer_mut(place) {
                        object.insert("added".into(), newer.clone());
                    }
                    assert_eq!(
                        readers(system)[of.as_str()](&more),
                        example,
                        "{system}: {of}.{version} {place}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_fixtures_show_every_field_every_phase_and_every_status() {
    let fixtures = fixtures("auction");
    let examples = |of: &str| -> Vec<&Value> {
        fixtures.iter().filter(|(name, ..)| name == of).flat_map(|(.., examples)| examples).collect()
    };
    let fields = |of: &str| -> BTreeSet<&str> {
        let objects = examples(of).into_iter().filter_map(Value::as_object);
        objects.flat_map(|object| object.keys().map(String::as_str)).collect()
    };
    let order = [
        "decided_at",
        "expires_at",
        "parameter_1",
        "parameter_2",
        "power",
        "received_at",
        "record_id",
        "result_key",
        "run_id",
        "status",
        "undecidable",
    ];
    assert_eq!(fields(Order::KIND), BTreeSet::from(order));
    assert!(fields(Run::KIND).contains("is_uncertain"));
    assert_eq!(
        fields(OrderDecided::TYPE),
        BTreeSet::from(["detail", "fault", "record_id", "result", "run_id"])
    );
    let named = |value: &Value| {
        let fields = value.as_object().and_then(|fields| fields.keys().next().cloned());
        value.as_str().map(str::to_owned).or(fields).unwrap()
    };
    let phases: BTreeSet<String> = examples(Run::KIND).iter().map(|run| named(&run["phase"])).collect();
    let all = ["deciding", "ended", "gathering", "queued", "reconciling", "taking_over", "waiting"];
    assert_eq!(phases, all.map(str::to_owned).into());
    let statuses: BTreeSet<String> =
        examples(Order::KIND).iter().map(|order| named(&order["status"])).collect();
    assert_eq!(statuses, ["accepted", "received", "rejected", "submitted"].map(str::to_owned).into());
}
