//! How far a run has read the open orders.

use super::{Emits, ORDERS_PER_PAGE, part::Part};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quadrille::{
    Context, Failure, Stored, Timestamp,
    domain::auction::{OPEN_SHARDS_MIN, Order, open_partition},
    port::IndexQuery,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Shards that are read at the same time.
const READ_AT_ONCE: usize = 16;

/// Orders read of a shard beyond its share of a page: shards are not as full as each other.
const READ_BEYOND: usize = 4;

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
        Self(vec![Cursor::After(String::new())])
    }

    /// The place that every shard is read up to; `None` where nothing is left.
    fn after(&self) -> Option<&str> {
        let places = self.0.iter().filter_map(|cursor| match cursor {
            Cursor::After(after) => Some(after.as_str()),
            Cursor::Done => None,
        });
        places.min()
    }
}

/// A shard of the open orders, as far as a round has read it.
struct Shard {
    number: u64,
    /// The place it is read up to; `None` where nothing is left to read.
    after: Option<String>,
    /// Read, and in no page yet.
    ready: VecDeque<Stored<Order>>,
}

impl Shard {
    fn runs_dry(&self) -> bool {
        self.ready.is_empty() && self.after.is_some()
    }
}

/// The open orders, as a round reads them: from all shards together, in the order they came in. What was read of a shard beyond
/// a page is the next page's.
pub(super) struct OpenOrders<'a> {
    shards: Vec<Shard>,
    before: String,
    limit: usize,
    last: String,
    cx: &'a Context<Emits>,
}

impl<'a> OpenOrders<'a> {
    /// Those of `part` that were received by `started_at`, behind the place of `cursors`. There are `shards` of them, or as many
    /// as there ever were where that is more.
    pub(super) fn behind(
        cursors: &Cursors,
        started_at: Timestamp,
        shards: u64,
        part: Part,
        cx: &'a Context<Emits>,
    ) -> Self {
        let after = cursors.after();
        let numbers = (0..shards.max(OPEN_SHARDS_MIN)).filter(|number| part.has(*number));
        let shards: Vec<Shard> = numbers
            .map(|number| Shard { number, after: after.map(str::to_owned), ready: VecDeque::new() })
            .collect();
        Self {
            limit: ORDERS_PER_PAGE / shards.len().max(1) + READ_BEYOND,
            shards,
            before: format!("{:015}", started_at.as_millis() + 1),
            last: after.unwrap_or_default().to_owned(),
            cx,
        }
    }

    /// The place behind the last page.
    pub(super) fn cursors(&self) -> Cursors {
        Cursors(vec![if self.is_done() { Cursor::Done } else { Cursor::After(self.last.clone()) }])
    }

    /// Whether all of them were in a page.
    pub(super) fn is_done(&self) -> bool {
        self.shards.iter().all(|shard| shard.after.is_none() && shard.ready.is_empty())
    }

    /// The next page of them.
    pub(super) async fn next_page(&mut self) -> Result<Vec<Stored<Order>>, Failure> {
        let mut page = Vec::with_capacity(ORDERS_PER_PAGE);
        while page.len() < ORDERS_PER_PAGE {
            while self.shards.iter().any(Shard::runs_dry) {
                self.read_on().await?;
            }
            let first = |shard: &&mut Shard| {
                shard.ready.front().map(|order| (order.received_at, order.record_id.clone()))
            };
            let with_first = self.shards.iter_mut().filter(|shard| !shard.ready.is_empty());
            let Some(order) = with_first.min_by_key(first).and_then(|shard| shard.ready.pop_front()) else {
                break;
            };
            page.push(order);
        }
        if let Some(order) = page.last() {
            self.last = order.index_sort();
        }
        Ok(page)
    }

    /// Reads on, at once, every shard that has little left: each for itself would be a wait of its own.
    async fn read_on(&mut self) -> Result<(), Failure> {
        let Self { shards, before, limit, cx, .. } = self;
        let little = shards.iter_mut().filter(|shard| shard.ready.len() * 2 <= *limit);
        let reads = little.filter_map(|shard| {
            let after = shard.after.clone()?;
            let query = IndexQuery {
                partition: open_partition(shard.number),
                after: Some(after).filter(|after| !after.is_empty()),
                before: Some(before.clone()),
                limit: *limit,
            };
            let cx = *cx;
            Some(async move {
                let (orders, next) = cx.query::<Order>(&query).await?;
                shard.ready.extend(orders);
                shard.after = next;
                Ok::<_, Failure>(())
            })
        });
        // Collected first: a stream of borrowing futures would have to be general over lifetimes.
        let reads: Vec<_> = reads.collect();
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect::<()>().await
    }
}
