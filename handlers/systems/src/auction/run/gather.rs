//! Taking open orders, and handing them to the platform.

use super::{
    Cursors, Emits, ORDERS_PER_PAGE, Phase, Round, Run, Terms, end, next_round,
    page::{Wanted, take_page},
    unreadable, written_down,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Context, Handled, Outcome, Stored};

/// Takes pages of open orders for the run, and hands each to the platform.
pub(super) async fn gather(
    run: Stored<Run>,
    cursors: Cursors,
    terms: &Terms,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let mut round = Round::begin(cx.now());
    let mut open = run.open_orders(&cursors, terms, cx);
    let mut page = open.next_page(ORDERS_PER_PAGE).await?;
    if run.version() == 0 && page.entities.is_empty() && page.next.is_none() {
        // Nothing to auction: most runs of an idle system end here, and cost no write.
        let passed_over = unreadable(page.unreadable.len() as u64);
        return Ok(Handled::already(format!("no order is open{passed_over}")));
    }
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::already("this round is over"));
    };
    loop {
        run.unreadable += page.unreadable.len() as u64;
        // Pages are counted, not their orders: few may be left of each.
        round.worked(ORDERS_PER_PAGE);
        let (mut orders, room) = (page.entities, run.room(terms));
        orders.truncate(room);
        let further = page.next.filter(|_| orders.len() < room).map(Cursors::behind);
        let next = further.clone().map_or(Phase::Waiting, Phase::Gathering);
        let record_ids = orders.iter().map(|order| order.record_id.clone()).collect();
        let wanted = Wanted { from: None, record_ids, loaded: Some(orders), next };
        take_page(&mut run, wanted, platform, cx).await?;
        match &run.phase {
            Phase::Gathering(cursors) if round.has_room(cx.now()) => {
                // An earlier attempt may have written the page, and gone on elsewhere.
                if Some(cursors) != further.as_ref() {
                    open = run.open_orders(cursors, terms, cx);
                }
            }
            _ => break,
        }
        page = open.next_page(ORDERS_PER_PAGE).await?;
    }
    if run.phase != Phase::Waiting {
        let what = format!("submitted {} orders", run.submitted);
        return Ok(next_round(run, what, None).into());
    }
    if run.submitted == 0 {
        return Ok(end(run)?.into());
    }
    let passed_over = unreadable(run.unreadable);
    if run.room(terms) == 0 {
        let next = run.next_kickoff(cx.now())?;
        let what = format!(
            "submitted {} orders, and is full: the others are for run {}{passed_over}",
            run.submitted, next.run_id
        );
        return Ok(next_round(run, what, None).emit(next).into());
    }
    let what = format!("submitted {} orders, all that were open{passed_over}", run.submitted);
    Ok(next_round(run, what, None).into())
}
