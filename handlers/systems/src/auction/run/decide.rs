//! Asking the platform, and committing what it has decided.

use super::{Emits, ORDERS_PER_PAGE, Round, RoundEvent, Run, end, next_round};
use crate::auction::{
    metrics::{
        ORDERS_ACCEPTED, ORDERS_REJECTED, ORDERS_UNDECIDABLE, POLLS, POLLS_NOT_READY, RECEIVED_TO_DECIDED,
    },
    platform::{Answer, AuctionPlatform, Decision},
    results::OrderDecided,
};
use quadrille::{
    Backoff, Change, Commit, Context, Failure, Outcome, Stored, Timestamp,
    domain::auction::{Order, OrderStatus},
    metrics::millis,
    planted,
};
use std::{borrow::Cow, collections::HashMap, time::Duration};

/// Faults of a round that are told one by one; the rest in one sum. Bounds the run's item.
const FAULTS_TOLD_MAX: usize = 100;

/// Asks the platform whether it has decided; if so, commits its decisions.
pub(super) async fn poll(
    mut run: Stored<Run>,
    backoff: Backoff,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    if let Some(page) = ask(&run, platform, None, 0, cx).await? {
        return decide(run, page, platform, cx).await;
    }
    cx.measure(POLLS_NOT_READY, 1.0);
    run.polls += 1;
    let wait = backoff.after(run.polls, cx.random());
    let what = format!("waiting: not ready (poll {})", run.polls);
    Ok(next_round(run, what, Some(wait)).into())
}

/// Commits decisions from where the round before this one ended.
pub(super) async fn go_on_deciding(
    run: Stored<Run>,
    after: Option<String>,
    offset: usize,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let Some(page) = ask(&run, platform, after, offset, cx).await? else {
        let detail = "the platform had decided and says again that it has not";
        return Err(Failure::transient("platform_error", detail));
    };
    decide(run, page, platform, cx).await
}

/// A page of the platform's answer. Its decisions up to `offset` are committed.
struct Page {
    after: Option<String>,
    offset: usize,
    decisions: Vec<Decision>,
    faults: Vec<String>,
    next: Option<String>,
}

/// Asks the platform for a page of the run's results; `None` where it has not decided.
async fn ask(
    run: &Run,
    platform: &dyn AuctionPlatform,
    after: Option<String>,
    offset: usize,
    cx: &Context<Emits>,
) -> Result<Option<Page>, Failure> {
    cx.measure(POLLS, 1.0);
    Ok(match platform.results(&run.run_id, run.polls, after.as_deref()).await? {
        Answer::NotReady => None,
        Answer::Ready { decisions, faults, next } => Some(Page { after, offset, decisions, faults, next }),
    })
}

/// What a round of deciding has done.
struct Deciding {
    round: Round,
    /// Faults to be told.
    told: Vec<OrderDecided>,
    /// Why the platform told no further page, for the trail.
    failed: String,
    /// How long it asks not to be asked again.
    wait: Option<Duration>,
}

impl Deciding {
    fn has_room(&self, now: Timestamp) -> bool {
        self.round.has_room(now) && self.told.len() < FAULTS_TOLD_MAX
    }
}

/// Commits decisions, page by page of the platform's.
async fn decide(
    mut run: Stored<Run>,
    mut page: Page,
    platform: &dyn AuctionPlatform,
    cx: &Context<Emits>,
) -> Outcome<Emits> {
    let round = Round::begin(cx.now());
    let mut deciding = Deciding { round, told: Vec::new(), failed: String::new(), wait: None };
    let left = loop {
        let Page { after, offset, decisions, faults, next } = page;
        let total = decisions.len();
        if offset == 0 {
            deciding.told.extend(faults.into_iter().map(|fault| OrderDecided::broken(&run.run_id, fault)));
            run.heard += total.max(1) as u64;
        }
        let done = decide_page(&mut run, decisions, offset, &mut deciding, cx).await?;
        if done < total {
            break Some((after, done));
        }
        let Some(next) = next.filter(|_| !planted("page_cursor_lost")) else { break None };
        if run.has_heard_too_much() {
            deciding.failed = "; more pages than there can be: the others are not read".to_owned();
            break None;
        }
        // An ask counts as well: a page may be empty.
        deciding.round.worked(1);
        if !deciding.has_room(cx.now()) {
            break Some((Some(next), 0));
        }
        match ask(&run, platform, Some(next.clone()), 0, cx).await {
            Ok(Some(further)) => page = further,
            Ok(None) => break Some((Some(next), 0)),
            // What is decided so far is written down, and the next round asks again.
            Err(failure) => {
                deciding.failed = format!("; the next page: {}", failure.reason());
                deciding.wait = Some(failure.wait_at_least()).filter(|wait| !wait.is_zero());
                break Some((Some(next), 0));
            }
        }
    };
    let Deciding { told, failed, wait, .. } = deciding;
    Ok(tell(decided(run, left, &failed, wait)?, told).into())
}

/// The run's commit behind what this round has decided. `left` is where the next round goes on; `None` where the platform
/// has told all.
fn decided(
    mut run: Stored<Run>,
    left: Option<(Option<String>, usize)>,
    failed: &str,
    wait: Option<Duration>,
) -> Result<Commit<Emits>, Failure> {
    let decided = run.accepted + run.rejected + run.undecidable;
    if let Some((after, offset)) = left {
        run.advance(RoundEvent::DecisionsLeft { after, offset })?;
        return Ok(next_round(run, format!("decided {decided} orders{failed}"), wait));
    }
    if decided >= run.submitted && !run.is_uncertain {
        return Ok(end(run)?);
    }
    run.advance(RoundEvent::DecisionsMissing)?;
    let what = match run.submitted.saturating_sub(decided) {
        0 => "decided, some orders more than once: they are counted".to_owned(),
        missing => format!("decided {decided} orders, {missing} are missing"),
    };
    Ok(next_round(run, what + failed, None))
}

/// Commits the decisions of a page from `offset` on, as far as this round has room; answers how many of them are done.
async fn decide_page(
    run: &mut Run,
    decisions: Vec<Decision>,
    offset: usize,
    deciding: &mut Deciding,
    cx: &Context<Emits>,
) -> Result<usize, Failure> {
    let (total, mut done) = (decisions.len(), offset);
    let mut left = decisions.into_iter().skip(offset);
    while done < total {
        let slice: Vec<Decision> = left.by_ref().take(ORDERS_PER_PAGE).collect();
        done += slice.len();
        deciding.round.worked(slice.len());
        decide_slice(run, slice, &mut deciding.told, cx).await?;
        if !deciding.has_room(cx.now()) {
            break;
        }
    }
    Ok(done)
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
        if let Applied::Fault(reason) = applied {
            told.push(OrderDecided::fault(&run.run_id, &decision.record_id, reason));
            continue;
        }
        run.is_uncertain |= matches!(applied, Applied::Before);
        match decision.status.as_deref() {
            Some("accepted") => run.accepted += 1,
            Some("rejected") => run.rejected += 1,
            _ => run.undecidable += 1,
        }
    }
    Ok(())
}

/// Emits the faults with the run's commit: they have no order to be committed with.
fn tell(commit: Commit<Emits>, mut told: Vec<OrderDecided>) -> Commit<Emits> {
    if let (Some(more @ 1..), Some(last)) = (told.len().checked_sub(FAULTS_TOLD_MAX), told.last()) {
        let sum = format!("and {more} more decisions of this page that fit no order");
        let sum = OrderDecided::broken(&last.run_id, sum);
        told.truncate(FAULTS_TOLD_MAX);
        told.push(sum);
    }
    told.into_iter().fold(commit, Commit::emit)
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

/// What a decision does to its order.
fn applied(
    run_id: &str,
    order: Result<Option<Stored<Order>>, Failure>,
    decision: &Decision,
    now: Timestamp,
) -> Change<Emits, Applied> {
    let Ok(order) = order else { return Change::Keep(Applied::Fault("unreadable_order")) };
    let Some(mut order) = order.filter(|order| order.run_id.as_deref() == Some(run_id)) else {
        return Change::Keep(Applied::Fault("unknown_order"));
    };
    let (status, undecidable, metric) = match decision.status.as_deref() {
        Some("accepted") => (OrderStatus::Accepted, None, ORDERS_ACCEPTED),
        Some("rejected") => (OrderStatus::Rejected, None, ORDERS_REJECTED),
        Some(_) => (order.status, Some("unknown_status"), ORDERS_UNDECIDABLE),
        None => (order.status, Some("decision_missing"), ORDERS_UNDECIDABLE),
    };
    if !order.is_undecided() && !planted("decision_overwritten") {
        let is_same = order.status == status && order.undecidable.as_deref() == undecidable;
        return Change::Keep(if is_same { Applied::Before } else { Applied::Fault("conflicting_decision") });
    }
    order.status = status;
    order.power.clone_from(&decision.power);
    order.undecidable = undecidable.map(Cow::Borrowed);
    order.platform_status = undecidable.and_then(|_| decision.status.clone());
    order.decided_at = Some(now);
    let what = match undecidable {
        None => Cow::Borrowed(status.as_str()),
        Some(reason) => Cow::Owned(format!("undecidable: {reason}")),
    };
    let event = OrderDecided::of(&order, run_id);
    let took = millis(order.received_at, now);
    let commit = order.commit(what).emit(event).measure(metric, 1.0);
    let commit = if undecidable.is_none() { commit.measure(RECEIVED_TO_DECIDED, took) } else { commit };
    Change::Commit(commit, Applied::Now)
}
