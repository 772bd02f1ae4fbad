//! Batches of entries that succeed or fail alone, as SQS, SNS and EventBridge take them.

use super::fault::{CONCURRENCY, Pace, answered};
use crate::port::{NewMessage, PortError};
use futures_util::{StreamExt as _, stream};
use std::future::Future;

/// Most entries of a batch (SQS, SNS and EventBridge).
pub(super) const ENTRIES_MAX: usize = 10;

/// An entry that a batch did not take.
pub(super) struct Refused {
    /// Its place in the batch, or what the service calls so.
    pub(super) at: Option<usize>,
    pub(super) error: PortError,
}

impl Refused {
    /// From what the service tells of an entry; `id` is its place in the batch.
    pub(super) fn new(port: &str, id: &str, code: &str, message: Option<&str>, is_ours: bool) -> Self {
        let error = answered(port, code, message);
        // Throttling is told as the sender's fault too, so that the code has to be a known one as well.
        let error = if is_ours { error } else { PortError::transient(port, error) };
        Self { at: id.parse().ok(), error }
    }
}

/// One kind of batch.
pub(super) trait Batch: Sync {
    /// What it holds.
    type Entry: Send + Sync;

    /// Sends one batch; an entry's id is its place in it. Answers what was not taken.
    fn send(
        &self,
        entries: &[(usize, Self::Entry)],
    ) -> impl Future<Output = Result<Vec<Refused>, PortError>> + Send;
}

/// Sends messages, each on its own, in batches of at most `bytes_max` bytes; answers in their order. `entry` makes of a message
/// what the service takes, or refuses it.
pub(super) async fn send_messages<B: Batch>(
    batch: &B,
    pace: &Pace,
    messages: Vec<NewMessage>,
    bytes_max: usize,
    entry: impl Fn(NewMessage) -> Result<B::Entry, PortError>,
) -> Vec<Result<(), PortError>> {
    let mut answers = Vec::with_capacity(messages.len());
    let mut entries = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let bytes = message.bytes();
        answers.push(entry(message).map(|entry| entries.push((at, bytes, entry))));
    }
    for (at, error) in send(batch, pace, batches(entries, bytes_max)).await {
        answers[at] = Err(error);
    }
    answers
}

/// Sends batches, several at a time, and what of a batch may still be taken again. Answers what was not taken, by the
/// place that stands beside each entry.
pub(super) async fn send<B: Batch>(
    batch: &B,
    pace: &Pace,
    batches: Vec<Vec<(usize, B::Entry)>>,
) -> Vec<(usize, PortError)> {
    let sent = stream::iter(batches).map(|entries| send_one(batch, pace, entries));
    sent.buffer_unordered(CONCURRENCY).concat().await
}

async fn send_one<B: Batch>(
    batch: &B,
    pace: &Pace,
    mut entries: Vec<(usize, B::Entry)>,
) -> Vec<(usize, PortError)> {
    let mut given_up = Vec::new();
    let mut attempt = 1;
    loop {
        let refused = match batch.send(&entries).await {
            Ok(refused) => refused,
            Err(error) => {
                given_up.extend(entries.iter().map(|(place, _)| (*place, error.clone())));
                return given_up;
            }
        };
        let mut errors: Vec<Option<PortError>> = entries.iter().map(|_| None).collect();
        for Refused { at, error } in refused {
            match at.and_then(|at| errors.get_mut(at)) {
                Some(place) => *place = Some(error),
                // Which one it means can't be told: none of them counts as taken.
                None => errors.iter_mut().for_each(|place| *place = Some(error.clone())),
            }
        }
        let mut again = Vec::new();
        for ((place, entry), error) in entries.into_iter().zip(errors) {
            match error {
                None => {}
                Some(error) if error.is_transient() => again.push(((place, entry), error)),
                Some(error) => given_up.push((place, error)),
            }
        }
        if again.is_empty() || !pace.next(attempt).await {
            given_up.extend(again.into_iter().map(|((place, _), error)| (place, error)));
            return given_up;
        }
        attempt += 1;
        entries = again.into_iter().map(|(entry, _)| entry).collect();
    }
}

/// Splits entries into batches of at most [`ENTRIES_MAX`] entries and `bytes_max` bytes.
pub(super) fn batches<E>(
    entries: impl IntoIterator<Item = (usize, usize, E)>,
    bytes_max: usize,
) -> Vec<Vec<(usize, E)>> {
    let mut batches: Vec<Vec<(usize, E)>> = Vec::new();
    let mut filled = 0;
    for (place, bytes, entry) in entries {
        match batches.last_mut() {
            Some(batch) if batch.len() < ENTRIES_MAX && filled + bytes <= bytes_max => {
                filled += bytes;
                batch.push((place, entry));
            }
            _ => {
                filled = bytes;
                batches.push(vec![(place, entry)]);
            }
        }
    }
    batches
}
