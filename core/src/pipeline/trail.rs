//! What an entity's trail tells of a message that is given up.

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
    event::Envelope,
    failure::Failure,
    limits::COMMIT_RACES_MAX,
    model::StepModel,
    port::Item,
    timestamp::Timestamp,
};
use serde_json::value::RawValue;
use std::{collections::HashSet, sync::Arc};

impl Pipeline {
    /// Writes into the trail of each entity that does not tell of it yet why its message is given up, so that one read of
    /// it tells. Best effort: the dead letter itself is what counts.
    pub(super) async fn note_failures(&self, step: &StepModel, batch: &Batch<'_>) {
        let Some(kind) = step.entity_kind.as_deref() else {
            return;
        };
        let mut left: Vec<(String, &Failure, &Work<'_>)> = batch
            .failed
            .iter()
            .filter(|(at, _)| !batch.told.contains(at))
            .map(|(at, failure)| (failure, &batch.works[*at]))
            .filter(|(failure, work)| is_given_up(step, work.message.receive_count, failure))
            .filter_map(|(failure, work)| {
                let envelope = work.envelope.as_ref()?;
                Some((format!("{kind}/{}", envelope.subject), failure, work))
            })
            .collect();
        let now = self.ports.clock.now();
        for _ in 0..COMMIT_RACES_MAX {
            if left.is_empty() {
                return;
            }
            let Ok(items) = self.load(left.iter().map(|(key, ..)| key.clone()).collect()).await else {
                return;
            };
            let mut seen = HashSet::new();
            let mut commits = Vec::new();
            let mut committing = Vec::new();
            let mut later = Vec::new();
            for ((key, failure, work), item) in left.into_iter().zip(&items) {
                // A later entity of the same id has nothing to do with it.
                let told = item.as_ref().filter(|item| same_entity(item, work.envelope.as_ref(), now));
                let Some(item) = told else { continue };
                if !seen.insert(key.clone()) {
                    later.push((key, failure, work));
                    continue;
                }
                let data = work.envelope.as_ref().map_or("", |envelope| envelope.data.get());
                let input = kept(self.choreography.model(), data.as_bytes());
                let about = About { attempt: work.message.receive_count, input, ..About::default() };
                if let Some(note) = noted(step, item, failure, &about) {
                    commits.push(note);
                    committing.push((key, failure, work));
                }
            }
            let outcomes = self.commit(step, commits).await;
            left = later;
            for (note, outcome) in committing.into_iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(NotCommitted::Conflict) => left.push(note),
                    Err(NotCommitted::Failed(failure)) => {
                        let (correlation_id, trace) = known_by(note.2.envelope.as_ref());
                        tracing::warn!(key = %note.0, correlation_id, trace_id = trace, %failure, "the trail could not be told of a dead letter");
                    }
                }
            }
        }
    }
}

/// The commit that writes into an entity's trail why its message is given up; `None` where the entity can't be read.
pub(super) fn noted(
    step: &StepModel,
    item: &Item,
    failure: &Failure,
    about: &About,
) -> Option<(Pending, Arc<About>)> {
    let is_end = is_business_end(step, failure);
    let pending = if is_end { Pending::ended(item, failure) } else { Pending::dead_lettered(item, failure) };
    // Whose flow it is, the entity knows itself.
    let About { attempt, input, called_at, .. } = about;
    let (input, called_at) = (input.clone(), called_at.clone());
    Some((pending.ok()?, Arc::new(About { attempt: *attempt, input, called_at, ..About::default() })))
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
