//! The entities of a simulation or of a folder, each parsed once for each of its versions.

use crate::{entity::Entity, port::Item, stored::Stored, timestamp::Timestamp};
use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// An entity as it was last committed.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) item: Item,
    parsed: OnceLock<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Known {
    pub(super) fn new(item: Item) -> Self {
        Self { item, parsed: OnceLock::new() }
    }

    /// The entity; `None` where it can't be read as one of this type.
    pub(super) fn read<E: Entity>(&self) -> Option<Arc<Stored<E>>> {
        let parsed = self.parsed.get_or_init(|| {
            let entity: Arc<dyn Any + Send + Sync> = Arc::new(Stored::<E>::read(&self.item).ok()?);
            Some(entity)
        });
        parsed.clone()?.downcast().ok()
    }
}

/// Entities by their keys.
#[derive(Debug, Default)]
pub(super) struct Entities(pub(super) BTreeMap<String, Known>);

impl Entities {
    /// Those of a kind that have not expired.
    pub(super) fn of_kind<'a>(&'a self, kind: &str, now: Timestamp) -> impl Iterator<Item = &'a Known> {
        let prefix = [kind, "/"].concat();
        let of_kind = self.0.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix));
        of_kind.map(|(_, known)| known).filter(move |known| is_there(&known.item, now))
    }

    /// The one of this key.
    pub(super) fn of_key(&self, key: &str, now: Timestamp) -> Option<&Known> {
        self.0.get(key).filter(|known| is_there(&known.item, now))
    }
}

fn is_there(item: &Item, now: Timestamp) -> bool {
    item.expires_at.is_none_or(|expires_at| now < expires_at)
}
