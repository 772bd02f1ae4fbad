//! A run's pages: which orders it takes, written down before it takes the first of them.

use super::{
    Emits, RUN_KEPT, Run,
    phase::{Phase, RoundEvent},
};
use crate::auction::platform::{AuctionPlatform, SubmittedOrder};
use quadrille::{
    Change, Committed, Context, Entity, Failure, Stored, Timestamp,
    domain::auction::{Order, OrderStatus},
    planted,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// How long after a run's deadline its orders are kept at least, for the next run to take them over: an order that is being
/// auctioned must not expire. Kickoffs are to come more often than that.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(2 * 3_600);

/// Which orders a run was about to take at once, written before it takes the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunPage {
    run_id: String,
    page: u32,
    /// The run they are taken over from; `None` for open orders.
    from: Option<String>,
    pub(super) record_ids: Vec<String>,
    /// How far the run is once it has them.
    next: Phase,
    expires_at: Timestamp,
}

impl RunPage {
    /// The page behind the last one of a run that `by` takes over: whoever still works a round of that run finds it there, and
    /// takes nothing more. As the only page without an order it is known.
    pub(super) fn closing(from: &str, page: u32, by: &Run) -> Self {
        let expires_at = by.deadline + RUN_KEPT;
        let (run_id, record_ids, next) = (from.to_owned(), Vec::new(), Phase::Waiting);
        Self { run_id, page, from: None, record_ids, next, expires_at }
    }

    /// Whether it is to take this order: an open one, or one of the run that it takes over. On a page of that run an order may be
    /// open still, where a crash or a race came between the page and its orders.
    fn may_take(&self, order: &Order) -> bool {
        let is_open = order.is_undecided() || planted("withdrawn_order_taken");
        is_open && (order.run_id.is_none() || order.run_id == self.from || planted("stale_page_believed"))
    }

    /// The id of a run's page.
    pub(super) fn id_of(run_id: &str, page: u32) -> String {
        format!("{run_id}/{page:08}")
    }
}

impl Entity for RunPage {
    const KIND: &'static str = "run-page";

    fn id(&self) -> Cow<'_, str> {
        Cow::Owned(Self::id_of(&self.run_id, self.page))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

/// What a round is about to take.
pub(super) struct Wanted {
    /// The run they are taken over from; `None` for open orders.
    pub(super) from: Option<String>,
    pub(super) record_ids: Vec<String>,
    /// The orders, where they were just read.
    pub(super) loaded: Option<Vec<Stored<Order>>>,
    /// How far the run is once it has them.
    pub(super) next: Phase,
}

/// Writes down the page, takes its orders, hands them to the platform, and moves the run on (the caller commits it). A
/// page that an earlier attempt wrote down is the one that counts.
pub(super) async fn take_page(
    run: &mut Stored<Run>,
    wanted: Wanted,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Result<(), Failure> {
    let id = RunPage::id_of(&run.run_id, run.pages);
    // A first round is seldom a second attempt: the page is looked for only if writing it finds it there.
    let mut page = RunPage {
        run_id: run.run_id.clone(),
        page: run.pages,
        from: wanted.from,
        record_ids: wanted.record_ids,
        next: wanted.next,
        expires_at: run.deadline + RUN_KEPT,
    };
    let mut loaded = wanted.loaded;
    if planted("orders_before_page") {
        claim(run, &page, loaded.take(), cx).await?;
    }
    // An empty page is not written; still an earlier attempt may have written one, and taken its orders from the index.
    let written = if page.record_ids.is_empty() {
        cx.get_one::<RunPage>(&id).await?
    } else {
        let commit = Stored::new(page.clone()).commit("about to be taken");
        match cx.commit(commit).await? {
            Committed::Conflict => cx.get_one::<RunPage>(&id).await?,
            Committed::Applied => None,
        }
    };
    if let Some(written) = written {
        page = written.into_state();
        loaded = None;
    }
    if !page.record_ids.is_empty() {
        let taken = claim(run, &page, loaded, cx).await?;
        if !taken.is_empty() {
            platform.submit(&run.run_id, run.pages, &taken).await?;
        }
        run.pages += 1;
        run.submitted += taken.len() as u64;
    }
    run.advance(RoundEvent::PageTaken { next: page.next })?;
    Ok(())
}

/// Makes the orders of a page the run's own; answers those that are, whether since now or since an earlier attempt, in the
/// page's order: a submission that is repeated is the same one, byte for byte.
async fn claim(
    run: &Run,
    page: &RunPage,
    loaded: Option<Vec<Stored<Order>>>,
    cx: &Context<Emits>,
) -> Result<Vec<SubmittedOrder>, Failure> {
    let take = |_, order: Result<Option<Stored<Order>>, Failure>| match order.ok().flatten() {
        Some(order) if order.run_id.as_ref() == Some(&run.run_id) => Change::Keep(Some(submitted(&order))),
        Some(mut order) if page.may_take(&order) => {
            order.run_id = Some(run.run_id.clone());
            order.status = OrderStatus::Submitted;
            let kept = order.expires_at.max(run.deadline + TAKEN_OVER_WITHIN);
            order.expires_at = if planted("wrong_ttl") { run.deadline } else { kept };
            let taken = submitted(&order);
            Change::Commit(order.commit(format!("submitted to run {}", run.run_id)), Some(taken))
        }
        _ => Change::Keep(None),
    };
    let claimed = match loaded {
        Some(loaded) => cx.change_loaded(loaded, take).await?,
        None => cx.change_all(&page.record_ids, take).await?,
    };
    Ok(claimed.into_iter().flatten().collect())
}

fn submitted(order: &Order) -> SubmittedOrder {
    SubmittedOrder {
        record_id: order.record_id.clone(),
        parameter_1: order.parameter_1.clone(),
        parameter_2: order.parameter_2.clone(),
    }
}
