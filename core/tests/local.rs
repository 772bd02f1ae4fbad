//! The way of an event on the local adapter: commit, change stream, relay, queue. On a store in a folder, with a clock that
//! stands still.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Context, Failure, Handled, Outcome, Pipeline, Route, Stored, Table, Uses,
    engine::Engine,
    http::{Method, Request, Response},
    limits::QUEUE_DELAY_MAX,
    local::{AlarmPolicy, Local},
    memory::VirtualClock,
    operator::publications,
    port::{Clock as _, CommitError, Depth, Item, SeededRandom, Write},
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

fn travelling(told: &Log<String>, counted: &Log<String>) -> Choreography {
    let (told, counted) = (told.clone(), counted.clone());
    let count = move |event: Delivered, _: Context<()>| {
        counted.push(event.parcel);
        std::future::ready(Outcome::<()>::Ok(Handled::Done))
    };
    let tell = move |event: Loaded, _: Context<()>| {
        told.push(event.place);
        std::future::ready(Outcome::<()>::Ok(Handled::Done))
    };
    let uses = Uses::new().gets::<Parcel>().commits::<Parcel>().emits_later::<Scanned>();
    Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .topic("news")
        .route(Route::post("/parcels/{id}", "travel", travel).uses(uses))
        .on(Consumer::new("scan", idle::<Scanned>))
        .on(Consumer::new("tell", tell).from_topic("news"))
        .schedule("hourly", secs(3_600), |at| Delivered::new(at.to_compact(), "round"))
        .on(Consumer::new("count", count))
        .topic("paper")
        .bus("town")
        .publish::<Loaded>("paper")
        .publish_to_bus::<Loaded>("town")
        .build()
        .unwrap()
}

/// A folder with the choreography's tables and queues.
struct Yard {
    /// The places of which the news told.
    told: Log<String>,
    /// The hours that were counted.
    counted: Log<String>,
    clock: Arc<VirtualClock>,
    choreography: Choreography,
    local: Local,
    _folder: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        Self::opened((Log::default(), Log::default()), tempfile::tempdir().unwrap())
    }

    fn opened((told, counted): (Log<String>, Log<String>), folder: tempfile::TempDir) -> Self {
        let choreography = travelling(&told, &counted);
        let (clock, random) = (Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)));
        let local =
            Local::open(folder.path(), choreography.model(), Arc::clone(&clock) as _, random).unwrap();
        Self { told, counted, clock, choreography, local, _folder: folder }
    }

    fn reopened(self) -> Self {
        let Self { told, counted, local, _folder: folder, .. } = self;
        drop(local);
        Self::opened((told, counted), folder)
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
async fn an_event_waits_in_the_stream_until_it_is_in_its_queue() {
    let yard = Yard::new();
    yard.post("1", "oslo").await;
    assert_eq!((yard.depth("scan").await, yard.in_the_stream().await), (delayed(0), 1), "nothing runs");
    let engine = yard.start(&yard.pipeline());
    eventually("the relay has sent it", async || yard.depth("scan").await == delayed(1)).await;
    eventually("it has checkpointed it", async || yard.in_the_stream().await == 0).await;
    assert_eq!(yard.places("scan").await, ["oslo"]);
    engine.stop().await;
}

#[tokio::test]
async fn an_event_for_later_is_held_back_as_long_as_a_queue_can() {
    let (yard, engine) = Yard::running();
    yard.post("1", "oslo").await;
    eventually("it is in the queue", async || yard.depth("scan").await == delayed(1)).await;
    engine.stop().await;
    let clock = Arc::new(VirtualClock::new(START + QUEUE_DELAY_MAX));
    let Yard { local, choreography, _folder: folder, .. } = yard;
    drop(local);
    let random = Arc::new(SeededRandom::new(1));
    let local = Local::open(folder.path(), choreography.model(), clock, random).unwrap();
    let depth = local.ports().queues["scan"].depth().await.unwrap();
    assert_eq!(depth, Depth { visible: 1, in_flight: 0, delayed: 0 });
}

/// Also those that were in the stream before the engine started.
#[tokio::test]
async fn events_reach_their_queue_in_the_order_of_their_commits() {
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

/// With characters that a queue does not take as they are.
#[tokio::test]
async fn an_event_reaches_its_queue_and_the_subscribers_of_its_topic() {
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

#[tokio::test]
async fn a_port_that_stands_before_a_queue_gets_every_event() {
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
    let (key, document) = ("parcel/1".to_owned(), "{}".into());
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
    // What is sent later stands behind it: had the loser sent anything, it would be there.
    let later = yard.local.ports().tables[PARCELS].commit(vec![write(2, vec![scanned_later("bonn")])]).await;
    assert_eq!(later, [Ok(())]);
    eventually("both are in the queue", async || yard.depth("scan").await == delayed(2)).await;
    assert_eq!(yard.places("scan").await, ["oslo", "bonn"]);
    engine.stop().await;
}

#[tokio::test]
async fn what_was_checkpointed_is_not_read_again_on_the_reopened_folder() {
    let yard = Yard::new();
    yard.post("1", "oslo").await;
    yard.post("1", "rome").await;
    let stream = Arc::clone(&yard.local.ports().streams[PARCELS]);
    let records = stream.read(1_000, Duration::ZERO).await.unwrap();
    assert_eq!(records.len(), 2);
    stream.checkpoint(records[0].sequence).await.unwrap();
    drop(stream);
    let yard = yard.reopened();
    let left = yard.local.ports().streams[PARCELS].read(1_000, Duration::ZERO).await.unwrap();
    assert_eq!(left.iter().map(|record| record.sequence).collect::<Vec<_>>(), [records[1].sequence]);
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

/// Nobody outside subscribes on one machine: what would go there is kept, for people to see.
#[tokio::test]
async fn what_left_by_a_topic_or_a_bus_outlives_the_engine() {
    let (yard, engine) = Yard::running();
    yard.post("1", "oslo!,rome,bonn!").await;
    tokio::time::timeout(BOUND, engine.idle()).await.unwrap();
    engine.stop().await;
    let yard = yard.reopened();
    for outlet in ["paper", "town"] {
        let kept = publications(&yard.pipeline(), outlet, None, 10).await.unwrap();
        let place = |event: &str| serde_json::from_str::<Value>(event).unwrap()["data"]["place"].take();
        let places: Vec<Value> = kept.iter().map(|kept| place(kept.event.get())).collect();
        assert_eq!(places, ["oslo!", "bonn!"], "{outlet}");
    }
}

#[tokio::test]
async fn a_folder_whose_clock_was_set_back_goes_on_from_its_own_time() {
    let yard = Yard::new();
    let pipeline = yard.local.pipeline(&yard.choreography);
    let engine = yard.local.start(&pipeline, AlarmPolicy::default());
    // While the clock is ahead by an hour.
    yard.local.ports().clock.not_before(START + secs(3_600));
    engine.stop().await;
    drop(pipeline);
    let yard = yard.reopened();
    let now = yard.local.ports().clock.now();
    assert_eq!(now, START + secs(3_600), "what was recorded in that hour is not from the future");
}

#[tokio::test]
async fn what_was_taken_while_the_clock_was_ahead_is_worked_in_its_time_once_it_is_right() {
    let yard = Yard::new();
    let pipeline = yard.pipeline();
    let engine = yard.start(&pipeline);
    // By two days.
    yard.local.ports().clock.not_before(START + secs(2 * 86_400));
    yard.post("1", "oslo,rome!").await;
    let in_queue = async || yard.depth("scan").await == delayed(2);
    eventually("they are in the queue", in_queue).await;
    engine.stop().await;
    drop(pipeline);
    let yard = yard.reopened();
    let engine = yard.start(&yard.pipeline());
    let began = yard.clock.uptime();
    eventually("each is worked, and the schedule goes on", async || {
        yard.clock.advance(secs(10));
        yard.depth("scan").await == Depth::default() && yard.counted.len() > 0
    })
    .await;
    let took = yard.clock.uptime() - began;
    assert!(took < secs(3 * 3_600), "an hour's wait took {took:?}");
    engine.stop().await;
}

/// A record that is damaged, or that somebody prepared, must not take the process to another year.
#[tokio::test]
async fn a_folder_whose_clock_was_far_ahead_is_not_followed() {
    let yard = Yard::new();
    let pipeline = yard.local.pipeline(&yard.choreography);
    let engine = yard.local.start(&pipeline, AlarmPolicy::default());
    yard.local.ports().clock.not_before(START + secs(8 * 86_400));
    engine.stop().await;
    drop(pipeline);
    let yard = yard.reopened();
    assert_eq!(yard.local.ports().clock.now(), START);
}
