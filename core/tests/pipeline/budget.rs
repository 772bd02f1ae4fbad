//! The budget of a cycle: what its events carry, and how running out ends.

use super::support::*;
use quadrille::{
    Budget, Choreography, Consumer, Context, DeadLetter, Failure, Outcome, Route, Stored, Table, Timestamp,
    Uses, Verdict,
    http::{Request, Response},
};
use serde_json::Value;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What a handler was told of its budget.
type Seen = Log<(u32, Option<Timestamp>)>;

/// `POST /parcels/{id}` has the parcel scanned; every scan has it scanned again, loaded and delivered. Scanning is one
/// cycle, loading another one, delivering none.
fn going_round(seen: &Seen) -> World {
    let log = seen.clone();
    let scan =
        move |mut parcel: Stored<Parcel>, event: Scanned, cx: Context<(Scanned, Loaded, Delivered)>| {
            log.push((cx.hops(), cx.deadline()));
            async move {
                let id = event.parcel;
                parcel.stops.push(event.place);
                let commit = parcel.commit("scanned").emit(Scanned::new(&id, "again"));
                let commit = commit.emit(Loaded::new(&id, "lorry")).emit(Delivered::new(&id, "door"));
                Outcome::<(Scanned, Loaded, Delivered)>::Ok(commit.into())
            }
        };
    let load = |mut parcel: Stored<Parcel>, event: Loaded, _: Context<(Loaded,)>| async move {
        parcel.stops.push(event.place);
        let commit = parcel.commit("loaded").emit(Loaded::new(&event.parcel, "another lorry"));
        Outcome::<(Loaded,)>::Ok(commit.into())
    };
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", scan)
            .budget(Budget { deadline: HOUR, hops: 3 })
            .attempts(3, BACKOFF)
            .gives_up_early())
        .on(Consumer::new("load", load).budget(Budget { deadline: 2 * HOUR, hops: 3 }).gives_up_early())
        .on(Consumer::new("deliver", idle::<Delivered>));
    World::new(definition)
}

async fn post(request: Request, cx: Context<(Scanned,)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let scanned = Stored::new(Parcel::new(id)).commit("posted").emit(Scanned::new(id, "oslo"));
    cx.commit_all(vec![scanned]).await?;
    Ok(Response::json(201, &()))
}

/// The latest event of a type that was emitted.
async fn emitted(world: &World, event_type: &str) -> Value {
    let events = world.emitted().await;
    events.into_iter().rfind(|event| event["type"] == event_type).unwrap()
}

fn time(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_event_that_enters_a_cycle_has_a_fresh_budget_and_one_off_it_has_none() {
    let world = going_round(&Seen::default());
    world.clock.advance(secs(5));
    world.post(&["1"]).await;
    let entering = emitted(&world, "parcel.scanned").await;
    assert_eq!((time(&entering["deadline"]), &entering["hops"]), (START + secs(5) + HOUR, &0.into()));
    world.send("scan", entering.to_string()).await;
    world.deliver("scan").await;
    let leaving = emitted(&world, "parcel.delivered").await;
    assert_eq!((leaving.get("deadline"), leaving.get("hops")), (None, None));
}

#[tokio::test]
async fn along_a_cycle_the_deadline_stays_and_the_hops_are_counted() {
    let seen = Seen::default();
    let world = going_round(&seen);
    world.post(&["1"]).await;
    for hops in 1..=3 {
        let round = emitted(&world, "parcel.scanned").await;
        world.send("scan", round.to_string()).await;
        world.clock.advance(secs(60));
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        let next = emitted(&world, "parcel.scanned").await;
        assert_eq!((time(&next["deadline"]), &next["hops"]), (START + HOUR, &hops.into()));
    }
    let deadline = Some(START + HOUR);
    assert_eq!(seen.all(), [(0, deadline), (1, deadline), (2, deadline)]);
}

#[tokio::test]
async fn an_event_that_goes_from_one_cycle_into_another_has_the_budget_of_the_other() {
    let world = going_round(&Seen::default());
    world.post(&["1"]).await;
    for _ in 0..2 {
        let round = emitted(&world, "parcel.scanned").await;
        world.send("scan", round.to_string()).await;
        world.clock.advance(secs(60));
        world.deliver("scan").await;
    }
    let entering = emitted(&world, "parcel.loaded").await;
    assert_eq!((time(&entering["deadline"]), &entering["hops"]), (START + secs(120) + 2 * HOUR, &0.into()));
}

#[tokio::test]
async fn when_the_hops_are_exhausted_it_is_a_permanent_failure() {
    let seen = Seen::default();
    let world = going_round(&seen);
    world.post(&["1"]).await;
    for _ in 0..4 {
        let round = emitted(&world, "parcel.scanned").await;
        world.send("scan", round.to_string()).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    }
    let fifth = emitted(&world, "parcel.scanned").await;
    world.send("scan", fifth.to_string()).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("hops_exhausted"));
    assert_eq!(seen.all().into_iter().map(|(hops, _)| hops).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let letter = DeadLetter::read(&world.lying_in("scan-dlq").await[0]);
    assert_eq!((letter.reason.as_str(), letter.attempts), ("hops_exhausted", 1));
    assert_eq!(world.trail("1").await.last().unwrap(), "dead-lettered: hops_exhausted");
}

#[tokio::test]
async fn when_the_deadline_has_passed_it_is_a_permanent_failure() {
    let world = going_round(&Seen::default());
    world.post(&["1"]).await;
    let round = emitted(&world, "parcel.scanned").await.to_string();
    world.send("scan", &round).await;
    world.clock.advance(HOUR);
    assert_eq!(world.deliver("scan").await, [Verdict::Done], "the deadline itself is in time");
    // Not the same one once more, which is done.
    world.send("scan", round.replace("parcel/1@", "parcel/1@1")).await;
    world.clock.advance(MILLISECOND);
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("deadline_passed"));
    assert_eq!(DeadLetter::read(&world.lying_in("scan-dlq").await[0]).reason, "deadline_passed");
    assert_eq!(world.trail("1").await.last().unwrap(), "dead-lettered: deadline_passed");
}

#[tokio::test]
async fn an_event_from_outside_the_choreography_has_the_budget_of_the_time_it_was_sent() {
    let seen = Seen::default();
    let world = going_round(&seen);
    world.post(&["1"]).await;
    // The time of the envelope is when the test began.
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.clock.advance(HOUR);
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(seen.all(), [(0, Some(START + HOUR))]);
    let next = emitted(&world, "parcel.scanned").await;
    assert_eq!((time(&next["deadline"]), &next["hops"]), (START + HOUR, &1.into()));
    world.tell("scan", Scanned::new("1", "rome")).await;
    world.clock.advance(MILLISECOND);
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("deadline_passed"));
}

#[tokio::test]
async fn off_all_cycles_a_handler_knows_of_no_budget() {
    let seen = Seen::default();
    let log = seen.clone();
    let scan = move |parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>| {
        log.push((cx.hops(), cx.deadline()));
        let loaded = Loaded::new(&event.parcel, "lorry");
        async { Outcome::<(Loaded,)>::Ok(parcel.commit("scanned").emit(loaded).into()) }
    };
    // A budget given to a step off all cycles bounds nothing.
    let consumer = Consumer::new("scan", scan).budget(Budget { deadline: secs(1), hops: 0 });
    let definition = parcels::<(Scanned,)>();
    let world = World::new(definition.on(consumer).on(Consumer::new("load", idle::<Loaded>)));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.clock.advance(HOUR);
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(seen.all(), [(0, None)]);
    let next = emitted(&world, "parcel.loaded").await;
    assert_eq!((next.get("deadline"), next.get("hops")), (None, None), "and neither does the next");
}

#[tokio::test]
async fn an_event_without_a_time_does_not_begin_a_cycle() {
    let world = going_round(&Seen::default());
    let mut event = serde_json::to_value(envelope(Scanned::new("1", "oslo"))).unwrap();
    event["time"] = "soon".into();
    world.send("scan", event.to_string()).await;
    world.deliver("scan").await;
    let letter = DeadLetter::read(&world.lying_in("scan-dlq").await[0]);
    assert_eq!(letter.reason, "malformed");
    assert!(letter.detail.contains("`time`"), "{}", letter.detail);
}
