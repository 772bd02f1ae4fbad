//! What becomes of a message that can't be read, and of one that holds more than its reader knows.

use super::{scanning, support::*};
use quadrille::{Context, DeadLetter, Stored, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An event with what `change` makes of its envelope.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::to_value(envelope(Scanned::new("1", "oslo"))).unwrap();
    change(&mut value);
    value.to_string()
}

/// An event that is told to parcel 1 but lacks its place, in a flow that has a name.
fn lacking_its_place() -> String {
    changed(|event| {
        event["correlationid"] = json!("flow-7");
        event["data"].as_object_mut().unwrap().remove("place");
    })
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_lettered_at_once() {
    let missing = |name: &'static str| {
        changed(move |event| {
            event.as_object_mut().unwrap().remove(name);
        })
    };
    let cases = [
        ("not JSON".to_owned(), "malformed", "not a CloudEvents envelope"),
        ("{}".to_owned(), "malformed", "missing field"),
        (missing("id"), "malformed", "missing field `id`"),
        (missing("data"), "malformed", "missing field `data`"),
        (changed(|event| event["deadline"] = json!("yesterday")), "malformed", "not an RFC 3339 time"),
        (
            changed(|event| event["specversion"] = json!("0.3")),
            "malformed",
            "specversion \"0.3\", not \"1.0\"",
        ),
        (lacking_its_place(), "malformed", "data of parcel.scanned: missing field `place`"),
        (
            changed(|event| event["data"]["place"] = json!(7)),
            "malformed",
            "data of parcel.scanned: invalid type",
        ),
        (
            changed(|event| event["type"] = json!("parcel.loaded")),
            "unexpected_event",
            "\"parcel.loaded\" where \"parcel.scanned\" is consumed",
        ),
    ];
    for (body, expected, where_it_is) in cases {
        let calls = Log::default();
        let log = calls.clone();
        let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
            log.push(event.place.clone());
            scan(parcel, event, cx)
        });
        world.post(&["1"]).await;
        world.send("scan", &body).await;
        let verdicts = world.deliver("scan").await;
        assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), [Some(expected)], "{body}");
        assert_eq!(calls.len(), 0, "{body}");
        assert_eq!(world.total("scan").await, 0, "{body}");
        let dead = world.lying_in("scan-dlq").await;
        assert_eq!(dead.iter().map(|letter| &letter.body).collect::<Vec<_>>(), [&body]);
        let letter = DeadLetter::read(&dead[0]);
        assert_eq!((letter.reason.as_str(), letter.attempts), (expected, 1));
        assert!(letter.detail.contains(where_it_is), "{where_it_is:?} is not in: {}", letter.detail);
    }
}

#[tokio::test]
async fn a_dead_letter_tells_all_that_is_needed_to_finish() {
    let world = scanning(scan);
    world.send("scan", lacking_its_place()).await;
    world.clock.advance(secs(5));
    world.deliver("scan").await;
    let dead = world.lying_in("scan-dlq").await;
    let mut attributes = dead[0].attributes.clone();
    assert!(
        attributes.remove("detail").unwrap().starts_with("data of parcel.scanned: missing field `place`")
    );
    let expected = BTreeMap::from(
        [
            ("reason", "malformed"),
            ("handler", "scan"),
            ("source-queue", "scan"),
            ("correlation-id", "flow-7"),
            ("subject", "1"),
            ("attempts", "1"),
            ("first-seen", START.to_string().as_str()),
            ("dead-at", (START + secs(5)).to_string().as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(attributes, expected);
    // Read back, they are the same.
    let letter = DeadLetter::read(&dead[0]);
    assert_eq!((letter.handler.as_str(), letter.source_queue.as_str()), ("scan", "scan"));
    assert_eq!((letter.correlation_id.as_deref(), letter.subject.as_deref()), (Some("flow-7"), Some("1")));
    assert_eq!((letter.first_seen, letter.dead_at), (START, START + secs(5)));
}

#[tokio::test]
async fn fields_that_a_reader_does_not_know_are_ignored() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    let newer = changed(|event| {
        event["anewattribute"] = json!({"of": ["a", "later", "version"]});
        event["data"]["weight"] = json!(2.5);
    });
    world.send("scan", newer).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await, ["oslo"]);
}
