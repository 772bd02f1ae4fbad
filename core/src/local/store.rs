//! The store: one SQLite database, one thread that owns its only connection, group commit.
//!
//! Every piece of work is a closure on the connection. The thread takes what has gathered, runs it in one transaction,
//! commits (WAL, `synchronous=FULL`: one fsync), and only then answers. So an answer means durable, and the busier it
//! is the more work shares an fsync. Reads go the same way, as the writer's page cache is the one that is warm. But they run
//! between two transactions, on what is committed, and are answered before the next one begins. A reader waits for no flush
//! but the one that is under way.

use super::{
    files::{DATABASE, LOG},
    keeper::Keeper,
    private,
    sqlite::{LOG_PAGES, PAGE_BYTES, configure, reader},
    store_error::StoreError,
};
use crate::port::{Clock, PortError, Random};
use rusqlite::{Connection, OptionalExtension as _};
use std::{
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Pieces of work that share one transaction at most: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 256;

/// Pieces of work that wait for the next write at most, until they make one of their own.
const LATER_MAX: usize = 16;

/// Pieces of work that wait at most; further callers wait to hand theirs over.
const WAITING_MAX: usize = 1_024;

/// Bytes of the log that are there from the start: those pages and, as a transaction is logged whole, a tenth more, with 24
/// bytes before each and 32 before the first.
const LOG_BYTES: u64 = 32 + (LOG_PAGES + LOG_PAGES / 10) * (24 + PAGE_BYTES);

/// Whether the store takes writes is tried at most once in this time.
const PROBED_EVERY: Duration = Duration::from_secs(1);

/// Ids reserved at once in a [`Sequence`]: a restart skips at most so many.
const RESERVED_AT_ONCE: i64 = 1 << 20;

/// The version of what is stored. A change of a table's layout raises it and adds a migration.
pub(super) const SCHEMA: i64 = 2;

/// A handle to the store's thread. Dropping the last one lets the thread finish what it was given and end.
pub(super) struct Store {
    work: mpsc::Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_read_only: bool,
    /// What the last probe gave, and when.
    probed: tokio::sync::Mutex<Option<(Duration, Result<(), PortError>)>>,
}

/// What a caller asks of the thread.
enum Job {
    /// Changes nothing.
    Read(Box<dyn Work>),
    Write(Box<dyn Work>),
    /// Goes with the next write.
    Later(Box<dyn Work>),
}

/// Work of one caller, with its answer.
trait Work: Send {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, failed: Option<&str>);
}

struct Closure<F, T> {
    work: Option<F>,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, PortError>>,
}

impl<F, T> Work for Closure<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<&str>) {
        let answer = match (self.done, failed) {
            (Some(done), None) => Ok(done),
            (_, failed) => {
                Err(PortError::transient("store", failed.unwrap_or("the transaction was rolled back")))
            }
        };
        // A caller that went away needs no answer.
        let _ = self.answer.send(answer);
    }
}

impl Store {
    /// Opens or creates the database in `folder` for the choreography `owner`, lets `set_up` make its tables, and starts its
    /// thread.
    pub(super) fn open<T>(
        folder: &Path,
        owner: &str,
        random: &dyn Random,
        clock: Arc<dyn Clock>,
        set_up: impl FnOnce(&Connection, &Transactions) -> rusqlite::Result<T>,
    ) -> Result<(Self, T), StoreError> {
        // SQLite gives its other files the permissions of this one.
        private::file().write(true).create(true).truncate(false).open(folder.join(DATABASE))?;
        let connection = Connection::open(folder.join(DATABASE))?;
        configure(&connection)?;
        let found: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        if found > SCHEMA {
            return Err(StoreError::LaterSchema { found, known: SCHEMA });
        }
        // In one transaction: a process that ends in it has recovered nothing, and so nothing twice.
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS owner(choreography TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS sequence(name TEXT PRIMARY KEY, reserved INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS lease(queue TEXT NOT NULL, id INTEGER NOT NULL, messages TEXT NOT NULL,
                 PRIMARY KEY(queue, id)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS suspect(queue TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(queue, id))
                 WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS alarm(queue TEXT PRIMARY KEY, told INTEGER NOT NULL, red INTEGER NOT NULL,
                 last INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS bucket(name TEXT PRIMARY KEY) WITHOUT ROWID;",
        )?;
        Keeper::set_up(&transaction, random)?;
        transaction.execute(
            "INSERT INTO owner(choreography) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM owner)",
            (owner,),
        )?;
        transaction.execute_batch(&format!("PRAGMA user_version={SCHEMA}"))?;
        let transactions = Transactions::default();
        let made = set_up(&transaction, &transactions)?;
        transaction.commit()?;
        if let Err(error) = reserve_log(&folder.join(LOG)) {
            tracing::warn!(%error, "no room could be reserved for the store's log; it grows as it is written");
        }
        let keeper = Keeper::open(folder, &connection, clock)?;
        Ok((Self::start(connection, transactions, Some(keeper))?, made))
    }

    /// Opens the database in `folder` to be read, and changes no file: what is to be written is refused.
    pub(super) fn open_existing<T>(
        folder: &Path,
        set_up: impl FnOnce(&Connection, &Transactions) -> rusqlite::Result<T>,
    ) -> Result<(Self, T), StoreError> {
        let connection = reader(folder)?;
        let found: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        if found > SCHEMA {
            return Err(StoreError::LaterSchema { found, known: SCHEMA });
        }
        let transactions = Transactions::default();
        let made = set_up(&connection, &transactions)?;
        Ok((Self::start(connection, transactions, None)?, made))
    }

    /// Without a keeper, it is read only.
    fn start(
        connection: Connection,
        transactions: Transactions,
        keeper: Option<Keeper>,
    ) -> Result<Self, StoreError> {
        connection.set_prepared_statement_cache_capacity(256);
        let is_read_only = keeper.is_none();
        let (work, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("quadrille-store".into())
            .spawn(move || Thread { connection, transactions, keeper }.serve(waiting))?;
        Ok(Self {
            work,
            thread: Mutex::new(Some(thread)),
            is_read_only,
            probed: tokio::sync::Mutex::default(),
        })
    }

    fn check_writable(&self) -> Result<(), PortError> {
        if self.is_read_only {
            return Err(PortError::permanent("store", "the data folder is open to be read only"));
        }
        Ok(())
    }

    /// Runs `work` on the connection and answers once it is durable. If any work of its group fails in the database, the
    /// whole group is rolled back and answered with a transient error.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.check_writable()?;
        self.ask(work, Job::Write).await
    }

    /// Whether a write is taken and flushed; told anew once in [`PROBED_EVERY`] at most, however many ask.
    pub(super) async fn takes_writes(&self, uptime: Duration) -> Result<(), PortError> {
        if self.is_read_only {
            return Ok(());
        }
        let mut probed = self.probed.lock().await;
        if let Some((at, result)) = &*probed
            && uptime.saturating_sub(*at) < PROBED_EVERY
        {
            return result.clone();
        }
        // Written as it stands already: that is a change of its page, and is logged and flushed.
        let write =
            |connection: &Connection| connection.execute_batch(&format!("PRAGMA user_version={SCHEMA}"));
        let result = self.run(write).await;
        *probed = Some((uptime, result.clone()));
        result
    }

    /// Runs `work` with the next write, without a flush of its own, or at the latest when the store is closed. It is not
    /// durable before, and lost where that write fails.
    pub(super) async fn run_later<F>(&self, work: F) -> Result<(), PortError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        self.check_writable()?;
        let (answer, _) = oneshot::channel();
        let work = Closure { work: Some(work), done: None, answer };
        self.work.send(Job::Later(Box::new(work))).await.map_err(|_| closed())
    }

    /// The same for one who opens the store and must not wait: there is room for what is given to it before all else.
    pub(super) fn run_with_the_first<F>(&self, work: F) -> Result<(), PortError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        self.check_writable()?;
        let (answer, _) = oneshot::channel();
        let work = Closure { work: Some(work), done: None, answer };
        self.work.try_send(Job::Later(Box::new(work))).map_err(|_| closed())
    }

    /// Runs `work`, which must change nothing, on what is committed: it sees all that was answered before. A failure in the
    /// database is a transient error of this work alone.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.ask(work, Job::Read).await
    }

    async fn ask<T, F>(&self, work: F, job: fn(Box<dyn Work>) -> Job) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work = Closure { work: Some(work), done: None, answer };
        self.work.send(job(Box::new(work))).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn closed() -> PortError {
    PortError::permanent("store", "the store is closed")
}

/// Fills the log up to [`LOG_BYTES`] with zeros, which end it for SQLite wherever its own text ends. With each flush of a
/// file that has grown, the file system writes its journal as well; in one that is only written over, it has no need to.
fn reserve_log(path: &Path) -> io::Result<()> {
    let mut log = private::file().append(true).open(path)?;
    let mut missing = LOG_BYTES.saturating_sub(log.metadata()?.len());
    if missing == 0 {
        return Ok(());
    }
    // In small pieces it gains less: the system then keeps the file in as small ones (measured on Linux 6.18, ext4).
    let zeros = vec![0; 256 * 1_024];
    while missing > 0 {
        let part = zeros.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        log.write_all(&zeros[..part])?;
        missing -= part as u64;
    }
    log.sync_data()
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing the channel ends the thread once it has done what it was given.
        let (closed, _) = mpsc::channel(1);
        self.work = closed;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

/// What stands in memory beside the rows, and is changed with them: undone where they are.
pub(super) trait Joined: Send + Sync {
    /// The transaction that it joined is over.
    fn ended(&self, is_committed: bool);
}

/// The transactions of the store's thread.
#[derive(Clone, Default)]
pub(super) struct Transactions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rollbacks: AtomicU64,
    joined: Mutex<Vec<Arc<dyn Joined>>>,
}

impl Transactions {
    /// How many were rolled back so far.
    pub(super) fn rollbacks(&self) -> u64 {
        self.0.rollbacks.load(Ordering::Relaxed)
    }

    /// Has `joined` told, once, how the transaction under way ends.
    pub(super) fn join(&self, joined: Arc<dyn Joined>) {
        self.joined().push(joined);
    }

    fn joined(&self) -> MutexGuard<'_, Vec<Arc<dyn Joined>>> {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, is_committed: bool) {
        if !is_committed {
            self.0.rollbacks.fetch_add(1, Ordering::Relaxed);
        }
        let joined = std::mem::take(&mut *self.joined());
        joined.iter().for_each(|joined| joined.ended(is_committed));
    }
}

/// What the thread was given and has not done.
#[derive(Default)]
struct Backlog {
    reads: Vec<Box<dyn Work>>,
    writes: Vec<Box<dyn Work>>,
    later: Vec<Box<dyn Work>>,
}

impl Backlog {
    fn add(&mut self, job: Job) {
        match job {
            Job::Read(work) => self.reads.push(work),
            Job::Write(work) => self.writes.push(work),
            Job::Later(work) => self.later.push(work),
        }
    }
}

/// What the store's thread has.
struct Thread {
    connection: Connection,
    transactions: Transactions,
    keeper: Option<Keeper>,
}

impl Thread {
    fn serve(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut backlog = Backlog::default();
        let mut closed = false;
        while !closed {
            // Reads are left of the last round where they came during its transaction.
            if backlog.reads.is_empty() {
                match waiting.blocking_recv() {
                    Some(job) => backlog.add(job),
                    None => closed = true,
                }
            }
            while backlog.writes.len() + backlog.later.len() < GROUP_MAX
                && let Ok(job) = waiting.try_recv()
            {
                backlog.add(job);
            }
            for mut work in backlog.reads.drain(..) {
                let failed = work.run(&self.connection).err().map(|error| {
                    tracing::error!(%error, "a read failed; its caller is told");
                    error.to_string()
                });
                work.answer(failed.as_deref());
            }
            if !backlog.writes.is_empty() || backlog.later.len() >= LATER_MAX || closed {
                self.write(&mut backlog, &mut waiting);
            }
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.close(&self.connection);
        }
    }

    /// Runs what is to be written in one transaction, and answers it.
    fn write(&mut self, backlog: &mut Backlog, waiting: &mut mpsc::Receiver<Job>) {
        backlog.writes.append(&mut backlog.later);
        if backlog.writes.is_empty() {
            return;
        }
        let failed = self.committed(backlog, waiting).err().map(|error| {
            tracing::error!(error, "a transaction failed; its callers are told");
            error
        });
        for work in backlog.writes.drain(..) {
            work.answer(failed.as_deref());
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.copy_back(&self.connection);
        }
    }

    /// Why the writes of `backlog` are not acknowledged, if so. What was committed and can't be acknowledged stays: its callers
    /// can't know whether it was applied.
    fn committed(&mut self, backlog: &mut Backlog, waiting: &mut mpsc::Receiver<Job>) -> Result<(), String> {
        if let Some(keeper) = &self.keeper {
            keeper.check_files().map_err(|error| error.to_string())?;
        }
        let written = self.transaction(backlog, waiting);
        if written.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
        // Before anybody is answered: who asks again finds what the rows have.
        self.transactions.ended(written.is_ok());
        written.map_err(|error| error.to_string())?;
        let acknowledged = self.keeper.as_mut().map_or(Ok(()), Keeper::mark);
        acknowledged.map_err(|error| error.to_string())
    }

    /// Runs the writes of `backlog`, and those that arrive meanwhile, in one transaction; reads that arrive are put off until it is
    /// committed.
    fn transaction(&self, backlog: &mut Backlog, waiting: &mut mpsc::Receiver<Job>) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.prepare_cached("BEGIN")?.execute(())?;
        let mut ran = 0;
        loop {
            if let Some(work) = backlog.writes.get_mut(ran) {
                work.run(connection)?;
                ran += 1;
                continue;
            }
            if ran >= GROUP_MAX {
                break;
            }
            match waiting.try_recv() {
                Ok(Job::Read(work)) => backlog.reads.push(work),
                // As it is a write that is under way.
                Ok(Job::Write(work) | Job::Later(work)) => backlog.writes.push(work),
                Err(_) => break,
            }
        }
        if let Some(keeper) = &self.keeper {
            keeper.count(connection)?;
        }
        connection.prepare_cached("COMMIT")?.execute(())?;
        Ok(())
    }
}

/// Rising ids that never repeat, across restarts too. Used on the store's thread only.
pub(super) struct Sequence {
    name: String,
    transactions: Transactions,
    state: Mutex<Ids>,
}

struct Ids {
    next: i64,
    reserved: i64,
    /// The rollbacks there had been when they were reserved: a later one may have undone the reservation.
    rollbacks: u64,
}

impl Sequence {
    pub(super) fn open(
        connection: &Connection,
        transactions: &Transactions,
        name: String,
    ) -> rusqlite::Result<Self> {
        let reserved: Option<i64> = connection
            .query_row("SELECT reserved FROM sequence WHERE name = ?1", (&name,), |row| row.get(0))
            .optional()?;
        let next = reserved.unwrap_or(1);
        let state = Mutex::new(Ids { next, reserved: next, rollbacks: 0 });
        Ok(Self { name, transactions: transactions.clone(), state })
    }

    pub(super) fn next(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let mut ids = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rollbacks = self.transactions.rollbacks();
        if ids.next >= ids.reserved || ids.rollbacks != rollbacks {
            let reserved = ids.next + RESERVED_AT_ONCE;
            connection
                .prepare_cached(
                    "INSERT INTO sequence VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET reserved = ?2",
                )?
                .execute((&self.name, reserved))?;
            (ids.reserved, ids.rollbacks) = (reserved, rollbacks);
        }
        ids.next += 1;
        Ok(ids.next - 1)
    }
}

/// A name of the definition as part of an SQL identifier: definitions allow a-z, 0-9, '-' and '_' only.
pub(super) fn identifier(prefix: &str, name: &str) -> String {
    format!("\"{}\"", table_name(prefix, name))
}

/// The same as SQLite lists it.
pub(super) fn table_name(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.replace('"', ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local::{
            files::MARK,
            loss::{self, Loss},
            mark::{self, Found, Mark, Told},
            sqlite::{Contents, verify},
        },
        port::{SystemClock, SystemRandom},
    };
    use std::fs;

    fn open<T>(
        folder: &Path,
        set_up: impl FnOnce(&Connection, &Transactions) -> rusqlite::Result<T>,
    ) -> Result<(Store, T), StoreError> {
        Store::open(folder, "notes", &SystemRandom, Arc::new(SystemClock), set_up)
    }

    fn notes(connection: &Connection, _: &Transactions) -> rusqlite::Result<()> {
        connection.execute_batch("CREATE TABLE IF NOT EXISTS note(text TEXT NOT NULL)")
    }

    #[tokio::test]
    async fn what_is_in_a_log_that_is_longer_than_its_text_outlives_a_crash() {
        let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = folder.path().join("quadrille.db-wal");
        let (store, ()) = open(folder.path(), notes).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), LOG_BYTES);
        store
            .run(|connection| connection.execute("INSERT INTO note(text) VALUES('kept')", ()))
            .await
            .unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), LOG_BYTES);
        // As a crash leaves it: nothing is closed.
        for file in ["quadrille.db", "quadrille.db-wal"] {
            fs::copy(folder.path().join(file), crashed.path().join(file)).unwrap();
        }
        let (store, ()) = open(crashed.path(), notes).unwrap();
        let text = store.read(|connection| {
            connection.query_row("SELECT text FROM note", (), |row| row.get::<_, String>(0))
        });
        assert_eq!(text.await.unwrap(), "kept");
    }

    #[tokio::test]
    async fn a_log_that_is_long_is_copied_back_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (store, ()) = open(folder.path(), notes).unwrap();
        let mut written = 0;
        while written < 2 * LOG_BYTES {
            let blob = |connection: &Connection| {
                connection.execute("INSERT INTO note(text) VALUES(zeroblob(2000000))", ())
            };
            store.run(blob).await.unwrap();
            written += 2_000_000;
        }
        assert_eq!(fs::metadata(folder.path().join(LOG)).unwrap().len(), LOG_BYTES);
        assert!(fs::metadata(folder.path().join(DATABASE)).unwrap().len() > LOG_BYTES);
        let Found::Mark(told) = mark::find(folder.path()).unwrap() else { panic!() };
        assert_eq!((told.progress.commits, told.copying), (written / 2_000_000, false));
    }

    /// A copy of what a kill would leave.
    fn killed(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in [DATABASE, LOG, MARK] {
            fs::copy(folder.join(file), copy.path().join(file)).unwrap();
        }
        copy
    }

    fn loss_of(folder: &Path) -> Option<Loss> {
        loss::loss(folder, &Contents::of(folder).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_log_that_gets_lost_while_it_is_copied_back_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, ()) = open(folder.path(), notes).unwrap();
        store
            .run(|connection| connection.execute("INSERT INTO note(text) VALUES('kept')", ()))
            .await
            .unwrap();
        let folder = killed(folder.path());
        let Found::Mark(told) = mark::find(folder.path()).unwrap() else { panic!() };
        Mark::open(folder.path(), Told { copying: true, ..told }).unwrap();
        assert_eq!(loss_of(folder.path()), None, "the log is there");
        // Killed again before the copy is made anew. Of the database all is copied that would tell of the loss.
        let (store, ()) = open(folder.path(), notes).unwrap();
        let folder = killed(folder.path());
        drop(store);
        let database = Connection::open(folder.path().join(DATABASE)).unwrap();
        database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        database.close().unwrap();
        assert_eq!(loss_of(folder.path()), Some(Loss::Log { log: "is missing" }));
        fs::write(folder.path().join(LOG), [1; 20_000]).unwrap();
        assert_eq!(loss_of(folder.path()), Some(Loss::Log { log: "is cut or damaged" }));
        Mark::open(folder.path(), told).unwrap();
        assert_eq!(loss_of(folder.path()), None, "all of it was copied");
    }

    #[tokio::test]
    async fn what_is_asked_of_the_database_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let (store, ()) = open(folder.path(), |_, _| Ok(())).unwrap();
        let read = store.read(|connection| {
            verify(connection).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let number = |pragma: &str| {
                connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get::<_, i64>(0))
            };
            Ok((number("synchronous")?, number("wal_autocheckpoint")?, number("page_size")?))
        });
        assert_eq!(read.await.unwrap(), (2, 0, PAGE_BYTES.cast_signed()));
        // What is switched off does not work, however SQLite was compiled.
        for (statement, answer) in [
            ("SELECT load_extension('x')", ""),
            ("SELECT \"a text\"", "no such column"),
            ("PRAGMA writable_schema=ON; DELETE FROM sqlite_master", "may not be modified"),
            ("CREATE VIEW v AS SELECT 1; SELECT * FROM v", "access to view"),
        ] {
            let failed = store.run(move |connection| connection.execute_batch(statement)).await.unwrap_err();
            assert!(failed.to_string().contains(answer), "{statement}: {failed}");
        }
    }

    #[tokio::test]
    async fn writes_that_are_refused_are_told_until_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (store, ()) = open(folder.path(), |_, _| Ok(())).unwrap();
        let at = Duration::from_secs;
        let refuse = async |switch: &'static str| {
            let pragma = move |connection: &Connection| connection.execute_batch(switch);
            store.read(pragma).await.unwrap();
        };
        store.takes_writes(at(0)).await.unwrap();
        refuse("PRAGMA query_only=ON").await;
        store.takes_writes(at(0)).await.unwrap();
        store.takes_writes(at(1)).await.unwrap_err();
        refuse("PRAGMA query_only=OFF").await;
        store.takes_writes(at(1)).await.unwrap_err();
        store.takes_writes(at(2)).await.unwrap();
    }
}
