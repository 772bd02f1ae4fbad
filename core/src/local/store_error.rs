//! Why a store could not be opened.

use std::io;

/// An error of the store's thread or its database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The folder or the thread could not be had.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The database was written by a later version of this program.
    #[error(
        "the data folder was written by a later version (schema {found}, this program knows {known}): use that version"
    )]
    LaterSchema {
        /// What stands in the database.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// What is left of a database does not fit together.
    #[error("the database is damaged ({found}): put back a copy of the whole folder")]
    Damaged {
        /// The first that does not fit.
        found: String,
    },
    /// SQLite does not do as it was asked.
    #[error(
        "SQLite does not keep to {setting}: asked for {wanted}, it has {found}; give a folder on a local disk, or build it with another SQLite"
    )]
    Setting {
        /// What was asked for.
        setting: &'static str,
        /// As it was to be.
        wanted: &'static str,
        /// As it is.
        found: String,
    },
}
