//! What can't be read fails alone, wherever it is met: an entity, a message, a record of the stream, a letter, a row of a listing.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Change, Consumer, Context, DeadLetter, Failure, Handled, Outcome, Stored, Uses, Verdict,
    engine::Engine,
    http::Request,
    operator::{self, Act, Api, EntityPage, Filter},
    port::{Damage, NewMessage},
    server::Service as _,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::*;

const DEAD: &str = "scan-dlq";

fn scanning() -> World {
    World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan).attempts(1, BACKOFF)))
}

fn damage_parcel(world: &World, id: &str) {
    assert!(world.memory.damage(Damage::Item { table: PARCELS, key: &format!("parcel/{id}") }));
}

/// The reason of each letter by what it is told to, or by its detail where nobody knows.
async fn letters(world: &World) -> Vec<(String, Option<String>)> {
    letters_of(world, DEAD).await
}

async fn letters_of(world: &World, queue: &str) -> Vec<(String, Option<String>)> {
    let letters = world.lying_in(queue).await;
    letters.iter().map(DeadLetter::read).map(|letter| (letter.reason, letter.subject)).collect()
}

#[tokio::test]
async fn of_a_batch_the_message_of_an_entity_that_can_not_be_read_fails_alone() {
    let world = scanning();
    let ids = ["1", "2", "3"];
    world.post(&ids).await;
    damage_parcel(&world, "2");
    for id in ids {
        world.tell("scan", Scanned::new(id, "oslo")).await;
    }
    world.deliver("scan").await;
    for id in ["1", "3"] {
        assert_eq!(world.stops(id).await, ["oslo"]);
    }
    assert_eq!(letters(&world).await, [("unreadable_entity".to_owned(), Some("2".to_owned()))]);
    assert_eq!(world.total("scan").await, 0);
}

/// Of the parcels `1`, `2` and `3`, those that are there and can be read stop at the place.
async fn sweep(event: Scanned, cx: Context<()>) -> Outcome<()> {
    let ids = ["1", "2", "3", "4"];
    let found = cx.get_each::<Parcel>(&ids).await?;
    let outcomes: Vec<&str> = found
        .iter()
        .map(|found| match found {
            Ok(Some(_)) => "there",
            Ok(None) => "gone",
            Err(failure) => failure.reason(),
        })
        .collect();
    assert_eq!(outcomes, ["there", "unreadable_entity", "there", "gone"]);
    assert_eq!(cx.get::<Parcel>(&ids).await.unwrap_err().reason(), "unreadable_entity");
    let stop = |_, parcel: Result<Option<Stored<Parcel>>, Failure>| {
        let Ok(Some(mut parcel)) = parcel else { return Change::Keep(false) };
        parcel.stops.push(event.place.clone());
        Change::Commit(parcel.commit("swept"), true)
    };
    assert_eq!(cx.change_all(&ids, stop).await?, [true, false, true, false]);
    Ok(Handled::Done)
}

#[tokio::test]
async fn a_handler_of_many_goes_on_without_the_one_that_can_not_be_read() {
    let uses = Uses::new().gets::<Parcel>().commits::<Parcel>();
    let world =
        World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", sweep).uses(uses).attempts(1, BACKOFF)));
    world.post(&["1", "2", "3"]).await;
    damage_parcel(&world, "2");
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    assert_eq!(letters(&world).await, []);
    for id in ["1", "3"] {
        assert_eq!(world.stops(id).await, ["oslo"]);
    }
}

#[tokio::test]
async fn a_message_that_can_not_be_read_is_a_dead_letter_of_its_own_that_no_redrive_moves() {
    let world = scanning();
    world.post(&["1", "2"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    let body = text(&envelope(Scanned::new("2", "oslo")));
    assert!(world.memory.damage(Damage::Message { queue: "scan", body: &body }));
    world.deliver("scan").await;
    assert_eq!(world.stops("1").await, ["oslo"]);
    assert_eq!(letters(&world).await, [("unreadable_message".to_owned(), Some("2".to_owned()))]);

    // Beside one that is whole, and one that is damaged only now.
    for id in ["3", "4"] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, BURNT)).await;
    }
    world.deliver("scan").await;
    let body = text(&envelope(Scanned::new("4", BURNT)));
    assert!(world.memory.damage(Damage::Message { queue: DEAD, body: &body }));
    let pipeline = world.pipeline();
    let listed = operator::dead_letters(&pipeline, DEAD, &Filter::default(), 0, 10).await.unwrap();
    let reasons: Vec<&str> = listed.letters.iter().map(|listed| listed.letter.reason.as_str()).collect();
    assert_eq!(reasons, ["unreadable_message", "burnt", "unreadable_message"]);
    let moved = operator::walk(&pipeline, &asked(DEAD, &Filter::default(), 10), Act::Redrive).await.unwrap();
    assert_eq!((moved.examined, moved.moved, moved.unreadable), (3, 1, 2));
    operator::give_back(&pipeline, DEAD, moved.passed_over).await.unwrap();
    assert_eq!((world.total("scan").await, world.total(DEAD).await), (1, 2));
    let purged = operator::walk(&pipeline, &asked(DEAD, &Filter::default(), 10), Act::Purge).await.unwrap();
    assert_eq!(purged.moved, 2, "to purge them nobody has to read them");
}

/// SQS moves letters by itself, whatever they hold.
#[tokio::test]
async fn a_damaged_letter_that_a_service_moves_back_is_never_worked() {
    let world = scanning();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let body = text(&envelope(Scanned::new("1", "oslo")));
    assert!(world.memory.damage(Damage::Message { queue: "scan", body: &body }));
    world.deliver("scan").await;
    let letter = world.lying_in(DEAD).await.remove(0);
    operator::walk(&world.pipeline(), &asked(DEAD, &Filter::default(), 1), Act::Purge).await.unwrap();
    let moved = NewMessage { body: letter.body, attributes: letter.attributes, ..NewMessage::default() };
    world.ports.queues["scan"].send(vec![moved]).await.remove(0).unwrap();
    world.deliver("scan").await;
    assert_eq!(letters(&world).await, [("unreadable_message".to_owned(), Some("1".to_owned()))]);
    assert_eq!(world.stops("1").await, [] as [String; 0]);
}

#[tokio::test]
async fn what_nobody_needs_of_an_event_may_be_missing_or_of_another_kind() {
    let world = scanning();
    for (number, field) in ["source", "time", "traceparent"].into_iter().enumerate() {
        let wrong = [None, Some(json!(5)), Some(json!(null)), Some(json!({"a": [1]})), Some(json!("x"))];
        for (kind, wrong) in wrong.into_iter().enumerate() {
            let id = format!("{number}-{kind}");
            world.post(&[&id]).await;
            let mut event = serde_json::to_value(envelope(Scanned::new(&id, "oslo"))).unwrap();
            match wrong {
                Some(wrong) => event[field] = wrong,
                None => drop(event.as_object_mut().unwrap().remove(field)),
            }
            world.send("scan", event.to_string()).await;
            assert_eq!(world.deliver("scan").await, [Verdict::Done], "{event}");
            assert_eq!(world.stops(&id).await, ["oslo"]);
        }
    }
    assert_eq!(letters(&world).await, []);
}

async fn send_on(mut parcel: Stored<Parcel>, event: Loaded, _: Context<(Scanned,)>) -> Outcome<(Scanned,)> {
    parcel.stops.push(event.place.clone());
    let told = Scanned::new(event.parcel, event.place);
    Ok(parcel.commit("sent on").emit(told).into())
}

#[tokio::test]
async fn a_record_that_can_not_be_read_is_told_under_its_key_and_holds_nothing_up() {
    let world = World::new(
        parcels::<(Loaded,)>()
            .on(Consumer::new("load", send_on))
            .on(Consumer::new("scan", scan).attempts(1, BACKOFF)),
    );
    world.post(&["1", "2"]).await;
    for (id, place) in [("1", "oslo"), ("2", "rome"), ("1", "bonn")] {
        world.tell("load", Loaded::new(id, place)).await;
    }
    world.deliver("load").await;
    // Its first commit; the second one, of the same parcel, is whole.
    assert!(world.memory.damage(Damage::Record { table: PARCELS, key: "parcel/1" }));
    let engine = Engine::start(world.pipeline());
    world.until("all is worked", secs(60), async || (world.total("scan").await == 0).then_some(())).await;
    world.pass(secs(60)).await;
    engine.stop().await;
    let told = world.trail("1").await.concat() + &world.trail("2").await.concat();
    assert!(told.contains("posted") && told.matches("sent on").count() == 3, "{told}");
    // In the first of the queues that its events could have ended in.
    let letter = ("unreadable_record".to_owned(), Some("parcel/1".to_owned()));
    assert_eq!(letters_of(&world, "load-dlq").await, [letter]);
    assert_eq!(world.ports.streams[PARCELS].read(10, secs(0)).await.unwrap().len(), 0, "all is checkpointed");
    // The letter holds no message: a redrive leaves it.
    let moved = operator::walk(&world.pipeline(), &asked("load-dlq", &Filter::default(), 10), Act::Redrive)
        .await
        .unwrap();
    assert_eq!((moved.moved, moved.unreadable), (0, 1));
}

#[tokio::test]
async fn a_listing_shows_what_can_not_be_read_under_its_key_with_the_cause() {
    let world = scanning();
    world.post(&["1", "2", "3"]).await;
    damage_parcel(&world, "2");
    let api = Api::new(world.pipeline());
    let listed = api.respond("GET", "/_quadrille/entities/parcel", Request::default()).await;
    assert_eq!(listed.status, 200);
    let page: EntityPage = serde_json::from_slice(&listed.body).unwrap();
    let ids: Vec<&str> = page.entities.iter().map(|entity| entity.id.as_str()).collect();
    assert_eq!(ids, ["1", "3"]);
    let unreadable: BTreeMap<&str, &str> =
        page.unreadable.iter().map(|entity| (entity.id.as_str(), entity.why.as_str())).collect();
    assert!(unreadable.len() == 1 && unreadable["2"].contains("damaged by a test"), "{unreadable:?}");
    // Asked for by itself, it is an error that says so.
    let alone = api.respond("GET", "/_quadrille/entities/parcel/2", Request::default()).await;
    let problem: Value = serde_json::from_slice(&alone.body).unwrap();
    assert!(alone.status == 500 && problem.to_string().contains("unreadable_entity"), "{problem}");
}
