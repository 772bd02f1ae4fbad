//! What an entity's trail tells of a message's end: it is done, or given up. Never both.
//!
//! The commit with which a message is done names its event in the trail, and so does the one that tells why it is given up. Both
//! are conditional, so that one of the two wins, also where an answer is lost or a process dies behind its commit.

use super::{
    Pipeline,
    admit::kept,
    batch::{Batch, Work},
    observe::known_by,
    verdict::{is_business_end, is_given_up},
};
use crate::{
    commit::Pending,
    context::{About, NotCommitted},
    dead_letter::{DeadLetter, Redriven},
    event::Envelope,
    failure::Failure,
    history::History,
    limits::COMMIT_RACES_MAX,
    model::StepModel,
    port::{Item, stable_hash},
    timestamp::Timestamp,
    trail::TrailEntryKind,
};
use serde_json::value::RawValue;
use std::{collections::HashSet, sync::Arc};

/// A message that is about to be given up.
struct Note {
    /// Its place in the batch.
    at: usize,
    /// The entity that its event is told to.
    key: String,
    /// The entity that it may have committed, where that is another one.
    elsewhere: Option<String>,
    failure: Failure,
}

impl Pipeline {
    /// Makes sure of each message that is about to be given up that it is not done, and writes into its entity's trail why it is
    /// given up, where that does not tell of it yet. Where nobody can find out, the message stays.
    pub(super) async fn note_failures(&self, step: &StepModel, batch: &mut Batch<'_>) {
        let mut left = notes(step, batch);
        for _ in 0..COMMIT_RACES_MAX {
            if left.is_empty() {
                return;
            }
            let elsewhere = left.iter().filter_map(|note| note.elsewhere.as_ref());
            let items = match self
                .load(left.iter().map(|note| &note.key).chain(elsewhere).cloned().collect())
                .await
            {
                Ok(items) => items,
                // There is no table to tell.
                Err(failure) if failure.is_permanent() => return,
                Err(_) => continue,
            };
            left = self.note_all(step, left, &items, batch).await;
        }
        for Note { at, key, .. } in left {
            let (correlation_id, trace) = known_by(batch.envelope(at));
            tracing::warn!(
                key,
                correlation_id,
                trace_id = trace,
                "it can't be told whether a message is done; it is not given up now"
            );
            batch.open.insert(at);
        }
    }

    /// One look at the entities, and one commit of each. Returns what has to be looked at again.
    async fn note_all(
        &self,
        step: &StepModel,
        left: Vec<Note>,
        items: &[Option<Item>],
        batch: &mut Batch<'_>,
    ) -> Vec<Note> {
        let (now, mut seen) = (self.ports.clock.now(), HashSet::new());
        let (items, elsewhere) = items.split_at(left.len().min(items.len()));
        let mut elsewhere = elsewhere.iter();
        let (mut commits, mut committing, mut later) = (Vec::new(), Vec::new(), Vec::new());
        for (note, item) in left.into_iter().zip(items) {
            let work = &batch.works[note.at];
            let other = note.elsewhere.as_ref().and_then(|_| elsewhere.next()?.as_ref());
            // A later entity of the same id has nothing to do with it.
            let item = item.as_ref().filter(|item| same_entity(item, work.envelope.as_ref(), now));
            match [other, item].into_iter().flatten().find_map(|item| ended(step, item, work)) {
                Some(Ended::Done) => batch.is_done(note.at),
                Some(Ended::GivenUp(failure)) => batch.was_given_up(note.at, failure),
                None => {
                    let Some(item) = item else { continue };
                    if !seen.insert(note.key.clone()) {
                        later.push(note);
                        continue;
                    }
                    let data = work.envelope.as_ref().map_or("", |envelope| envelope.data.get());
                    let input = kept(self.choreography.model(), data.as_bytes());
                    let (attempt, redriven) = (work.message.receive_count, Redriven::of(work.message));
                    let about = About { attempt, input, redriven, ..About::default() };
                    if let Some(commit) = noted(step, item, &note.failure, &about, work) {
                        commits.push(commit);
                        committing.push(note);
                    }
                }
            }
        }
        let outcomes = self.commit(step, commits).await;
        for (note, outcome) in committing.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(NotCommitted::Failed(failure)) if failure.is_permanent() => {
                    let (correlation_id, trace) = known_by(batch.envelope(note.at));
                    tracing::warn!(key = %note.key, correlation_id, trace_id = trace, %failure, "the trail could not be told of a dead letter");
                }
                Err(_) => later.push(note),
            }
        }
        later
    }
}

/// The messages of a batch that are about to be given up, and whose trails do not tell of it.
fn notes(step: &StepModel, batch: &Batch<'_>) -> Vec<Note> {
    let Some(kind) = step.entity_kind.as_deref() else { return Vec::new() };
    let untold = batch.failed.iter().filter(|(at, failure)| {
        !batch.told.contains(at) && is_given_up(step, batch.works[*at].message.receive_count, failure)
    });
    let note = |(at, failure): &(usize, Failure)| {
        let key = format!("{kind}/{}", batch.envelope(*at)?.subject);
        Some(Note { at: *at, key, elsewhere: batch.elsewhere.get(at).cloned(), failure: failure.clone() })
    };
    untold.filter_map(note).collect()
}

/// The commit that writes into an entity's trail why its message is given up; `None` where the entity can't be read.
pub(super) fn noted(
    step: &StepModel,
    item: &Item,
    failure: &Failure,
    about: &About,
    work: &Work<'_>,
) -> Option<(Pending, Arc<About>)> {
    let is_end = is_business_end(step, failure);
    let pending = if is_end { Pending::ended(item, failure) } else { Pending::dead_lettered(item, failure) };
    let pending = pending.ok()?.ending(life(work));
    // Whose flow it is, the entity knows itself.
    let About { attempt, input, called_at, redriven, .. } = about.clone();
    Some((pending, Arc::new(About { attempt, input, called_at, redriven, ..About::default() })))
}

/// How an event ended at a step.
pub(super) enum Ended {
    /// The commit of its handler is applied.
    Done,
    /// It was given up for this failure, since its message was last redriven.
    GivenUp(Failure),
}

/// How a trail says that an event ended at a step; `None` where it does not tell of it, or no longer.
pub(super) fn ended(step: &StepModel, item: &Item, work: &Work<'_>) -> Option<Ended> {
    let (done, given_up) = (number(work.envelope.as_ref())?, life(work)?);
    // Most tell of no end, and are not read for that.
    let tells = |text: &&str| [done, given_up].iter().any(|event| text.contains(&format!("\"of\":{event}")));
    item.document.text().ok().filter(tells)?;
    let (_, history) = History::read::<&RawValue>(item).ok()?;
    let mut entries = history.trail.read().entries.iter().rev().filter(|entry| entry.handler == step.name);
    entries.find_map(|entry| match &entry.kind {
        TrailEntryKind::Committed => (entry.event == Some(done)).then_some(Ended::Done),
        TrailEntryKind::DeadLettered { reason } | TrailEntryKind::Ended { reason } => {
            let detail = format_args!("given up at attempt {}, and received again", entry.attempt);
            let failure = || Failure::permanent(reason.clone(), detail);
            // One that was sent later, and received no more often, is another message: somebody has sent the event again.
            let is_another = work.message.receive_count <= entry.attempt && work.message.sent_at > entry.at;
            (entry.event == Some(given_up) && !is_another).then(|| Ended::GivenUp(failure()))
        }
    })
}

/// The number that an event's id makes, by which a trail names what is done.
pub(super) fn number(envelope: Option<&Envelope<Box<RawValue>>>) -> Option<u32> {
    envelope.map(|envelope| number_of(envelope.id.as_bytes()))
}

/// The number by which a trail names what is given up: a message that is redriven lives anew, and what it was given up for before
/// does not count.
fn life(work: &Work<'_>) -> Option<u32> {
    let id = &work.envelope.as_ref()?.id;
    let message = work.message;
    Some(match DeadLetter::is_redriven(message) {
        true => number_of(format!("{id} {}", message.sent_at).as_bytes()),
        false => number_of(id.as_bytes()),
    })
}

#[allow(clippy::cast_possible_truncation)] // It only has to tell some events of one entity apart.
fn number_of(bytes: &[u8]) -> u32 {
    stable_hash(bytes) as u32
}

/// Whether an item is the entity an event is told to: not expired, and not a later one of the same id.
pub(super) fn same_entity(item: &Item, envelope: Option<&Envelope<Box<RawValue>>>, now: Timestamp) -> bool {
    let expired = item.expires_at.is_some_and(|at| at <= now);
    let Some(created) = envelope.and_then(|envelope| envelope.entitycreated) else {
        return !expired;
    };
    let same = crate::history::created_at(item).is_none_or(|at| at == created);
    !expired && same
}
