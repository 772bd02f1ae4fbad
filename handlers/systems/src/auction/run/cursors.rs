//! How far a run has read the open orders.

use super::{Emits, Run, Terms};
use quadrille::{
    Context, Merged,
    domain::auction::{OPEN_SHARDS_MIN, Order, open_partition},
};
use serde::{Deserialize, Serialize};

/// A place among the open orders: all shards are read up to the same order, so that a page holds orders of one time, which lie
/// together.
///
/// Stored as a list of one. A version before this one wrote a place for each of its 8 shards, and goes on with the first of
/// them where it reads a list of one: what it leaves is the next run's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors(Vec<Cursor>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cursor {
    After(String),
    Done,
}

impl Cursors {
    /// Before the first of them.
    pub(super) fn start() -> Self {
        Self::behind(String::new())
    }

    /// Behind this one.
    pub(super) fn behind(place: String) -> Self {
        Self(vec![Cursor::After(place)])
    }

    /// The place that every shard is read up to; `None` before the first.
    fn place(&self) -> Option<String> {
        let places = self.0.iter().filter_map(|cursor| match cursor {
            Cursor::After(after) => Some(after),
            Cursor::Done => None,
        });
        places.min().filter(|place| !place.is_empty()).cloned()
    }
}

impl Run {
    /// The open orders of its part that were received by its start, behind the place of `cursors`.
    pub(super) fn open_orders<'a>(
        &self,
        cursors: &Cursors,
        terms: &Terms,
        cx: &'a Context<Emits>,
    ) -> Merged<'a, Order, Emits> {
        let (part, shards) = (self.part(), 0..terms.shards.max(OPEN_SHARDS_MIN));
        let before = format!("{:015}", self.started_at.as_millis() + 1);
        let partitions = shards.filter(|shard| part.has(*shard)).map(open_partition);
        cx.merged(partitions, cursors.place(), Some(before))
    }
}
