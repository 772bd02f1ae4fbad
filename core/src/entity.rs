//! Entities: what a table keeps, loaded with their version and trail, changed only by commits.

use crate::{
    Commit, Failure, Timestamp, Trail,
    port::{IndexEntry, Item},
    trail::TrailText,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

/// A thing with an identity and a state, kept as one item of a table.
///
/// Where the id is a field of text and nothing else is to be said, [`entity!`](crate::entity!) writes the implementation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "`{Self}` stands where an entity is expected",
    note = "an entity implements `Entity`: `quadrille::entity!(Pot: \"pot\", by day);`"
)]
pub trait Entity: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The kind, unique in a choreography: `order`. Keys are `kind/id`.
    const KIND: &'static str;

    /// Its id, unique in its kind.
    fn id(&self) -> Cow<'_, str>;

    /// From when on it counts as gone and may be deleted (TTL); `None` keeps it.
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// Its place in the table's sparse index, while it should be found there.
    fn index(&self) -> Option<IndexEntry> {
        None
    }

    /// Its state in one word, by which people look for it: `new`, `paid`.
    fn status(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Whether nothing more happens to it.
    fn is_ended(&self) -> bool {
        false
    }

    /// Until when its flow has to be over, where that is bounded.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The entities that its story is told with, as kind and id: a batch that it is part of, a parent.
    fn related(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// No entity: for events that are told to nobody in particular (a notification).
impl Entity for () {
    const KIND: &'static str = "";
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

/// What serde writes as one text, an `enum` without data for instance; `None` of anything else.
#[doc(hidden)] // for `entity!`
pub fn in_one_word(state: &impl Serialize) -> Option<String> {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// The partition key of the entity of kind `E` and id `id`.
pub fn key_of<E: Entity>(id: &str) -> String {
    [E::KIND, "/", id].concat()
}

/// An entity as it was loaded, or as it is to be created: its state, with what is known about it. Change the state
/// through it, then turn it into a [`Commit`].
#[derive(Clone, Debug)]
pub struct Stored<E> {
    state: E,
    pub(crate) history: History,
}

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

impl<E: Entity> Stored<E> {
    /// An entity that is to be created: its commit succeeds only where there is none yet.
    pub fn new(state: E) -> Self {
        Self { state, history: History::default() }
    }

    /// Gives a new entity a correlation id of its own; without, it has that of the event or request that creates it.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<String>) -> Self {
        self.history.correlation_id = Some(id.into());
        self
    }

    /// Reads an item.
    ///
    /// # Errors
    /// A permanent [`Failure`] `unreadable_entity` that says where it does not fit.
    pub fn read(item: &Item) -> Result<Self, Failure> {
        let (state, history) = History::read(item)?;
        Ok(Self { state, history })
    }

    /// The commits it has seen; 0 for one that is to be created.
    pub fn version(&self) -> u64 {
        self.history.version
    }

    /// What happened to it.
    pub fn trail(&self) -> &Trail {
        self.history.trail.read()
    }

    /// When it was created; `None` for one that is to be created.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.history.created_at
    }

    /// What its flow is known by.
    pub fn correlation_id(&self) -> Option<&str> {
        self.history.correlation_id.as_deref()
    }

    /// Its trace, 32 hex digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.history.traceparent.as_deref().and_then(crate::event::trace_id)
    }

    /// The state alone.
    pub fn into_state(self) -> E {
        self.state
    }

    /// The commit that writes this state; `what` is its entry in the trail, a few words.
    pub fn commit<Em>(self, what: impl Into<Cow<'static, str>>) -> Commit<Em> {
        Commit::new(&self.state, self.history, what.into())
    }
}

impl History {
    /// An item's state and all the rest.
    pub(crate) fn read<'a, S: Deserialize<'a>>(item: &'a Item) -> Result<(S, Self), Failure> {
        let document: Document<S> =
            serde_json::from_str(&item.document).map_err(|error| unreadable(item, &error))?;
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

fn unreadable(item: &Item, error: &serde_json::Error) -> Failure {
    Failure::permanent("unreadable_entity", format_args!("{} at version {}: {error}", item.key, item.version))
}

impl<E> Deref for Stored<E> {
    type Target = E;
    fn deref(&self) -> &E {
        &self.state
    }
}

impl<E> DerefMut for Stored<E> {
    fn deref_mut(&mut self) -> &mut E {
        &mut self.state
    }
}

/// When the entity of an item was created.
pub(crate) fn created_at(item: &Item) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Created {
        created_at: Timestamp,
    }
    // A document is read to its end only where it was not written here.
    let last = item.document.strip_suffix("\"}").and_then(|rest| rest.rsplit_once('"'));
    let last = last.filter(|(before, _)| before.ends_with(DOCUMENT_ENDS));
    last.and_then(|(_, at)| Timestamp::parse(at).ok())
        .or_else(|| serde_json::from_str::<Created>(&item.document).ok().map(|document| document.created_at))
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
            let item = Item { key: "x/1".into(), version: 1, document, expires_at: None, index: None };
            assert_eq!(created_at(&item), Timestamp::parse(at).ok(), "{}", item.document);
        }
    }
}
