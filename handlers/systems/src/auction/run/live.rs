//! The runs that have not ended.

use super::{Emits, LIVE_RUNS, Run};
use quadrille::{Context, Failure, Stored, Timestamp, port::IndexQuery};

/// Live runs looked at by a run that starts.
pub(super) const LIVE_RUNS_MAX: usize = 200;

/// Runs that have not ended, the earliest first. More than a page of them would mean that the platform has not decided for
/// as many kickoffs.
pub(super) async fn live_runs(cx: &Context<Emits>) -> Result<Vec<Stored<Run>>, Failure> {
    let query = IndexQuery { partition: LIVE_RUNS.into(), after: None, before: None, limit: LIVE_RUNS_MAX };
    Ok(cx.query::<Run>(&query).await?.0)
}

/// The first run that is left to the next one, and is none of `but`: to be taken over before anything else.
pub(super) fn first_left(live: &[Stored<Run>], but: &[&str], now: Timestamp) -> Option<String> {
    let left = live.iter().find(|run| run.is_left(now) && !but.contains(&run.run_id.as_str()));
    left.map(|left| left.run_id.clone())
}
