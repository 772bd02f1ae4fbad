//! A batch in work, its messages, and their turns.

use super::verdict::Verdict;
use crate::{
    context::About, event::Envelope, failure::Failure, handler::Decoded, port::Message, timestamp::Timestamp,
};
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// A message in work.
pub(super) struct Work<'a> {
    pub(super) message: &'a Message,
    /// None where it can't be read.
    pub(super) envelope: Option<Envelope<Box<RawValue>>>,
}

/// A message whose verdict is known.
pub(super) struct Worked<'a> {
    pub(super) work: Work<'a>,
    pub(super) verdict: Verdict,
    /// What its handler did, where somebody looks on.
    pub(super) note: Option<String>,
}

/// A batch in work.
pub(super) struct Batch<'a> {
    pub(super) works: Vec<Work<'a>>,
    /// What is to become of those that have not failed.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) failed: Vec<(usize, Failure)>,
    /// Those of the failed, by their place, of which the trail tells already.
    pub(super) told: HashSet<usize>,
    /// Those of the failed whose commit may be applied, and is of another entity than the event's: its key.
    pub(super) elsewhere: HashMap<usize, String>,
    /// Those of the failed of which nobody could find out whether they are done.
    pub(super) open: HashSet<usize>,
    pub(super) notes: Vec<Option<String>>,
    /// When the step's timeout, which is for the whole batch, is over.
    pub(super) end: Timestamp,
}

impl Batch<'_> {
    /// An empty one, with room for `count` messages.
    pub(super) fn of(count: usize, end: Timestamp) -> Self {
        Self {
            works: Vec::with_capacity(count),
            verdicts: vec![Verdict::Done; count],
            failed: Vec::new(),
            told: HashSet::new(),
            elsewhere: HashMap::new(),
            open: HashSet::new(),
            notes: vec![None; count],
            end,
        }
    }

    /// All these fail for one cause.
    pub(super) fn fail(&mut self, tasks: impl IntoIterator<Item = Task>, failure: &Failure) {
        self.failed.extend(tasks.into_iter().map(|task| (task.at, failure.clone())));
    }

    /// One is done, though it seemed to have failed.
    pub(super) fn is_done(&mut self, at: usize) {
        self.failed.retain(|(failed, _)| *failed != at);
    }

    /// One was given up before for this failure, and its trail tells of it.
    pub(super) fn was_given_up(&mut self, at: usize, failure: Failure) {
        self.is_done(at);
        self.failed.push((at, failure));
        self.told.insert(at);
    }

    pub(super) fn envelope(&self, at: usize) -> Option<&Envelope<Box<RawValue>>> {
        self.works.get(at)?.envelope.as_ref()
    }
}

/// A message that was decoded and waits for its turn.
pub(super) struct Task {
    pub(super) at: usize,
    pub(super) decoded: Decoded,
    pub(super) about: Arc<About>,
    pub(super) races: u32,
}

/// Takes the tasks that can be worked together: no two of one entity, in their order.
pub(super) fn next_round(tasks: &mut VecDeque<Task>) -> Vec<Task> {
    let mut keys: HashSet<&str> = HashSet::with_capacity(tasks.len());
    let is_first = tasks.iter().map(|task| task.decoded.key.as_ref().is_none_or(|key| keys.insert(key)));
    let is_first: Vec<bool> = is_first.collect();
    let mut round = Vec::with_capacity(tasks.len());
    let mut left = VecDeque::new();
    for (task, is_first) in tasks.drain(..).zip(is_first) {
        if is_first {
            round.push(task);
        } else {
            left.push_back(task);
        }
    }
    *tasks = left;
    round
}
