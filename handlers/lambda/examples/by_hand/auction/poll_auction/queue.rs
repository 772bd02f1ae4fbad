//! Runs gather one after the other, and the next takes over one that is left: it passed its deadline, or was given up.

use super::{
    Phase, Poll, Run,
    gather::{Cursor, Page},
};
use crate::shared::{Done, Item, Listed, now};
use quadrille::{Failure, Timestamp};
use std::time::Duration;

/// Live runs looked at by a run that starts.
const LIVE_RUNS_MAX: i32 = 400;
/// Runs that have gathered and not ended, before a further one begins.
const RUNS_WAITING_MAX: usize = 100;
/// The longest a queued run waits before it looks again.
const QUEUED_MAX: Duration = Duration::from_secs(10);

impl Run {
    /// Whether it has gathered, and has not ended.
    fn waits(&self) -> bool {
        let gathered =
            matches!(self.phase, Phase::Waiting | Phase::Deciding { .. } | Phase::Reconciling { .. });
        gathered && !self.is_left()
    }

    /// Whether `later` has to wait until this run has gathered.
    fn gathers_before(&self, later: &Self) -> bool {
        let gathers = matches!(self.phase, Phase::Queued | Phase::TakingOver { .. } | Phase::Gathering(_));
        let is_before = (self.started_at, &self.run_id) < (later.started_at, &later.run_id);
        gathers && is_before && !self.is_left() && self.meets(later)
    }
}

impl Poll {
    async fn live_runs(&self) -> Result<Listed<Run>, Failure> {
        self.table.query::<Run>("live-runs", ("", "9"), LIVE_RUNS_MAX).await
    }

    pub async fn leave_queue(&self, mut run: Item<Run>) -> Done {
        let live = self.live_runs().await?;
        let before: Vec<&Item<Run>> = live.items.iter().filter(|other| other.gathers_before(&run)).collect();
        if run.version == 0
            && before.iter().any(|other| other.phase == Phase::Queued && other.part() == run.part())
        {
            return Ok("another run is queued: it takes what is open when it starts");
        }
        let waiting = live.items.iter().filter(|other| other.waits()).count();
        if !before.is_empty() || waiting >= RUNS_WAITING_MAX {
            let what = format!("queued: {} runs gather, {waiting} wait for the platform", before.len());
            let wait = Duration::from_secs(1 << run.round.min(4)).min(QUEUED_MAX);
            return self.next_round(run, &what, wait, Vec::new()).await;
        }
        run.started_at = now();
        run.phase = after_queue(&run, &live, &run.run_id);
        match run.phase.clone() {
            Phase::TakingOver { from, page } => self.take_over(run, from, page).await,
            _ => {
                let start = Cursor::start(run.part());
                self.gather(run, start).await
            }
        }
    }

    /// Takes over a page of a run that is left; behind its last page, ends it.
    pub async fn take_over(&self, run: Item<Run>, from: String, page: u32) -> Done {
        let Some(mut run) = self.written_down(run).await? else { return Ok("this round is over") };
        if page == 0 && !self.is_shut(&from, &run.run_id).await? {
            return self.go_on(run, &from, format!("run {from} is not left any more")).await;
        }
        if let Some((at, theirs)) = self.page_or_close(&from, page, &run).await? {
            let next = Phase::TakingOver { from: from.clone(), page: at + 1 };
            let what = match at - page {
                0 => format!("took over page {at} of run {from}, which was left"),
                pages => format!("took over page {at} of run {from}; {pages} before it can't be read"),
            };
            self.take_page(&mut run, Some(from), theirs.record_ids, None, next).await?;
            return self.next_round(run, &what, Duration::ZERO, Vec::new()).await;
        }
        // One that can't be read stays as it is until it expires.
        if let Some(Ok(Some(mut left))) = self.table.get_each::<Run>(&[&from]).await?.pop()
            && left.phase != Phase::Ended
        {
            left.phase = Phase::Ended;
            left.round += 1;
            let what = format!("failed; its undecided orders went to run {}", run.run_id);
            self.table.put(&left, &what, Vec::new()).await?;
        }
        let what = format!("took over run {from}");
        self.go_on(run, &from, what).await
    }

    /// Turns to the next run that is left, or to the open orders.
    async fn go_on(&self, mut run: Item<Run>, from: &str, what: String) -> Done {
        // An index may still list the run that has just ended.
        run.phase = match self.room(&run) {
            0 => Phase::Gathering(Cursor::start(run.part())),
            _ => after_queue(&run, &self.live_runs().await?, from),
        };
        self.next_round(run, &what, Duration::ZERO, Vec::new()).await
    }

    /// Ends the round of a run that is left, whatever becomes of its message; `false` where that run is not left any more.
    async fn is_shut(&self, from: &str, by: &str) -> Result<bool, Failure> {
        let mut left = match self.table.get_each::<Run>(&[from]).await?.pop() {
            Some(Ok(Some(left))) => left,
            // Nobody can work a round of one that can't be read.
            Some(Err(_)) => return Ok(true),
            _ => return Ok(false),
        };
        if left.phase == Phase::Ended || !left.is_left() {
            return Ok(false);
        }
        left.round += 1;
        left.is_given_up = true;
        self.table.commit(&left, &format!("left to run {by}"), Vec::new()).await?;
        Ok(true)
    }

    /// The first page of a run that is left, from `page` on, that can be read, and its number; `None` behind its last one, where
    /// it is closed now.
    async fn page_or_close(&self, from: &str, page: u32, by: &Run) -> Result<Option<(u32, Page)>, Failure> {
        for at in page.. {
            let id = Page::id_of(from, at);
            let mut theirs = self.table.get_each::<Page>(&[&id]).await?.pop();
            if let Some(Ok(None)) | None = theirs {
                self.table.put(&Item::new(Page::closing(from, at, by)), "closed", Vec::new()).await?;
                // Where another page was there first, that one counts.
                theirs = self.table.get_each::<Page>(&[&id]).await?.pop();
            }
            if let Some(Ok(theirs)) = theirs {
                let theirs = theirs.map(|page| page.state).filter(|page| !page.record_ids.is_empty());
                return Ok(theirs.map(|theirs| (at, theirs)));
            }
        }
        Ok(None)
    }
}

/// Taking over the first run that is left, is for `run` to take over, and is none of `but`; or gathering. Of a run that can't be
/// read its place in the index tells whether it passed its deadline.
fn after_queue(run: &Run, live: &Listed<Run>, but: &str) -> Phase {
    let read = live.items.iter().filter(|other| other.is_left());
    let read = read.map(|other| (other.deadline, other.run_id.as_str()));
    let overdue = live.unreadable.iter().filter_map(|sort| placed(sort)).filter(|(at, _)| *at < now());
    let others = read.chain(overdue).filter(|(_, id)| *id != but && *id != run.run_id);
    match others.filter(|(_, id)| run.inherits(id)).min() {
        Some((_, left)) => Phase::TakingOver { from: left.to_owned(), page: 0 },
        None => Phase::Gathering(Cursor::start(run.part())),
    }
}

/// The deadline and the id of the run at a place of the index.
fn placed(sort: &str) -> Option<(Timestamp, &str)> {
    let (deadline, run_id) = sort.split_once('/')?;
    Some((Timestamp::from_millis(deadline.parse().ok()?), run_id))
}
