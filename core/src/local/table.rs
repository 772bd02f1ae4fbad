//! Table and change stream on the store.
//!
//! A stream row holds what one call committed, up to [`ROW_BYTES_MAX`]: what is written together is sent on together, and
//! one row instead of hundreds is written, read and deleted.

use super::store::{Sequence, Store, Transactions, identifier};
use crate::{
    limits,
    port::{
        ChangeStream, Clock, CommitError, IndexEntry, IndexPage, IndexQuery, Item, PortError, ScanPage,
        StreamRecord, Table, Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};
use serde_json::value::RawValue;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Stream records share a row until it has this size.
const ROW_BYTES_MAX: usize = 256 * 1_024;

/// A table with its change stream: what was committed with events, in the order of the commits.
pub(super) struct LocalTable {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    statements: Arc<Statements>,
    sequence: Arc<Sequence>,
    written: Arc<Notify>,
    /// What is sent on, whether or not its checkpoint is durable yet: a read does not wait for that.
    sent_on: Arc<AtomicI64>,
}

/// What a table needs of the database before the store's thread starts.
pub(super) struct TableFile {
    statements: Arc<Statements>,
    sequence: Arc<Sequence>,
}

struct Statements {
    get: String,
    insert: String,
    /// By whether the index entry and the expiry change: an index that is not named is not written.
    update: [[String; 2]; 2],
    query: String,
    count: String,
    scan: String,
    expire: String,
    append: String,
    read: String,
    checkpoint: String,
    cut: String,
}

impl TableFile {
    /// Makes the table where it is missing.
    pub(super) fn create(connection: &Connection, name: &str) -> rusqlite::Result<()> {
        let (item, stream) = (identifier("item", name), identifier("stream", name));
        let (by_index, by_expiry) = (identifier("item_index", name), identifier("item_expiry", name));
        // Rows lie in the order of their creation, so that a flow's writes touch neighbouring pages whatever the keys
        // look like; only the key's own index is in the order of keys.
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {item}(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
                 document TEXT NOT NULL, expires_at INTEGER, index_partition TEXT, index_sort TEXT);
             CREATE INDEX IF NOT EXISTS {by_index} ON {item}(index_partition, index_sort) WHERE index_partition IS NOT NULL;
             CREATE INDEX IF NOT EXISTS {by_expiry} ON {item}(expires_at) WHERE expires_at IS NOT NULL;
             CREATE TABLE IF NOT EXISTS {stream}(last INTEGER PRIMARY KEY, first INTEGER NOT NULL, records TEXT NOT NULL);"
        ))
    }

    /// The table, which has to be there.
    pub(super) fn open(
        connection: &Connection,
        transactions: &Transactions,
        name: &str,
    ) -> rusqlite::Result<Self> {
        let (item, stream) = (identifier("item", name), identifier("stream", name));
        let update = |index: bool, expiry: bool| {
            let index = if index { ", index_partition = ?5, index_sort = ?6" } else { "" };
            let expiry = if expiry { ", expires_at = ?7" } else { "" };
            format!(
                "UPDATE {item} SET version = ?3, document = ?4{index}{expiry} WHERE key = ?1 AND version = ?2"
            )
        };
        let columns = "key, version, document, expires_at, index_partition, index_sort";
        let statements = Statements {
            get: format!("SELECT {columns} FROM {item} WHERE key = ?1"),
            insert: format!(
                "INSERT INTO {item}(key, version, document, expires_at, index_partition, index_sort)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT(key) DO UPDATE SET version = ?2, document = ?3, expires_at = ?4, index_partition = ?5,
                     index_sort = ?6 WHERE expires_at <= ?7"
            ),
            update: [[update(false, false), update(false, true)], [update(true, false), update(true, true)]],
            query: format!(
                "SELECT {columns} FROM {item} WHERE index_partition = ?1 AND index_sort > ?2 AND index_sort < ?3
                 ORDER BY index_sort LIMIT ?4"
            ),
            // The index alone is read.
            count: format!(
                "SELECT COUNT(*) FROM (SELECT 1 FROM {item} WHERE index_partition = ?1 LIMIT ?2)"
            ),
            scan: format!("SELECT {columns}, id FROM {item} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            expire: format!(
                "DELETE FROM {item} WHERE id IN (SELECT id FROM {item} WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
            ),
            append: format!("INSERT INTO {stream}(last, first, records) VALUES(?1, ?2, ?3)"),
            read: format!("SELECT last, first, records FROM {stream} WHERE last > ?1 ORDER BY last"),
            checkpoint: format!("DELETE FROM {stream} WHERE last <= ?1"),
            cut: format!("UPDATE {stream} SET first = ?2, records = ?3 WHERE last = ?1"),
        };
        let sequence = Sequence::open(connection, transactions, format!("stream/{name}"))?;
        Ok(Self { statements: Arc::new(statements), sequence: Arc::new(sequence) })
    }

    pub(super) fn into_table(self, store: Arc<Store>, clock: Arc<dyn Clock>) -> LocalTable {
        let Self { statements, sequence } = self;
        LocalTable { store, clock, statements, sequence, written: Arc::default(), sent_on: Arc::default() }
    }
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let partition: Option<String> = row.get(4)?;
    let sort: Option<String> = row.get(5)?;
    Ok(Item {
        key: row.get(0)?,
        version: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
        document: row.get(2)?,
        expires_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        index: partition.zip(sort).map(|(partition, sort)| IndexEntry { partition, sort }),
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The statements of one call, each looked up once.
struct Writer<'a> {
    connection: &'a Connection,
    statements: &'a Statements,
    insert: Option<CachedStatement<'a>>,
    update: [[Option<CachedStatement<'a>>; 2]; 2],
    append: Option<CachedStatement<'a>>,
}

/// The statement in `slot`, looked up in the connection's cache the first time.
fn prepared<'s, 'a>(
    slot: &'s mut Option<CachedStatement<'a>>,
    connection: &'a Connection,
    sql: &str,
) -> rusqlite::Result<&'s mut CachedStatement<'a>> {
    match slot {
        Some(statement) => Ok(statement),
        None => Ok(slot.insert(connection.prepare_cached(sql)?)),
    }
}

impl<'a> Writer<'a> {
    fn new(connection: &'a Connection, statements: &'a Statements) -> Self {
        Self { connection, statements, insert: None, update: Default::default(), append: None }
    }

    /// Applies one write; false where it lost.
    fn apply(&mut self, write: &Write) -> rusqlite::Result<bool> {
        let Item { key, version, document, expires_at, index } = &write.item;
        let expires_at = expires_at.map(Timestamp::as_millis);
        let partition = index.as_ref().map(|index| index.partition.as_str());
        let sort = index.as_ref().map(|index| index.sort.as_str());
        let version = number(*version);
        let changed = if write.expected == 0 {
            let values = (key, version, document, expires_at, partition, sort, write.now.as_millis());
            prepared(&mut self.insert, self.connection, &self.statements.insert)?.execute(values)?
        } else {
            let (by_index, by_expiry) = (usize::from(write.index_changed), usize::from(write.expiry_changed));
            let sql = &self.statements.update[by_index][by_expiry];
            let statement = prepared(&mut self.update[by_index][by_expiry], self.connection, sql)?;
            let expected = number(write.expected);
            match (write.index_changed, write.expiry_changed) {
                (false, false) => statement.execute((key, expected, version, document))?,
                (true, false) => statement.execute((key, expected, version, document, partition, sort))?,
                (_, true) => {
                    statement.execute((key, expected, version, document, partition, sort, expires_at))?
                }
            }
        };
        Ok(changed > 0)
    }

    /// Adds a row to the stream.
    fn append(&mut self, row: &StreamRow) -> rusqlite::Result<()> {
        let values = (row.last, row.first, &row.records);
        prepared(&mut self.append, self.connection, &self.statements.append)?.execute(values).map(drop)
    }
}

/// A row of the stream, or one that is being filled: `records` is a JSON array of [`Recorded`].
struct StreamRow {
    first: i64,
    last: i64,
    records: String,
}

/// A stream record as it is stored; its sequence follows from its place.
type Recorded<Key, Outbox> = (Key, u64, Outbox);

impl StreamRow {
    fn starting(sequence: i64) -> Self {
        Self { first: sequence, last: sequence, records: String::new() }
    }

    fn push(&mut self, sequence: i64, record: &str) {
        self.last = sequence;
        self.records.push(if self.records.is_empty() { '[' } else { ',' });
        self.records.push_str(record);
    }

    fn close(&mut self) {
        self.records.push(']');
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { last: row.get(0)?, first: row.get(1)?, records: row.get(2)? })
    }

    fn read(&self) -> Result<Vec<StreamRecord>, PortError> {
        let unreadable = |error| PortError::permanent("stream", error);
        let records: Vec<Recorded<String, _>> = serde_json::from_str(&self.records).map_err(unreadable)?;
        let record = |(at, (key, version, outbox))| StreamRecord { sequence: at, key, version, outbox };
        Ok((unsigned(self.first)..).zip(records).map(record).collect())
    }

    /// The same without its first `gone` records.
    fn without(&self, gone: usize) -> serde_json::Result<String> {
        let records: Vec<&RawValue> = serde_json::from_str(&self.records)?;
        serde_json::to_string(records.get(gone..).unwrap_or_default())
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Why a write can't be taken by any table, if so.
fn refused(write: &Write) -> Option<CommitError> {
    let Item { key, document, index, .. } = &write.item;
    if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
        let detail = format_args!("a key has 1 to {} bytes, not {}", limits::KEY_BYTES_MAX, key.len());
        return Some(PortError::permanent("table", detail).into());
    }
    let within = |text: &str, bytes_max: usize| (1..=bytes_max).contains(&text.len());
    if let Some(index) = index
        && !(within(&index.partition, limits::KEY_BYTES_MAX)
            && within(&index.sort, limits::INDEX_SORT_BYTES_MAX))
    {
        let detail = "the index entry has an empty key, a partition over 2,048 or a sort over 1,024 bytes";
        return Some(PortError::permanent("table", detail).into());
    }
    let indexed = index.as_ref().map_or(0, |index| index.partition.len() + index.sort.len());
    let outbox: usize = write.outbox.iter().map(|event| event.get().len()).sum();
    let bytes = key.len() + document.len() + outbox + indexed;
    (bytes > limits::ITEM_BYTES_MAX).then_some(CommitError::TooLarge { bytes })
}

/// What a write adds to the stream.
fn recorded(write: &Write) -> serde_json::Result<String> {
    let record: Recorded<&str, &[Box<RawValue>]> = (&write.item.key, write.item.version, &write.outbox);
    serde_json::to_string(&record)
}

fn unwritable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

/// What a call's writes came to.
struct Applied {
    /// The places of those that lost.
    lost: Vec<usize>,
    /// The stream has something new.
    emitted: bool,
}

/// Applies writes, each with its place in the call, on the store's thread.
fn apply(
    connection: &Connection,
    statements: &Statements,
    sequence: &Sequence,
    writes: Vec<(usize, Write)>,
) -> rusqlite::Result<Applied> {
    let (mut lost, mut emitted) = (Vec::new(), false);
    let mut writer = Writer::new(connection, statements);
    let mut row: Option<StreamRow> = None;
    for (at, write) in writes {
        if !writer.apply(&write)? {
            lost.push(at);
            continue;
        }
        if write.outbox.is_empty() {
            continue;
        }
        let record = recorded(&write).map_err(unwritable)?;
        let place = sequence.next(connection)?;
        let filled = row.get_or_insert_with(|| StreamRow::starting(place));
        filled.push(place, &record);
        emitted = true;
        if filled.records.len() >= ROW_BYTES_MAX
            && let Some(mut full) = row.take()
        {
            full.close();
            writer.append(&full)?;
        }
    }
    if let Some(mut row) = row {
        row.close();
        writer.append(&row)?;
    }
    Ok(Applied { lost, emitted })
}

impl LocalTable {
    /// Deletes up to `max` items that expired by `now`; answers how many.
    pub(super) async fn expire(&self, now: Timestamp, max: usize) -> Result<usize, PortError> {
        let statements = Arc::clone(&self.statements);
        let (now, max) = (now.as_millis(), number(max as u64));
        self.store
            .run(move |connection| connection.prepare_cached(&statements.expire)?.execute((now, max)))
            .await
    }
}

#[async_trait]
impl Table for LocalTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        let (statements, keys) = (Arc::clone(&self.statements), keys.to_vec());
        self.store
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&statements.get)?;
                keys.iter().map(|key| statement.query_row((key,), item).optional()).collect()
            })
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let mut answers: Vec<Result<(), CommitError>> = Vec::with_capacity(writes.len());
        let mut taken = Vec::with_capacity(writes.len());
        for (at, write) in writes.into_iter().enumerate() {
            answers.push(refused(&write).map_or(Ok(()), Err));
            if answers[at].is_ok() {
                taken.push((at, write));
            }
        }
        let (statements, sequence) = (Arc::clone(&self.statements), Arc::clone(&self.sequence));
        let applied =
            self.store.run(move |connection| apply(connection, &statements, &sequence, taken)).await;
        match applied {
            Ok(Applied { lost, emitted }) => {
                for at in lost {
                    answers[at] = Err(CommitError::Conflict);
                }
                if emitted {
                    self.written.notify_waiters();
                }
            }
            Err(error) => {
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(error.clone().into());
                }
            }
        }
        answers
    }

    async fn takes_commits(&self) -> Result<(), PortError> {
        self.store.takes_writes(self.clock.uptime()).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        let (statements, query) = (Arc::clone(&self.statements), query.clone());
        self.store
            .read(move |connection| {
                let limit = query.limit.clamp(1, 1_000);
                let after = query.after.as_deref().unwrap_or("");
                // No text sorts behind this one: UTF-8 has no byte 0xFF, and SQLite compares bytes.
                let before = query.before.as_deref().unwrap_or("\u{10FFFF}\u{10FFFF}");
                let mut statement = connection.prepare_cached(&statements.query)?;
                let rows =
                    statement.query_map((&query.partition, after, before, number(limit as u64)), item)?;
                let items = rows.collect::<rusqlite::Result<Vec<Item>>>()?;
                let last = items.last().filter(|_| items.len() == limit);
                let next = last.and_then(|item| item.index.as_ref()).map(|index| index.sort.clone());
                Ok(IndexPage { items, next })
            })
            .await
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        let (statements, partition) = (Arc::clone(&self.statements), partition.to_owned());
        self.store
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&statements.count)?;
                let counted =
                    statement.query_row((&partition, number(at_most)), |row| row.get::<_, i64>(0))?;
                Ok(Some(unsigned(counted)))
            })
            .await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        let place = after.map_or(Ok(0), str::parse::<i64>);
        let place = place.map_err(|_| PortError::misplaced("table"))?;
        let statements = Arc::clone(&self.statements);
        self.store
            .read(move |connection| {
                let limit = limit.clamp(1, 1_000);
                let mut statement = connection.prepare_cached(&statements.scan)?;
                let rows = statement.query_map((place, number(limit as u64)), |row| {
                    Ok((item(row)?, row.get::<_, i64>(6)?))
                })?;
                let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                let next = rows.last().filter(|_| rows.len() == limit).map(|(_, id)| id.to_string());
                Ok(ScanPage { items: rows.into_iter().map(|(item, _)| item).collect(), next })
            })
            .await
    }
}

#[async_trait]
impl ChangeStream for LocalTable {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        let until = self.clock.now() + wait;
        loop {
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            let statements = Arc::clone(&self.statements);
            let wanted = number(max as u64);
            let sent_on = self.sent_on.load(Ordering::Acquire);
            let rows = self
                .store
                .read(move |connection| {
                    let mut statement = connection.prepare_cached(&statements.read)?;
                    let mut stored = statement.query((sent_on,))?;
                    let (mut rows, mut count) = (Vec::new(), 0);
                    while count < wanted
                        && let Some(row) = stored.next()?
                    {
                        let row = StreamRow::of(row)?;
                        count += row.last - row.first.max(sent_on + 1) + 1;
                        // Whole rows, so that a checkpoint needs to cut none.
                        if count > wanted && !rows.is_empty() {
                            break;
                        }
                        rows.push(row);
                    }
                    Ok(rows)
                })
                .await?;
            if !rows.is_empty() {
                let mut records = Vec::new();
                for row in rows {
                    records.extend(row.read()?);
                }
                records.retain(|record| record.sequence > unsigned(sent_on));
                records.truncate(max);
                return Ok(records);
            }
            if self.clock.now() >= until {
                return Ok(Vec::new());
            }
            tokio::select! {
                biased;
                () = written => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        let statements = Arc::clone(&self.statements);
        let done = number(sequence);
        self.sent_on.fetch_max(done, Ordering::AcqRel);
        self.store
            .run_later(move |connection| {
                connection.prepare_cached(&statements.checkpoint)?.execute((done,))?;
                let mut read = connection.prepare_cached(&statements.read)?;
                let first = read.query_row((0,), StreamRow::of).optional()?;
                if let Some(row) = first.filter(|row| row.first <= done) {
                    let gone = usize::try_from(done - row.first + 1).unwrap_or(usize::MAX);
                    let left = row.without(gone).map_err(unwritable)?;
                    connection.prepare_cached(&statements.cut)?.execute((row.last, done + 1, left))?;
                }
                Ok(())
            })
            .await
    }
}
