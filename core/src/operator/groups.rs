//! Dead letters counted by what they have in common, a page at a time.

use super::{DeadLetterPage, Filter, PAGE_MAX, dead_letters};
use crate::{failure::Failure, pipeline::Pipeline, timestamp::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Most groups of a page: who writes reasons of their own into each letter gets no group for each.
const GROUPS_MAX: usize = 200;

/// The reason of what is in no group of its own.
const OTHERS: &str = "others";

/// How long ago a letter was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterAge {
    /// Less than an hour.
    UnderAnHour,
    /// An hour or more, and less than a day.
    UnderADay,
    /// A day or more.
    Older,
}

impl LetterAge {
    /// The age at `now` of what was given up at `dead_at`. What lies ahead, by another clock, is of the youngest.
    pub fn at(now: Timestamp, dead_at: Timestamp) -> Self {
        match now.since(dead_at) {
            age if age < HOUR => Self::UnderAnHour,
            age if age < DAY => Self::UnderADay,
            _ => Self::Older,
        }
    }
}

/// Letters counted by their age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterAges {
    /// Given up less than an hour ago.
    pub under_an_hour: u64,
    /// Given up an hour ago or more, and less than a day ago.
    pub under_a_day: u64,
    /// Given up a day ago or more.
    pub older: u64,
}

impl LetterAges {
    /// Counts one more.
    pub fn add(&mut self, age: LetterAge) {
        *match age {
            LetterAge::UnderAnHour => &mut self.under_an_hour,
            LetterAge::UnderADay => &mut self.under_a_day,
            LetterAge::Older => &mut self.older,
        } += 1;
    }
}

/// Dead letters of one reason that one handler gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterGroup {
    /// Why they are there.
    pub reason: String,
    /// The handler that gave them up.
    pub handler: String,
    /// They are an end of business.
    pub is_end: bool,
    /// How many.
    pub count: u64,
    /// How many of which age. All are 0 where an engine answers that is older than this field.
    #[serde(default)]
    pub ages: LetterAges,
    /// When the first of them was given up.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
    /// When the queue drops the first of them.
    pub deadline: Timestamp,
}

/// The groups of a page of dead letters. Those of all pages are to be added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LetterGroups {
    /// The groups, in no order.
    pub groups: Vec<LetterGroup>,
    /// Letters that were looked at.
    pub looked_at: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
    /// As of a [`DeadLetterPage`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

/// The groups of the dead letters of `queue` from place `after` on; looks at 500 at most.
///
/// # Errors
/// As [`dead_letters`].
pub async fn dead_letter_groups(
    pipeline: &Pipeline,
    queue: &str,
    after: u64,
) -> Result<LetterGroups, Failure> {
    let page = dead_letters(pipeline, queue, &Filter::default(), after, PAGE_MAX).await?;
    let DeadLetterPage { letters, next, held } = page;
    let now = pipeline.ports().clock.now();
    let looked_at = letters.len() as u64;
    let mut groups: BTreeMap<(String, String, bool), LetterGroup> = BTreeMap::new();
    for listed in letters {
        let deadline = listed.deadline.unwrap_or(Timestamp::MAX);
        let (reason, handler, is_end) = (listed.letter.reason, listed.letter.handler, listed.is_end);
        let at = listed.letter.dead_at;
        let key = (reason, handler, is_end);
        let is_known = groups.contains_key(&key) || groups.len() < GROUPS_MAX;
        let key = if is_known { key } else { (OTHERS.to_owned(), String::new(), false) };
        let group = groups.entry(key).or_insert_with_key(|(reason, handler, is_end)| LetterGroup {
            reason: reason.clone(),
            handler: handler.clone(),
            is_end: *is_end,
            count: 0,
            ages: LetterAges::default(),
            first: at,
            last: at,
            deadline,
        });
        group.count += 1;
        group.ages.add(LetterAge::at(now, at));
        group.first = group.first.min(at);
        group.last = group.last.max(at);
        group.deadline = group.deadline.min(deadline);
    }
    Ok(LetterGroups { groups: groups.into_values().collect(), looked_at, next, held })
}
