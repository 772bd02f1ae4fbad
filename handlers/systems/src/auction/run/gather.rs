//! Taking open orders, and handing them to the platform.

use super::{
    Cursors, Emits, ORDERS_PER_PAGE, Phase, Round, Run,
    cursors::OpenOrders,
    end, next_round,
    page::{Wanted, take_page},
    written_down,
};
use crate::auction::platform::AuctionPlatform;
use quadrille::{Context, Handled, Outcome, Stored};

/// Takes pages of open orders for the run, and hands each to the platform.
pub(super) async fn gather(
    run: Stored<Run>,
    cursors: Cursors,
    shards: u64,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let mut round = Round::begin(cx.now());
    let (started_at, part) = (run.started_at, run.part());
    let behind = |cursors: &Cursors| OpenOrders::behind(cursors, started_at, shards, part, cx);
    let mut open = behind(&cursors);
    let mut orders = open.next_page().await?;
    if run.version() == 0 && orders.is_empty() && open.is_done() {
        // Nothing to auction: most runs of an idle system end here, and cost no write.
        return Ok(Handled::already("no order is open"));
    }
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::already("this round is over"));
    };
    loop {
        // Pages are counted, not their orders: few may be left of each.
        round.worked(ORDERS_PER_PAGE);
        let next = if open.is_done() { Phase::Waiting } else { Phase::Gathering(open.cursors()) };
        let record_ids = orders.iter().map(|order| order.record_id.clone()).collect();
        let wanted = Wanted { from: None, record_ids, loaded: Some(orders), next };
        take_page(&mut run, wanted, platform, cx).await?;
        match run.phase.clone() {
            Phase::Gathering(further) if round.has_room(cx.now()) => {
                // An earlier attempt may have written the page, and gone on elsewhere.
                if further != open.cursors() {
                    open = behind(&further);
                }
            }
            _ => break,
        }
        orders = open.next_page().await?;
    }
    if run.phase != Phase::Waiting {
        let what = format!("submitted {} orders", run.submitted);
        return Ok(next_round(run, what, None).into());
    }
    if run.submitted == 0 {
        return Ok(end(run)?.into());
    }
    let what = format!("submitted {} orders, all that were open", run.submitted);
    Ok(next_round(run, what, None).into())
}
