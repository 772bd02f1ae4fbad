//! An entity as it was loaded, with its version and trail.

use crate::{
    commit::Commit,
    entity::Entity,
    failure::Failure,
    history::History,
    port::Item,
    timestamp::Timestamp,
    trace::trace_id,
    trail::{Trail, TrailEntry},
};
use serde::Serialize;
use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

/// An entity as it was loaded, or as it is to be created: its state, with what is known about it. Change the state
/// through it, then turn it into a [`Commit`].
#[derive(Clone, Debug)]
pub struct Stored<E> {
    state: E,
    pub(crate) history: History,
}

/// An entity as a person is told of it: its state, and beside its fields its version, what its flow is known by, and its trail.
#[derive(Debug, Serialize)]
pub struct Told<'a, E> {
    #[serde(flatten)]
    state: &'a E,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    trail: &'a [TrailEntry],
    #[serde(skip_serializing_if = "is_zero")]
    trail_dropped: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_zero(count: &u32) -> bool {
    *count == 0
}

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
        self.history.traceparent.as_deref().and_then(trace_id)
    }

    /// As a person is told of it.
    pub fn told(&self) -> Told<'_, E> {
        let trail = self.trail();
        Told {
            state: &self.state,
            version: self.version(),
            correlation_id: self.correlation_id(),
            trace_id: self.trace_id(),
            trail: &trail.entries,
            trail_dropped: trail.dropped,
        }
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
