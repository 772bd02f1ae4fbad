//! The local engine's fast path: an event for a queue is put there with its commit, and everything that can't be goes by
//! the change stream. On a store in a folder, with a clock that stands still.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Context, Failure, Handled, Outcome, Pipeline, Route, Stored, Table, Uses,
    engine::Engine,
    http::{Method, Request, Response},
    limits::QUEUE_DELAY_MAX,
    local::{AlarmPolicy, Local},
    memory::VirtualClock,
    port::{CommitError, Depth, Item, SeededRandom, Write},
};
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration};
use support::*;

/// `POST /parcels/{id}` with places in the query: one commit for each, which has the parcel scanned there in an hour, so
/// that the message stays in its queue, and, where the place ends in `!`, tells the news at once.
async fn travel(request: Request, cx: Context<(Scanned, Loaded)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    for place in request.query.split(',') {
        let known = cx.get::<Parcel>(&[id]).await?.remove(0);
        let parcel = known.unwrap_or_else(|| Stored::new(Parcel::new(id)));
        let commit = parcel.commit("on its way").emit_after(secs(3_600), Scanned::new(id, place));
        let commit = if place.ends_with('!') { commit.emit(Loaded::new(id, place)) } else { commit };
        cx.commit_all(vec![commit]).await?;
    }
    Ok(Response::json(202, &()))
}

fn travelling(told: &Log<String>) -> Choreography {
    let told = told.clone();
    let tell = move |event: Loaded, _: Context<()>| {
        told.push(event.place);
        std::future::ready(Outcome::<()>::Ok(Handled::done()))
    };
    let uses = Uses::new().gets::<Parcel>().commits::<Parcel>();
    Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .topic("news")
        .route(Route::post("/parcels/{id}", "travel", travel).uses(uses))
        .on(Consumer::new("scan", idle::<Scanned>))
        .subscribe("news", Consumer::new("tell", tell))
        .build()
        .unwrap()
}

/// A folder with the choreography's tables and queues.
struct Yard {
    /// The places of which the news told.
    told: Log<String>,
    choreography: Choreography,
    local: Local,
    _folder: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        let (told, folder) = (Log::default(), tempfile::tempdir().unwrap());
        let choreography = travelling(&told);
        let (clock, random) = (Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)));
        let local = Local::open(folder.path(), choreography.model(), clock, random).unwrap();
        Self { told, choreography, local, _folder: folder }
    }

    fn running() -> (Self, Engine) {
        let yard = Self::new();
        let engine = yard.start(&yard.pipeline());
        (yard, engine)
    }

    fn pipeline(&self) -> Pipeline {
        self.local.pipeline(&self.choreography)
    }

    fn start(&self, pipeline: &Pipeline) -> Engine {
        self.local.start(pipeline, AlarmPolicy::default())
    }

    async fn post(&self, id: &str, places: &str) {
        let request = Request { query: places.to_owned(), ..Request::default() };
        let path = format!("/parcels/{id}");
        let response = self.pipeline().respond(Method::Post, &path, request).await.unwrap();
        assert_eq!(response.status, 202);
    }

    async fn depth(&self, queue: &str) -> Depth {
        self.local.ports().queues[queue].depth().await.unwrap()
    }

    /// The places of what a queue was sent, in the order of its arrival.
    async fn places(&self, queue: &str) -> Vec<String> {
        let arrived = self.local.ports().queues[queue].arrived(0, 1_000).await.unwrap();
        let place = |body: &str| serde_json::from_str::<Value>(body).unwrap()["data"]["place"].take();
        arrived.iter().map(|(_, message)| place(&message.body).as_str().unwrap().to_owned()).collect()
    }

    /// How much waits in the change stream.
    async fn in_the_stream(&self) -> usize {
        self.local.ports().streams[PARCELS].read(1_000, Duration::ZERO).await.unwrap().len()
    }
}

const fn delayed(count: u64) -> Depth {
    Depth { visible: 0, in_flight: 0, delayed: count }
}

#[tokio::test]
async fn an_event_is_in_its_queue_when_its_commit_is_answered() {
    let yard = Yard::new();
    yard.post("1", "oslo").await;
    assert_eq!((yard.depth("scan").await, yard.in_the_stream().await), (delayed(0), 1), "nothing runs");
    let engine = yard.start(&yard.pipeline());
    eventually("the relay has sent what was there", async || yard.depth("scan").await == delayed(1)).await;
    eventually("it has checkpointed it", async || yard.in_the_stream().await == 0).await;
    yard.post("1", "rome").await;
    // A relay would first have to read the stream, which stands behind this in the store's order.
    assert_eq!((yard.depth("scan").await, yard.in_the_stream().await), (delayed(2), 0));
    assert_eq!(yard.places("scan").await, ["oslo", "rome"]);
    engine.stop().await;
}

#[tokio::test]
async fn an_event_for_later_is_held_back_as_long_as_a_queue_can() {
    let (yard, engine) = Yard::running();
    yard.post("1", "oslo").await;
    assert_eq!(yard.depth("scan").await, delayed(1));
    engine.stop().await;
    let clock = Arc::new(VirtualClock::new(START + QUEUE_DELAY_MAX));
    let Yard { local, choreography, _folder: folder, .. } = yard;
    drop(local);
    let random = Arc::new(SeededRandom::new(1));
    let local = Local::open(folder.path(), choreography.model(), clock, random).unwrap();
    let depth = local.ports().queues["scan"].depth().await.unwrap();
    assert_eq!(depth, Depth { visible: 1, in_flight: 0, delayed: 0 });
}

/// Whatever the stream holds when the engine starts stands before what is committed from then on.
#[tokio::test]
async fn what_waits_in_the_stream_goes_first() {
    let yard = Yard::new();
    let places: Vec<String> = (0..60).map(|number| format!("place {number}")).collect();
    let (before, after) = places.split_at(30);
    yard.post("1", &before.join(",")).await;
    let engine = yard.start(&yard.pipeline());
    yard.post("1", &after.join(",")).await;
    eventually("all are in the queue", async || yard.depth("scan").await == delayed(60)).await;
    assert_eq!(yard.places("scan").await, places);
    engine.stop().await;
}

/// A topic's subscribers, and characters that a queue does not take as they are.
#[tokio::test]
async fn what_is_not_as_simple_goes_by_the_stream() {
    let (yard, engine) = Yard::running();
    yard.post("1", "oslo!").await;
    yard.post("2", "\u{ffff}").await;
    eventually("both are in the queue", async || yard.depth("scan").await == delayed(2)).await;
    let mut places = yard.places("scan").await;
    places.sort();
    assert_eq!(places, ["oslo!", "\u{ffff}"]);
    let all = yard.local.ports().queues["scan"].arrived(0, 10).await.unwrap();
    assert!(all.iter().any(|(_, message)| message.body.contains(r"\uffff")), "{all:?}");
    eventually("the news told it", async || yard.told.all() == ["oslo!"]).await;
    engine.stop().await;
}

/// A queue that somebody has put a port of their own in front of gets every event through that.
#[tokio::test]
async fn a_port_of_ones_own_is_passed_by_nothing() {
    let yard = Yard::new();
    let mut ports = yard.local.ports().clone();
    let queue = Arc::new(MeddledQueue::new(Arc::clone(&ports.queues["scan"]), |_| None));
    ports.queues.insert("scan".to_owned(), Arc::clone(&queue) as _);
    let engine = yard.start(&Pipeline::new(yard.choreography.clone(), ports));
    yard.post("1", "oslo,rome").await;
    eventually("both are in the queue", async || yard.depth("scan").await == delayed(2)).await;
    assert_eq!(queue.taken.len(), 2);
    engine.stop().await;
}

/// The scan of parcel 1 at a place, in an hour.
fn scanned_later(place: &str) -> Box<RawValue> {
    let mut event = serde_json::to_value(envelope(Scanned::new("1", place))).unwrap();
    event["notbefore"] = serde_json::to_value(START + secs(3_600)).unwrap();
    RawValue::from_string(event.to_string()).unwrap()
}

/// The commit of parcel 1 at a version, as the port has it.
fn write(version: u64, outbox: Vec<Box<RawValue>>) -> Write {
    let (key, document) = ("parcel/1".to_owned(), "{}".to_owned());
    Write {
        item: Item { key, version, document, expires_at: None, index: None },
        expected: version - 1,
        now: START,
        outbox,
        index_changed: true,
        expiry_changed: true,
    }
}

#[tokio::test]
async fn a_commit_that_loses_sends_nothing() {
    let (yard, engine) = Yard::running();
    let writes = vec![write(1, vec![scanned_later("oslo")]), write(1, vec![scanned_later("rome")])];
    let answers = yard.local.ports().tables[PARCELS].commit(writes).await;
    assert_eq!(answers, [Ok(()), Err(CommitError::Conflict)]);
    assert_eq!(yard.places("scan").await, ["oslo"]);
    engine.stop().await;
}

/// What went into the stream a moment ago, in the same call, goes first as well.
#[tokio::test]
async fn of_one_call_too_what_goes_into_the_stream_goes_first() {
    let (yard, engine) = Yard::running();
    let news = RawValue::from_string(text(&envelope(Loaded::new("1", "oslo")))).unwrap();
    let writes = vec![write(1, vec![scanned_later("oslo"), news]), write(2, vec![scanned_later("rome")])];
    let answers = yard.local.ports().tables[PARCELS].commit(writes).await;
    assert_eq!(answers, [Ok(()), Ok(())]);
    eventually("both are in the queue", async || yard.depth("scan").await == delayed(2)).await;
    assert_eq!(yard.places("scan").await, ["oslo", "rome"]);
    engine.stop().await;
}

#[tokio::test]
async fn an_engine_on_a_folder_is_idle_when_only_what_is_for_later_is_left() {
    let (yard, engine) = Yard::running();
    let request = Request { query: "oslo!,rome".to_owned(), ..Request::default() };
    let answer = yard.pipeline().respond(Method::Post, "/parcels/1", request).await.unwrap();
    assert_eq!(answer.status, 202);
    tokio::time::timeout(BOUND, engine.idle()).await.unwrap();
    assert_eq!(yard.told.all(), ["oslo!"], "by the stream and a topic");
    let depth = yard.local.ports().queues["scan"].depth().await.unwrap();
    assert_eq!(depth, Depth { delayed: 2, ..Depth::default() });
    engine.stop().await;
}
