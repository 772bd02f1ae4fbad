//! Back-pressure: requests are held back where as much waits as may.

use super::Pipeline;
use crate::{
    failure::Failure,
    http::{Problem, Response},
    model::{BACKLOG_MAX, Backlog, RouteModel},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a count is good for. Meanwhile more may come in than is to wait, by as much as comes in that time.
const COUNTED_EVERY: Duration = Duration::from_secs(1);

/// How long, in seconds, a client that is held back is asked to wait.
const RETRY_AFTER: &str = "5";

/// How much waits behind each route, as it was last counted. Clones share it; nothing is held back before it is begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake(Arc<Mutex<Option<BTreeMap<String, Counted>>>>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    at: Duration,
    waiting: u64,
}

impl Intake {
    fn counts(&self) -> MutexGuard<'_, Option<BTreeMap<String, Counted>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// From now on, requests are held back where too much waits behind them.
    pub(crate) fn holds_back(&self) {
        self.intake.counts().get_or_insert_default();
    }

    /// The answer to a request that is held back; `None` where it is to be handled.
    pub(super) async fn held_back(&self, route: &RouteModel) -> Option<Response> {
        let backlog = route.backlog.as_ref()?;
        let max: u64 = self.ports.settings.get(BACKLOG_MAX).ok()?;
        let waiting = self.waiting(route, backlog, max).await?;
        if waiting < max {
            return None;
        }
        let detail = format_args!(
            "{waiting} or more wait to be worked, and {max} may: nothing of this request was taken; send it again later"
        );
        let problem =
            Problem::new(503, "backlog_full", detail).with("waiting", waiting).with("waiting_max", max);
        Some(Response::from(problem).with_header("retry-after", RETRY_AFTER))
    }

    /// How much waits behind `route`, counted up to `max`; `None` where nobody counts.
    async fn waiting(&self, route: &RouteModel, backlog: &Backlog, max: u64) -> Option<u64> {
        let now = self.ports.clock.uptime();
        let last = {
            let mut counts = self.intake.counts();
            let counts = counts.as_mut()?;
            let last = counts.get(&route.step).copied();
            if let Some(last) = last.filter(|last| now.saturating_sub(last.at) < COUNTED_EVERY) {
                return Some(last.waiting);
            }
            // Counted by one request; those that come meanwhile go by the count before.
            let waiting = last.map_or(0, |last| last.waiting);
            counts.insert(route.step.clone(), Counted { at: now, waiting });
            waiting
        };
        match self.count_waiting(route, backlog, max).await {
            Ok(waiting) => {
                if waiting >= max {
                    tracing::warn!(step = %route.step, waiting, max, "requests are held back: too much waits");
                }
                let mut counts = self.intake.counts();
                counts.as_mut()?.insert(route.step.clone(), Counted { at: now, waiting });
                Some(waiting)
            }
            Err(failure) => {
                tracing::warn!(step = %route.step, %failure, "it could not be counted how much waits");
                Some(last)
            }
        }
    }

    async fn count_waiting(&self, route: &RouteModel, backlog: &Backlog, max: u64) -> Result<u64, Failure> {
        let model = self.choreography.model();
        let mut waiting = 0;
        for queue in model.queues_behind(route) {
            waiting += self.ports.queue(queue)?.total().await?;
        }
        for (kind, partitions) in backlog.open_partitions() {
            let Some(table) = model.table_of(kind) else { continue };
            for partition in self.filled(kind, partitions)? {
                if waiting >= max {
                    break;
                }
                let counted = self.ports.table(table)?.count(partition, max - waiting).await?;
                waiting += counted.unwrap_or(0);
            }
        }
        Ok(waiting)
    }

    /// Those of `partitions` that entities of this kind stand in: as many as the setting says that spreads them, or all.
    pub(super) fn filled<'a>(&self, kind: &str, partitions: &'a [String]) -> Result<&'a [String], Failure> {
        let mut spread = self.choreography.model().tables.iter().filter_map(|table| table.spread.as_ref());
        let Some(spread) = spread.find(|spread| spread.kind.as_deref() == Some(kind)) else {
            return Ok(partitions);
        };
        let places: u64 = self.ports.settings.get(&spread.setting)?;
        Ok(&partitions[..usize::try_from(places).unwrap_or(usize::MAX).min(partitions.len())])
    }
}
