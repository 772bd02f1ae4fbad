//! The runs that have not ended.

use super::{Emits, LIVE_RUNS, Run};
use quadrille::{Context, Failure, Page, Timestamp, port::IndexQuery};

/// Live runs looked at by a run that starts.
const LIVE_RUNS_MAX: usize = 200;

/// Runs that have not ended, the earliest first. More than a page of them would mean that the platform has not decided for
/// as many kickoffs.
pub(super) async fn live_runs(cx: &Context<Emits>) -> Result<Page<Run>, Failure> {
    let query = IndexQuery { partition: LIVE_RUNS.into(), after: None, before: None, limit: LIVE_RUNS_MAX };
    cx.query::<Run>(&query).await
}

/// The first run but `except` that passed its deadline without ending: to be taken over before anything else. Of one that can't
/// be read the index tells as much.
pub(super) fn first_overdue(live: &Page<Run>, except: Option<&str>, now: Timestamp) -> Option<String> {
    let read = live.entities.iter().map(|run| (run.deadline, run.run_id.as_str()));
    let unreadable = live.unreadable.iter().filter_map(|run| placed(&run.sort));
    let overdue = |(deadline, run_id): &(Timestamp, &str)| *deadline < now && Some(*run_id) != except;
    read.chain(unreadable).filter(overdue).min().map(|(_, run_id)| run_id.to_owned())
}

/// The deadline and the id of the run at a place of the index.
fn placed(sort: &str) -> Option<(Timestamp, &str)> {
    let (deadline, run_id) = sort.split_once('/')?;
    Some((Timestamp::from_millis(deadline.parse().ok()?), run_id))
}
