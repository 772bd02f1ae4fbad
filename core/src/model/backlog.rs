//! Back-pressure: how much of what a route takes in may wait.

use super::{Model, RouteModel, ScheduleModel, StepModel, TableUse, Uses};
use crate::{entity::Entity, setting::Setting};
use std::collections::{BTreeMap, BTreeSet};

/// The setting of the most that may wait of what a route takes in.
pub const BACKLOG_MAX: &str = "backlog_max";

/// What counts as waiting of what a route takes in: the messages in every queue behind it, and the entries of index partitions
/// whose entities wait for somebody to look for them. Once as much waits as the setting `backlog_max` says, an engine on one
/// machine answers its requests with 503 and `Retry-After`.
///
/// On AWS a queue and an index hold any number, and to count them costs a request each time: there nothing is held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    open: BTreeMap<String, Vec<String>>,
}

impl Backlog {
    /// The messages in the queues behind the route.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entities of type `E` in these partitions of the index wait as well. Where a setting spreads them
    /// ([`Table::spread`](crate::Table::spread)), the first of these count, as many as it says.
    #[must_use]
    pub fn open<E: Entity>(mut self, partitions: impl IntoIterator<Item = String>) -> Self {
        self.open.entry(E::KIND.to_owned()).or_default().extend(partitions);
        self
    }

    /// Partitions whose entries wait, by the kind of entity.
    pub(crate) fn open_partitions(&self) -> &BTreeMap<String, Vec<String>> {
        &self.open
    }

    /// The setting of how much may wait.
    pub(crate) fn setting() -> Setting {
        Setting::integer(BACKLOG_MAX)
            .within(1..=1_000_000_000)
            .default("1000000")
            .help("How much may wait of what the engine on one machine takes in before requests are answered with 503.")
    }
}

impl Model {
    /// The entities that wait for a step of a schedule, by kind and partitions of their index. They are those that the backlog of a
    /// route counts and the step looks for.
    pub(crate) fn worked_off_by(&self, step: &StepModel) -> BTreeSet<(&str, &[String])> {
        let open = self.routes.iter().filter_map(|route| route.backlog.as_ref());
        let looks =
            |kind: &str| step.uses.kinds().get(kind).is_some_and(|uses| uses.contains(&TableUse::Query));
        let open = open.flat_map(|backlog| &backlog.open).filter(|(kind, _)| looks(kind));
        open.map(|(kind, partitions)| (kind.as_str(), partitions.as_slice())).collect()
    }

    /// Whether entities wait for a step of this schedule.
    pub(crate) fn works_something_off(&self, schedule: &ScheduleModel) -> bool {
        let told = self.steps.iter().filter(|step| step.is_told(&schedule.event_type));
        told.into_iter().any(|step| !self.worked_off_by(step).is_empty())
    }

    /// The queues of all steps that what `route` takes in may go through: those of its events, those that look for what it
    /// commits, and those behind them.
    pub(crate) fn queues_behind(&self, route: &RouteModel) -> BTreeSet<&str> {
        let kinds = |uses: &Uses, of: fn(TableUse) -> bool| -> BTreeSet<String> {
            let kinds = uses.kinds().iter().filter(|(_, uses)| uses.iter().copied().any(of));
            kinds.map(|(kind, _)| kind.clone()).collect()
        };
        let committed = kinds(&route.uses, TableUse::is_commit);
        let mut events: BTreeSet<&str> = route.emits.iter().map(String::as_str).collect();
        let mut queues = BTreeSet::new();
        loop {
            let before = queues.len();
            for step in &self.steps {
                let looks = !kinds(&step.uses, |of| of == TableUse::Query).is_disjoint(&committed);
                if looks || events.contains(step.event_type.as_str()) {
                    queues.insert(step.queue.as_str());
                    events.extend(step.may_cause().map(String::as_str));
                }
            }
            if queues.len() == before {
                return queues;
            }
        }
    }
}
