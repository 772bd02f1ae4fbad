//! `dlq list`: dead letters by queue, reason and handler, and the newest of them.

use super::{letters, print_letter, queues};
use crate::{
    App,
    access::Access,
    args::DlqOptions,
    client::Client,
    error::CommandError,
    print::{Array, Shown, line, shown},
};
use quadrille::{Timestamp, excerpt, operator::Listed};
use std::collections::{BTreeMap, VecDeque};

/// Letters that are shown one by one where nobody says how many.
const SHOWN: usize = 20;

/// What dead letters are told together by: queue, reason, handler.
type GroupKey = (String, String, String);

/// Dead letters of one kind.
#[derive(Clone, Debug)]
struct Group {
    count: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

pub(super) async fn list(app: &App<'_>, options: DlqOptions) -> Result<(), CommandError> {
    let queues = queues(app, &options)?;
    let client = Client::open(app, &options.target, Access::Looks).await?;
    if options.target.json {
        return as_json(&client, &queues, &options).await;
    }
    let most = options.limit.map_or(SHOWN, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // Of each queue the newest, as many as are shown at most.
    let every = DlqOptions { limit: None, ..options.clone() };
    let (mut groups, mut newest) = (BTreeMap::<GroupKey, Group>::new(), Vec::new());
    for queue in &queues {
        let mut latest: VecDeque<Listed> = VecDeque::new();
        letters(&client, queue, &every, |listed| {
            count(&mut groups, queue, &listed);
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

fn count(groups: &mut BTreeMap<GroupKey, Group>, queue: &str, listed: &Listed) {
    let (letter, at) = (&listed.letter, listed.letter.dead_at);
    let key = (queue.to_owned(), letter.reason.clone(), letter.handler.clone());
    let group = groups.entry(key).or_insert(Group { count: 0, oldest: at, newest: at });
    group.count += 1;
    group.oldest = group.oldest.min(at);
    group.newest = group.newest.max(at);
}

fn print_groups(groups: &BTreeMap<GroupKey, Group>) {
    if groups.is_empty() {
        return;
    }
    let width = |name: &str, of: fn(&GroupKey) -> &String| {
        let widest = groups.keys().map(|key| excerpt(of(key), 60).chars().count()).max();
        widest.unwrap_or_default().max(name.len())
    };
    let (queue, reason, by) = ("queue", "reason", "by");
    let (wide, wider, widest) =
        (width(queue, |key| &key.0), width(reason, |key| &key.1), width(by, |key| &key.2));
    let head =
        format!("{:>7}  {queue:wide$}  {reason:wider$}  {by:widest$}  {:24}  newest", "letters", "oldest");
    line(shown(&head, Shown::Dim));
    let mut rows: Vec<(&GroupKey, &Group)> = groups.iter().collect();
    rows.sort_by_key(|(_, group)| std::cmp::Reverse(group.newest));
    for ((queue, reason, by), Group { count, oldest, newest }) in rows {
        let (queue, reason, by) = (excerpt(queue, 60), excerpt(reason, 60), excerpt(by, 60));
        let reason = shown(&format!("{reason:wider$}"), Shown::Bad);
        line(format_args!("{count:>7}  {queue:wide$}  {reason}  {by:widest$}  {oldest}  {newest}"));
    }
    line("");
}

/// All of them as one array, in the order in which they came.
async fn as_json(client: &Client, queues: &[String], options: &DlqOptions) -> Result<(), CommandError> {
    let (mut array, mut failed, mut left) = (Array::new(), None, options.limit);
    for queue in queues {
        let of_queue = DlqOptions { limit: left, ..options.clone() };
        let count = letters(client, queue, &of_queue, |listed| {
            match serde_json::to_value(listed) {
                Ok(mut listed) => {
                    listed["queue"] = queue.as_str().into();
                    array.item(&listed);
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        });
        let count = count.await?;
        left = left.map(|left| left.saturating_sub(count));
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    array.end();
    Ok(())
}
