//! Bits that a disk has turned over in what lies there: it is told, and never served as good.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Consumer,
    choreography::Model,
    local::Local,
    memory::VirtualClock,
    port::{Item, Message, NewMessage, SeededRandom, Write},
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use support::*;

fn model() -> Model {
    let choreography = parcels::<(Scanned,)>().on(Consumer::new("scan", scan)).build().unwrap();
    Model::clone(choreography.model())
}

fn open(folder: &Path) -> Local {
    Local::open(folder, &model(), Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1))).unwrap()
}

fn look(folder: &Path) -> Local {
    let clock = Arc::new(VirtualClock::new(START));
    Local::open_existing(folder, &model(), clock, Arc::new(SeededRandom::new(1))).unwrap()
}

fn item(key: &str, version: u64) -> Item {
    Item {
        key: key.to_owned(),
        version,
        document: format!(r#"{{"state":{{"id":"{key}","weight":"{key} heavy"}}}}"#).into(),
        expires_at: None,
        index: None,
    }
}

async fn write(local: &Local, key: &str, version: u64) {
    let write = Write {
        item: item(key, version),
        expected: version - 1,
        now: START,
        outbox: Vec::new(),
        index_changed: false,
        expiry_changed: false,
    };
    assert_eq!(local.ports().tables[PARCELS].commit(vec![write]).await, [Ok(())]);
}

async fn send(local: &Local, body: &str) {
    let message = NewMessage {
        body: body.to_owned(),
        attributes: [("reason".to_owned(), format!("{body} burnt"))].into(),
        ..NewMessage::default()
    };
    assert_eq!(local.ports().queues["scan"].send(vec![message]).await, [Ok(())]);
}

async fn items(local: &Local) -> Vec<Item> {
    local.ports().tables[PARCELS].scan(None, 10).await.unwrap().items
}

async fn messages(local: &Local) -> Vec<Message> {
    local.ports().queues["scan"]
        .arrived(0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}

/// A closed folder with two items, one of them written twice, and two messages.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    write(&local, "parcel/whole", 1).await;
    write(&local, "parcel/other", 1).await;
    write(&local, "parcel/other", 2).await;
    send(&local, "a message").await;
    send(&local, "another one").await;
    drop(local);
    folder
}

/// Turns one bit over in the last place where the database has this text.
fn flip(folder: &Path, text: &str, bit: u8) {
    let path = folder.join("quadrille.db");
    let mut content = fs::read(&path).unwrap();
    let at = content.windows(text.len()).rposition(|window| window == text.as_bytes()).unwrap();
    content[at] ^= 1 << bit;
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_document_with_a_bit_turned_over_is_told_and_the_others_are_served() {
    // Each still is JSON, and of its type.
    for (text, bit) in [("other heavy", 0), ("other heavy", 1), ("other heavy", 2)] {
        let folder = folder().await;
        flip(folder.path(), text, bit);
        let local = open(folder.path());
        let found = items(&local).await;
        assert_eq!(found.len(), 2);
        for found in found {
            let is_damaged = found.document.text().is_err();
            assert!(is_damaged || found == item(&found.key, found.version), "{found:?}");
        }
        let of = |key: &str| [key.to_owned()];
        let table = &local.ports().tables[PARCELS];
        let damaged = table.get(&of("parcel/other")).await.unwrap().remove(0).unwrap();
        let why = damaged.document.text().unwrap_err().to_string();
        assert!(why.contains("checksum") && !why.contains("heavy"), "{why}");
        assert_eq!(table.get(&of("parcel/whole")).await.unwrap(), [Some(item("parcel/whole", 1))]);
    }
}

#[tokio::test]
async fn a_message_with_a_bit_turned_over_is_told_and_the_others_are_received() {
    for text in ["another one", "another one burnt"] {
        let folder = folder().await;
        flip(folder.path(), text, 1);
        let local = open(folder.path());
        let arrived = messages(&local).await;
        let received = local.ports().queues["scan"].receive(10, Duration::ZERO, None).await.unwrap();
        for found in [arrived, received] {
            let damaged: Vec<bool> = found.iter().map(|message| message.unreadable.is_some()).collect();
            assert_eq!((found.len(), damaged.iter().filter(|is| **is).count()), (2, 1), "{found:?}");
            let whole = found.iter().find(|message| message.unreadable.is_none()).unwrap();
            assert_eq!(
                (whole.body.as_str(), whole.attributes["reason"].as_str()),
                ("a message", "a message burnt")
            );
        }
    }
}

#[tokio::test]
async fn what_an_earlier_version_wrote_has_no_checksum_until_it_is_written_again() {
    let folder = folder().await;
    let database = rusqlite::Connection::open(folder.path().join("quadrille.db")).unwrap();
    let drop_columns = "ALTER TABLE \"item_parcels\" DROP COLUMN checksum;
         ALTER TABLE \"message_scan\" DROP COLUMN checksum; PRAGMA user_version=1";
    database.execute_batch(drop_columns).unwrap();
    database.close().unwrap();
    let as_written = [item("parcel/whole", 1), item("parcel/other", 2)];
    let local = look(folder.path());
    assert_eq!(items(&local).await, as_written);
    assert!(messages(&local).await.iter().all(|message| message.unreadable.is_none()));
    drop(local);
    let local = open(folder.path());
    assert_eq!(items(&local).await, as_written);
    assert!(messages(&local).await.iter().all(|message| message.unreadable.is_none()));
    write(&local, "parcel/other", 3).await;
    drop(local);
    for heavy in ["whole heavy", "other heavy"] {
        flip(folder.path(), heavy, 1);
    }
    let found = items(&open(folder.path())).await;
    assert_eq!(found.iter().map(|item| item.document.text().is_ok()).collect::<Vec<_>>(), [true, false]);
}
