//! What is sent and stored outlives the version that wrote it. During a deployment old and new handlers run side by
//! side. A message waits for days, a dead letter for two weeks, an item for as long as it lives.
//!
//! `fixtures/` holds each of these as a version wrote it. A fixture is never changed: where what is written changes,
//! one of the new version is added beside it, and every reader goes on reading both.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Alert, AlertState, Budget, Choreography, Consumer, Context, DeadLetter, Envelope, Failure, Outcome,
    Route, Stored, Table, TrailEntryKind, Uses, Verdict,
    http::{Method, Request, Response},
    port::{Item, Message, Receipt, Write},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::*;

const EVENT: &str = include_str!("fixtures/event.v1.json");
/// From here on the trace context names the work that emitted the event; before, nobody.
const EVENT_2: &str = include_str!("fixtures/event.v2.json");
const DOCUMENT: &str = include_str!("fixtures/document.v1.json");
/// With the event that each entry is of, by a number.
const DOCUMENT_2: &str = include_str!("fixtures/document.v2.json");
const DEAD_LETTER: &str = include_str!("fixtures/dead_letter.v1.json");
/// What was given up, as it was first told: by the text of its entry alone.
const GIVEN_UP_1: &str = include_str!("fixtures/given_up.v1.json");
/// With the reason as a field.
const GIVEN_UP_2: &str = include_str!("fixtures/given_up.v2.json");
/// With the event that it was given up of.
const GIVEN_UP_3: &str = include_str!("fixtures/given_up.v3.json");
const ALERT: &str = include_str!("fixtures/alert.v1.json");

/// Posted, then scanned again and again, a minute after each other.
fn going_round() -> World {
    let scan = |parcel: Stored<Parcel>, event: Scanned, _: Context<(Scanned,)>| async move {
        if event.place == BURNT {
            return Err(Failure::permanent("burnt", "nothing is left of it"));
        }
        let mut parcel = parcel;
        let next = Scanned::new(&event.parcel, format!("stop {}", parcel.version() + 1));
        parcel.stops.push(event.place);
        Outcome::<(Scanned,)>::Ok(parcel.commit("scanned").emit_after(secs(60), next).into())
    };
    let budget = Budget { deadline: secs(86_400), hops: 100 };
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", scan)
            .attempts(3, BACKOFF)
            .gives_up_early()
            .budget(budget)
            .uses(Uses::new().emits_later::<Scanned>()));
    World::new(definition)
}

async fn post(request: Request, cx: Context<(Scanned,)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let parcel = Parcel { expires_at: Some(cx.now() + secs(3 * 86_400)), ..Parcel::new(id) };
    let parcel = Stored::new(parcel).with_correlation_id("flow-7");
    cx.commit_all(vec![parcel.commit("posted").emit(Scanned::new(id, "stop 1"))]).await?;
    Ok(Response::json(201, &()))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// An item of the parcels' table with this document.
fn item(document: &Value) -> Item {
    let (key, document) = ("parcel/7".to_owned(), document.to_string().into());
    Item { key, version: 1, document, expires_at: None, index: None }
}

/// Puts an item into the table as it is.
async fn store(world: &World, document: &Value) {
    let item = Item { expires_at: Some(START + secs(3 * 86_400)), ..item(document) };
    let write = Write {
        item,
        expected: 0,
        now: world.now(),
        outbox: Vec::new(),
        index_changed: true,
        expiry_changed: true,
    };
    assert_eq!(world.ports.tables[PARCELS].commit(vec![write]).await, [Ok(())]);
}

/// A world that has just written what the fixtures hold.
async fn written() -> World {
    let mut world = going_round();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = BTreeMap::from([("traceparent".to_owned(), trace.to_owned())]);
    let request = Request { headers, ..Request::default() };
    world.pipeline().respond(Method::Post, "/parcels/7", request).await.unwrap();
    let mut tried = 0;
    world.meddle_with_table(move |_| {
        tried += 1;
        // The last commit succeeds the second time only.
        if tried == 18 { CommitFault::NotApplied } else { CommitFault::None }
    });
    for _ in 0..18 {
        world.send("scan", world.emitted().await.pop().unwrap().to_string()).await;
        world.clock.advance(secs(60));
        world.deliver("scan").await;
    }
    world.clock.advance(secs(4));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    world
}

#[tokio::test]
async fn what_is_written_today_is_in_the_fixtures() {
    let world = written().await;
    let changed =
        "keep this fixture, which is what old data looks like, and add one of the new version beside it";
    assert_eq!(world.emitted().await.pop().unwrap(), value(EVENT_2), "an event: {changed}");
    let items = world.ports.tables[PARCELS].get(&["parcel/7".to_owned()]).await.unwrap();
    let document = items[0].as_ref().unwrap().document.text().unwrap();
    assert_eq!(value(document), value(DOCUMENT_2), "an item's document: {changed}");
    let mut burnt = envelope(Scanned::new("7", BURNT));
    burnt.correlationid = Some("flow-7".into());
    world.send("scan", text(&burnt)).await;
    world.deliver("scan").await;
    let letter = &world.lying_in("scan-dlq").await[0];
    assert_eq!(json!(letter.attributes), value(DEAD_LETTER), "a dead letter's attributes: {changed}");
    assert_eq!(value(&given_up().await), value(GIVEN_UP_3), "what was given up: {changed}");
    assert_eq!(json!(alert()), value(ALERT), "a notification: {changed}");
}

/// The document of a parcel whose message was given up.
async fn given_up() -> String {
    let world = going_round();
    let new = json!({
        "state": {"id": "7", "stops": []},
        "trail": {"entries": [{"at": START, "what": "posted", "by": "post"}]},
        "created_at": START,
    });
    store(&world, &new).await;
    world.tell("scan", Scanned::new("7", BURNT)).await;
    world.clock.advance(secs(60));
    world.deliver("scan").await;
    let items = world.ports.tables[PARCELS].get(&["parcel/7".to_owned()]).await.unwrap();
    items[0].as_ref().unwrap().document.text().unwrap().to_owned()
}

fn alert() -> Alert {
    Alert {
        choreography: "parcels".into(),
        queue: "scan-dlq".into(),
        state: AlertState::Digest,
        at: START,
        depth: 3,
        arrived: 2,
        reasons: BTreeMap::from([("burnt".into(), 2)]),
        subjects: vec!["7".into(), "8".into()],
        detail: None,
    }
}

#[test]
fn an_event_of_version_1_is_read() {
    let [event, later] = [EVENT, EVENT_2].map(|text| Envelope::parse(text).unwrap());
    assert_eq!(event.traceparent.as_ref().unwrap()[..36], later.traceparent.unwrap()[..36]);
    assert_eq!(event.id, "parcel/7@1800000000123.19.0");
    assert_eq!((event.source.as_str(), event.subject.as_str()), ("/parcels/scan", "7"));
    assert_eq!(event.time.unwrap(), START + secs(18 * 60 + 4));
    assert_eq!(event.traceparent.as_deref().unwrap()[3..35], *"0af7651916cd43dd8448eb211c80319c");
    assert_eq!(event.correlationid.as_deref(), Some("flow-7"));
    assert_eq!(event.notbefore, Some(START + secs(19 * 60 + 4)));
    assert_eq!((event.deadline, event.hops), (Some(START + secs(86_400)), Some(18)));
    assert_eq!(event.entitycreated, Some(START));
    assert_eq!(event.data_as::<Scanned>().unwrap(), Scanned::new("7", "stop 19"));
}

#[test]
fn an_item_is_read_whatever_version_wrote_it() {
    [DOCUMENT, DOCUMENT_2].into_iter().for_each(item_is_read);
}

fn item_is_read(document: &str) {
    let parcel = Stored::<Parcel>::read(&item(&value(document))).unwrap();
    assert_eq!(parcel.stops, (1..=18).map(|n| format!("stop {n}")).collect::<Vec<_>>());
    assert_eq!((parcel.version(), parcel.created_at()), (1, Some(START)));
    assert_eq!(parcel.correlation_id(), Some("flow-7"));
    assert_eq!(parcel.trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
    let trail = parcel.trail();
    assert_eq!((trail.entries.len(), trail.dropped), (16, 3));
    let (first, last) = (&trail.entries[0], trail.last().unwrap());
    assert_eq!((first.what.as_ref(), first.handler.as_ref(), first.attempt), ("posted", "post", 1));
    assert_eq!((last.what.as_ref(), last.handler.as_ref(), last.attempt), ("scanned", "scan", 2));
    assert_eq!((first.until, last.until), (None, Some(START + secs(19 * 60 + 4))));
}

#[test]
fn what_was_given_up_is_known_by_whatever_version_wrote_it() {
    let burnt = TrailEntryKind::DeadLettered { reason: "burnt".into() };
    for document in [GIVEN_UP_1, GIVEN_UP_2, GIVEN_UP_3] {
        let parcel = Stored::<Parcel>::read(&item(&value(document))).unwrap();
        let trail = parcel.trail();
        assert_eq!((&trail.entries[0].kind, trail.entries.len()), (&TrailEntryKind::Committed, 2));
        let last = trail.last().unwrap();
        assert_eq!((&last.kind, last.what.as_ref()), (&burnt, "dead-lettered: burnt"));
    }
}

#[tokio::test]
async fn an_event_and_an_item_of_version_1_are_worked() {
    let world = going_round();
    store(&world, &value(DOCUMENT)).await;
    world.send("scan", EVENT).await;
    world.clock.advance_to(Envelope::parse(EVENT).unwrap().notbefore.unwrap());
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    let parcel = world.parcel("7").await.unwrap();
    assert_eq!(parcel.stops.last().map(String::as_str), Some("stop 19"));
    assert_eq!((parcel.trail().dropped, parcel.correlation_id()), (4, Some("flow-7")));
    // What it emits goes on where the old version was.
    let next = world.emitted().await.remove(0);
    let deadline = (START + secs(86_400)).to_string();
    assert_eq!((&next["deadline"], &next["hops"]), (&json!(deadline), &json!(19)));
}

/// What a fixture holds, changed.
fn with(fixture: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut value = value(fixture);
    change(&mut value);
    value
}

#[tokio::test]
async fn an_old_reader_ignores_what_a_newer_version_added() {
    let newer = json!({"from": ["a", "later", "version"]});
    let event = with(EVENT, |event| {
        event["anattribute"] = newer.clone();
        event["data"]["weight"] = newer.clone();
    });
    let document = with(DOCUMENT, |document| {
        document["owner"] = newer.clone();
        document["state"]["weight"] = newer.clone();
        document["trail"]["archived"] = newer.clone();
        document["trail"]["entries"][3]["cost"] = newer.clone();
    });
    let plain = Stored::<Parcel>::read(&item(&value(DOCUMENT))).unwrap();
    let read = Stored::<Parcel>::read(&item(&document)).unwrap();
    assert_eq!((&*read, read.trail()), (&*plain, plain.trail()));
    let world = going_round();
    store(&world, &document).await;
    world.send("scan", event.to_string()).await;
    world.clock.advance(secs(3_600));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("7").await.len(), 19);
    let alert_read: Alert =
        serde_json::from_value(with(ALERT, |alert| alert["severity"] = newer.clone())).unwrap();
    assert_eq!(alert_read, alert());
}

#[tokio::test]
async fn what_is_optional_may_be_missing() {
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/elsewhere", "type": "parcel.scanned",
        "time": "2027-01-15T08:00:00Z", "data": {"parcel": "7", "place": "oslo"},
    });
    let document = json!({
        "state": {"id": "7", "stops": []},
        "trail": {"entries": [{"at": "2027-01-15T08:00:00Z", "what": "posted", "by": "post"}]},
        "created_at": "2027-01-15T08:00:00Z",
    });
    let parsed = Envelope::parse(&event.to_string()).unwrap();
    assert_eq!((parsed.subject.as_str(), parsed.correlationid, parsed.traceparent), ("", None, None));
    assert_eq!(
        (parsed.notbefore, parsed.deadline, parsed.hops, parsed.entitycreated),
        (None, None, None, None)
    );
    let parcel = Stored::<Parcel>::read(&item(&document)).unwrap();
    assert_eq!((parcel.trail().dropped, parcel.trail().entries[0].attempt), (0, 1));
    assert_eq!((parcel.correlation_id(), parcel.trace_id()), (None, None));
    let world = going_round();
    store(&world, &document).await;
    world.send("scan", event.to_string()).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("7").await, ["oslo"]);
    // Where nothing names the flow yet, the event that goes on with it does.
    assert_eq!(world.parcel("7").await.unwrap().correlation_id(), Some("1"));
}

#[test]
fn what_is_needed_may_not_be_missing_and_the_failure_names_it() {
    let without = |text: &str, name: &str| {
        with(text, |value| {
            value.as_object_mut().unwrap().remove(name);
        })
    };
    for name in ["specversion", "id", "type", "data"] {
        let failure = Envelope::parse(&without(EVENT, name).to_string()).unwrap_err();
        assert_eq!(failure.reason(), "malformed");
        assert!(failure.detail().contains(&format!("`{name}`")), "{failure}");
    }
    for name in ["state", "trail", "created_at"] {
        let failure = Stored::<Parcel>::read(&item(&without(DOCUMENT, name))).unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), ("unreadable_entity", true));
        assert!(failure.detail().contains(&format!("`{name}`")), "{failure}");
        assert!(failure.detail().contains("parcel/7 at version 1"), "{failure}");
    }
}

/// A message of a dead-letter queue with these attributes.
fn dead(attributes: &Value) -> Message {
    Message {
        id: "1".into(),
        receipt: Receipt(String::new()),
        body: EVENT.to_owned(),
        unreadable: None,
        attributes: serde_json::from_value(attributes.clone()).unwrap(),
        receive_count: 4,
        sent_at: START,
    }
}

#[test]
fn a_dead_letter_of_version_1_is_read_and_so_is_one_with_more_or_with_nothing_beside_it() {
    let expected = DeadLetter {
        reason: "burnt".into(),
        detail: "nothing is left of it".into(),
        handler: "scan".into(),
        source_queue: "scan".into(),
        correlation_id: Some("flow-7".into()),
        subject: Some("7".into()),
        attempts: 1,
        first_seen: START + secs(18 * 60 + 4),
        dead_at: START + secs(18 * 60 + 4),
        redriven: None,
    };
    assert_eq!(DeadLetter::read(&dead(&value(DEAD_LETTER))), expected);
    let newer = with(DEAD_LETTER, |letter| letter["severity"] = json!("high"));
    assert_eq!(DeadLetter::read(&dead(&newer)), expected);
    let bare = DeadLetter::read(&dead(&json!({})));
    assert_eq!((bare.reason.as_str(), bare.attempts), (quadrille::RECEIVES_EXHAUSTED, 4));
    assert_eq!((bare.subject.as_deref(), bare.first_seen), (Some("7"), START));
    let unreadable = with(DEAD_LETTER, |letter| {
        letter["attempts"] = json!("many");
        letter["first-seen"] = json!("yesterday");
    });
    let read = DeadLetter::read(&dead(&unreadable));
    assert_eq!((read.attempts, read.first_seen), (4, START), "what the queue knows stands in");
}
