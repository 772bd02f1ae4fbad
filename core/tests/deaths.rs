//! A process that dies with messages in hand, on the local adapter: the message that kills it ends in the dead-letter
//! queue, and those that were only there do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

use quadrille::{
    Timestamp, conformance,
    local::Local,
    memory::VirtualClock,
    port::{Message, NewMessage, Queue, SeededRandom},
};
use std::{path::Path, sync::Arc, time::Duration};

const MESSAGES: usize = 6;
const POISON: &str = "poison";
/// Within this a message that may have killed the process is handed out again.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// One life of a process: a redriven queue of the conformance model and its dead-letter queue.
struct Life {
    queue: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
    clock: Arc<VirtualClock>,
}

fn clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::new(Timestamp::from_millis(1_800_000_000_000)))
}

async fn lived<T, F: Future<Output = T>>(folder: &Path, life: impl FnOnce(Life) -> F) -> T {
    lived_on(&clock(), folder, life).await
}

async fn lived_on<T, F: Future<Output = T>>(
    clock: &Arc<VirtualClock>,
    folder: &Path,
    life: impl FnOnce(Life) -> F,
) -> T {
    let clock = Arc::clone(clock);
    let model = conformance::model();
    // Dropped with its leases: nothing is written at the end of a life.
    let local =
        Local::open(folder, &model, Arc::<VirtualClock>::clone(&clock), Arc::new(SeededRandom::new(1)))
            .unwrap();
    let redriven = model.queues.iter().find(|queue| queue.redrive.is_some()).unwrap();
    let dead = &redriven.redrive.as_ref().unwrap().dead_letter_queue;
    let (queue, dead) = (local.ports().queue(&redriven.name).unwrap(), local.ports().queue(dead).unwrap());
    life(Life { queue: Arc::clone(queue), dead: Arc::clone(dead), clock }).await
}

async fn sent(folder: &Path) {
    lived(folder, |Life { queue, .. }| async move {
        let bodies = (0..MESSAGES).map(|at| if at == 3 { POISON.to_owned() } else { format!("good {at}") });
        let messages = bodies.map(|body| NewMessage { body, ..NewMessage::default() }).collect();
        assert!(queue.send(messages).await.iter().all(Result::is_ok));
    })
    .await;
}

async fn taken(queue: &Arc<dyn Queue>, max: usize) -> Vec<Message> {
    queue.receive(max, Duration::ZERO, None).await.unwrap()
}

async fn bodies_of(queue: &Arc<dyn Queue>) -> Vec<String> {
    taken(queue, 10).await.into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn a_message_that_kills_its_process_is_dead_lettered_and_its_batch_is_not() {
    let folder = tempfile::tempdir().unwrap();
    sent(folder.path()).await;
    let mut handled = Vec::new();
    let mut deaths = 0;
    loop {
        let (died, done, dead) = lived(folder.path(), |Life { queue, dead, clock }| async move {
            let mut done = Vec::new();
            loop {
                let batch = taken(&queue, 10).await;
                if batch.is_empty() && queue.depth().await.unwrap().total() == 0 {
                    return (false, done, bodies_of(&dead).await);
                }
                if batch.is_empty() {
                    clock.advance(LONGEST_WAIT);
                }
                if batch.iter().any(|message| message.body == POISON) {
                    return (true, done, Vec::new());
                }
                let receipts: Vec<_> = batch.iter().map(|message| message.receipt.clone()).collect();
                queue.delete(&receipts).await.unwrap();
                done.extend(batch.into_iter().map(|message| message.body));
            }
        })
        .await;
        handled.extend(done);
        if !died {
            assert_eq!(dead, [POISON]);
            break;
        }
        deaths += 1;
        assert!(deaths <= 10, "the message is never given up");
    }
    handled.sort();
    assert_eq!(handled, ["good 0", "good 1", "good 2", "good 4", "good 5"]);
}

/// Dies with every message in hand.
async fn died_with_all_in_hand(folder: &Path) {
    let in_hand = lived(folder, |Life { queue, .. }| async move { taken(&queue, 10).await.len() }).await;
    assert_eq!(in_hand, MESSAGES);
}

#[tokio::test]
async fn what_was_in_hand_at_a_death_is_handed_out_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    sent(folder.path()).await;
    died_with_all_in_hand(folder.path()).await;
    lived(folder.path(), |Life { queue, dead, clock }| async move {
        clock.advance(LONGEST_WAIT);
        let mut alone = taken(&queue, 10).await;
        for left in (0..MESSAGES).rev() {
            let [message] = &alone[..] else { panic!("{alone:?}") };
            let receipt = message.receipt.clone();
            assert_eq!(bodies_of(&queue).await, [] as [String; 0], "another one while that is in hand");
            if left == 0 {
                queue.delete(&[receipt]).await.unwrap();
                break;
            }
            // A consumer that waits is woken for the next one.
            let waiting = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.receive(10, Duration::from_secs(1), None).await.unwrap() }
            });
            tokio::task::yield_now().await;
            queue.delete(&[receipt]).await.unwrap();
            alone = waiting.await.unwrap();
        }
        assert_eq!(queue.depth().await.unwrap().total(), 0);
        assert_eq!(bodies_of(&dead).await, [] as [String; 0]);
    })
    .await;
}

#[tokio::test]
async fn no_message_is_given_up_for_a_process_that_dies_soon_after_each_start() {
    let folder = tempfile::tempdir().unwrap();
    sent(folder.path()).await;
    died_with_all_in_hand(folder.path()).await;
    let clock = clock();
    for _ in 0..20 {
        lived_on(&clock, folder.path(), |Life { queue, clock, .. }| async move {
            clock.advance(Duration::from_millis(900));
            assert_eq!(bodies_of(&queue).await, [] as [String; 0], "handed out to one that may die at once");
        })
        .await;
    }
    // One after another is in hand at the deaths of a process that lives a little longer.
    let mut in_hand = Vec::new();
    for _ in 0..MESSAGES {
        in_hand.extend(
            lived_on(&clock, folder.path(), |Life { queue, clock, .. }| async move {
                clock.advance(Duration::from_secs(1));
                bodies_of(&queue).await
            })
            .await,
        );
    }
    in_hand.sort();
    assert_eq!(in_hand, ["good 0", "good 1", "good 2", "good 4", "good 5", POISON]);
    lived_on(&clock, folder.path(), |Life { queue, dead, .. }| async move {
        assert_eq!(queue.depth().await.unwrap().total(), u64::try_from(MESSAGES).unwrap());
        assert_eq!(dead.depth().await.unwrap().total(), 0);
    })
    .await;
}
