//! Batches of entries that succeed or fail alone, as SQS, SNS and EventBridge take them.

use super::fault::{CONCURRENCY, Pace, answered};
use crate::port::{NewMessage, PortError};
use futures_util::{StreamExt as _, stream};
use std::future::Future;

/// Most entries of a batch (SQS, SNS and EventBridge).
pub(super) const ENTRIES_MAX: usize = 10;

/// What became of each entry of a batch, in their order.
pub(super) type Answers = Vec<Result<(), PortError>>;

/// What a service tells of an entry that it did not take. The id of an entry is its place in the batch.
pub(super) struct Refused<'a> {
    pub(super) id: &'a str,
    pub(super) code: &'a str,
    pub(super) message: Option<&'a str>,
    /// Whether it says that the fault is the sender's.
    pub(super) is_ours: bool,
}

/// The answers of a batch of `count` entries, by the ids of those that were taken and by those that were refused. An entry that
/// is in neither list was not taken.
pub(super) fn answers<'a>(
    port: &str,
    count: usize,
    taken: impl IntoIterator<Item = &'a str>,
    refused: impl IntoIterator<Item = Refused<'a>>,
) -> Answers {
    let unconfirmed = || Err(PortError::transient(port, "the answer to a batch does not tell of an entry"));
    let mut answers: Answers = (0..count).map(|_| unconfirmed()).collect();
    let place = |id: &str| id.parse().ok().filter(|at| *at < count);
    taken.into_iter().filter_map(place).for_each(|at: usize| answers[at] = Ok(()));
    for Refused { id, code, message, is_ours } in refused {
        let error = answered(port, code, message);
        // Throttling is told as the sender's fault too, so that the code has to be a known one as well.
        let error = if is_ours { error } else { PortError::transient(port, error) };
        if let Some(at) = place(id) {
            answers[at] = Err(error);
        }
    }
    answers
}

/// One kind of batch.
pub(super) trait Batch: Sync {
    /// What it holds.
    type Entry: Send + Sync;

    /// Sends one batch; an entry's id is its place in it. Answers what became of each, or the error of the call.
    fn send(
        &self,
        entries: &[(usize, Self::Entry)],
    ) -> impl Future<Output = Result<Answers, PortError>> + Send;
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

/// Sends one batch, and what of it may still be taken again. One that is refused whole for good is cut in two: what is wrong
/// with an entry must not take the others with it.
async fn send_one<B: Batch>(
    batch: &B,
    pace: &Pace,
    entries: Vec<(usize, B::Entry)>,
) -> Vec<(usize, PortError)> {
    let mut given_up = Vec::new();
    let mut parts = vec![entries];
    while let Some(mut entries) = parts.pop() {
        let mut attempt = 1;
        loop {
            let answers = match batch.send(&entries).await {
                Ok(answers) => answers,
                Err(error) if !error.is_transient() && entries.len() > 1 => {
                    let rest = entries.split_off(entries.len() / 2);
                    parts.extend([rest, entries]);
                    break;
                }
                Err(error) => {
                    given_up.extend(entries.iter().map(|(place, _)| (*place, error.clone())));
                    break;
                }
            };
            let mut again = Vec::new();
            for ((place, entry), answer) in entries.into_iter().zip(answers) {
                match answer {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => again.push(((place, entry), error)),
                    Err(error) => given_up.push((place, error)),
                }
            }
            if again.is_empty() || !pace.next(attempt).await {
                given_up.extend(again.into_iter().map(|((place, _), error)| (place, error)));
                break;
            }
            attempt += 1;
            entries = again.into_iter().map(|(entry, _)| entry).collect();
        }
    }
    given_up
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
