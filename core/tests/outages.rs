//! Ports that refuse writes for a while, as on a full disk: what was in hand is kept, and done as soon as they are taken
//! again. On the in-memory adapter, whose clock moves only when a test moves it.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Context, DeadLetter, Failure, Route, Stored, Table, Uses, Waits,
    engine::Engine,
    http::{Request, Response},
    port::Depth,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use support::*;
use tokio::sync::Semaphore;

/// How long writes are refused.
const OUTAGE: Duration = secs(5);
/// Within this everything is done that was in hand.
const SOON: Duration = secs(2);
/// A place where a parcel is at the second attempt.
const LATE: &str = "late";

/// Parcels that are scanned once the gate opens; one that is given up is followed.
fn gated(gate: &Arc<Semaphore>, waits: impl Into<Waits>) -> World {
    let gate = Arc::clone(gate);
    let scan = move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            if event.place == LATE && cx.attempt() == 1 {
                return Err(Failure::transient("carrier_late", "not yet"));
            }
            stop(parcel, &event.place)
        }
    };
    let recover = |parcel: Stored<Parcel>, event: Loaded, _: Context<()>| async move {
        stop::<()>(parcel, &["back, ", &event.place].concat())
    };
    let scan = Consumer::new("scan", scan)
        .attempts(3, waits)
        .concurrency(10)
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    World::new(parcels::<(Scanned,)>().on(scan).on(Consumer::new("recover", recover)))
}

#[tokio::test]
async fn what_is_in_hand_while_writes_are_refused_is_done_soon_after_whatever_is_to_become_of_it() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = gated(&gate, [secs(4)]);
    let ports = ["scan", "scan-dlq", "recover"].map(|name| world.meddle_with_queue(name, |_| None));
    let refuse = |refuses| ports.iter().for_each(|port| port.outage.refuse(refuses));
    world.post(&["1", "2", "3", "4"]).await;
    for (id, place) in [("1", "oslo"), ("2", BURNT), ("3", LATE)] {
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let mut early = envelope(Scanned::new("4", "rome"));
    early.notbefore = Some(START + secs(4));
    world.send("scan", text(&early)).await;
    let engine = Engine::start(world.pipeline());
    all_wait().await;
    assert_eq!(world.ports.queues["scan"].depth().await.unwrap().in_flight, 4, "one batch");
    refuse(true);
    gate.add_permits(100);
    world.pass(OUTAGE).await;
    assert_eq!(world.total("scan").await, 4, "none is settled");
    refuse(false);
    let all_done = async || {
        let depth = world.ports.queues["scan"].depth().await.unwrap();
        (depth == Depth::default() && world.stops("2").await.len() == 1).then_some(())
    };
    world.until("all are done", SOON, all_done).await;
    assert_eq!(world.stops("1").await, ["oslo"]);
    assert_eq!(world.stops("2").await, ["back, burnt"], "what follows came, once");
    assert_eq!((world.stops("3").await, world.stops("4").await), (vec![LATE.into()], vec!["rome".into()]));
    let letters = world.lying_in("scan-dlq").await;
    let letter = DeadLetter::read(&letters[0]);
    assert_eq!((letters.len(), letter.reason.as_str(), letter.attempts), (1, "burnt", 1));
    engine.stop().await;
}

#[tokio::test]
async fn what_could_not_be_committed_is_given_back_as_soon_as_writes_are_taken() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = gated(&gate, [secs(600)]);
    world.post(&["1"]).await;
    let table = world.meddle_with_table(|_| CommitFault::None);
    let queue = world.meddle_with_queue("scan", |_| None);
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let engine = Engine::start(world.pipeline());
    all_wait().await;
    table.outage.refuse(true);
    queue.outage.refuse(true);
    gate.add_permits(100);
    world.pass(OUTAGE).await;
    assert_eq!(world.stops("1").await.len(), 0);
    table.outage.refuse(false);
    queue.outage.refuse(false);
    let scanned = async || (world.stops("1").await.len() == 1).then_some(());
    world.until("it is scanned", SOON, scanned).await;
    engine.stop().await;
}

#[tokio::test]
async fn what_could_not_be_acknowledged_is_neither_worked_again_nor_more_than_two_batches() {
    let gate = Arc::new(Semaphore::new(100));
    let mut world = gated(&gate, [secs(4)]);
    let queue = world.meddle_with_queue("scan", |_| None);
    let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
    for id in &ids {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, "oslo")).await;
    }
    queue.refuses_deletes.store(true, Ordering::Relaxed);
    let engine = Engine::start(world.pipeline());
    world.pass(OUTAGE).await;
    let workers = world.choreography.model().step("scan").unwrap().workers as u64;
    let depth = world.ports.queues["scan"].depth().await.unwrap();
    assert!(depth.in_flight > 0 && depth.in_flight <= workers * 2 * 10, "{depth:?}");
    queue.refuses_deletes.store(false, Ordering::Relaxed);
    let all_done = async || (world.total("scan").await == 0).then_some(());
    world.until("all are done", SOON, all_done).await;
    assert_eq!(engine.pipeline().counts()["scan"].done, 40, "none was worked twice");
    engine.stop().await;
}

/// `POST /parcels/{id}`: has the parcel scanned.
async fn post_scanned(request: Request, cx: Context<(Scanned,)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let scanned = Stored::new(Parcel::new(id)).commit("posted").emit(Scanned::new(id, "oslo"));
    cx.commit_all(vec![scanned]).await?;
    Ok(Response::json(201, &()))
}

#[tokio::test]
async fn what_could_not_be_checkpointed_is_not_sent_again() {
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post_scanned).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", scan));
    let mut world = World::new(definition);
    let stream = world.watch_stream();
    let queue = world.meddle_with_queue("scan", |_| None);
    let engine = Engine::start(world.pipeline());
    stream.outage.refuse(true);
    world.post(&["1"]).await;
    world.pass(OUTAGE).await;
    assert_eq!((queue.taken.len(), world.emitted().await.len()), (1, 1), "sent once, and not checkpointed");
    stream.outage.refuse(false);
    world.until("it is", SOON, async || world.emitted().await.is_empty().then_some(())).await;
    world.post(&["2"]).await;
    all_wait().await;
    assert_eq!((queue.taken.len(), stream.checkpoints.len()), (2, 2));
    engine.stop().await;
}
