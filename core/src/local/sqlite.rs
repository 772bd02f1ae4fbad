//! How the database of a folder is opened: what is asked of SQLite, and made sure of; and a way to read that changes no file.

use super::{
    files::{DATABASE, JOURNAL, LOG},
    store_error::StoreError,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, config::DbConfig, types::Value};
use std::{collections::BTreeSet, fs, path::Path, time::Duration};

/// Bytes of a page of the database.
pub(super) const PAGE_BYTES: u64 = 8_192;

/// Pages of the log after which they are copied back into the database, and the log begins anew.
pub(super) const LOG_PAGES: u64 = 4_000;

/// What is asked of SQLite with each opening, as it is set and as it then reads. Asked here and not when SQLite is compiled, so
/// that whoever uses this crate gets the same.
const SETTINGS: [(&str, &str, &str); 11] = [
    // Keys are compared by their bytes in UTF-8.
    ("encoding", "'UTF-8'", "UTF-8"),
    // One process, one connection: exclusive locking spares the shared-memory index and every lock call.
    ("locking_mode", "EXCLUSIVE", "exclusive"),
    ("journal_mode", "WAL", "wal"),
    // What is answered is on the disk.
    ("synchronous", "FULL", "2"),
    ("fullfsync", "ON", "1"),
    // The store copies the log back itself (see `Keeper::copy_back`).
    ("wal_autocheckpoint", "0", "0"),
    // The log keeps its size (see `reserve_log`).
    ("journal_size_limit", "-1", "-1"),
    // A disk's error is an error, where a mapped file ends the process.
    ("mmap_size", "0", "0"),
    // Bounded, so that memory stays flat however large the tables grow.
    ("cache_size", "-16384", "-16384"),
    ("temp_store", "MEMORY", "2"),
    // There are none, and whoever compiles SQLite decides what it does without being asked.
    ("foreign_keys", "OFF", "0"),
];

/// The first version that tells how long the log is (`wal_checkpoint(NOOP)`).
const VERSION_MIN: i32 = 3_051_000;

/// Switches of the connection, likewise.
const SWITCHES: [(&str, DbConfig, bool); 8] = [
    // Without it, SQLite plans a prepared statement anew whenever a bound value could change the plan: a seventh of the
    // processor time, for plans that are always the same.
    ("stable query plans", DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    // A database that somebody has prepared runs nothing of its own.
    ("the defensive mode", DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    ("a trusted schema", DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ("triggers", DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
    ("views", DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ("a writable schema", DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
    // A name that is misspelt is an error, and no text.
    ("texts in double quotes", DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    ("texts in double quotes in a schema", DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
];

/// Asks for what [`SETTINGS`] and [`SWITCHES`] say, and makes sure of it.
pub(super) fn configure(connection: &Connection) -> Result<(), StoreError> {
    for (_, switch, on) in SWITCHES {
        connection.set_db_config(switch, on)?;
    }
    // What an older database differs in without harm.
    connection.execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}"))?;
    for (setting, value, _) in SETTINGS {
        connection.execute_batch(&format!("PRAGMA {setting}={value}"))?;
    }
    verify(connection)
}

/// Pages in the log, and of those the ones that are copied back into the database. Older versions of SQLite, which take the word for
/// another one, would copy them back with this.
pub(super) fn log_pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    log_after(connection, "PRAGMA wal_checkpoint(NOOP)")
}

/// Copies the pages of the log back into the database, and answers as [`log_pages`].
pub(super) fn copy_back(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    log_after(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn log_after(connection: &Connection, pragma: &str) -> rusqlite::Result<(u64, u64)> {
    // Negative where there is no log.
    let pages = |pages: i64| u64::try_from(pages).unwrap_or(0);
    connection.prepare_cached(pragma)?.query_row((), |row| Ok((pages(row.get(1)?), pages(row.get(2)?))))
}

pub(super) fn verify(connection: &Connection) -> Result<(), StoreError> {
    if rusqlite::version_number() < VERSION_MIN {
        let (setting, wanted) = ("the version", "3.51 or later");
        return Err(StoreError::Setting { setting, wanted, found: rusqlite::version().to_owned() });
    }
    for (setting, switch, on) in SWITCHES {
        if connection.db_config(switch)? != on {
            let (wanted, found) = if on { ("on", "off") } else { ("off", "on") };
            return Err(StoreError::Setting { setting, wanted, found: found.to_owned() });
        }
    }
    for (setting, _, wanted) in SETTINGS {
        let read = connection.query_row(&format!("PRAGMA {setting}"), (), |row| row.get(0)).optional()?;
        let found = match read {
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Text(text)) => text,
            _ => "none".to_owned(),
        };
        if found != wanted {
            return Err(StoreError::Setting { setting, wanted, found });
        }
    }
    Ok(())
}

/// What stands in a path of a URI as it is.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// A connection that reads the database of `folder` and changes no file there. It fails where another process has it.
pub(super) fn reader(folder: &Path) -> rusqlite::Result<Connection> {
    // Of one byte is as of none to SQLite, which deletes the log beside such a database.
    let has = |name: &str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 1);
    let database = folder.join(DATABASE);
    let connection = if has(DATABASE) && (has(LOG) || has(JOURNAL)) {
        // As a crash leaves it: what was committed last stands in the log. It is read from there, and left there.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE")?;
        connection
    } else {
        let path = percent_encode(database.as_os_str().as_encoded_bytes(), IN_PATHS);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?
    };
    connection.busy_timeout(Duration::ZERO)?;
    for (_, switch, on) in SWITCHES {
        connection.set_db_config(switch, on)?;
    }
    connection.execute_batch("PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY")?;
    Ok(connection)
}

/// How far a store has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The store that counted: no other has this number.
    pub(super) store: u64,
    /// Its transactions.
    pub(super) commits: u64,
}

impl Progress {
    /// As it stands in the database, which need not have it.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let progress = |row: &Row<'_>| {
            let (store, commits): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Self { store: store.cast_unsigned(), commits: commits.cast_unsigned() })
        };
        connection.query_row("SELECT store, commits FROM progress", (), progress).optional()
    }
}

/// What a database holds.
pub(super) struct Contents {
    /// The choreography that it belongs to, where it says so.
    pub(super) owner: Option<String>,
    pub(super) tables: BTreeSet<String>,
    pub(super) progress: Option<Progress>,
    /// The buckets that were opened beside it.
    pub(super) buckets: BTreeSet<String>,
    /// Whether some of it stands in a log that is whole up to there.
    pub(super) has_log: bool,
}

impl Contents {
    /// The contents of the database in `folder`, which stays as it is.
    pub(super) fn of(folder: &Path) -> rusqlite::Result<Self> {
        let connection = reader(folder)?;
        let tables = connection
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?
            .query_map((), |row| row.get(0))?
            .collect::<rusqlite::Result<BTreeSet<String>>>()?;
        let owner = if tables.contains("owner") {
            connection.query_row("SELECT choreography FROM owner", (), |row| row.get(0)).optional()?
        } else {
            None
        };
        let progress = if tables.contains("progress") { Progress::of(&connection)? } else { None };
        let buckets = if tables.contains("bucket") { buckets(&connection)? } else { BTreeSet::new() };
        let has_log = log_pages(&connection)?.0 > 0;
        Ok(Self { owner, tables, progress, buckets, has_log })
    }

    /// Whether an engine made them, of whatever version.
    pub(super) fn are_an_engines(&self) -> bool {
        self.tables.contains("sequence") && self.tables.contains("lease")
    }
}

/// Whether what the database in `folder` holds fits together, all of it.
pub(super) fn check_whole(folder: &Path) -> Result<(), StoreError> {
    let found: String = reader(folder)?.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged { found }) }
}

/// The buckets that were opened beside the database.
pub(super) fn buckets(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let name = |row: &Row<'_>| {
        let name = row.get_ref(0)?.as_str().ok().map(str::to_owned);
        if name.is_none() {
            tracing::error!("the name of a bucket is damaged: nobody would miss its folder");
        }
        Ok(name)
    };
    connection
        .prepare("SELECT name FROM bucket")?
        .query_map((), name)?
        .filter_map(Result::transpose)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_not_in_force_is_an_error_that_names_it() {
        let connection = Connection::open_in_memory().unwrap();
        // A database in memory has no log.
        let error = configure(&connection).unwrap_err();
        let StoreError::Setting { setting, wanted, found } = &error else { panic!("{error}") };
        assert_eq!((*setting, *wanted, found.as_str()), ("journal_mode", "wal", "memory"));
        let folder = tempfile::tempdir().unwrap();
        for setting in ["synchronous=NORMAL", "fullfsync=OFF", "foreign_keys=ON"] {
            let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
            configure(&connection).unwrap();
            connection.execute_batch(&format!("PRAGMA {setting}")).unwrap();
            let error = verify(&connection).unwrap_err().to_string();
            assert!(error.contains(setting.split('=').next().unwrap()), "{error}");
        }
        for (setting, switch, on) in SWITCHES {
            let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
            configure(&connection).unwrap();
            connection.set_db_config(switch, !on).unwrap();
            assert!(verify(&connection).unwrap_err().to_string().contains(setting));
        }
    }
}
