//! The path that an entity has taken through a flow.

use crate::{
    timestamp::Timestamp,
    trail::{TrailEntry, TrailEntryKind},
};
use std::collections::BTreeMap;

/// The handlers that an entity has passed, by its trail and those of the entities that its story is told with.
///
/// ```
/// use quadrille::choreography::{Passage, Path};
/// let path = Path::of([]);
/// assert_eq!(path.passage("brew"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    passages: BTreeMap<String, (Timestamp, Passage)>,
}

/// How an entity has passed a handler, the last time that it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The handler did its work.
    Done,
    /// The message was given up, or failed for a reason that is an end like any other.
    Failed {
        /// Whether there is a dead letter of it.
        is_dead_lettered: bool,
    },
}

impl Path {
    /// The path that these entries tell of, in whatever order.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a TrailEntry>) -> Self {
        let mut path = Self::default();
        for TrailEntry { at, handler, kind, .. } in entries {
            let passage = match kind {
                TrailEntryKind::Committed => Passage::Done,
                TrailEntryKind::DeadLettered { .. } => Passage::Failed { is_dead_lettered: true },
                TrailEntryKind::Ended { .. } => Passage::Failed { is_dead_lettered: false },
            };
            let last = path.passages.entry(handler.clone().into_owned()).or_insert((*at, passage));
            if last.0 <= *at {
                *last = (*at, passage);
            }
        }
        path
    }

    /// How the handler of this name was passed; `None` where it was not.
    pub fn passage(&self, handler: &str) -> Option<Passage> {
        self.passages.get(handler).map(|(_, passage)| *passage)
    }
}
