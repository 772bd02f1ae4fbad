//! How many entries partitions of an index have. Each is counted when somebody asks for it first, and kept with every write
//! from then on: to ask again costs the same, however many there are.

use super::store::{Joined, Transactions};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The counts of a table. Bounded by the partitions that are asked for; changed on the store's thread only.
pub(super) struct Counts {
    transactions: Transactions,
    state: Arc<Shared>,
}

struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    counted: BTreeMap<String, u64>,
    /// By how much the transaction under way changes them; where it does, it will tell how it ends.
    changes: BTreeMap<String, i64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    pub(super) fn new(transactions: &Transactions) -> Self {
        Self { transactions: transactions.clone(), state: Arc::new(Shared(Mutex::default())) }
    }

    /// Whether there are any to be kept.
    pub(super) fn are_kept(&self) -> bool {
        !self.state.state().counted.is_empty()
    }

    pub(super) fn of(&self, partition: &str) -> Option<u64> {
        self.state.state().counted.get(partition).copied()
    }

    /// From now on it is kept; between two transactions.
    pub(super) fn keep(&self, partition: &str, count: u64) {
        self.state.state().counted.insert(partition.to_owned(), count);
    }

    /// The transaction under way moves an entry.
    pub(super) fn moved(&self, from: Option<&str>, to: Option<&str>) {
        let state = &mut *self.state.state();
        for (partition, by) in from.map(|from| (from, -1)).into_iter().chain(to.map(|to| (to, 1))) {
            if !state.counted.contains_key(partition) {
                continue;
            }
            if state.changes.is_empty() {
                self.transactions.join(Arc::clone(&self.state) as _);
            }
            *state.changes.entry(partition.to_owned()).or_default() += by;
        }
    }
}

impl Joined for Shared {
    fn ended(&self, is_committed: bool) {
        let State { counted, changes } = &mut *self.state();
        for (partition, by) in std::mem::take(changes) {
            if let Some(count) = counted.get_mut(&partition).filter(|_| is_committed) {
                *count = count.saturating_add_signed(by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        local::Local,
        memory::VirtualClock,
        model::{Model, TableModel},
        port::{IndexEntry, Item, SeededRandom, Table, Write},
        timestamp::Timestamp,
    };
    use rusqlite::Connection;
    use std::sync::{Arc, mpsc};

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn open(folder: &std::path::Path) -> Local {
        let table =
            TableModel { name: "things".into(), kinds: vec!["thing".into()], ..TableModel::default() };
        let model = Model { tables: vec![table], ..Model::default() };
        let (clock, random) = (Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)));
        Local::open(folder, &model, clock, random).unwrap()
    }

    fn listed(id: &str) -> Write {
        let index = Some(IndexEntry { partition: "open".into(), sort: id.into() });
        let item = Item { key: id.into(), version: 1, document: "{}".into(), expires_at: None, index };
        Write { item, expected: 0, now: START, outbox: Vec::new(), index_changed: true, expiry_changed: true }
    }

    async fn count(local: &Local) -> Option<u64> {
        local.tables[0].count("open", 10).await.unwrap()
    }

    #[tokio::test]
    async fn a_partition_is_counted_once_and_by_its_writes_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path());
        assert_eq!(local.tables[0].commit(vec![listed("1"), listed("2")]).await, [Ok(()), Ok(())]);
        assert_eq!(count(&local).await, Some(2));
        // Behind its back, which only who counts again would see.
        let delete =
            |connection: &Connection| connection.execute("DELETE FROM item_things WHERE key = '1'", ());
        local.store.run(delete).await.unwrap();
        assert_eq!(count(&local).await, Some(2));
        assert_eq!(
            local.tables[0]
                .commit(vec![listed("3"), listed("3")])
                .await
                .iter()
                .filter(|answer| answer.is_ok())
                .count(),
            1
        );
        assert_eq!(count(&local).await, Some(3));
        drop(local);
        assert_eq!(count(&open(folder.path())).await, Some(2));
    }

    #[tokio::test]
    async fn what_is_rolled_back_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path());
        assert_eq!(count(&local).await, Some(0));
        // Both come while the store's thread is held up, and so into one transaction.
        let (release, released) = mpsc::channel::<()>();
        let hold = local.store.read(move |_| Ok(released.recv().is_ok()));
        let writes = [listed("1")].to_vec();
        let committed = local.tables[0].commit(writes);
        let failing = local.store.run(|connection| connection.execute_batch("INSERT INTO nowhere VALUES(1)"));
        let release = async move { release.send(()).is_ok() };
        let (held, committed, failed, released) = tokio::join!(biased; hold, committed, failing, release);
        assert!(held.unwrap() && released && failed.is_err() && committed[0].is_err());
        assert_eq!(count(&local).await, Some(0));
        assert_eq!(local.tables[0].commit(vec![listed("1")]).await, [Ok(())]);
        assert_eq!(count(&local).await, Some(1));
    }
}
