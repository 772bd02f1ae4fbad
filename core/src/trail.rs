//! The trail: what happened to an entity, kept with it, so that one read tells where it is and why.

use crate::{
    dead_letter::Redriven,
    limits::{TRAIL_DETAIL_BYTES_MAX, TRAIL_ENTRIES_MAX},
    timestamp::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::value::RawValue;
use std::{borrow::Cow, ops::Range, sync::OnceLock};

/// One thing that happened to an entity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct TrailEntry {
    /// When it was committed.
    pub at: Timestamp,
    /// What happened, in a few words for people: `received`, `waiting: not ready`, `dead-lettered: rejected`. Programs
    /// look at [`kind`](Self::kind).
    pub what: Cow<'static, str>,
    /// The handler that did it; `by` in JSON.
    pub handler: Cow<'static, str>,
    /// On which receive of its message, counted from 1; `try` in JSON.
    pub attempt: u32,
    /// Until when the entity now waits, where it does.
    pub until: Option<Timestamp>,
    /// What kind of thing it is.
    pub kind: TrailEntryKind,
    /// The event that was done or given up with it, as a number that the event's id makes; `of` in JSON. None where no event's
    /// end is in it: a request's entry, or one of a handler that went on.
    pub event: Option<u32>,
    /// How its message was sent back from a dead-letter queue before, where it was; `redriven`, `redriven_at`, `redriven_by` and
    /// `redriven_why` in JSON.
    pub redriven: Option<Redriven>,
    /// More about it, where the entity's table [keeps details](crate::Table::keeps_details).
    pub details: Option<TrailDetails>,
}

/// More about an entry of a trail: what a handler was given, what it made of it, and how long that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailDetails {
    /// From the call of the handler to its commit, in milliseconds; `took` in JSON.
    pub took_millis: u64,
    /// The data of the event that it handled, or the body of the request: the text, cut at 1,024 bytes
    /// ([`TRAIL_DETAIL_BYTES_MAX`](crate::limits::TRAIL_DETAIL_BYTES_MAX)).
    pub input: String,
    /// What it emitted, a JSON array of types and data: the text, cut as well. Empty where it emitted nothing.
    pub output: String,
}

/// `text`, cut to what an entry keeps of it.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= TRAIL_DETAIL_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = TRAIL_DETAIL_BYTES_MAX - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    [&text[..end], "…"].concat()
}

/// What kind of thing happened to an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrailEntryKind {
    /// A handler committed.
    #[default]
    Committed,
    /// A message about the entity was given up and went to the dead-letter queue; `dead` in JSON, the reason.
    DeadLettered {
        /// The reason of the failure.
        reason: Cow<'static, str>,
    },
    /// A message about the entity failed for a reason that is an end like any other; `ended` in JSON, the reason.
    Ended {
        /// The reason of the failure.
        reason: Cow<'static, str>,
    },
}

/// What the text of an entry begins with that tells of a dead letter.
const DEAD_LETTERED: &str = "dead-lettered: ";

/// What a trail says of a message that was given up for `reason`.
pub(crate) fn dead_lettered(reason: &str) -> Cow<'static, str> {
    Cow::Owned([DEAD_LETTERED, reason].concat())
}

impl Serialize for TrailEntry {
    /// Flat: the braces of a trail are counted as its entries.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_map(None)?;
        entry.serialize_entry("at", &self.at)?;
        entry.serialize_entry("what", &self.what)?;
        entry.serialize_entry("by", &self.handler)?;
        if self.attempt != first() {
            entry.serialize_entry("try", &self.attempt)?;
        }
        if let Some(until) = &self.until {
            entry.serialize_entry("until", until)?;
        }
        match &self.kind {
            TrailEntryKind::DeadLettered { reason } => entry.serialize_entry("dead", reason)?,
            TrailEntryKind::Ended { reason } => entry.serialize_entry("ended", reason)?,
            // Without it, a reader would take the entry for an old one that tells of a dead letter.
            TrailEntryKind::Committed if self.what.starts_with(DEAD_LETTERED) => {
                entry.serialize_entry("dead", &())?;
            }
            TrailEntryKind::Committed => {}
        }
        if let Some(event) = &self.event {
            entry.serialize_entry("of", event)?;
        }
        if let Some(Redriven { times, at, by, why }) = &self.redriven {
            entry.serialize_entry("redriven", times)?;
            entry.serialize_entry("redriven_at", at)?;
            for (name, text) in
                [("redriven_by", by), ("redriven_why", why)].iter().filter(|(_, text)| !text.is_empty())
            {
                entry.serialize_entry(name, text)?;
            }
        }
        if let Some(TrailDetails { took_millis, input, output }) = &self.details {
            entry.serialize_entry("took", took_millis)?;
            entry.serialize_entry("input", input)?;
            entry.serialize_entry("output", output)?;
        }
        entry.end()
    }
}

/// An entry as JSON holds it.
#[derive(Deserialize)]
struct Written {
    at: Timestamp,
    what: String,
    by: String,
    #[serde(rename = "try", default = "first")]
    attempt: u32,
    #[serde(default)]
    until: Option<Timestamp>,
    /// `null` says that it is none, a missing one says nothing.
    #[serde(default, deserialize_with = "present")]
    dead: Option<Option<String>>,
    #[serde(default)]
    ended: Option<String>,
    #[serde(default)]
    of: Option<u32>,
    #[serde(default)]
    redriven: Option<u32>,
    #[serde(default)]
    redriven_at: Option<Timestamp>,
    #[serde(default)]
    redriven_by: String,
    #[serde(default)]
    redriven_why: String,
    #[serde(default)]
    took: Option<u64>,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
}

impl From<Written> for TrailEntry {
    fn from(written: Written) -> Self {
        let reason = match written.dead {
            Some(reason) => reason,
            // Entries were first written without a kind: of those, only the text tells that a message was given up.
            None => written.what.strip_prefix(DEAD_LETTERED).map(str::to_owned),
        };
        let kind = match (reason, written.ended) {
            (Some(reason), _) => TrailEntryKind::DeadLettered { reason: reason.into() },
            (None, Some(reason)) => TrailEntryKind::Ended { reason: reason.into() },
            (None, None) => TrailEntryKind::Committed,
        };
        let (input, output) = (written.input, written.output);
        let redriven = written.redriven.map(|times| {
            let at = written.redriven_at.unwrap_or_default();
            Redriven { times, at, by: written.redriven_by, why: written.redriven_why }
        });
        Self {
            at: written.at,
            what: written.what.into(),
            handler: written.by.into(),
            attempt: written.attempt,
            until: written.until,
            kind,
            event: written.of,
            redriven,
            details: written.took.map(|took_millis| TrailDetails { took_millis, input, output }),
        }
    }
}

/// A value that is there, be it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn first() -> u32 {
    1
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
    /// The entries, a comma between each two.
    entries: String,
    /// How many there are; perhaps more than that, as long as the trail is not full.
    count: usize,
    /// Where the second entry lies, with the comma behind it: the one that makes room. Only where there is a third.
    second: Range<usize>,
    dropped: u32,
    read: OnceLock<Trail>,
}

/// The entries of a trail that is written as here and not full, where its text shows that without a look at each: nothing in
/// it but the list itself ends like a list. And no fewer than there are: a brace may also stand in a text.
fn plain(text: &str) -> Option<(&str, usize)> {
    let entries = text.strip_prefix(r#"{"entries":["#)?.strip_suffix("]}")?.trim_ascii();
    let bytes = |wanted: u8| entries.bytes().filter(|byte| *byte == wanted).count();
    let count = bytes(b'{');
    (count < TRAIL_ENTRIES_MAX && bytes(b']') == 0).then_some((entries, count))
}

/// The entries of a trail, unread.
#[derive(Deserialize)]
struct Unread<'a> {
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
    #[serde(default)]
    dropped: u32,
}

impl<'de> Deserialize<'de> for TrailText {
    /// Refuses what is no trail, before a handler does anything. Its entries are not looked at.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if let Some((entries, count)) = plain(text) {
            return Ok(Self { entries: entries.to_owned(), count, ..Self::default() });
        }
        let Unread { entries: unread, dropped } = serde_json::from_str(text).map_err(D::Error::custom)?;
        let mut entries = String::with_capacity(unread.iter().map(|entry| entry.get().len() + 1).sum());
        let mut second = 0..0;
        for (at, entry) in unread.iter().enumerate() {
            if at > 0 {
                entries.push(',');
            }
            match at {
                1 => second.start = entries.len(),
                2 => second.end = entries.len(),
                _ => {}
            }
            entries.push_str(entry.get());
        }
        Ok(Self { entries, count: unread.len(), second, dropped, read: OnceLock::new() })
    }
}

impl TrailText {
    /// The trail. An entry that can't be read counts as dropped.
    pub(crate) fn read(&self) -> &Trail {
        self.read.get_or_init(|| {
            // That each is JSON was seen when the document was read.
            let entries = format!("[{}]", self.entries);
            let entries: Vec<&RawValue> = serde_json::from_str(&entries).unwrap_or_default();
            let mut dropped = self.dropped;
            let readable = entries.into_iter().filter_map(|entry| {
                let read = serde_json::from_str(entry.get()).ok();
                dropped = dropped.saturating_add(u32::from(read.is_none()));
                read
            });
            Trail { entries: readable.collect(), dropped }
        })
    }

    /// Writes it with one more entry to the end of `text`; the second oldest makes room where the trail is full.
    ///
    /// # Errors
    /// Where the entry can't be written as JSON, which none of its fields can cause.
    pub(crate) fn write_with(&self, entry: &TrailEntry, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let makes_room = self.count >= TRAIL_ENTRIES_MAX;
        text.extend(br#"{"entries":["#);
        if makes_room {
            text.extend(&self.entries.as_bytes()[..self.second.start]);
            text.extend(&self.entries.as_bytes()[self.second.end..]);
        } else {
            text.extend(self.entries.as_bytes());
        }
        if !self.entries.is_empty() {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, entry)?;
        text.push(b']');
        let dropped = self.dropped.saturating_add(u32::from(makes_room));
        if dropped > 0 {
            text.extend(br#","dropped":"#);
            serde_json::to_writer(&mut *text, &dropped)?;
        }
        text.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64) -> TrailEntry {
        let at = Timestamp::from_millis(at);
        TrailEntry {
            at,
            what: "x".into(),
            handler: "h".into(),
            attempt: 1,
            until: None,
            kind: TrailEntryKind::Committed,
            event: None,
            redriven: None,
            details: None,
        }
    }

    fn with(trail: &TrailText, entry: &TrailEntry) -> String {
        let mut text = Vec::new();
        trail.write_with(entry, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_trail_keeps_its_first_and_its_latest_entries() {
        let mut text = TrailText::default();
        for at in 0..40 {
            text = serde_json::from_str(&with(&text, &entry(at))).unwrap();
            assert_eq!(text.read().last(), Some(&entry(at)));
        }
        let trail = text.read();
        assert_eq!(trail.entries.len(), TRAIL_ENTRIES_MAX);
        assert_eq!((trail.entries[0].at.as_millis(), trail.entries[1].at.as_millis()), (0, 25));
        assert_eq!(trail.dropped, 24);
        assert_eq!(trail.last(), Some(&entry(39)));
    }

    #[test]
    fn a_trail_is_bounded_whatever_its_entries_say() {
        for what in ["{", "{{{{{{{{{{{{{{{{{{", "]", "]}", r#"],"dropped":7}"#, r#""}]}"#] {
            let mut text = TrailText::default();
            for at in 0..20 {
                let entry = TrailEntry { what: what.into(), ..entry(at) };
                text = serde_json::from_str(&with(&text, &entry)).unwrap();
                assert_eq!(text.read().last(), Some(&entry));
            }
            assert_eq!((text.read().entries.len(), text.read().dropped), (TRAIL_ENTRIES_MAX, 4), "{what}");
        }
        // A list behind the entries is not taken for their end.
        let text: TrailText = serde_json::from_str(r#"{"entries":[{"at":7}],"archived":[1]}"#).unwrap();
        assert_eq!(with(&text, &entry(0)).matches(r#"{"at":"#).count(), 2);
        assert!(serde_json::from_str::<TrailText>(&with(&text, &entry(0))).is_ok());
        let blank: TrailText = serde_json::from_str(r#"{"entries":[ ]}"#).unwrap();
        assert!(serde_json::from_str::<TrailText>(&with(&blank, &entry(0))).is_ok());
    }

    #[test]
    fn the_kind_of_an_entry_is_kept_whatever_its_text_says() {
        let dead = TrailEntryKind::DeadLettered { reason: "burnt".into() };
        for what in ["x", "dead-lettered: burnt", "dead-lettered"] {
            for (kind, extra) in [(TrailEntryKind::Committed, ""), (dead.clone(), r#","dead":"burnt"}"#)] {
                let entry = TrailEntry { what: what.into(), kind, ..entry(0) };
                let text = with(&TrailText::default(), &entry);
                assert!(text.contains(extra), "{text}");
                assert_eq!(plain(&text).map(|(_, count)| count), Some(1), "{text}");
                assert_eq!(serde_json::from_str::<TrailText>(&text).unwrap().read().last(), Some(&entry));
            }
        }
        assert_eq!(dead_lettered("burnt"), "dead-lettered: burnt");
    }

    #[test]
    fn an_entry_keeps_its_details() {
        let (input, output) = (r#"{"a":[1]}"#.to_owned(), String::new());
        let details = Some(TrailDetails { took_millis: 12, input, output });
        let kind = TrailEntryKind::Ended { reason: "declined".into() };
        let redriven = Some(Redriven::new(2, Timestamp::from_millis(7), "ann", "{it is back}"));
        let told = TrailEntry { details, kind, redriven, ..entry(0) };
        let mut text = TrailText::default();
        for _ in 0..20 {
            text = serde_json::from_str(&with(&text, &told)).unwrap();
            assert_eq!(text.read().last(), Some(&told));
        }
        assert_eq!((text.read().entries.len(), text.read().dropped), (TRAIL_ENTRIES_MAX, 4));
        let long = "é".repeat(TRAIL_DETAIL_BYTES_MAX);
        assert!(cut(&long).len() <= TRAIL_DETAIL_BYTES_MAX && cut(&long).ends_with("é…"));
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn an_entry_that_was_written_without_a_kind_has_that_of_its_text() {
        let read = |what: &str| -> TrailEntry {
            let entry = serde_json::json!({"at": "2026-11-20T09:15:00Z", "what": what, "by": "h"});
            serde_json::from_value(entry).unwrap()
        };
        let dead = TrailEntryKind::DeadLettered { reason: "burnt".into() };
        assert_eq!(read("dead-lettered: burnt").kind, dead);
        assert_eq!(read("burnt").kind, TrailEntryKind::Committed);
    }

    #[test]
    fn what_a_later_version_says_in_an_entry_is_kept_and_what_no_version_can_read_is_counted() {
        let stored =
            r#"{"entries":[{"at":"2026-11-20T09:15:00Z","what":"x","by":"h","new":1},{"at":7}],"dropped":2}"#;
        let text: TrailText = serde_json::from_str(stored).unwrap();
        assert_eq!((text.read().entries.len(), text.read().dropped), (1, 3));
        let longer = with(&text, &entry(0));
        assert!(longer.contains(r#""new":1},"#) && longer.contains(r#"{"at":7},"#), "{longer}");
        for broken in ["7", "{}", r#"{"entries":{}}"#] {
            assert!(serde_json::from_str::<TrailText>(broken).is_err(), "{broken}");
        }
    }
}
