//! Signs of life of schedules: when a message of each was last handled, and how long what it works off waits.

use super::{Pipeline, batch::Worked, verdict::Verdict};
use crate::{
    choreography::schedule_of,
    failure::Failure,
    history::created_at,
    limits::{ALARM_PERIOD_UNIT, SILENT_PERIODS},
    metrics,
    model::StepModel,
    port::{IndexQuery, Item},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, futures::Notified};

/// A period counts for so long at least, as in CloudWatch: to handle a message takes its time.
const PERIOD_MIN: Duration = Duration::from_secs(ALARM_PERIOD_UNIT);

/// Entries of an index partition that are looked at: one that can't be read hides none behind it.
const LOOKED_AT: usize = 10;

/// Partitions that are looked at side by side.
const LOOKS_AT_ONCE: usize = 8;

/// The schedules that are followed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduled {
    followed: Arc<Mutex<BTreeMap<String, Followed>>>,
    /// Tells who watches that something of a schedule was handled.
    handled: Arc<Notify>,
}

#[derive(Debug)]
struct Followed {
    patience: Duration,
    /// When each of its steps last handled something of it, or it was begun to be followed.
    handled: BTreeMap<String, Duration>,
    /// How long the oldest of what each of its steps works off had waited then.
    oldest: BTreeMap<String, Duration>,
}

impl Followed {
    /// How long until it stands.
    fn left(&self, now: Duration) -> Duration {
        let longest = self.handled.values().map(|last| now.saturating_sub(*last)).max();
        self.patience.saturating_sub(longest.unwrap_or_default())
    }

    /// How long the oldest has waited, where that is too long.
    fn overdue(&self) -> Option<Duration> {
        self.oldest.values().max().copied().filter(|oldest| *oldest >= self.patience)
    }
}

impl Scheduled {
    /// Follows a schedule from `now` on, whose messages go to these steps.
    pub(crate) fn follow(&self, name: &str, period: Duration, steps: &[String], now: Duration) {
        let patience = period.max(PERIOD_MIN).saturating_mul(SILENT_PERIODS);
        let handled = steps.iter().map(|step| (step.clone(), now)).collect();
        self.followed().insert(name.to_owned(), Followed { patience, handled, oldest: BTreeMap::new() });
    }

    /// How long a schedule may go on in silence; zero where it stands, `None` where it is not followed.
    pub(crate) fn left(&self, name: &str, now: Duration) -> Option<Duration> {
        self.followed().get(name).map(|followed| followed.left(now))
    }

    /// What people are to be told of a schedule: that it stands, or that what it works off has waited too long.
    pub(crate) fn amiss(&self, name: &str, now: Duration) -> Option<String> {
        let followed = self.followed();
        let followed = followed.get(name)?;
        let waits =
            || followed.overdue().map(|oldest| format!("what it works off waits for {} s", oldest.as_secs()));
        if followed.left(now).is_zero() { Some(silence()) } else { waits() }
    }

    /// What is told of the schedules that stand.
    pub(super) fn standing(&self, now: Duration) -> BTreeSet<String> {
        let followed = self.followed();
        let standing = followed.iter().filter(|(_, followed)| followed.left(now).is_zero());
        standing.map(|(name, _)| silence_of(name)).collect()
    }

    fn handled(&self, name: &str, step: &str, now: Duration, oldest: Option<Duration>) {
        let mut followed = self.followed();
        let Some(followed) = followed.get_mut(name) else { return };
        if let Some(last) = followed.handled.get_mut(step) {
            *last = now;
            followed.oldest.insert(step.to_owned(), oldest.unwrap_or_default());
        }
        self.handled.notify_waiters();
    }

    /// Ends once something of any schedule is handled from now on.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.handled.notified()
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a schedule that stands.
pub(crate) fn silence_of(schedule: &str) -> String {
    format!("schedule {schedule}: {}", silence())
}

/// What is the matter with it.
fn silence() -> String {
    format!("nothing handled in {SILENT_PERIODS} periods")
}

impl Pipeline {
    /// The schedules of an engine that runs it.
    pub(crate) fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    /// Remembers which of these messages of `step` were a schedule's and are handled, and how long what it works off waits.
    pub(super) async fn remember_scheduled(&self, step: &StepModel, worked: &[Worked<'_>]) {
        for Worked { work, verdict, .. } in worked {
            let envelope = work.envelope.as_ref();
            let handled = envelope.filter(|_| matches!(verdict, Verdict::Done | Verdict::Ended(_)));
            let Some(schedule) = handled.and_then(|envelope| schedule_of(&envelope.id)) else { continue };
            let meter = &self.invocation.meter;
            meter.add_of(metrics::SCHEDULED, Some(schedule), 1.0);
            let oldest = self.oldest_waiting(step).await.unwrap_or_else(|failure| {
                tracing::warn!(step = %step.name, %failure, "it could not be told how long what a schedule works off waits");
                None
            });
            if let Some(oldest) = oldest {
                meter.add_of(metrics::OLDEST_WAITING, Some(schedule), oldest.as_secs_f64());
            }
            self.scheduled.handled(schedule, &step.name, self.ports.clock.uptime(), oldest);
        }
    }

    /// How long the oldest waits of the open entities that `step` looks for; `None` where it looks for none. Those come first in
    /// their partitions.
    async fn oldest_waiting(&self, step: &StepModel) -> Result<Option<Duration>, Failure> {
        let now = self.ports.clock.now();
        let model = self.choreography.model();
        let mut partitions = BTreeSet::new();
        for (kind, of_kind) in model.worked_off_by(step) {
            let table = model.table_of(kind).unwrap_or_default();
            partitions.extend(self.filled(kind, of_kind)?.iter().map(|partition| (table, partition)));
        }
        if partitions.is_empty() {
            return Ok(None);
        }
        let look = |(table, partition): (&str, &String)| {
            let table = self.ports.table(table).cloned();
            let query =
                IndexQuery { partition: partition.clone(), after: None, before: None, limit: LOOKED_AT };
            async move {
                let is_there = |item: &&Item| item.expires_at.is_none_or(|expires_at| now < expires_at);
                let items = table?.query(&query).await?.items;
                let since = items.iter().filter(is_there).filter_map(created_at).min();
                Ok::<_, Failure>(since.map(|since| now.since(since)))
            }
        };
        let looks: Vec<_> = partitions.into_iter().map(look).collect();
        let waits: Vec<Option<Duration>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        Ok(Some(waits.into_iter().flatten().max().unwrap_or_default()))
    }
}
