//! Orders that the platform said nothing about.

use super::{Emits, RoundEvent, Run, RunPage, end, next_round};
use crate::auction::{metrics::ORDERS_UNDECIDABLE, results::OrderDecided};
use quadrille::{
    Change, Context, Failure, Outcome, Stored,
    domain::auction::{Order, OrderStatus},
};
use std::borrow::Cow;

/// Names the orders of a page of the run that the platform said nothing about, and counts the others.
pub(super) async fn reconcile(mut run: Stored<Run>, page: u32, cx: &Context<Emits>) -> Outcome<Emits> {
    // Of a page that can't be read, the log tells; its orders count as undecidable.
    let record_ids = match cx.get_each::<RunPage>(&[RunPage::id_of(&run.run_id, page)]).await?.pop() {
        Some(Ok(Some(page))) => page.into_state().record_ids,
        _ => Vec::new(),
    };
    let now = cx.now();
    // Answers the status of an order that is the run's.
    let missing = |_, order: Result<Option<Stored<Order>>, Failure>| {
        let Some(mut order) = order.ok().flatten().filter(|order| order.run_id.as_ref() == Some(&run.run_id))
        else {
            return Change::Keep(None);
        };
        let status = Some(order.status);
        if !order.is_undecided() {
            return Change::Keep(status);
        }
        order.undecidable = Some(Cow::Borrowed("decision_missing"));
        order.decided_at = Some(now);
        let event = OrderDecided::of(&order, &run.run_id);
        let commit = order.commit("undecidable: decision_missing").emit(event);
        Change::Commit(commit.measure(ORDERS_UNDECIDABLE, 1.0), status)
    };
    let statuses = cx.change_all(&record_ids, missing).await?;
    if page == 0 {
        (run.accepted, run.rejected) = (0, 0);
    }
    let count = |wanted| statuses.iter().filter(|status| **status == Some(wanted)).count() as u64;
    run.accepted += count(OrderStatus::Accepted);
    run.rejected += count(OrderStatus::Rejected);
    if page + 1 < run.pages {
        run.advance(RoundEvent::PageReconciled)?;
        return Ok(next_round(run, "looking for orders whose decision is missing", None).into());
    }
    // Counted at the end: a repeated page would not find again what it named before.
    run.undecidable = run.submitted.saturating_sub(run.accepted + run.rejected);
    Ok(end(run)?.into())
}
