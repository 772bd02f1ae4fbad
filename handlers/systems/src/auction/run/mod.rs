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
//! Runs gather one after the other (a later one is queued meanwhile), so that they do not race for the same orders. A run
//! takes so many open orders at most; one that is full kicks off the next, so that it decides while orders go on coming in.
//! A run that has passed its deadline, or whose round was given up, is left: the next one takes it over. Its undecided orders
//! become that run's, page by page.
//!
//! Where one run is too slow, its kickoff is divided into several (the setting `run_parts`): each has shards of the open orders of
//! its own, and its own pages, rounds and end.

mod cursors;
mod decide;
mod gather;
mod given_up;
mod live;
mod page;
mod part;
mod phase;
mod queued;
mod reconcile;
mod take_over;

pub use cursors::Cursors;
pub use given_up::{given_up, leave_run};
pub use page::RunPage;
pub use phase::{IllegalTransition, Phase};

use super::{platform::AuctionPlatform, results::OrderDecided};
use decide::{go_on_deciding, poll};
use gather::gather;
use phase::RoundEvent;
use quadrille::{
    Backoff, Commit, Context, Entity, Event, Failure, Handled, Outcome, Stored, Timestamp, planted,
    port::IndexEntry,
};
use queued::leave_queue;
use reconcile::reconcile;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};
use take_over::take_over;

/// Orders taken at once. So many of the longest ids (256 bytes, each escaped in JSON) and the cursors behind them still fit
/// a run's page, an item of at most 400 KB.
pub const ORDERS_PER_PAGE: usize = 760;

/// Orders worked in one round, several pages: a round costs waits of its own, and is to be over long before its timeout.
pub const ORDERS_PER_ROUND: usize = 4 * ORDERS_PER_PAGE;

/// A round begins no further page after this long: each may wait for the platform.
const ROUND_TIME: Duration = Duration::from_secs(10);

/// Decisions that a platform may tell beside two of each order: repeated ones, those of no order, pages without any. One that
/// tells more tells in circles.
const HEARD_BESIDE_MAX: u64 = 1_000;

/// How long a run is kept after its deadline.
const RUN_KEPT: Duration = Duration::from_secs(2 * 86_400);

/// When a run was kicked off.
///
/// # Errors
/// A permanent `malformed_run`.
#[cfg(feature = "sim")]
pub(super) fn kickoff_of(run: &Run) -> Result<Timestamp, Failure> {
    part::read(&run.run_id).map(|(kickoff, _)| kickoff)
}

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

/// "Round `round` of this run was given up: leave the run to the next one."
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaveRun {
    /// The run.
    pub run_id: String,
    /// The round that was given up.
    pub round: u32,
}

impl Event for LeaveRun {
    const TYPE: &'static str = "auction.run.leave";
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
    /// Decisions that the platform has told, whatever became of them; a page without any counts as one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heard: u64,
    /// The message of its round was given up: its undecided orders are open to the next run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_given_up: bool,
    /// Open orders that it passed over, for they can't be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
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

    fn status(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.phase.name()))
    }

    fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn deadline(&self) -> Option<Timestamp> {
        Some(self.deadline)
    }
}

/// What a run is held to.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Waits between two asks of a platform that is not ready.
    pub backoff: Backoff,
    /// The longest a run may take, from its kickoff on.
    pub time: Duration,
    /// The most open orders that a run takes; more are the next one's.
    pub orders: u64,
    /// Partitions of the index that open orders are spread over.
    pub shards: u64,
    /// Runs that a kickoff is divided into.
    pub parts: u64,
}

impl Run {
    /// Moves the run on. The only place where its phase changes.
    ///
    /// # Errors
    /// An event that its phase does not expect.
    fn advance(&mut self, event: RoundEvent) -> Result<(), IllegalTransition> {
        self.phase = self.phase.clone().next(event)?;
        Ok(())
    }

    /// Whether it is left to the next run: it passed its deadline, or its round was given up.
    fn is_left(&self, now: Timestamp) -> bool {
        self.is_given_up || self.deadline < now
    }

    /// How many more open orders it takes.
    fn room(&self, terms: &Terms) -> usize {
        usize::try_from(terms.orders.saturating_sub(self.submitted)).unwrap_or(usize::MAX)
    }

    /// The kickoff of the run that goes on where this one is full: a time of its own, though no time may have passed.
    fn next_kickoff(&self, now: Timestamp) -> Result<PollAuction, Failure> {
        let (own, _) = part::read(&self.run_id)?;
        let time = now.max(own + Duration::from_millis(1));
        Ok(PollAuction { run_id: format!("{time}{}", self.behind_time()), round: 0 })
    }

    /// Whether the platform has told more than there can be to tell.
    fn has_heard_too_much(&self) -> bool {
        self.heard > 2 * self.submitted + HEARD_BESIDE_MAX
    }

    /// A run as its kickoff begins it.
    fn kicked_off(run_id: String, time: Duration, cx: &Context<Emits>) -> Result<Self, Failure> {
        let (started_at, _) = part::read(&run_id)?;
        Ok(Self {
            run_id,
            started_at,
            deadline: cx.deadline().unwrap_or(Timestamp::MAX).min(started_at + time),
            round: 0,
            phase: Phase::Queued,
            polls: 0,
            pages: 0,
            submitted: 0,
            accepted: 0,
            rejected: 0,
            undecidable: 0,
            is_uncertain: false,
            heard: 0,
            is_given_up: false,
            unreadable: 0,
        })
    }
}

/// Lambda A: one round of a run.
///
/// # Errors
/// Transient failures of table and platform; permanent: `malformed_run`, `entity_gone`, `deadline_passed`,
/// `illegal_transition`, and what the platform refuses.
pub async fn poll_auction(
    platform: &dyn AuctionPlatform,
    terms: Terms,
    run: Option<Stored<Run>>,
    event: PollAuction,
    cx: Context<Emits>,
) -> Outcome<Emits> {
    let run = match run {
        None if event.round == 0 => {
            let run_id = if planted("run_id_from_clock") { cx.now().to_string() } else { event.run_id };
            Stored::new(Run::kicked_off(run_id, terms.time, &cx)?)
        }
        None => {
            return Err(Failure::permanent("entity_gone", "the run of this round has expired"));
        }
        Some(run) if run.round != event.round => return Ok(Handled::already("this round is over")),
        Some(mut run) => {
            // A redrive goes on with a run that nobody has begun to take over: its round would be another one.
            run.is_given_up = false;
            run
        }
    };
    if cx.now() > run.deadline && run.phase != Phase::Ended {
        let detail = format_args!("the deadline was {}", run.deadline);
        return Err(Failure::permanent("deadline_passed", detail));
    }
    if run.version() == 0 && terms.parts > 1 && run.behind_time().is_empty() {
        return part::divide(run, terms.parts);
    }
    match run.phase.clone() {
        Phase::Queued => leave_queue(run, &terms, platform, &cx).await,
        Phase::TakingOver { from, page } => take_over(run, from, page, &terms, platform, &cx).await,
        Phase::Gathering(cursors) => gather(run, cursors, &terms, platform, &cx).await,
        Phase::Waiting => poll(run, terms.backoff, platform, &cx).await,
        Phase::Deciding { after, offset } => go_on_deciding(run, after, offset, platform, &cx).await,
        Phase::Reconciling { page } => reconcile(run, page, &cx).await,
        Phase::Ended => Ok(Handled::already("the run has ended")),
    }
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

/// What a trail tells of open orders that were passed over.
fn unreadable(count: u64) -> String {
    if count == 0 { String::new() } else { format!(", {count} open ones can't be read") }
}

/// The run's last commit.
fn end(mut run: Stored<Run>) -> Result<Commit<Emits>, IllegalTransition> {
    run.round += 1;
    run.advance(RoundEvent::Finished)?;
    let what = format!(
        "ended: {} submitted, {} accepted, {} rejected, {} undecidable{}",
        run.submitted,
        run.accepted,
        run.rejected,
        run.undecidable,
        unreadable(run.unreadable)
    );
    Ok(run.commit(what))
}

/// The run as it stands in the table, written down now where it was not: an order that is a run's must find that run
/// there, whatever becomes of the message of this round. `None` where the round is over meanwhile.
async fn written_down(run: Stored<Run>, cx: &Context<Emits>) -> Result<Option<Stored<Run>>, Failure> {
    if run.version() > 0 {
        return Ok(Some(run));
    }
    let (id, round) = (run.run_id.clone(), run.round);
    // Of several who write it down one wins, and all go on with what is there.
    cx.commit(run.commit("started")).await?;
    let written = cx.get_one::<Run>(&id).await?;
    Ok(written.filter(|written| written.round == round))
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
