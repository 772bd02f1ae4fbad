//! The keeper: sees to it that what the store acknowledges is there at the next start, or missed there.
//!
//! It counts the transactions in the database and has the [mark](super::mark) say so, looks whether the store's files still lie
//! where they were opened, and copies the log back into the database. The mark tells of the latter: a log that gets lost in the
//! middle of it leaves a database that has the last count and not all that was counted.

use super::{
    mark::{self, Found, MARK, Mark, Told},
    place::Place,
    sqlite::{DATABASE, LOG, LOG_PAGES, Progress, copy_back, log_pages},
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
        Ok(Self { mark, told, clock, files })
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
    /// the log grows meanwhile.
    pub(super) fn copy_back(&mut self, connection: &Connection) {
        let due = log_pages(connection).map(|(pages, copied)| pages >= LOG_PAGES && copied < pages);
        let copied =
            due.map_err(StoreError::from).and_then(|due| if due { self.copy(connection) } else { Ok(()) });
        if let Err(error) = copied {
            tracing::warn!(%error, "the store's log could not be copied back; it grows until it can");
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
