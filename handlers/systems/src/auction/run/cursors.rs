//! How far a run has read the open orders.

use super::{Emits, ORDERS_PER_PAGE};
use futures_util::future::try_join_all;
use quadrille::{
    Context, Failure, Page, Stored, Timestamp,
    domain::auction::{OPEN_SHARDS, Order, open_partition},
    port::IndexQuery,
};
use serde::{Deserialize, Serialize};

/// A place in each shard of the open orders: all are read on together, up to the same time, so that a page holds orders of one
/// time, which lie together.
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
        Self((0..OPEN_SHARDS).map(|_| Cursor::After(String::new())).collect())
    }

    /// Whether all open orders were read.
    pub(super) fn is_done(&self) -> bool {
        self.0.iter().all(|cursor| *cursor == Cursor::Done)
    }

    /// The next page of open orders received by `started_at`, moving on behind them, and how many stand there that can't be read:
    /// these are passed over, and the log names them.
    pub(super) async fn next_page(
        &mut self,
        started_at: Timestamp,
        cx: &Context<Emits>,
    ) -> Result<(Vec<Stored<Order>>, u64), Failure> {
        let before = format!("{:015}", started_at.as_millis() + 1);
        let limit = ORDERS_PER_PAGE / self.0.len().max(1);
        let queries = self.0.iter().enumerate().filter_map(|(shard, cursor)| {
            let Cursor::After(after) = cursor else { return None };
            let query = IndexQuery {
                partition: open_partition(shard as u64),
                after: Some(after.clone()).filter(|after| !after.is_empty()),
                before: Some(before.clone()),
                limit,
            };
            Some(async move { Ok::<_, Failure>((shard, cx.query::<Order>(&query).await?)) })
        });
        let pages = try_join_all(queries).await?;
        // Every shard was looked through up to here. What lies behind it is left for the next page: shards are not as full as
        // each other, and a page that took it would lie scattered among its neighbours.
        let horizon = pages.iter().filter_map(|(_, page)| page.next.as_ref()).min().cloned();
        let mut orders = Vec::with_capacity(pages.iter().map(|(_, page)| page.entities.len()).sum());
        let mut passed_over = 0;
        for (shard, Page { mut entities, mut unreadable, next }) in pages {
            let found = entities.len() + unreadable.len();
            if let Some(horizon) = &horizon {
                entities.truncate(entities.partition_point(|order| order.index_sort() <= *horizon));
                unreadable.retain(|order| order.sort <= *horizon);
            }
            let is_done = next.is_none() && entities.len() + unreadable.len() == found;
            passed_over += unreadable.len() as u64;
            self.0[shard] = match (&self.0[shard], &horizon) {
                // A version before this one may have read a shard further on than the others.
                (Cursor::After(before), Some(horizon)) if !is_done => {
                    Cursor::After(horizon.max(before).clone())
                }
                _ => Cursor::Done,
            };
            orders.extend(entities);
        }
        // In the order they came in, as they lie in the table.
        orders.sort_by(|a, b| (a.received_at, &a.record_id).cmp(&(b.received_at, &b.record_id)));
        Ok((orders, passed_over))
    }
}
