//! The layout of a table on DynamoDB: what the adapter writes, the relay reads, and the infrastructure makes.

/// Partition key, text: `kind/id`.
pub const KEY: &str = "key";
/// Counts the commits of the item, number.
pub const VERSION: &str = "version";
/// State and trail, JSON as text: what is in it is opaque to the table, so that its numbers stay as they are.
pub const DOCUMENT: &str = "document";
/// The attribute of the table's time to live: seconds since 1970, number; rounded up, so that nothing is deleted before
/// its time.
pub const EXPIRES_AT: &str = "expires_at";
/// The exact time in milliseconds since 1970, number. Only where it is no whole second.
pub const EXPIRES_AT_MILLIS: &str = "expires_at_millis";
/// The sparse index: a global secondary index on [`INDEX_PARTITION`] and [`INDEX_SORT`] that projects [`INDEX_PROJECTED`].
pub const INDEX: &str = "open";
/// What the index projects besides the keys (`INCLUDE`).
///
/// With the document in it, a page is one request: keys alone would cost a read of each item besides, 1 read unit an
/// order against some 0.1. An entity under 1 KB costs one write unit to enter the index and one to leave it either way; a
/// commit that leaves it where it is costs one more, which keys alone would save. The outbox is left out: nobody reads it
/// there.
pub const INDEX_PROJECTED: [&str; 4] = [VERSION, DOCUMENT, EXPIRES_AT, EXPIRES_AT_MILLIS];
/// Partition key of the index, text. Only on items that have an index entry.
pub const INDEX_PARTITION: &str = "index_partition";
/// Sort key of the index, text. Only on items that have an index entry.
pub const INDEX_SORT: &str = "index_sort";
/// What the latest commit emitted, a JSON array as text, or shortened by what the item says beside it, where that spares
/// a write unit (the relay reads both). Only where it emitted something.
pub const OUTBOX: &str = "outbox";
/// `"1"` where the latest commit emitted something: what the filter of the relay looks at.
pub const RELAY: &str = "relay";

/// The filter of the relay's event source mapping: of the table's change stream (`NEW_IMAGE`), only commits with
/// something to relay invoke it. Deletions have no new image, so that an expiry does not invoke it either.
pub const RELAY_FILTER: &str = r#"{"dynamodb":{"NewImage":{"relay":{"S":["1"]}}}}"#;
