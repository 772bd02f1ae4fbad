//! Table with its change stream, in memory.

use crate::{
    limits::{INDEX_SORT_BYTES_MAX, ITEM_BYTES_MAX, KEY_BYTES_MAX},
    planted::planted,
    port::{
        ChangeStream, Clock, CommitError, Document, IndexEntry, IndexPage, IndexQuery, Item, PortError,
        ScanPage, StreamRecord, Table, Unreadable, UnreadableOutbox, Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// How long after its expiry an item is deleted.
pub(super) const EXPIRY_LAG: Duration = Duration::from_secs(3_600);

/// Most items a page of the index or of a scan holds.
const PAGE_ITEMS_MAX: usize = 1_000;

/// A table and its change stream.
pub(super) struct MemoryTable {
    name: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Tells the stream's reader of a new record.
    emitted: Notify,
    /// How long after its expiry an item is deleted, in milliseconds.
    expiry_lag: AtomicU64,
}

#[derive(Default)]
struct State {
    items: BTreeMap<String, Item>,
    /// Index entries with the key of their item, in the order in which they are read.
    index: BTreeSet<(IndexEntry, String)>,
    /// How many of them each partition has.
    listed: BTreeMap<String, u64>,
    /// Items that expire, the earliest first.
    expiring: BTreeSet<(Timestamp, String)>,
    last_sequence: u64,
    /// What was emitted and is not checkpointed, by its sequence.
    stream: BTreeMap<u64, StreamRecord>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl MemoryTable {
    pub(super) fn new(name: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            name,
            clock,
            state: Mutex::default(),
            emitted: Notify::new(),
            expiry_lag: AtomicU64::new(millis(EXPIRY_LAG)),
        }
    }

    /// The state as of now: what expired long enough ago is deleted. Every item is deleted once, so that this costs
    /// no more than the writes did.
    fn state(&self) -> MutexGuard<'_, State> {
        let now = self.clock.now();
        let lag = Duration::from_millis(self.expiry_lag.load(Ordering::Relaxed));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((expired, key)) = state.expiring.first()
            && *expired + lag <= now
        {
            let key = key.clone();
            state.remove(&key);
        }
        state
    }

    /// From now on an item is deleted so long after its expiry.
    #[cfg(feature = "sim")]
    pub(super) fn expire_after(&self, lag: Duration) {
        self.expiry_lag.store(millis(lag), Ordering::Relaxed);
    }

    pub(super) fn damage_item(&self, key: &str) -> bool {
        let mut state = self.state();
        let item = state.items.get_mut(key);
        item.map(|item| item.document = Document::unreadable("damaged by a test")).is_some()
    }

    pub(super) fn damage_record(&self, key: &str) -> bool {
        let mut state = self.state();
        let record = state.stream.values_mut().find(|record| record.key == key);
        let outbox = || UnreadableOutbox { why: Unreadable::new("damaged by a test"), text: "[".to_owned() };
        record.map(|record| record.outbox = Err(outbox())).is_some()
    }

    fn check_limit(&self, limit: usize) -> Result<(), PortError> {
        if (1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Ok(());
        }
        let detail = format_args!("a page of {limit} items; 1 to {PAGE_ITEMS_MAX} are allowed");
        Err(PortError::permanent(&self.name, detail))
    }

    /// Refuses what no table would take, and what the caller must not ask for.
    fn check(&self, write: &Write) -> Result<(), CommitError> {
        let refuse = |detail: &str| Err(CommitError::Port(PortError::permanent(&self.name, detail)));
        let within = |text: &str, bytes_max: usize| (1..=bytes_max).contains(&text.len());
        if !within(&write.item.key, KEY_BYTES_MAX) {
            return refuse("the key has no bytes, or more than 2,048");
        }
        if let Some(entry) = &write.item.index
            && !(within(&entry.partition, KEY_BYTES_MAX) && within(&entry.sort, INDEX_SORT_BYTES_MAX))
        {
            return refuse(
                "the index entry has an empty key, a partition over 2,048 or a sort over 1,024 bytes",
            );
        }
        if write.item.version != write.expected.saturating_add(1) {
            return refuse("the version written is not one more than the expected one");
        }
        if let Err(why) = write.item.document.text() {
            return Err(PortError::permanent(&self.name, why).into());
        }
        let bytes = size(write);
        if bytes > ITEM_BYTES_MAX { Err(CommitError::TooLarge { bytes }) } else { Ok(()) }
    }
}

/// Bytes of the item with all that is written beside it.
fn size(write: &Write) -> usize {
    let Item { key, document, index, .. } = &write.item;
    let document = document.text().unwrap_or_default();
    let index = index.as_ref().map_or(0, |entry| entry.partition.len() + entry.sort.len());
    let outbox: usize = write.outbox.iter().map(|event| event.get().len()).sum();
    key.len() + document.len() + index + outbox
}

impl State {
    fn remove(&mut self, key: &str) {
        let Some(item) = self.items.remove(key) else {
            return;
        };
        if let Some(entry) = item.index {
            if let Some(listed) = self.listed.get_mut(&entry.partition) {
                *listed -= 1;
                if *listed == 0 {
                    self.listed.remove(&entry.partition);
                }
            }
            self.index.remove(&(entry, item.key.clone()));
        }
        if let Some(at) = item.expires_at {
            self.expiring.remove(&(at, item.key));
        }
    }

    fn insert(&mut self, item: Item) {
        if let Some(entry) = &item.index {
            *self.listed.entry(entry.partition.clone()).or_default() += 1;
            self.index.insert((entry.clone(), item.key.clone()));
        }
        if let Some(at) = item.expires_at {
            self.expiring.insert((at, item.key.clone()));
        }
        self.items.insert(item.key.clone(), item);
    }

    /// Applies a write whose condition holds. True: the stream has a new record.
    fn apply(&mut self, table: &str, write: Write) -> Result<bool, CommitError> {
        let stored = self.items.get(&write.item.key);
        let holds = match stored {
            _ if planted("unconditional_write") => true,
            None => write.expected == 0,
            Some(stored) if write.expected == 0 => stored.expires_at.is_some_and(|at| at <= write.now),
            Some(stored) => stored.version == write.expected,
        };
        if !holds {
            return Err(CommitError::Conflict);
        }
        // An adapter that saves the write of what is said not to change would keep the old value here. The whole item
        // is written below, so that only this check finds the caller who says so wrongly.
        if let Some(stored) = stored.filter(|_| write.expected > 0)
            && ((!write.index_changed && stored.index != write.item.index)
                || (!write.expiry_changed && stored.expires_at != write.item.expires_at))
        {
            let detail = "the write changes an index entry or an expiry that it says it leaves";
            return Err(CommitError::Port(PortError::permanent(table, detail)));
        }
        let emits = !write.outbox.is_empty();
        if emits {
            self.last_sequence += 1;
            let record = StreamRecord {
                sequence: self.last_sequence,
                key: write.item.key.clone(),
                version: write.item.version,
                outbox: Ok(write.outbox),
            };
            self.stream.insert(record.sequence, record);
        }
        self.remove(&write.item.key);
        self.insert(write.item);
        Ok(emits)
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.items.get(key).cloned()).collect())
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let mut emitted = false;
        let answers = {
            let mut state = self.state();
            let mut apply = |write: Write| {
                self.check(&write)?;
                emitted |= state.apply(&self.name, write)?;
                Ok(())
            };
            writes.into_iter().map(&mut apply).collect()
        };
        if emitted {
            self.emitted.notify_waiters();
        }
        answers
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.check_limit(query.limit)?;
        let state = self.state();
        let after = query.after.as_deref().unwrap_or_default();
        let from = (IndexEntry { partition: query.partition.clone(), sort: after.to_owned() }, String::new());
        let behind = |entry: &IndexEntry| query.after.as_ref().is_none_or(|after| entry.sort > *after);
        let ahead = |entry: &IndexEntry| query.before.as_ref().is_none_or(|before| entry.sort < *before);
        let mut found = state
            .index
            .range((Bound::Included(from), Bound::Unbounded))
            .skip_while(|(entry, _)| entry.partition == query.partition && !behind(entry))
            .take_while(|(entry, _)| entry.partition == query.partition && ahead(entry));
        let page: Vec<&(IndexEntry, String)> = found.by_ref().take(query.limit).collect();
        let next = found.next().and_then(|_| page.last().map(|(entry, _)| entry.sort.clone()));
        let items = page.iter().filter_map(|(_, key)| state.items.get(key).cloned()).collect();
        Ok(IndexPage { items, next })
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        let listed = self.state().listed.get(partition).copied();
        Ok(Some(listed.unwrap_or(0).min(at_most)))
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.check_limit(limit)?;
        if after.is_some_and(|after| !(1..=KEY_BYTES_MAX).contains(&after.len())) {
            return Err(PortError::misplaced(&self.name));
        }
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = state.items.range::<str, _>((from, Bound::Unbounded)).map(|(_, item)| item);
        let items: Vec<Item> = found.by_ref().take(limit).cloned().collect();
        let next = found.next().and_then(|_| items.last().map(|item| item.key.clone()));
        Ok(ScanPage { items, next })
    }
}

#[async_trait]
impl ChangeStream for MemoryTable {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        let until = self.clock.now() + wait;
        loop {
            // Made before looking, so that a record that comes in between wakes it.
            let emitted = self.emitted.notified();
            let records: Vec<StreamRecord> = self.state().stream.values().take(max).cloned().collect();
            if !records.is_empty() || max == 0 || self.clock.now() >= until {
                return Ok(records);
            }
            tokio::select! {
                biased;
                () = emitted => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        let mut state = self.state();
        let left = state.stream.split_off(&sequence.saturating_add(1));
        state.stream = left;
        Ok(())
    }
}
