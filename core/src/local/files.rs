//! The names of what lies in a data folder.

/// The lock of the engine that has it.
pub(super) const LOCK: &str = "lock";
/// Where that engine is reached, and what it is written to first.
pub(super) const ANNOUNCEMENT: &str = "engine.json";
pub(super) const PARTIAL_ANNOUNCEMENT: &str = "engine.json.partial";
/// The database, its log, and what SQLite keeps of a transaction before there is a log.
pub(super) const DATABASE: &str = "quadrille.db";
pub(super) const LOG: &str = "quadrille.db-wal";
pub(super) const JOURNAL: &str = "quadrille.db-journal";
/// How far the store had come, and what it is written to first.
pub(super) const MARK: &str = "quadrille.mark";
pub(super) const PARTIAL_MARK: &str = "quadrille.mark.partial";
/// The folder of the buckets.
pub(super) const BUCKETS: &str = "bucket";

/// What an opening leaves that ended before the database was made.
pub(super) const OF_AN_OPENING: [&str; 7] =
    [LOCK, ANNOUNCEMENT, PARTIAL_ANNOUNCEMENT, DATABASE, LOG, JOURNAL, PARTIAL_MARK];
