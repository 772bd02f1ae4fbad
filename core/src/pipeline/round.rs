//! One round of a batch: load, call, commit.

use super::{
    Pipeline,
    batch::{Batch, Task},
    trail::{noted, same_entity},
    verdict::is_given_up,
};
use crate::{
    choreography::StepModel,
    commit::Pending,
    context::{About, NotCommitted},
    failure::Failure,
    handler::{ErasedHandled, ErasedHandler, ErasedOutcome},
    limits::COMMIT_RACES_MAX,
    port::Item,
    timestamp::Timestamp,
};
use futures_util::{StreamExt as _, stream};
use std::{collections::BTreeMap, future::Future, sync::Arc};

impl Pipeline {
    /// One round: no two tasks are told to the same entity. Returns those that lost a race, to be tried again.
    pub(super) async fn round(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        round: Vec<Task>,
        batch: &mut Batch<'_>,
    ) -> Vec<Task> {
        let Batch { works, failed, told, notes, end } = batch;
        let mut round = round;
        let keys: Vec<String> = round.iter().filter_map(|task| task.decoded.key.clone()).collect();
        let mut loaded = match self.load(keys).await {
            Ok(items) => items.into_iter(),
            Err(failure) => {
                failed.extend(round.into_iter().map(|task| (task.at, failure.clone())));
                return Vec::new();
            }
        };
        let now = self.ports.clock.now();
        // The entity that each is told to.
        let items = round.iter().map(|task| {
            let item = task.decoded.key.as_ref().and_then(|_| loaded.next().flatten());
            item.filter(|item| {
                same_entity(item, works.get(task.at).and_then(|work| work.envelope.as_ref()), now)
            })
        });
        let items: Vec<Option<Item>> = items.collect();
        let name: Arc<str> = step.name.as_str().into();
        let calls = round.iter_mut().zip(&items).enumerate().map(|(place, (task, item))| {
            let event = std::mem::replace(&mut task.decoded.event, Box::new(()));
            let call = self.call(Arc::clone(&name), Arc::clone(&task.about));
            let running = handler.call(event, item.as_ref(), call);
            async move { (place, running.await) }
        });
        let calls: Vec<_> = calls.collect();
        let outcomes = self.within(step, round.len(), calls, *end).await;
        let mut committing: Vec<Task> = Vec::with_capacity(round.len());
        let mut commits: Vec<(Pending, Arc<About>)> = Vec::with_capacity(round.len());
        let mut noting = Vec::new();
        for ((task, item), outcome) in round.into_iter().zip(&items).zip(outcomes) {
            let outcome = outcome.unwrap_or_else(|| {
                let detail = format_args!("no end within {:?}, the step's timeout", step.timeout);
                Err(Failure::transient("timeout", detail))
            });
            match outcome {
                Ok(ErasedHandled::Commit(pending)) => {
                    self.note(notes, task.at, || pending.what().to_owned());
                    commits.push((*pending, Arc::clone(&task.about)));
                    committing.push(task);
                }
                Ok(ErasedHandled::Already(why)) => self.note(notes, task.at, || why.to_owned()),
                Err(failure) => {
                    let item = item.as_ref();
                    if let Some(item) = item.filter(|_| is_given_up(step, task.about.attempt, &failure))
                        && let Some(note) = noted(item, &failure, task.about.attempt)
                    {
                        noting.push((task.at, note));
                    }
                    failed.push((task.at, failure));
                }
            }
        }
        // In one request with the others: what is given up costs none of its own.
        let (noting, given_up): (Vec<usize>, Vec<_>) = noting.into_iter().unzip();
        commits.extend(given_up);
        let mut outcomes = self.commit(&step.name, commits).await;
        let given_up = outcomes.split_off(committing.len());
        told.extend(
            noting.into_iter().zip(given_up).filter(|(_, outcome)| outcome.is_ok()).map(|(at, _)| at),
        );
        let mut again = Vec::new();
        for (mut task, outcome) in committing.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(NotCommitted::Failed(failure)) => failed.push((task.at, failure)),
                Err(NotCommitted::Conflict) if task.races >= COMMIT_RACES_MAX => {
                    let failure = Failure::transient(
                        "conflict",
                        "lost every race for the entity; others keep changing it",
                    );
                    failed.push((task.at, failure));
                }
                Err(NotCommitted::Conflict) => {
                    task.races += 1;
                    // The event was consumed by the handler; it is decoded anew from the envelope.
                    match works
                        .get(task.at)
                        .and_then(|work| work.envelope.as_ref())
                        .map(|e| handler.decode(e))
                    {
                        Some(Ok(decoded)) => {
                            task.decoded = decoded;
                            again.push(task);
                        }
                        Some(Err(failure)) => failed.push((task.at, failure)),
                        None => {}
                    }
                }
            }
        }
        again
    }

    /// Runs the calls, a bounded number at a time; `None` for those that did not end by `end`.
    async fn within<F: Future<Output = (usize, ErasedOutcome)>>(
        &self,
        step: &StepModel,
        count: usize,
        calls: Vec<F>,
        end: Timestamp,
    ) -> Vec<Option<ErasedOutcome>> {
        let mut outcomes: Vec<Option<ErasedOutcome>> = (0..count).map(|_| None).collect();
        let mut running = stream::iter(calls).buffer_unordered(step.concurrency.max(1));
        let mut timeout = self.ports.clock.sleep_until(end);
        loop {
            tokio::select! {
                biased;
                next = running.next() => match next {
                    Some((place, outcome)) => outcomes[place] = Some(outcome),
                    None => return outcomes,
                },
                () = &mut timeout => return outcomes,
            }
        }
    }

    pub(super) async fn commit(
        &self,
        step: &str,
        commits: Vec<(Pending, Arc<About>)>,
    ) -> Vec<Result<(), NotCommitted>> {
        let (model, meter) = (self.choreography.model(), &self.invocation.meter);
        crate::context::commit(&self.ports, model, step, meter, commits).await
    }

    /// The items of these keys, in their order: one request a table.
    pub(super) async fn load(&self, keys: Vec<String>) -> Result<Vec<Option<Item>>, Failure> {
        let mut items: Vec<Option<Item>> = vec![None; keys.len()];
        let mut by_table: BTreeMap<&str, (Vec<usize>, Vec<String>)> = BTreeMap::new();
        for (place, key) in keys.into_iter().enumerate() {
            let kind = key.split_once('/').map_or("", |(kind, _)| kind);
            let table = self.choreography.model().table_of(kind);
            let table = table
                .ok_or_else(|| Failure::permanent("no_table", format_args!("no table holds {kind:?}")))?;
            let (places, keys) = by_table.entry(table).or_default();
            places.push(place);
            keys.push(key);
        }
        for (table, (places, keys)) in by_table {
            for (place, item) in places.into_iter().zip(self.ports.table(table)?.get(&keys).await?) {
                items[place] = item;
            }
        }
        Ok(items)
    }
}
