//! A run: the orders open when it starts are handed to the platform, which is asked until it has decided; then every
//! decision is committed, page by page. Lambda A, `poll_auction`, does one round of it per message and re-enqueues itself.
//!
//! ```text
//! (Queued) ─▶ (TakingOver) ─▶ Gathering ─▶ Waiting ⟲ not ready ─▶ Deciding ─▶ (Reconciling) ─▶ Ended
//! ```
//!
//! Each round ends with the run's own commit, which carries the next round's number: a duplicate of a round that is over
//! finds another number and ends there. What a crash leaves half-done in a round is found done when it is repeated.
//!
//! An order that a run takes leaves the index of open orders, so that a later run does not even see it. Which orders a run
//! took stands in its pages, each written *before* the first of its orders is taken: so no order is ever in neither place.
//! Runs gather one after the other (a later one is queued meanwhile), so that they do not race for the same orders.
//! A run that has passed its deadline is taken over by the next: its undecided orders become that run's, page by page.

use super::{
    metrics::{
        ORDERS_ACCEPTED, ORDERS_REJECTED, ORDERS_UNDECIDABLE, POLLS, POLLS_NOT_READY, RECEIVED_TO_DECIDED,
        millis,
    },
    platform::{Answer, AuctionPlatform, Decision, SubmittedOrder},
    results::OrderDecided,
};
use futures_util::future::try_join_all;
use quadrille::{
    Backoff, Change, Commit, Committed, Context, Entity, Event, Failure, Handled, Outcome, Stored, Timestamp,
    domain::auction::{OPEN_SHARDS, Order, OrderStatus, open_partition},
    port::{IndexEntry, IndexQuery},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::HashMap, time::Duration};

/// Orders taken at once. So many of the longest ids (256 bytes, each escaped in JSON) and the cursors behind them still fit
/// a run's page, an item of at most 400 KB.
pub const ORDERS_PER_PAGE: usize = 760;

/// Orders worked in one round, several pages: a round costs waits of its own, and is to be over long before its timeout.
pub const ORDERS_PER_ROUND: usize = 4 * ORDERS_PER_PAGE;

/// A round begins no further page after this long: each may wait for the platform.
const ROUND_TIME: Duration = Duration::from_secs(10);

/// Faults of a round that are told one by one; the rest in one sum. Bounds the run's item.
const FAULTS_TOLD_MAX: usize = 100;

/// How often a queued run looks whether its turn has come.
const QUEUED: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_secs(10),
    multiplier: 2.0,
    jitter: 0.5,
};

/// Live runs looked at by a run that starts.
const LIVE_RUNS_MAX: usize = 200;

/// How long a run is kept after its deadline.
const RUN_KEPT: Duration = Duration::from_secs(2 * 86_400);

/// How long after a run's deadline its orders are kept at least, for the next run to take them over: an order that is being
/// auctioned must not expire. Kickoffs are to come more often than that.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(2 * 3_600);

/// What `poll_auction` may emit.
pub type Emits = (PollAuction, OrderDecided);

/// "It is time for round `round` of this run." Round 0 is the kickoff.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PollAuction {
    /// The scheduled time of the kickoff, RFC 3339: a repeated kickoff is the same run.
    pub run_id: String,
    /// Which round it is.
    #[serde(default)]
    pub round: u32,
}

impl Event for PollAuction {
    const TYPE: &'static str = "auction.poll";
    type Entity = Run;
    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.run_id)
    }
}

/// A run of the auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The scheduled time of its kickoff.
    pub run_id: String,
    /// When it began to gather: orders received after this are the next run's. Until then, the time of its kickoff.
    pub started_at: Timestamp,
    /// When it fails if it has not ended; its undecided orders are the next run's then.
    pub deadline: Timestamp,
    /// The round to come.
    pub round: u32,
    /// How far it is.
    pub phase: Phase,
    /// Asks answered "not ready".
    pub polls: u32,
    /// Pages handed to the platform.
    pub pages: u32,
    /// Orders handed to the platform.
    pub submitted: u64,
    /// Orders accepted.
    pub accepted: u64,
    /// Orders rejected.
    pub rejected: u64,
    /// Orders whose decision is missing or of an unknown status.
    pub undecidable: u64,
    /// A decision was found made before: by an earlier attempt at a round, or the platform told it twice. So the counts
    /// prove nothing, and the orders are counted in the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_uncertain: bool,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the runs before it have gathered.
    Queued,
    /// Taking the undecided orders of a run that passed its deadline.
    TakingOver {
        /// That run.
        from: String,
        /// The page of it to come.
        page: u32,
    },
    /// Taking open orders and handing them to the platform.
    Gathering(Cursors),
    /// The platform has them all and has not decided.
    Waiting,
    /// Committing decisions.
    Deciding {
        /// The platform's page token; `None` for the first page.
        after: Option<String>,
        /// Decisions of that page already committed.
        offset: usize,
    },
    /// Looking through the run's own pages for orders whose decision is missing.
    Reconciling {
        /// The page to come.
        page: u32,
    },
    /// Over.
    Ended,
}

/// A place in each shard of the open orders: all are read on together, up to the same time, so that a page holds orders of one
/// time, which lie together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors(Vec<Cursor>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cursor {
    After(String),
    Done,
}

impl Cursors {
    fn start() -> Self {
        Self((0..OPEN_SHARDS).map(|_| Cursor::After(String::new())).collect())
    }

    fn is_done(&self) -> bool {
        self.0.iter().all(|cursor| *cursor == Cursor::Done)
    }

    /// The next page of open orders received by `started_at`, moving on behind them.
    async fn next_page(
        &mut self,
        started_at: Timestamp,
        cx: &Context<Emits>,
    ) -> Result<Vec<Stored<Order>>, Failure> {
        let before = format!("{:015}", started_at.as_millis() + 1);
        let limit = ORDERS_PER_PAGE / self.0.len().max(1);
        let queries = self.0.iter().enumerate().filter_map(|(shard, cursor)| {
            let Cursor::After(after) = cursor else { return None };
            let query = IndexQuery {
                partition: open_partition(shard as u64),
                after: Some(after.clone()).filter(|after| !after.is_empty()),
                before: Some(before.clone()),
                limit,
            };
            Some(async move { Ok::<_, Failure>((shard, cx.query::<Order>(&query).await?)) })
        });
        let pages = try_join_all(queries).await?;
        // Every shard was looked through up to here. What lies behind it is left for the next page: shards are not as full as
        // each other, and a page that took it would lie scattered among its neighbours.
        let horizon = pages.iter().filter_map(|(_, (_, next))| next.as_ref()).min().cloned();
        let mut orders = Vec::with_capacity(pages.iter().map(|(_, (page, _))| page.len()).sum());
        for (shard, (mut page, next)) in pages {
            let found = page.len();
            if let Some(horizon) = &horizon {
                page.truncate(page.partition_point(|order| order.index_sort() <= *horizon));
            }
            let is_done = next.is_none() && page.len() == found;
            self.0[shard] = match (&self.0[shard], &horizon) {
                // A version before this one may have read a shard further on than the others.
                (Cursor::After(before), Some(horizon)) if !is_done => {
                    Cursor::After(horizon.max(before).clone())
                }
                _ => Cursor::Done,
            };
            orders.extend(page);
        }
        // In the order they came in, as they lie in the table.
        orders.sort_by(|a, b| (a.received_at, &a.record_id).cmp(&(b.received_at, &b.record_id)));
        Ok(orders)
    }
}

/// The index partition of the runs that have not ended, by deadline.
const LIVE_RUNS: &str = "live-runs";

impl Entity for Run {
    const KIND: &'static str = "run";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.run_id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.deadline + RUN_KEPT)
    }

    fn index(&self) -> Option<IndexEntry> {
        (self.phase != Phase::Ended).then(|| IndexEntry {
            partition: LIVE_RUNS.into(),
            sort: format!("{:015}/{}", self.deadline.as_millis(), self.run_id),
        })
    }
}

impl Run {
    /// Whether `later` has to wait until this run has gathered.
    fn gathers_before(&self, later: &Self, now: Timestamp) -> bool {
        let gathers = matches!(self.phase, Phase::Queued | Phase::TakingOver { .. } | Phase::Gathering(_));
        gathers && self.deadline >= now && (self.started_at, &self.run_id) < (later.started_at, &later.run_id)
    }

    fn start(run_id: String, started_at: Timestamp, deadline: Timestamp, phase: Phase) -> Self {
        Self {
            run_id,
            started_at,
            deadline,
            round: 0,
            phase,
            polls: 0,
            pages: 0,
            submitted: 0,
            accepted: 0,
            rejected: 0,
            undecidable: 0,
            is_uncertain: false,
        }
    }
}

/// Which orders a run was about to take at once, written before it takes the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunPage {
    run_id: String,
    page: u32,
    /// The run they are taken over from; `None` for open orders.
    from: Option<String>,
    record_ids: Vec<String>,
    /// How far the run is once it has them.
    next: Phase,
    expires_at: Timestamp,
}

impl RunPage {
    fn id_of(run_id: &str, page: u32) -> String {
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

/// Lambda A: one round of a run.
///
/// # Errors
/// Transient failures of table and platform; permanent: `malformed_run`, `entity_gone`, and what the platform refuses.
pub async fn poll_auction(
    platform: &dyn AuctionPlatform,
    backoff: Backoff,
    run: Option<Stored<Run>>,
    event: PollAuction,
    cx: Context<Emits>,
) -> Outcome<Emits> {
    let run = match run {
        None if event.round == 0 => {
            let malformed = |error| Failure::permanent("malformed_run", format_args!("run_id: {error}"));
            let started_at = Timestamp::parse(&event.run_id).map_err(malformed)?;
            let deadline = cx.deadline().unwrap_or(Timestamp::MAX);
            Stored::new(Run::start(event.run_id, started_at, deadline, Phase::Queued))
        }
        None => {
            return Err(Failure::permanent("entity_gone", "the run of this round has expired"));
        }
        Some(run) if run.round != event.round => return Ok(Handled::Already("this round is over")),
        Some(run) => run,
    };
    let mut run = run;
    if run.phase == Phase::Queued {
        let (live, now) = (live_runs(&cx).await?, cx.now());
        let is_before = |other: &&Stored<Run>| other.gathers_before(&run, now) && !is_given_up(other);
        let before: Vec<&Stored<Run>> = live.iter().filter(is_before).collect();
        if run.version() == 0 && before.iter().any(|other| other.phase == Phase::Queued) {
            return Ok(Handled::Already("another run is queued: it takes what is open when it starts"));
        }
        if let Some(before) = before.first() {
            let what = format!("queued: run {} is gathering", before.run_id);
            let wait = QUEUED.after(run.round + 1, cx.random());
            return Ok(next_round(run, what, Some(wait)).into());
        }
        run.phase = first_phase(&live, now);
        run.started_at = now;
    }
    match run.phase.clone() {
        Phase::Queued => Err(Failure::transient("queued", "the run is still queued")),
        Phase::TakingOver { from, page } => take_over(run, from, page, platform, &cx).await,
        Phase::Gathering(cursors) => gather(run, cursors, platform, &cx).await,
        Phase::Waiting => match ask(&run, platform, None, &cx).await? {
            Answer::NotReady => {
                cx.measure(POLLS_NOT_READY, 1.0);
                let mut run = run;
                run.polls += 1;
                let wait = backoff.after(run.polls, cx.random());
                let what = format!("waiting: not ready (ask {})", run.polls);
                Ok(next_round(run, what, Some(wait)).into())
            }
            Answer::Ready { decisions, faults, next } => {
                decide(run, Page { after: None, offset: 0, decisions, faults, next }, platform, &cx).await
            }
        },
        Phase::Deciding { after, offset } => match ask(&run, platform, after.as_deref(), &cx).await? {
            Answer::NotReady => Err(Failure::transient(
                "platform_error",
                "the platform had decided and says again that it has not",
            )),
            Answer::Ready { decisions, faults, next } => {
                decide(run, Page { after, offset, decisions, faults, next }, platform, &cx).await
            }
        },
        Phase::Reconciling { page } => reconcile(run, page, &cx).await,
        Phase::Ended => Ok(Handled::Already("the run has ended")),
    }
}

/// Asks the platform for a page of the run's results.
async fn ask(
    run: &Run,
    platform: &dyn AuctionPlatform,
    after: Option<&str>,
    cx: &Context<Emits>,
) -> Result<Answer, Failure> {
    cx.measure(POLLS, 1.0);
    platform.results(&run.run_id, run.polls, after).await
}

/// The run's commit that calls its next round.
fn next_round(
    mut run: Stored<Run>,
    what: impl Into<Cow<'static, str>>,
    wait: Option<Duration>,
) -> Commit<Emits> {
    run.round += 1;
    let event = PollAuction { run_id: run.run_id.clone(), round: run.round };
    match wait {
        Some(wait) => run.commit(what).emit_after(wait, event),
        None => run.commit(what).emit(event),
    }
}

/// The run's last commit.
fn end(mut run: Stored<Run>) -> Commit<Emits> {
    run.round += 1;
    run.phase = Phase::Ended;
    let what = format!(
        "ended: {} submitted, {} accepted, {} rejected, {} undecidable",
        run.submitted, run.accepted, run.rejected, run.undecidable
    );
    run.commit(what)
}

/// The run as it stands in the table, written down now where it was not: an order that is a run's must find that run
/// there, whatever becomes of the message of this round. `None` where the round is over meanwhile.
async fn written_down(run: Stored<Run>, cx: &Context<Emits>) -> Result<Option<Stored<Run>>, Failure> {
    if run.version() > 0 {
        return Ok(Some(run));
    }
    let (id, round) = (run.run_id.clone(), run.round);
    // Of several who write it down one wins, and all go on with what is there.
    cx.commit_all(vec![run.commit("started")]).await?;
    let written = cx.get::<Run>(&[id]).await?.pop().flatten();
    Ok(written.filter(|written| written.round == round))
}

/// Runs that have not ended, the earliest first. More than a page of them would mean that the platform has not decided for
/// as many kickoffs.
async fn live_runs(cx: &Context<Emits>) -> Result<Vec<Stored<Run>>, Failure> {
    let query = IndexQuery { partition: LIVE_RUNS.into(), after: None, before: None, limit: LIVE_RUNS_MAX };
    Ok(cx.query::<Run>(&query).await?.0)
}

/// Whether the message of a run's next round is a dead letter: the run goes on once that is redriven, and until then is in
/// nobody's way.
fn is_given_up(run: &Stored<Run>) -> bool {
    run.trail().last().is_some_and(|entry| entry.what.starts_with("dead-lettered"))
}

/// What a run begins with: taking over the first run that passed its deadline without ending, or else gathering.
fn first_phase(live: &[Stored<Run>], now: Timestamp) -> Phase {
    match live.iter().find(|run| run.deadline < now) {
        Some(overdue) => Phase::TakingOver { from: overdue.run_id.clone(), page: 0 },
        None => Phase::Gathering(Cursors::start()),
    }
}

/// Takes over a page of a run that passed its deadline; behind its last page, ends it.
async fn take_over(
    run: Stored<Run>,
    from: String,
    page: u32,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::Already("this round is over"));
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
        overdue.phase = Phase::Ended;
        overdue.round += 1;
        let what = format!("failed: deadline passed; its open orders went to run {}", run.run_id);
        cx.commit_all(vec![overdue.commit(what)]).await?;
    }
    let live = live_runs(cx).await?;
    // An index may still list the run that has just ended.
    let live: Vec<Stored<Run>> = live.into_iter().filter(|other| other.run_id != from).collect();
    run.phase = first_phase(&live, cx.now());
    Ok(next_round(run, format!("took over run {from}"), None).into())
}

/// How much more a round may do.
struct Round {
    orders: usize,
    until: Timestamp,
}

impl Round {
    fn begin(now: Timestamp) -> Self {
        Self { orders: ORDERS_PER_ROUND, until: now + ROUND_TIME }
    }

    fn worked(&mut self, orders: usize) {
        self.orders = self.orders.saturating_sub(orders);
    }

    fn has_room(&self, now: Timestamp) -> bool {
        self.orders > 0 && now < self.until
    }
}

/// Takes pages of open orders for the run, and hands each to the platform.
async fn gather(
    run: Stored<Run>,
    mut cursors: Cursors,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let mut round = Round::begin(cx.now());
    let mut orders = cursors.next_page(run.started_at, cx).await?;
    if run.version() == 0 && orders.is_empty() && cursors.is_done() {
        // Nothing to auction: most runs of an idle system end here, and cost no write.
        return Ok(Handled::Already("no order is open"));
    }
    let Some(mut run) = written_down(run, cx).await? else {
        return Ok(Handled::Already("this round is over"));
    };
    loop {
        // Pages are counted, not their orders: few may be left of each.
        round.worked(ORDERS_PER_PAGE);
        let next = if cursors.is_done() { Phase::Waiting } else { Phase::Gathering(cursors) };
        let record_ids = orders.iter().map(|order| order.record_id.clone()).collect();
        let wanted = Wanted { from: None, record_ids, loaded: Some(orders), next };
        take_page(&mut run, wanted, platform, cx).await?;
        match run.phase.clone() {
            Phase::Gathering(further) if round.has_room(cx.now()) => cursors = further,
            _ => break,
        }
        orders = cursors.next_page(run.started_at, cx).await?;
    }
    if run.phase != Phase::Waiting {
        let what = format!("submitted {} orders", run.submitted);
        return Ok(next_round(run, what, None).into());
    }
    if run.submitted == 0 {
        return Ok(end(run).into());
    }
    let what = format!("submitted {} orders, all that were open", run.submitted);
    Ok(next_round(run, what, None).into())
}

/// What a round is about to take.
struct Wanted {
    from: Option<String>,
    record_ids: Vec<String>,
    /// The orders, where they were just read.
    loaded: Option<Vec<Stored<Order>>>,
    next: Phase,
}

/// Writes down the page, takes its orders, hands them to the platform, and moves the run on (the caller commits it). A
/// page that an earlier attempt wrote down is the one that counts.
async fn take_page(
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
    // An empty page is not written; still an earlier attempt may have written one, and taken its orders from the index.
    let written = if page.record_ids.is_empty() {
        cx.get::<RunPage>(&[&id]).await?.pop().flatten()
    } else {
        let commit = Stored::new(page.clone()).commit("about to be taken");
        match cx.commit_all(vec![commit]).await?.first() {
            Some(Committed::Conflict) => cx.get::<RunPage>(&[&id]).await?.pop().flatten(),
            _ => None,
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
    run.phase = page.next;
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
    let take = |_, order: Option<Stored<Order>>| match order {
        Some(order) if order.run_id.as_ref() == Some(&run.run_id) => Change::Keep(Some(submitted(&order))),
        Some(mut order) if order.is_undecided() && order.run_id == page.from => {
            order.run_id = Some(run.run_id.clone());
            order.status = OrderStatus::Submitted;
            order.expires_at = order.expires_at.max(run.deadline + TAKEN_OVER_WITHIN);
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

/// A page of the platform's answer.
struct Page {
    after: Option<String>,
    offset: usize,
    decisions: Vec<Decision>,
    faults: Vec<String>,
    next: Option<String>,
}

/// Commits decisions, page by page of the platform's.
async fn decide(
    mut run: Stored<Run>,
    mut page: Page,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let mut round = Round::begin(cx.now());
    let mut told: Vec<OrderDecided> = Vec::new();
    let mut failed = String::new();
    let next = loop {
        let Page { after, offset, decisions, faults, next } = page;
        if offset == 0 {
            told.extend(faults.into_iter().map(|fault| OrderDecided::broken(&run.run_id, fault)));
        }
        let (total, mut done) = (decisions.len(), offset);
        let mut left = decisions.into_iter().skip(offset);
        let has_room = |round: &Round, told: &[_]| round.has_room(cx.now()) && told.len() < FAULTS_TOLD_MAX;
        while done < total {
            let slice: Vec<Decision> = left.by_ref().take(ORDERS_PER_PAGE).collect();
            done += slice.len();
            round.worked(slice.len());
            decide_slice(&mut run, slice, &mut told, cx).await?;
            if !has_room(&round, &told) {
                break;
            }
        }
        if done < total {
            break Some(Phase::Deciding { after, offset: done });
        }
        let Some(next) = next else { break None };
        // An ask counts as well: a page may be empty.
        round.worked(1);
        if has_room(&round, &told) {
            // Where the platform fails now, what is decided so far is written down, and the next round asks again.
            match ask(&run, platform, Some(&next), cx).await {
                Ok(Answer::Ready { decisions, faults, next: further }) => {
                    page = Page { after: Some(next), offset: 0, decisions, faults, next: further };
                    continue;
                }
                Ok(Answer::NotReady) => {}
                Err(failure) => failed = format!("; the next page: {}", failure.reason()),
            }
        }
        break Some(Phase::Deciding { after: Some(next), offset: 0 });
    };
    let decided = run.accepted + run.rejected + run.undecidable;
    let commit = if let Some(next) = next {
        run.phase = next;
        next_round(run, format!("decided {decided} orders{failed}"), None)
    } else if decided < run.submitted || run.is_uncertain {
        run.phase = Phase::Reconciling { page: 0 };
        let what = match run.submitted.saturating_sub(decided) {
            0 => "decided, some orders more than once: they are counted".to_owned(),
            missing => format!("decided {decided} orders, {missing} are missing"),
        };
        next_round(run, what, None)
    } else {
        end(run)
    };
    Ok(tell(commit, told).into())
}

/// Commits these decisions and counts them; adds to `told` those that fit no order.
async fn decide_slice(
    run: &mut Run,
    slice: Vec<Decision>,
    told: &mut Vec<OrderDecided>,
    cx: &Context<Emits>,
) -> Result<(), Failure> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(slice.len());
    let mut deciding: Vec<Decision> = Vec::with_capacity(slice.len());
    for decision in slice {
        match places.get(&decision.record_id).and_then(|place| deciding.get(*place)) {
            Some(first) if first.status != decision.status => {
                told.push(OrderDecided::fault(&run.run_id, &decision.record_id, "conflicting_decision"));
            }
            Some(_) => {}
            None => {
                places.insert(decision.record_id.clone(), deciding.len());
                deciding.push(decision);
            }
        }
    }
    let ids: Vec<&str> = deciding.iter().map(|decision| decision.record_id.as_str()).collect();
    let (run_id, now) = (run.run_id.as_str(), cx.now());
    let applied = cx.change_all(&ids, |place, order| applied(run_id, order, &deciding[place], now)).await?;
    for (applied, decision) in applied.into_iter().zip(&deciding) {
        match applied {
            Applied::Now => *run.count_of(decision) += 1,
            Applied::Before => {
                *run.count_of(decision) += 1;
                run.is_uncertain = true;
            }
            Applied::Fault(reason) => {
                told.push(OrderDecided::fault(&run.run_id, &decision.record_id, reason));
            }
        }
    }
    Ok(())
}

/// Emits the faults with the run's commit: they have no order to be committed with.
fn tell(mut commit: Commit<Emits>, mut told: Vec<OrderDecided>) -> Commit<Emits> {
    let more = told.len().saturating_sub(FAULTS_TOLD_MAX);
    told.truncate(FAULTS_TOLD_MAX);
    if let (Some(last), true) = (told.last().cloned(), more > 0) {
        told.push(OrderDecided::broken(
            &last.run_id,
            format!("and {more} more decisions of this page that fit no order"),
        ));
    }
    for event in told {
        commit = commit.emit(event);
    }
    commit
}

/// What became of a decision.
enum Applied {
    /// It is committed.
    Now,
    /// An earlier attempt at this round did it, or the platform told it before.
    Before,
    /// It fits no order of the run.
    Fault(&'static str),
}

impl Run {
    /// Where a decision is counted.
    fn count_of(&mut self, decision: &Decision) -> &mut u64 {
        match decision.status.as_deref() {
            Some("accepted") => &mut self.accepted,
            Some("rejected") => &mut self.rejected,
            _ => &mut self.undecidable,
        }
    }
}

/// What a decision does to its order.
fn applied(
    run_id: &str,
    order: Option<Stored<Order>>,
    decision: &Decision,
    now: Timestamp,
) -> Change<Emits, Applied> {
    let Some(mut order) = order.filter(|order| order.run_id.as_deref() == Some(run_id)) else {
        return Change::Keep(Applied::Fault("unknown_order"));
    };
    let undecidable = match decision.status.as_deref() {
        Some("accepted" | "rejected") => None,
        Some(_) => Some("unknown_status"),
        None => Some("decision_missing"),
    };
    let status = match decision.status.as_deref() {
        Some("accepted") => OrderStatus::Accepted,
        Some("rejected") => OrderStatus::Rejected,
        _ => order.status,
    };
    if !order.is_undecided() {
        let is_same = order.status == status && order.undecidable.as_deref() == undecidable;
        return Change::Keep(if is_same { Applied::Before } else { Applied::Fault("conflicting_decision") });
    }
    order.status = status;
    order.power.clone_from(&decision.power);
    order.undecidable = undecidable.map(Cow::Borrowed);
    order.decided_at = Some(now);
    let what = match undecidable {
        None => Cow::Borrowed(status.as_str()),
        Some(reason) => Cow::Owned(format!("undecidable: {reason}")),
    };
    let event = OrderDecided::of(&order, run_id);
    let took = millis(order.received_at, now);
    let commit = order.commit(what).emit(event);
    let commit = match (undecidable, status) {
        (Some(_), _) => commit.measure(ORDERS_UNDECIDABLE, 1.0),
        (None, OrderStatus::Accepted) => {
            commit.measure(ORDERS_ACCEPTED, 1.0).measure(RECEIVED_TO_DECIDED, took)
        }
        (None, _) => commit.measure(ORDERS_REJECTED, 1.0).measure(RECEIVED_TO_DECIDED, took),
    };
    Change::Commit(commit, Applied::Now)
}

/// Names the orders of a page of the run that the platform said nothing about, and counts the others.
async fn reconcile(mut run: Stored<Run>, page: u32, cx: &Context<Emits>) -> Outcome<Emits> {
    let record_ids = match cx.get::<RunPage>(&[RunPage::id_of(&run.run_id, page)]).await?.pop().flatten() {
        Some(page) => page.into_state().record_ids,
        None => Vec::new(),
    };
    let now = cx.now();
    // Answers the status of an order that is the run's.
    let missing = |_, order: Option<Stored<Order>>| {
        let Some(mut order) = order.filter(|order| order.run_id.as_ref() == Some(&run.run_id)) else {
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
        run.phase = Phase::Reconciling { page: page + 1 };
        return Ok(next_round(run, "looking for orders whose decision is missing", None).into());
    }
    // Counted at the end: a repeated page would not find again what it named before.
    run.undecidable = run.submitted.saturating_sub(run.accepted + run.rejected);
    Ok(end(run).into())
}
