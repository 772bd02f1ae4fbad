//! One round of a batch: load, call, commit.

use super::{
    Pipeline,
    admit::decode,
    batch::{Batch, Task},
    trail::{Ended, ended, noted, number, same_entity},
    verdict::is_given_up,
};
use crate::{
    commit::Pending,
    context::{About, NotCommitted, Together},
    failure::Failure,
    handler::{ErasedHandled, ErasedHandler, ErasedOutcome},
    limits::COMMIT_RACES_MAX,
    model::StepModel,
    panics::{PANICKED, caught},
    port::Item,
    timestamp::Timestamp,
};
use futures_util::{StreamExt as _, stream};
use std::{collections::BTreeMap, future::Future, sync::Arc};

/// What a round commits.
#[derive(Default)]
struct Commits {
    /// The tasks that `pending` belongs to, in its order, each with the key of its commit where that is not the event's entity.
    tasks: Vec<(Task, Option<String>)>,
    pending: Vec<(Pending, Arc<About>)>,
    /// The messages that are given up, by their place, and what their entities' trails are told of it.
    given_up: Vec<usize>,
    notes: Vec<(Pending, Arc<About>)>,
}

impl Pipeline {
    /// One round: no two tasks are told to the same entity. Returns those that lost a race, to be tried again.
    pub(super) async fn round(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        round: Vec<Task>,
        batch: &mut Batch<'_>,
    ) -> Vec<Task> {
        let keys = round.iter().filter_map(|task| task.decoded.key.clone()).collect();
        let items = match self.load(keys).await {
            Ok(loaded) => self.entities(&round, loaded, batch),
            Err(failure) => {
                batch.fail(round, &failure);
                return Vec::new();
            }
        };
        let (mut round, items) = self.not_given_up(step, round, items, batch);
        let outcomes = self.call_all(step, handler, &mut round, &items, batch.end).await;
        let commits = self.told_apart(step, round, &items, outcomes, batch);
        self.apply(step, handler, commits, batch).await
    }

    /// The entity that each task is told to, from those loaded for the tasks that want one.
    fn entities(&self, round: &[Task], loaded: Vec<Option<Item>>, batch: &Batch<'_>) -> Vec<Option<Item>> {
        let (mut loaded, now) = (loaded.into_iter(), self.ports.clock.now());
        let items = round.iter().map(|task| {
            let item = task.decoded.key.as_ref().and_then(|_| loaded.next().flatten());
            item.filter(|item| same_entity(item, batch.envelope(task.at), now))
        });
        items.collect()
    }

    /// Those tasks that no earlier receive has given up, as their entities' trails tell. A message whose dead letter is not there
    /// yet comes again: that it is given up stays so, or it could be done as well.
    fn not_given_up(
        &self,
        step: &StepModel,
        round: Vec<Task>,
        items: Vec<Option<Item>>,
        batch: &mut Batch<'_>,
    ) -> (Vec<Task>, Vec<Option<Item>>) {
        let still = round.into_iter().zip(items).filter(|(task, item)| {
            let ended = item.as_ref().and_then(|item| ended(step, item, &batch.works[task.at]));
            let Some(Ended::GivenUp(failure)) = ended else { return true };
            batch.was_given_up(task.at, failure);
            false
        });
        still.unzip()
    }

    /// What the handler makes of each task; `None` where it did not end by `end`. A panic is a failure of its message.
    async fn call_all(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        round: &mut [Task],
        items: &[Option<Item>],
        end: Timestamp,
    ) -> Vec<Option<ErasedOutcome>> {
        let (name, count): (Arc<str>, usize) = (step.name.as_str().into(), round.len());
        let calls = round.iter_mut().zip(items).enumerate().map(|(place, (task, item))| {
            let event = std::mem::replace(&mut task.decoded.event, Box::new(()));
            let call = self.call(Arc::clone(&name), Arc::clone(&task.about));
            // The call itself is inside: a handler may panic before it gives a future.
            let clock = &self.ports.clock;
            let running = caught(async move {
                call.about.called_at.get_or_init(|| clock.now());
                handler.call(event, item.as_ref(), call).await
            });
            let calls = self.counts.get(&step.name).map(|counters| &counters.calls);
            async move {
                let began = clock.uptime();
                let outcome = running.await;
                if let Some(calls) = calls {
                    calls.time(clock.uptime().saturating_sub(began));
                }
                (place, outcome.unwrap_or_else(|text| Err(Failure::transient(PANICKED, text))))
            }
        });
        let calls: Vec<_> = calls.collect();
        self.within(step, count, calls, end).await
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

    /// Tells the outcomes apart: commits, nothing to do, failures.
    fn told_apart(
        &self,
        step: &StepModel,
        round: Vec<Task>,
        items: &[Option<Item>],
        outcomes: Vec<Option<ErasedOutcome>>,
        batch: &mut Batch<'_>,
    ) -> Commits {
        let mut commits = Commits::default();
        for ((task, item), outcome) in round.into_iter().zip(items).zip(outcomes) {
            let outcome = outcome.unwrap_or_else(|| {
                let detail = format_args!("no end within {:?}, the step's timeout", step.timeout);
                Err(Failure::transient("timeout", detail))
            });
            match outcome {
                Ok(ErasedHandled::Commit(pending)) => {
                    self.note(&mut batch.notes, task.at, || pending.what().to_owned());
                    let elsewhere = Some(pending.key()) != task.decoded.key.as_deref();
                    let elsewhere = elsewhere.then(|| pending.key().to_owned());
                    let pending = pending.ending(number(batch.envelope(task.at)));
                    commits.pending.push((pending, Arc::clone(&task.about)));
                    commits.tasks.push((task, elsewhere));
                }
                Ok(ErasedHandled::Already(why)) => self.note(&mut batch.notes, task.at, || why.into_owned()),
                Ok(ErasedHandled::Done) => self.note(&mut batch.notes, task.at, || "done".to_owned()),
                Err(failure) => {
                    let item = item.as_ref();
                    let item = item.filter(|_| is_given_up(step, task.about.attempt, &failure));
                    let work = &batch.works[task.at];
                    // Done by an earlier receive, whose answer was lost.
                    if item.is_some_and(|item| matches!(ended(step, item, work), Some(Ended::Done))) {
                        continue;
                    }
                    if let Some(item) = item
                        && let Some(note) = noted(step, item, &failure, &task.about, work)
                    {
                        commits.given_up.push(task.at);
                        commits.notes.push(note);
                    }
                    batch.failed.push((task.at, failure));
                }
            }
        }
        commits
    }

    /// Commits what a round has to commit, in one request. Returns the tasks that lost a race.
    async fn apply(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        commits: Commits,
        batch: &mut Batch<'_>,
    ) -> Vec<Task> {
        let Commits { tasks, mut pending, given_up, notes } = commits;
        // In one request with the others: what is given up costs none of its own.
        pending.extend(notes);
        let mut outcomes = self.commit(step, pending).await;
        let noted = outcomes.split_off(tasks.len());
        let noted = given_up.into_iter().zip(noted).filter(|(_, outcome)| outcome.is_ok());
        batch.told.extend(noted.map(|(at, _)| at));
        let mut again = Vec::new();
        for ((task, elsewhere), outcome) in tasks.into_iter().zip(outcomes) {
            let (at, lost) = match outcome {
                Ok(()) => continue,
                Err(NotCommitted::Failed(failure)) => {
                    batch.elsewhere.extend(elsewhere.map(|key| (task.at, key)));
                    (task.at, Err(failure))
                }
                Err(NotCommitted::Conflict) => (task.at, next_race(task, handler, batch)),
            };
            match lost {
                Ok(task) => again.push(task),
                Err(failure) => batch.failed.push((at, failure)),
            }
        }
        again
    }

    pub(super) async fn commit(
        &self,
        step: &StepModel,
        commits: Vec<(Pending, Arc<About>)>,
    ) -> Vec<Result<(), NotCommitted>> {
        let (model, meter) = (self.choreography.model(), &self.invocation.meter);
        let together = if step.batch > 1 { Together::Several } else { Together::Alone };
        crate::context::commit(&self.ports, model, &step.name, meter, commits, together).await
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

/// The task that lost a race, for the next one: its handler consumed the event, which is decoded anew.
fn next_race(task: Task, handler: &dyn ErasedHandler, batch: &Batch<'_>) -> Result<Task, Failure> {
    let lost = || Failure::transient("conflict", "lost every race for the entity; others keep changing it");
    let envelope = batch.envelope(task.at).filter(|_| task.races < COMMIT_RACES_MAX).ok_or_else(lost)?;
    let decoded = decode(handler, envelope)?;
    Ok(Task { decoded, races: task.races + 1, ..task })
}
