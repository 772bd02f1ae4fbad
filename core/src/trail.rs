//! The trail: what happened to an entity, kept with it, so that one read tells where it is and why.

use crate::{Timestamp, limits::TRAIL_ENTRIES_MAX};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One thing that happened to an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    /// When it was committed.
    pub at: Timestamp,
    /// What happened, in a few words: `received`, `waiting: not ready`, `dead-lettered: rejected`.
    pub what: Cow<'static, str>,
    /// The handler that did it.
    #[serde(rename = "by")]
    pub handler: Cow<'static, str>,
    /// On which receive of its message, counted from 1.
    #[serde(rename = "try", default = "first", skip_serializing_if = "is_first")]
    pub attempt: u32,
    /// Until when the entity now waits, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

/// A bounded list of what happened: the first entry and the latest ones, at most 16 in all
/// ([`TRAIL_ENTRIES_MAX`]); `dropped` counts those between that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The entries, oldest first.
    pub entries: Vec<TrailEntry>,
    /// How many entries after the first were dropped to keep the trail short.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Trail {
    /// Adds an entry; the second oldest makes room where the trail is full.
    pub fn push(&mut self, entry: TrailEntry) {
        if self.entries.len() >= TRAIL_ENTRIES_MAX {
            self.entries.remove(1);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.entries.push(entry);
    }

    /// The latest entry.
    pub fn last(&self) -> Option<&TrailEntry> {
        self.entries.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_keeps_its_first_and_its_latest_entries() {
        let mut trail = Trail::default();
        for n in 0..40 {
            trail.push(TrailEntry {
                at: Timestamp::from_millis(n),
                what: "x".into(),
                handler: "h".into(),
                attempt: 1,
                until: None,
            });
        }
        assert_eq!(trail.entries.len(), TRAIL_ENTRIES_MAX);
        assert_eq!((trail.entries[0].at.as_millis(), trail.entries[1].at.as_millis()), (0, 25));
        assert_eq!(trail.dropped, 24);
    }
}
