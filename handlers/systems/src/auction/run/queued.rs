//! Runs gather one after the other: a run is queued until those before it have gathered.

use super::{
    Cursors, Emits, Phase, RoundEvent, Run, Terms,
    gather::gather,
    live::{LIVE_RUNS_MAX, first_left, live_runs},
    next_round,
    take_over::take_over,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Backoff, Context, Handled, Outcome, Stored, Timestamp};
use std::time::Duration;

/// How often a queued run looks whether its turn has come.
const QUEUED: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_secs(10),
    multiplier: 2.0,
    jitter: 0.5,
};

/// Runs that have gathered and not ended, before a further one begins: orders stay open, and count as backlog, where the
/// platform is slower than they come in. So few that none of those looked at is overlooked, though each of 64 parts may begin at the
/// same moment, and have another one queued.
const RUNS_WAITING_MAX: usize = LIVE_RUNS_MAX / 4;

/// Looks whether the run's turn has come; if so, does its first round.
pub(super) async fn leave_queue(
    mut run: Stored<Run>,
    terms: &Terms,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let (live, now) = (live_runs(cx).await?, cx.now());
    let is_before = |other: &&Stored<Run>| other.gathers_before(&run, now);
    let before: Vec<&Stored<Run>> = live.entities.iter().filter(is_before).collect();
    if run.version() == 0
        && before.iter().any(|other| other.phase == Phase::Queued && other.part() == run.part())
    {
        return Ok(Handled::already("another run is queued: it takes what is open when it starts"));
    }
    let waiting = live.entities.iter().filter(|other| other.waits(now)).count();
    let what = match before.first() {
        Some(before) => Some(format!("queued: run {} is gathering", before.run_id)),
        None if waiting >= RUNS_WAITING_MAX => Some(format!("queued: {waiting} runs wait for the platform")),
        None => None,
    };
    if let Some(what) = what {
        let wait = QUEUED.after(run.round + 1, cx.random());
        return Ok(next_round(run, what, Some(wait)).into());
    }
    let left = first_left(&run, &live, &run.run_id, now);
    run.advance(RoundEvent::TurnCame { left: left.clone() })?;
    run.started_at = now;
    match left {
        Some(from) => take_over(run, from, 0, terms, platform, cx).await,
        None => gather(run, Cursors::start(), terms, platform, cx).await,
    }
}

impl Run {
    /// Whether it has gathered, and has not ended.
    fn waits(&self, now: Timestamp) -> bool {
        let gathered =
            matches!(self.phase, Phase::Waiting | Phase::Deciding { .. } | Phase::Reconciling { .. });
        gathered && !self.is_left(now)
    }

    /// Whether `later` has to wait until this run has gathered.
    fn gathers_before(&self, later: &Self, now: Timestamp) -> bool {
        let gathers = matches!(self.phase, Phase::Queued | Phase::TakingOver { .. } | Phase::Gathering(_));
        let is_before = (self.started_at, &self.run_id) < (later.started_at, &later.run_id);
        gathers && is_before && !self.is_left(now) && self.meets(later)
    }
}
