//! Several partitions of an index, read as one.

use super::{Context, Page, Unread};
use crate::{entity::Entity, failure::Failure, port::IndexQuery, stored::Stored};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{collections::VecDeque, fmt};

/// Partitions that are read at the same time.
const READ_AT_ONCE: usize = 16;

/// Entities read of a partition beyond its share of a page: partitions are not as full as each other.
const READ_BEYOND: usize = 4;

/// Several partitions of an index, read as one: what [`Table::spread`](crate::Table::spread) spreads is found in the order that it
/// has in one partition. Pages lie close together, however full each partition is. All partitions are read up to the same
/// place, so that one place tells how far.
pub struct Merged<'a, E, Em> {
    partitions: Vec<Partition<E>>,
    before: Option<String>,
    cx: &'a Context<Em>,
}

impl<E, Em> fmt::Debug for Merged<'_, E, Em> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged").field("before", &self.before).finish_non_exhaustive()
    }
}

/// A partition, as far as it is read.
struct Partition<E> {
    name: String,
    /// Whether there may be more behind `after`.
    has_more: bool,
    after: Option<String>,
    /// Read, and in no page yet, by its place.
    ready: VecDeque<(String, Result<Stored<E>, Unread>)>,
}

impl<E: Entity> Partition<E> {
    fn runs_dry(&self) -> bool {
        self.ready.is_empty() && self.has_more
    }

    fn first(&self) -> Option<&str> {
        self.ready.front().map(|(place, _)| place.as_str())
    }

    async fn read<Em>(
        &mut self,
        before: Option<String>,
        limit: usize,
        cx: &Context<Em>,
    ) -> Result<(), Failure> {
        let query = IndexQuery { partition: self.name.clone(), after: self.after.take(), before, limit };
        let Page { entities, unreadable, next } = cx.query(&query).await?;
        let place = |entity: &Stored<E>| {
            entity.history.index.as_ref().map(|index| index.sort.clone()).unwrap_or_default()
        };
        self.ready.extend(entities.into_iter().map(|entity| (place(&entity), Ok(entity))));
        self.ready.extend(unreadable.into_iter().map(|unread| (unread.sort.clone(), Err(unread))));
        // What can't be read stands among the others.
        self.ready.make_contiguous().sort_by(|one, other| one.0.cmp(&other.0));
        self.has_more = next.is_some();
        self.after = next;
        Ok(())
    }
}

impl<Em> Context<Em> {
    /// Several partitions of the sparse index of the table that holds `E`, read as one: from behind `after`, up to `before`.
    pub fn merged<E: Entity>(
        &self,
        partitions: impl IntoIterator<Item = String>,
        after: Option<String>,
        before: Option<String>,
    ) -> Merged<'_, E, Em> {
        let behind = |name| Partition { name, has_more: true, after: after.clone(), ready: VecDeque::new() };
        Merged { partitions: partitions.into_iter().map(behind).collect(), before, cx: self }
    }
}

impl<E: Entity, Em> Merged<'_, E, Em> {
    /// The next page of at most `limit` entities, unreadable ones among them. What is read of a partition beyond the page is for
    /// the next one.
    ///
    /// # Errors
    /// As [`Context::query`].
    pub async fn next_page(&mut self, limit: usize) -> Result<Page<E>, Failure> {
        let mut page = Page { entities: Vec::with_capacity(limit), unreadable: Vec::new(), next: None };
        let mut last = None;
        for _ in 0..limit {
            while self.partitions.iter().any(Partition::runs_dry) {
                self.read_on(limit).await?;
            }
            let with_some = self.partitions.iter_mut().filter(|partition| !partition.ready.is_empty());
            let first = with_some.min_by(|one, other| one.first().cmp(&other.first()));
            let Some((place, found)) = first.and_then(|partition| partition.ready.pop_front()) else { break };
            match found {
                Ok(entity) => page.entities.push(entity),
                Err(unread) => page.unreadable.push(unread),
            }
            last = Some(place);
        }
        let is_done = |partition: &Partition<E>| !partition.has_more && partition.ready.is_empty();
        page.next = last.filter(|_| !self.partitions.iter().all(is_done));
        Ok(page)
    }

    /// Reads on, at once, every partition that has little left: each for itself would be a wait of its own.
    async fn read_on(&mut self, page: usize) -> Result<(), Failure> {
        let limit = page / self.partitions.len().max(1) + READ_BEYOND;
        let little = |partition: &&mut Partition<E>| partition.has_more && partition.ready.len() * 2 <= limit;
        let reads = self.partitions.iter_mut().filter(little);
        // Collected first: a stream of borrowing futures would have to be general over lifetimes.
        let reads: Vec<_> =
            reads.map(|partition| partition.read(self.before.clone(), limit, self.cx)).collect();
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect::<()>().await
    }
}
