//! Taking over a run that is left: it passed its deadline without ending, or was given up.
//!
//! The taker first ends the round of that run, so that no redrive goes on with it. Then it takes the run's pages, one a round,
//! and puts an empty one behind the last: so a straggler of that run takes nothing that nobody would look for.

use super::{
    Emits, Phase, RoundEvent, Run, RunPage, Terms,
    live::{first_left, live_runs},
    next_round,
    page::{Wanted, take_page},
    written_down,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Change, Context, Failure, Handled, Outcome, Stored};

/// Takes over a page of a run that is left; behind its last page, ends it.
pub(super) async fn take_over(
    run: Stored<Run>,
    from: String,
    page: u32,
    terms: &Terms,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::already("this round is over"));
    };
    if page == 0 && !is_shut(&from, &run.run_id, cx).await? {
        return goes_on(run, &from, format!("run {from} is not left any more"), terms, cx).await;
    }
    if let Some((at, theirs)) = page_or_close(&from, page, &run, cx).await? {
        let next = Phase::TakingOver { from: from.clone(), page: at + 1 };
        let record_ids = theirs.record_ids.clone();
        let wanted = Wanted { from: Some(from.clone()), record_ids, loaded: None, next };
        take_page(&mut run, wanted, platform, cx).await?;
        let what = format!("took over page {at} of run {from}, which was left{}", passed_over(at - page));
        return Ok(next_round(run, what, None).into());
    }
    // One that can't be read stays as it is until it expires.
    if let Some(Ok(Some(mut left))) = cx.get_each::<Run>(&[&from]).await?.pop()
        && left.phase != Phase::Ended
    {
        left.advance(RoundEvent::Superseded)?;
        left.round += 1;
        let what = format!("failed; its undecided orders went to run {}", run.run_id);
        cx.commit(left.commit(what)).await?;
    }
    let what = format!("took over run {from}");
    goes_on(run, &from, what, terms, cx).await
}

/// Turns to the next run that is left where there is room, or to the open orders.
async fn goes_on(
    mut run: Stored<Run>,
    from: &str,
    what: String,
    terms: &Terms,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let live = live_runs(cx).await?;
    // An index may still list the run that has just ended.
    let left = first_left(&run, &live, from, cx.now()).filter(|_| run.room(terms) > 0);
    run.advance(RoundEvent::RunTakenOver { left })?;
    Ok(next_round(run, what, None).into())
}

/// Ends the round of a run that is left, whatever becomes of its message; `false` where that run is not left any more.
async fn is_shut(from: &str, by: &str, cx: &Context<Emits>) -> Result<bool, Failure> {
    let now = cx.now();
    let shut = |_, left: Result<Option<Stored<Run>>, Failure>| match left {
        Ok(Some(mut left)) if left.phase != Phase::Ended && left.is_left(now) => {
            left.round += 1;
            left.is_given_up = true;
            Change::Commit(left.commit(format!("left to run {by}")), true)
        }
        Ok(_) => Change::Keep(false),
        // Nobody can work a round of one that can't be read.
        Err(_) => Change::Keep(true),
    };
    cx.change_one(from, shut).await
}

/// The first page of a run that is left, from `page` on, with its number; `None` behind its last one, where it is closed now. A
/// page that can't be read is passed over: nobody knows any longer which orders were on it, and those behind it are not to
/// wait for them.
async fn page_or_close(
    from: &str,
    page: u32,
    by: &Run,
    cx: &Context<Emits>,
) -> Result<Option<(u32, RunPage)>, Failure> {
    for at in page.. {
        let id = RunPage::id_of(from, at);
        let mut theirs = cx.get_each::<RunPage>(&[&id]).await?.pop();
        if let Some(Ok(None)) | None = theirs {
            let closing = RunPage::closing(from, at, by);
            cx.commit(Stored::new(closing).commit("closed")).await?;
            // Where another page was there first, that one counts.
            theirs = cx.get_each::<RunPage>(&[&id]).await?.pop();
        }
        if let Some(Ok(theirs)) = theirs {
            let theirs = theirs.map(Stored::into_state).filter(|page| !page.record_ids.is_empty());
            return Ok(theirs.map(|theirs| (at, theirs)));
        }
    }
    Ok(None)
}

fn passed_over(pages: u32) -> String {
    if pages == 0 { String::new() } else { format!("; {pages} before it can't be read") }
}
