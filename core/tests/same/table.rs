//! Tables with their index and their change stream.

use super::{Both, alike, commits_alike, played, same, seconds, sequences};
use proptest::{collection::vec, prelude::*};
use quadrille::{
    Timestamp,
    limits::{INDEX_SORT_BYTES_MAX, ITEM_BYTES_MAX, KEY_BYTES_MAX},
    memory::Memory,
    port::{
        CommitError, Document, IndexEntry, IndexQuery, Item, PortError, ScanPage, StreamRecord, Table, Write,
    },
};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};

/// Longest that an item is to live.
const LIFE_MAX: u32 = 100;

#[derive(Clone, Debug)]
enum Call {
    Commit(Vec<Draft>),
    Get(Vec<usize>),
    Query {
        partition: usize,
        after: Option<usize>,
        before: Option<usize>,
        limit: usize,
    },
    Scan(usize),
    Count(usize, u64),
    Read(usize),
    /// Of what was read last, up to this one.
    Checkpoint(usize),
    Pass(u32),
    /// So much time passes that what has expired is gone.
    Expire,
    Reopen,
}

/// A write, by what is there when its turn comes.
#[derive(Clone, Debug)]
struct Draft {
    key: usize,
    expected: Expected,
    index: Option<(usize, usize)>,
    lives: Option<u32>,
    /// How long ago its maker looked at the clock.
    ago: u32,
    events: usize,
    /// It says that index and expiry change, whether they do or not.
    says_so: bool,
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Right,
    Nothing,
    Other(u64),
}

/// What no table takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    NoKey,
    LongKey,
    NoPartition,
    LongSort,
    Unreadable,
    /// Its item has so many bytes more than one may have.
    Bytes(usize),
    Version,
}

const KEYS: [&str; 5] = ["thing/a", "thing/b", "thing/é", "thing/A", "thing/a/b"];
const PARTITIONS: [&str; 3] = ["open", "open/1", "é"];
const SORTS: [&str; 6] = ["1", "10", "2", "a", "é", "\u{10FFFF}"];

fn item_draft() -> impl Strategy<Value = Draft> {
    let expected = prop_oneof![
        10 => Just(Expected::Right),
        3 => Just(Expected::Nothing),
        2 => (0..5_u64).prop_map(Expected::Other),
    ];
    let flaw = prop_oneof![
        30 => Just(Flaw::None),
        1 => Just(Flaw::NoKey), 1 => Just(Flaw::LongKey), 1 => Just(Flaw::NoPartition), 1 => Just(Flaw::LongSort),
        1 => Just(Flaw::Unreadable), 1 => (0..2_usize).prop_map(Flaw::Bytes), 1 => Just(Flaw::Version),
    ];
    let index = prop::option::of((0..PARTITIONS.len(), 0..SORTS.len()));
    let lives = prop::option::weighted(0.3, 1..LIFE_MAX);
    (
        0..KEYS.len(),
        expected,
        index,
        lives,
        prop::sample::select(&[0, 0, 0, 5][..]),
        0..3_usize,
        any::<bool>(),
        flaw,
    )
        .prop_map(|(key, expected, index, lives, ago, events, says_so, flaw)| Draft {
            key,
            expected,
            index,
            lives,
            ago,
            events,
            says_so,
            flaw,
        })
}

fn call() -> impl Strategy<Value = Call> {
    let limit =
        || prop_oneof![8 => 1..4_usize, 2 => 4..9_usize, 1 => Just(1_000), 1 => Just(1_001), 1 => Just(0)];
    let sort = || prop::option::weighted(0.4, 0..SORTS.len() + 1);
    prop_oneof![
        12 => vec(item_draft(), 1..5).prop_map(Call::Commit),
        3 => vec(0..KEYS.len(), 0..4).prop_map(Call::Get),
        5 => (0..PARTITIONS.len() + 1, sort(), sort(), limit())
            .prop_map(|(partition, after, before, limit)| Call::Query { partition, after, before, limit }),
        2 => limit().prop_map(Call::Scan),
        3 => (0..PARTITIONS.len() + 1, 0..6_u64).prop_map(|(partition, at_most)| Call::Count(partition, at_most)),
        4 => (0..8_usize).prop_map(Call::Read),
        3 => (0..8_usize).prop_map(Call::Checkpoint),
        3 => (1..LIFE_MAX).prop_map(Call::Pass),
        1 => Just(Call::Expire),
        1 => Just(Call::Reopen),
    ]
}

struct Stage {
    both: Both,
    /// Each write's document is its own.
    written: usize,
    /// What was read last: the places in memory, and the local ones.
    read: Vec<[u64; 2]>,
}

impl From<Stage> for Both {
    fn from(stage: Stage) -> Self {
        stage.both
    }
}

impl Stage {
    fn tables(&self) -> [std::sync::Arc<dyn Table>; 2] {
        self.both.ports().map(|ports| ports.tables[&self.both.own("flows")].clone())
    }

    /// The writes of one call. Each is told of the ones before it, as its maker may have been.
    async fn writes(&mut self, drafts: &[Draft]) -> Vec<Write> {
        let [memory, _] = self.tables();
        let keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        let found = memory.get(&keys).await.unwrap();
        let mut items: BTreeMap<String, Item> =
            found.into_iter().flatten().map(|item| (item.key.clone(), item)).collect();
        drafts.iter().map(|draft| self.write(draft, &mut items)).collect()
    }

    fn write(&mut self, draft: &Draft, items: &mut BTreeMap<String, Item>) -> Write {
        self.written += 1;
        let number = self.written;
        let now = self.both.ports()[0].clock.now();
        let mut key = KEYS[draft.key].to_owned();
        let found = items.get(&key).cloned();
        let expected = match draft.expected {
            Expected::Right => found.as_ref().map_or(0, |item| item.version),
            Expected::Nothing => 0,
            Expected::Other(version) => version,
        };
        let mut index = draft.index.map(|(partition, sort)| IndexEntry {
            partition: PARTITIONS[partition].to_owned(),
            // Unique in its partition, as the port asks for.
            sort: format!("{}/{}", SORTS[sort], draft.key),
        });
        let mut document = Document::from(format!("{{\"written\":{number}}}"));
        let mut version = expected + 1;
        match draft.flaw {
            Flaw::None => {}
            Flaw::NoKey => key = String::new(),
            Flaw::LongKey => key = "k".repeat(KEY_BYTES_MAX + 1),
            Flaw::NoPartition => index = Some(IndexEntry { partition: String::new(), sort: "1".into() }),
            Flaw::LongSort => {
                let sort = "s".repeat(INDEX_SORT_BYTES_MAX + 1);
                index = Some(IndexEntry { partition: "open".into(), sort });
            }
            Flaw::Unreadable => document = Document::unreadable("by a test"),
            Flaw::Bytes(more) => document = "x".repeat(ITEM_BYTES_MAX + more - key.len()).into(),
            Flaw::Version => version += 1,
        }
        let outbox = (0..draft.events)
            .map(|at| {
                RawValue::from_string(format!("{{\"id\": \"{number}.{at}\",\n\"data\":\"\\n\"}}")).unwrap()
            })
            .collect();
        let item =
            Item { key, version, document, expires_at: draft.lives.map(|lives| now + seconds(lives)), index };
        // Whoever writes knows what it read: it never says that nothing changes where something does.
        let before = found.filter(|found| found.version == expected);
        let index_changed = before.as_ref().is_none_or(|before| before.index != item.index);
        let expiry_changed = before.as_ref().is_none_or(|before| before.expires_at != item.expires_at);
        if draft.flaw == Flaw::None && (before.is_some() || expected == 0 && !items.contains_key(&item.key)) {
            items.insert(item.key.clone(), item.clone());
        }
        Write {
            item,
            expected,
            now: Timestamp::from_millis(now.as_millis() - i64::from(draft.ago) * 1_000),
            outbox,
            index_changed: index_changed || draft.says_so,
            expiry_changed: expiry_changed || draft.says_so,
        }
    }

    async fn play(&mut self, call: &Call) -> Result<(), TestCaseError> {
        let [memory, local] = self.tables();
        match call {
            Call::Commit(drafts) => {
                let writes = self.writes(drafts).await;
                let both: [Vec<Result<(), CommitError>>; 2] =
                    [memory.commit(writes.clone()).await, local.commit(writes).await];
                same(call, both.map(commits_alike))?;
            }
            Call::Get(keys) => {
                let keys: Vec<String> = keys.iter().map(|key| KEYS[*key].to_owned()).collect();
                same(call, [alike(memory.get(&keys).await), alike(local.get(&keys).await)])?;
            }
            Call::Query { partition, after, before, limit } => {
                let sort =
                    |place: &usize| SORTS.get(*place).map_or(String::new(), |sort| format!("{sort}/2"));
                let query = IndexQuery {
                    partition: PARTITIONS.get(*partition).copied().unwrap_or_default().to_owned(),
                    after: after.as_ref().map(sort),
                    before: before.as_ref().map(sort),
                    limit: *limit,
                };
                let pages = [memory.query(&query).await, local.query(&query).await];
                // Behind a full page there may be more or not: an adapter need not look.
                same(
                    call,
                    pages.map(|page| {
                        alike(page.map(|page| (full(page.items.len(), *limit, page.next), page.items)))
                    }),
                )?;
            }
            Call::Scan(limit) => {
                same(call, [scanned(&*memory, *limit).await, scanned(&*local, *limit).await])?
            }
            Call::Count(partition, at_most) => {
                let partition = PARTITIONS.get(*partition).copied().unwrap_or_default();
                same(
                    call,
                    [
                        alike(memory.count(partition, *at_most).await),
                        alike(local.count(partition, *at_most).await),
                    ],
                )?;
            }
            Call::Read(max) => self.read(*max).await?,
            Call::Checkpoint(at) => {
                if let Some(places) = self.read.get(*at).copied() {
                    let streams =
                        self.both.ports().map(|ports| ports.streams[&self.both.own("flows")].clone());
                    for (stream, place) in streams.iter().zip(places) {
                        stream.checkpoint(place).await.unwrap();
                    }
                    self.read.drain(..=*at);
                }
            }
            Call::Pass(time) => self.both.clock.advance(seconds(*time)),
            Call::Expire => {
                // When an expired item vanishes is an adapter's own affair, within its lag. Here all are gone behind it, and
                // between two such calls less time passes than that.
                self.both.clock.advance(Memory::EXPIRY_LAG + seconds(LIFE_MAX));
                self.both.sweep().await;
            }
            Call::Reopen => {
                drop((memory, local));
                self.both.reopen();
            }
        }
        Ok(())
    }

    /// Reads the stream. A page may be shorter than asked for, but not empty; the numbers of the places are an adapter's own,
    /// and rise.
    async fn read(&mut self, max: usize) -> Result<(), TestCaseError> {
        let streams = self.both.ports().map(|ports| ports.streams[&self.both.own("flows")].clone());
        let [memory, local] = [
            streams[0].read(max, Duration::ZERO).await.unwrap(),
            streams[1].read(max, Duration::ZERO).await.unwrap(),
        ];
        prop_assert!(
            local.len() <= max && local.is_empty() == memory.is_empty(),
            "{max}: {memory:?} {local:?}"
        );
        let told = |record: &StreamRecord| {
            let outbox: Vec<String> =
                record.outbox.as_ref().unwrap().iter().map(|event| without_lines(event.get())).collect();
            (record.key.clone(), record.version, outbox)
        };
        let both = || memory.iter().zip(&local);
        same(
            ("read", max),
            [
                both().map(|(one, _)| told(one)).collect::<Vec<_>>(),
                both().map(|(_, one)| told(one)).collect(),
            ],
        )?;
        for records in [&memory, &local] {
            prop_assert!(records.is_sorted_by(|one, next| one.sequence < next.sequence), "{records:?}");
        }
        self.read = both().map(|(one, other)| [one.sequence, other.sequence]).collect();
        Ok(())
    }
}

/// Space between two words of JSON says nothing.
fn without_lines(event: &str) -> String {
    event.replace('\n', " ")
}

/// Where the next page begins, but for a page that is full.
fn full(count: usize, limit: usize, next: Option<String>) -> Option<String> {
    next.filter(|_| count < limit)
}

/// All items by pages, in the order of their keys: a scan promises none. Where its pages begin is an adapter's own affair.
async fn scanned(table: &dyn Table, limit: usize) -> Result<BTreeMap<String, Item>, String> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page: Result<ScanPage, PortError> = table.scan(after.as_deref(), limit).await;
        let ScanPage { items, next } = alike(page)?;
        assert!(items.len() <= limit, "{} items on a page of {limit}", items.len());
        for item in items {
            let twice = all.insert(item.key.clone(), item);
            assert!(twice.is_none(), "{twice:?} is on two pages");
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

fn check(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let start = |both| Stage { both, written: 0, read: Vec::new() };
    played(start, async |stage| {
        for call in calls {
            stage.play(&call).await?;
        }
        Ok(())
    })
}

#[test]
fn a_page_has_1_to_1000_items() {
    let query = |limit| Call::Query { partition: 0, after: None, before: None, limit };
    check([0, 1_001].into_iter().flat_map(|limit| [query(limit), Call::Scan(limit)]).collect()).unwrap();
}

#[test]
fn a_write_at_a_version_that_does_not_follow_is_refused() {
    let draft = Draft {
        key: 0,
        expected: Expected::Right,
        index: None,
        lives: None,
        ago: 0,
        events: 0,
        says_so: false,
        flaw: Flaw::Version,
    };
    check(vec![Call::Commit(vec![draft]), Call::Get(vec![0])]).unwrap();
}

proptest! {
    #![proptest_config(sequences(100))]

    #[test]
    fn tables_and_their_streams_answer_the_same(calls in vec(call(), 1..25)) {
        check(calls)?;
    }
}
