//! Waiting: events for later, however much later, and handlers that do not come back.

use super::{scanning, support::*};
use quadrille::{Consumer, Context, Outcome, Stored, Uses, Verdict, engine::Engine, limits::QUEUE_DELAY_MAX};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

const THREE_DAYS: Duration = Duration::from_secs(3 * 86_400);

/// A place that no parcel ever leaves.
const CUSTOMS: &str = "customs";

#[tokio::test]
async fn a_message_before_its_time_is_sent_on_with_what_is_left_of_its_delay() {
    for (left, sent_on) in [(secs(899), secs(899)), (secs(2_000), QUEUE_DELAY_MAX)] {
        let mut world = scanning(scan);
        let queue = world.meddle_with_queue("scan", |_| None);
        world.post(&["1"]).await;
        let mut early = envelope(Scanned::new("1", "oslo"));
        early.notbefore = Some(START + left);
        world.send("scan", text(&early)).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Later(sent_on)]);
        // One is left, the same, and hidden.
        assert_eq!(queue.taken.all()[1].delay, sent_on);
        let lying = world.lying_in("scan").await;
        assert_eq!(lying.iter().map(|message| &message.body).collect::<Vec<_>>(), [&text(&early)]);
        world.clock.advance(sent_on - Duration::from_millis(1));
        assert_eq!(world.receive("scan").await, []);
        assert_eq!(world.stops("1").await.len(), 0);
        world.clock.advance_to(START + left);
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        assert_eq!(world.stops("1").await, ["oslo"]);
    }
}

#[tokio::test]
async fn a_delay_of_three_days_is_walked_in_hops_and_ends_on_the_millisecond() {
    let scan = |mut parcel: Stored<Parcel>, event: Scanned, _: Context<(Delivered,)>| async move {
        let later = Delivered::new(&event.parcel, "the door");
        parcel.stops.push(event.place);
        let commit = parcel.commit("scanned").emit_after(THREE_DAYS, later);
        Outcome::<(Delivered,)>::Ok(commit.into())
    };
    let delivered = Log::default();
    let log = delivered.clone();
    let deliver = move |parcel: Stored<Parcel>, event: Delivered, cx: Context<()>| {
        log.push(cx.now());
        async move { stop(parcel, &event.place) }
    };
    let definition = parcels::<(Scanned,)>();
    let scan = Consumer::new("scan", scan).uses(Uses::new().emits_later::<Delivered>());
    let definition = definition.on(scan).on(Consumer::new("deliver", deliver));
    let mut world = World::new(definition);
    let queue = world.meddle_with_queue("deliver", |_| None);
    let engine = Engine::start(world.pipeline());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.until("the parcel is delivered", THREE_DAYS, async || (delivered.len() > 0).then_some(())).await;
    world.pass(THREE_DAYS).await;
    assert_eq!(delivered.all(), [START + THREE_DAYS], "once, neither early nor late");
    let delays: Vec<Duration> = queue.taken.all().into_iter().map(|message| message.delay).collect();
    assert_eq!(delays, vec![QUEUE_DELAY_MAX; 3 * 96], "no queue holds a message back any longer");
    // The trail tells until when it waited.
    let parcel = world.parcel("1").await.unwrap();
    assert_eq!(parcel.trail().entries[1].until, Some(START + THREE_DAYS));
    engine.stop().await;
}

/// A world in which a message about customs is never done.
fn with_customs() -> World {
    scanning(|parcel: Stored<Parcel>, event: Scanned, _: Context<()>| async move {
        if event.place == CUSTOMS {
            std::future::pending::<()>().await;
        }
        stop(parcel, &event.place)
    })
}

/// Starts to deliver what lies in `scan` and waits until that waits for nothing but the clock.
async fn delivering(world: &World) -> tokio::task::JoinHandle<Vec<Verdict>> {
    let (pipeline, messages) = (world.pipeline(), world.receive("scan").await);
    let delivering = tokio::spawn(async move { pipeline.deliver("scan", &messages).await.unwrap() });
    all_wait().await;
    delivering
}

/// Whether the message is to be tried again as its handler took too long.
fn timed_out(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry(_, failure) if failure.reason() == "timeout")
}

#[tokio::test]
async fn a_handler_that_never_returns_is_failed_after_the_timeout_while_the_others_commit() {
    let world = with_customs();
    world.post(&["1", "2", "3"]).await;
    for (id, place) in [("1", "oslo"), ("2", CUSTOMS), ("3", "rome")] {
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let delivering = delivering(&world).await;
    world.clock.advance(secs(30) - Duration::from_millis(1));
    all_wait().await;
    assert!(!delivering.is_finished());
    world.clock.advance(Duration::from_millis(1));
    let verdicts = delivering.await.unwrap();
    assert_eq!((&verdicts[0], &verdicts[2]), (&Verdict::Done, &Verdict::Done));
    assert!(timed_out(&verdicts[1]), "{verdicts:?}");
    assert_eq!((world.stops("1").await, world.stops("3").await), (vec!["oslo".into()], vec!["rome".into()]));
    assert_eq!(world.total("scan").await, 1);
}

#[tokio::test]
async fn the_timeout_is_one_for_the_whole_batch_however_many_turns_it_takes() {
    let world = with_customs();
    world.post(&["1"]).await;
    for place in [CUSTOMS, CUSTOMS, CUSTOMS, "oslo"] {
        world.tell("scan", Scanned::new("1", place)).await;
    }
    let delivering = delivering(&world).await;
    world.clock.advance(secs(30));
    let verdicts = delivering.await.unwrap();
    assert_eq!(world.now(), START + secs(30));
    assert!(verdicts[..3].iter().all(timed_out), "{verdicts:?}");
    // What needs no time at all is still done.
    assert_eq!(verdicts[3], Verdict::Done);
}

#[tokio::test]
async fn no_more_messages_are_worked_at_once_than_the_concurrency_allows() {
    let (started, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (log, opened) = (started.clone(), Arc::clone(&gate));
    let scan = move |parcel: Stored<Parcel>, event: Scanned, _: Context<()>| {
        let (log, opened) = (log.clone(), Arc::clone(&opened));
        async move {
            log.push(());
            opened.acquire().await.unwrap().forget();
            stop(parcel, &event.place)
        }
    };
    let world = World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan).concurrency(3)));
    for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, "oslo")).await;
    }
    let delivering = delivering(&world).await;
    assert_eq!(started.len(), 3);
    gate.add_permits(1);
    all_wait().await;
    assert_eq!(started.len(), 4);
    gate.add_permits(7);
    assert_eq!(delivering.await.unwrap(), vec![Verdict::Done; 8]);
}
