//! A message is done or given up, and never both: also where the answer to its commit is lost, its process dies behind it, or two
//! receives of it are in work.

use super::{scanning, support::*};
use quadrille::{
    Consumer, Context, DeadLetter, Failure, Handled, Outcome, RECEIVES_EXHAUSTED, Stored, Uses, Verdict,
    operator::{self, Act, Filter},
    port::PortError,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Longer than a message is hidden while it is worked.
const HIDDEN: std::time::Duration = secs(6 * 30);

/// Loses the answers of the writes of these parcels that end at Oslo, each once.
fn lost_once(world: &mut World, ids: &'static [&'static str]) {
    let mut lost = Vec::new();
    world.meddle_with_table(move |write| {
        let id = ids.iter().find(|id| write.item.key == format!("parcel/{id}"));
        let is_stop = write.item.document.text().unwrap().contains("stopped at");
        match id.filter(|id| is_stop && !lost.contains(*id)) {
            Some(id) => {
                lost.push(*id);
                CommitFault::AppliedUnheard
            }
            None => CommitFault::None,
        }
    });
}

/// Receives without an answer, as by processes that die.
async fn receives(world: &World, count: usize) {
    for _ in 0..count {
        assert_eq!(world.receive("scan").await.len(), 1);
        world.clock.advance(HIDDEN);
    }
}

#[tokio::test]
async fn what_was_committed_at_the_last_attempt_is_done_though_its_answer_is_lost() {
    let mut world = scanning(scan);
    for id in ["1", "2", "3"] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, "oslo")).await;
    }
    for _ in 0..2 {
        world.receive("scan").await;
        world.clock.advance(HIDDEN);
    }
    lost_once(&mut world, &["1", "3"]);
    assert_eq!(world.deliver("scan").await, [Verdict::Done, Verdict::Done, Verdict::Done]);
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 0));
    for id in ["1", "2", "3"] {
        assert_eq!(world.trail(id).await, ["posted", "stopped at oslo"], "{id}");
    }
}

#[tokio::test]
async fn what_was_committed_before_its_process_died_is_done_however_often_it_is_received() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    receives(&world, 2).await;
    // Committed at the last attempt, and never acknowledged.
    let messages = world.receive("scan").await;
    world.pipeline().deliver_unacknowledged("scan", &messages).await.unwrap();
    world.clock.advance(HIDDEN);
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 0));
    assert_eq!(world.trail("1").await, ["posted", "stopped at oslo"]);
}

#[tokio::test]
async fn what_is_done_is_not_given_up_for_any_later_failure() {
    let calls = AtomicUsize::new(0);
    let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, _: Context<()>| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if is_first {
                return stop::<()>(parcel, &event.place);
            }
            Err(Failure::permanent("burnt", "nothing is left of it"))
        }
    });
    world.post(&["1"]).await;
    for _ in 0..2 {
        world.tell("scan", Scanned::new("1", "oslo")).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    }
    assert_eq!(world.total("scan-dlq").await, 0);
    assert_eq!(world.trail("1").await, ["posted", "stopped at oslo"]);
}

#[tokio::test]
async fn a_commit_of_another_entity_is_looked_for_there() {
    /// Stops another parcel than the one that it is told of.
    async fn pass_on(_: Stored<Parcel>, event: Scanned, cx: Context<()>) -> Outcome<()> {
        match cx.get_one::<Parcel>("2").await? {
            Some(other) => stop(other, &event.place),
            None => Ok(Handled::Done),
        }
    }
    let uses = Uses::new().gets_one::<Parcel>().commits::<Parcel>();
    let scan = Consumer::new("scan", pass_on).attempts(1, BACKOFF).uses(uses);
    let mut world = World::new(parcels::<(Scanned,)>().on(scan));
    world.post(&["1", "2"]).await;
    lost_once(&mut world, &["2"]);
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!((world.trail("1").await.len(), world.total("scan-dlq").await), (1, 0));
}

#[tokio::test]
async fn where_nobody_can_find_out_a_message_stays_however_long_that_takes() {
    let mut world = scanning(scan);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let (is_out, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (out, count) = (Arc::clone(&is_out), Arc::clone(&asked));
    world.meddle_with_table(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        if out.load(Ordering::Relaxed) { CommitFault::NotApplied } else { CommitFault::None }
    });
    // More often than its queue would hand it out.
    for round in 1..=20 {
        let verdicts = world.deliver("scan").await;
        let is_kept = match &verdicts[..] {
            [Verdict::Retry(..)] => round % 3 != 0,
            [Verdict::Later(_)] => round % 3 == 0,
            _ => false,
        };
        assert!(is_kept, "{round}: {verdicts:?}");
        assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (1, 0));
        world.clock.advance(HIDDEN);
    }
    assert!(asked.load(Ordering::Relaxed) < 100, "a few times each round");
    is_out.store(false, Ordering::Relaxed);
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 0));
}

#[tokio::test]
async fn once_it_is_given_up_the_commit_of_an_earlier_receive_loses() {
    let (is_held, goes_on) = (Arc::new(AtomicBool::new(true)), Arc::new(tokio::sync::Notify::new()));
    let (held, go_on) = (Arc::clone(&is_held), Arc::clone(&goes_on));
    let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, _: Context<()>| {
        let (held, go_on) = (Arc::clone(&held), Arc::clone(&go_on));
        async move {
            if held.load(Ordering::Relaxed) {
                go_on.notified().await;
            }
            stop::<()>(parcel, &event.place)
        }
    });
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    receives(&world, 2).await;
    let (messages, pipeline) = (world.receive("scan").await, world.pipeline());
    let working = pipeline.deliver("scan", &messages);
    let giving_up = async {
        all_wait().await;
        // Visible again though it is worked.
        world.ports.queues["scan"].extend(&[(messages[0].receipt.clone(), secs(0))]).await.unwrap();
        let verdicts = world.deliver("scan").await;
        is_held.store(false, Ordering::Relaxed);
        goes_on.notify_one();
        verdicts
    };
    let (worked, given_up) = tokio::join!(working, giving_up);
    assert_eq!(reason(&given_up[0]), Some(RECEIVES_EXHAUSTED));
    assert_eq!(reason(&worked.unwrap()[0]), Some(RECEIVES_EXHAUSTED));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: receives_exhausted"]);
}

/// A handler that fails for good at its first call, and at no later one.
fn failing_once() -> World {
    let calls = AtomicUsize::new(0);
    scanning(move |parcel: Stored<Parcel>, _: Scanned, _: Context<()>| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move { stop::<()>(parcel, if is_first { BURNT } else { "oslo" }) }
    })
}

#[tokio::test]
async fn what_is_given_up_stays_so_for_its_first_reason_until_its_dead_letter_is_there() {
    let mut world = failing_once();
    let mut answers = 0;
    world.meddle_with_queue("scan-dlq", move |_| {
        answers += 1;
        (answers == 1).then(|| PortError::transient("scan-dlq", "no answer"))
    });
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "rome")).await;
    for _ in 0..2 {
        assert_eq!(reason(&world.deliver("scan").await[0]), Some("burnt"));
        world.clock.advance(HIDDEN);
    }
    assert_eq!(DeadLetter::read(&world.lying_in("scan-dlq").await[0]).reason, "burnt");
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: burnt"]);
}

#[tokio::test]
async fn a_dead_letter_that_is_redriven_is_worked_anew() {
    let world = failing_once();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("burnt"));
    world.clock.advance(secs(1));
    operator::walk(&world.pipeline(), &asked("scan-dlq", &Filter::default(), 1), Act::Redrive).await.unwrap();
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: burnt", "stopped at oslo"]);
}

/// By a tool that knows of no attributes, as the body alone.
#[tokio::test]
async fn an_event_that_somebody_sends_again_is_worked_anew() {
    let world = failing_once();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("burnt"));
    world.clock.advance(secs(1));
    let body = world.lying_in("scan-dlq").await.remove(0).body;
    world.send("scan", body).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: burnt", "stopped at oslo"]);
}

#[tokio::test]
async fn an_end_that_is_business_is_told_once_though_the_answer_is_lost() {
    let scan = Consumer::new("scan", scan).attempts(2, BACKOFF).business_ends(["burnt"]);
    let mut world = World::new(parcels::<(Scanned,)>().on(scan));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    let mut is_lost = false;
    world.meddle_with_table(move |_| match std::mem::replace(&mut is_lost, true) {
        true => CommitFault::None,
        false => CommitFault::AppliedUnheard,
    });
    assert!(matches!(world.deliver("scan").await[..], [Verdict::Ended(_)]));
    assert_eq!(world.trail("1").await, ["posted", "ended: burnt"]);
}

#[tokio::test]
async fn what_follows_for_another_reason_is_another_event_and_for_the_same_one_it_is_the_same() {
    let calls = AtomicUsize::new(0);
    let scan = move |_: Option<Stored<Parcel>>, _: Scanned, _: Context<()>| {
        let reason = ["burnt", "drowned", "burnt"][calls.fetch_add(1, Ordering::Relaxed)];
        async move { Outcome::<()>::Err(Failure::permanent(reason, "nothing is left of it")) }
    };
    let scan = Consumer::new("scan", scan)
        .attempts(3, BACKOFF)
        .creates_none()
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    let load = Consumer::new("load", idle::<Loaded>);
    let mut world = World::new(parcels::<(Scanned,)>().on(scan).on(load));
    world.meddle_with_queue("scan-dlq", |_| Some(PortError::transient("scan-dlq", "no answer")));
    world.tell("scan", Scanned::new("1", "oslo")).await;
    for _ in 0..3 {
        world.deliver("scan").await;
        world.clock.advance(HIDDEN);
    }
    let followed = world.lying_in("load").await;
    let ids: Vec<serde_json::Value> = followed
        .iter()
        .map(|message| serde_json::from_str::<serde_json::Value>(&message.body).unwrap()["id"].clone())
        .collect();
    assert!(ids[0] != ids[1] && ids[0] == ids[2], "{ids:?}");
}
