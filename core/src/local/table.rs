//! Table and change stream on the store.
//!
//! A stream row holds what one call committed, up to [`ROW_BYTES_MAX`]: what is written together is sent on together, and
//! one row instead of hundreds is written, read and deleted. Each record has a line of its own in it, so that one that is damaged
//! leaves the others readable.
//!
//! An item that can't be read fails alone: by one of its columns, or by the page of the database that it lies on. The rows of
//! a page of items are then read one by one.

use super::{
    checksum,
    column::Columns,
    counts::Counts,
    store::{Sequence, Store, Transactions, identifier},
};
use crate::{
    limits,
    port::{
        ChangeStream, Clock, CommitError, Document, IndexEntry, IndexPage, IndexQuery, Item, PortError,
        ScanPage, StreamRecord, Table, Unreadable, UnreadableOutbox, Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OptionalExtension as _, Params, Row,
    types::{ToSqlOutput, ValueRef},
};
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

/// Most items a page of the index or of a scan holds.
const PAGE_ITEMS_MAX: usize = 1_000;

/// A table with its change stream: what was committed with events, in the order of the commits.
pub(super) struct LocalTable {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    statements: Arc<Statements>,
    sequence: Arc<Sequence>,
    counts: Arc<Counts>,
    written: Arc<Notify>,
    /// What is sent on, whether or not its checkpoint is durable yet: a read does not wait for that.
    sent_on: Arc<AtomicI64>,
}

/// What a table needs of the database before the store's thread starts.
pub(super) struct TableFile {
    statements: Arc<Statements>,
    sequence: Arc<Sequence>,
    counts: Arc<Counts>,
}

struct Statements {
    get: String,
    get_id: String,
    insert: String,
    /// By whether the index entry and the expiry change: an index that is not named is not written.
    update: [[String; 2]; 2],
    query: String,
    count: String,
    listed_in: String,
    query_ids: String,
    scan: String,
    scan_ids: String,
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
                 document TEXT NOT NULL, expires_at INTEGER, index_partition TEXT, index_sort TEXT, checksum INTEGER);
             CREATE INDEX IF NOT EXISTS {by_index} ON {item}(index_partition, index_sort) WHERE index_partition IS NOT NULL;
             CREATE INDEX IF NOT EXISTS {by_expiry} ON {item}(expires_at) WHERE expires_at IS NOT NULL;
             CREATE TABLE IF NOT EXISTS {stream}(last INTEGER PRIMARY KEY, first INTEGER NOT NULL, records TEXT NOT NULL);"
        ))?;
        checksum::add(connection, &item)
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
                "UPDATE {item} SET version = ?3, document = ?4, checksum = ?8{index}{expiry} WHERE key = ?1 AND version = ?2"
            )
        };
        let checksum = checksum::read_from(connection, &item)?;
        let columns =
            format!("key, version, document, expires_at, index_partition, index_sort, id, {checksum}");
        let found_by =
            "index_partition = ?1 AND index_sort > ?2 AND index_sort < ?3 ORDER BY index_sort LIMIT ?4";
        // The index of the keys, which is no part of the rows.
        let by_key = identifier("sqlite_autoindex_item", &[name, "_1"].concat());
        let statements = Statements {
            get: format!("SELECT {columns} FROM {item} WHERE key = ?1"),
            get_id: format!("SELECT {columns} FROM {item} WHERE id = ?1"),
            insert: format!(
                "INSERT INTO {item}(key, version, document, expires_at, index_partition, index_sort, checksum)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?8)
                 ON CONFLICT(key) DO UPDATE SET version = ?2, document = ?3, expires_at = ?4, index_partition = ?5,
                     index_sort = ?6, checksum = ?8 WHERE expires_at <= ?7"
            ),
            update: [[update(false, false), update(false, true)], [update(true, false), update(true, true)]],
            query: format!("SELECT {columns} FROM {item} WHERE {found_by}"),
            query_ids: format!("SELECT id, index_sort FROM {item} WHERE {found_by}"),
            scan: format!("SELECT {columns} FROM {item} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            scan_ids: format!(
                "SELECT id, key FROM {item} INDEXED BY {by_key} WHERE id > ?1 ORDER BY id LIMIT ?2"
            ),
            // The index alone is read.
            count: format!("SELECT COUNT(*) FROM {item} WHERE index_partition = ?1"),
            listed_in: format!("SELECT index_partition FROM {item} WHERE key = ?1"),
            expire: format!(
                "DELETE FROM {item} WHERE id IN (SELECT id FROM {item} WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
                 RETURNING index_partition"
            ),
            append: format!("INSERT INTO {stream}(last, first, records) VALUES(?1, ?2, ?3)"),
            read: format!("SELECT last, first, records FROM {stream} WHERE last > ?1 ORDER BY last"),
            checkpoint: format!("DELETE FROM {stream} WHERE last <= ?1"),
            cut: format!("UPDATE {stream} SET first = ?2, records = ?3 WHERE last = ?1"),
        };
        let sequence = Sequence::open(connection, transactions, format!("stream/{name}"))?;
        let counts = Arc::new(Counts::new(transactions));
        Ok(Self { statements: Arc::new(statements), sequence: Arc::new(sequence), counts })
    }

    pub(super) fn into_table(self, store: Arc<Store>, clock: Arc<dyn Clock>) -> LocalTable {
        let Self { statements, sequence, counts } = self;
        let (written, sent_on) = (Arc::default(), Arc::default());
        LocalTable { store, clock, statements, sequence, counts, written, sent_on }
    }
}

/// An item, with the id of its row. What can't be read of it stands in its document.
fn item(row: &Row<'_>) -> rusqlite::Result<(Item, i64)> {
    let mut columns = Columns::of(row);
    let key = columns.text(0, "key")?;
    let version = columns.number(1, "version")?;
    let document = columns.text(2, "document")?;
    let expires_at = columns.optional_time(3, "expiry")?.map(Timestamp::from_millis);
    let partition = columns.optional_text(4, "index partition")?;
    let sort = columns.optional_text(5, "index sort")?;
    columns.check(7, [&key, &version.to_string(), &document])?;
    let document = columns.wrong().map_or_else(|| document.into(), Document::unreadable);
    let index = partition.zip(sort).map(|(partition, sort)| IndexEntry { partition, sort });
    Ok((Item { key, version, document, expires_at, index }, row.get(6)?))
}

/// One of which nothing but its key could be read, nor anything of its page of the database.
fn damaged(key: String, error: &rusqlite::Error) -> Item {
    Item { key, version: 0, document: Document::unreadable(error), expires_at: None, index: None }
}

/// Whether a part of the database is damaged that need not be all of it.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// The partition of the index in which an item is listed; none where that can't be read.
fn partition(row: &Row<'_>) -> rusqlite::Result<Option<String>> {
    Ok(row.get_ref(0)?.as_str_or_null().ok().flatten().map(str::to_owned))
}

/// A page of items, in their order, with the ids of their rows. Where the database is damaged on the way, `ids` gives them by
/// an index alone, each with what it is known by there, and they are read one by one.
fn page<P: Params + Copy>(
    connection: &Connection,
    statements: &Statements,
    (rows, ids): (&str, &str),
    asked: P,
    named: impl Fn(String, &rusqlite::Error) -> Item,
) -> rusqlite::Result<Vec<(Item, i64)>> {
    let read = |sql: &str| connection.prepare_cached(sql)?.query_map(asked, item)?.collect();
    let damage = match read(rows) {
        Err(error) if is_damage(&error) => error,
        read => return read,
    };
    tracing::error!(error = %damage, "the database is damaged; items are read one by one");
    let mut statement = connection.prepare_cached(ids)?;
    let named_ids =
        statement.query_map(asked, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut one = connection.prepare_cached(&statements.get_id)?;
    let mut items = Vec::new();
    for found in named_ids {
        let (id, name) = found?;
        items.push(match one.query_row((id,), item) {
            Err(error) if is_damage(&error) => (named(name, &error), id),
            read => read?,
        });
    }
    Ok(items)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The statements of one call, each looked up once.
struct Writer<'a> {
    connection: &'a Connection,
    statements: &'a Statements,
    counts: &'a Counts,
    listed_in: Option<CachedStatement<'a>>,
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
    fn new(connection: &'a Connection, statements: &'a Statements, counts: &'a Counts) -> Self {
        let update = Default::default();
        Self { connection, statements, counts, listed_in: None, insert: None, update, append: None }
    }

    /// Applies one write, and keeps the counts of the index; false where it lost.
    fn apply(&mut self, write: &Write) -> rusqlite::Result<bool> {
        if !self.counts.are_kept() || (write.expected > 0 && !write.index_changed) {
            return self.write(write);
        }
        let listed_in = prepared(&mut self.listed_in, self.connection, &self.statements.listed_in)?;
        let from = listed_in.query_row((&write.item.key,), partition).optional()?.flatten();
        let is_applied = self.write(write)?;
        if is_applied {
            let to = write.item.index.as_ref().map(|index| index.partition.as_str());
            self.counts.moved(from.as_deref(), to);
        }
        Ok(is_applied)
    }

    fn write(&mut self, write: &Write) -> rusqlite::Result<bool> {
        let Item { key, version, document, expires_at, index } = &write.item;
        // One that can't be read was refused.
        let document = document.text().unwrap_or_default();
        let expires_at = expires_at.map(Timestamp::as_millis);
        let partition = index.as_ref().map(|index| index.partition.as_str());
        let sort = index.as_ref().map(|index| index.sort.as_str());
        let checksum = checksum::of([key, &version.to_string(), document]);
        let version = number(*version);
        let changed = if write.expected == 0 {
            let now = write.now.as_millis();
            let values = (key, version, document, expires_at, partition, sort, now, checksum);
            prepared(&mut self.insert, self.connection, &self.statements.insert)?.execute(values)?
        } else {
            let (by_index, by_expiry) = (usize::from(write.index_changed), usize::from(write.expiry_changed));
            let sql = &self.statements.update[by_index][by_expiry];
            let statement = prepared(&mut self.update[by_index][by_expiry], self.connection, sql)?;
            let expected = number(write.expected);
            // What a statement does not name is bound, and not looked at.
            let values = (key, expected, version, document, partition, sort, expires_at, checksum);
            statement.execute(values)?
        };
        Ok(changed > 0)
    }

    /// Adds a row to the stream.
    fn append(&mut self, row: &StreamRow) -> rusqlite::Result<()> {
        let values = (row.last, row.first, row.text());
        prepared(&mut self.append, self.connection, &self.statements.append)?.execute(values).map(drop)
    }
}

/// A row of the stream, or one that is being filled: `records` is a JSON array of [`Recorded`], each on a line of its own.
struct StreamRow {
    first: i64,
    last: i64,
    /// Text, unless it is damaged.
    records: Vec<u8>,
}

/// A stream record as it is stored; its sequence follows from its place.
type Recorded<Key, Outbox> = (Key, u64, Outbox);

impl StreamRow {
    fn starting(sequence: i64) -> Self {
        Self { first: sequence, last: sequence, records: Vec::new() }
    }

    fn push(&mut self, sequence: i64, record: &[u8]) {
        self.last = sequence;
        self.records.extend_from_slice(if self.records.is_empty() { b"[" } else { b"\n," });
        self.records.extend_from_slice(record);
    }

    /// As it is stored. What is damaged stays so, byte for byte: it must not look whole.
    fn text(&self) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(ValueRef::Text(&self.records))
    }

    fn close(&mut self) {
        self.records.push(b']');
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let last = row.get(0)?;
        // Each can be done without: the places are counted from the last one.
        let first = row.get_ref(1)?.as_i64().unwrap_or(last);
        let records = match row.get_ref(2)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok(Self { first, last, records })
    }

    /// What it holds. A record that is damaged leaves the others readable.
    fn read(&self) -> Vec<StreamRecord> {
        type Read = Vec<Recorded<String, Vec<Box<RawValue>>>>;
        let records: Vec<_> = match serde_json::from_slice::<Read>(&self.records) {
            Ok(records) if !records.is_empty() => {
                records.into_iter().map(|(key, version, outbox)| (key, version, Ok(outbox))).collect()
            }
            _ => self.lines().into_iter().map(salvaged).collect(),
        };
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let first = self.last.saturating_sub(count).saturating_add(1).max(self.first.min(self.last));
        let place = |at: i64| unsigned(first.saturating_add(at).min(self.last));
        let record =
            |(at, (key, version, outbox))| StreamRecord { sequence: place(at), key, version, outbox };
        (0..).zip(records).map(record).collect()
    }

    /// Its records as they stand.
    fn lines(&self) -> Vec<&[u8]> {
        if let Ok(records) = serde_json::from_slice::<Vec<&RawValue>>(&self.records)
            && !records.is_empty()
        {
            return records.into_iter().map(|record| record.get().as_bytes()).collect();
        }
        let text = self.records.strip_suffix(b"]").unwrap_or(&self.records);
        // Before each stands a bracket or a comma, if it is not that which is damaged.
        text.split(|byte| *byte == b'\n').map(|line| line.get(1..).unwrap_or_default()).collect()
    }

    /// The same without all but its last `left` records.
    fn cut(&self, left: usize) -> Self {
        let lines = self.lines();
        let mut cut = Self::starting(self.last);
        lines.iter().skip(lines.len().saturating_sub(left)).for_each(|line| cut.push(self.last, line));
        cut.close();
        cut
    }
}

/// A record of a row in which one is damaged.
fn salvaged(line: &[u8]) -> Recorded<String, Result<Vec<Box<RawValue>>, UnreadableOutbox>> {
    let error = match serde_json::from_slice::<Recorded<String, Vec<Box<RawValue>>>>(line) {
        Ok((key, version, outbox)) => return (key, version, Ok(outbox)),
        Err(error) => error,
    };
    let mut begun =
        serde_json::Deserializer::from_slice(line.get(1..).unwrap_or_default()).into_iter::<String>();
    let key = begun.next().and_then(Result::ok).unwrap_or_default();
    let text = String::from_utf8_lossy(line).into_owned();
    (key, 0, Err(UnreadableOutbox { why: Unreadable::new(error), text }))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn check_limit(limit: usize) -> Result<(), PortError> {
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Ok(());
    }
    let detail = format_args!("a page of {limit} items; 1 to {PAGE_ITEMS_MAX} are allowed");
    Err(PortError::permanent("table", detail))
}

/// Why a write can't be taken by any table, if so.
fn refused(write: &Write) -> Option<CommitError> {
    let Item { key, document, index, .. } = &write.item;
    let document = match document.text() {
        Ok(document) => document,
        Err(why) => return Some(PortError::permanent("table", why).into()),
    };
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
    if write.item.version != write.expected.saturating_add(1) {
        let detail = "the version written is not one more than the expected one";
        return Some(PortError::permanent("table", detail).into());
    }
    let indexed = index.as_ref().map_or(0, |index| index.partition.len() + index.sort.len());
    let outbox: usize = write.outbox.iter().map(|event| event.get().len()).sum();
    let bytes = key.len() + document.len() + outbox + indexed;
    (bytes > limits::ITEM_BYTES_MAX).then_some(CommitError::TooLarge { bytes })
}

/// What a write adds to the stream: one line.
fn recorded(write: &Write) -> serde_json::Result<Vec<u8>> {
    let record: Recorded<&str, &[Box<RawValue>]> = (&write.item.key, write.item.version, &write.outbox);
    let mut line = serde_json::to_vec(&record)?;
    // In JSON it can only stand between two words, where a space does as well.
    line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    Ok(line)
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
    (sequence, counts): (&Sequence, &Counts),
    writes: Vec<(usize, Write)>,
) -> rusqlite::Result<Applied> {
    let (mut lost, mut emitted) = (Vec::new(), false);
    let mut writer = Writer::new(connection, statements, counts);
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
        let (statements, counts) = (Arc::clone(&self.statements), Arc::clone(&self.counts));
        let (now, max) = (now.as_millis(), number(max as u64));
        self.store
            .run(move |connection| {
                let mut statement = connection.prepare_cached(&statements.expire)?;
                let expired = statement.query_map((now, max), partition)?;
                let expired = expired.collect::<rusqlite::Result<Vec<_>>>()?;
                expired.iter().for_each(|partition| counts.moved(partition.as_deref(), None));
                Ok(expired.len())
            })
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
                let read = |key: String| match statement.query_row((&key,), item).optional() {
                    Err(error) if is_damage(&error) => Ok(Some(damaged(key, &error))),
                    read => Ok(read?.map(|(item, _)| item)),
                };
                keys.into_iter().map(read).collect()
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
        let counts = Arc::clone(&self.counts);
        let apply =
            move |connection: &Connection| apply(connection, &statements, (&sequence, &counts), taken);
        let applied = self.store.run(apply).await;
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
        check_limit(query.limit)?;
        let (statements, query) = (Arc::clone(&self.statements), query.clone());
        self.store
            .read(move |connection| {
                let limit = query.limit;
                let after = query.after.as_deref().unwrap_or("");
                // No text sorts behind this one: UTF-8 has no byte 0xFF, and SQLite compares bytes.
                let before = query.before.as_deref().unwrap_or("\u{10FFFF}\u{10FFFF}");
                let sql = (statements.query.as_str(), statements.query_ids.as_str());
                let asked = (query.partition.as_str(), after, before, number(limit as u64));
                let named = |sort: String, error: &rusqlite::Error| {
                    let index = IndexEntry { partition: query.partition.clone(), sort };
                    Item { index: Some(index), ..damaged(String::new(), error) }
                };
                let items = page(connection, &statements, sql, asked, named)?;
                let last = items.last().filter(|_| items.len() == limit);
                let next = last.and_then(|(item, _)| item.index.as_ref()).map(|index| index.sort.clone());
                Ok(IndexPage { items: items.into_iter().map(|(item, _)| item).collect(), next })
            })
            .await
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        let (statements, counts) = (Arc::clone(&self.statements), Arc::clone(&self.counts));
        let partition = partition.to_owned();
        self.store
            .read(move |connection| {
                if let Some(count) = counts.of(&partition) {
                    return Ok(Some(count.min(at_most)));
                }
                let mut statement = connection.prepare_cached(&statements.count)?;
                let count = unsigned(statement.query_row((&partition,), |row| row.get(0))?);
                counts.keep(&partition, count);
                Ok(Some(count.min(at_most)))
            })
            .await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        check_limit(limit)?;
        let place = after.map_or(Ok(0), str::parse::<i64>);
        let place = place.map_err(|_| PortError::misplaced("table"))?;
        let statements = Arc::clone(&self.statements);
        self.store
            .read(move |connection| {
                let sql = (statements.scan.as_str(), statements.scan_ids.as_str());
                let rows = page(connection, &statements, sql, (place, number(limit as u64)), damaged)?;
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
                        count += row.last.saturating_sub(row.first.max(sent_on)).max(1);
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
                let mut records: Vec<StreamRecord> = rows.iter().flat_map(StreamRow::read).collect();
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
                    let left = row.cut(usize::try_from(row.last - done).unwrap_or(usize::MAX));
                    connection.prepare_cached(&statements.cut)?.execute((row.last, done + 1, left.text()))?;
                }
                Ok(())
            })
            .await
    }
}
