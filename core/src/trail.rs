//! The trail: what happened to an entity, kept with it, so that one read tells where it is and why.

use crate::{Timestamp, limits::TRAIL_ENTRIES_MAX};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, sync::OnceLock};

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
    /// The latest entry.
    pub fn last(&self) -> Option<&TrailEntry> {
        self.entries.last()
    }
}

/// A trail as a document holds it. Commits are many and onlookers few: a commit adds its entry to the text, and only who
/// looks at the trail has it read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrailText {
    /// None before the first entry.
    text: Option<Box<RawValue>>,
    read: OnceLock<Trail>,
}

/// The entries of a trail, unread.
#[derive(Default, Serialize, Deserialize)]
struct Unread<'a> {
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped: u32,
}

impl Unread<'_> {
    fn of(text: Option<&RawValue>) -> serde_json::Result<Unread<'_>> {
        text.map_or_else(|| Ok(Unread::default()), |text| serde_json::from_str(text.get()))
    }
}

impl TrailText {
    /// The trail of a document.
    ///
    /// # Errors
    /// Where the text is no trail: told here, before a handler does anything. Its entries are not looked at.
    pub(crate) fn new(text: Box<RawValue>) -> serde_json::Result<Self> {
        Unread::of(Some(&text))?;
        Ok(Self { text: Some(text), read: OnceLock::new() })
    }

    /// The trail. An entry that can't be read counts as dropped.
    pub(crate) fn read(&self) -> &Trail {
        self.read.get_or_init(|| {
            // That it is a trail was seen when it was made.
            let Unread { entries, mut dropped } = Unread::of(self.text.as_deref()).unwrap_or_default();
            let readable = entries.into_iter().filter_map(|entry| {
                let read = serde_json::from_str(entry.get()).ok();
                dropped = dropped.saturating_add(u32::from(read.is_none()));
                read
            });
            Trail { entries: readable.collect(), dropped }
        })
    }

    /// The text with one more entry; the second oldest makes room where the trail is full.
    ///
    /// # Errors
    /// Where the text is no trail.
    pub(crate) fn with(&self, entry: &TrailEntry) -> serde_json::Result<Box<RawValue>> {
        let entry = to_raw_value(entry)?;
        let mut unread = Unread::of(self.text.as_deref())?;
        if unread.entries.len() >= TRAIL_ENTRIES_MAX {
            unread.entries.remove(1);
            unread.dropped = unread.dropped.saturating_add(1);
        }
        unread.entries.push(&entry);
        to_raw_value(&unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64) -> TrailEntry {
        let at = Timestamp::from_millis(at);
        TrailEntry { at, what: "x".into(), handler: "h".into(), attempt: 1, until: None }
    }

    #[test]
    fn a_trail_keeps_its_first_and_its_latest_entries() {
        let mut text = TrailText::default();
        for at in 0..40 {
            text = TrailText::new(text.with(&entry(at)).unwrap()).unwrap();
        }
        let trail = text.read();
        assert_eq!(trail.entries.len(), TRAIL_ENTRIES_MAX);
        assert_eq!((trail.entries[0].at.as_millis(), trail.entries[1].at.as_millis()), (0, 25));
        assert_eq!(trail.dropped, 24);
        assert_eq!(trail.last(), Some(&entry(39)));
    }

    #[test]
    fn what_a_later_version_says_in_an_entry_is_kept_and_what_no_version_can_read_is_counted() {
        let stored =
            r#"{"entries":[{"at":"2026-11-20T09:15:00Z","what":"x","by":"h","new":1},{"at":7}],"dropped":2}"#;
        let text = TrailText::new(RawValue::from_string(stored.to_owned()).unwrap()).unwrap();
        assert_eq!((text.read().entries.len(), text.read().dropped), (1, 3));
        let longer = text.with(&entry(0)).unwrap();
        assert!(longer.get().contains(r#""new":1}"#) && longer.get().contains(r#"{"at":7}"#), "{longer}");
        for broken in ["7", "{}", r#"{"entries":{}}"#] {
            assert!(TrailText::new(RawValue::from_string(broken.to_owned()).unwrap()).is_err(), "{broken}");
        }
    }
}
