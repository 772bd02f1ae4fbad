//! Whose a data folder is, and what is left alone in one that is somebody else's. A folder is compared file by file.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Consumer,
    choreography::Model,
    local::{self, Local, LockError, Loss, OpenError},
    memory::VirtualClock,
    port::{NewMessage, SeededRandom},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use support::*;
use tempfile::TempDir;

/// The model of the choreography `name`, which has a table of parcels and a queue.
fn model(name: &str) -> Model {
    let choreography = parcels::<(Scanned,)>().on(Consumer::new("scan", scan)).build().unwrap();
    Model { name: name.to_owned(), ..Model::clone(choreography.model()) }
}

type Opened = Result<Local, OpenError>;

fn open(folder: &Path, name: &str) -> Opened {
    open_model(folder, &model(name))
}

fn open_model(folder: &Path, model: &Model) -> Opened {
    Local::open(folder, model, Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)))
}

fn look(folder: &Path, model: &Model) -> Opened {
    Local::open_existing(folder, model, Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)))
}

async fn send(local: &Local, body: &str) {
    let message = NewMessage { body: body.to_owned(), ..NewMessage::default() };
    assert_eq!(local.ports().queues["scan"].send(vec![message]).await, [Ok(())]);
}

async fn bodies(local: &Local) -> Vec<String> {
    let arrived = local.ports().queues["scan"].arrived(0, 10).await.unwrap();
    arrived.into_iter().map(|(_, message)| message.body).collect()
}

/// Every file below a folder with its content, and every folder.
fn all_below(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
            all.insert(path, None);
        } else {
            let content = fs::read(&path).unwrap();
            all.insert(path, Some(content));
        }
    }
    all
}

/// The error of an opening that has to leave the folder as it was.
#[track_caller]
fn refused(folder: &Path, open: impl FnOnce() -> Opened) -> OpenError {
    let before = all_below(folder);
    let error = open().unwrap_err();
    // Not compared by `assert_eq!`, which would print a whole database.
    assert!(all_below(folder) == before, "the folder was changed, with {error}");
    error
}

#[track_caller]
fn assert_owner(error: &OpenError, its_owner: &str, its_wanted: &str) {
    let OpenError::Owner { owner, wanted, .. } = error else { panic!("{error}") };
    assert_eq!((owner.as_str(), wanted.as_str()), (its_owner, its_wanted));
    let text = error.to_string();
    assert!(text.contains(its_owner) && text.contains("give another folder"), "{text}");
}

#[track_caller]
fn lost(error: &OpenError) -> &Loss {
    let OpenError::Lost { loss, .. } = error else { panic!("{error}") };
    loss
}

/// A folder of `parcels` with one message, closed in good order.
async fn closed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    send(&open(folder.path(), "parcels").unwrap(), "kept").await;
    folder
}

/// The same as a crash leaves it: nothing is closed, and the message stands in the log alone.
async fn crashed() -> TempDir {
    let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let local = open(folder.path(), "parcels").unwrap();
    send(&local, "kept").await;
    for name in ["lock", "quadrille.db", "quadrille.db-wal", "quadrille.mark"] {
        fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    fs::write(crashed.path().join("engine.json"), r#"{"address":"127.0.0.1:9"}"#).unwrap();
    crashed
}

/// What an SQLite database holds after `statements`.
fn with_database(path: &Path, statements: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_folder_belongs_to_the_choreography_that_it_was_made_for() {
    for folder in [closed().await, crashed().await] {
        let error = refused(folder.path(), || open(folder.path(), "letters"));
        assert_owner(&error, "parcels", "letters");
        let error = refused(folder.path(), || look(folder.path(), &model("letters")));
        assert_owner(&error, "parcels", "letters");
        assert_eq!(bodies(&open(folder.path(), "parcels").unwrap()).await, ["kept"]);
    }
}

#[tokio::test]
async fn a_copy_without_the_lock_file_belongs_to_it_as_well() {
    for folder in [closed().await, crashed().await] {
        fs::remove_file(folder.path().join("lock")).unwrap();
        let error = refused(folder.path(), || open(folder.path(), "letters"));
        assert_owner(&error, "parcels", "letters");
        let before = all_below(folder.path());
        assert_eq!(bodies(&look(folder.path(), &model("parcels")).unwrap()).await, ["kept"]);
        assert!(all_below(folder.path()) == before);
        assert_eq!(bodies(&open(folder.path(), "parcels").unwrap()).await, ["kept"]);
    }
}

#[test]
fn a_folder_with_anything_else_in_it_is_refused() {
    type Make = fn(&Path);
    let strange: [(&str, Make); 4] = [
        ("a file", |folder| fs::write(folder.join("notes.txt"), "mine").unwrap()),
        ("a folder", |folder| fs::create_dir(folder.join("src")).unwrap()),
        ("a text in the place of the database", |folder| {
            fs::write(folder.join("quadrille.db"), "not a database, but long enough to be one".repeat(99))
                .unwrap();
        }),
        ("a database of somebody else's", |folder| {
            with_database(&folder.join("quadrille.db"), "CREATE TABLE note(text TEXT)");
        }),
    ];
    for (what, make) in strange {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let error = refused(folder.path(), || open(folder.path(), "parcels"));
        assert!(matches!(error, OpenError::NoData { .. }), "{what}: {error}");
        let error = refused(folder.path(), || look(folder.path(), &model("parcels")));
        assert!(matches!(error, OpenError::Missing { .. }), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_folder_whose_database_is_gone_or_empty_is_not_begun_anew() {
    let losses: [fn(&Path); 2] =
        [|database| fs::remove_file(database).unwrap(), |database| fs::write(database, "").unwrap()];
    for lose in losses {
        for folder in [closed().await, crashed().await] {
            fs::create_dir_all(folder.path().join("bucket")).unwrap();
            lose(&folder.path().join("quadrille.db"));
            let error = refused(folder.path(), || open(folder.path(), "parcels"));
            assert!(matches!(lost(&error), Loss::Database { commits: 1.. }), "{error}");
            fs::remove_file(folder.path().join("quadrille.mark")).unwrap();
            let error = refused(folder.path(), || open(folder.path(), "parcels"));
            assert!(matches!(error, OpenError::NoData { .. }), "as an earlier version left it: {error}");
        }
    }
}

#[test]
fn an_opening_that_did_not_get_far_is_made_good_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lock", "quadrille.db"] {
        fs::write(folder.path().join(name), "").unwrap();
        open(folder.path(), "parcels").unwrap();
        assert_owner(&open(folder.path(), "letters").unwrap_err(), "parcels", "letters");
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_of_an_earlier_version_is_taken_over_by_whose_tables_it_has() {
    let folder = closed().await;
    with_database(&folder.path().join("quadrille.db"), "DROP TABLE owner");
    let mut other = model("letters");
    other.tables[0].name = "letters".to_owned();
    for refused in [
        refused(folder.path(), || open_model(folder.path(), &other)),
        refused(folder.path(), || look(folder.path(), &other)),
    ] {
        let OpenError::Tables { found, wanted, .. } = &refused else { panic!("{refused}") };
        assert_eq!((found.as_slice(), wanted.as_str()), (&[PARCELS.to_owned()][..], "letters"));
    }
    assert_eq!(bodies(&look(folder.path(), &model("parcels")).unwrap()).await, ["kept"]);
    assert_eq!(bodies(&open(folder.path(), "parcels").unwrap()).await, ["kept"]);
    let mut same_tables = refused(folder.path(), || open(folder.path(), "letters"));
    assert_owner(&same_tables, "parcels", "letters");
    same_tables = refused(folder.path(), || open_model(folder.path(), &other));
    assert_owner(&same_tables, "parcels", "letters");
}

#[test]
fn to_look_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let missing = refused(root.path(), || look(&root.path().join("data"), &model("parcels")));
    let empty = refused(root.path(), || look(root.path(), &model("parcels")));
    for error in [missing, empty] {
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("is no data folder: give one"), "{error}");
    }
}

#[tokio::test]
async fn to_look_shows_what_is_there_and_changes_nothing() {
    for folder in [closed().await, crashed().await] {
        // Where a bucket's folder is missing, too.
        let _ = fs::remove_dir_all(folder.path().join("bucket"));
        let before = all_below(folder.path());
        let local = look(folder.path(), &model("parcels")).unwrap();
        assert_eq!(bodies(&local).await, ["kept"]);
        let ports = local.ports();
        assert_eq!(ports.queues["scan"].depth().await.unwrap().visible, 1);
        assert_eq!(ports.streams[PARCELS].read(10, Duration::ZERO).await.unwrap().len(), 0);
        let sent =
            ports.queues["scan"].send(vec![NewMessage { body: "x".into(), ..Default::default() }]).await;
        let received = ports.queues["scan"].receive(1, Duration::ZERO, None).await;
        let checkpointed = ports.streams[PARCELS].checkpoint(1).await;
        for error in [sent[0].clone().unwrap_err(), received.unwrap_err(), checkpointed.unwrap_err()] {
            assert!(!error.is_transient() && error.to_string().contains("read only"), "{error}");
        }
        drop(local);
        assert!(all_below(folder.path()) == before);
    }
}

#[tokio::test]
async fn to_look_at_what_the_choreography_has_got_since_is_an_error_that_names_it() {
    let folder = closed().await;
    let mut grown = model("parcels");
    let mut queue = grown.queues[0].clone();
    queue.name = "count".to_owned();
    grown.queues.push(queue);
    let error = refused(folder.path(), || look(folder.path(), &grown));
    assert!(matches!(&error, OpenError::Incomplete { missing, .. } if missing == "count"), "{error}");
    drop(open_model(folder.path(), &grown).unwrap());
    look(folder.path(), &grown).unwrap();
}

#[tokio::test]
async fn a_folder_that_somebody_has_is_looked_at_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let _local = open(folder.path(), "parcels").unwrap();
    for name in ["parcels", "letters"] {
        for opened in [open(folder.path(), name), look(folder.path(), &model(name))] {
            let error = opened.unwrap_err();
            assert!(matches!(error, OpenError::Lock(LockError::Held { .. })), "{error}");
        }
    }
}

#[tokio::test]
async fn the_name_of_a_folder_may_hold_any_character() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("50% of a?b#c d'e\"é");
    send(&open(&folder, "parcels").unwrap(), "kept").await;
    assert_eq!(bodies(&look(&folder, &model("parcels")).unwrap()).await, ["kept"]);
    assert_owner(&open(&folder, "letters").unwrap_err(), "parcels", "letters");
}

#[tokio::test]
async fn a_folder_is_removed_by_its_owner_alone_with_what_engines_made_and_nothing_else() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("data");
    let local = open(&folder, "post").unwrap();
    send(&local, "letter").await;
    let remove = |name: &str| local::remove(&folder, &model(name), &["notes.jsonl"]);
    assert!(matches!(remove("post"), Err(OpenError::Lock(LockError::Held { .. }))));
    drop(local);
    fs::write(folder.join("notes.jsonl"), "{}").unwrap();
    fs::write(folder.join("my thesis"), "…").unwrap();
    let before = all_below(&folder);
    let error = remove("post").unwrap_err();
    assert!(matches!(&error, OpenError::Others { found, .. } if found == "my thesis"), "{error}");
    fs::remove_file(folder.join("my thesis")).unwrap();
    assert_owner(&remove("laundry").unwrap_err(), "post", "laundry");
    assert_eq!(all_below(&folder).len(), before.len() - 1);
    remove("post").unwrap();
    assert!(!folder.exists());
    assert!(matches!(remove("post"), Err(OpenError::Missing { .. })));
    assert!(matches!(local::remove(root.path(), &model("post"), &[]), Err(OpenError::Missing { .. })));
    fs::write(root.path().join("a"), "").unwrap();
    assert!(matches!(local::remove(root.path(), &model("post"), &[]), Err(OpenError::NoData { .. })));
}

/// What others may do with a file or a folder.
#[cfg(unix)]
mod others {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    fn allow(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn assert_not_private(error: &OpenError, says: &str) {
        assert!(matches!(error, OpenError::NotPrivate { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[tokio::test]
    async fn what_lies_in_a_folder_is_its_owners_alone() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("data");
        fs::create_dir(&folder).unwrap();
        allow(&folder, 0o755);
        let local = open(&folder, "parcels").unwrap();
        send(&local, "kept").await;
        let files = [local_files(&folder), vec![folder.join("lock")]].concat();
        for file in &files {
            assert_eq!(mode(file), 0o600, "{}", file.display());
        }
        drop(local);
        // As an earlier version left them.
        fs::create_dir_all(folder.join("bucket/results")).unwrap();
        for path in ["bucket", "bucket/results"] {
            allow(&folder.join(path), 0o775);
        }
        allow(&folder.join("quadrille.db"), 0o644);
        drop(look(&folder, &model("parcels")).unwrap());
        assert_eq!(mode(&folder.join("quadrille.db")), 0o644, "to look changes nothing");
        let local = open(&folder, "parcels").unwrap();
        assert_eq!(bodies(&local).await, ["kept"]);
        let modes = ["bucket", "bucket/results", "quadrille.db", "quadrille.db-wal"];
        assert_eq!(modes.map(|path| mode(&folder.join(path))), [0o700, 0o700, 0o600, 0o600]);
    }

    fn local_files(folder: &Path) -> Vec<PathBuf> {
        all_below(folder).into_iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path).collect()
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let root = TempDir::new().unwrap();
        let (new, made) = (root.path().join("new"), root.path().join("made"));
        fs::create_dir(&new).unwrap();
        drop(open(&made, "parcels").unwrap());
        for folder in [&new, &made] {
            for open_to in [0o777, 0o775, 0o757, 0o1777] {
                allow(folder, open_to);
                assert_not_private(&refused(folder, || open(folder, "parcels")), "chmod go-w");
                assert_not_private(&refused(folder, || look(folder, &model("parcels"))), "chmod go-w");
            }
            allow(folder, 0o755);
            drop(open(folder, "parcels").unwrap());
        }
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("data");
        drop(open(&folder, "parcels").unwrap());
        if fs::metadata(&folder).unwrap().uid() != 0 {
            // Only root can give a folder away; there is one of root's on each machine.
            assert_not_private(&open(Path::new("/"), "parcels").unwrap_err(), "another user");
            return;
        }
        chown(folder.join("quadrille.db"), Some(12_345), None).unwrap();
        assert_not_private(&refused(&folder, || open(&folder, "parcels")), "another user");
        chown(folder.join("quadrille.db"), Some(0), None).unwrap();
        chown(&folder, Some(12_345), None).unwrap();
        assert_not_private(&refused(&folder, || open(&folder, "parcels")), "another user");
        assert_not_private(&refused(&folder, || look(&folder, &model("parcels"))), "another user");
    }

    #[test]
    fn a_link_that_somebody_prepared_is_refused_and_nothing_behind_it_changes() {
        let outside = TempDir::new().unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        let files = ["lock", "engine.json", "engine.json.partial", "quadrille.db", "quadrille.db-wal"];
        for name in
            files.into_iter().chain(["quadrille.db-journal", "notifications.jsonl", "bucket", "bucket/x"])
        {
            for is_made in [false, true] {
                let root = TempDir::new().unwrap();
                let link = root.path().join(name);
                if is_made {
                    drop(open(root.path(), "parcels").unwrap());
                    let _ = fs::rename(&link, outside.path().join("moved"));
                }
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                let target = if name.starts_with("bucket") { outside.path() } else { &victim };
                symlink(target, &link).unwrap();
                let error = open(root.path(), "parcels").unwrap_err();
                // A folder without a database, and with what no opening leaves, is refused as what it is.
                if is_made && name != "quadrille.db" || files.contains(&name) {
                    assert_not_private(&error, "is a link");
                }
                assert_eq!(fs::read(&victim).unwrap(), b"theirs", "{name}");
                assert!(
                    !outside.path().join("quadrille.db-wal").exists()
                        && !outside.path().join(".partial").exists()
                );
            }
        }
    }

    #[test]
    fn a_file_with_a_second_name_elsewhere_is_refused() {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new_in(std::env::temp_dir()).unwrap());
        let victim = outside.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        drop(open(root.path(), "parcels").unwrap());
        fs::hard_link(&victim, root.path().join("engine.json.partial")).unwrap();
        assert_not_private(&refused(root.path(), || open(root.path(), "parcels")), "hard link");
    }
}
