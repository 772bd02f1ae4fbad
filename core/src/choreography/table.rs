//! A table of a definition, and what is known of the entities it holds.

use crate::model::{Spread, TableModel, Throughput};
use crate::{
    entity::Entity, failure::Failure, port::Item, stored::Stored, timestamp::Timestamp, trail::TrailEntry,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A table, and the kinds of entities it holds.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) model: TableModel,
    pub(super) kinds: BTreeMap<String, ReadEntity>,
}

/// Reads an item of one kind.
pub(crate) type ReadEntity = fn(&Item) -> Result<EntityView, Failure>;

impl Table {
    /// A table named `name`.
    pub fn new(name: impl Into<String>) -> Self {
        let model = TableModel { name: name.into(), ..TableModel::default() };
        Self { model, kinds: BTreeMap::new() }
    }

    /// It holds entities of type `E`.
    #[must_use]
    pub fn holds<E: Entity>(mut self) -> Self {
        self.model.kinds.push(E::KIND.to_owned());
        self.kinds.insert(E::KIND.to_owned(), EntityView::of::<E>);
        self
    }

    /// Its name on AWS, where that can't be `<choreography>-<stack>-<name>`. There is then one stack an account and region.
    #[must_use]
    pub fn physical_name(mut self, name: impl Into<String>) -> Self {
        self.model.physical = Some(name.into());
        self
    }

    /// The attribute of its partition key on DynamoDB, where that can't be [`KEY`](crate::layout::KEY).
    #[must_use]
    pub fn key_attribute(mut self, name: impl Into<String>) -> Self {
        self.model.key_attribute = Some(name.into());
        self
    }

    /// The value of its partition key on DynamoDB is the entity's id, and not `kind/id`: for a table of one kind whose items others
    /// know by their ids.
    #[must_use]
    pub fn bare_keys(mut self) -> Self {
        self.model.has_bare_keys = true;
        self
    }

    /// On DynamoDB these fields of an entity's state are attributes of their own beside the document, for people and programs
    /// that look at the table itself. They count into the item's size. The library reads the document alone; a field that is
    /// null is no attribute.
    #[must_use]
    pub fn shows<F: Into<String>>(mut self, fields: impl IntoIterator<Item = F>) -> Self {
        self.model.shows.extend(fields.into_iter().map(Into::into));
        self
    }

    /// The trails of its entities keep with each entry what the handler was given (the event's data, or the body of the request),
    /// what it emitted, and how long it took: a story of each step, as `trace` tells it. Texts are cut at 1,024 bytes. A trail
    /// is larger by them, and with it each write: on DynamoDB a write unit for each 1,024 bytes of an item.
    #[must_use]
    pub fn keeps_details(mut self) -> Self {
        self.model.keeps_details = true;
        self
    }

    /// The environment variable that tells a function its name on AWS, where that can't be `QUADRILLE_TABLE_<NAME>`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>) -> Self {
        self.model.variable = Some(name.into());
        self
    }

    /// The entities of type `E` put their index entries into as many partitions as this setting says, a whole number. DynamoDB
    /// takes 1,000 write units a second in a partition of an index, and can't split one that is sorted by time. A handler
    /// that queries `E` has to read the setting.
    #[must_use]
    pub fn spread<E: Entity>(mut self, setting: impl Into<String>) -> Self {
        self.model.spread = Some(Spread { setting: setting.into(), kind: Some(E::KIND.to_owned()) });
        self
    }

    /// On AWS the table, and its index, are ready for so many read and write units a second from the start; a stack may set more.
    /// By itself a table is ready for 12,000 and 4,000, and for more once it was used so. Once raised, it is never lowered: AWS
    /// takes no lower number, and the provider would make the table anew.
    #[must_use]
    pub fn warm(mut self, reads: u32, writes: u32) -> Self {
        self.model.warm = Some(Throughput { reads, writes });
        self
    }

    /// On AWS the table, and its index, use at most so many read and write units a second, which bounds what they can cost; a
    /// stack may set another number.
    #[must_use]
    pub fn at_most(mut self, reads: u32, writes: u32) -> Self {
        self.model.at_most = Some(Throughput { reads, writes });
        self
    }
}

/// An entity as people are shown it, whatever its type.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntityView {
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its state in one word: [`Entity::status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether nothing more happens to it: [`Entity::is_ended`].
    #[serde(default)]
    pub is_ended: bool,
    /// Until when its flow has to be over: [`Entity::deadline`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The entities that its story is told with, as kind and id: [`Entity::related`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(String, String)>,
    /// The commits it has seen.
    pub version: u64,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// From when on it counts as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What its flow is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Its trace, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its state, as serde writes it.
    pub state: serde_json::Value,
    /// What happened to it.
    pub trail: Vec<TrailEntry>,
    /// How many entries of the trail were left out to keep it short.
    #[serde(default)]
    pub trail_dropped: u32,
}

impl EntityView {
    /// The view of an item of the kind of `E`.
    ///
    /// # Errors
    /// A permanent [`Failure`] `unreadable_entity`.
    pub fn of<E: Entity>(item: &Item) -> Result<Self, Failure> {
        let stored: Stored<E> = Stored::read(item)?;
        let state =
            serde_json::to_value(&*stored).map_err(|error| Failure::permanent("unreadable_entity", error))?;
        let trail = stored.trail().clone();
        Ok(Self {
            kind: E::KIND.to_owned(),
            id: stored.id().into_owned(),
            status: stored.status().map(std::borrow::Cow::into_owned),
            is_ended: stored.is_ended(),
            deadline: stored.deadline(),
            related: stored.related(),
            version: stored.version(),
            created_at: stored.created_at(),
            expires_at: item.expires_at,
            correlation_id: stored.correlation_id().map(str::to_owned),
            trace_id: stored.trace_id().map(str::to_owned),
            state,
            trail: trail.entries,
            trail_dropped: trail.dropped,
        })
    }
}
