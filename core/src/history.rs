//! The history of an entity: all that its item holds besides its state.

use crate::{
    failure::Failure,
    port::{IndexEntry, Item},
    timestamp::Timestamp,
    trail::TrailText,
};
use serde::Deserialize;
use std::fmt;

/// All of a stored entity but its state.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) version: u64,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) trail: TrailText,
    pub(crate) correlation_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) index: Option<IndexEntry>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// What an item's document holds, as it is read in one pass; [`Pending`](crate::commit::Pending) writes it.
#[derive(Deserialize)]
struct Document<S> {
    state: S,
    trail: TrailText,
    created_at: Timestamp,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    traceparent: Option<String>,
}

/// What a document ends with, but for the time itself: that is looked for with every message that tells it.
pub(crate) const DOCUMENT_ENDS: &str = r#","created_at":"#;

impl History {
    /// An item's state and all the rest.
    pub(crate) fn read<'a, S: Deserialize<'a>>(item: &'a Item) -> Result<(S, Self), Failure> {
        let text = item.document.text().map_err(|why| unreadable(item, why))?;
        let document: Document<S> = serde_json::from_str(text).map_err(|error| unreadable(item, &error))?;
        let history = Self {
            version: item.version,
            created_at: Some(document.created_at),
            trail: document.trail,
            correlation_id: document.correlation_id,
            traceparent: document.traceparent,
            index: item.index.clone(),
            expires_at: item.expires_at,
        };
        Ok((document.state, history))
    }
}

/// The reason of a failure by an entity that can't be read.
pub(crate) const UNREADABLE_ENTITY: &str = "unreadable_entity";

fn unreadable(item: &Item, why: &dyn fmt::Display) -> Failure {
    Failure::permanent(UNREADABLE_ENTITY, format_args!("{} at version {}: {why}", item.key, item.version))
}

/// When the entity of an item was created.
pub(crate) fn created_at(item: &Item) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Created {
        created_at: Timestamp,
    }
    // A document is read to its end only where it was not written here.
    let text = item.document.text().ok()?;
    let last = text.strip_suffix("\"}").and_then(|rest| rest.rsplit_once('"'));
    let last = last.filter(|(before, _)| before.ends_with(DOCUMENT_ENDS));
    last.and_then(|(_, at)| Timestamp::parse(at).ok())
        .or_else(|| serde_json::from_str::<Created>(text).ok().map(|document| document.created_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_entity_was_created_is_found_wherever_it_stands_and_only_there() {
        let at = "2026-11-20T09:15:00.000Z";
        let (other, trail) = ("2020-01-01T00:00:00.000Z", r#"{"entries":[]}"#);
        let documents = [
            format!(r#"{{"state":{{}},"trail":{trail},"created_at":"{at}"}}"#),
            format!(r#"{{"state":{{}},"trail":{trail},"created_at":"{at}","correlation_id":"x"}}"#),
            format!(r#"{{"created_at":"{at}","trail":{trail},"state":{{"x":1,"created_at":"{other}"}}}}"#),
            format!(r#"{{"created_at":"{at}","trail":{trail},"state":"\",\"created_at\":\"{other}"}}"#),
        ];
        for document in documents {
            let item = Item {
                key: "x/1".into(),
                version: 1,
                document: document.into(),
                expires_at: None,
                index: None,
            };
            assert_eq!(created_at(&item), Timestamp::parse(at).ok(), "{:?}", item.document);
        }
    }
}
