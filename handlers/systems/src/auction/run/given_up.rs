//! A run whose round was given up: its undecided orders are open to the next run at once.

use super::{LeaveRun, Phase, PollAuction, Run};
use quadrille::{Context, Failure, Handled, Outcome, Stored};

/// What follows where a round is given up.
pub fn given_up(event: &PollAuction, _: &Failure) -> LeaveRun {
    LeaveRun { run_id: event.run_id.clone(), round: event.round }
}

/// Marks a run whose round was given up, so that the next run takes it over without waiting for its deadline. Until one has
/// begun to, a redrive of the round goes on with it.
///
/// # Errors
/// None of its own.
pub async fn leave_run(run: Option<Stored<Run>>, event: LeaveRun, _cx: Context<()>) -> Outcome<()> {
    let Some(mut run) = run else {
        return Ok(Handled::already("the run was never written down: it has taken no order"));
    };
    if run.round != event.round || run.phase == Phase::Ended || run.is_given_up {
        return Ok(Handled::already("the run went on, or is left already"));
    }
    run.is_given_up = true;
    Ok(run.commit("given up: its orders are open to the next run").into())
}
