//! The runs that have not ended.

use super::{Emits, LIVE_RUNS, Run};
use quadrille::{Context, Failure, Page, Timestamp, port::IndexQuery};

/// Live runs looked at by a run that starts.
pub(super) const LIVE_RUNS_MAX: usize = 400;

/// Runs that have not ended, the earliest first. More than a page of them would mean that the platform has not decided for
/// as many kickoffs.
pub(super) async fn live_runs(cx: &Context<Emits>) -> Result<Page<Run>, Failure> {
    let query = IndexQuery { partition: LIVE_RUNS.into(), after: None, before: None, limit: LIVE_RUNS_MAX };
    cx.query::<Run>(&query).await
}

/// The first run that is left, is for `run` to take over, and is none of `but`: before anything else. Of one that can't be read the
/// index tells whether it passed its deadline.
pub(super) fn first_left(run: &Run, live: &Page<Run>, but: &str, now: Timestamp) -> Option<String> {
    let read = live.entities.iter().filter(|other| other.is_left(now));
    let read = read.map(|other| (other.deadline, other.run_id.as_str()));
    let unreadable = live.unreadable.iter().filter_map(|other| placed(&other.sort));
    let overdue = unreadable.filter(|(deadline, _)| *deadline < now);
    let left = read.chain(overdue).filter(|(_, id)| *id != but && *id != run.run_id && run.inherits(id));
    left.min().map(|(_, run_id)| run_id.to_owned())
}

/// The deadline and the id of the run at a place of the index.
fn placed(sort: &str) -> Option<(Timestamp, &str)> {
    let (deadline, run_id) = sort.split_once('/')?;
    Some((Timestamp::from_millis(deadline.parse().ok()?), run_id))
}
