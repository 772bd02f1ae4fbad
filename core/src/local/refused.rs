//! What becomes of work on a folder whose writes are refused for a while, as on a full disk. On a clock that stands still.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use super::*;
use crate::{
    alarm::Alert,
    choreography::{Choreography, Consumer},
    commit::{Handled, Outcome},
    context::Context,
    event::Event,
    memory::VirtualClock,
    port::{Depth, Message, NewMessage, Queue, Received, SeededRandom},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Mutex};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
#[derive(Serialize, Deserialize)]
struct Done {
    id: String,
}

impl Event for Done {
    const TYPE: &'static str = "things.done";
    type Entity = ();

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

async fn done(_: Done, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

/// Whoever is told of a dead letter adds how many there are.
fn things(told: &Told) -> Choreography {
    let told = Arc::clone(told);
    let tell = move |alert: Alert, _: Context<()>| {
        told.lock().unwrap().push(alert.depth);
        std::future::ready(Outcome::<()>::Ok(Handled::Done))
    };
    Choreography::define("things")
        .schedule("daily", Duration::from_secs(86_400), |at| Done { id: at.to_string() })
        .on(Consumer::new("work", done))
        .topic("alerts")
        .alarm_to("alerts")
        .on(Consumer::new("tell", tell).from_topic("alerts"))
        .build()
        .unwrap()
}

type Told = Arc<Mutex<Vec<u64>>>;

/// An open folder.
struct World {
    told: Told,
    choreography: Choreography,
    clock: Arc<VirtualClock>,
    local: Local,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let told = Told::default();
        let (choreography, folder) = (things(&told), tempfile::tempdir().unwrap());
        let clock = Arc::new(VirtualClock::new(START));
        let random = Arc::new(SeededRandom::new(1));
        let local =
            Local::open(folder.path(), choreography.model(), Arc::clone(&clock) as _, random).unwrap();
        Self { told, choreography, clock, local, _folder: folder }
    }

    fn queue(&self, name: &str) -> &Arc<LocalQueue> {
        &self.local.queues[name]
    }

    /// Every statement that writes fails from now on, or is taken again.
    async fn refuse(&self, refuse: bool) {
        let pragma = if refuse { "PRAGMA query_only=ON" } else { "PRAGMA query_only=OFF" };
        self.local.store.read(move |connection| connection.execute_batch(pragma)).await.unwrap();
    }

    async fn sent(&self, bodies: &[&str]) {
        let message = |body: &&str| NewMessage { body: (*body).to_owned(), ..NewMessage::default() };
        let sent = self.queue("work").send(bodies.iter().map(message).collect()).await;
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    }

    async fn taken(&self, queue: &str) -> Vec<Message> {
        self.queue(queue).receive(100, Duration::ZERO, None).await.unwrap()
    }

    async fn depth(&self, queue: &str) -> Depth {
        self.queue(queue).depth().await.unwrap()
    }

    /// Looks until it is so, and lets no more than that much time pass meanwhile, a little at a time: the store's thread knows
    /// nothing of that clock, and is waited for at each step.
    async fn until(&self, what: &str, within: Duration, mut look: impl AsyncFnMut() -> bool) {
        let end = self.clock.now() + within;
        while !look().await {
            for _ in 0..4 {
                self.depth("work").await;
                tokio::task::yield_now().await;
            }
            assert!(self.clock.now() < end, "not within {within:?}: {what}");
            self.clock.advance(Duration::from_millis(50));
        }
    }
}

fn visible(count: u64) -> Depth {
    Depth { visible: count, ..Depth::default() }
}

#[tokio::test]
async fn what_was_received_in_vain_can_be_received_at_once() {
    let world = World::new();
    world.sent(&["1", "2", "3"]).await;
    world.refuse(true).await;
    for _ in 0..3 {
        world.queue("work").receive(2, Duration::ZERO, None).await.unwrap_err();
    }
    assert_eq!(world.depth("work").await, visible(3), "none is in flight");
    world.refuse(false).await;
    let taken = world.taken("work").await;
    let told: Vec<_> = taken.iter().map(|message| (message.body.as_str(), message.receive_count)).collect();
    assert_eq!(told, [("1", 1), ("2", 1), ("3", 1)]);
    let receipts: Vec<_> = taken.into_iter().map(|message| message.receipt).collect();
    world.queue("work").delete(&receipts).await.unwrap();
    assert_eq!(world.depth("work").await, visible(0));
}

#[tokio::test]
async fn what_was_settled_in_vain_can_be_settled_again() {
    let world = World::new();
    let (work, hour) = (world.queue("work"), Duration::from_secs(3_600));
    world.sent(&["deleted", "hidden", "moved"]).await;
    let taken = world.taken("work").await;
    let [deleted, hidden, moved] = [0, 1, 2].map(|at| taken[at].receipt.clone());
    let letter = NewMessage {
        body: "moved".to_owned(),
        in_place_of: Some(Received { queue: "work".to_owned(), receipt: moved }),
        ..NewMessage::default()
    };
    let dead = world.queue("work-dlq");
    for is_refused in [true, false] {
        world.refuse(is_refused).await;
        let answers = [
            work.delete(std::slice::from_ref(&deleted)).await,
            work.extend(&[(hidden.clone(), hour)]).await,
            dead.send(vec![letter.clone()]).await.remove(0),
        ];
        assert!(answers.iter().all(|answer| answer.is_err() == is_refused), "{answers:?}");
        let in_flight = if is_refused { 3 } else { 1 };
        assert_eq!(world.depth("work").await, Depth { in_flight, ..Depth::default() });
        assert_eq!(world.depth("work-dlq").await, visible(u64::from(!is_refused)));
    }
    // It is not visible before its time, and then with the receive that it has had.
    world.clock.advance(hour - Duration::from_millis(1));
    assert_eq!(world.taken("work").await, []);
    world.clock.advance(Duration::from_millis(1));
    let taken = world.taken("work").await;
    assert_eq!((taken.len(), taken[0].body.as_str(), taken[0].receive_count), (1, "hidden", 2));
}

#[tokio::test]
async fn what_is_done_before_a_rollback_stays_done() {
    let world = World::new();
    world.sent(&["1", "2", "3"]).await;
    let first = world.queue("work").receive(1, Duration::ZERO, None).await.unwrap().remove(0);
    world.refuse(true).await;
    world.queue("work").receive(1, Duration::ZERO, None).await.unwrap_err();
    world.refuse(false).await;
    world.sent(&["4"]).await;
    assert_eq!(world.depth("work").await, Depth { visible: 3, in_flight: 1, delayed: 0 });
    let others: Vec<String> = world.taken("work").await.into_iter().map(|message| message.body).collect();
    assert_eq!(others, ["2", "3", "4"], "none that is in hand");
    world.queue("work").delete(&[first.receipt]).await.unwrap();
    assert_eq!(world.depth("work").await, Depth { in_flight: 3, ..Depth::default() });
}

#[tokio::test]
async fn what_is_due_while_writes_are_refused_is_done_soon_after() {
    let world = World::new();
    let dead = |body: &str| vec![NewMessage { body: body.to_owned(), ..NewMessage::default() }];
    assert_eq!(world.queue("work-dlq").send(dead("old")).await, [Ok(())]);
    world.clock.advance(Duration::from_secs(15 * 86_400));
    assert_eq!(world.queue("tell-dlq").send(dead("new")).await, [Ok(())]);
    world.refuse(true).await;
    let engine = world.local.start(&world.local.pipeline(&world.choreography), AlarmPolicy::default());
    // Some of a sweep's minute, and many of an alarm's looks.
    let until = world.clock.now() + Duration::from_secs(10);
    world.until("it was tried", Duration::from_secs(11), async || world.clock.now() >= until).await;
    assert_eq!((world.depth("work-dlq").await.total(), world.told.lock().unwrap().len()), (1, 0));
    world.refuse(false).await;
    let soon = Duration::from_secs(5);
    world.until("what is too old is gone", soon, async || world.depth("work-dlq").await.total() == 0).await;
    let told = async || world.told.lock().unwrap().contains(&1);
    world.until("the dead letter is told of", soon, told).await;
    engine.stop().await;
}
