//! Table: entities, one item each, written conditionally, with a change stream and a time to live.

use super::{Document, PortError, Unreadable};
use crate::timestamp::Timestamp;
use async_trait::async_trait;
use serde_json::value::RawValue;
use std::time::Duration;

/// An entity as a table stores it. The table knows its key, version, expiry and index entry; the document (its
/// state and trail, JSON) is opaque to it. An item of which anything can't be read has an unreadable document, and of the
/// rest what can be: `version` is 0 where that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Partition key, `kind/id`, at most 2,048 bytes.
    pub key: String,
    /// Counts the commits of this item from 1.
    pub version: u64,
    /// State and trail, JSON. With the outbox at most 400 KB.
    pub document: Document,
    /// From when on the item is gone. The table deletes it some time after; until then reads return it.
    pub expires_at: Option<Timestamp>,
    /// Its entry in the table's sparse index, where it has one.
    pub index: Option<IndexEntry>,
}

/// An item's place in the sparse index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The index partition, 1 to 2,048 bytes.
    pub partition: String,
    /// The place in the partition, 1 to 1,024 bytes; unique in it, so that pages neither skip nor repeat.
    pub sort: String,
}

/// One conditional write of one item, with the events it emits inside the same write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The whole item after the write; its version is one more than `expected`.
    pub item: Item,
    /// The version the item has to have now; 0: there must be none (or one that has expired by `now`).
    pub expected: u64,
    /// The time of the write, against which an old item's expiry is held.
    pub now: Timestamp,
    /// CloudEvents, structured JSON: they appear in the change stream if and only if the item is written.
    pub outbox: Vec<Box<RawValue>>,
    /// Whether the index entry differs from the one at version `expected` (an adapter may save the index write).
    pub index_changed: bool,
    /// Whether the expiry differs from the one at version `expected`.
    pub expiry_changed: bool,
}

/// Why a commit was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else was there first: read again.
    #[error("the item is not at the expected version")]
    Conflict,
    /// The item, with its outbox, is larger than a table takes (400 KB).
    #[error("the item of {bytes} bytes is over the limit of {} bytes", crate::limits::ITEM_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The table could not be asked, or gave no answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What to read from the sparse index: one partition in the order of `sort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexQuery {
    /// The index partition.
    pub partition: String,
    /// Only entries after this `sort`.
    pub after: Option<String>,
    /// Only entries before this `sort`.
    pub before: Option<String>,
    /// At most so many items, 1 to 1,000.
    pub limit: usize,
}

/// A page of an index query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPage {
    /// The items, in the order of `sort`. An index may lag behind its table: an item can be missing for a while,
    /// or be listed at a version whose entry has since changed.
    pub items: Vec<Item>,
    /// The last `sort` looked at, where there may be more behind it.
    pub next: Option<String>,
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Items, in no promised order.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A table of items.
#[async_trait]
pub trait Table: Send + Sync {
    /// The items of `keys`, in their order; `None` where there is none. Reads are consistent: they see every commit
    /// acknowledged before. An expired item may still be returned. One that can't be read, or that is refused alone and for
    /// good, is an item with an unreadable document: the others are not its fault.
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError>;

    /// Applies each write on its own: each succeeds or fails alone, and of several at one version only one wins.
    /// Answers in the order of `writes`. Acknowledged writes are durable. An adapter makes as few requests of
    /// them as it can.
    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>>;

    /// Whether a commit would be taken now, as far as the adapter can tell without one that costs.
    async fn takes_commits(&self) -> Result<(), PortError> {
        Ok(())
    }

    /// A page of the sparse index.
    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError>;

    /// How many entries a partition of the sparse index has, and no more than `at_most`; `None` where nobody keeps the number. It is
    /// asked for again and again: an adapter counts a partition once, and keeps its number from then on.
    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        let _ = (partition, at_most);
        Ok(None)
    }

    /// A page of all items, at most `limit` (1 to 1,000), from where `after` says. Costs as much as the table is large:
    /// for an operator who looks, never for a handler, whose [`Context`](crate::Context) does not offer it.
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError>;
}

/// What one commit emitted.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Its place in the stream; rises within an entity.
    pub sequence: u64,
    /// The item's key; empty where it can't be read.
    pub key: String,
    /// The item's version by that commit; 0 where it can't be read.
    pub version: u64,
    /// The events of the commit, CloudEvents JSON.
    pub outbox: Result<Vec<Box<RawValue>>, UnreadableOutbox>,
}

/// What a stream has of a commit in place of its events.
#[derive(Clone, Debug)]
pub struct UnreadableOutbox {
    /// Why they can't be read.
    pub why: Unreadable,
    /// What is there, as far as it is text.
    pub text: String,
}

/// The change stream of a table, for the one relay that reads it: every commit that emitted something, each
/// entity's in the order of its versions. Removals by expiry do not appear.
#[async_trait]
pub trait ChangeStream: Send + Sync {
    /// The oldest records not yet checkpointed, at most `max`; waits up to `wait` for one. Reading again without a
    /// checkpoint gives the same ones.
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError>;

    /// Everything up to and including `sequence` has been sent on and need not be read again. A read that begins after this
    /// has begun does not give it, so that the relay can do both at once. After a crash it may be read again, as the answer
    /// does not mean that it is durable.
    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError>;
}
