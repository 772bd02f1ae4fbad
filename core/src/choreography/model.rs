//! A definition as plain data.

use super::{BucketUse, Budget, TableUse, Uses};
use crate::{Backoff, Timestamp, commit::Carried, http::Method};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// All that a choreography consists of.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Tables.
    pub tables: Vec<TableModel>,
    /// Queues, each consumer's and each dead-letter queue.
    pub queues: Vec<QueueModel>,
    /// Topics.
    pub topics: Vec<TopicModel>,
    /// Buckets.
    pub buckets: Vec<BucketModel>,
    /// Schedules.
    pub schedules: Vec<ScheduleModel>,
    /// HTTP routes.
    pub routes: Vec<RouteModel>,
    /// Handlers of events.
    pub steps: Vec<StepModel>,
    /// Alarms.
    pub alarms: Vec<AlarmModel>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct TableModel {
    /// Its name.
    pub name: String,
    /// The kinds of entities it holds.
    pub kinds: Vec<String>,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct QueueModel {
    /// Its name.
    pub name: String,
    /// How long a received message stays invisible.
    pub visibility_timeout: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// Where its messages go after too many receives; `None` for a dead-letter queue.
    pub redrive: Option<RedrivePolicy>,
}

/// A queue's redrive policy.
#[derive(Clone, Debug)]
pub struct RedrivePolicy {
    /// The dead-letter queue.
    pub dead_letter_queue: String,
    /// Receives, the first included, before a message goes there.
    pub receives_max: u32,
}

/// A topic. Its subscriptions are the steps that name it.
#[derive(Clone, Debug)]
pub struct TopicModel {
    /// Its name.
    pub name: String,
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct BucketModel {
    /// Its name.
    pub name: String,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct ScheduleModel {
    /// Its name.
    pub name: String,
    /// The time between two messages.
    pub every: Duration,
    /// The event it sends.
    pub event_type: String,
}

/// An HTTP route.
#[derive(Clone, Debug)]
pub struct RouteModel {
    /// Method.
    pub method: Method,
    /// Path, `{name}` for a parameter.
    pub path: String,
    /// The handler's name.
    pub step: String,
    /// Events it may emit.
    pub emits: Vec<String>,
    /// What it uses.
    pub uses: Uses,
    /// The longest a request may take.
    pub timeout: Duration,
}

/// A handler of events, with the policy its messages are consumed by.
#[derive(Clone, Debug)]
pub struct StepModel {
    /// Its name.
    pub name: String,
    /// The event it consumes.
    pub event_type: String,
    /// The queue it consumes from.
    pub queue: String,
    /// The topic that feeds the queue, where one does.
    pub topic: Option<String>,
    /// The kind of entity loaded for it.
    pub entity_kind: Option<String>,
    /// Events it may emit.
    pub emits: Vec<String>,
    /// What it uses, the entity that is loaded for it included.
    pub uses: Uses,
    /// The longest a batch may take.
    pub timeout: Duration,
    /// Messages in a batch.
    pub batch: usize,
    /// How long Lambda gathers a batch.
    pub batch_window: Duration,
    /// The longest one message takes, where it was said.
    pub time_per_message: Option<Duration>,
    /// Messages of a batch worked at the same time.
    pub concurrency: usize,
    /// Batches worked at the same time.
    pub workers: usize,
    /// Receives before a message is dead-lettered.
    pub attempts: u32,
    /// Waits between them.
    pub backoff: Backoff,
    /// The budget of the cycle it stands on.
    pub budget: Option<Budget>,
    /// Which cycle it stands on: the first step of it.
    pub cycle: Option<String>,
}

/// An alarm: a dead-letter queue that is not empty tells a topic.
#[derive(Clone, Debug)]
pub struct AlarmModel {
    /// The queue watched.
    pub dead_letter_queue: String,
    /// The topic told.
    pub topic: String,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination<'a> {
    Queue(&'a str),
    Topic(&'a str),
}

impl Model {
    /// The table that holds entities of `kind`.
    pub fn table_of(&self, kind: &str) -> Option<&str> {
        self.tables
            .iter()
            .find(|table| table.kinds.iter().any(|held| held == kind))
            .map(|table| table.name.as_str())
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Option<&QueueModel> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&StepModel> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What the step or the route's handler of that name uses; `None` where there is neither.
    pub fn uses_of(&self, step: &str) -> Option<&Uses> {
        let of_route = || self.routes.iter().find(|route| route.step == step).map(|route| &route.uses);
        self.step(step).map(|step| &step.uses).or_else(of_route)
    }

    /// The tables that the step or the route's handler of that name uses, and how; none where there is neither.
    pub fn tables_of(&self, step: &str) -> BTreeMap<String, BTreeSet<TableUse>> {
        let mut tables: BTreeMap<String, BTreeSet<TableUse>> = BTreeMap::new();
        for (kind, uses) in self.uses_of(step).into_iter().flat_map(Uses::kinds) {
            if let Some(table) = self.table_of(kind) {
                tables.entry(table.to_owned()).or_default().extend(uses);
            }
        }
        tables
    }

    /// The buckets that the step or the route's handler of that name uses, and how; none where there is neither.
    pub fn buckets_of(&self, step: &str) -> BTreeMap<String, BTreeSet<BucketUse>> {
        self.uses_of(step).map(|uses| uses.buckets().clone()).unwrap_or_default()
    }

    /// The queue whose dead letters go to `dead_letter_queue`.
    pub fn source_of(&self, dead_letter_queue: &str) -> Option<&QueueModel> {
        self.queues.iter().find(|queue| {
            queue.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_queue == dead_letter_queue)
        })
    }

    /// Where events of a type go: to the queue of each consumer, to each topic that has subscribers for it.
    pub(crate) fn destinations(&self, event_type: &str) -> Vec<Destination<'_>> {
        let mut destinations = Vec::new();
        for step in self.steps.iter().filter(|step| step.event_type == event_type) {
            let destination =
                step.topic.as_deref().map_or(Destination::Queue(&step.queue), Destination::Topic);
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        destinations
    }

    /// The names of the steps that consume what `step` emits.
    fn next_of<'a>(&'a self, step: &'a StepModel) -> impl Iterator<Item = &'a StepModel> {
        self.steps.iter().filter(|next| step.emits.contains(&next.event_type))
    }

    fn reaches(&self, from: &StepModel, to: &str) -> bool {
        let mut seen = Vec::new();
        let mut left: Vec<&StepModel> = self.next_of(from).collect();
        while let Some(step) = left.pop() {
            if step.name == to {
                return true;
            }
            if !seen.contains(&&step.name) {
                seen.push(&step.name);
                left.extend(self.next_of(step));
            }
        }
        false
    }

    /// Marks every step that can reach itself with the first step of its cycle.
    pub(super) fn find_cycles(&mut self) {
        let cycles: Vec<Option<String>> = self
            .steps
            .iter()
            .map(|step| {
                let together =
                    |other: &&StepModel| self.reaches(step, &other.name) && self.reaches(other, &step.name);
                self.steps.iter().find(together).map(|first| first.name.clone())
            })
            .collect();
        for (step, cycle) in self.steps.iter_mut().zip(cycles) {
            step.cycle = cycle;
        }
    }

    /// The budget of the cycle that `step` stands on: its own, or that of another step of the cycle.
    pub(crate) fn budget_of(&self, step: &StepModel) -> Option<Budget> {
        let cycle = step.cycle.as_ref()?;
        step.budget.or_else(|| {
            self.steps.iter().filter(|other| other.cycle.as_ref() == Some(cycle)).find_map(|s| s.budget)
        })
    }

    /// What an event of `event_type` carries of a budget when `from` emits it: the rest of the one that `from` was
    /// called with where it stays on the cycle, a fresh one where it enters a cycle, nothing off all cycles.
    pub(crate) fn carried(&self, from: &str, carried: Carried, event_type: &str, now: Timestamp) -> Carried {
        let Some(to) = self.steps.iter().find(|step| step.event_type == event_type && step.cycle.is_some())
        else {
            return Carried::default();
        };
        let stays = self.step(from).is_some_and(|from| from.cycle == to.cycle);
        if stays {
            return Carried {
                deadline: carried.deadline,
                hops: Some(carried.hops.unwrap_or(0).saturating_add(1)),
            };
        }
        self.entering(to, now)
    }

    /// A fresh budget for an event that enters the cycle of `step` at `now`.
    pub(crate) fn entering(&self, step: &StepModel, now: Timestamp) -> Carried {
        self.budget_of(step).map_or_else(Carried::default, |budget| Carried {
            deadline: Some(now + budget.deadline),
            hops: Some(0),
        })
    }
}
