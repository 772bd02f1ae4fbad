//! What a handler uses: the kinds of entities it reads and commits, the buckets it puts into and reads from, services and
//! settings. What each function may do is derived from it, and the [`Context`](crate::Context) holds a handler to it
//! everywhere.

use crate::{entity::Entity, services::service_name};
use std::collections::{BTreeMap, BTreeSet};

/// What a handler uses besides the entity that is loaded for it, which it may read and commit without saying so.
///
/// On AWS a handler's function has permission for just this. Everywhere else the [`Context`](crate::Context) refuses what is
/// not declared, with the permanent failure `undeclared_use`, so that what works on one machine works there.
///
/// ```
/// # use quadrille::{Entity, Uses}; use std::borrow::Cow;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Pot;
/// # impl Entity for Pot { const KIND: &'static str = "pot"; fn id(&self) -> Cow<'_, str> { "".into() } }
/// Uses::new().queries::<Pot>().commits::<Pot>().puts("bills");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    kinds: BTreeMap<String, BTreeSet<TableUse>>,
    buckets: BTreeMap<String, BTreeSet<BucketUse>>,
    services: BTreeSet<String>,
    settings: BTreeSet<String>,
}

impl Uses {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// It reads entities of type `E` by their ids: [`Context::get`](crate::Context::get).
    #[must_use]
    pub fn gets<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Get)
    }

    /// It reads the sparse index of the table that holds `E`: [`Context::query`](crate::Context::query).
    #[must_use]
    pub fn queries<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Query)
    }

    /// It commits entities of type `E`: by what it returns, or by [`Context::commit_all`](crate::Context::commit_all).
    #[must_use]
    pub fn commits<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Commit)
    }

    /// It puts objects into this bucket.
    #[must_use]
    pub fn puts(self, bucket: impl Into<String>) -> Self {
        self.bucket(bucket, BucketUse::Put)
    }

    /// It reads objects of this bucket.
    #[must_use]
    pub fn reads(self, bucket: impl Into<String>) -> Self {
        self.bucket(bucket, BucketUse::Get)
    }

    /// It lists the keys of this bucket.
    #[must_use]
    pub fn lists(self, bucket: impl Into<String>) -> Self {
        self.bucket(bucket, BucketUse::List)
    }

    /// It calls the service behind the trait `S`: [`Context::service`](crate::Context::service).
    #[must_use]
    pub fn service<S: ?Sized + 'static>(mut self) -> Self {
        self.services.insert(service_name::<S>().to_owned());
        self
    }

    /// It reads the value of this setting: [`Context::setting`](crate::Context::setting).
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>) -> Self {
        self.settings.insert(name.into());
        self
    }

    /// The kinds of entities it uses, and how.
    pub fn kinds(&self) -> &BTreeMap<String, BTreeSet<TableUse>> {
        &self.kinds
    }

    /// The buckets it uses, and how.
    pub fn buckets(&self) -> &BTreeMap<String, BTreeSet<BucketUse>> {
        &self.buckets
    }

    /// The services it calls, by the names of their traits.
    pub fn services(&self) -> &BTreeSet<String> {
        &self.services
    }

    /// The settings it reads.
    pub fn settings(&self) -> &BTreeSet<String> {
        &self.settings
    }

    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (kind, uses) in other.kinds {
            self.kinds.entry(kind).or_default().extend(uses);
        }
        for (bucket, uses) in other.buckets {
            self.buckets.entry(bucket).or_default().extend(uses);
        }
        self.services.extend(other.services);
        self.settings.extend(other.settings);
        self
    }

    pub(crate) fn kind(mut self, kind: &str, how: TableUse) -> Self {
        self.kinds.entry(kind.to_owned()).or_default().insert(how);
        self
    }

    fn bucket(mut self, bucket: impl Into<String>, how: BucketUse) -> Self {
        self.buckets.entry(bucket.into()).or_default().insert(how);
        self
    }
}

/// How a table is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableUse {
    /// Entities are read by their ids.
    Get,
    /// The sparse index is read.
    Query,
    /// Entities are committed.
    Commit,
}

impl TableUse {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Get, Self::Query, Self::Commit];
}

/// How a bucket is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketUse {
    /// Objects are put, each once.
    Put,
    /// Objects are read.
    Get,
    /// Keys are listed.
    List,
}

impl BucketUse {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Put, Self::Get, Self::List];
}

/// How a queue is used. Nobody declares it: it follows from the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueUse {
    /// Messages are sent: events by the relay; by a step, dead letters, and what has to wait longer than a queue's longest
    /// delay back to its own queue.
    Send,
    /// A function is behind it: its messages are received, hidden for their backoff, and deleted.
    Consume,
}

impl QueueUse {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Send, Self::Consume];
}

/// How an event bus is used. Nobody declares it: it follows from the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BusUse {
    /// Events are published by the relay; by a step, what follows as it gives a message up.
    Publish,
}

impl BusUse {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Publish];
}

/// How a topic is used. Nobody declares it: it follows from the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicUse {
    /// Events are published by the relay.
    Publish,
}

impl TopicUse {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Publish];
}
