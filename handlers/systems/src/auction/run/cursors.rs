//! How far a run has read the open orders.

use super::{Emits, ORDERS_PER_PAGE, part::Part};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quadrille::{
    Context, Failure, Page, Stored, Timestamp,
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
    /// Read, and in no page yet: by its place, an order, or nothing where it can't be read.
    ready: VecDeque<(String, Option<Stored<Order>>)>,
}

impl Shard {
    fn runs_dry(&self) -> bool {
        self.ready.is_empty() && self.after.is_some()
    }

    /// The place of the first that is ready.
    fn first(&self) -> Option<&str> {
        self.ready.front().map(|(place, _)| place.as_str())
    }

    /// Takes in what was read of it.
    fn read(&mut self, Page { entities, unreadable, next }: Page<Order>) {
        let orders = entities.into_iter().map(|order| (order.index_sort(), Some(order)));
        self.ready.extend(orders.chain(unreadable.into_iter().map(|unread| (unread.sort, None))));
        // Where some can't be read, they stand among the others.
        self.ready.make_contiguous().sort_by(|one, other| one.0.cmp(&other.0));
        self.after = next;
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

    /// The next page of them, and how many stood there that can't be read: these are passed over, and the log names them.
    pub(super) async fn next_page(&mut self) -> Result<(Vec<Stored<Order>>, u64), Failure> {
        let (mut page, mut passed_over) = (Vec::with_capacity(ORDERS_PER_PAGE), 0);
        for _ in 0..ORDERS_PER_PAGE {
            while self.shards.iter().any(Shard::runs_dry) {
                self.read_on().await?;
            }
            let with_first = self.shards.iter_mut().filter(|shard| !shard.ready.is_empty());
            let first = with_first.min_by(|one, other| one.first().cmp(&other.first()));
            let Some((place, order)) = first.and_then(|shard| shard.ready.pop_front()) else { break };
            self.last = place;
            passed_over += u64::from(order.is_none());
            page.extend(order);
        }
        Ok((page, passed_over))
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
                shard.read(cx.query::<Order>(&query).await?);
                Ok::<_, Failure>(())
            })
        });
        // Collected first: a stream of borrowing futures would have to be general over lifetimes.
        let reads: Vec<_> = reads.collect();
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect::<()>().await
    }
}
