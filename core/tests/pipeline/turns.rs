//! One entity, several writers: turns within a batch, lost races, children before their parent, and effects of which
//! it is not known whether they happened.

use super::{scanning, support::*};
use quadrille::{Commit, Context, Outcome, Stored, Verdict, limits::COMMIT_RACES_MAX};
use serde_json::Value;

/// Stops at the place and has the parcel loaded there.
async fn scan_and_load(
    mut parcel: Stored<Parcel>,
    event: Scanned,
    _: Context<(Loaded,)>,
) -> Outcome<(Loaded,)> {
    let loaded = Loaded::new(&event.parcel, &event.place);
    parcel.stops.push(event.place);
    Ok(parcel.commit("scanned").emit(loaded).into())
}

/// Commits three children of the parcel, then the parcel. A child that is there already is left as it is.
async fn split(parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>) -> Outcome<(Loaded,)> {
    let child = |n: u32| -> Commit<(Loaded,)> {
        let id = format!("{}.{n}", event.parcel);
        Stored::new(Parcel::new(&id)).commit("split off").emit(Loaded::new(&id, &event.place))
    };
    cx.commit_all((1..=3).map(child).collect()).await?;
    stop(parcel, &event.place)
}

/// The ids of the events in a write.
fn ids(write: &quadrille::port::Write) -> Vec<String> {
    let events = write.outbox.iter().map(|event| serde_json::from_str::<Value>(event.get()).unwrap());
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn messages_told_to_one_entity_are_worked_in_turn_each_seeing_the_one_before() {
    let seen = Log::default();
    let log = seen.clone();
    let mut world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        log.push((event.parcel.clone(), parcel.stops.len()));
        scan(parcel, event, cx)
    });
    world.post(&["1", "2"]).await;
    let table = world.meddle_with_table(|_| CommitFault::None);
    let places = ["oslo", "rome", "bonn", "riga"];
    for place in places {
        world.tell("scan", Scanned::new("1", place)).await;
        world.tell("scan", Scanned::new("2", place)).await;
    }
    assert_eq!(world.deliver("scan").await, vec![Verdict::Done; 8]);
    for id in ["1", "2"] {
        assert_eq!(world.stops(id).await, places);
        let seen: Vec<usize> =
            seen.all().into_iter().filter(|(parcel, _)| parcel == id).map(|(_, n)| n).collect();
        assert_eq!(seen, [0, 1, 2, 3], "parcel {id}");
    }
    assert_eq!(table.tried.len(), 8, "nobody lost a race against a message of the same batch");
}

#[tokio::test]
async fn a_failure_of_one_turn_does_not_end_the_next() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    for place in ["oslo", BUSY, "rome"] {
        world.tell("scan", Scanned::new("1", place)).await;
    }
    let verdicts = world.deliver("scan").await;
    assert!(matches!(verdicts[..], [Verdict::Done, Verdict::Retry(..), Verdict::Done]), "{verdicts:?}");
    assert_eq!(world.stops("1").await, ["oslo", "rome"]);
}

#[tokio::test]
async fn a_lost_race_is_resolved_by_reading_again() {
    let calls = Log::default();
    let log = calls.clone();
    let mut world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        log.push(parcel.stops.len());
        scan(parcel, event, cx)
    });
    world.post(&["1"]).await;
    let mut races = 0;
    world.meddle_with_table(move |_| {
        races += 1;
        if races <= COMMIT_RACES_MAX {
            CommitFault::Overtaken(format!("rival {races}"))
        } else {
            CommitFault::None
        }
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(calls.all(), [0, 1, 2, 3, 4, 5], "each call sees what the rivals wrote before it");
    let expected = ["rival 1", "rival 2", "rival 3", "rival 4", "rival 5", "oslo"];
    assert_eq!(world.stops("1").await, expected);
}

#[tokio::test]
async fn more_lost_races_than_that_are_a_transient_failure() {
    let mut world = scanning(scan);
    world.post(&["1"]).await;
    let mut races = 0;
    let table = world.meddle_with_table(move |_| {
        races += 1;
        if races <= COMMIT_RACES_MAX + 1 { CommitFault::Overtaken("rival".into()) } else { CommitFault::None }
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert!(
        matches!(&verdicts[..], [Verdict::Retry(_, failure)] if failure.reason() == "conflict"),
        "{verdicts:?}"
    );
    assert_eq!(table.tried.len(), 6);
    world.clock.advance(secs(4));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await.iter().filter(|stop| *stop == "oslo").count(), 1);
}

#[tokio::test]
async fn a_lost_race_does_not_change_the_turns() {
    let mut world = scanning(scan);
    world.post(&["1", "2"]).await;
    let mut tried = 0;
    world.meddle_with_table(move |_| {
        tried += 1;
        if tried == 1 { CommitFault::Overtaken("rival".into()) } else { CommitFault::None }
    });
    for place in ["oslo", "rome", "bonn"] {
        world.tell("scan", Scanned::new("1", place)).await;
    }
    assert_eq!(world.deliver("scan").await, vec![Verdict::Done; 3]);
    assert_eq!(world.stops("1").await, ["rival", "oslo", "rome", "bonn"]);
}

#[tokio::test]
async fn children_are_committed_before_their_parent() {
    let mut world = scanning(split);
    world.post(&["1"]).await;
    let table = world.meddle_with_table(|_| CommitFault::None);
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(table.keys(), ["parcel/1.1", "parcel/1.2", "parcel/1.3", "parcel/1"]);
}

#[tokio::test]
async fn after_a_crash_between_children_and_parent_only_what_is_left_is_done() {
    let mut world = scanning(split);
    world.post(&["1"]).await;
    let mut crashed = false;
    world.meddle_with_table(move |write| {
        if write.item.key == "parcel/1" && !std::mem::replace(&mut crashed, true) {
            return CommitFault::NotApplied;
        }
        CommitFault::None
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert!(
        matches!(&verdicts[..], [Verdict::Retry(_, failure)] if failure.reason() == "port_unavailable"),
        "{verdicts:?}"
    );
    assert_eq!((world.emitted().await.len(), world.stops("1").await.len()), (3, 0));
    world.clock.advance(secs(4));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await, ["oslo"]);
    for child in ["1.1", "1.2", "1.3"] {
        assert_eq!(world.trail(child).await, ["split off"], "{child} was written once");
    }
    assert_eq!(world.emitted().await.len(), 3, "and so was what they emit");
}

#[tokio::test]
async fn a_child_that_could_not_be_written_keeps_its_parent_from_being_written() {
    let mut world = scanning(split);
    world.post(&["1"]).await;
    let mut failed = false;
    let table = world.meddle_with_table(move |write| {
        if write.item.key == "parcel/1.2" && !std::mem::replace(&mut failed, true) {
            return CommitFault::NotApplied;
        }
        CommitFault::None
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert!(
        matches!(&verdicts[..], [Verdict::Retry(_, failure)] if failure.reason() == "port_unavailable"),
        "{verdicts:?}"
    );
    assert_eq!(table.keys(), ["parcel/1.1", "parcel/1.2", "parcel/1.3"]);
    world.clock.advance(secs(4));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await, ["oslo"]);
    assert_eq!((world.trail("1.2").await.len(), world.emitted().await.len()), (1, 3));
}

#[tokio::test]
async fn an_event_has_the_same_id_however_often_its_commit_is_tried() {
    let mut world = scanning(scan_and_load);
    world.post(&["1"]).await;
    let mut tried = 0;
    let table = world.meddle_with_table(move |_| {
        tried += 1;
        if tried == 1 { CommitFault::NotApplied } else { CommitFault::None }
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    world.clock.advance(secs(4));
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(world.deliver("scan").await, vec![Verdict::Done; 2]);
    let ids: Vec<Vec<String>> = table.tried.all().iter().map(ids).collect();
    // By then it was 4 s later, and the second attempt.
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2], "another version has other events");
    assert_eq!((ids.len(), ids[0].len()), (3, 1));
}

#[tokio::test]
async fn the_events_of_one_commit_and_of_several_entities_have_different_ids() {
    let world = scanning(|parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>| async move {
        let child = Stored::new(Parcel::new(format!("{}.1", event.parcel))).commit("split off");
        let loaded = || Loaded::new(&event.parcel, &event.place);
        cx.commit_all(vec![child.emit(loaded())]).await?;
        // Two that are alike are still two.
        Outcome::<(Loaded,)>::Ok(parcel.commit("scanned").emit(loaded()).emit(loaded()).into())
    });
    world.post(&["1", "2"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    assert_eq!(world.deliver("scan").await, vec![Verdict::Done; 2]);
    let mut ids: Vec<String> =
        world.emitted().await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[tokio::test]
async fn an_entity_made_anew_after_it_expired_emits_events_of_other_ids() {
    let mut world = scanning(scan_and_load);
    let table = world.meddle_with_table(|_| CommitFault::None);
    for _ in 0..2 {
        world.post_for("1", 60).await;
        world.tell("scan", Scanned::new("1", "oslo")).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        assert_eq!(world.parcel("1").await.unwrap().version(), 2);
        world.clock.advance(secs(60));
    }
    let emitting: Vec<_> = table.tried.all().into_iter().filter(|write| !write.outbox.is_empty()).collect();
    assert_eq!(emitting.iter().map(|write| write.item.version).collect::<Vec<_>>(), [2, 2]);
    assert_ne!(ids(&emitting[0]), ids(&emitting[1]));
}

#[tokio::test]
async fn a_commit_that_was_applied_though_its_answer_was_lost_has_one_effect() {
    // The handler knows the place it has stopped at already, as every handler knows its own effect.
    let handler = |parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>| async move {
        if parcel.stops.contains(&event.place) {
            return stop(parcel, &event.place);
        }
        scan_and_load(parcel, event, cx).await
    };
    let mut world = scanning(handler);
    world.post(&["1"]).await;
    let mut tried = 0;
    world.meddle_with_table(move |_| {
        tried += 1;
        if tried == 1 { CommitFault::AppliedUnheard } else { CommitFault::None }
    });
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert!(matches!(world.deliver("scan").await[..], [Verdict::Retry(..)]));
    world.clock.advance(secs(4));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!((world.stops("1").await, world.total("scan").await), (vec!["oslo".to_owned()], 0));
    assert_eq!((world.trail("1").await.len(), world.emitted().await.len()), (2, 1));
}
