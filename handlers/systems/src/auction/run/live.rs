//! The runs that have not ended.

use super::{Emits, LIVE_RUNS, Run};
use quadrille::{Context, Failure, Stored, Timestamp, port::IndexQuery};

/// Live runs looked at by a run that starts.
const LIVE_RUNS_MAX: usize = 200;

/// Runs that have not ended, the earliest first. More than a page of them would mean that the platform has not decided for
/// as many kickoffs.
pub(super) async fn live_runs(cx: &Context<Emits>) -> Result<Vec<Stored<Run>>, Failure> {
    let query = IndexQuery { partition: LIVE_RUNS.into(), after: None, before: None, limit: LIVE_RUNS_MAX };
    Ok(cx.query::<Run>(&query).await?.0)
}

/// The first run that passed its deadline without ending, and that is for `run` to take over: before anything else.
pub(super) fn first_overdue<'a>(
    run: &Run,
    live: impl IntoIterator<Item = &'a Stored<Run>>,
    now: Timestamp,
) -> Option<String> {
    let is_overdue = |other: &&Stored<Run>| other.deadline < now && run.inherits(other);
    live.into_iter().find(is_overdue).map(|overdue| overdue.run_id.clone())
}
