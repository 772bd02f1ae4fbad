//! A row of a folder's database that is damaged fails alone: what stands beside it goes on. On the local adapter, with a clock that
//! stands still; the rows are changed while no engine runs.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Uses,
    local::Local,
    memory::VirtualClock,
    port::{Clock as _, NewMessage, SeededRandom},
};
use std::{path::Path, sync::Arc, time::Duration};
use support::*;
use tempfile::TempDir;

/// No text, whatever it is read as.
const DAMAGED: &str = "CAST(X'FF' AS TEXT)";

fn choreography() -> Choreography {
    let step = Consumer::new("scan", scan).uses(Uses::new().puts("labels")).attempts(9, BACKOFF);
    parcels::<(Scanned,)>().bucket("labels").on(step).build().unwrap()
}

fn open(folder: &Path, clock: &Arc<VirtualClock>) -> Local {
    let random = Arc::new(SeededRandom::new(1));
    Local::open(folder, choreography().model(), Arc::clone(clock) as _, random).unwrap()
}

/// A folder whose queue has these messages, each with its delay, in which `change` has been made.
async fn changed(messages: &[(&str, Duration)], change: &str) -> (TempDir, Arc<VirtualClock>) {
    let (folder, clock) = (TempDir::new().unwrap(), Arc::new(VirtualClock::new(START)));
    let local = open(folder.path(), &clock);
    for (body, delay) in messages {
        let message = NewMessage { body: (*body).to_owned(), delay: *delay, ..NewMessage::default() };
        local.ports().queues["scan"].send(vec![message]).await.remove(0).unwrap();
    }
    drop(local);
    let database = rusqlite::Connection::open(folder.path().join("quadrille.db")).unwrap();
    database.execute_batch(change).unwrap();
    database.close().unwrap();
    (folder, clock)
}

/// What can be received now: each message with its receives, and whether it can be read.
async fn received(local: &Local) -> Vec<(String, u32, bool)> {
    let messages = local.ports().queues["scan"].receive(10, Duration::ZERO, None).await.unwrap();
    let mut messages: Vec<_> = messages
        .into_iter()
        .map(|message| (message.body, message.receive_count, message.unreadable.is_none()))
        .collect();
    messages.sort();
    messages
}

#[tokio::test]
async fn of_a_damaged_lease_what_can_be_read_counts_and_the_folder_opens() {
    let now = Duration::ZERO;
    let (folder, clock) = changed(
        &[("1", now), ("2", now), ("3", now), ("4", now)],
        &format!(
            "INSERT INTO lease VALUES('scan', 101, {DAMAGED}), ('scan', 102, CAST(X'FF2032' AS TEXT)),
                 ('scan', 103, '3x'), ('scan', 104, X'0001'), ('scan', 105, '4'), ('scan', 106, 7.5)"
        ),
    )
    .await;
    let local = open(folder.path(), &clock);
    let expected = [("1", 1), ("2", 2), ("3", 1), ("4", 2)];
    assert_eq!(received(&local).await, expected.map(|(body, receives)| (body.to_owned(), receives, true)));
}

#[tokio::test]
async fn a_message_whose_count_is_damaged_fails_alone_also_where_it_was_in_hand() {
    let now = Duration::ZERO;
    let (folder, clock) = changed(
        &[("1", now), ("2", now), ("3", now)],
        "INSERT INTO lease VALUES('scan', 101, '1 2'); INSERT INTO suspect VALUES('scan', 3);
         UPDATE message_scan SET count = 'x' WHERE id >= 2",
    )
    .await;
    let local = open(folder.path(), &clock);
    assert_eq!(received(&local).await, [("1".to_owned(), 2, true), ("2".to_owned(), 1, false)]);
    // In hand when its process died, it waits and is handed out alone.
    clock.advance(secs(60));
    assert_eq!(received(&local).await, [("3".to_owned(), 1, false)]);
}

#[tokio::test]
async fn a_message_whose_time_is_damaged_keeps_nobody_from_waiting() {
    let change = format!("UPDATE message_scan SET due = {DAMAGED}");
    let (folder, clock) = changed(&[("1", secs(60))], &change).await;
    let local = open(folder.path(), &clock);
    assert_eq!(received(&local).await, [("1".to_owned(), 1, false)]);
    let queue = Arc::clone(&local.ports().queues["scan"]);
    let waiting = tokio::spawn(async move { queue.receive(10, secs(30), None).await.unwrap() });
    eventually("it waits", async || clock.next_wake() == Some(START + secs(30))).await;
    clock.advance(secs(30));
    assert_eq!(waiting.await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_opens_whose_time_or_the_name_of_whose_bucket_is_damaged() {
    let change = format!(
        "UPDATE sequence SET reserved = {DAMAGED} WHERE name = 'time'; DELETE FROM bucket;
         INSERT INTO bucket VALUES({DAMAGED}), (7)"
    );
    let (folder, clock) = changed(&[("1", Duration::ZERO)], &change).await;
    let local = open(folder.path(), &clock);
    assert_eq!((received(&local).await.len(), clock.now()), (1, START));
}
