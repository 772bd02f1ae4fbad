//! What the tests share: a parcel and the events it is told, a world in memory whose clock stands still until a test
//! moves it, and ports that meddle with what goes through them. Nothing here sleeps.
#![allow(dead_code)] // Each test binary uses a part of it.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

pub mod bags;
mod meddled;

pub use meddled::{CommitFault, MeddledQueue, MeddledTable, WatchedStream};

use quadrille::{
    Backoff, Choreography, Context, Definition, Emits, Entity, Envelope, Event, Failure, Handled, Outcome,
    Pipeline, Route, SPEC_VERSION, Stored, Timestamp, TrailDetails, Uses, Verdict,
    http::{Method, Request, Response},
    memory::{Memory, VirtualClock},
    operator::{Filter, Walk},
    port::{Clock, Message, NewMessage, Ports, SeededRandom, stable_hash},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// When every test begins: on no round second, minute or hour.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_123);

/// The table of every world.
pub const PARCELS: &str = "parcels";

/// Waits of 4 s and 8 s before jitter, which takes up to half of them.
pub const BACKOFF: Backoff =
    Backoff { initial: secs(4), max: Duration::from_secs(60), multiplier: 2.0, jitter: 0.5 };

/// How long anything may take in real time before a test gives up on it.
pub const BOUND: Duration = Duration::from_secs(60);

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What goes through the choreographies of the tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    pub id: String,
    /// Where it has been.
    pub stops: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Parcel {
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), stops: Vec::new(), expires_at: None }
    }
}

impl Entity for Parcel {
    const KIND: &'static str = "parcel";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

macro_rules! events {
    ($($event:ident $name:literal),+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $event {
            pub parcel: String,
            pub place: String,
        }

        impl $event {
            pub fn new(parcel: impl Into<String>, place: impl Into<String>) -> Self {
                Self { parcel: parcel.into(), place: place.into() }
            }
        }

        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = Parcel;

            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.parcel)
            }
        }
    )+};
}

events!(Scanned "parcel.scanned", Loaded "parcel.loaded", Delivered "parcel.delivered");

/// A place that the carrier does not answer from: a transient failure.
pub const BUSY: &str = "busy";
/// A place that a parcel does not come back from: a permanent failure.
pub const BURNT: &str = "burnt";

/// Adds the place to the parcel's stops, once.
pub fn stop<Em>(mut parcel: Stored<Parcel>, place: &str) -> Outcome<Em> {
    match place {
        BUSY => Err(Failure::transient("carrier_busy", "the carrier does not answer")),
        BURNT => Err(Failure::permanent("burnt", "nothing is left of it")),
        _ if parcel.stops.iter().any(|stop| stop == place) => Ok(Handled::already("been there")),
        _ => {
            parcel.stops.push(place.to_owned());
            Ok(parcel.commit(format!("stopped at {place}")).into())
        }
    }
}

/// The handler most tests are content with.
pub async fn scan(parcel: Stored<Parcel>, event: Scanned, _: Context<()>) -> Outcome<()> {
    stop(parcel, &event.place)
}

/// A handler that loads nothing and does nothing.
pub async fn idle<Ev: Event>(_: Ev, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

/// A definition with a table of parcels and `POST /parcels/{id}`, which makes one (the query: seconds until it expires)
/// and claims to emit all of `Em`, so that whatever a test consumes has a producer.
pub fn parcels<Em: Emits>() -> Definition {
    parcels_in::<Em>(quadrille::Table::new(PARCELS))
}

/// The same with a table that has more to it than the name.
pub fn parcels_in<Em: Emits>(table: quadrille::Table) -> Definition {
    Choreography::define("parcels")
        .table(table.holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post::<Em>).uses(Uses::new().commits::<Parcel>()))
}

async fn post<Em: Emits>(request: Request, cx: Context<Em>) -> Result<Response, Failure> {
    let mut parcel = Parcel::new(&request.parameters["id"]);
    parcel.expires_at = request.query.parse().ok().map(|seconds| cx.now() + secs(seconds));
    cx.commit_all(vec![Stored::new(parcel).commit("posted")]).await?;
    Ok(Response::json(201, &()))
}

/// A choreography over the in-memory adapter, and the clock it runs by.
pub struct World {
    pub clock: Arc<VirtualClock>,
    pub choreography: Choreography,
    pub ports: Ports,
    pub memory: Memory,
}

impl World {
    pub fn new(definition: Definition) -> Self {
        let choreography = definition.build().unwrap();
        let clock = Arc::new(VirtualClock::new(START));
        let (shared, random) = (Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(7)));
        let memory = Memory::new(choreography.model(), shared, random);
        Self { clock, choreography, ports: memory.ports(), memory }
    }

    /// Puts a table in the way that asks `fault` about every write.
    pub fn meddle_with_table(
        &mut self,
        fault: impl FnMut(&quadrille::port::Write) -> CommitFault + Send + 'static,
    ) -> Arc<MeddledTable> {
        let table = Arc::new(MeddledTable::new(Arc::clone(&self.ports.tables[PARCELS]), fault));
        self.ports.tables.insert(PARCELS.to_owned(), Arc::clone(&table) as _);
        table
    }

    /// Puts a queue in the way that asks `refuse` about every message sent.
    pub fn meddle_with_queue(
        &mut self,
        name: &str,
        refuse: impl FnMut(&NewMessage) -> Option<quadrille::port::PortError> + Send + 'static,
    ) -> Arc<MeddledQueue> {
        let queue = Arc::new(MeddledQueue::new(Arc::clone(&self.ports.queues[name]), refuse));
        self.ports.queues.insert(name.to_owned(), Arc::clone(&queue) as _);
        queue
    }

    /// Puts a stream in the way that remembers its checkpoints.
    pub fn watch_stream(&mut self) -> Arc<WatchedStream> {
        let stream = Arc::new(WatchedStream::new(Arc::clone(&self.ports.streams[PARCELS])));
        self.ports.streams.insert(PARCELS.to_owned(), Arc::clone(&stream) as _);
        stream
    }

    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.choreography.clone(), self.ports.clone())
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes parcels.
    pub async fn post(&self, ids: &[&str]) {
        for id in ids {
            self.request(id, "").await;
        }
    }

    /// Makes a parcel that expires after so many seconds.
    pub async fn post_for(&self, id: &str, seconds: u64) {
        self.request(id, &seconds.to_string()).await;
    }

    async fn request(&self, id: &str, query: &str) {
        let request = Request { query: query.to_owned(), ..Request::default() };
        let path = format!("/parcels/{id}");
        let response = self.pipeline().respond(Method::Post, &path, request).await.unwrap();
        assert_eq!(response.status, 201, "{id}");
    }

    /// A parcel as it is stored, expired or not.
    pub async fn parcel(&self, id: &str) -> Option<Stored<Parcel>> {
        let keys = [format!("parcel/{id}")];
        let items = self.ports.tables[PARCELS].get(&keys).await.unwrap();
        items.into_iter().flatten().next().map(|item| Stored::read(&item).unwrap())
    }

    pub async fn stops(&self, id: &str) -> Vec<String> {
        self.parcel(id).await.unwrap().into_state().stops
    }

    /// The `what` of each entry of a parcel's trail.
    pub async fn trail(&self, id: &str) -> Vec<String> {
        let parcel = self.parcel(id).await.unwrap();
        parcel.trail().entries.iter().map(|entry| entry.what.to_string()).collect()
    }

    /// The details of each entry of a parcel's trail, which has some.
    pub async fn details(&self, id: &str) -> Vec<TrailDetails> {
        let parcel = self.parcel(id).await.unwrap();
        parcel.trail().entries.iter().map(|entry| entry.details.clone().unwrap()).collect()
    }

    pub async fn send(&self, queue: &str, body: impl Into<String>) {
        let message = NewMessage { body: body.into(), ..NewMessage::default() };
        let sent = self.ports.queues[queue].send(vec![message]).await;
        assert_eq!(sent, [Ok(())]);
    }

    /// Sends an event as nobody in particular.
    pub async fn tell(&self, queue: &str, event: impl Event) {
        self.send(queue, text(&envelope(event))).await;
    }

    /// All that can be received now, up to 100 messages.
    pub async fn receive(&self, queue: &str) -> Vec<Message> {
        self.ports.queues[queue].receive(100, Duration::ZERO, None).await.unwrap()
    }

    /// Delivers all that can be received now from a queue that has the name of its step.
    pub async fn deliver(&self, step: &str) -> Vec<Verdict> {
        let messages = self.receive(step).await;
        self.pipeline().deliver(step, &messages).await.unwrap()
    }

    /// Messages in a queue, visible or not.
    pub async fn total(&self, queue: &str) -> u64 {
        self.ports.queues[queue].depth().await.unwrap().total()
    }

    /// What lies in a queue, without receiving it.
    pub async fn lying_in(&self, queue: &str) -> Vec<Message> {
        let arrived = self.ports.queues[queue].arrived(0, 1_000).await.unwrap();
        arrived.into_iter().map(|(_, message)| message).collect()
    }

    /// Every event that was emitted and not yet checkpointed.
    pub async fn emitted(&self) -> Vec<Value> {
        let records = self.ports.streams[PARCELS].read(1_000, Duration::ZERO).await.unwrap();
        let events = records.iter().flat_map(|record| record.outbox.as_ref().unwrap());
        events.map(|event| serde_json::from_str(event.get()).unwrap()).collect()
    }

    /// Lets time pass, from one sleeper's wake to the next, until `look` sees something. Panics where it does not
    /// `within` that much virtual time.
    pub async fn until<T>(&self, what: &str, within: Duration, look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut look = look;
        let end = self.now() + within;
        loop {
            all_wait().await;
            if let Some(seen) = look().await {
                return seen;
            }
            let next = self.clock.next_wake().filter(|next| *next <= end);
            assert!(next.is_some(), "not within {within:?}: {what}");
            self.clock.advance_to(next.unwrap());
        }
    }

    /// Lets exactly that much time pass, everybody waking at the time for which they asked.
    pub async fn pass(&self, time: Duration) {
        self.clock.pass(time).await;
    }
}

pub use quadrille::memory::all_wait;

/// An event as nobody in particular sends it, without any of the optional attributes. What says the same is the same event.
pub fn envelope<E: Event>(event: E) -> Envelope<E> {
    let said = serde_json::to_vec(&event).unwrap();
    Envelope {
        specversion: SPEC_VERSION.into(),
        id: format!("test/{:016x}", stable_hash(&said)),
        source: "/test".into(),
        event_type: E::TYPE.into(),
        subject: event.subject().into_owned(),
        time: Some(START),
        traceparent: None,
        correlationid: None,
        notbefore: None,
        deadline: None,
        hops: None,
        entitycreated: None,
        data: event,
    }
}

pub fn text<Data: Serialize>(envelope: &Envelope<Data>) -> String {
    serde_json::to_string(envelope).unwrap()
}

/// Remembers what handlers tell it, in order.
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub fn push(&self, value: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What a walk over a dead-letter queue is asked for, from the beginning.
pub fn asked(queue: &str, filter: &Filter, limit: usize) -> Walk {
    Walk { queue: queue.to_owned(), filter: filter.clone(), limit, after: 0 }
}

/// The reason of a dead letter's verdict.
pub fn reason(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::DeadLetter(failure) => Some(failure.reason()),
        _ => None,
    }
}

/// Looks until it is so.
pub async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(BOUND, looking).await.is_ok(), "not within {BOUND:?}: {what}");
}
