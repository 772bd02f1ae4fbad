//! What fails now: the last failure of each step with each entity, as long as it is not done.

use super::{scanning, support::*};
use quadrille::{Context, Failing, Outcome, Stored, Verdict};

/// Scans at the third attempt where it is told of oslo, and elsewhere at once.
async fn scan_at_last(parcel: Stored<Parcel>, event: Scanned, cx: Context<()>) -> Outcome<()> {
    let fails = event.place == "oslo" && cx.attempt() < 3;
    stop(parcel, if fails { BUSY } else { &event.place })
}

#[tokio::test]
async fn a_failure_is_remembered_with_its_next_try_until_its_step_is_done_with_the_entity() {
    let (world, calls) = (scanning(scan_at_last), 3);
    let pipeline = world.pipeline();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let deliver = async || {
        let messages = world.receive("scan").await;
        pipeline.deliver("scan", &messages).await.unwrap().pop().unwrap()
    };
    for attempt in 1..calls {
        let verdict = deliver().await;
        let Verdict::Retry(wait, failure) = verdict else { panic!("{verdict:?}") };
        let (reason, detail) = (failure.reason().to_owned(), failure.detail().to_owned());
        let (step, subject) = ("scan".to_owned(), "1".to_owned());
        let (at, next) = (world.now(), Some(world.now() + wait));
        let failing = Failing { step, subject, attempt, attempts_max: 3, reason, detail, at, next };
        assert_eq!(pipeline.failing_now(Some(&["scan"]), 9), std::slice::from_ref(&failing));
        assert_eq!(pipeline.failing("parcel", "1"), [failing]);
        if attempt + 1 < calls {
            world.clock.advance(wait);
        }
    }
    assert_eq!(pipeline.failing_now(Some(&["load"]), 9), []);
    // Of another entity, and of another kind's with the same id, nothing is told.
    assert!(pipeline.failing("parcel", "2").is_empty() && pipeline.failing("crate", "1").is_empty());
    // Another message to the same entity that is done says nothing of this one.
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(deliver().await, Verdict::Done);
    assert_eq!(pipeline.failing("parcel", "1").len(), 1);
    world.clock.advance(secs(60));
    assert_eq!(deliver().await, Verdict::Done);
    assert_eq!((pipeline.failing("parcel", "1"), pipeline.failing_now(None, 9)), (vec![], vec![]));
}

#[tokio::test]
async fn what_is_given_up_has_no_next_try_and_is_forgotten_once_it_is_done_after_all() {
    let world = scanning(scan);
    let pipeline = world.pipeline();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    let deliver = async || {
        let messages = world.receive("scan").await;
        pipeline.deliver("scan", &messages).await.unwrap().pop().unwrap()
    };
    let verdict = deliver().await;
    let failing = pipeline.failing("parcel", "2").pop().unwrap();
    assert_eq!((reason(&verdict), failing.next), (Some(failing.reason.as_str()), None));
    assert_eq!(pipeline.failing_now(None, 9), []);
    world.post(&["2"]).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    assert_eq!(deliver().await, Verdict::Done);
    assert!(pipeline.failing("parcel", "2").is_empty());
}

#[tokio::test]
async fn the_attempt_is_told_once_also_of_the_last_one() {
    let world = scanning(scan);
    let pipeline = world.pipeline();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BUSY)).await;
    for attempt in 1..=3 {
        pipeline.deliver("scan", &world.receive("scan").await).await.unwrap();
        let failing = pipeline.failing("parcel", "1").pop().unwrap();
        assert_eq!(
            (failing.attempt, failing.attempts_max, failing.next.is_some()),
            (attempt, 3, attempt < 3)
        );
        assert_eq!((&*failing.reason, &*failing.detail), ("carrier_busy", "the carrier does not answer"));
        world.clock.advance(secs(60));
    }
}
