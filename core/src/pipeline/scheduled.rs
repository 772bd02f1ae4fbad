//! Signs of life of schedules: when a message of each was last handled.

use super::Pipeline;
use crate::{
    choreography::schedule_of,
    limits::{ALARM_PERIOD_UNIT, SILENT_PERIODS},
    metrics,
    model::StepModel,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A period counts for so long at least, as in CloudWatch: to handle a message takes its time.
const PERIOD_MIN: Duration = Duration::from_secs(ALARM_PERIOD_UNIT);

/// The schedules that are followed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduled(Arc<Mutex<BTreeMap<String, Followed>>>);

#[derive(Debug)]
struct Followed {
    patience: Duration,
    /// When each of its steps last handled something of it, or it was begun to be followed.
    handled: BTreeMap<String, Duration>,
}

impl Followed {
    /// How long until it stands.
    fn left(&self, now: Duration) -> Duration {
        let longest = self.handled.values().map(|last| now.saturating_sub(*last)).max();
        self.patience.saturating_sub(longest.unwrap_or_default())
    }
}

impl Scheduled {
    /// Follows a schedule from `now` on, whose messages go to these steps.
    pub(crate) fn follow(&self, name: &str, period: Duration, steps: &[String], now: Duration) {
        let patience = period.max(PERIOD_MIN).saturating_mul(SILENT_PERIODS);
        let handled = steps.iter().map(|step| (step.clone(), now)).collect();
        self.followed().insert(name.to_owned(), Followed { patience, handled });
    }

    /// How long a schedule may go on in silence; zero where it stands, `None` where it is not followed.
    pub(crate) fn left(&self, name: &str, now: Duration) -> Option<Duration> {
        self.followed().get(name).map(|followed| followed.left(now))
    }

    /// What is told of the schedules that stand.
    pub(super) fn standing(&self, now: Duration) -> BTreeSet<String> {
        let followed = self.followed();
        let standing = followed.iter().filter(|(_, followed)| followed.left(now).is_zero());
        standing.map(|(name, _)| silence_of(name)).collect()
    }

    fn handled(&self, name: &str, step: &str, now: Duration) {
        let mut followed = self.followed();
        if let Some(last) = followed.get_mut(name).and_then(|followed| followed.handled.get_mut(step)) {
            *last = now;
        }
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a schedule that stands.
pub(crate) fn silence_of(schedule: &str) -> String {
    format!("schedule {schedule}: {}", silence())
}

/// What is the matter with it.
pub(crate) fn silence() -> String {
    format!("nothing handled in {SILENT_PERIODS} periods")
}

impl Pipeline {
    /// The schedules of an engine that runs it.
    pub(crate) fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    /// Remembers that `step` has handled the message of this id, where it is a schedule's.
    pub(super) fn remember_scheduled(&self, step: &StepModel, id: &str) {
        let Some(schedule) = schedule_of(id) else { return };
        self.scheduled.handled(schedule, &step.name, self.ports.clock.uptime());
        self.invocation.meter.add_of(metrics::SCHEDULED, Some(schedule), 1.0);
    }
}
