//! Open orders are taken, page by page, and handed to the platform.

use super::{ORDERS_PER_PAGE, Phase, Poll, RUN_KEPT, Round, Run, part::Part, poll};
use crate::shared::{Done, Item};
use quadrille::{
    Entity, Failure, Timestamp,
    domain::auction::{Order, OrderStatus, open_partition},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};
use systems::auction::platform::{AuctionPlatform as _, SubmittedOrder};

/// How long after a run's deadline its orders are kept at least, for the next run to take them over.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(2 * 3_600);

/// How far the open orders of a part are read: shard by shard, each by time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    shard: u64,
    after: String,
}

impl Cursor {
    pub fn start(part: Part) -> Self {
        Self { shard: part.number, after: String::new() }
    }
}

/// Which orders a run was about to take at once, written before it takes the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    run_id: String,
    page: u32,
    /// The run they are taken over from; `None` for open orders.
    from: Option<String>,
    pub record_ids: Vec<String>,
    /// How far the run is once it has them.
    next: Phase,
    expires_at: Timestamp,
}

impl Page {
    /// The page behind the last one of a run that `by` takes over, the only one without an order: a straggler of that run finds
    /// it there, and takes nothing more.
    pub fn closing(from: &str, page: u32, by: &Run) -> Self {
        let (expires_at, next) = (by.deadline + RUN_KEPT, Phase::Waiting);
        Self { run_id: from.to_owned(), page, from: None, record_ids: Vec::new(), next, expires_at }
    }

    /// Whether it is to take this order: an open one, or one of the run that it takes over.
    fn may_take(&self, order: &Order) -> bool {
        order.run_id.is_none() || order.run_id == self.from
    }

    pub fn id_of(run_id: &str, page: u32) -> String {
        format!("{run_id}/{page:08}")
    }
}

impl Entity for Page {
    const KIND: &'static str = "run-page";

    fn id(&self) -> Cow<'_, str> {
        Cow::Owned(Self::id_of(&self.run_id, self.page))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

impl Poll {
    pub async fn gather(&self, run: Item<Run>, mut cursor: Cursor) -> Done {
        let mut round = Round::begin();
        let (mut orders, mut unreadable) = self.next_page(&mut cursor, run.started_at, run.part()).await?;
        if run.version == 0 && orders.is_empty() && cursor.shard >= self.shards {
            // Most runs of an idle system end here, and cost no write.
            return Ok("no order is open");
        }
        let Some(mut run) = self.written_down(run).await? else { return Ok("this round is over") };
        loop {
            round.worked(ORDERS_PER_PAGE);
            run.unreadable += unreadable;
            let room = self.room(&run);
            orders.truncate(room);
            let is_done = cursor.shard >= self.shards || orders.len() == room;
            let next = if is_done { Phase::Waiting } else { Phase::Gathering(cursor) };
            let record_ids = orders.iter().map(|order| order.record_id.clone()).collect();
            self.take_page(&mut run, None, record_ids, Some(orders), next).await?;
            match run.phase.clone() {
                Phase::Gathering(further) if round.has_room() => cursor = further,
                _ => break,
            }
            (orders, unreadable) = self.next_page(&mut cursor, run.started_at, run.part()).await?;
        }
        if run.phase == Phase::Waiting && run.submitted == 0 {
            return self.end(run, Vec::new()).await;
        }
        let is_full = run.phase == Phase::Waiting && self.room(&run) == 0;
        let next = is_full.then(|| poll(&run.next_kickoff()?)).transpose()?;
        let what = match run.unreadable {
            0 => format!("submitted {} orders", run.submitted),
            unreadable => format!("submitted {} orders; {unreadable} open ones can't be read", run.submitted),
        };
        self.next_round(run, &what, Duration::ZERO, next.into_iter().collect()).await
    }

    /// The next page of open orders received by `started_at`, moving on behind them, and how many can't be read.
    async fn next_page(
        &self,
        cursor: &mut Cursor,
        started_at: Timestamp,
        part: Part,
    ) -> Result<(Vec<Item<Order>>, u64), Failure> {
        let before = format!("{:015}", started_at.as_millis() + 1);
        let (mut orders, mut unreadable) = (Vec::new(), 0);
        while orders.len() < ORDERS_PER_PAGE && cursor.shard < self.shards {
            let limit = i32::try_from(ORDERS_PER_PAGE - orders.len()).unwrap_or(i32::MAX);
            let (partition, between) =
                (open_partition(cursor.shard), (cursor.after.as_str(), before.as_str()));
            let page = self.table.query::<Order>(&partition, between, limit).await?;
            *cursor = match page.last {
                Some(after) if !page.is_last => Cursor { shard: cursor.shard, after },
                _ => Cursor { shard: cursor.shard + part.of, after: String::new() },
            };
            orders.extend(page.items);
            unreadable += page.unreadable.len() as u64;
        }
        Ok((orders, unreadable))
    }

    /// Writes down the page, takes its orders, hands them to the platform, and moves the run on. A page that an earlier
    /// attempt wrote down is the one that counts.
    pub async fn take_page(
        &self,
        run: &mut Run,
        from: Option<String>,
        record_ids: Vec<String>,
        mut loaded: Option<Vec<Item<Order>>>,
        next: Phase,
    ) -> Result<(), Failure> {
        let (id, expires_at) = (Page::id_of(&run.run_id, run.pages), run.deadline + RUN_KEPT);
        let mut page =
            Page { run_id: run.run_id.clone(), page: run.pages, from, record_ids, next, expires_at };
        // An empty page is not written; still an earlier attempt may have written one.
        let is_new = !page.record_ids.is_empty()
            && self.table.put(&Item::new(page.clone()), "about to be taken", Vec::new()).await?;
        if !is_new && let Some(written) = self.table.get::<Page>(&id).await? {
            page = written.state;
            loaded = None;
        }
        if !page.record_ids.is_empty() {
            let taken = self.claim(run, &page, loaded).await?;
            if !taken.is_empty() {
                self.platform.submit(&run.run_id, run.pages, &taken).await?;
            }
            run.pages += 1;
            run.submitted += taken.len() as u64;
        }
        run.phase = page.next;
        Ok(())
    }

    /// Makes the orders of a page the run's own; answers those that are, whether since now or since an earlier attempt.
    async fn claim(
        &self,
        run: &Run,
        page: &Page,
        loaded: Option<Vec<Item<Order>>>,
    ) -> Result<Vec<SubmittedOrder>, Failure> {
        let take = |_, order: Option<Item<Order>>| {
            Ok(match order {
                Some(order) if order.run_id.as_ref() == Some(&run.run_id) => {
                    (None, Some(SubmittedOrder::from(&order.state)))
                }
                Some(mut order) if order.is_undecided() && page.may_take(&order) => {
                    order.run_id = Some(run.run_id.clone());
                    order.status = OrderStatus::Submitted;
                    order.expires_at = order.expires_at.max(run.deadline + TAKEN_OVER_WITHIN);
                    let taken = SubmittedOrder::from(&order.state);
                    (Some((order, format!("submitted to run {}", run.run_id), Vec::new())), Some(taken))
                }
                _ => (None, None),
            })
        };
        let claimed = self.change_all(&page.record_ids, loaded, take).await?;
        Ok(claimed.into_iter().flatten().collect())
    }
}
