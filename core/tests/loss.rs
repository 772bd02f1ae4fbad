//! A data folder that has lost something that was acknowledged: damaged after a kill, and taken away from under an engine.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Uses,
    choreography::Model,
    local::{self, Local, Loss, OpenError},
    memory::VirtualClock,
    port::{NewMessage, PortError, SeededRandom},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use support::*;
use tempfile::TempDir;

const DATABASE: &str = "quadrille.db";
const LOG: &str = "quadrille.db-wal";
const MARK: &str = "quadrille.mark";

/// Messages that each test sends, each acknowledged before the next.
const SENT: u64 = 10;

/// A table, a queue and a bucket.
fn choreography() -> Choreography {
    let step = Consumer::new("scan", scan).uses(Uses::new().puts("labels"));
    parcels::<(Scanned,)>().bucket("labels").on(step).build().unwrap()
}

fn model() -> Model {
    Model::clone(choreography().model())
}

type Opened = Result<Local, OpenError>;

/// Opens it as the `seed`th store would be.
fn open_as(folder: &Path, seed: u64) -> Opened {
    let clock = Arc::new(VirtualClock::new(START));
    Local::open(folder, &model(), clock, Arc::new(SeededRandom::new(seed)))
}

fn open(folder: &Path) -> Opened {
    open_as(folder, 1)
}

fn look(folder: &Path) -> Opened {
    let clock = Arc::new(VirtualClock::new(START));
    Local::open_existing(folder, &model(), clock, Arc::new(SeededRandom::new(1)))
}

async fn send(local: &Local) -> Result<(), PortError> {
    let message = NewMessage { body: "kept".repeat(50), ..NewMessage::default() };
    local.ports().queues["scan"].send(vec![message]).await.remove(0)
}

async fn send_all(local: &Local) {
    for _ in 0..SENT {
        send(local).await.unwrap();
    }
}

async fn held(local: &Local) -> u64 {
    local.ports().queues["scan"].depth().await.unwrap().visible
}

/// A copy of all files, as a kill would leave them now.
fn killed(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_into(folder, copy.path());
    // The log without the room behind its text, which would be compared over and over.
    let log = fs::OpenOptions::new().write(true).open(copy.path().join(LOG)).unwrap();
    log.set_len(used(&copy.path().join(LOG)) as u64 + 4_096).unwrap();
    copy
}

fn copy_into(folder: &Path, copy: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let to = copy.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy_into(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn all_below(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
            all.insert(path, None);
        } else {
            all.insert(path.clone(), Some(fs::read(&path).unwrap()));
        }
    }
    all
}

/// The loss for which an opening is refused, in either way, and leaves the folder as it was.
#[track_caller]
fn refused(folder: &Path) -> Loss {
    let before = all_below(folder);
    let losses = [open(folder), look(folder)].map(|opened| {
        let error = opened.unwrap_err();
        let text = error.to_string();
        let OpenError::Lost { loss, .. } = error else { panic!("{text}") };
        assert!(text.contains(&*folder.to_string_lossy()) && text.contains("put"), "{text}");
        loss
    });
    assert!(all_below(folder) == before, "the folder was changed, with {losses:?}");
    assert_eq!(losses[0], losses[1]);
    losses[0].clone()
}

fn flip(path: &Path, byte: usize) {
    let mut content = fs::read(path).unwrap();
    content[byte] ^= 0x10;
    fs::write(path, content).unwrap();
}

/// Where the text of a log ends that has zeros behind it.
fn used(log: &Path) -> usize {
    let content = fs::read(log).unwrap();
    let chunks: Vec<&[u8]> = content.chunks(1_024).collect();
    let last = chunks.iter().rposition(|chunk| **chunk != [0; 1_024][..chunk.len()]).unwrap();
    last * 1_024 + chunks[last].iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// A folder of the first engine on it, killed.
async fn first() -> TempDir {
    let folder = TempDir::new().unwrap();
    let local = open(folder.path()).unwrap();
    send_all(&local).await;
    killed(folder.path())
}

/// A folder of a later engine on it, killed.
async fn later() -> TempDir {
    let folder = TempDir::new().unwrap();
    send_all(&open(folder.path()).unwrap()).await;
    let local = open(folder.path()).unwrap();
    send_all(&local).await;
    killed(folder.path())
}

#[tokio::test]
async fn a_kill_alone_loses_nothing_and_neither_does_a_stop() {
    for (folder, sent) in [(first().await, SENT), (later().await, 2 * SENT)] {
        assert_eq!(held(&look(folder.path()).unwrap()).await, sent);
        assert_eq!(held(&open(folder.path()).unwrap()).await, sent);
        assert!(!folder.path().join(LOG).exists(), "a stop leaves no log");
        assert_eq!(local::accept_loss(folder.path(), &model()).unwrap(), None);
        assert_eq!(held(&open(folder.path()).unwrap()).await, sent);
    }
}

#[tokio::test]
async fn a_log_that_is_missing_or_cut_is_refused_until_the_loss_is_accepted() {
    for (folder, before) in [(first().await, 0), (later().await, SENT)] {
        let log = folder.path().join(LOG);
        let whole = fs::read(&log).unwrap();
        let end = used(&log);
        for part in [0, 1, 2, 3, 5, 9] {
            let cut = end * part / 10;
            fs::write(&log, &whole[..cut]).unwrap();
            match refused(folder.path()) {
                Loss::Database { commits } => assert!(before == 0 && commits >= SENT),
                Loss::Commits { commits, found, log } => {
                    assert!(commits > found && found >= before && commits >= before + SENT);
                    assert_eq!(log, if cut == 0 { "is missing" } else { "is cut or damaged" });
                }
                loss => panic!("{loss}"),
            }
        }
        fs::remove_file(&log).unwrap();
        let loss = refused(folder.path());
        if before == 0 {
            assert!(matches!(loss, Loss::Database { .. }), "{loss}");
            let error = local::accept_loss(folder.path(), &model()).unwrap_err();
            assert!(matches!(error, OpenError::Lost { loss: Loss::Database { .. }, .. }), "{error}");
        } else {
            assert!(loss.to_string().contains("--accept-loss"), "{loss}");
            assert_eq!(local::accept_loss(folder.path(), &model()).unwrap(), Some(loss));
            let local = open(folder.path()).unwrap();
            assert_eq!(held(&local).await, before);
            send_all(&local).await;
            drop(local);
            assert_eq!(held(&open(folder.path()).unwrap()).await, before + SENT);
        }
    }
}

#[tokio::test]
async fn a_bit_of_the_log_that_counts_is_missed_wherever_it_is() {
    let folder = later().await;
    let log = folder.path().join(LOG);
    let (whole, end) = (fs::read(&log).unwrap(), used(&log));
    let header = [0, 3, 5, 9, 13, 17, 21, 25, 31];
    let frames = (0..24).map(|part| 32 + (end - 33) * part / 23);
    for byte in header.into_iter().chain(frames) {
        flip(&log, byte);
        let loss = refused(folder.path());
        assert!(matches!(loss, Loss::Commits { .. }), "byte {byte}: {loss}");
        fs::write(&log, &whole).unwrap();
    }
    // What lies behind its end is not of the log.
    flip(&log, end + 1_000);
    assert_eq!(held(&look(folder.path()).unwrap()).await, 2 * SENT);
    fs::write(&log, &whole[..end.next_multiple_of(8)]).unwrap();
    assert_eq!(held(&open(folder.path()).unwrap()).await, 2 * SENT);
}

#[tokio::test]
async fn a_database_that_is_missing_empty_or_another_one_is_refused() {
    let other = TempDir::new().unwrap();
    send_all(&open_as(other.path(), 2).unwrap()).await;
    send_all(&open_as(other.path(), 2).unwrap()).await;
    let folder = TempDir::new().unwrap();
    let database = folder.path().join(DATABASE);
    send_all(&open(folder.path()).unwrap()).await;
    let older = fs::read(&database).unwrap();
    send_all(&open(folder.path()).unwrap()).await;
    // With and without what lies around it.
    for is_alone in [false, true] {
        if is_alone {
            fs::remove_dir_all(folder.path().join("bucket")).unwrap();
        }
        let latest = fs::read(&database).unwrap();
        fs::write(&database, "").unwrap();
        assert!(matches!(refused(folder.path()), Loss::Database { commits } if commits >= 2 * SENT));
        fs::remove_file(&database).unwrap();
        assert!(matches!(refused(folder.path()), Loss::Database { commits } if commits >= 2 * SENT));
        fs::write(&database, &older).unwrap();
        let loss = refused(folder.path());
        assert!(matches!(loss, Loss::Commits { found, .. } if found < 2 * SENT), "{loss}");
        fs::copy(other.path().join(DATABASE), &database).unwrap();
        assert!(matches!(refused(folder.path()), Loss::Replaced { .. }));
        fs::write(&database, latest).unwrap();
    }
    fs::create_dir_all(folder.path().join("bucket/labels")).unwrap();
    assert_eq!(held(&open(folder.path()).unwrap()).await, 2 * SENT);
}

#[tokio::test]
async fn a_database_that_is_cut_is_refused_whether_or_not_its_log_is_there() {
    const PAGE: u64 = 8_192;
    let whole = later().await;
    let database = whole.path().join(DATABASE);
    let (bytes, log) = (fs::metadata(&database).unwrap().len(), fs::read(whole.path().join(LOG)).unwrap());
    assert!(bytes % PAGE == 0 && bytes > 8 * PAGE, "{bytes}");
    let lengths = [1, 99, 100, 5_000, PAGE, 2 * PAGE, bytes / PAGE / 2 * PAGE, bytes - PAGE, bytes - 1];
    for (found, has_log) in lengths.into_iter().flat_map(|found| [(found, true), (found, false)]) {
        let folder = TempDir::new().unwrap();
        copy_into(whole.path(), folder.path());
        let file = fs::OpenOptions::new().write(true).open(folder.path().join(DATABASE)).unwrap();
        file.set_len(found).unwrap();
        if !has_log {
            fs::remove_file(folder.path().join(LOG)).unwrap();
        }
        let expected = if found < 100 { 100 } else { bytes };
        let loss = refused(folder.path());
        assert_eq!(loss, Loss::Cut { bytes: expected, found }, "with its log: {has_log}");
        let error = local::accept_loss(folder.path(), &model()).unwrap_err();
        assert!(matches!(error, OpenError::Lost { loss: Loss::Cut { .. }, .. }), "{error}");
        // What is put back goes on.
        fs::copy(&database, folder.path().join(DATABASE)).unwrap();
        fs::write(folder.path().join(LOG), &log).unwrap();
        assert_eq!(held(&look(folder.path()).unwrap()).await, 2 * SENT);
    }
    // Whatever the mark says, to look deletes no log.
    fs::write(&database, "S").unwrap();
    fs::write(whole.path().join(MARK), "").unwrap();
    assert_eq!(refused(whole.path()), Loss::Database { commits: 0 });
}

#[tokio::test]
async fn a_log_of_another_store_or_of_an_earlier_time_is_refused() {
    let folder = TempDir::new().unwrap();
    send_all(&open(folder.path()).unwrap()).await;
    let local = open(folder.path()).unwrap();
    send(&local).await.unwrap();
    let early = killed(folder.path());
    send_all(&local).await;
    let late = killed(folder.path());
    fs::copy(early.path().join(LOG), late.path().join(LOG)).unwrap();
    assert!(matches!(refused(late.path()), Loss::Commits { .. }));
    let other = TempDir::new().unwrap();
    let foreign = open_as(other.path(), 2).unwrap();
    for _ in 0..3 {
        send_all(&foreign).await;
    }
    fs::copy(other.path().join(LOG), late.path().join(LOG)).unwrap();
    assert!(matches!(refused(late.path()), Loss::Replaced { .. }));
}

#[tokio::test]
async fn a_mark_that_is_missing_or_damaged_is_refused_until_it_is_given_up() {
    type Lose = fn(&Path);
    let losses: [(Lose, &str); 3] = [
        (|mark| fs::remove_file(mark).unwrap(), "is missing"),
        (|mark| fs::write(mark, "").unwrap(), "is damaged"),
        (|mark| fs::write(mark, vec![0; 8_192]).unwrap(), "is damaged"),
    ];
    for (lose, mark) in losses {
        let folder = first().await;
        lose(&folder.path().join(MARK));
        assert_eq!(refused(folder.path()), Loss::Mark { mark });
        let accepted = local::accept_loss(folder.path(), &model()).unwrap();
        assert_eq!(accepted, Some(Loss::Mark { mark }));
        let local = open(folder.path()).unwrap();
        assert_eq!(held(&local).await, SENT);
        send(&local).await.unwrap();
        let folder = killed(folder.path());
        flip(&folder.path().join(LOG), used(&folder.path().join(LOG)) - 100);
        assert!(matches!(refused(folder.path()), Loss::Commits { .. }));
    }
}

#[tokio::test]
async fn a_folder_of_an_earlier_version_gets_a_mark() {
    let folder = later().await;
    drop(open(folder.path()).unwrap());
    let database = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    database.execute_batch("DROP TABLE progress; DROP TABLE bucket").unwrap();
    database.close().unwrap();
    fs::remove_file(folder.path().join(MARK)).unwrap();
    assert_eq!(held(&look(folder.path()).unwrap()).await, 2 * SENT);
    let local = open(folder.path()).unwrap();
    assert_eq!(held(&local).await, 2 * SENT);
    send(&local).await.unwrap();
    let folder = killed(folder.path());
    fs::remove_file(folder.path().join(LOG)).unwrap();
    refused(folder.path());
}

#[tokio::test]
async fn a_bucket_whose_folder_is_gone_is_refused_until_there_is_one() {
    for is_all in [false, true] {
        let folder = first().await;
        let gone = folder.path().join(if is_all { "bucket" } else { "bucket/labels" });
        fs::remove_dir_all(&gone).unwrap();
        assert_eq!(refused(folder.path()), Loss::Bucket { bucket: "labels".into() });
        fs::create_dir_all(folder.path().join("bucket/labels")).unwrap();
        assert_eq!(held(&open(folder.path()).unwrap()).await, SENT);
    }
}

/// What is done to a part of a running engine's folder, `aside` being a place beside it.
type Change = fn(path: &Path, aside: &Path);

fn rename(path: &Path, aside: &Path) {
    fs::rename(path, aside).unwrap();
}

fn replace(path: &Path, aside: &Path) {
    fs::rename(path, aside).unwrap();
    if aside.is_dir() {
        fs::create_dir(path).unwrap();
        copy_into(aside, path);
    } else {
        fs::copy(aside, path).unwrap();
    }
}

fn remove(path: &Path, _: &Path) {
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

fn put_back(path: &Path, aside: &Path) {
    if path.exists() {
        remove(path, aside);
    }
    fs::rename(aside, path).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_acknowledged_that_would_not_be_found_again() {
    for of in ["", DATABASE, LOG, MARK, "bucket", "bucket/labels"] {
        let root = TempDir::new().unwrap();
        let (folder, aside) = (root.path().join("data"), root.path().join("aside"));
        let path = if of.is_empty() { folder.clone() } else { folder.join(of) };
        let local = open(&folder).unwrap();
        let bucket = Arc::clone(&local.ports().buckets["labels"]);
        let (of_bucket, of_store) = (of.is_empty() || of.starts_with("bucket"), !of.starts_with("bucket"));
        let changes: [(&str, Change); 3] = [("renamed", rename), ("replaced", replace), ("removed", remove)];
        for (round, (what, change)) in changes.into_iter().enumerate() {
            send(&local).await.unwrap();
            assert!(bucket.put_if_absent(&format!("{round}/b"), b"x".to_vec()).await.unwrap());
            change(&path, &aside);
            if of_bucket {
                for refused in [
                    bucket.put_if_absent("c/d", b"y".to_vec()).await.map(drop).unwrap_err(),
                    bucket.get("0/b").await.map(drop).unwrap_err(),
                    bucket.list("", None, 10).await.map(drop).unwrap_err(),
                ] {
                    let text = refused.to_string();
                    assert!(refused.is_transient() && text.contains("labels was "), "{what} {of}: {text}");
                }
            }
            if of_store {
                let refused = send(&local).await.unwrap_err();
                let text = refused.to_string();
                let says = text.contains(&*path.to_string_lossy()) && text.contains("while the engine runs");
                assert!(refused.is_transient() && says, "{what} {of}: {text}");
            }
            // The first that is asked: a write is tried once a second, and the clock stands still.
            let standing = local.pipeline(&choreography()).standing().await;
            let expected = [(of_bucket, "writes of labels"), (of_store, "writes of parcels")];
            let expected: Vec<&str> = expected.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
            assert!(round > 0 || standing.iter().eq(&expected), "{what} {of}: {standing:?}");
            assert!(what == "replaced" || !path.exists(), "{what} {of}: it was made anew");
            if what != "removed" {
                put_back(&path, &aside);
            }
        }
        let mut depth = held(&local).await;
        assert_eq!(depth, 3, "{of}");
        drop((bucket, local));
        if !of_store {
            fs::create_dir_all(folder.join("bucket/labels")).unwrap();
            depth = held(&open(&folder).unwrap()).await;
            assert_eq!(depth, 3, "{of}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_engine_whose_folder_was_replaced_leaves_the_new_one_alone_when_it_ends() {
    let root = TempDir::new().unwrap();
    let (folder, aside) = (root.path().join("data"), root.path().join("aside"));
    let old = open(&folder).unwrap();
    send(&old).await.unwrap();
    old.lock().announce(([127, 0, 0, 1], 1).into()).unwrap();
    fs::rename(&folder, &aside).unwrap();
    let new = open_as(&folder, 2).unwrap();
    send_all(&new).await;
    new.lock().announce(([127, 0, 0, 1], 2).into()).unwrap();
    let before = all_below(&folder);
    send(&old).await.unwrap_err();
    drop(old);
    assert!(all_below(&folder) == before);
    send(&new).await.unwrap();
    drop(new);
    assert_eq!(held(&open(&folder).unwrap()).await, SENT + 1);
    assert_eq!(held(&open(&aside).unwrap()).await, 1);
}
