//! Runs gather one after the other: a run is queued until those before it have gathered.

use super::{
    Cursors, Emits, Phase, RoundEvent, Run,
    gather::gather,
    live::{first_overdue, live_runs},
    next_round,
    take_over::take_over,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Backoff, Context, Handled, Outcome, Stored, Timestamp, TrailEntryKind};
use std::time::Duration;

/// How often a queued run looks whether its turn has come.
const QUEUED: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_secs(10),
    multiplier: 2.0,
    jitter: 0.5,
};

/// Looks whether the run's turn has come; if so, does its first round.
pub(super) async fn leave_queue(
    mut run: Stored<Run>,
    shards: u64,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let (live, now) = (live_runs(cx).await?, cx.now());
    let is_before = |other: &&Stored<Run>| other.gathers_before(&run, now) && !is_given_up(other);
    let before: Vec<&Stored<Run>> = live.iter().filter(is_before).collect();
    if run.version() == 0 && before.iter().any(|other| other.phase == Phase::Queued) {
        return Ok(Handled::already("another run is queued: it takes what is open when it starts"));
    }
    if let Some(before) = before.first() {
        let what = format!("queued: run {} is gathering", before.run_id);
        let wait = QUEUED.after(run.round + 1, cx.random());
        return Ok(next_round(run, what, Some(wait)).into());
    }
    let overdue = first_overdue(&run, &live, now);
    run.advance(RoundEvent::TurnCame { overdue: overdue.clone() })?;
    run.started_at = now;
    match overdue {
        Some(from) => take_over(run, from, 0, platform, cx).await,
        None => gather(run, Cursors::start(), shards, platform, cx).await,
    }
}

impl Run {
    /// Whether `later` has to wait until this run has gathered.
    fn gathers_before(&self, later: &Self, now: Timestamp) -> bool {
        let gathers = matches!(self.phase, Phase::Queued | Phase::TakingOver { .. } | Phase::Gathering(_));
        gathers
            && self.meets(later)
            && self.deadline >= now
            && (self.started_at, &self.run_id) < (later.started_at, &later.run_id)
    }
}

/// Whether the message of a run's next round is a dead letter: the run goes on once that is redriven, and until then is in
/// nobody's way.
fn is_given_up(run: &Stored<Run>) -> bool {
    run.trail().last().is_some_and(|entry| matches!(entry.kind, TrailEntryKind::DeadLettered { .. }))
}
