//! `dlq list`: dead letters by queue, reason, handler and age, and the newest of them.

use super::{letters, print_letter, queues};
use crate::{
    App,
    access::Access,
    args::{DlqList, DlqOptions},
    client::Client,
    error::CommandError,
    print::{Array, Shown, line},
    table::{Cell, Csv, Format, Table},
};
use quadrille::{
    Timestamp,
    operator::{LetterAge, LetterAges, Listed},
    port::{Clock as _, SystemClock},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Letters that are shown one by one where nobody says how many.
const SHOWN: usize = 20;

/// What dead letters are told together by: queue, reason, handler.
type GroupKey = (String, String, String);

/// Dead letters of one kind.
#[derive(Clone, Debug)]
struct Group {
    count: u64,
    ages: LetterAges,
    oldest: Timestamp,
    newest: Timestamp,
}

pub(super) async fn list(app: &App<'_>, args: DlqList) -> Result<(), CommandError> {
    let DlqList { options, output } = args;
    let queues = queues(app, &options)?;
    let client = Client::open(app, &options.target, Access::Looks).await?;
    let now = now(&client).await?;
    match output.format(options.target.json) {
        Format::Json => return as_json(&client, &queues, &options, now).await,
        Format::Csv => return as_csv(&client, &queues, &options, now).await,
        Format::Table => {}
    }
    let most = options.limit.map_or(SHOWN, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // Of each queue the newest, as many as are shown at most.
    let every = DlqOptions { limit: None, ..options.clone() };
    let (mut groups, mut newest) = (BTreeMap::<GroupKey, Group>::new(), Vec::new());
    for queue in &queues {
        let mut latest: VecDeque<Listed> = VecDeque::new();
        letters(&client, queue, &every, |listed| {
            count(&mut groups, queue, &listed, now);
            latest.push_back(listed);
            if latest.len() > most {
                latest.pop_front();
            }
            true
        })
        .await?;
        newest.extend(latest.into_iter().map(|listed| (queue.as_str(), listed)));
    }
    print_groups(&groups);
    newest.sort_by_key(|(_, listed)| std::cmp::Reverse(listed.letter.dead_at));
    let all: u64 = groups.values().map(|group| group.count).sum();
    for (_, listed) in newest.iter().take(most) {
        print_letter(listed);
    }
    let left = all.saturating_sub(most as u64);
    if left > 0 {
        line(format_args!("… and {left} older: --limit says how many are shown"));
    }
    line(match &queues[..] {
        [alone] => format!("{all} dead letter(s) in {alone}"),
        all_queues => format!("{all} dead letter(s) in {} queues", all_queues.len()),
    });
    Ok(())
}

/// The time by the clock that the letters' times are of: the engine's, where one tells it.
pub(super) async fn now(client: &Client) -> Result<Timestamp, CommandError> {
    #[derive(Deserialize)]
    struct Told {
        now: Option<Timestamp>,
    }
    let Told { now } = client.get("/_quadrille/system").await?;
    Ok(now.unwrap_or_else(|| SystemClock.now()))
}

fn count(groups: &mut BTreeMap<GroupKey, Group>, queue: &str, listed: &Listed, now: Timestamp) {
    let (letter, at) = (&listed.letter, listed.letter.dead_at);
    let key = (queue.to_owned(), letter.reason.clone(), letter.handler.clone());
    let ages = LetterAges::default();
    let group = groups.entry(key).or_insert(Group { count: 0, ages, oldest: at, newest: at });
    group.count += 1;
    group.ages.add(LetterAge::at(now, at));
    group.oldest = group.oldest.min(at);
    group.newest = group.newest.max(at);
}

fn print_groups(groups: &BTreeMap<GroupKey, Group>) {
    if groups.is_empty() {
        return;
    }
    let mut rows: Vec<(&GroupKey, &Group)> = groups.iter().collect();
    rows.sort_by_key(|(_, group)| std::cmp::Reverse(group.newest));
    let mut table =
        Table::new(["letters", "queue", "reason", "by", "< 1 h", "< 1 day", "older", "oldest", "newest"]);
    for ((queue, reason, by), Group { count, ages, oldest, newest }) in rows {
        let ages = [ages.under_an_hour, ages.under_a_day, ages.older].map(Cell::number);
        let reason = Cell::text(reason).shown(Shown::Bad);
        let times = [oldest, newest].map(|at| Cell::text(at.to_string()));
        let told = [Cell::number(count), Cell::text(queue), reason, Cell::text(by)];
        table.row(told.into_iter().chain(ages).chain(times));
    }
    table.print();
    line("");
}

/// A letter as scripts read it.
pub(super) fn to_json(queue: &str, listed: &Listed, now: Timestamp) -> Result<Value, CommandError> {
    let mut whole = serde_json::to_value(listed)?;
    whole["queue"] = queue.into();
    whole["age"] = serde_json::to_value(LetterAge::at(now, listed.letter.dead_at))?;
    Ok(whole)
}

/// All of them as one array, in the order in which they came.
async fn as_json(
    client: &Client,
    queues: &[String],
    options: &DlqOptions,
    now: Timestamp,
) -> Result<(), CommandError> {
    let mut array = Array::new();
    each(client, queues, options, |queue, listed| {
        array.item(&to_json(queue, &listed, now)?);
        Ok(())
    })
    .await?;
    array.end();
    Ok(())
}

/// The same as CSV.
async fn as_csv(
    client: &Client,
    queues: &[String],
    options: &DlqOptions,
    now: Timestamp,
) -> Result<(), CommandError> {
    let head = [
        "queue",
        "id",
        "reason",
        "detail",
        "handler",
        "subject",
        "attempts",
        "first_seen",
        "dead_at",
        "is_end",
        "age",
    ];
    let mut csv = Csv::begin(&head)?;
    each(client, queues, options, |queue, Listed { id, letter, is_end, .. }| {
        let subject = letter.subject.as_deref().unwrap_or_default();
        let (attempts, is_end) = (letter.attempts.to_string(), is_end.to_string());
        let (first, dead) = (letter.first_seen.to_string(), letter.dead_at.to_string());
        let age = serde_json::to_value(LetterAge::at(now, letter.dead_at))?;
        let age = age.as_str().unwrap_or_default();
        let why = [&letter.reason, &letter.detail, &letter.handler].map(String::as_str);
        let row =
            [queue, &id].into_iter().chain(why).chain([subject, &attempts, &first, &dead, &is_end, age]);
        csv.row(row)
    })
    .await
}

/// Calls `act` with all of them, until it fails.
async fn each(
    client: &Client,
    queues: &[String],
    options: &DlqOptions,
    mut act: impl FnMut(&str, Listed) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut left = options.limit;
    for queue in queues {
        let (of_queue, mut failed) = (DlqOptions { limit: left, ..options.clone() }, None);
        let count = letters(client, queue, &of_queue, |listed| {
            failed = act(queue, listed).err();
            failed.is_none()
        });
        let count = count.await?;
        if let Some(error) = failed {
            return Err(error);
        }
        left = left.map(|left| left.saturating_sub(count));
    }
    Ok(())
}
