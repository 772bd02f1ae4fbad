//! The local engine: a whole choreography in one process, on an embedded, durable store in one folder.
//!
//! ```text
//! folder/quadrille.db   tables, change streams, queues (SQLite; one thread owns it, see `store`)
//! folder/bucket/<name>  the objects of a bucket, as files
//! folder/lock           held by the one process that may touch the folder
//! folder/engine.json    where that process listens
//! ```
//!
//! [`Local::open`] opens the folder and gives the ports; [`Local::start`] runs consumers, relay, schedules, alarms and
//! expiry until it is told to stop.

mod alarm;
mod bucket;
mod lock;
mod queue;
mod store;
mod table;
mod topic;

pub use alarm::AlarmPolicy;
pub use lock::{FolderLock, LockError};
pub use store::StoreError;

use crate::{
    Choreography, Pipeline,
    choreography::Model,
    engine::{Engine, Stopping},
    port::{Bucket, Clock, PortError, Ports, Random},
};
use bucket::LocalBucket;
use queue::{LocalQueue, QueueFile};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::Store;
use table::{LocalTable, TableFile};
use topic::LocalTopic;

/// How often expired items and messages past their retention are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

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
    /// [`OpenError`]: another process has the folder, or it can't be read or written.
    pub fn open(
        folder: &Path,
        model: &Model,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let lock = FolderLock::acquire(folder)?;
        let now = clock.now();
        let (store, (table_files, mut queue_files)) = Store::open(folder, |connection, rollbacks| {
            let tables = model.tables.iter().map(|table| {
                Ok((table.name.clone(), TableFile::create(connection, rollbacks, &table.name)?))
            });
            let tables = tables.collect::<rusqlite::Result<Vec<_>>>()?;
            let queues = model
                .queues
                .iter()
                .map(|queue| Ok((queue.name.clone(), QueueFile::create(connection, rollbacks, queue, now)?)));
            Ok((tables, queues.collect::<rusqlite::Result<BTreeMap<_, _>>>()?))
        })?;
        let store = Arc::new(store);
        let tables: BTreeMap<String, Arc<LocalTable>> = table_files
            .into_iter()
            .map(|(name, file)| (name, Arc::new(file.into_table(Arc::clone(&store), Arc::clone(&clock)))))
            .collect();
        // Dead-letter queues first: their sources point at them.
        let mut queues: BTreeMap<String, Arc<LocalQueue>> = BTreeMap::new();
        let (sources, ends): (Vec<_>, Vec<_>) =
            model.queues.iter().partition(|queue| queue.redrive.is_some());
        for queue in ends.into_iter().chain(sources) {
            let Some(file) = queue_files.remove(&queue.name) else {
                continue;
            };
            let redrive = queue.redrive.as_ref();
            let dead = redrive.and_then(|redrive| {
                Some((Arc::clone(queues.get(&redrive.dead_letter_queue)?), redrive.receives_max))
            });
            let local = LocalQueue::new(Arc::clone(&store), Arc::clone(&clock), file, queue, dead);
            queues.insert(queue.name.clone(), Arc::new(local));
        }
        let mut ports = Ports {
            tables: BTreeMap::new(),
            streams: BTreeMap::new(),
            queues: BTreeMap::new(),
            buckets: BTreeMap::new(),
            topics: BTreeMap::new(),
            clock: Arc::clone(&clock),
            random,
        };
        for (name, table) in &tables {
            ports.tables.insert(name.clone(), Arc::clone(table) as _);
            ports.streams.insert(name.clone(), Arc::clone(table) as _);
        }
        for (name, queue) in &queues {
            ports.queues.insert(name.clone(), Arc::clone(queue) as _);
        }
        for bucket in &model.buckets {
            let folder = folder.join("bucket").join(&bucket.name);
            let opened = LocalBucket::open(&folder).map_err(|source| OpenError::Folder { folder, source })?;
            ports.buckets.insert(bucket.name.clone(), Arc::new(opened));
        }
        for topic in &model.topics {
            let steps = model.steps.iter().filter(|step| step.topic.as_ref() == Some(&topic.name));
            let subscriptions = steps.filter_map(|step| queues.get(&step.queue).cloned()).collect();
            let local = LocalTopic { name: topic.name.clone(), subscriptions };
            ports.topics.insert(topic.name.clone(), Arc::new(local));
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
        for watch in model.alarms.iter().filter_map(|alarm| alarm::Watch::new(self, model, alarm, alarms)) {
            engine.spawn(|stopping| watch.run(stopping));
        }
        let (tables, queues, clock) = (self.tables.clone(), self.queues.clone(), Arc::clone(&self.clock));
        engine.spawn(|stopping| sweep(tables, queues, clock, stopping));
        engine
    }
}

/// Deletes what has expired, a little at a time, until the engine stops.
async fn sweep(
    tables: Vec<Arc<LocalTable>>,
    queues: BTreeMap<String, Arc<LocalQueue>>,
    clock: Arc<dyn Clock>,
    mut stopping: Stopping,
) {
    let mut next = clock.now();
    loop {
        if let Err(error) = sweep_once(&tables, &queues, clock.as_ref()).await {
            tracing::warn!(%error, "what has expired could not be deleted; tried again in a minute");
        }
        // However long that took: what has expired is gone a minute later.
        next = (next + SWEEP_EVERY).max(clock.now());
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = stopping.wait() => return,
        }
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
