//! Taking over a run that passed its deadline without ending.

use super::{
    Emits, Phase, RoundEvent, Run, RunPage,
    live::{first_overdue, live_runs},
    next_round,
    page::{Wanted, take_page},
    written_down,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Context, Handled, Outcome, Stored};

/// Takes over a page of a run that passed its deadline; behind its last page, ends it.
pub(super) async fn take_over(
    run: Stored<Run>,
    from: String,
    page: u32,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::already("this round is over"));
    };
    let theirs = cx.get::<RunPage>(&[RunPage::id_of(&from, page)]).await?.pop().flatten();
    if let Some(theirs) = theirs {
        let next = Phase::TakingOver { from: from.clone(), page: page + 1 };
        let wanted =
            Wanted { from: Some(from.clone()), record_ids: theirs.record_ids.clone(), loaded: None, next };
        take_page(&mut run, wanted, platform, cx).await?;
        let what = format!("took over page {page} of run {from}, which passed its deadline");
        return Ok(next_round(run, what, None).into());
    }
    if let Some(mut overdue) = cx.get::<Run>(&[&from]).await?.pop().flatten()
        && overdue.phase != Phase::Ended
    {
        overdue.advance(RoundEvent::DeadlinePassed)?;
        overdue.round += 1;
        let what = format!("failed: deadline passed; its open orders went to run {}", run.run_id);
        cx.commit_all(vec![overdue.commit(what)]).await?;
    }
    let live = live_runs(cx).await?;
    // An index may still list the run that has just ended.
    let overdue = first_overdue(&run, live.iter().filter(|other| other.run_id != from), cx.now());
    run.advance(RoundEvent::RunTakenOver { overdue })?;
    Ok(next_round(run, format!("took over run {from}"), None).into())
}
