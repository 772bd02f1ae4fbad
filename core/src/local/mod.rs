//! The local engine: a whole choreography in one process, on an embedded, durable store in one folder.
//!
//! ```text
//! folder/quadrille.db   tables, change streams, queues (SQLite; one thread owns it, see `store`)
//! folder/quadrille.mark how much of that was acknowledged, see `mark`
//! folder/bucket/<name>  the objects of a bucket, as files
//! folder/lock           held by the one process that may touch the folder
//! folder/engine.json    where that process listens
//! ```
//!
//! [`Local::open`] opens the folder and gives the ports; [`Local::start`] runs consumers, relay, schedules, alarms and
//! expiry until it is told to stop. [`Local::open_existing`] is for who only looks.
//!
//! A folder belongs to one choreography, whose name stands in its database. One that belongs to another, or that holds
//! anything else, is refused before a file in it is touched.

mod alarm;
mod bucket;
mod bus;
mod checksum;
mod column;
mod counts;
#[cfg(feature = "conformance")]
mod damage;
mod files;
mod folder;
mod keeper;
mod lock;
mod look;
mod loss;
mod mark;
mod place;
mod private;
mod queue;
#[cfg(test)]
mod refused;
mod sqlite;
mod store;
mod store_error;
mod table;
mod topic;

pub use crate::alarm::AlarmPolicy;
pub use folder::{accept_loss, remove};
pub use lock::{FolderLock, LockError, address, is_held};
pub use look::{FORMAT, Look, free_bytes, look};
pub use loss::Loss;
pub use store_error::StoreError;

use crate::{
    choreography::Choreography,
    engine::{Engine, Stopping},
    model::{Model, QueueModel, Rule, TableModel},
    pipeline::Pipeline,
    port::{Bucket, Clock, PortError, Ports, Random},
    services::Services,
    timestamp::Timestamp,
};
use bucket::LocalBucket;
use bus::LocalBus;
use files::BUCKETS;
use queue::{LocalQueue, QueueFile, QueueFiles};
use rusqlite::{Connection, OptionalExtension as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::{Store, Transactions};
use table::{LocalTable, TableFile};
use topic::LocalTopic;

/// How often expired items and messages past their retention are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long after a look that failed.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

/// How far ahead of the machine's clock a folder's time may be, to be followed: a week.
const AHEAD_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The name in the store's sequences under which the time is recorded: it rises as they do.
const TIME: &str = "time";

/// Expired rows deleted in one transaction.
const SWEEP_BATCH: usize = 500;

/// Opens a bucket of files in `folder`, outside any data folder.
///
/// # Errors
/// The folder can't be made or read.
pub fn bucket(folder: &Path) -> std::io::Result<Arc<dyn Bucket>> {
    Ok(Arc::new(LocalBucket::open(folder)?))
}

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bucket's folder could not be opened.
    #[error("the folder {}: {source}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others could write to the folder, or have prepared something in it.
    #[error("{} {fault}", path.display())]
    NotPrivate {
        /// The data folder, or what lies in it.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        fault: &'static str,
    },
    /// The folder is another choreography's.
    #[error(
        "the folder {} belongs to the choreography `{owner}`, not to `{wanted}`: give another folder, or a new one",
        folder.display()
    )]
    Owner {
        /// The data folder.
        folder: PathBuf,
        /// Whose it is.
        owner: String,
        /// For whom it was to be opened.
        wanted: String,
    },
    /// The folder records no owner, as an earlier version made it, and its tables are not those of the choreography.
    #[error(
        "the folder {} has the tables {found:?}, which are not those of the choreography `{wanted}`: give another folder, or a new one",
        folder.display()
    )]
    Tables {
        /// The data folder.
        folder: PathBuf,
        /// Its tables.
        found: Vec<String>,
        /// For whom it was to be opened.
        wanted: String,
    },
    /// The folder holds something, and no database of an engine's.
    #[error(
        "the folder {} is not empty and has no database of an engine's: give another folder, or put its database back",
        folder.display()
    )]
    NoData {
        /// The folder.
        folder: PathBuf,
    },
    /// Something is missing that an engine had acknowledged.
    #[error("the folder {} {loss}", folder.display())]
    Lost {
        /// The data folder.
        folder: PathBuf,
        /// What is missing, and how to go on.
        loss: Loss,
    },
    /// There is nothing to look at: no folder, or none with a database of an engine's.
    #[error("{} is no data folder: give one that an engine has been started on", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// There are files in the folder that no engine made.
    #[error("the folder {} holds {found:?}, which is no engine's: move it away first", folder.display())]
    Others {
        /// The data folder.
        folder: PathBuf,
        /// The first of them.
        found: String,
    },
    /// The folder lacks what the choreography has got since an engine was last started on it.
    #[error("the folder {} has no `{missing}` yet: start an engine on it, which adds it", folder.display())]
    Incomplete {
        /// The data folder.
        folder: PathBuf,
        /// The table or queue.
        missing: String,
    },
}

/// An open data folder.
pub struct Local {
    ports: Ports,
    store: Arc<Store>,
    tables: Vec<Arc<LocalTable>>,
    queues: BTreeMap<String, Arc<LocalQueue>>,
    clock: Arc<dyn Clock>,
    lock: FolderLock,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Local {
    /// Opens `folder` for the choreography of `model`, creating what is missing. Blocks while it reads.
    ///
    /// # Errors
    /// [`OpenError`]: another process has the folder, it is another choreography's or nobody's, or it can't be read or
    /// written. Of a folder that is refused nothing is changed.
    pub fn open(
        folder: &Path,
        model: &Model,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        // Before the lock's own file is opened, which may be a link too.
        private::check(folder)?;
        let lock = match FolderLock::existing(folder)? {
            Some(lock) => lock,
            None => {
                // A lock would leave its file in a folder that is not ours.
                folder::check(folder, model)?;
                FolderLock::create(folder)?
            }
        };
        folder::check(folder, model)?;
        private::close_to_others(folder)
            .map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })?;
        lock.forget_announcement()?;
        let (store, (files, known)) =
            Store::open(folder, &model.name, &*random, Arc::clone(&clock), |connection, transactions| {
                let now = go_on(&*clock, connection)?;
                for table in &model.tables {
                    TableFile::create(connection, &table.name)?;
                }
                let mut suspects = BTreeMap::new();
                for queue in &model.queues {
                    suspects.insert(&*queue.name, QueueFile::create(connection, queue, now)?);
                }
                for name in model.dead_letter_queues() {
                    QueueFile::index_subjects(connection, name)?;
                }
                for queue in model.published().values() {
                    QueueFile::create(connection, queue, now)?;
                }
                let files = Files::open(connection, transactions, model, suspects)?;
                Ok((files, sqlite::buckets(connection)?))
            })?;
        let local = Self::over(model, lock, store, files, (clock, random), LocalBucket::open)?;
        let new = model.buckets.iter().map(|bucket| bucket.name.clone());
        let new: Vec<String> = new.filter(|name| !known.contains(name)).collect();
        if !new.is_empty() {
            // With the first write, as no object is put before: a message that leads to one is received by a write.
            let note = move |connection: &Connection| {
                let mut note = connection.prepare("INSERT OR IGNORE INTO bucket(name) VALUES(?1)")?;
                new.iter().try_for_each(|name| note.execute((name,)).map(drop))
            };
            local
                .store
                .run_with_the_first(note)
                .map_err(|error| StoreError::Io(std::io::Error::other(error)))?;
        }
        Ok(local)
    }

    /// Opens `folder` to look at what an engine left there for the choreography of `model`. No file or folder is created or
    /// changed; what writes is refused with a permanent error. Blocks while it reads.
    ///
    /// # Errors
    /// [`OpenError`]: there is no such data folder, another process has it, it is another choreography's or lacks a part of
    /// it, or it can't be read.
    pub fn open_existing(
        folder: &Path,
        model: &Model,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        private::check(folder)?;
        let lock = FolderLock::existing(folder)?.unwrap_or_else(|| FolderLock::without_file(folder));
        folder::check_existing(folder, model)?;
        let (store, files) = Store::open_existing(folder, |connection, transactions| {
            go_on(&*clock, connection)?;
            Files::open(connection, transactions, model, BTreeMap::new())
        })?;
        Self::over(model, lock, store, files, (clock, random), LocalBucket::open_existing)
    }

    fn over(
        model: &Model,
        lock: FolderLock,
        store: Store,
        files: Files,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        open_bucket: fn(&Path) -> std::io::Result<LocalBucket>,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(store);
        let Files { tables, queues: mut files } = files;
        let tables: BTreeMap<String, Arc<LocalTable>> = tables
            .into_iter()
            .map(|(name, file)| (name, Arc::new(file.into_table(Arc::clone(&store), Arc::clone(&clock)))))
            .collect();
        let names = QueueFiles::default();
        let mut queues = queues(model, &mut files, &store, &clock, &names);
        let published = published(model, &mut files, &store, &clock, &names);
        // A second call there is none.
        let _ =
            names.set(queues.iter().map(|(name, queue)| (name.clone(), Arc::clone(queue.file()))).collect());
        let mut ports = Ports {
            tables: BTreeMap::new(),
            streams: BTreeMap::new(),
            queues: BTreeMap::new(),
            buckets: BTreeMap::new(),
            topics: BTreeMap::new(),
            buses: BTreeMap::new(),
            published: BTreeMap::new(),
            clock: Arc::clone(&clock),
            random,
            services: Services::new(),
            settings: Arc::default(),
        };
        for (name, table) in &tables {
            ports.tables.insert(name.clone(), Arc::clone(table) as _);
            ports.streams.insert(name.clone(), Arc::clone(table) as _);
        }
        for (name, queue) in &queues {
            ports.queues.insert(name.clone(), Arc::clone(queue) as _);
        }
        for bucket in &model.buckets {
            let folder = lock.folder().join(BUCKETS).join(&bucket.name);
            let opened = open_bucket(&folder).map_err(|source| OpenError::Folder { folder, source })?;
            ports.buckets.insert(bucket.name.clone(), Arc::new(opened));
        }
        for topic in &model.topics {
            let steps = model.steps.iter().filter(|step| step.topic() == Some(&topic.name));
            let subscribed = steps.filter_map(|step| queues.get(&step.queue));
            let subscriptions = subscribed.chain(published.get(&topic.name)).cloned().collect();
            let local = LocalTopic { name: topic.name.clone(), subscriptions };
            ports.topics.insert(topic.name.clone(), Arc::new(local));
        }
        for bus in &model.buses {
            let rules = model.steps.iter().filter_map(|step| {
                let (_, rule) = step.bus().filter(|(name, _)| *name == bus.name)?;
                Some((rule.clone(), Arc::clone(queues.get(&step.queue)?)))
            });
            let kept = model.leave_by_bus(&bus.name).filter_map(|event_type| {
                Some((Rule::new().or_type(event_type), Arc::clone(published.get(&bus.name)?)))
            });
            let local = LocalBus { name: bus.name.clone(), targets: rules.chain(kept).collect() };
            ports.buses.insert(bus.name.clone(), Arc::new(local));
        }
        for (name, queue) in published {
            ports.published.insert(name.clone(), Arc::clone(&queue) as _);
            queues.insert(["published/", &name].concat(), queue);
        }
        Ok(Self { ports, store, tables: tables.into_values().collect(), queues, clock, lock })
    }

    /// The ports of the folder.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The ports, to put a wrapper around one of them before the engine starts.
    pub fn ports_mut(&mut self) -> &mut Ports {
        &mut self.ports
    }

    /// The folder's lock, which also tells others where the engine listens.
    pub fn lock(&self) -> &FolderLock {
        &self.lock
    }

    /// A pipeline of the choreography over the folder.
    pub fn pipeline(&self, choreography: &Choreography) -> Pipeline {
        Pipeline::new(choreography.clone(), self.ports.clone())
    }

    /// Runs the choreography of `pipeline` over the folder until the engine is stopped.
    pub fn start(&self, pipeline: &Pipeline, alarms: AlarmPolicy) -> Engine {
        let model = pipeline.choreography().model();
        let mut engine = Engine::start(pipeline.clone());
        for watch in model.alarms.iter().filter_map(|alarm| alarm::watch(self, model, alarm, alarms)) {
            let (name, watch) = (format!("alarm {}", watch.name), Arc::new(watch));
            engine.spawn(name, move |mut stopping| {
                let watch = Arc::clone(&watch);
                async move { watch.run(stopping.wait()).await }
            });
        }
        let (tables, queues) = (self.tables.clone(), self.queues.clone());
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        engine.spawn("sweep", move |stopping| {
            sweep(tables.clone(), queues.clone(), Arc::clone(&store), Arc::clone(&clock), stopping)
        });
        engine
    }
}

/// What tables and queues need of the database before the store's thread starts.
struct Files {
    tables: Vec<(String, TableFile)>,
    queues: BTreeMap<String, QueueFile>,
}

impl Files {
    /// All of the model, which has to be there; `suspects` are those of each queue that has any.
    fn open(
        connection: &Connection,
        transactions: &Transactions,
        model: &Model,
        mut suspects: BTreeMap<&str, BTreeSet<i64>>,
    ) -> rusqlite::Result<Self> {
        let table = |table: &TableModel| {
            Ok((table.name.clone(), TableFile::open(connection, transactions, &table.name)?))
        };
        let queue = |queue: &QueueModel| {
            let suspects = suspects.remove(&*queue.name).unwrap_or_default();
            Ok((queue.name.clone(), QueueFile::open(connection, transactions, queue, suspects)?))
        };
        let tables = model.tables.iter().map(table).collect::<rusqlite::Result<_>>()?;
        let published = model.published();
        let queues = model.queues.iter().chain(published.values());
        Ok(Self { tables, queues: queues.map(queue).collect::<rusqlite::Result<_>>()? })
    }
}

/// The queues of the model, each with its dead-letter queue.
fn queues(
    model: &Model,
    files: &mut BTreeMap<String, QueueFile>,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
    names: &QueueFiles,
) -> BTreeMap<String, Arc<LocalQueue>> {
    let mut queues: BTreeMap<String, Arc<LocalQueue>> = BTreeMap::new();
    // Dead-letter queues first: their sources point at them.
    let (sources, ends): (Vec<_>, Vec<_>) = model.queues.iter().partition(|queue| queue.redrive.is_some());
    for queue in ends.into_iter().chain(sources) {
        let Some(file) = files.remove(&queue.name) else {
            continue;
        };
        let redrive = queue.redrive.as_ref();
        let dead = redrive.and_then(|redrive| {
            Some((Arc::clone(queues.get(&redrive.dead_letter_queue)?), redrive.receives_max))
        });
        let local =
            LocalQueue::new(Arc::clone(store), Arc::clone(clock), file, queue, dead, Arc::clone(names));
        queues.insert(queue.name.clone(), Arc::new(local));
    }
    queues
}

/// What left by each topic and bus.
fn published(
    model: &Model,
    files: &mut BTreeMap<String, QueueFile>,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
    names: &QueueFiles,
) -> BTreeMap<String, Arc<LocalQueue>> {
    let kept = model.published().into_iter().filter_map(|(name, queue)| {
        let file = files.remove(&queue.name)?;
        let local =
            LocalQueue::new(Arc::clone(store), Arc::clone(clock), file, &queue, None, Arc::clone(names));
        Some((name.to_owned(), Arc::new(local)))
    });
    kept.collect()
}

/// The time that the clock gives, which is not before what the folder has recorded: what stands there would be from the future,
/// and wait for its time without a word. A time that is too far ahead to be a mistake of days is told, and not followed: it may
/// be damage, or somebody's who prepared the folder.
fn go_on(clock: &dyn Clock, connection: &Connection) -> rusqlite::Result<Timestamp> {
    let mut recorded = connection.prepare("SELECT reserved FROM sequence WHERE name = ?1")?;
    let recorded = recorded.query_row((TIME,), |row| Ok(row.get_ref(0)?.as_i64().ok())).optional()?;
    if recorded == Some(None) {
        tracing::error!("the time of the data folder is damaged: the machine's clock is followed");
    }
    if let Some(recorded) = recorded.flatten().map(Timestamp::from_millis) {
        let ahead = recorded.since(clock.now());
        if ahead <= AHEAD_MAX {
            clock.not_before(recorded);
        } else {
            let ahead_seconds = ahead.as_secs();
            tracing::error!(
                ahead_seconds,
                "the data folder was last written far ahead of the machine's clock, which is followed: what was written then \
                 waits for its time"
            );
        }
    }
    Ok(clock.now())
}

/// Records the time with the next write.
async fn record(time: Timestamp, store: &Store) -> Result<(), PortError> {
    let record = move |connection: &Connection| {
        let mut record = connection.prepare_cached(
            "INSERT INTO sequence(name, reserved) VALUES(?1, ?2)
             ON CONFLICT(name) DO UPDATE SET reserved = ?2",
        )?;
        record.execute((TIME, time.as_millis())).map(|_| ())
    };
    store.run_later(record).await
}

/// Deletes what has expired, a little at a time, and records the time, until the engine stops.
async fn sweep(
    tables: Vec<Arc<LocalTable>>,
    queues: BTreeMap<String, Arc<LocalQueue>>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    mut stopping: Stopping,
) {
    let mut next = clock.now();
    loop {
        let swept = sweep_once(&tables, &queues, clock.as_ref()).await;
        if let Err(error) = &swept {
            tracing::warn!(%error, "what has expired could not be deleted; tried again in a second");
        }
        if let Err(error) = record(clock.now(), &store).await {
            tracing::warn!(%error, "the time could not be recorded; tried again in a minute");
        }
        // However long that took: what has expired is gone a minute later.
        next = if swept.is_ok() { (next + SWEEP_EVERY).max(clock.now()) } else { clock.now() + SWEEP_AGAIN };
        tokio::select! {
            biased;
            () = stopping.wait() => break,
            () = clock.sleep_until(next) => {}
        }
    }
    if let Err(error) = record(clock.now(), &store).await {
        tracing::warn!(%error, "the time could not be recorded");
    }
}

async fn sweep_once(
    tables: &[Arc<LocalTable>],
    queues: &BTreeMap<String, Arc<LocalQueue>>,
    clock: &dyn Clock,
) -> Result<(), PortError> {
    for table in tables {
        while table.expire(clock.now(), SWEEP_BATCH).await? == SWEEP_BATCH {}
    }
    for queue in queues.values() {
        while queue.expire(clock.now(), SWEEP_BATCH).await? == SWEEP_BATCH {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::VirtualClock,
        model::{QueueModel, RedrivePolicy, TableModel},
        port::{IndexEntry, IndexQuery, Item, Queue, SeededRandom},
    };

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const EVENT: &str = r#"{"specversion":"1.0","id":"thing/é@1800000000000.1.0"}"#;
    /// An item with its event, a dead letter, and three messages: one in hand, one to be had at once, one later.
    const FOLDER_1: &str = include_str!("../../tests/fixtures/folder.v1.sql");

    fn model() -> Model {
        let redrive = RedrivePolicy { dead_letter_queue: "work-dlq".into(), receives_max: 10 };
        let queue = |name: &str, redrive| QueueModel {
            name: name.into(),
            visibility_timeout: Duration::from_secs(60),
            retention: Duration::from_secs(14 * 86_400),
            redrive,
            physical: None,
            is_outside: false,
        };
        Model {
            tables: vec![TableModel {
                name: "things".into(),
                kinds: vec!["thing".into()],
                ..TableModel::default()
            }],
            queues: vec![queue("work", Some(redrive)), queue("work-dlq", None)],
            ..Model::default()
        }
    }

    fn item() -> Item {
        let index = IndexEntry { partition: "open/1".into(), sort: "1/é".into() };
        Item {
            key: "thing/é".into(),
            version: 1,
            document: r#"{"state":{"id":"é"}}"#.into(),
            expires_at: Some(START + Duration::from_secs(86_400)),
            index: Some(index),
        }
    }

    /// What can be received now: the bodies, and how often each was received.
    async fn received(queue: &Arc<dyn Queue>) -> Vec<(String, u32)> {
        let mut messages = queue.receive(10, Duration::ZERO, None).await.unwrap();
        messages.sort_by(|a, b| a.body.cmp(&b.body));
        for message in &messages {
            assert_eq!((message.attributes["reason"].as_str(), message.sent_at), ("burnt", START));
        }
        messages.into_iter().map(|message| (message.body, message.receive_count)).collect()
    }

    #[tokio::test]
    async fn a_folder_that_version_1_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(folder.path().join("quadrille.db")).unwrap();
        database.execute_batch(FOLDER_1).unwrap();
        database.close().unwrap();
        let clock = Arc::new(VirtualClock::new(START));
        let local =
            Local::open(folder.path(), &model(), Arc::clone(&clock) as _, Arc::new(SeededRandom::new(1)))
                .unwrap();
        let (table, stream) = (&local.ports().tables["things"], &local.ports().streams["things"]);
        assert_eq!(table.get(&["thing/é".to_owned()]).await.unwrap(), [Some(item())]);
        let query = IndexQuery { partition: "open/1".into(), after: None, before: None, limit: 10 };
        assert_eq!(table.query(&query).await.unwrap().items, [item()]);
        let records = stream.read(10, Duration::ZERO).await.unwrap();
        assert_eq!((records.len(), records[0].key.as_str(), records[0].version), (1, "thing/é", 1));
        assert_eq!(
            records[0].outbox.as_ref().unwrap().iter().map(|event| event.get()).collect::<Vec<_>>(),
            [EVENT]
        );
        let (work, dead) = (&local.ports().queues["work"], &local.ports().queues["work-dlq"]);
        // What was in hand when the process ended has been received.
        assert_eq!(received(work).await, [("at once".to_owned(), 1), ("in hand".to_owned(), 2)]);
        assert_eq!(received(dead).await, [("dead".to_owned(), 1)]);
        clock.advance(Duration::from_secs(600));
        let later = received(work).await;
        assert!(later.contains(&("later".to_owned(), 1)), "{later:?}");
    }
}
