//! What becomes of messages once their handlers are done: deleted, hidden for a while, or dead-lettered.

use super::{scanning, support::*};
use quadrille::{Context, DeadLetter, Failure, Outcome, StepCounts, Stored, Verdict, port::PortError};
use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The wait of a message that is to be tried again.
fn wait(verdict: &Verdict) -> Option<(Duration, &Failure)> {
    match verdict {
        Verdict::Retry(after, failure) => Some((*after, failure)),
        _ => None,
    }
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_after_its_backoff_and_given_up_after_the_last_attempt() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BUSY)).await;
    for (attempt, longest) in [(1, secs(4)), (2, secs(8))] {
        let messages = world.receive("scan").await;
        assert_eq!(messages.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [attempt]);
        let verdicts = world.pipeline().deliver("scan", &messages).await.unwrap();
        let (after, failure) = wait(&verdicts[0]).unwrap();
        assert_eq!(failure.reason(), "carrier_busy");
        assert!(longest / 2 <= after && after <= longest, "{after:?} after attempt {attempt}");
        // Hidden to the millisecond.
        let millis = u64::try_from(after.as_millis()).unwrap();
        world.clock.advance(Duration::from_millis(millis - 1));
        assert_eq!(world.receive("scan").await, []);
        world.clock.advance(Duration::from_millis(1));
    }
    let verdicts = world.deliver("scan").await;
    assert_eq!(reason(&verdicts[0]), Some("carrier_busy"));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
    let letter = DeadLetter::read(&world.lying_in("scan-dlq").await[0]);
    assert_eq!((letter.reason.as_str(), letter.attempts), ("carrier_busy", 3));
    assert_eq!(letter.detail, "attempt 3 of 3 failed: the carrier does not answer");
    // The retries left no trace in the trail, the end did.
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: carrier_busy"]);
    let parcel = world.parcel("1").await.unwrap();
    let last = parcel.trail().last().unwrap();
    assert_eq!((last.attempt, last.handler.as_ref(), last.at), (3, "scan", world.now()));
}

#[tokio::test]
async fn how_long_a_service_asks_not_to_be_asked_is_the_least_that_is_waited() {
    let resting = |_: Stored<Parcel>, event: Scanned, _: Context<()>| async move {
        let rest = event.place.parse().ok().map(secs);
        Outcome::<()>::Err(Failure::transient("carrier_rests", "not now").not_before(rest))
    };
    let world = scanning(resting);
    // As it asks; the step's own wait where that is longer; what a queue can hold back.
    for (id, rest) in [("1", "300"), ("2", "1"), ("3", "999999999")] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, rest)).await;
    }
    let verdicts = world.deliver("scan").await;
    let waits: Vec<Duration> = verdicts.iter().map(|verdict| wait(verdict).unwrap().0).collect();
    assert_eq!((waits[0], waits[2]), (secs(300), secs(11 * 3_600)));
    assert!(secs(2) <= waits[1] && waits[1] <= secs(4), "{waits:?}");
    // It is not given to anybody before.
    world.clock.advance(secs(299));
    let early: Vec<String> = world.receive("scan").await.into_iter().map(|message| message.body).collect();
    assert!(early.iter().all(|body| body.contains("\"parcel\":\"2\"")), "{early:?}");
    world.clock.advance(secs(1));
    let late = world.receive("scan").await;
    assert!(late.iter().any(|message| message.body.contains("\"parcel\":\"1\"")));
}

#[tokio::test]
async fn jitter_keeps_messages_that_fail_together_from_coming_back_together() {
    let world = scanning(scan);
    let ids: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for id in &ids {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, BUSY)).await;
    }
    let verdicts = world.deliver("scan").await;
    let waits: Vec<Duration> = verdicts.iter().map(|verdict| wait(verdict).unwrap().0).collect();
    assert_eq!(waits.len(), 50);
    assert!(waits.iter().all(|wait| secs(2) <= *wait && *wait <= secs(4)), "{waits:?}");
    let seconds: BTreeSet<u128> = waits.iter().map(|wait| wait.as_millis() / 500).collect();
    assert!(seconds.len() >= 4, "all in the same few moments: {waits:?}");
}

#[tokio::test]
async fn a_permanent_failure_is_never_retried_and_the_trail_tells_of_it() {
    let calls = Log::default();
    let log = calls.clone();
    let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        log.push(cx.attempt());
        scan(parcel, event, cx)
    });
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    let verdicts = world.deliver("scan").await;
    assert_eq!(verdicts, [Verdict::DeadLetter(Failure::permanent("burnt", "nothing is left of it"))]);
    // However long one waits, nothing comes back.
    world.clock.advance(secs(24 * 3_600));
    assert_eq!(world.receive("scan").await, []);
    assert_eq!(calls.all(), [1]);
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: burnt"]);
    let parcel = world.parcel("1").await.unwrap();
    assert_eq!((parcel.version(), parcel.stops.len()), (2, 0), "the state is as it was");
    assert_eq!(DeadLetter::read(&world.lying_in("scan-dlq").await[0]).reason, "burnt");
}

#[tokio::test]
async fn what_is_given_up_is_noted_without_a_read_of_its_own_unless_somebody_else_was_first() {
    for rivals in [0, 1] {
        let mut world = scanning(scan);
        for (id, place) in [("1", "oslo"), ("2", BURNT)] {
            world.post(&[id]).await;
            world.tell("scan", Scanned::new(id, place)).await;
        }
        let mut left = rivals;
        let table = world.meddle_with_table(move |write| {
            if write.item.key.ends_with("/2") && left > 0 {
                left -= 1;
                CommitFault::Overtaken("rival".into())
            } else {
                CommitFault::None
            }
        });
        let verdicts = world.deliver("scan").await;
        assert_eq!((&verdicts[0], reason(&verdicts[1])), (&Verdict::Done, Some("burnt")));
        assert_eq!(table.read.all().len(), 1 + rivals, "{:?}", table.read.all());
        assert_eq!(world.trail("2").await.last().unwrap(), "dead-lettered: burnt");
        assert_eq!(world.parcel("2").await.unwrap().stops.len(), rivals);
    }
}

#[tokio::test]
async fn of_a_batch_only_the_messages_that_failed_are_failed() {
    let world = scanning(scan);
    let kinds = ["oslo", BUSY, BURNT, "malformed"];
    let mut bodies: [HashSet<String>; 4] = Default::default();
    for n in 0..20 {
        let id = n.to_string();
        world.post(&[&id]).await;
        let mut body = text(&envelope(Scanned::new(&id, kinds[n % 4])));
        if kinds[n % 4] == "malformed" {
            body = body.replace("place", "plaice");
        }
        world.send("scan", &body).await;
        bodies[n % 4].insert(body);
    }
    let verdicts = world.deliver("scan").await;
    assert_eq!(verdicts.len(), 20);
    for (n, verdict) in verdicts.iter().enumerate() {
        let expected = match n % 4 {
            0 => *verdict == Verdict::Done,
            1 => wait(verdict).is_some(),
            2 => reason(verdict) == Some("burnt"),
            _ => reason(verdict) == Some("malformed"),
        };
        assert!(expected, "{n}: {verdict:?}");
    }
    let lying = async |queue| {
        let messages = world.lying_in(queue).await;
        messages.into_iter().map(|message| message.body).collect::<HashSet<_>>()
    };
    assert_eq!(lying("scan").await, bodies[1]);
    assert_eq!(lying("scan-dlq").await, &bodies[2] | &bodies[3]);
    for n in 0..20 {
        let stops = world.stops(&n.to_string()).await;
        assert_eq!(stops.len(), usize::from(n % 4 == 0), "parcel {n}");
    }
}

#[tokio::test]
async fn a_message_whose_answer_got_lost_is_delivered_again_and_has_one_effect() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    // Worked, committed, and not acknowledged: the process died in between.
    let messages = world.receive("scan").await;
    let delivered = world.pipeline().deliver_unacknowledged("scan", &messages).await.unwrap();
    assert_eq!((delivered.verdicts, delivered.kept), (vec![Verdict::Done], Vec::new()));
    assert_eq!(world.total("scan").await, 1);
    world.clock.advance(secs(6 * 30));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.total("scan").await, 0);
    assert_eq!(
        (world.stops("1").await, world.parcel("1").await.unwrap().version()),
        (vec!["oslo".into()], 2)
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_dead_lettered_stays() {
    let mut world = scanning(scan);
    let broken = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&broken);
    world.meddle_with_queue("scan-dlq", move |_| {
        asked.load(Ordering::Relaxed).then(|| PortError::transient("scan-dlq", "no answer"))
    });
    world.post(&["1", "2"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert_eq!((reason(&verdicts[0]), &verdicts[1]), (Some("burnt"), &Verdict::Done));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (1, 0));
    // Its visibility timeout gives it back; the dead-letter queue has recovered.
    broken.store(false, Ordering::Relaxed);
    world.clock.advance(secs(6 * 30));
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("burnt"));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
}

#[tokio::test]
async fn an_onlooker_is_told_of_every_message_and_the_verdicts_are_counted() {
    let world = scanning(scan);
    let pipeline = world.pipeline();
    let mut observed = pipeline.observe();
    world.post(&["1"]).await;
    for place in ["oslo", "oslo", BUSY, BURNT] {
        world.tell("scan", Scanned::new("1", place)).await;
    }
    let mut early = envelope(Scanned::new("1", "rome"));
    early.notbefore = Some(START + secs(60));
    world.send("scan", text(&early)).await;
    let messages = world.receive("scan").await;
    let verdicts = pipeline.deliver("scan", &messages).await.unwrap();
    for (expected, verdict) in [
        "stopped at oslo",
        "been there",
        "carrier_busy: the carrier does not answer",
        "burnt: nothing is left of it",
        "",
    ]
    .into_iter()
    .zip(&verdicts)
    {
        let seen = observed.try_recv().unwrap();
        assert_eq!((seen.what.as_str(), &seen.verdict), (expected, verdict));
        assert_eq!((seen.step.as_str(), seen.subject.as_str(), seen.attempt), ("scan", "1", 1));
        assert_eq!(seen.at, START);
    }
    assert!(observed.try_recv().is_err());
    let counts = StepCounts { done: 2, later: 1, retried: 1, ended: 0, dead_lettered: 1 };
    assert_eq!(pipeline.counts()["scan"], counts);
    assert_eq!(pipeline.counts()["load"], StepCounts::default());
}

#[tokio::test]
async fn an_onlooker_is_told_once_a_message_is_committed_and_acknowledged() {
    let mut world = scanning(scan);
    world.meddle_with_queue("scan", |_| None);
    world.meddle_with_queue("scan-dlq", |_| None);
    let pipeline = world.pipeline();
    let mut observed = pipeline.observe();
    for (id, place) in [("1", "oslo"), ("2", BURNT)] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let messages = world.receive("scan").await;
    let looking = async {
        observed.recv().await.unwrap();
        (world.stops("1").await.len(), world.total("scan").await, world.total("scan-dlq").await)
    };
    // On one thread: the onlooker runs as soon as it is told.
    let (seen, delivered) = tokio::join!(biased; looking, pipeline.deliver("scan", &messages));
    assert_eq!((seen, delivered.unwrap().len()), ((1, 0, 1), 2));
}

#[tokio::test]
async fn a_step_that_is_not_in_the_definition_is_an_error_and_not_a_loss() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let messages = world.receive("scan").await;
    let failure = world.pipeline().deliver("skan", &messages).await.unwrap_err();
    assert_eq!((failure.reason(), failure.is_permanent()), ("no_step", true));
    assert_eq!(world.total("scan").await, 1);
}
