//! Whether a data folder has all that an engine had acknowledged there, told before anything in it is opened to be written.

use super::{
    OpenError,
    files::{BUCKETS, DATABASE, LOG},
    mark::{self, Found, Told},
    private,
    sqlite::{Contents, Progress},
};
use crate::model::Model;
use std::{
    fs,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// The header of a database: its bytes, and how it begins.
const HEADER_BYTES: usize = 100;
const HEADER_BEGIN: &[u8] = b"SQLite format 3\0";

/// What a data folder lacks of what an engine had acknowledged there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// There is no database, or one with nothing in it.
    #[error(
        "has lost its database with {commits} acknowledged transactions, as `quadrille.db` or its log `quadrille.db-wal` is \
         missing or empty: put both back, or give another folder"
    )]
    Database {
        /// The transactions that had been acknowledged.
        commits: u64,
    },
    /// The database is cut short.
    #[error(
        "has lost the end of its database, as `quadrille.db` is cut to {found} of {bytes} bytes: put back what was there, or give \
         another folder"
    )]
    Cut {
        /// The length that the database gives itself.
        bytes: u64,
        /// Its length.
        found: u64,
    },
    /// The database has fewer transactions than were acknowledged.
    #[error(
        "has {found} of {commits} acknowledged transactions, as its log `quadrille.db-wal` {log}: put back what was there, or \
         go on without the others by `up --accept-loss`"
    )]
    Commits {
        /// The transactions that had been acknowledged.
        commits: u64,
        /// Those that are there.
        found: u64,
        /// What is wrong with the log.
        log: &'static str,
    },
    /// The log is gone that was just being copied into the database.
    #[error(
        "has lost a part of its last transactions, as its log `quadrille.db-wal`, which was being copied into the database, {log}: \
         put back what was there, or go on with what is whole by `up --accept-loss`"
    )]
    Log {
        /// What is wrong with the log.
        log: &'static str,
    },
    /// The database is not the one whose transactions were acknowledged.
    #[error(
        "has another database than the one with {commits} acknowledged transactions, as `quadrille.db` or its log was replaced: \
         put back what was there, or go on with what is there by `up --accept-loss`"
    )]
    Replaced {
        /// The transactions that had been acknowledged.
        commits: u64,
    },
    /// Nothing tells how much was acknowledged.
    #[error(
        "can't tell whether it has lost anything, as its file `quadrille.mark` {mark}: put it back, or go on with what is there \
         by `up --accept-loss`"
    )]
    Mark {
        /// What is wrong with the mark.
        mark: &'static str,
    },
    /// The folder of a bucket is gone.
    #[error(
        "has lost the objects of a bucket, as its folder `bucket/{bucket}` is missing: put it back, or go on without them by \
         making it anew"
    )]
    Bucket {
        /// The bucket.
        bucket: String,
    },
}

/// Whether the database of `folder` has what its mark says, and those buckets of the model are there that it knows of.
pub(super) fn check(folder: &Path, model: &Model, contents: &Contents) -> Result<(), OpenError> {
    let failed = |source: io::Error| OpenError::Folder { folder: folder.to_owned(), source };
    let loss = match loss(folder, contents).map_err(failed)? {
        Some(loss) => Some(loss),
        None => model.buckets.iter().map(|bucket| &bucket.name).find_map(|bucket| {
            let is_there = fs::symlink_metadata(folder.join(BUCKETS).join(bucket)).is_ok();
            let is_lost = !is_there && contents.buckets.contains(bucket);
            is_lost.then(|| Loss::Bucket { bucket: bucket.clone() })
        }),
    };
    loss.map_or(Ok(()), |loss| Err(OpenError::Lost { folder: folder.to_owned(), loss }))
}

/// Whether `folder`, in which no database was found, had one.
pub(super) fn check_without_database(folder: &Path) -> Result<(), OpenError> {
    let found = mark::find(folder);
    let commits = match found.map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })? {
        Found::Nothing => return Ok(()),
        Found::Damaged => 0,
        Found::Mark(told) => told.progress.commits,
    };
    Err(OpenError::Lost { folder: folder.to_owned(), loss: Loss::Database { commits } })
}

/// What the database lacks of what its mark says.
pub(super) fn loss(folder: &Path, contents: &Contents) -> io::Result<Option<Loss>> {
    let Told { progress: told, copying } = match (mark::find(folder)?, contents.progress) {
        // The database is an earlier version's, or was made just now, and nobody has had an answer.
        (Found::Nothing, None | Some(Progress { commits: 0, .. })) => return Ok(None),
        (Found::Nothing, _) => return Ok(Some(Loss::Mark { mark: "is missing" })),
        (Found::Damaged, _) => return Ok(Some(Loss::Mark { mark: "is damaged" })),
        (Found::Mark(told), _) => told,
    };
    let commits = told.commits;
    let Some(found) = contents.progress.filter(|found| found.store == told.store) else {
        return Ok(Some(Loss::Replaced { commits }));
    };
    let log = match fs::metadata(folder.join(LOG)) {
        Ok(log) if log.len() > 0 => "is cut or damaged",
        _ => "is missing",
    };
    if found.commits < commits {
        return Ok(Some(Loss::Commits { commits, found: found.commits, log }));
    }
    Ok((copying && !contents.has_log).then_some(Loss::Log { log }))
}

/// Whether the database of `folder` is cut short, told before SQLite opens it. In the middle of its copy, its end may stand in the log
/// alone.
pub(super) fn check_length(folder: &Path) -> Result<(), OpenError> {
    let cut = mark::find(folder).and_then(|found| match found {
        Found::Mark(Told { copying: false, .. }) => cut(folder),
        _ => Ok(None),
    });
    let cut = cut.map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })?;
    cut.map_or(Ok(()), |loss| Err(OpenError::Lost { folder: folder.to_owned(), loss }))
}

/// Whether the file of the database is shorter than it says itself. SQLite looks only where there is no log: it might have the rest.
fn cut(folder: &Path) -> io::Result<Option<Loss>> {
    let mut file = private::file().read(true).open(folder.join(DATABASE))?;
    let found = file.metadata()?.len();
    if found == 0 {
        // As one that is missing.
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    let bytes = match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => header.len() as u64,
        Err(error) => return Err(error),
        // SQLite tells what is wrong with it.
        Ok(()) if !header.starts_with(HEADER_BEGIN) => return Ok(None),
        // See <https://www.sqlite.org/fileformat2.html#the_database_header>; of the page size, 65,536 is written as 1.
        Ok(()) => {
            let page = u64::from(u16::from_be_bytes([header[16], header[17]]));
            let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
            u64::from(pages) * if page == 1 { 65_536 } else { page }
        }
    };
    Ok((found < bytes).then_some(Loss::Cut { bytes, found }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{files::MARK, mark::Mark};
    use rusqlite::Connection;

    #[test]
    fn a_database_is_short_without_a_loss_while_its_log_is_copied_into_it_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE);
        let progress = Progress { store: 1, commits: 1 };
        for page in [512, 8_192, 65_536] {
            let database = Connection::open(&path).unwrap();
            database
                .execute_batch(&format!("PRAGMA page_size={page}; CREATE TABLE a(b); CREATE TABLE c(d)"))
                .unwrap();
            database.close().unwrap();
            let bytes = fs::metadata(&path).unwrap().len();
            assert_eq!(bytes, 3 * page);
            Mark::open(folder.path(), Told { progress, copying: false }).unwrap();
            check_length(folder.path()).unwrap();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes - page).unwrap();
            let OpenError::Lost { loss, .. } = check_length(folder.path()).unwrap_err() else { panic!() };
            assert_eq!(loss, Loss::Cut { bytes, found: bytes - page });
            Mark::open(folder.path(), Told { progress, copying: true }).unwrap();
            check_length(folder.path()).unwrap();
            // Nobody knows whether one was under way.
            fs::remove_file(folder.path().join(MARK)).unwrap();
            check_length(folder.path()).unwrap();
            fs::remove_file(&path).unwrap();
        }
    }
}
