//! Queue on the store.
//!
//! A message is a row; its id rises with every send. What is in flight stands in memory: every consumer of it dies with
//! this process, so that a restart makes it visible again. What must outlive the process is durable: the message, the
//! time before which it is not due, and how often it was received. The latter is a lease, one row for all the messages of
//! a receive, written before they are handed out and removed when the last of them is settled. A lease found at start
//! counts as a receive of each message it names. So a message that kills its consumer every time ends in the dead-letter
//! queue, at the price of one row a batch.
//!
//! A process also dies for reasons that are no message's fault, and then many messages were in hand. So a lease of several
//! messages never uses up the last [`RECEIVES_ALONE`] receives of any of them: what was in hand that often is a suspect,
//! handed out alone, and only a death during that counts further. A suspect waits first, longer with each such death: a
//! process that ends soon after every start did not end because of it, and is not held against it.

use super::{
    checksum,
    column::Columns,
    store::{Joined, Sequence, Store, Transactions, identifier},
};
use crate::{
    dead_letter::DeadLetter,
    limits,
    model::QueueModel,
    port::{
        Attributes, Clock, Depth, Message, NewMessage, PortError, Queue, Receipt, Received, Unreadable,
        is_sendable,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, ToSql};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Deaths of the process that a message has to be in hand for, alone, until its queue's redrive policy moves it.
const RECEIVES_ALONE: u32 = 3;

/// How long after a start a suspect is handed out; doubled with every death that it was in hand for alone.
const SUSPECT_WAIT: Duration = Duration::from_secs(1);

/// The queues of a folder by name, known once all of them are made.
pub(super) type QueueFiles = Arc<OnceLock<BTreeMap<String, Arc<QueueFile>>>>;

/// A queue.
pub(super) struct LocalQueue {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    file: Arc<QueueFile>,
    dead_letters: Option<(Arc<LocalQueue>, u32)>,
    visibility: Duration,
    retention: Duration,
    /// All of them: what is sent may stand for a message that another one holds.
    queues: QueueFiles,
}

/// What a queue needs of the database before the store's thread starts, and what its thread needs of the queue.
pub(super) struct QueueFile {
    name: String,
    statements: Statements,
    sequence: Sequence,
    transactions: Transactions,
    state: Arc<Shared>,
    /// Wakes receivers: something was sent, or made visible.
    visible: Notify,
    /// Counts changes, for who watches the queue. Told on the store's thread: whoever sees a change there was told of it.
    changes: watch::Sender<u64>,
}

struct Statements {
    send: String,
    take_due: String,
    take_fresh: String,
    take_one: String,
    received: String,
    hide: String,
    delete: String,
    next_due: String,
    count_due: String,
    arrived: String,
    arrived_for: String,
    expire: String,
    count: String,
}

struct Shared(Mutex<State>);

/// What stands in memory. Bounded by what is in flight; changed on the store's thread only, in a transaction: in the order in
/// which the rows change, and undone where they are.
#[derive(Default)]
struct State {
    /// Every message up to this id has been received at least once, or waits for its time.
    cursor: i64,
    /// Messages of the queue.
    total: u64,
    in_flight: HashMap<i64, Flight>,
    /// When each of those becomes visible again.
    ends: BTreeSet<(Timestamp, i64)>,
    /// Visible again, as their visibility timeout passed.
    returned: BTreeSet<i64>,
    /// Messages that may be why the process died, and the one of them that is in flight. Bounded by what was in flight
    /// when it died.
    suspects: BTreeSet<i64>,
    suspect: Option<i64>,
    /// Messages not yet settled, by lease.
    leases: HashMap<i64, usize>,
    receives: u64,
    /// The transaction under way will tell how it ends.
    has_joined: bool,
    /// How it was before each change of that transaction.
    before: Vec<Before>,
}

/// How something was before it changed.
enum Before {
    Cursor(i64),
    Total(u64),
    Flight(i64, Option<Flight>),
    Returned(i64, bool),
    Suspected(i64),
    Suspect(Option<i64>),
    Lease(i64, Option<usize>),
}

#[derive(Clone, Copy)]
struct Flight {
    receive: u64,
    lease: i64,
    until: Timestamp,
    count: u32,
    /// Its row holds `until` and `count`: the lease has nothing to add.
    durable: bool,
}

/// Which messages a receive takes.
enum Which {
    /// Any, at most so many.
    Any(usize),
    /// Those of these ids.
    These(BTreeSet<i64>),
}

/// The name among a row's attributes under which its key stands. No attribute can have it.
const KEY: &str = ".key";

/// The entity that a message is told to, as [`DeadLetter::read`] reads it.
const SUBJECT: &str = "COALESCE(
    CASE WHEN json_valid(body) THEN COALESCE(body ->> '$.subject', body ->> '$.detail.subject') END,
    CASE WHEN json_valid(attributes) THEN attributes ->> '$.subject' END)";

/// A row as it is taken.
struct TakenRow {
    id: i64,
    due: Option<Timestamp>,
    count: u32,
    sent_at: Timestamp,
    attributes: Option<String>,
    body: String,
    unreadable: Option<Unreadable>,
}

fn taken(row: &Row<'_>) -> rusqlite::Result<TakenRow> {
    let mut columns = Columns::of(row);
    let due = columns.optional_time(1, "time")?;
    let count = columns.number(2, "count of receives")?;
    let sent_at = columns.optional_time(3, "time of sending")?;
    let attributes = columns.optional_text(4, "attributes")?;
    let body = columns.text(5, "body")?;
    columns.check(6, [attributes.as_deref().unwrap_or_default(), &body])?;
    Ok(TakenRow {
        id: row.get(0)?,
        due: due.map(Timestamp::from_millis),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        sent_at: Timestamp::from_millis(sent_at.unwrap_or(0)),
        attributes,
        body,
        unreadable: columns.wrong(),
    })
}

impl TakenRow {
    fn message(self, receipt: Receipt) -> Message {
        let mut unreadable = self.unreadable;
        // None such was ever taken.
        if self.body.is_empty() || !is_sendable(&self.body) {
            unreadable.get_or_insert_with(|| {
                Unreadable::new("its body is empty, or has a character that no queue takes")
            });
        }
        let attributes =
            self.attributes.map_or_else(|| Ok(Attributes::new()), |text| serde_json::from_str(&text));
        let mut attributes = attributes.unwrap_or_else(|error| {
            unreadable.get_or_insert_with(|| Unreadable::new(format_args!("its attributes: {error}")));
            Attributes::new()
        });
        attributes.remove(KEY);
        Message {
            id: self.id.to_string(),
            receipt,
            body: self.body,
            unreadable,
            attributes,
            receive_count: self.count,
            sent_at: self.sent_at,
        }
    }
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl QueueFile {
    /// Makes the queue where it is missing, and recovers what was in hand when the process ended. Answers the suspects.
    pub(super) fn create(
        connection: &Connection,
        model: &QueueModel,
        now: Timestamp,
    ) -> rusqlite::Result<BTreeSet<i64>> {
        let name = &model.name;
        let (message, by_due) = (identifier("message", name), identifier("message_due", name));
        let by_key = identifier("message_key", name);
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {message}(id INTEGER PRIMARY KEY, due INTEGER, count INTEGER NOT NULL,
                 sent_at INTEGER NOT NULL, attributes TEXT, body TEXT NOT NULL, checksum INTEGER);
             CREATE INDEX IF NOT EXISTS {by_due} ON {message}(due) WHERE due IS NOT NULL;
             CREATE UNIQUE INDEX IF NOT EXISTS {by_key} ON {message}(
                 CASE WHEN json_valid(attributes) THEN attributes ->> '$.\"{KEY}\"' END) WHERE attributes IS NOT NULL;"
        ))?;
        checksum::add(connection, &message)?;
        let receives_max = model.redrive.as_ref().map(|redrive| redrive.receives_max);
        recover_leases(connection, name, &message, receives_max, now)
    }

    /// Makes what finds the messages that are told to an entity: in a dead-letter queue of any length, of which people ask.
    pub(super) fn index_subjects(connection: &Connection, name: &str) -> rusqlite::Result<()> {
        let (message, by_subject) = (identifier("message", name), identifier("message_subject", name));
        connection.execute_batch(&format!("CREATE INDEX IF NOT EXISTS {by_subject} ON {message}({SUBJECT})"))
    }

    /// The queue, which has to be there, with its suspects.
    pub(super) fn open(
        connection: &Connection,
        transactions: &Transactions,
        model: &QueueModel,
        suspects: BTreeSet<i64>,
    ) -> rusqlite::Result<Self> {
        let name = &model.name;
        let message = identifier("message", name);
        let checksum = checksum::read_from(connection, &message)?;
        let columns = format!("id, due, count, sent_at, attributes, body, {checksum}");
        let statements = Statements {
            send: format!(
                "INSERT INTO {message}(id, due, count, sent_at, attributes, body, checksum)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING"
            ),
            take_due: format!("SELECT {columns} FROM {message} WHERE due <= ?1 ORDER BY due LIMIT ?2"),
            take_fresh: format!("SELECT {columns} FROM {message} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            take_one: format!("SELECT {columns} FROM {message} WHERE id = ?1"),
            received: format!("UPDATE {message} SET count = ?2, due = NULL WHERE id = ?1"),
            hide: format!("UPDATE {message} SET count = ?2, due = ?3 WHERE id = ?1"),
            delete: format!("DELETE FROM {message} WHERE id = ?1"),
            next_due: format!("SELECT MIN(due) FROM {message} WHERE due IS NOT NULL"),
            count_due: format!("SELECT COUNT(*) FROM {message} WHERE due > ?1"),
            arrived: format!("SELECT {columns} FROM {message} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            arrived_for: format!(
                "SELECT {columns} FROM {message} WHERE {SUBJECT} = ?1 ORDER BY id DESC LIMIT ?2"
            ),
            expire: format!(
                "SELECT id FROM {message} WHERE sent_at <= ?1 AND id IN (SELECT id FROM {message} ORDER BY id LIMIT ?2)"
            ),
            count: format!("SELECT COUNT(*) FROM {message}"),
        };
        let sequence = Sequence::open(connection, transactions, format!("message/{name}"))?;
        let total = counted(connection, &statements)?;
        let state = Arc::new(Shared(Mutex::new(State { total, suspects, ..State::default() })));
        Ok(Self {
            name: name.to_owned(),
            statements,
            sequence,
            transactions: transactions.clone(),
            state,
            visible: Notify::new(),
            changes: watch::Sender::new(0),
        })
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to be changed with the rows; on the store's thread, in a transaction.
    fn changing(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if !std::mem::replace(&mut state.has_joined, true) {
            self.transactions.join(Arc::clone(&self.state) as _);
        }
        state
    }

    /// Deletes the message of a receipt. False where the receipt is void: it is somebody else's now, or gone.
    fn settle(&self, connection: &Connection, receipt: &Receipt) -> rusqlite::Result<bool> {
        let state = &mut *self.changing();
        let Some((id, flight)) = state.held(receipt) else {
            return Ok(false);
        };
        state.set_flight(id, None);
        state.cleared(connection, self, id)?;
        state.set_total(state.total.saturating_sub(1));
        connection.prepare_cached(&self.statements.delete)?.execute((id,))?;
        if !flight.durable {
            release(connection, self, state, flight.lease)?;
        }
        Ok(true)
    }

    /// Wakes receivers where the next suspect may be handed out, as the one in flight is settled.
    fn wake_for_suspects(&self, was_careful: bool) {
        if was_careful {
            self.visible.notify_waiters();
        }
    }

    /// Adds messages; on the store's thread.
    pub(super) fn inserter<'a>(&'a self, connection: &'a Connection) -> rusqlite::Result<Inserter<'a>> {
        let send = connection.prepare_cached(&self.statements.send)?;
        Ok(Inserter { file: self, connection, send })
    }
}

/// Adds messages to a queue, and tells whoever watches it once it is done.
pub(super) struct Inserter<'a> {
    file: &'a QueueFile,
    connection: &'a Connection,
    send: CachedStatement<'a>,
}

impl Inserter<'_> {
    /// Adds one that is held back for `delay` from `sent_at` on, unless there is one of its key. Beside the body stands how often
    /// it was received elsewhere.
    pub(super) fn insert(
        &mut self,
        sent_at: Timestamp,
        delay: Duration,
        attributes: Option<&str>,
        (body, count): (&str, u32),
    ) -> rusqlite::Result<()> {
        let id = self.file.sequence.next(self.connection)?;
        let due = (!delay.is_zero()).then(|| (sent_at + delay).as_millis());
        let checksum = checksum::of([attributes.unwrap_or_default(), body]);
        if self.send.execute((id, due, count, sent_at.as_millis(), attributes, body, checksum))? > 0 {
            let state = &mut *self.file.changing();
            state.set_total(state.total + 1);
        }
        Ok(())
    }
}

impl Drop for Inserter<'_> {
    fn drop(&mut self) {
        self.file.changed();
    }
}

fn counted(connection: &Connection, statements: &Statements) -> rusqlite::Result<u64> {
    let count: i64 = connection.prepare_cached(&statements.count)?.query_row((), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The messages that each lease names. Of one that is damaged, those that can still be read: a receive that is not counted costs
/// its message no more than another attempt.
fn named_by_leases(connection: &Connection, queue: &str) -> rusqlite::Result<Vec<Vec<i64>>> {
    let mut leases = connection.prepare("SELECT messages, id FROM lease WHERE queue = ?1")?;
    let named = leases.query_map((queue,), |row| {
        let (mut columns, id) = (Columns::of(row), row.get_ref(1)?);
        let text = columns.text(0, "messages")?;
        let ids: Vec<Option<i64>> = text.split(' ').map(|id| id.parse().ok()).collect();
        if columns.wrong().is_some() || ids.contains(&None) {
            tracing::error!(queue, lease = ?id, "a lease is damaged: some receives of its messages are not counted");
        }
        Ok(ids.into_iter().flatten().collect())
    })?;
    named.collect()
}

/// A count of receives, unless it is damaged: that is told when its message is received.
fn readable_count(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u32>> {
    Ok(row.get_ref(at)?.as_i64().ok().and_then(|count| u32::try_from(count).ok()))
}

/// Each message named by a lease was received when the process ended: that counts. Answers the suspects, each of which is
/// not due before its wait is over.
fn recover_leases(
    connection: &Connection,
    queue: &str,
    table: &str,
    receives_max: Option<u32>,
    now: Timestamp,
) -> rusqlite::Result<BTreeSet<i64>> {
    let named = named_by_leases(connection, queue)?;
    let shared_max = receives_max.map_or(u32::MAX, |max| max.saturating_sub(RECEIVES_ALONE));
    // One that waits for its time was settled: its row has its count.
    let mut select =
        connection.prepare(&format!("SELECT count FROM {table} WHERE id = ?1 AND due IS NULL"))?;
    let mut received = connection.prepare(&format!("UPDATE {table} SET count = ?2 WHERE id = ?1"))?;
    let mut suspect = connection.prepare("INSERT OR IGNORE INTO suspect(queue, id) VALUES(?1, ?2)")?;
    for ids in named {
        for id in &ids {
            let Some(before) = select.query_row((id,), |row| readable_count(row, 0)).optional()?.flatten()
            else {
                continue;
            };
            let count = before + 1;
            let held_against = if ids.len() == 1 { count } else { before.max(count.min(shared_max)) };
            received.execute((id, held_against))?;
            if count >= shared_max {
                suspect.execute((queue, id))?;
            }
        }
    }
    connection.execute("DELETE FROM lease WHERE queue = ?1", (queue,))?;
    // Those of earlier deaths wait anew: none was handed out since, or it would have been settled or named above.
    let mut select = connection.prepare(&format!(
        "SELECT suspect.id, count FROM suspect JOIN {table} AS message ON message.id = suspect.id WHERE queue = ?1"
    ))?;
    let suspects = select
        .query_map((queue,), |row| Ok((row.get(0)?, readable_count(row, 1)?.unwrap_or(0))))?
        .collect::<rusqlite::Result<BTreeMap<i64, u32>>>()?;
    let mut wait = connection.prepare(&format!("UPDATE {table} SET due = ?2 WHERE id = ?1"))?;
    for (id, count) in &suspects {
        let is_given_up = receives_max.is_some_and(|max| *count >= max);
        let doublings = count.saturating_sub(shared_max).min(RECEIVES_ALONE);
        let due = (now + SUSPECT_WAIT * 2_u32.pow(doublings)).as_millis();
        wait.execute((id, (!is_given_up).then_some(due)))?;
    }
    Ok(suspects.into_keys().collect())
}

impl LocalQueue {
    pub(super) fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        file: QueueFile,
        model: &QueueModel,
        dead_letters: Option<(Arc<LocalQueue>, u32)>,
        queues: QueueFiles,
    ) -> Self {
        Self {
            store,
            clock,
            file: Arc::new(file),
            dead_letters,
            visibility: model.visibility_timeout,
            retention: model.retention,
            queues,
        }
    }

    /// Tells of every change of what the queue holds.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.file.changes.subscribe()
    }

    /// What sending needs on the store's thread, for one who sends inside a transaction of its own; then call
    /// [`sent`](Self::sent).
    pub(super) fn file(&self) -> &Arc<QueueFile> {
        &self.file
    }

    pub(super) fn sent(&self) {
        self.file.visible.notify_waiters();
    }

    /// Messages that are older than the retention, from the oldest on, at most `max`, are deleted; answers how many.
    pub(super) async fn expire(&self, now: Timestamp, max: usize) -> Result<usize, PortError> {
        let file = Arc::clone(&self.file);
        let oldest = now.as_millis() - i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let deleted = self
            .store
            .run(move |connection| {
                let mut state = file.changing();
                let state = &mut *state;
                let ids = connection
                    .prepare_cached(&file.statements.expire)?
                    .query_map((oldest, number(max)), |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<i64>>>()?;
                for id in &ids {
                    connection.prepare_cached(&file.statements.delete)?.execute((id,))?;
                    state.set_total(state.total.saturating_sub(1));
                    state.set_returned(*id, false);
                    state.cleared(connection, &file, *id)?;
                    if let Some(flight) = state.set_flight(*id, None)
                        && !flight.durable
                    {
                        release(connection, &file, state, flight.lease)?;
                    }
                }
                if !ids.is_empty() {
                    file.changed();
                }
                Ok(ids.len())
            })
            .await?;
        Ok(deleted)
    }

    /// The visibility timeout of a receive.
    fn visibility_of(&self, asked: Option<Duration>) -> Result<Duration, PortError> {
        let visibility = asked.unwrap_or(self.visibility);
        if visibility > limits::QUEUE_VISIBILITY_MAX {
            return Err(PortError::permanent("queue", "a visibility timeout is at most 12 hours"));
        }
        Ok(visibility)
    }

    /// One attempt to receive. True: messages went to the dead-letter queue, so that others may be visible though none
    /// was received.
    async fn take(&self, which: Which, visibility: Duration) -> Result<(Vec<Message>, bool), PortError> {
        let now = self.clock.now();
        let file = Arc::clone(&self.file);
        let dead = self.dead_letters.as_ref().map(|(queue, max)| (Arc::clone(queue.file()), *max));
        let taken = self
            .store
            .run(move |connection| take(connection, &file, dead.as_ref(), &which, now, now + visibility))
            .await;
        // What was taken in vain is visible to others.
        let (messages, moved) = taken.inspect_err(|_| self.file.visible.notify_waiters())?;
        if moved > 0
            && let Some((dead, _)) = &self.dead_letters
        {
            dead.sent();
        }
        let messages = messages.into_iter().map(|(row, receipt)| row.message(receipt)).collect();
        Ok((messages, moved > 0))
    }

    /// When something becomes visible that is not yet, at the earliest.
    async fn next_visible(&self) -> Result<Option<Timestamp>, PortError> {
        let file = Arc::clone(&self.file);
        let due: Option<i64> = self
            .store
            .read(move |connection| {
                let mut first = connection.prepare_cached(&file.statements.next_due)?;
                // Times sort before all that stands there by damage.
                first.query_row((), |row| Ok(row.get_ref(0)?.as_i64().ok()))
            })
            .await?;
        let end = self.file.state().ends.first().map(|(until, _)| *until);
        Ok(due.map(Timestamp::from_millis).into_iter().chain(end).min())
    }
}

/// Takes visible messages under a lease, on the store's thread. Those that were received too often are moved to the
/// dead-letter queue instead; how many is told beside.
#[allow(clippy::type_complexity)]
fn take(
    connection: &Connection,
    file: &QueueFile,
    dead: Option<&(Arc<QueueFile>, u32)>,
    which: &Which,
    now: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<(Vec<(TakenRow, Receipt)>, u64)> {
    let mut state = file.changing();
    let state = &mut *state;
    settle_ended(connection, file, state, now)?;
    let mut rows = match which {
        Which::Any(max) => visible(connection, file, state, *max, now)?,
        Which::These(ids) => visible_of(connection, file, state, ids, now)?,
    };
    if !state.suspects.is_empty() {
        hand_out_alone(connection, file, state, &mut rows)?;
    }
    let mut messages: Vec<(TakenRow, Receipt)> = Vec::with_capacity(rows.len());
    let mut moved = 0;
    let lease = if rows.is_empty() { 0 } else { file.sequence.next(connection)? };
    let mut named = String::new();
    for mut row in rows {
        if let Some((dead, receives_max)) = dead
            && row.count >= *receives_max
        {
            let mut inserter = dead.inserter(connection)?;
            // What is left of a damaged one must not be taken for the whole.
            let told =
                row.unreadable.as_ref().and_then(|why| stored(&DeadLetter::unreadable(why)).ok().flatten());
            let attributes = told.or_else(|| without_key(row.attributes.take()));
            inserter.insert(row.sent_at, Duration::ZERO, attributes.as_deref(), (&row.body, row.count))?;
            connection.prepare_cached(&file.statements.delete)?.execute((row.id,))?;
            state.set_total(state.total.saturating_sub(1));
            state.cleared(connection, file, row.id)?;
            moved += 1;
            continue;
        }
        if row.due.is_some() {
            connection.prepare_cached(&file.statements.received)?.execute((row.id, row.count))?;
        }
        row.count = row.count.saturating_add(1);
        state.receives += 1;
        let flight = Flight { receive: state.receives, lease, until, count: row.count, durable: false };
        state.set_flight(row.id, Some(flight));
        if !named.is_empty() {
            named.push(' ');
        }
        named.push_str(&row.id.to_string());
        let receipt = Receipt(format!("{}.{}", row.id, flight.receive));
        messages.push((row, receipt));
    }
    if moved > 0 {
        file.changed();
    }
    if !messages.is_empty() {
        let values = (&file.name, lease, named);
        connection
            .prepare_cached("INSERT INTO lease(queue, id, messages) VALUES(?1, ?2, ?3)")?
            .execute(values)?;
        state.set_lease(lease, Some(messages.len()));
    }
    Ok((messages, moved))
}

/// The rows of messages that may be taken: those whose time has come, those that came back, then fresh ones.
fn visible(
    connection: &Connection,
    file: &QueueFile,
    state: &mut State,
    max: usize,
    now: Timestamp,
) -> rusqlite::Result<Vec<TakenRow>> {
    let mut rows: Vec<TakenRow> = Vec::new();
    let mut due = connection.prepare_cached(&file.statements.take_due)?;
    rows.extend(due.query_map((now.as_millis(), number(max)), taken)?.collect::<rusqlite::Result<Vec<_>>>()?);
    while rows.len() < max
        && let Some(id) = state.returned.first().copied()
    {
        state.set_returned(id, false);
        rows.extend(
            connection.prepare_cached(&file.statements.take_one)?.query_row((id,), taken).optional()?,
        );
    }
    let mut fresh = connection.prepare_cached(&file.statements.take_fresh)?;
    while rows.len() < max {
        let wanted = max - rows.len();
        let next =
            fresh.query_map((state.cursor, number(wanted)), taken)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let Some(last) = next.last() else { break };
        state.set_cursor(last.id);
        let ended = next.len() < wanted;
        // One that has a time is found by it; one received before this process had its cursor is in flight or returned.
        rows.extend(
            next.into_iter().filter(|row| row.due.is_none() && !state.in_flight.contains_key(&row.id)),
        );
        if ended {
            break;
        }
    }
    Ok(rows)
}

/// The rows of those of these messages that may be taken.
fn visible_of(
    connection: &Connection,
    file: &QueueFile,
    state: &mut State,
    ids: &BTreeSet<i64>,
    now: Timestamp,
) -> rusqlite::Result<Vec<TakenRow>> {
    let mut one = connection.prepare_cached(&file.statements.take_one)?;
    let mut rows = Vec::new();
    for id in ids.iter().filter(|id| !state.in_flight.contains_key(id)) {
        let row = one.query_row((id,), taken).optional()?;
        rows.extend(row.filter(|row| row.due.is_none_or(|due| due <= now)));
    }
    rows.iter().for_each(|row| state.set_returned(row.id, false));
    Ok(rows)
}

/// Leaves of `rows` either one suspect or none; the others stay visible.
fn hand_out_alone(
    connection: &Connection,
    file: &QueueFile,
    state: &mut State,
    rows: &mut Vec<TakenRow>,
) -> rusqlite::Result<()> {
    let may_be_next = state.suspect.is_none();
    let first = rows.first().filter(|row| may_be_next && state.suspects.contains(&row.id)).map(|row| row.id);
    state.set_suspect(state.suspect.or(first));
    let (taken, left): (Vec<TakenRow>, Vec<TakenRow>) = std::mem::take(rows)
        .into_iter()
        .partition(|row| first.map_or_else(|| !state.suspects.contains(&row.id), |first| row.id == first));
    *rows = taken;
    for row in left {
        // Its time has come: found by it, it would wake receivers again and again.
        if row.due.is_some() {
            connection.prepare_cached(&file.statements.received)?.execute((row.id, row.count))?;
        }
        state.shows_again(row.id);
    }
    Ok(())
}

impl State {
    /// The message of a receipt that still holds.
    fn held(&self, receipt: &Receipt) -> Option<(i64, Flight)> {
        let (id, receive) = receipt.0.split_once('.')?;
        let (id, receive) = (id.parse::<i64>().ok()?, receive.parse::<u64>().ok()?);
        self.in_flight.get(&id).filter(|flight| flight.receive == receive).map(|flight| (id, *flight))
    }

    /// A message came through a receive: whatever became of it, the process lives.
    fn cleared(&mut self, connection: &Connection, file: &QueueFile, id: i64) -> rusqlite::Result<()> {
        if self.suspects.remove(&id) {
            self.before.push(Before::Suspected(id));
            self.set_suspect(self.suspect.filter(|suspect| *suspect != id));
            let mut delete = connection.prepare_cached("DELETE FROM suspect WHERE queue = ?1 AND id = ?2")?;
            delete.execute((&file.name, id))?;
        }
        Ok(())
    }

    fn set_cursor(&mut self, cursor: i64) {
        self.before.push(Before::Cursor(std::mem::replace(&mut self.cursor, cursor)));
    }

    fn set_total(&mut self, total: u64) {
        self.before.push(Before::Total(std::mem::replace(&mut self.total, total)));
    }

    fn set_suspect(&mut self, suspect: Option<i64>) {
        self.before.push(Before::Suspect(std::mem::replace(&mut self.suspect, suspect)));
    }

    /// A message is visible again. One that the cursor has not passed is found by it.
    fn shows_again(&mut self, id: i64) {
        if id <= self.cursor {
            self.set_returned(id, true);
        }
    }

    fn set_returned(&mut self, id: i64, is_returned: bool) {
        let was = if is_returned { !self.returned.insert(id) } else { self.returned.remove(&id) };
        self.before.push(Before::Returned(id, was));
    }

    /// Answers the flight before.
    fn set_flight(&mut self, id: i64, flight: Option<Flight>) -> Option<Flight> {
        let before = self.put_flight(id, flight);
        self.before.push(Before::Flight(id, before));
        before
    }

    fn put_flight(&mut self, id: i64, flight: Option<Flight>) -> Option<Flight> {
        let before = match flight {
            Some(flight) => self.in_flight.insert(id, flight),
            None => self.in_flight.remove(&id),
        };
        if let Some(before) = before {
            self.ends.remove(&(before.until, id));
        }
        if let Some(flight) = flight {
            self.ends.insert((flight.until, id));
        }
        before
    }

    fn set_lease(&mut self, lease: i64, left: Option<usize>) {
        let before = self.put_lease(lease, left);
        self.before.push(Before::Lease(lease, before));
    }

    fn put_lease(&mut self, lease: i64, left: Option<usize>) -> Option<usize> {
        match left {
            Some(left) => self.leases.insert(lease, left),
            None => self.leases.remove(&lease),
        }
    }

    /// Makes it what it was before.
    fn undo(&mut self, before: Before) {
        match before {
            Before::Cursor(cursor) => self.cursor = cursor,
            Before::Total(total) => self.total = total,
            Before::Flight(id, flight) => drop(self.put_flight(id, flight)),
            Before::Returned(id, true) => drop(self.returned.insert(id)),
            Before::Returned(id, false) => drop(self.returned.remove(&id)),
            Before::Suspected(id) => drop(self.suspects.insert(id)),
            Before::Suspect(suspect) => self.suspect = suspect,
            Before::Lease(lease, left) => drop(self.put_lease(lease, left)),
        }
    }
}

impl Joined for Shared {
    fn ended(&self, is_committed: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.has_joined = false;
        if is_committed {
            state.before.clear();
        }
        while let Some(before) = state.before.pop() {
            state.undo(before);
        }
    }
}

/// Messages whose visibility timeout has passed are visible again, their receive count in their row.
fn settle_ended(
    connection: &Connection,
    file: &QueueFile,
    state: &mut State,
    now: Timestamp,
) -> rusqlite::Result<()> {
    while let Some((until, id)) = state.ends.first().copied().filter(|(until, _)| *until <= now) {
        let Some(flight) = state.set_flight(id, None) else {
            state.ends.remove(&(until, id));
            continue;
        };
        connection.prepare_cached(&file.statements.received)?.execute((id, flight.count))?;
        state.shows_again(id);
        state.cleared(connection, file, id)?;
        if !flight.durable {
            release(connection, file, state, flight.lease)?;
        }
    }
    Ok(())
}

/// One message of a lease is settled.
fn release(connection: &Connection, file: &QueueFile, state: &mut State, lease: i64) -> rusqlite::Result<()> {
    let Some(left) = state.leases.get(&lease).map(|left| left.saturating_sub(1)) else {
        return Ok(());
    };
    state.set_lease(lease, (left > 0).then_some(left));
    if left == 0 {
        let values = (&file.name, lease);
        connection.prepare_cached("DELETE FROM lease WHERE queue = ?1 AND id = ?2")?.execute(values)?;
    }
    Ok(())
}

#[async_trait]
impl Queue for LocalQueue {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut answers: Vec<Result<(), PortError>> = Vec::with_capacity(messages.len());
        let mut rows = Vec::with_capacity(messages.len());
        for message in messages {
            let row = message
                .admitted(&self.file.name, limits::MESSAGE_BYTES_MAX, limits::QUEUE_DELAY_MAX)
                .and_then(|message| self.row(message));
            answers.push(row.map(|row| rows.push(row)));
        }
        let origins: Vec<Arc<QueueFile>> =
            rows.iter().filter_map(|row| row.origin.as_ref()).map(|(origin, _)| Arc::clone(origin)).collect();
        let was_careful = origins.iter().any(|origin| origin.state().suspect.is_some());
        let (file, now) = (Arc::clone(&self.file), self.clock.now());
        let sent = self.store.run(move |connection| insert(connection, &file, &rows, now)).await;
        if sent.is_ok() {
            origins.iter().for_each(|origin| origin.wake_for_suspects(was_careful));
        }
        match sent {
            Ok(()) => self.sent(),
            Err(error) => {
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(error.clone());
                }
            }
        }
        answers
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let visibility = self.visibility_of(visibility)?;
        if max == 0 {
            return Ok(Vec::new());
        }
        let give_up = self.clock.now() + wait;
        loop {
            let mut visible = std::pin::pin!(self.file.visible.notified());
            visible.as_mut().enable();
            let (messages, moved) =
                self.take(Which::Any(max.min(limits::CONSUMER_BATCH_MAX)), visibility).await?;
            if messages.is_empty() && moved {
                continue;
            }
            let now = self.clock.now();
            if !messages.is_empty() || now >= give_up {
                return Ok(messages);
            }
            let wake = self.next_visible().await?.map_or(give_up, |next| next.min(give_up));
            tokio::select! {
                biased;
                () = visible => {}
                () = self.clock.sleep_until(wake) => {}
            }
        }
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let visibility = self.visibility_of(visibility)?;
        // What is no id of this queue is the id of no message of it.
        let ids = ids.iter().filter_map(|id| id.parse().ok()).collect();
        Ok(self.take(Which::These(ids), visibility).await?.0)
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        if receipts.iter().any(|(_, visibility)| *visibility > limits::QUEUE_VISIBILITY_MAX) {
            return Err(PortError::permanent("queue", "a visibility timeout is at most 12 hours"));
        }
        let now = self.clock.now();
        let (file, receipts) = (Arc::clone(&self.file), receipts.to_vec());
        self.store
            .run(move |connection| {
                let mut state = file.changing();
                let state = &mut *state;
                for (receipt, visibility) in receipts {
                    let Some((id, before)) = state.held(&receipt) else {
                        continue;
                    };
                    let until = now + visibility;
                    state.set_flight(id, Some(Flight { until, durable: true, ..before }));
                    state.cleared(connection, &file, id)?;
                    // The wait outlives a restart, and so does the count, which the lease need not hold any longer.
                    connection.prepare_cached(&file.statements.hide)?.execute((
                        id,
                        before.count,
                        until.as_millis(),
                    ))?;
                    if !before.durable {
                        release(connection, &file, state, before.lease)?;
                    }
                }
                file.changed();
                Ok(())
            })
            .await?;
        self.file.visible.notify_waiters();
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        let was_careful = self.file.state().suspect.is_some();
        let (file, receipts) = (Arc::clone(&self.file), receipts.to_vec());
        self.store
            .run(move |connection| {
                for receipt in &receipts {
                    file.settle(connection, receipt)?;
                }
                file.changed();
                Ok(())
            })
            .await?;
        self.file.wake_for_suspects(was_careful);
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        let (file, now) = (Arc::clone(&self.file), self.clock.now());
        self.store
            .read(move |connection| {
                let due: i64 = connection
                    .prepare_cached(&file.statements.count_due)?
                    .query_row((now.as_millis(),), |row| row.get(0))?;
                let state = file.state();
                let flights = state.in_flight.values().filter(|flight| flight.until > now);
                let (in_flight, durable) = flights
                    .fold((0, 0), |(all, durable), flight| (all + 1, durable + u64::from(flight.durable)));
                let delayed = u64::try_from(due).unwrap_or(0).saturating_sub(durable);
                Ok(Depth { visible: state.total.saturating_sub(in_flight + delayed), in_flight, delayed })
            })
            .await
    }

    async fn total(&self) -> Result<u64, PortError> {
        let file = Arc::clone(&self.file);
        // Between two transactions, where it is that of the rows.
        self.store.read(move |_| Ok(file.state().total)).await
    }

    async fn in_flight(&self) -> Result<u64, PortError> {
        let file = Arc::clone(&self.file);
        self.store.read(move |_| Ok(file.state().in_flight.len() as u64)).await
    }

    fn shows_arrivals(&self) -> bool {
        true
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.looked_at(|statements| &statements.arrived, after, max).await
    }

    async fn arrived_for(&self, subject: &str, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        let subject = subject.to_owned();
        self.looked_at(|statements| &statements.arrived_for, subject, max).await
    }
}

impl LocalQueue {
    /// The messages that one of the statements finds, looked at without a receive.
    async fn looked_at(
        &self,
        statement: fn(&Statements) -> &String,
        by: impl ToSql + Send + 'static,
        max: usize,
    ) -> Result<Vec<(u64, Message)>, PortError> {
        let file = Arc::clone(&self.file);
        let rows = self
            .store
            .read(move |connection| {
                let mut statement = connection.prepare_cached(statement(&file.statements))?;
                statement.query_map((by, number(max)), taken)?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        let message =
            |row: TakenRow| (u64::try_from(row.id).unwrap_or(0), row.message(Receipt(String::new())));
        Ok(rows.into_iter().map(message).collect())
    }
}

/// The attributes as they are stored.
fn stored(attributes: &Attributes) -> Result<Option<String>, PortError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(attributes).map(Some).map_err(|error| PortError::permanent("queue", error))
}

/// The attributes of a message that is moved as it is: the queue it comes to may hold another one of its key, and none of the two
/// is to be dropped.
fn without_key(stored_as: Option<String>) -> Option<String> {
    let text = stored_as?;
    // What can't be read is moved as it is, and told when it is received.
    let Ok(mut attributes) = serde_json::from_str::<Attributes>(&text) else { return Some(text) };
    if attributes.remove(KEY).is_some() { stored(&attributes).ok().flatten() } else { Some(text) }
}

/// A message to be sent, as it is stored.
struct NewRow {
    attributes: Option<String>,
    body: String,
    delay: Duration,
    /// The message that it stands for, where that is.
    origin: Option<(Arc<QueueFile>, Receipt)>,
}

impl LocalQueue {
    fn row(&self, message: NewMessage) -> Result<NewRow, PortError> {
        let NewMessage { body, mut attributes, delay, in_place_of, key } = message;
        attributes.extend(key.map(|key| (KEY.to_owned(), key)));
        let origin = in_place_of.map(|Received { queue, receipt }| {
            let file = self.queues.get().and_then(|queues| queues.get(&queue)).map(Arc::clone);
            let none = || PortError::permanent(&self.file.name, format_args!("there is no queue {queue:?}"));
            Ok((file.ok_or_else(none)?, receipt))
        });
        Ok(NewRow { attributes: stored(&attributes)?, body, delay, origin: origin.transpose()? })
    }
}

/// Adds messages to a queue, on the store's thread, each in the place of the one it stands for. Where that is somebody else's
/// by now, it is for them to send it.
fn insert(
    connection: &Connection,
    file: &QueueFile,
    rows: &[NewRow],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut inserter = file.inserter(connection)?;
    for NewRow { attributes, body, delay, origin } in rows {
        if let Some((origin, receipt)) = origin {
            if !origin.settle(connection, receipt)? {
                continue;
            }
            origin.changed();
        }
        inserter.insert(now, *delay, attributes.as_deref(), (body, 0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local::{Local, sqlite},
        memory::VirtualClock,
        model::{Model, RedrivePolicy},
        port::SeededRandom,
    };

    #[tokio::test]
    async fn the_letters_of_an_entity_are_found_without_reading_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let queue = |name: &str, redrive| QueueModel {
            name: name.into(),
            visibility_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(600),
            redrive,
            physical: None,
            is_outside: false,
        };
        let redrive = RedrivePolicy { dead_letter_queue: "dead".into(), receives_max: 3 };
        let queues = vec![queue("work", Some(redrive)), queue("dead", None)];
        let model = Model { name: "shop".into(), queues, ..Model::default() };
        let open = || {
            let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_800_000_000_000)));
            Local::open(folder.path(), &model, clock, Arc::new(SeededRandom::new(1))).unwrap()
        };
        let plan = || -> String {
            let connection = sqlite::reader(folder.path()).unwrap();
            let table = identifier("message", "dead");
            let asked =
                format!("EXPLAIN QUERY PLAN SELECT body FROM {table} WHERE {SUBJECT} = 'x' ORDER BY id DESC");
            connection.query_row(&asked, (), |row| row.get(3)).unwrap()
        };
        drop(open());
        assert!(plan().contains("SEARCH") && plan().contains("message_subject"), "{}", plan());
        // A folder of an earlier version gets it.
        let connection = Connection::open(folder.path().join("quadrille.db")).unwrap();
        connection.execute_batch(&format!("DROP INDEX {}", identifier("message_subject", "dead"))).unwrap();
        drop(connection);
        assert!(plan().contains("SCAN"), "{}", plan());
        drop(open());
        assert!(plan().contains("SEARCH"), "{}", plan());
    }
}
