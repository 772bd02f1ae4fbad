//! The keeper: sees to it that what the store acknowledges is there at the next start, or missed there.
//!
//! It counts the transactions in the database and has the [mark](super::mark) say so, looks whether the store's files still lie
//! where they were opened, and copies the log back into the database. The mark tells of the latter: a log that gets lost in the
//! middle of it leaves a database that has the last count and not all that was counted.

use super::{
    files::{DATABASE, LOG, MARK},
    mark::{self, Found, Mark, Told},
    place::Place,
    sqlite::{LOG_PAGES, Progress, copy_back, log_pages},
    store_error::StoreError,
};
use crate::port::{Clock, Random};
use rusqlite::Connection;
use std::{io, path::Path, sync::Arc};

pub(super) struct Keeper {
    mark: Mark,
    told: Told,
    clock: Arc<dyn Clock>,
    files: [Place; 3],
    /// The log could not be copied back the last time, which was told.
    is_behind: bool,
}

impl Keeper {
    /// Makes the table of what is counted where it is missing, in the transaction that sets the store up.
    pub(super) fn set_up(connection: &Connection, random: &dyn Random) -> rusqlite::Result<()> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS progress(store INTEGER NOT NULL, commits INTEGER NOT NULL,
                 openings INTEGER NOT NULL)",
        )?;
        if Progress::of(connection)?.is_none() {
            let number = random.next_u64().cast_signed();
            connection
                .execute("INSERT INTO progress(store, commits, openings) VALUES(?1, 0, 0)", (number,))?;
        }
        // Every transaction of the log writes this row. So whatever part of it is read, the row tells how long that is.
        connection.execute("UPDATE progress SET openings = openings + 1", ()).map(drop)
    }

    /// Begins to keep the store in `folder`, which is set up.
    pub(super) fn open(
        folder: &Path,
        connection: &Connection,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let progress = Progress::of(connection)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        // A copy that was cut off is still to be made.
        let copying = matches!(mark::find(folder)?, Found::Mark(told) if told.copying);
        let told = Told { progress, copying };
        let mark = Mark::open(folder, told)?;
        let place = |name| Place::of(folder.join(name));
        let files = [place(DATABASE)?, place(LOG)?, place(MARK)?];
        Ok(Self { mark, told, clock, files, is_behind: false })
    }

    /// # Errors
    /// A file of the store lies where it was no longer.
    pub(super) fn check_files(&self) -> io::Result<()> {
        self.files.iter().try_for_each(Place::check)
    }

    /// Counts the transaction that is under way.
    pub(super) fn count(&self, connection: &Connection) -> rusqlite::Result<()> {
        let commits = self.told.progress.commits + 1;
        let mut count = connection.prepare_cached("UPDATE progress SET commits = ?1")?;
        count.execute((commits.cast_signed(),)).map(drop)
    }

    /// Has the mark say that the transaction that was counted is committed.
    ///
    /// # Errors
    /// It could not be said, or nobody would find the transaction: it can't be acknowledged.
    pub(super) fn mark(&mut self) -> io::Result<()> {
        self.told.progress.commits += 1;
        self.mark.say(self.told)?;
        self.mark.flush_by_and_by(self.clock.uptime())?;
        self.check_files()
    }

    /// Copies the log back into the database where it has become long. What fails is tried again after the next transaction, and
    /// the log grows meanwhile: that is told when it begins, and when it is over.
    pub(super) fn copy_back(&mut self, connection: &Connection) {
        let due = log_pages(connection).map(|(pages, copied)| pages >= LOG_PAGES && copied < pages);
        let copied =
            due.map_err(StoreError::from).and_then(|due| if due { self.copy(connection) } else { Ok(()) });
        let was_behind = std::mem::replace(&mut self.is_behind, copied.is_err());
        match copied {
            Err(error) if !was_behind => {
                tracing::warn!(%error, "the store's log could not be copied back; it grows until it can");
            }
            Ok(()) if was_behind => tracing::info!("the store's log is copied back again"),
            _ => {}
        }
    }

    /// Copies back what is left in the log, so that it is of no use any more when the database is closed.
    pub(super) fn close(&mut self, connection: &Connection) {
        if let Err(error) = self.check_files().map_err(StoreError::from).and_then(|()| self.copy(connection))
        {
            tracing::warn!(%error, "the store's log could not be copied back; the next start reads it");
        }
    }

    fn copy(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.told.copying = true;
        self.mark.say(self.told)?;
        self.mark.flush()?;
        let (pages, copied) = copy_back(connection)?;
        if copied < pages {
            return Ok(());
        }
        self.told.copying = false;
        self.mark.say(self.told)?;
        Ok(self.mark.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local::sqlite::configure,
        port::{SeededRandom, SystemClock},
    };
    use std::{
        io::Write,
        sync::{Mutex, PoisonError},
    };

    /// The log of a test.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn with(&self, text: &str) -> usize {
            let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&lines).matches(text).count()
        }
    }

    #[test]
    fn a_log_that_can_not_be_copied_back_is_told_once_a_stretch_and_so_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
        configure(&connection).unwrap();
        Keeper::set_up(&connection, &SeededRandom::new(1)).unwrap();
        let mut keeper = Keeper::open(folder.path(), &connection, Arc::new(SystemClock)).unwrap();
        let lines = Lines::default();
        let writer = lines.clone();
        let logger = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logger, || {
            for stretch in 1..=2 {
                // Nothing is copied back while a transaction is open: as good a refusal as that of a full disk.
                connection.execute_batch("BEGIN; UPDATE progress SET openings = openings + 1").unwrap();
                for _ in 0..3 {
                    keeper.copy_back(&connection);
                    assert_eq!(lines.with("could not be copied back"), stretch);
                }
                connection.execute_batch("COMMIT").unwrap();
                for _ in 0..3 {
                    keeper.copy_back(&connection);
                    assert_eq!(lines.with("copied back again"), stretch);
                }
            }
        });
    }
}
