//! What a handler uses: the kinds of entities it reads and commits, the buckets it puts into and reads from, services and
//! settings. What each function may do is derived from it, and the [`Context`](crate::Context) holds a handler to it
//! everywhere.

use crate::{entity::Entity, event::Event, services::service_name};
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
    /// Buckets that are used only where a setting has a certain word: the setting and the word.
    where_set: BTreeMap<String, (String, String)>,
    services: BTreeSet<String>,
    settings: BTreeSet<String>,
    /// Types of the events that it emits with a later time.
    later: BTreeSet<String>,
}

impl Uses {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// It reads entities of type `E` by their ids, as many as it likes: [`Context::get`](crate::Context::get).
    #[must_use]
    pub fn gets<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::GetMany)
    }

    /// It reads entities of type `E`, each by itself: [`Context::get_one`](crate::Context::get_one).
    #[must_use]
    pub fn gets_one<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Get)
    }

    /// It reads the sparse index of the table that holds `E`: [`Context::query`](crate::Context::query).
    #[must_use]
    pub fn queries<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Query)
    }

    /// It commits entities of type `E`, new ones and others: by what it returns, or by
    /// [`Context::commit_all`](crate::Context::commit_all).
    #[must_use]
    pub fn commits<E: Entity>(self) -> Self {
        self.creates::<E>().changes::<E>()
    }

    /// It commits entities of type `E`, each by itself: by [`Context::commit`](crate::Context::commit), or by what it returns
    /// where it is given one message at a time.
    #[must_use]
    pub fn commits_one<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::Commit)
    }

    /// It commits new entities of type `E`, and changes none.
    #[must_use]
    pub fn creates<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::CreateMany)
    }

    /// It changes entities of type `E` that are there, and makes none.
    #[must_use]
    pub fn changes<E: Entity>(self) -> Self {
        self.kind(E::KIND, TableUse::ChangeMany)
    }

    /// It emits events of type `E` with a later time: [`Commit::emit_after`](crate::Commit::emit_after). Whoever consumes them
    /// may get one before its time.
    #[must_use]
    pub fn emits_later<E: Event>(mut self) -> Self {
        self.later.insert(E::TYPE.to_owned());
        self
    }

    /// The buckets named so far are used only where this setting is this word of its: the simulated platform remembers in a
    /// bucket, and one behind a URL needs none.
    #[must_use]
    pub fn where_set(mut self, setting: impl Into<String>, word: impl Into<String>) -> Self {
        let (setting, word) = (setting.into(), word.into());
        for bucket in self.buckets.keys() {
            self.where_set.insert(bucket.clone(), (setting.clone(), word.clone()));
        }
        self.setting(setting)
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

    /// The types of the events that it emits with a later time.
    pub fn later(&self) -> &BTreeSet<String> {
        &self.later
    }

    /// The setting and its word without which this bucket is not used; `None` where it always is.
    pub fn used_where(&self, bucket: &str) -> Option<(&str, &str)> {
        self.where_set.get(bucket).map(|(setting, word)| (setting.as_str(), word.as_str()))
    }

    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        // What one of them always uses is always used.
        for bucket in other.buckets.keys() {
            let (ours, theirs) = (self.where_set.get(bucket), other.where_set.get(bucket));
            match (self.buckets.contains_key(bucket), ours == theirs, theirs.cloned()) {
                (false, _, Some(theirs)) => drop(self.where_set.insert(bucket.clone(), theirs)),
                (true, false, _) => drop(self.where_set.remove(bucket)),
                _ => {}
            }
        }
        self.later.extend(other.later);
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
    /// Entities are read by their ids, each by itself.
    Get,
    /// Entities are read by their ids, several at once.
    GetMany,
    /// The sparse index is read.
    Query,
    /// Entities are committed, each by itself.
    Commit,
    /// New entities are committed, several at once.
    CreateMany,
    /// Entities that are there are committed, several at once.
    ChangeMany,
}

impl TableUse {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Get, Self::GetMany, Self::Query, Self::Commit, Self::CreateMany, Self::ChangeMany];

    /// Whether entities are committed.
    pub fn is_commit(self) -> bool {
        matches!(self, Self::Commit | Self::CreateMany | Self::ChangeMany)
    }
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
    /// Messages are sent: events by the relay; by a step, dead letters, and to its own queue what has to wait longer than a
    /// queue's longest delay.
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
