//! What follows from what: an event carries the span of the work that emitted it.

use super::{support::*, *};
use quadrille::{Context, Failure, Observation, Outcome, Stored};
use serde_json::Value;
use std::sync::Arc;

/// Loads the parcel, or fails.
async fn hand_on(parcel: Stored<Parcel>, event: Scanned, _: Context<(Loaded,)>) -> Outcome<(Loaded,)> {
    match event.place.as_str() {
        BUSY => Err(Failure::transient("carrier_busy", "later")),
        BURNT => Err(Failure::permanent("burnt", "nothing is left")),
        place => {
            let id = parcel.id.clone();
            Ok(parcel.commit(format!("handed on at {place}")).emit(Loaded::new(id, place)).into())
        }
    }
}

/// A world in which `scan` emits an event, or is followed by one, which `load` gets.
fn handing_on() -> World {
    let scan = Consumer::new("scan", hand_on)
        .attempts(2, BACKOFF)
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    World::new(parcels::<(Scanned,)>().on(scan).on(Consumer::new("load", idle::<Loaded>)))
}

/// What an onlooker is told of one delivery of `scan`.
async fn worked(world: &World) -> Arc<Observation> {
    let pipeline = world.pipeline();
    let mut seen = pipeline.observe();
    let messages = world.receive("scan").await;
    pipeline.deliver("scan", &messages).await.unwrap();
    seen.try_recv().unwrap()
}

#[tokio::test]
async fn an_event_carries_the_span_of_the_work_that_emitted_it() {
    let world = handing_on();
    world.post(&["1"]).await;
    let trace = world.parcel("1").await.unwrap().trace_id().unwrap().to_owned();
    let given = format!("00-{trace}-b7ad6b7169203331-01");
    let of = |traceparent: &str, place: &str| {
        let told = envelope(Scanned::new("1", place));
        text(&quadrille::Envelope { traceparent: Some(traceparent.to_owned()), ..told })
    };
    world.send("scan", of(&given, "oslo")).await;
    let work = worked(&world).await;
    assert_eq!((work.traceparent.as_ref(), &work.context[3..35]), (Some(&given), trace.as_str()));
    assert_ne!(work.context, given, "it is a span of its own");
    assert_eq!(world.emitted().await.last().unwrap()["traceparent"], work.context.as_str());
    // Work of another trace is no parent in this one: the event carries on what began the parcel's flow.
    let elsewhere = given.replace(&trace, "0af7651916cd43dd8448eb211c80319c");
    world.send("scan", of(&elsewhere, "rome")).await;
    let work = worked(&world).await;
    assert_eq!(work.context[3..35], elsewhere[3..35]);
    let emitted = world.emitted().await.last().unwrap()["traceparent"].as_str().unwrap().to_owned();
    assert_eq!(emitted[3..35], trace);
    assert_ne!(emitted[36..52], work.context[36..52]);
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own_and_the_last_one_leads_to_what_follows() {
    let world = handing_on();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BUSY)).await;
    let first = worked(&world).await;
    world.clock.advance(secs(60));
    let last = worked(&world).await;
    assert!(matches!(last.verdict, quadrille::Verdict::DeadLetter(_)), "{last:?}");
    assert_ne!(first.context, last.context);
    let following: Value = serde_json::from_str(&world.receive("load").await[0].body).unwrap();
    assert_eq!(following["traceparent"], last.context.as_str());
}
