//! Scenarios of the change stream.

use super::{
    Violation, scenarios,
    stage::{Call, Stage, holds, same, together},
    table::{Answer, answers, applied},
};
use crate::{
    limits::ITEM_BYTES_MAX,
    port::{ChangeStream, Damage, Item, StreamRecord, Table, Write},
};
use futures_util::future::join;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A table whose commits emit.
pub(super) const TABLE: &str = "flows";
/// The kind of its entities.
pub(super) const KIND: &str = "flow";

/// More records than any scenario makes.
const MANY: usize = 1_000;

scenarios!("stream":
    a_commit_emits_all_its_events_or_none needs readable_stream,
    a_commit_without_events_does_not_appear needs readable_stream,
    each_entity_keeps_its_order needs readable_stream,
    all_commits_keep_their_order needs ordered_stream,
    reading_again_without_a_checkpoint_gives_the_same needs readable_stream,
    a_checkpoint_moves_on needs readable_stream,
    a_record_that_can_not_be_read_fails_alone needs damaged_records,
    a_read_beside_a_checkpoint_begins_behind_it needs readable_stream,
    a_waiting_read_is_woken_by_a_commit needs readable_stream,
    a_waiting_read_ends_after_its_wait needs readable_stream,
);

/// A record, to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Emitted {
    key: String,
    version: u64,
    events: Vec<String>,
}

/// Asserts what was emitted, in its order. Where keys, versions and ids of events already differ, only they are told.
fn same_emitted(what: &str, expected: &[Emitted], found: &[StreamRecord]) -> Result<(), Violation> {
    let found: Vec<Emitted> = found.iter().map(emitted).collect();
    let id = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap_or_default();
        event["id"].as_str().unwrap_or("no id").to_owned()
    };
    let short = |emitted: &Emitted| {
        let ids: Vec<String> = emitted.events.iter().map(id).collect();
        format!("{} v{} {}", emitted.key, emitted.version, ids.join(" "))
    };
    let (of_expected, of_found): (Vec<String>, Vec<String>) =
        (expected.iter().map(short).collect(), found.iter().map(short).collect());
    same(what, &of_expected, &of_found)?;
    same(what, expected, found.as_slice())
}

fn emitted(record: &StreamRecord) -> Emitted {
    Emitted {
        key: record.key.clone(),
        version: record.version,
        events: record.outbox.iter().flatten().map(|event| event.get().to_owned()).collect(),
    }
}

fn event(id: &str) -> Result<Box<RawValue>, Violation> {
    let text = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"type\":\"conformance.emitted\",\"data\":{{\"text\":\"é \\\"😀\\\" \
         \\u0000\",\"number\":1.50}}}}"
    );
    RawValue::from_string(text)
        .map_err(|error| Violation::Call { what: "writing an event".to_owned(), error: error.to_string() })
}

impl Stage<'_> {
    fn flow(&self, name: &str) -> String {
        format!("{KIND}/{}-{name}", self.tag)
    }

    fn flows(&self) -> Result<&Arc<dyn Table>, Violation> {
        Ok(self.ports.table(TABLE)?)
    }

    fn stream(&self) -> Result<&Arc<dyn ChangeStream>, Violation> {
        let none = || Violation::differs("the stream that is claimed to be readable", "a stream", "none");
        self.ports.streams.get(TABLE).ok_or_else(none)
    }

    /// The first version of a flow, or the one after `item`, that emits `count` events.
    fn emitting(&self, name: &str, item: Option<&Item>, count: usize) -> Result<Write, Violation> {
        let key = self.flow(name);
        let mut write = item.map_or_else(|| self.insert(&key, "{}"), |item| self.update(item, "{}"));
        let id = |at: usize| format!("{}-{name}.{}.{at}", self.tag, write.item.version);
        write.outbox = (0..count).map(|at| event(&id(at))).collect::<Result<_, _>>()?;
        Ok(write)
    }

    /// Passes over whatever earlier scenarios left.
    async fn drain(&self) -> Result<(), Violation> {
        let stream = self.stream()?;
        for _ in 0..MANY {
            match stream.read(MANY, Duration::ZERO).await?.last() {
                Some(last) => stream.checkpoint(last.sequence).await?,
                None => return Ok(()),
            }
        }
        Err(Violation::differs("the stream, drained", "an end", "more and more records"))
    }

    /// The records of this scenario that are not checkpointed, once there are at least `count`.
    async fn records(&self, count: usize) -> Result<Vec<StreamRecord>, Violation> {
        let mut patience = self.patience();
        loop {
            let mut records = self.stream()?.read(MANY, Duration::ZERO).await?;
            records.retain(|record| record.key.contains(&self.tag));
            if records.len() >= count || !patience.wait().await {
                return Ok(records);
            }
        }
    }

    /// All that this scenario emitted. What is committed last has to come, so that what has not come by then, and a
    /// little later, never will.
    async fn all_records(&self) -> Result<Vec<StreamRecord>, Violation> {
        let last = self.flow("last");
        applied(&**self.flows()?, vec![self.emitting("last", None, 1)?]).await?;
        let mut patience = self.patience();
        loop {
            let mut records = self.records(0).await?;
            let is_there = records.iter().any(|record| record.key == last);
            if is_there && self.claims.ordered_stream || !patience.wait().await {
                holds("the last commit is in the stream", is_there, records.len())?;
                records.retain(|record| record.key != last);
                return Ok(records);
            }
        }
    }
}

impl Stage<'_> {
    /// Asserts what is read, at most `max`, once all of `records` up to the place `at` is checkpointed.
    fn is_behind(
        &self,
        what: &str,
        records: &[StreamRecord],
        at: usize,
        max: usize,
        found: &[StreamRecord],
    ) -> Result<(), Violation> {
        let (all, found) = (sequences(records), sequences(found));
        let to = |from: usize| all.len().min(from.saturating_add(max));
        if self.claims.kept_checkpoints {
            return same(what, &all[at + 1..to(at + 1)], found.as_slice());
        }
        // From an earlier place on, perhaps: nothing is left out all the same.
        let is_one_of_them = (0..=(at + 1).min(all.len())).any(|from| all[from..to(from)] == found[..]);
        holds(&format!("{what}, or from an earlier place on"), is_one_of_them, found)
    }
}

fn sequences(records: &[StreamRecord]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

async fn a_commit_emits_all_its_events_or_none(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let flows = stage.flows()?;
    let first = stage.emitting("atomic", None, 3)?;
    let mut expected = vec![emitted_by(&first)];
    let item = first.item.clone();
    applied(&**flows, vec![first]).await?;

    let late = stage.emitting("atomic", None, 2)?;
    let mut large = stage.emitting("large", None, 2)?;
    large.item.document = format!("\"{}\"", "x".repeat(ITEM_BYTES_MAX)).into();
    let found = answers(&**flows, vec![late, large]).await?;
    same("an insert too late and one too large", &vec![Answer::Conflict, Answer::TooLarge], &found)?;

    let contend = |contender: usize| {
        let (flows, write) = (Arc::clone(flows), stage.emitting("atomic", Some(&item), 2));
        let named = event(&format!("{}-contender-{contender}", stage.tag));
        async move {
            let mut write = write?;
            write.outbox.push(named?);
            let emitted = emitted_by(&write);
            Ok::<_, Violation>((answers(&*flows, vec![write]).await?, emitted))
        }
    };
    let contenders: Vec<_> = together((0..8).map(contend)).await?.into_iter().collect::<Result<_, _>>()?;
    expected.extend(
        contenders.into_iter().filter(|(found, _)| *found == [Answer::Applied]).map(|(_, emitted)| emitted),
    );
    let found = stage.all_records().await?;
    same_emitted("what an insert and the winner of 8 updates emitted", &expected, &found)
}

fn emitted_by(write: &Write) -> Emitted {
    Emitted {
        key: write.item.key.clone(),
        version: write.item.version,
        events: write.outbox.iter().map(|event| event.get().to_owned()).collect(),
    }
}

async fn a_commit_without_events_does_not_appear(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let flows = stage.flows()?;
    let silent = stage.emitting("silent", None, 0)?;
    let spoken = stage.emitting("silent", Some(&silent.item), 1)?;
    let silent_again = stage.emitting("silent", Some(&spoken.item), 0)?;
    let expected = vec![emitted_by(&spoken)];
    for write in [silent, spoken, silent_again] {
        applied(&**flows, vec![write]).await?;
    }
    let found = stage.all_records().await?;
    same_emitted("what two silent commits and one between them emitted", &expected, &found)
}

async fn each_entity_keeps_its_order(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut expected: BTreeMap<String, Vec<Emitted>> = BTreeMap::new();
    for _ in 0..6 {
        let mut writes = Vec::new();
        for at in 0..5 {
            let name = format!("ordered-{at}");
            let write = stage.emitting(&name, items.get(&name), 2)?;
            expected.entry(write.item.key.clone()).or_default().push(emitted_by(&write));
            items.insert(name, write.item.clone());
            writes.push(write);
        }
        applied(&**stage.flows()?, writes).await?;
    }
    let mut records: BTreeMap<String, Vec<StreamRecord>> = BTreeMap::new();
    for record in stage.records(30).await? {
        records.entry(record.key.clone()).or_default().push(record);
    }
    for (key, expected) in &expected {
        let of_entity = records.get(key).map_or(&[][..], Vec::as_slice);
        same_emitted(&format!("what {key} emitted"), expected, of_entity)?;
        let sequences = sequences(of_entity);
        holds("sequences rise within an entity", sequences.is_sorted_by(|one, next| one < next), sequences)?;
    }
    same("entities in the stream", &expected.len(), &records.len())
}

async fn all_commits_keep_their_order(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let mut expected = Vec::new();
    for at in 0..20 {
        let write = stage.emitting(&format!("in-turn-{}", at * 7 % 20), None, 1)?;
        expected.push(emitted_by(&write));
        applied(&**stage.flows()?, vec![write]).await?;
    }
    let records = stage.records(20).await?;
    same_emitted("commits of 20 entities, one after the other", &expected, &records)?;
    let sequences = sequences(&records);
    holds("sequences rise over all entities", sequences.is_sorted_by(|one, next| one < next), sequences)
}

/// Commits `count` flows and waits until all of them are in the stream.
async fn emit_many(stage: &Stage<'_>, count: usize) -> Result<Vec<StreamRecord>, Violation> {
    stage.drain().await?;
    let writes =
        (0..count).map(|at| stage.emitting(&format!("many-{at}"), None, 1)).collect::<Result<_, _>>()?;
    applied(&**stage.flows()?, writes).await?;
    let records = stage.records(count).await?;
    same("records in the stream", &count, &records.len())?;
    Ok(records)
}

async fn reading_again_without_a_checkpoint_gives_the_same(stage: &Stage<'_>) -> Result<(), Violation> {
    let records = emit_many(stage, 8).await?;
    for max in [8, 3, 1, MANY] {
        let again = stage.stream()?.read(max, Duration::ZERO).await?;
        let expected = &records[..max.min(records.len())];
        same(&format!("sequences of the first {max} records"), &sequences(expected), &sequences(&again))?;
        let expected: Vec<Emitted> = expected.iter().map(emitted).collect();
        same_emitted(&format!("the first {max} records"), &expected, &again)?;
    }
    Ok(())
}

async fn a_checkpoint_moves_on(stage: &Stage<'_>) -> Result<(), Violation> {
    let records = emit_many(stage, 8).await?;
    let stream = stage.stream()?;
    for (at, record) in records.iter().enumerate() {
        if at % 3 == 2 {
            stream.checkpoint(record.sequence).await?;
            let left = stage.records(records.len() - at - 1).await?;
            stage.is_behind(&format!("what is left behind record {at}"), &records, at, MANY, &left)?;
        }
    }
    stage.drain().await?;
    same("records once all are checkpointed", &0, &stage.records(0).await?.len())?;
    let next = stage.emitting("next", None, 1)?;
    let expected = vec![emitted_by(&next)];
    applied(&**stage.flows()?, vec![next]).await?;
    let found = stage.records(1).await?;
    same_emitted("what is emitted behind a checkpoint", &expected, &found)
}

async fn a_read_beside_a_checkpoint_begins_behind_it(stage: &Stage<'_>) -> Result<(), Violation> {
    let records = emit_many(stage, 8).await?;
    let stream = stage.stream()?;
    for at in [2, 3, 6] {
        let (checkpointed, read) =
            join(stream.checkpoint(records[at].sequence), stream.read(3, Duration::ZERO)).await;
        checkpointed?;
        let what = format!("what is read beside the checkpoint of record {at}");
        stage.is_behind(&what, &records, at, 3, &read?)?;
    }
    Ok(())
}

async fn a_waiting_read_is_woken_by_a_commit(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let stream = Arc::clone(stage.stream()?);
    let reading = Call::begin(async move { stream.read(10, Duration::from_secs(20)).await });
    stage.pass(Duration::from_millis(50)).await;
    let write = stage.emitting("waking", None, 1)?;
    let expected = vec![emitted_by(&write)];
    applied(&**stage.flows()?, vec![write]).await?;
    let records = stage.woken("a read that waits while something is committed", reading).await??;
    same_emitted("what a waiting read answers", &expected, &records)
}

async fn a_waiting_read_ends_after_its_wait(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let (stream, clock, wait) =
        (Arc::clone(stage.stream()?), Arc::clone(&stage.ports.clock), Duration::from_secs(2));
    let begun = stage.now();
    let reading = Call::begin(async move { (stream.read(10, wait).await, clock.now()) });
    let time = wait * 2 + stage.claims.lateness;
    let (records, ended) = stage.answered("a read that waits for nothing", reading, time).await?;
    same("records of a read that waited for nothing", &0, &records?.len())?;
    holds("a read waits as long as it was told to", ended.since(begun) >= wait, ended.since(begun))
}

async fn a_record_that_can_not_be_read_fails_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.drain().await?;
    let names = ["one", "two", "three"];
    let writes: Vec<Write> =
        names.iter().map(|name| stage.emitting(name, None, 2)).collect::<Result<_, _>>()?;
    // In one call, as what is written together may lie together.
    applied(&**stage.flows()?, writes).await?;
    stage.damage(Damage::Record { table: TABLE, key: &stage.flow("two") }).await?;
    // Of three entities, in any order.
    let told = |record: &StreamRecord| (record.key.clone(), record.outbox.as_ref().map_or(0, Vec::len));
    let expected: BTreeMap<String, usize> =
        names.iter().map(|name| (stage.flow(name), if *name == "two" { 0 } else { 2 })).collect();
    let records = stage.stream()?.read(MANY, Duration::ZERO).await?;
    same("records", &expected.len(), &records.len())?;
    same("how many events each holds", &expected, &records.iter().map(told).collect())?;
    let rises = records.windows(2).all(|two| two[0].sequence < two[1].sequence);
    holds("their places rise", rises, &records)?;
    // It is passed over like the others.
    for (at, record) in records.iter().enumerate() {
        stage.stream()?.checkpoint(record.sequence).await?;
        let left = stage.stream()?.read(MANY, Duration::ZERO).await?;
        stage.is_behind("records behind a checkpoint", &records, at, MANY, &left)?;
        let found: Vec<_> = left.iter().map(told).collect();
        let is_known = found.iter().all(|(key, count)| expected.get(key) == Some(count));
        holds("a record behind a checkpoint has as many events as before", is_known, found)?;
    }
    Ok(())
}
