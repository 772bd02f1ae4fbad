//! A message that is moved is in one place, whatever ends the process in between: a dead letter, one that is sent back, one
//! that waits for its time. On a store in a folder, of which a new process goes on.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Pipeline, Verdict,
    local::Local,
    memory::VirtualClock,
    operator::{self, Act, Filter, PlanAsk, Planned, Plans, RedriveAsk, Wanted},
    port::{Depth, Message, NewMessage, PortError, Queue, Receipt, SeededRandom},
};
use std::{
    collections::BTreeMap,
    future::pending,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use support::*;
use tokio::sync::Notify;

const DEAD: &str = "scan-dlq";

fn choreography() -> Choreography {
    parcels::<(Scanned,)>().on(Consumer::new("scan", scan)).build().unwrap()
}

/// One life of a process, which dies before anything is deleted that it was not sent in the place of.
struct Life {
    pipeline: Pipeline,
    _local: Local,
}

impl Life {
    fn of(folder: &Path) -> Self {
        let (choreography, clock) = (choreography(), Arc::new(VirtualClock::new(START)));
        let random = Arc::new(SeededRandom::new(1));
        let mut local = Local::open(folder, choreography.model(), Arc::clone(&clock) as _, random).unwrap();
        for name in ["scan", DEAD] {
            let queue = MeddledQueue::new(Arc::clone(&local.ports().queues[name]), |_| None);
            queue.refuses_deletes.store(true, Ordering::Relaxed);
            local.ports_mut().queues.insert(name.to_owned(), Arc::new(queue));
        }
        // What was in hand at a death is handed out a while later.
        clock.advance(secs(10));
        Self { pipeline: local.pipeline(&choreography), _local: local }
    }

    async fn send(&self, body: String) {
        let message = quadrille::port::NewMessage { body, ..Default::default() };
        assert_eq!(self.pipeline.ports().queues["scan"].send(vec![message]).await, [Ok(())]);
    }

    async fn deliver(&self) -> Vec<Verdict> {
        let messages = self.pipeline.ports().queues["scan"].receive(10, Duration::ZERO, None).await.unwrap();
        self.pipeline.deliver("scan", &messages).await.unwrap()
    }

    async fn lying_in(&self, queue: &str) -> Vec<Message> {
        let arrived = self.pipeline.ports().queues[queue].arrived(0, 100).await.unwrap();
        arrived.into_iter().map(|(_, message)| message).collect()
    }

    async fn counts(&self) -> (usize, usize) {
        (self.lying_in("scan").await.len(), self.lying_in(DEAD).await.len())
    }
}

/// The scan of a parcel that there is not: a permanent failure.
fn scanned(id: &str) -> String {
    text(&envelope(Scanned::new(id, "oslo")))
}

#[tokio::test]
async fn a_death_after_a_message_was_dead_lettered_leaves_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::of(folder.path());
    life.send(scanned("1")).await;
    life.send("no event".to_owned()).await;
    let verdicts = life.deliver().await;
    assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), [Some("entity_gone"), Some("malformed")]);
    drop(life);
    let life = Life::of(folder.path());
    assert_eq!(life.counts().await, (0, 2));
    assert_eq!(life.deliver().await, []);
}

#[tokio::test]
async fn a_message_that_comes_twice_and_is_given_up_twice_is_one_dead_letter_until_that_is_sent_back() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // The relay sent it, and died before it knew.
        let life = Life::of(folder.path());
        life.send(scanned("1")).await;
        life.send(scanned("2")).await;
        life.deliver().await;
        assert_eq!(life.counts().await, (0, 2));
    }
    let life = Life::of(folder.path());
    let letters = life.lying_in(DEAD).await;
    assert!(letters.iter().all(|letter| !letter.attributes.contains_key(".key")), "{letters:?}");
    operator::walk(&life.pipeline, &asked(DEAD, &Filter::default(), 100), Act::Redrive).await.ok();
    assert_eq!(life.counts().await, (2, 0));
    assert_eq!(life.deliver().await.len(), 2);
    assert_eq!(life.counts().await, (0, 2), "it failed again");
}

#[tokio::test]
async fn a_death_in_a_redrive_leaves_each_letter_once() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::of(folder.path());
    for id in ["1", "2", "3"] {
        life.send(scanned(id)).await;
    }
    life.deliver().await;
    assert_eq!(life.counts().await, (0, 3));
    let redrive = async |life: &Life, limit| {
        operator::walk(&life.pipeline, &asked(DEAD, &Filter::default(), limit), Act::Redrive).await
    };
    redrive(&life, 2).await.unwrap_err();
    drop(life);
    let life = Life::of(folder.path());
    assert_eq!(life.counts().await, (2, 1), "two were sent back, and are dead letters no more");
    redrive(&life, 100).await.unwrap_err();
    assert_eq!(bodies(life.lying_in("scan").await), ["1", "2", "3"].map(scanned));
}

#[tokio::test]
async fn a_death_after_a_message_was_sent_on_for_later_leaves_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::of(folder.path());
    let mut early = envelope(Scanned::new("1", "oslo"));
    early.notbefore = Some(START + secs(3_600));
    life.send(text(&early)).await;
    assert!(matches!(life.deliver().await[..], [Verdict::Later(_)]));
    drop(life);
    let life = Life::of(folder.path());
    assert_eq!((life.counts().await, life.deliver().await), ((1, 0), vec![]));
}

/// How many moments a process has before it dies. Each call of a port has two: before it and behind it.
struct Lifetime {
    left: AtomicU64,
    died: Notify,
}

impl Lifetime {
    async fn moment(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.died.notify_one();
            pending::<()>().await;
        }
    }
}

/// A queue of a process that dies. A plain one is as those of SQS are: it shows nothing without a receive, and moves nothing in one
/// write.
struct Mortal {
    queue: Arc<dyn Queue>,
    life: Arc<Lifetime>,
    is_plain: bool,
}

impl Mortal {
    async fn live<T>(&self, call: impl Future<Output = T>) -> T {
        self.life.moment().await;
        let answer = call.await;
        self.life.moment().await;
        answer
    }
}

#[async_trait::async_trait]
impl Queue for Mortal {
    async fn send(&self, mut messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        if self.is_plain {
            messages.iter_mut().for_each(|message| message.in_place_of = None);
        }
        self.live(self.queue.send(messages)).await
    }

    async fn receive(
        &self,
        max: usize,
        _: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.live(self.queue.receive(max, Duration::ZERO, visibility)).await
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.live(self.queue.receive_these(ids, visibility)).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.live(self.queue.extend(receipts)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.live(self.queue.delete(receipts)).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.live(self.queue.depth()).await
    }

    fn shows_arrivals(&self) -> bool {
        !self.is_plain
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.live(self.queue.arrived(after, max)).await
    }
}

/// A process that lives for so many moments.
fn mortal(world: &World, moments: u64, is_plain: bool) -> (Pipeline, Arc<Lifetime>) {
    let (mut ports, left) = (world.ports.clone(), AtomicU64::new(moments));
    let life = Arc::new(Lifetime { left, died: Notify::new() });
    for queue in ports.queues.values_mut() {
        *queue = Arc::new(Mortal { queue: Arc::clone(queue), life: Arc::clone(&life), is_plain });
    }
    (Pipeline::new(world.choreography.clone(), ports), life)
}

/// Sends back all that there is, two at a time: by a plan, or by a filter.
async fn send_all_back(pipeline: &Pipeline, letters: Option<&BTreeMap<String, Wanted>>) {
    let mut asked = asked(DEAD, &Filter::default(), 2);
    loop {
        let Some(letters) = letters else {
            let moved = operator::walk(pipeline, &asked, Act::Redrive).await.unwrap();
            asked.after = moved.next.unwrap_or_default();
            if moved.done {
                return;
            }
            continue;
        };
        let (queue, by) = (DEAD.to_owned(), "ann".to_owned());
        let letters = letters.clone();
        let ask = RedriveAsk { queue, letters, limit: 2, to: None, by, why: String::new() };
        if operator::redrive_planned(pipeline, &ask).await.unwrap().results.is_empty() {
            return;
        }
    }
}

/// Each letter is in one place, at whatever moment the process dies: between any two calls of ports. On SQS, where what is sent is
/// deleted by another call, it is in one place or in two.
#[tokio::test]
async fn a_death_at_each_moment_of_a_redrive_loses_no_letter_and_doubles_none() {
    const IDS: [&str; 3] = ["1", "2", "3"];
    for (is_plain, is_planned) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut moments = 0;
        loop {
            let world = World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan)));
            for id in IDS {
                world.send("scan", scanned(id)).await;
            }
            world.deliver("scan").await;
            let page = PlanAsk { queue: DEAD.to_owned(), limit: 10, ..PlanAsk::default() };
            let page = operator::plan(&world.pipeline(), &Plans::default(), &page).await.unwrap();
            let wanted = |letter: Planned| (letter.id, Wanted { content: letter.content, body: letter.body });
            let letters: BTreeMap<String, Wanted> = page.letters.into_iter().map(wanted).collect();
            assert_eq!(letters.len(), IDS.len());
            let letters = is_planned.then_some(&letters);

            let (pipeline, life) = mortal(&world, moments, is_plain);
            let is_dead = tokio::select! {
                biased;
                () = life.died.notified() => true,
                () = send_all_back(&pipeline, letters) => false,
            };

            let at = format!("plain: {is_plain}, by a plan: {is_planned}, died at moment {moments}");
            let (scans, left) = (world.lying_in("scan").await, world.lying_in(DEAD).await);
            let anywhere = bodies(scans.into_iter().chain(left));
            assert!(is_plain || anywhere == IDS.map(scanned), "{at}: {anywhere:?}");
            // What it had in hand shows itself again.
            world.clock.advance(secs(600));
            send_all_back(&mortal(&world, u64::MAX, is_plain).0, letters).await;
            let mut sent = bodies(world.lying_in("scan").await);
            assert!(is_plain || sent == IDS.map(scanned), "{at}: {sent:?}");
            // At most those of one call are there twice.
            assert!(sent.len() <= IDS.len() + 2, "{at}: {sent:?}");
            sent.dedup();
            assert_eq!((sent, world.total(DEAD).await), (IDS.map(scanned).to_vec(), 0), "{at}");
            if !is_dead {
                break;
            }
            moments += 1;
        }
        assert!(moments >= 8, "two calls, each with a receive, a send and a delete: {moments} moments");
    }
}

/// The bodies of these messages, sorted.
fn bodies(messages: impl IntoIterator<Item = Message>) -> Vec<String> {
    let mut bodies: Vec<String> = messages.into_iter().map(|message| message.body).collect();
    bodies.sort();
    bodies
}
