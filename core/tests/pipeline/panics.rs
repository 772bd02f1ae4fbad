//! Handlers that panic. Each of them fails its own message, or its own request, and nothing beside it.

use super::{scanning, support::*};
use quadrille::{
    Consumer, Context, DeadLetter, Event, Failure, Outcome, Route, Stored, Verdict,
    http::{Method, Request, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use std::{borrow::Cow, future::Future};

/// `scan`, which panics at two places: before it gives a future, and in the future.
fn touchy(
    parcel: Stored<Parcel>,
    event: Scanned,
    cx: Context<()>,
) -> impl Future<Output = Outcome<()>> + Send + 'static {
    assert_ne!(event.place, "cliff", "it fell\u{1b}[31m");
    async move {
        tokio::task::yield_now().await;
        assert_ne!(event.place, "bridge", "{}", "x".repeat(5_000));
        scan(parcel, event, cx).await
    }
}

fn panicked(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry(after, why) if !after.is_zero() && why.reason() == "panicked")
}

#[tokio::test]
async fn a_panic_is_a_transient_failure_of_its_message_alone() {
    let world = scanning(touchy);
    for (id, place) in [("1", "oslo"), ("2", "cliff"), ("3", "bridge"), ("4", "rome")] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let verdicts = world.deliver("scan").await;
    assert_eq!((&verdicts[0], &verdicts[3]), (&Verdict::Done, &Verdict::Done));
    assert!(panicked(&verdicts[1]) && panicked(&verdicts[2]), "{verdicts:?}");
    assert_eq!((world.stops("1").await.len(), world.stops("4").await.len()), (1, 1));
    for _ in 0..2 {
        world.clock.advance(secs(60));
        world.deliver("scan").await;
    }
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 2));
    for letter in world.lying_in("scan-dlq").await {
        let letter = DeadLetter::read(&letter);
        assert_eq!((letter.reason.as_str(), letter.attempts), ("panicked", 3));
        let id = letter.subject.as_deref().unwrap();
        let shown = if id == "2" { "it fell\\u{1b}[31m" } else { "xxx" };
        assert!(letter.detail.contains(shown) && letter.detail.len() <= 1_024, "{}", letter.detail);
        assert!(!letter.detail.contains("parcel.scanned"), "no content is told: {}", letter.detail);
        assert_eq!(world.trail(id).await, ["posted", "dead-lettered: panicked"]);
    }
}

/// An event whose reader panics.
#[derive(Serialize, Deserialize)]
struct Weighed {
    parcel: String,
    #[serde(deserialize_with = "weight")]
    weight: u64,
}

impl Event for Weighed {
    const TYPE: &'static str = "parcel.weighed";
    type Entity = Parcel;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.parcel)
    }
}

fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let weight = u64::deserialize(deserializer)?;
    assert_ne!(weight, 0, "without weight");
    Ok(weight)
}

#[tokio::test]
async fn an_event_whose_reader_panics_fails_alone() {
    let weigh = async |parcel: Stored<Parcel>, event: Weighed, _: Context<()>| {
        stop::<()>(parcel, &event.weight.to_string())
    };
    let world =
        World::new(parcels::<(Weighed,)>().on(Consumer::new("weigh", weigh).attempts(3, super::BACKOFF)));
    world.post(&["1"]).await;
    for weight in [0, 7] {
        world.tell("weigh", Weighed { parcel: "1".into(), weight }).await;
    }
    let verdicts = world.deliver("weigh").await;
    assert!(panicked(&verdicts[0]) && verdicts[1] == Verdict::Done, "{verdicts:?}");
    assert_eq!(world.stops("1").await, ["7"]);
}

#[tokio::test]
async fn a_route_that_panics_is_answered_with_a_problem() {
    async fn at_last(_: Request, _: Context<()>) -> Result<Response, Failure> {
        tokio::task::yield_now().await;
        panic!("the secret name of a table")
    }
    let at_once = |request: Request, cx: Context<()>| {
        assert!(!request.parameters.is_empty(), "the secret name of a table");
        at_last(request, cx)
    };
    let definition = parcels::<()>()
        .route(Route::get("/at-once", "at-once", at_once))
        .route(Route::get("/at-last", "at-last", at_last));
    let world = World::new(definition);
    for path in ["/at-once", "/at-last"] {
        let response = world.pipeline().respond(Method::Get, path, Request::default()).await.unwrap();
        assert_eq!((response.status, response.content_type), (500, "application/problem+json"));
        let problem = String::from_utf8(response.body.to_vec()).unwrap();
        assert!(problem.contains("/problems/panicked") && !problem.contains("secret"), "{problem}");
    }
}
