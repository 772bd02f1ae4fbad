//! Scenarios of the table's sparse index.

use super::{
    Violation, scenarios,
    stage::{Stage, holds, same},
    table::{KIND, TABLE, applied},
};
use crate::port::{Damage, IndexEntry, IndexQuery, Item, Table, Write};
use std::sync::Arc;

scenarios!("index":
    pages_neither_skip_nor_repeat,
    bounds_are_exclusive,
    an_item_is_listed_where_its_entry_is,
    a_commit_is_listed_at_once needs consistent_index,
    a_partition_is_counted_alone_and_no_further_than_asked needs counted_index,
    an_item_that_can_not_be_read_fails_alone needs damaged_items,
);

impl Stage<'_> {
    fn table(&self) -> Result<&Arc<dyn Table>, Violation> {
        Ok(self.ports.table(TABLE)?)
    }

    /// A partition of the scenario's own.
    fn partition(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// An item listed in `partition` at `sort`.
    fn listed(&self, name: &str, partition: &str, sort: &str) -> Write {
        let mut write = self.insert(&format!("{KIND}/{}-{name}", self.tag), "{}");
        write.item.index = Some(IndexEntry { partition: self.partition(partition), sort: sort.to_owned() });
        write
    }

    /// All items of a query, page by page.
    async fn pages(&self, query: &IndexQuery) -> Result<Vec<Item>, Violation> {
        let (mut query, mut items) = (query.clone(), Vec::new());
        for _ in 0..1_000 {
            let page = self.table()?.query(&query).await?;
            holds("a page is no longer than its limit", page.items.len() <= query.limit, page.items.len())?;
            // However stale the index is: an item is where the entry that it has there is.
            let sort = |item: &Item| item.index.as_ref().map(|entry| entry.sort.clone());
            for sort in page.items.iter().map(sort) {
                let is_behind = query.after.is_none() || query.after < sort;
                let is_before = query.before.as_ref().is_none_or(|before| sort.as_ref() < Some(before));
                holds("a page keeps to its bounds", is_behind && is_before, sort)?;
            }
            items.extend(page.items);
            let Some(next) = page.next else { return Ok(items) };
            let moves_on = query.after.as_ref().is_none_or(|after| *after < next);
            holds("each page ends behind the one before it", moves_on, &next)?;
            query.after = Some(next);
        }
        Err(Violation::differs("the pages of a query", "an end", "1,000 pages"))
    }

    /// Asserts how many entries a partition has, where that can be told.
    pub(super) async fn counts(&self, what: &str, partition: &str, expected: u64) -> Result<(), Violation> {
        if !self.claims.counted_index {
            return Ok(());
        }
        let counted = self.table()?.count(partition, u64::MAX).await?;
        same(&format!("{what}, counted"), &Some(expected), &counted)
    }

    /// Asserts what a query lists, as soon as the index may be expected to show it.
    async fn lists(&self, what: &str, query: &IndexQuery, expected: &[Item]) -> Result<(), Violation> {
        let mut patience = self.patience();
        loop {
            let found = self.pages(query).await?;
            if found == expected {
                let is_all = query.after.is_none() && query.before.is_none();
                let count = if is_all { expected.len() } else { return Ok(()) };
                return self.counts(what, &query.partition, count as u64).await;
            }
            if !patience.wait().await {
                return same(what, &labels(expected), &labels(&found))
                    .and_then(|()| same(what, expected, found.as_slice()));
            }
        }
    }
}

/// What tells items apart in a report.
fn labels(items: &[Item]) -> Vec<String> {
    let sort = |item: &Item| item.index.as_ref().map(|entry| entry.sort.clone()).unwrap_or_default();
    items.iter().map(|item| format!("{} v{} at {:?}", item.key, item.version, sort(item))).collect()
}

fn items(writes: &[Write]) -> Vec<Item> {
    let mut items: Vec<Item> = writes.iter().map(|write| write.item.clone()).collect();
    items.sort_by(|one, other| one.index.cmp(&other.index));
    items
}

fn all(partition: String) -> IndexQuery {
    IndexQuery { partition, after: None, before: None, limit: 100 }
}

async fn pages_neither_skip_nor_repeat(stage: &Stage<'_>) -> Result<(), Violation> {
    // In the order of their bytes; other encodings and locales order some of them otherwise.
    let mut sorts: Vec<String> = (0..40).map(|at| format!("{:03}", at * 7 % 40)).collect();
    sorts.extend(["Z", "a", "a'b", "a\"b", "a/b", "ab", "z", "é", "\u{ffff}", "😀", " "].map(str::to_owned));
    let writes: Vec<Write> =
        sorts.iter().map(|sort| stage.listed(&format!("paged-{sort}"), "paged", sort)).collect();
    let expected = items(&writes);
    let beside: Vec<Write> = (0..10)
        .flat_map(|at| {
            ["page", "pagedd"].map(|other| stage.listed(&format!("{other}-{at}"), other, &format!("{at:03}")))
        })
        .collect();
    let unlisted = stage.insert(&format!("{KIND}/{}-unlisted", stage.tag), "{}");
    applied(&**stage.table()?, writes.into_iter().chain(beside).chain([unlisted]).collect()).await?;
    for limit in [1, 7, 17, 51, 52, 1_000] {
        let query = IndexQuery { limit, ..all(stage.partition("paged")) };
        stage.lists(&format!("51 items in pages of {limit}"), &query, &expected).await?;
    }
    stage.lists("a partition with nothing in it", &all(stage.partition("empty")), &[]).await
}

async fn bounds_are_exclusive(stage: &Stage<'_>) -> Result<(), Violation> {
    let writes: Vec<Write> =
        (0..10).map(|at| stage.listed(&format!("bounded-{at}"), "bounded", &format!("{at}0"))).collect();
    let stored = items(&writes);
    applied(&**stage.table()?, writes).await?;
    for (after, before, expected) in [
        (Some("30"), None, &stored[4..]),
        (Some("35"), None, &stored[4..]),
        (None, Some("30"), &stored[..3]),
        (None, Some("35"), &stored[..4]),
        (Some("20"), Some("50"), &stored[3..5]),
        (Some("20"), Some("30"), &stored[..0]),
        (Some("90"), None, &stored[..0]),
        (None, Some("00"), &stored[..0]),
    ] {
        for limit in [2, 100] {
            let query = IndexQuery {
                after: after.map(str::to_owned),
                before: before.map(str::to_owned),
                limit,
                ..all(stage.partition("bounded"))
            };
            let what = format!("items after {after:?} and before {before:?} in pages of {limit}");
            stage.lists(&what, &query, expected).await?;
        }
    }
    Ok(())
}

async fn an_item_is_listed_where_its_entry_is(stage: &Stage<'_>) -> Result<(), Violation> {
    let table = stage.table()?;
    let (one, other) = (all(stage.partition("one")), all(stage.partition("other")));
    let steps: [(&str, Option<(&str, &str)>); 6] = [
        ("inserted", Some(("one", "5"))),
        ("moved within its partition", Some(("one", "2"))),
        ("moved to another partition", Some(("other", "2"))),
        ("left where it is", Some(("other", "2"))),
        ("taken out", None),
        ("put back", Some(("one", "7"))),
    ];
    let neighbour = stage.listed("neighbour", "one", "3");
    let beside = neighbour.item.clone();
    applied(&**table, vec![neighbour]).await?;
    let mut current: Option<Item> = None;
    for (what, entry) in steps {
        let index = entry.map(|(partition, sort)| IndexEntry {
            partition: stage.partition(partition),
            sort: sort.to_owned(),
        });
        let mut write = match &current {
            None => stage.listed("moving", "one", "5"),
            Some(item) => stage.update(item, &format!("{what:?}")),
        };
        write.index_changed = current.as_ref().is_none_or(|item| item.index != index);
        write.item.index = index;
        let item = write.item.clone();
        applied(&**table, vec![write]).await?;
        let in_partition =
            |name: &str| item.index.as_ref().is_some_and(|e| e.partition == stage.partition(name));
        let mut expected = vec![beside.clone()];
        if in_partition("one") {
            expected.push(item.clone());
        }
        expected.sort_by(|one, other| one.index.cmp(&other.index));
        stage.lists(&format!("the first partition, an item {what}"), &one, &expected).await?;
        let expected: Vec<Item> = Some(item.clone()).filter(|_| in_partition("other")).into_iter().collect();
        stage.lists(&format!("the second partition, an item {what}"), &other, &expected).await?;
        current = Some(item);
    }

    // An insert over an expired item takes nothing over from it.
    let expired = all(stage.partition("expired"));
    let mut old = stage.listed("replaced", "expired", "1");
    old.item.expires_at = Some(stage.in_seconds(3_600));
    let old_item = old.item.clone();
    applied(&**table, vec![old]).await?;
    stage.lists("an item that will expire", &expired, std::slice::from_ref(&old_item)).await?;
    let new = Write { now: stage.in_seconds(7_200), ..stage.insert(&old_item.key, "\"new\"") };
    applied(&**table, vec![new]).await?;
    stage.lists("the entry of an expired item that was replaced", &expired, &[]).await
}

async fn a_commit_is_listed_at_once(stage: &Stage<'_>) -> Result<(), Violation> {
    let query = all(stage.partition("at-once"));
    for at in 0..20 {
        let write = stage.listed(&format!("at-once-{at}"), "at-once", &format!("{at:03}"));
        applied(&**stage.table()?, vec![write]).await?;
        same("items listed after each commit", &(at + 1), &stage.pages(&query).await?.len())?;
    }
    Ok(())
}

async fn a_partition_is_counted_alone_and_no_further_than_asked(stage: &Stage<'_>) -> Result<(), Violation> {
    let mut writes: Vec<Write> = (0..5)
        .map(|number| stage.listed(&format!("own-{number}"), "counted", &format!("{number}")))
        .collect();
    writes.push(stage.listed("before", "countec", "1"));
    writes.push(stage.listed("behind", "counted0", "1"));
    let gone = writes[4].clone();
    applied(stage.table()?.as_ref(), writes).await?;
    let (item, now) = (Item { version: 2, index: None, ..gone.item }, gone.now);
    let gone =
        Write { item, expected: 1, now, outbox: Vec::new(), index_changed: true, expiry_changed: false };
    applied(stage.table()?.as_ref(), vec![gone]).await?;
    let partition = stage.partition("counted");
    for (at_most, expected) in [(100, 4), (4, 4), (3, 3), (0, 0)] {
        let counted = stage.table()?.count(&partition, at_most).await?;
        same("the entries of a partition", &Some(expected), &counted)?;
    }
    let nothing = stage.table()?.count(&stage.partition("nothing"), 100).await?;
    same("the entries of a partition that has none", &Some(0), &nothing)
}

/// Wherever it is met: by its key, on a page of the index, on a page of all.
async fn an_item_that_can_not_be_read_fails_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let writes: Vec<Write> = ["1", "2", "3"].map(|sort| stage.listed(sort, "damaged", sort)).to_vec();
    applied(&**stage.table()?, writes.clone()).await?;
    let query = all(stage.partition("damaged"));
    stage.lists("the items before one is damaged", &query, &items(&writes)).await?;
    let keys: Vec<String> = writes.iter().map(|write| write.item.key.clone()).collect();
    let damaged = keys[1].as_str();
    stage.damage(Damage::Item { table: TABLE, key: damaged }).await?;
    let told = |what: &str, found: Vec<Item>| {
        let expected: Vec<(&str, bool)> = keys.iter().map(|key| (key.as_str(), key != damaged)).collect();
        let found: Vec<(&str, bool)> =
            found.iter().map(|item| (item.key.as_str(), item.document.text().is_ok())).collect();
        same(what, &expected, &found)
    };
    let got = stage.table()?.get(&keys).await?;
    told("items by their keys", got.into_iter().flatten().collect())?;
    let mut patience = stage.patience();
    let listed = loop {
        let listed = stage.pages(&query).await?;
        if listed.iter().any(|item| item.document.text().is_err()) || !patience.wait().await {
            break listed;
        }
    };
    told("items of the index", listed)?;
    for limit in [1, 2] {
        let mut patience = stage.patience();
        let page = loop {
            let page = stage.table()?.query(&IndexQuery { limit, ..query.clone() }).await?;
            if page.items.len() == limit || !patience.wait().await {
                break page;
            }
        };
        same("items of a page", &limit, &page.items.len())?;
        same("the place behind a page", &Some(limit.to_string()), &page.next)?;
    }
    let (mut scanned, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = stage.table()?.scan(after.as_deref(), 1_000).await?;
        scanned.extend(page.items.into_iter().filter(|item| keys.contains(&item.key)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    scanned.sort_by(|one, other| one.key.cmp(&other.key));
    told("items of a scan", scanned)?;
    // Whoever knows its version may write it anew.
    let next = stage.update(&writes[1].item, "[]");
    applied(&**stage.table()?, vec![next.clone()]).await?;
    let got = stage.table()?.get(&[damaged.to_owned()]).await?;
    same("the item, written anew", &vec![Some(next.item)], &got)
}
