//! The ports: what a choreography needs of the world, in AWS's own nouns, as the users know them.
//!
//! A handler never sees a port: it returns commits, and reads through its [`Context`](crate::Context). A lone
//! "put" or "publish" does not exist for it, so a dual write can't be written. Adapters implement the ports; one
//! suite (feature `conformance`) holds them all to the same promises.

mod bucket;
mod bus;
mod clock;
mod damage;
mod queue;
mod random;
mod table;
mod topic;
mod unreadable;

pub use bucket::{Bucket, ObjectPage};
pub use bus::{Bus, BusEntry};
pub(crate) use clock::Steady;
pub use clock::{Clock, SystemClock};
pub use damage::Damage;
#[cfg(feature = "aws")]
pub(crate) use queue::ATTRIBUTE_TYPE;
pub use queue::{Attributes, Depth, Message, NewMessage, Queue, Receipt, Received};
pub(crate) use queue::{is_sendable, shown_sendable};
pub use random::{Random, SeededRandom, SystemRandom, stable_hash};
pub use table::{
    ChangeStream, CommitError, IndexEntry, IndexPage, IndexQuery, Item, ScanPage, StreamRecord, Table,
    UnreadableOutbox, Write,
};
pub use topic::Topic;
pub use unreadable::{Document, Unreadable};

use crate::{
    failure::{Failure, excerpt},
    services::Services,
    setting::Settings,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A call to a port that did not succeed.
///
/// Whether it was applied may be unknown (a timeout after the write): callers repeat it, and every call is made
/// so that repeating it has one effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{port}: {detail}")]
pub struct PortError {
    port: String,
    detail: String,
    kind: PortErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortErrorKind {
    Transient,
    /// Whoever calls has no permission for it. It may pass: a permission is granted late, or anew.
    Denied,
    Permanent,
    /// The call was never made: the handler did not declare it.
    Undeclared,
    /// The place to go on from is none that an earlier call gave: the fault of whoever passed it in.
    Misplaced,
}

impl PortError {
    /// An error that may pass: the call may be repeated.
    pub fn transient(port: impl Into<String>, detail: impl fmt::Display) -> Self {
        let detail = excerpt(&detail.to_string(), 1_024);
        Self { port: port.into(), detail, kind: PortErrorKind::Transient }
    }

    /// A call for which the permission is missing: it may be repeated, for somebody may grant it. As a [`Failure`] it is a
    /// `port_denied`.
    pub fn denied(port: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { kind: PortErrorKind::Denied, ..Self::transient(port, detail) }
    }

    /// An error that stays: the call as made can't succeed.
    pub fn permanent(port: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { kind: PortErrorKind::Permanent, ..Self::transient(port, detail) }
    }

    /// A call that its handler did not declare; as a [`Failure`] it is an `undeclared_use`.
    pub(crate) fn undeclared(port: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { kind: PortErrorKind::Undeclared, ..Self::transient(port, detail) }
    }

    /// A place to go on from that no call gave; as a [`Failure`] it is an `invalid_place`.
    pub(crate) fn misplaced(port: impl Into<String>) -> Self {
        let detail = "the place to go on from is none that this table gave; send `next` of the page before";
        Self { kind: PortErrorKind::Misplaced, ..Self::transient(port, detail) }
    }

    /// Whether repeating the call can help.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, PortErrorKind::Transient | PortErrorKind::Denied)
    }

    /// Whether the permission for the call is missing.
    pub fn is_denied(&self) -> bool {
        self.kind == PortErrorKind::Denied
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        match error.kind {
            PortErrorKind::Transient => Failure::transient("port_unavailable", error),
            PortErrorKind::Denied => Failure::transient("port_denied", error),
            PortErrorKind::Permanent => Failure::permanent("port_refused", error),
            PortErrorKind::Undeclared => Failure::permanent("undeclared_use", error.detail),
            PortErrorKind::Misplaced => Failure::permanent("invalid_place", error.detail),
        }
    }
}

/// Every port of one running choreography, by the names of its definition.
#[derive(Clone)]
pub struct Ports {
    /// Tables by name.
    pub tables: BTreeMap<String, Arc<dyn Table>>,
    /// Change streams by the name of their table; none where the cloud reads them for us.
    pub streams: BTreeMap<String, Arc<dyn ChangeStream>>,
    /// Queues by name, dead-letter queues and the queues behind topics and buses among them.
    pub queues: BTreeMap<String, Arc<dyn Queue>>,
    /// Buckets by name.
    pub buckets: BTreeMap<String, Arc<dyn Bucket>>,
    /// Topics by name.
    pub topics: BTreeMap<String, Arc<dyn Topic>>,
    /// Event buses by name.
    pub buses: BTreeMap<String, Arc<dyn Bus>>,
    /// What left the choreography by a topic or a bus, by its name: a queue that nobody consumes, which an adapter without
    /// subscribers outside keeps for people to see. None where others subscribe.
    pub published: BTreeMap<String, Arc<dyn Queue>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers: for jitter and for ids of requests, never for ids of events.
    pub random: Arc<dyn Random>,
    /// Services, by their traits.
    pub services: Services,
    /// The values of the settings.
    pub settings: Arc<Settings>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("tables", &self.tables.keys())
            .field("queues", &self.queues.keys())
            .field("buckets", &self.buckets.keys())
            .field("topics", &self.topics.keys())
            .field("buses", &self.buses.keys())
            .finish_non_exhaustive()
    }
}

macro_rules! by_name {
    ($($(#[$doc:meta])* $get:ident, $map:ident, $port:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// A permanent [`PortError`] where the definition has none of that name.
        pub fn $get(&self, name: &str) -> Result<&Arc<dyn $port>, PortError> {
            self.$map.get(name).ok_or_else(|| PortError::permanent(name, concat!("no such ", stringify!($get))))
        }
    )*};
}

impl Ports {
    by_name! {
        /// The table of that name.
        table, tables, Table;
        /// The queue of that name.
        queue, queues, Queue;
        /// The bucket of that name.
        bucket, buckets, Bucket;
        /// The topic of that name.
        topic, topics, Topic;
        /// The event bus of that name.
        bus, buses, Bus;
    }
}
