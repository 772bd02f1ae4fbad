//! A message that is moved is in one place, whatever ends the process in between: a dead letter, one that is sent back, one
//! that waits for its time. On a store in a folder, of which a new process goes on.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Pipeline, Verdict,
    local::Local,
    memory::VirtualClock,
    operator::{self, Act, Filter},
    port::{Message, SeededRandom},
};
use std::{path::Path, sync::Arc, sync::atomic::Ordering, time::Duration};
use support::*;

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
    operator::walk(&life.pipeline, DEAD, &Filter::default(), Act::Redrive, 100).await.ok();
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
        operator::walk(&life.pipeline, DEAD, &Filter::default(), Act::Redrive, limit).await
    };
    redrive(&life, 2).await.unwrap_err();
    drop(life);
    let life = Life::of(folder.path());
    assert_eq!(life.counts().await, (2, 1), "two were sent back, and are dead letters no more");
    redrive(&life, 100).await.unwrap_err();
    let mut bodies: Vec<String> =
        life.lying_in("scan").await.into_iter().map(|message| message.body).collect();
    bodies.sort();
    assert_eq!(bodies, ["1", "2", "3"].map(scanned));
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
