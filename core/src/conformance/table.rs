//! Scenarios of the table: reads, conditional writes, limits, expiry. The index and the stream have files of their own.

use super::{
    Violation, scenarios,
    stage::{Stage, filled, holds, same, same_ids, together},
};
use crate::{
    failure::Failure,
    limits::{INDEX_SORT_BYTES_MAX, ITEM_BYTES_MAX, KEY_BYTES_MAX},
    port::{CommitError, IndexEntry, IndexQuery, Item, Table, Write},
};
use serde_json::value::RawValue;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A table on which nothing is emitted.
pub(super) const TABLE: &str = "things";
/// The kind of its entities.
pub(super) const KIND: &str = "thing";

scenarios!("table":
    an_item_comes_back_as_it_was_written,
    a_read_keeps_the_order_of_its_keys,
    a_scan_shows_every_item,
    an_insert_needs_an_absent_item,
    a_wrong_version_conflicts,
    one_of_several_commits_at_a_version_wins,
    an_expired_item_is_replaced_by_an_insert,
    writes_of_one_call_fail_alone,
    one_of_two_writes_of_a_key_in_one_call_wins,
    hostile_keys_stay_apart,
    a_key_over_the_limit_is_refused,
    an_item_over_the_limit_is_refused,
    calls_with_nothing_do_nothing,
    an_expired_item_is_deleted needs expiry_within,
);

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Applied,
    Conflict,
    TooLarge,
    Refused { transient: bool },
}

impl Stage<'_> {
    fn key(&self, name: &str) -> String {
        format!("{KIND}/{}-{name}", self.tag)
    }

    fn things(&self) -> Result<&Arc<dyn Table>, Violation> {
        Ok(self.ports.table(TABLE)?)
    }

    /// The first version of an item.
    pub(super) fn insert(&self, key: &str, document: &str) -> Write {
        let item = Item {
            key: key.to_owned(),
            version: 1,
            document: document.into(),
            expires_at: None,
            index: None,
        };
        Write {
            item,
            expected: 0,
            now: self.now(),
            outbox: Vec::new(),
            index_changed: true,
            expiry_changed: true,
        }
    }

    /// The next version of `item`, with its expiry and its index entry left as they are.
    pub(super) fn update(&self, item: &Item, document: &str) -> Write {
        Write {
            item: Item { version: item.version + 1, document: document.into(), ..item.clone() },
            expected: item.version,
            now: self.now(),
            outbox: Vec::new(),
            index_changed: false,
            expiry_changed: false,
        }
    }

    /// Commits and checks that the answers are as expected.
    async fn commit(&self, what: &str, writes: Vec<Write>, expected: &[Answer]) -> Result<(), Violation> {
        same(what, expected, &answers(&**self.things()?, writes).await?)
    }

    /// Commits and checks that every write was applied.
    async fn apply(&self, writes: Vec<Write>) -> Result<(), Violation> {
        applied(&**self.things()?, writes).await
    }

    async fn item(&self, key: &str) -> Result<Option<Item>, Violation> {
        Ok(self.things()?.get(&[key.to_owned()]).await?.into_iter().next().flatten())
    }
}

/// One answer for each write, which is checked.
pub(super) async fn answers(table: &dyn Table, writes: Vec<Write>) -> Result<Vec<Answer>, Violation> {
    let count = writes.len();
    let answers = table.commit(writes).await;
    same("answers of a commit", &count, &answers.len())?;
    let answer = |answer| match answer {
        Ok(()) => Ok(Answer::Applied),
        Err(CommitError::Conflict) => Ok(Answer::Conflict),
        Err(CommitError::TooLarge { bytes }) => {
            holds("the size of an item over the limit is over the limit", bytes > ITEM_BYTES_MAX, bytes)?;
            Ok(Answer::TooLarge)
        }
        Err(CommitError::Port(error)) => Ok(Answer::Refused { transient: error.is_transient() }),
    };
    answers.into_iter().map(answer).collect()
}

/// Commits and checks that every write was applied.
pub(super) async fn applied(table: &dyn Table, writes: Vec<Write>) -> Result<(), Violation> {
    let expected = vec![Answer::Applied; writes.len()];
    same("commits that have to be applied", &expected, &answers(table, writes).await?)
}

async fn an_item_comes_back_as_it_was_written(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = stage.key("whole");
    let entry = |sort: &str| Some(IndexEntry { partition: stage.tag.clone(), sort: sort.to_owned() });
    let mut write = stage.insert(&key, "{\"text\":\"qu\\\"ote, \\u0000, é, 😀\",\"number\":1.50}");
    write.item.expires_at = Some(stage.in_seconds(86_400));
    write.item.index = entry("1");
    let first = write.item.clone();
    stage.apply(vec![write]).await?;
    same("the item inserted", &Some(&first), &stage.item(&key).await?.as_ref())?;

    let kept = stage.update(&first, "[]");
    let second = kept.item.clone();
    stage.apply(vec![kept]).await?;
    same("the item updated, its entry and expiry left", &Some(&second), &stage.item(&key).await?.as_ref())?;

    let mut changed = stage.update(&second, "{}");
    changed.item.expires_at = Some(stage.in_seconds(2 * 86_400));
    changed.item.index = entry("2");
    (changed.index_changed, changed.expiry_changed) = (true, true);
    let third = changed.item.clone();
    stage.apply(vec![changed]).await?;
    same("the item updated with its entry and expiry", &Some(&third), &stage.item(&key).await?.as_ref())?;

    let mut bare = stage.update(&third, "{}");
    (bare.item.expires_at, bare.item.index) = (None, None);
    (bare.index_changed, bare.expiry_changed) = (true, true);
    let fourth = bare.item.clone();
    stage.apply(vec![bare]).await?;
    same("the item without an entry and an expiry", &Some(&fourth), &stage.item(&key).await?.as_ref())
}

async fn a_read_keeps_the_order_of_its_keys(stage: &Stage<'_>) -> Result<(), Violation> {
    let stored: Vec<String> = (0..150).map(|at| stage.key(&format!("stored-{at}"))).collect();
    stage.apply(stored.iter().map(|key| stage.insert(key, "{}")).collect()).await?;
    // Every fifth is missing, every seventh repeats an earlier one.
    let asked: Vec<String> = (0..250)
        .map(|at| match at {
            _ if at % 5 == 4 => stage.key(&format!("missing-{at}")),
            _ if at % 7 == 0 => stored[at % 3].clone(),
            _ => stored[at % stored.len()].clone(),
        })
        .collect();
    let found = stage.things()?.get(&asked).await?;
    let found: Vec<Option<String>> = found.into_iter().map(|item| item.map(|item| item.key)).collect();
    let expected: Vec<Option<String>> =
        asked.into_iter().map(|key| Some(key).filter(|key| stored.contains(key))).collect();
    same("answers of a read", &expected.len(), &found.len())?;
    for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
        same(&format!("answer {at} of a read of 250 keys"), expected, found)?;
    }
    Ok(())
}

async fn a_scan_shows_every_item(stage: &Stage<'_>) -> Result<(), Violation> {
    let writes: Vec<Write> =
        (0..60).map(|at| stage.insert(&stage.key(&format!("scanned-{at}")), "{}")).collect();
    let stored: Vec<Item> = writes.iter().map(|write| write.item.clone()).collect();
    stage.apply(writes).await?;
    let told = |item: &Item| format!("{item:?}");
    for limit in [7, 1_000] {
        let (mut found, mut after): (Vec<Item>, Option<String>) = (Vec::new(), None);
        for page in 0.. {
            let items = stage.things()?.scan(after.as_deref(), limit).await?;
            holds("a page is no longer than its limit", items.items.len() <= limit, items.items.len())?;
            found.extend(items.items);
            after = items.next;
            if after.is_none() {
                break;
            }
            holds("a scan has an end", page < 100_000, page)?;
        }
        found.retain(|item| item.key.contains(&stage.tag));
        let what = format!("items of a scan in pages of {limit}");
        same_ids(&what, stored.iter().map(told), found.iter().map(told))?;
    }
    for place in [String::new(), "x".repeat(KEY_BYTES_MAX + 1)] {
        let refused = stage.things()?.scan(Some(&place), 10).await.map_err(Failure::from);
        let reason = refused.err().map(|failure| failure.reason().to_owned());
        same("a scan from a place that none gave", &Some("invalid_place"), &reason.as_deref())?;
    }
    Ok(())
}

async fn an_insert_needs_an_absent_item(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = stage.key("once");
    let write = stage.insert(&key, "\"first\"");
    let first = write.item.clone();
    stage.apply(vec![write]).await?;
    stage
        .commit("an insert of a present item", vec![stage.insert(&key, "\"second\"")], &[Answer::Conflict])
        .await?;
    same("the item after a refused insert", &Some(&first), &stage.item(&key).await?.as_ref())
}

async fn a_wrong_version_conflicts(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = stage.key("versioned");
    let first = stage.insert(&key, "1");
    let second = stage.update(&first.item, "2");
    let third = stage.update(&second.item, "3");
    let (stale, ahead, current) = (first.item.clone(), third.item.clone(), second.item.clone());
    stage.apply(vec![first]).await?;
    stage.apply(vec![second]).await?;
    for (what, item) in [("a commit at an old version", &stale), ("a commit at a version to come", &ahead)] {
        stage.commit(what, vec![stage.update(item, "\"wrong\"")], &[Answer::Conflict]).await?;
        same("the item after a conflict", &Some(&current), &stage.item(&key).await?.as_ref())?;
    }
    let absent = stage.key("absent");
    let update = stage.update(&Item { key: absent.clone(), ..stale }, "\"wrong\"");
    stage.commit("an update of an absent item", vec![update], &[Answer::Conflict]).await?;
    same("an absent item after a conflict", &None, &stage.item(&absent).await?)
}

async fn one_of_several_commits_at_a_version_wins(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = stage.key("contended");
    let mut current: Option<Item> = None;
    for version in 1..=4 {
        let contend = |contender: usize| {
            let document = format!("\"{version} by {contender}\"");
            let write = match &current {
                None => stage.insert(&key, &document),
                Some(item) => stage.update(item, &document),
            };
            let table = stage.things().cloned();
            async move {
                let item = write.item.clone();
                Ok::<_, Violation>((answers(&*table?, vec![write]).await?, item))
            }
        };
        let contenders: Vec<_> =
            together((0..16).map(contend)).await?.into_iter().collect::<Result<_, _>>()?;
        let winners: Vec<Item> = contenders
            .iter()
            .filter(|(answers, _)| *answers == [Answer::Applied])
            .map(|(_, item)| item.clone())
            .collect();
        let what = format!("winners of 16 commits that make version {version}");
        same(&what, &1, &winners.len())?;
        let losers = contenders.iter().filter(|(answers, _)| *answers == [Answer::Conflict]).count();
        same("losers that are told of a conflict", &15, &losers)?;
        current = stage.item(&key).await?;
        same("the item after the race", &winners.first(), &current.as_ref())?;
    }
    Ok(())
}

async fn an_expired_item_is_replaced_by_an_insert(stage: &Stage<'_>) -> Result<(), Violation> {
    let expiry = stage.in_seconds(3_600);
    for (name, now, expected) in [
        ("not yet", stage.in_seconds(3_599), Answer::Conflict),
        ("just now", expiry, Answer::Applied),
        ("long ago", stage.in_seconds(7_200), Answer::Applied),
    ] {
        let key = stage.key(name);
        let mut old = stage.insert(&key, "\"old\"");
        old.item.expires_at = Some(expiry);
        old.item.index = Some(IndexEntry { partition: stage.tag.clone(), sort: name.to_owned() });
        let second = stage.update(&old.item, "\"old still\"");
        let kept = second.item.clone();
        stage.apply(vec![old]).await?;
        stage.apply(vec![second]).await?;
        // The time of the write is what counts, so that no time has to pass here.
        let new = Write { now, ..stage.insert(&key, "\"new\"") };
        let left = if expected == Answer::Applied { new.item.clone() } else { kept };
        let what = format!("an insert over an item that expired: {name}");
        stage.commit(&what, vec![new], &[expected]).await?;
        same(&format!("the item after {what}"), &Some(&left), &stage.item(&key).await?.as_ref())?;
    }
    Ok(())
}

async fn writes_of_one_call_fail_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = |at: usize| stage.key(&format!("mixed-{at}"));
    let present: Vec<Write> =
        (0..64).filter(|at| at % 4 < 2).map(|at| stage.insert(&key(at), "\"before\"")).collect();
    let items: HashMap<String, Item> =
        present.iter().map(|write| (write.item.key.clone(), write.item.clone())).collect();
    stage.apply(present).await?;
    let large = format!("\"{}\"", "x".repeat(ITEM_BYTES_MAX));
    let (mut writes, mut expected, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..64 {
        let key = key(at);
        let before = items.get(&key);
        let (write, answer) = match (at % 4, before) {
            (0, Some(item)) => (stage.update(item, "\"after\""), Answer::Applied),
            (1, _) => (stage.insert(&key, "\"after\""), Answer::Conflict),
            _ if at % 16 == 7 => (stage.insert(&key, &large), Answer::TooLarge),
            _ => (stage.insert(&key, "\"after\""), Answer::Applied),
        };
        let after = if answer == Answer::Applied { Some(&write.item) } else { before };
        left.push(after.cloned());
        writes.push(write);
        expected.push(answer);
    }
    stage.commit("64 writes of one call, in their order", writes, &expected).await?;
    let keys: Vec<String> = (0..64).map(key).collect();
    let found = stage.things()?.get(&keys).await?;
    for (key, (left, found)) in keys.iter().zip(left.iter().zip(&found)) {
        same(&format!("{key} after 64 writes of one call"), left, found)?;
    }
    Ok(())
}

async fn one_of_two_writes_of_a_key_in_one_call_wins(stage: &Stage<'_>) -> Result<(), Violation> {
    let key = stage.key("twice");
    let mut current: Option<Item> = None;
    for version in 1..=2 {
        let write = |document: &str| match &current {
            None => stage.insert(&key, document),
            Some(item) => stage.update(item, document),
        };
        let mut writes = vec![write("\"one\""), write("\"other\"")];
        let contenders: Vec<Item> = writes.iter().map(|write| write.item.clone()).collect();
        let others = (0..30).map(|at| stage.insert(&stage.key(&format!("beside-{version}-{at}")), "{}"));
        writes.splice(1..1, others);
        let mut answers = answers(&**stage.things()?, writes).await?;
        let (first, last) = (answers.remove(0), answers.pop());
        same("the writes between the two", &vec![Answer::Applied; 30], &answers)?;
        let winner = match (&first, &last) {
            (Answer::Applied, Some(Answer::Conflict)) => &contenders[0],
            (Answer::Conflict, Some(Answer::Applied)) => &contenders[1],
            found => {
                return Err(Violation::differs("two writes of one key", "one applied, one conflict", found));
            }
        };
        current = stage.item(&key).await?;
        same("the item after two writes of one call", &Some(winner), &current.as_ref())?;
    }
    Ok(())
}

async fn hostile_keys_stay_apart(stage: &Stage<'_>) -> Result<(), Violation> {
    let names = [
        "",
        " ",
        "  ",
        "plain",
        "plain ",
        " plain",
        "PLAIN",
        "a/b",
        "a//b",
        "../..",
        "%",
        "_",
        "*",
        "?",
        "#",
        "'",
        "\"",
        "'; DROP TABLE things; --",
        "\\",
        "\\'",
        "${x}",
        "{{x}}",
        "null",
        "0",
        "0.0",
        "\0",
        "nul\0inside",
        "\n",
        "\r\n",
        "\t",
        "\u{1b}[0m",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "日本",
        "😀",
        "\u{202e}rtl",
        "\u{feff}",
        "\u{ffff}",
        "\u{10ffff}",
    ];
    let mut keys: Vec<String> = names.iter().map(|name| stage.key(name)).collect();
    let longest = |filler: &str| {
        let key = stage.key("long-");
        let (count, rest) =
            ((KEY_BYTES_MAX - key.len()) / filler.len(), (KEY_BYTES_MAX - key.len()) % filler.len());
        key + &filler.repeat(count) + &"x".repeat(rest)
    };
    keys.extend([longest("k"), longest("€"), longest("😀")]);
    let writes: Vec<Write> = keys
        .iter()
        .map(|key| stage.insert(key, &serde_json::Value::from(key.as_str()).to_string()))
        .collect();
    let items: Vec<Item> = writes.iter().map(|write| write.item.clone()).collect();
    stage.apply(writes).await?;
    let found = stage.things()?.get(&keys).await?;
    for (item, found) in items.iter().zip(&found) {
        same("the item of a hostile key", &Some(item), &found.as_ref())?;
    }
    let again: Vec<Write> = keys.iter().map(|key| stage.insert(key, "{}")).collect();
    stage.commit("inserts of hostile keys once more", again, &vec![Answer::Conflict; keys.len()]).await
}

async fn a_key_over_the_limit_is_refused(stage: &Stage<'_>) -> Result<(), Violation> {
    let long = filled(stage.key(""), KEY_BYTES_MAX + 1);
    let good = stage.key("good");
    let writes = vec![stage.insert(&long, "{}"), stage.insert("", "{}"), stage.insert(&good, "{}")];
    let refused = Answer::Refused { transient: false };
    let what = "a key of 2,049 bytes, one of 0, and a good one";
    stage.commit(what, writes, &[refused.clone(), refused.clone(), Answer::Applied]).await?;

    let listed = |name: &str, partition: usize, sort: usize| {
        let text = |bytes: usize| filled(stage.tag.clone(), bytes).chars().take(bytes).collect();
        let index = Some(IndexEntry { partition: text(partition), sort: text(sort) });
        let write = stage.insert(&stage.key(name), "{}");
        Write { item: Item { index, ..write.item }, ..write }
    };
    let writes = vec![
        listed("partition-long", KEY_BYTES_MAX + 1, 1),
        listed("partition-none", 0, 1),
        listed("sort-long", 1, INDEX_SORT_BYTES_MAX + 1),
        listed("sort-none", 1, 0),
        listed("longest", KEY_BYTES_MAX, INDEX_SORT_BYTES_MAX),
    ];
    let mut expected = vec![refused; 4];
    expected.push(Answer::Applied);
    stage
        .commit("index entries with keys over the limits, empty ones, and the longest", writes, &expected)
        .await
}

async fn an_item_over_the_limit_is_refused(stage: &Stage<'_>) -> Result<(), Violation> {
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let event = RawValue::from_string(text(ITEM_BYTES_MAX / 2))
        .map_err(|error| Violation::Call { what: "writing an event".to_owned(), error: error.to_string() })?;
    let (large, with_outbox, fits) = (stage.key("large"), stage.key("with-outbox"), stage.key("fits"));
    let mut of_both = stage.insert(&with_outbox, &text(ITEM_BYTES_MAX / 2));
    of_both.outbox = vec![event];
    // Some room for what an adapter stores beside the document.
    let fitting = stage.insert(&fits, &text(ITEM_BYTES_MAX - 4_096));
    let kept = fitting.item.clone();
    let writes = vec![stage.insert(&large, &text(ITEM_BYTES_MAX)), of_both, fitting];
    let expected = [Answer::TooLarge, Answer::TooLarge, Answer::Applied];
    stage.commit("an item too large, one by its outbox, one that fits", writes, &expected).await?;
    let grown = stage.update(&kept, &text(ITEM_BYTES_MAX));
    stage.commit("an update that is too large", vec![grown], &[Answer::TooLarge]).await?;
    same("an item too large is not stored", &None, &stage.item(&large).await?)?;
    same("an item too large by its outbox is not stored", &None, &stage.item(&with_outbox).await?)?;
    same("an item after an update that is too large", &Some(kept), &stage.item(&fits).await?)
}

async fn calls_with_nothing_do_nothing(stage: &Stage<'_>) -> Result<(), Violation> {
    same("a read of no keys", &Vec::new(), &stage.things()?.get(&[]).await?)?;
    stage.commit("a commit of no writes", Vec::new(), &[]).await
}

async fn an_expired_item_is_deleted(stage: &Stage<'_>) -> Result<(), Violation> {
    let (expiring, lasting) = (stage.key("expiring"), stage.key("lasting"));
    let write = |key: &str, sort: &str| {
        let mut write = stage.insert(key, "{}");
        write.item.index = Some(IndexEntry { partition: stage.tag.clone(), sort: sort.to_owned() });
        write
    };
    let (mut short, mut long) = (write(&expiring, "1"), write(&lasting, "2"));
    let within = stage.claims.expiry_within.unwrap_or_default();
    short.item.expires_at = Some(stage.in_seconds(61));
    long.item.expires_at = Some(stage.in_seconds(7_200) + within);
    let (before, kept) = (short.item.clone(), long.item.clone());
    stage.apply(vec![short, long]).await?;
    stage.counts("items of which one will expire", &stage.tag, 2).await?;
    stage.pass(Duration::from_secs(58)).await;
    same("an item shortly before its expiry", &Some(before), &stage.item(&expiring).await?)?;
    stage.pass(Duration::from_secs(3) + within).await;
    let mut patience = stage.patience();
    while stage.item(&expiring).await?.is_some() && patience.wait().await {}
    same("an item once it is to be deleted", &None, &stage.item(&expiring).await?)?;
    same("an item that expires later", &Some(kept), &stage.item(&lasting).await?)?;
    let query = IndexQuery { partition: stage.tag.clone(), after: None, before: None, limit: 10 };
    let mut patience = stage.patience();
    let listed = loop {
        let keys: Vec<String> =
            stage.things()?.query(&query).await?.items.into_iter().map(|item| item.key).collect();
        if keys.len() == 1 || !patience.wait().await {
            break keys;
        }
    };
    same_ids("the index once an item is deleted", [lasting], listed)?;
    stage.counts("the index once an item is deleted", &stage.tag, 1).await?;
    if !stage.claims.readable_stream {
        return Ok(());
    }
    let stream = stage.ports.streams.get(TABLE);
    let removals = match stream {
        Some(stream) => stream.read(1_000, Duration::ZERO).await?,
        None => {
            return Err(Violation::differs("the stream that is claimed to be readable", "a stream", "none"));
        }
    };
    let removals: Vec<String> = removals.into_iter().map(|record| record.key).collect();
    same_ids("records of a removal by expiry", [], removals)
}
