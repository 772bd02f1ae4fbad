//! Entities: what a table keeps, changed only by commits.

use crate::{port::IndexEntry, timestamp::Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;

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
