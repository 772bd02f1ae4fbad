//! Table and change stream on the store.

use super::store::{Rollbacks, Sequence, Store, identifier};
use crate::{
    Timestamp, limits,
    port::{
        ChangeStream, Clock, CommitError, IndexEntry, IndexPage, IndexQuery, Item, PortError, ScanPage,
        StreamRecord, Table, Write,
    },
};
use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// A table with its change stream: what was committed with events, in the order of the commits.
pub(super) struct LocalTable {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    statements: Arc<Statements>,
    sequence: Arc<Sequence>,
    written: Arc<Notify>,
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
    scan: String,
    expire: String,
    append: String,
    read: String,
    checkpoint: String,
}

impl TableFile {
    pub(super) fn create(
        connection: &Connection,
        rollbacks: &Rollbacks,
        name: &str,
    ) -> rusqlite::Result<Self> {
        let (item, stream) = (identifier("item", name), identifier("stream", name));
        let (by_index, by_expiry) = (identifier("item_index", name), identifier("item_expiry", name));
        // Rows lie in the order of their creation, so that a flow's writes touch neighbouring pages whatever the keys
        // look like; only the key's own index is in the order of keys.
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {item}(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
                 document TEXT NOT NULL, expires_at INTEGER, index_partition TEXT, index_sort TEXT);
             CREATE INDEX IF NOT EXISTS {by_index} ON {item}(index_partition, index_sort) WHERE index_partition IS NOT NULL;
             CREATE INDEX IF NOT EXISTS {by_expiry} ON {item}(expires_at) WHERE expires_at IS NOT NULL;
             CREATE TABLE IF NOT EXISTS {stream}(sequence INTEGER PRIMARY KEY, key TEXT NOT NULL, version INTEGER NOT NULL,
                 outbox TEXT NOT NULL);"
        ))?;
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
            scan: format!("SELECT {columns}, id FROM {item} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            expire: format!(
                "DELETE FROM {item} WHERE id IN (SELECT id FROM {item} WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
            ),
            append: format!("INSERT INTO {stream} VALUES(?1, ?2, ?3, ?4)"),
            read: format!("SELECT sequence, key, version, outbox FROM {stream} ORDER BY sequence LIMIT ?1"),
            checkpoint: format!("DELETE FROM {stream} WHERE sequence <= ?1"),
        };
        let sequence = Sequence::open(connection, rollbacks, format!("stream/{name}"))?;
        Ok(Self { statements: Arc::new(statements), sequence: Arc::new(sequence) })
    }

    pub(super) fn into_table(self, store: Arc<Store>, clock: Arc<dyn Clock>) -> LocalTable {
        let Self { statements, sequence } = self;
        LocalTable { store, clock, statements, sequence, written: Arc::new(Notify::new()) }
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

    /// Adds what a write emitted to the stream.
    fn append(&mut self, place: i64, write: &Write, outbox: &str) -> rusqlite::Result<()> {
        let values = (place, &write.item.key, number(write.item.version), outbox);
        prepared(&mut self.append, self.connection, &self.statements.append)?.execute(values).map(drop)
    }
}

/// Why a write can't be taken by any table, if so.
fn refused(write: &Write, outbox: &str) -> Option<CommitError> {
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
    let bytes = key.len() + document.len() + outbox.len() + indexed;
    (bytes > limits::ITEM_BYTES_MAX).then_some(CommitError::TooLarge { bytes })
}

fn outbox_text(outbox: &[Box<RawValue>]) -> String {
    let mut text = String::with_capacity(outbox.iter().map(|event| event.get().len() + 1).sum::<usize>() + 1);
    for event in outbox {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(event.get());
    }
    if !text.is_empty() {
        text.push(']');
    }
    text
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
            .run(move |connection| {
                let mut statement = connection.prepare_cached(&statements.get)?;
                keys.iter().map(|key| statement.query_row((key,), item).optional()).collect()
            })
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let count = writes.len();
        let mut answers: Vec<Result<(), CommitError>> = Vec::with_capacity(count);
        let mut taken = Vec::with_capacity(count);
        for write in writes {
            let outbox = outbox_text(&write.outbox);
            match refused(&write, &outbox) {
                Some(error) => answers.push(Err(error)),
                None => {
                    taken.push((answers.len(), write, outbox));
                    answers.push(Ok(()));
                }
            }
        }
        let (statements, sequence) = (Arc::clone(&self.statements), Arc::clone(&self.sequence));
        let done = self
            .store
            .run(move |connection| {
                let mut outcomes = Vec::with_capacity(taken.len());
                let mut emitted = false;
                let mut writer = Writer::new(connection, &statements);
                for (at, write, outbox) in taken {
                    let applied = writer.apply(&write)?;
                    if applied && !outbox.is_empty() {
                        writer.append(sequence.next(connection)?, &write, &outbox)?;
                        emitted = true;
                    }
                    outcomes.push((at, applied));
                }
                Ok((outcomes, emitted))
            })
            .await;
        match done {
            Ok((outcomes, emitted)) => {
                for (at, _) in outcomes.into_iter().filter(|(_, applied)| !applied) {
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

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        let (statements, query) = (Arc::clone(&self.statements), query.clone());
        self.store
            .run(move |connection| {
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

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        let place = after.map_or(Ok(0), str::parse::<i64>);
        let place = place.map_err(|_| PortError::permanent("table", "not a place that a scan gave"))?;
        let statements = Arc::clone(&self.statements);
        self.store
            .run(move |connection| {
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
            let max = number(max as u64);
            let rows = self
                .store
                .run(move |connection| {
                    let mut statement = connection.prepare_cached(&statements.read)?;
                    let rows = statement.query_map((max,), |row| {
                        Ok((
                            row.get::<_, i64>(0)?,
                            row.get(1)?,
                            row.get::<_, i64>(2)?,
                            row.get::<_, String>(3)?,
                        ))
                    })?;
                    rows.collect::<rusqlite::Result<Vec<(i64, String, i64, String)>>>()
                })
                .await?;
            if !rows.is_empty() {
                return rows.into_iter().map(record).collect();
            }
            if self.clock.now() >= until {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = written => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        let statements = Arc::clone(&self.statements);
        let sequence = number(sequence);
        self.store
            .run(move |connection| {
                connection.prepare_cached(&statements.checkpoint)?.execute((sequence,)).map(drop)
            })
            .await
    }
}

fn record((sequence, key, version, outbox): (i64, String, i64, String)) -> Result<StreamRecord, PortError> {
    let outbox = serde_json::from_str(&outbox).map_err(|error| PortError::permanent("stream", error))?;
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(StreamRecord { sequence: unsigned(sequence), key, version: unsigned(version), outbox })
}
