//! The platform is asked, and what it has decided is committed; then orders that it said nothing about are looked for.

use super::{
    BACKOFF_GROWTH, ORDERS_PER_PAGE, Phase, Poll, Round, Run, change::Change, decided as message,
    gather::Page,
};
use crate::{
    auction::store_result::OrderDecided,
    shared::{Done, Item, count, now, took},
};
use quadrille::{
    Failure, Timestamp,
    domain::auction::{Order, OrderStatus},
};
use std::{borrow::Cow, collections::HashMap, time::Duration};
use systems::auction::platform::{Answer, AuctionPlatform as _, Decision};

/// Faults of a round that are told one by one; the rest in one sum.
const FAULTS_TOLD_MAX: usize = 100;
/// Decisions that a platform may tell beside two of each order. One that tells more tells in circles.
const HEARD_BESIDE_MAX: u64 = 1_000;

/// A page of the platform's answer.
struct Told {
    after: Option<String>,
    offset: usize,
    decisions: Vec<Decision>,
    faults: Vec<String>,
    next: Option<String>,
}

/// What became of a decision.
enum Applied {
    /// It is committed, of an order received then.
    Now(Timestamp),
    /// An earlier attempt at this round did it, or the platform told it before.
    Before,
    /// It fits no order of the run.
    Fault(&'static str),
}

impl Poll {
    /// Asks the platform whether it has decided; if so, commits its decisions.
    pub async fn poll(&self, mut run: Item<Run>) -> Done {
        match self.ask(&run, None, 0).await? {
            Some(told) => self.decide(run, told).await,
            None => {
                count("PollsNotReady");
                run.polls += 1;
                let growth = BACKOFF_GROWTH.min(1 << (run.polls - 1).min(10));
                let wait = self.backoff * growth;
                let wait = wait.mul_f64(1.0 - 0.5 * rand::random::<f64>());
                let what = format!("waiting: not ready (poll {})", run.polls);
                self.next_round(run, &what, wait, Vec::new()).await
            }
        }
    }

    /// Commits decisions from where the round before this one ended.
    pub async fn go_on_deciding(&self, run: Item<Run>, after: Option<String>, offset: usize) -> Done {
        match self.ask(&run, after, offset).await? {
            Some(told) => self.decide(run, told).await,
            None => {
                let detail = "the platform had decided and says again that it has not";
                Err(Failure::transient("platform_error", detail))
            }
        }
    }

    async fn ask(&self, run: &Run, after: Option<String>, offset: usize) -> Result<Option<Told>, Failure> {
        count("Polls");
        Ok(match self.platform.results(&run.run_id, run.polls, after.as_deref()).await? {
            Answer::NotReady => None,
            Answer::Ready { decisions, faults, next } => {
                Some(Told { after, offset, decisions, faults, next })
            }
        })
    }

    /// Commits decisions, page by page of the platform's, as far as the round has room.
    async fn decide(&self, mut run: Item<Run>, mut page: Told) -> Done {
        let mut round = Round::begin();
        let (mut told, mut note, mut wait) = (Vec::new(), String::new(), Duration::ZERO);
        let left = loop {
            let Told { after, offset, mut decisions, faults, next } = page;
            let total = decisions.len();
            if offset == 0 {
                told.extend(faults.into_iter().map(|fault| OrderDecided::broken(&run.run_id, fault)));
                run.heard += total.max(1) as u64;
            }
            let mut done = offset;
            decisions.drain(..offset.min(total));
            while !decisions.is_empty() {
                let rest = decisions.split_off(decisions.len().min(ORDERS_PER_PAGE));
                done += decisions.len();
                round.worked(decisions.len());
                self.decide_slice(&mut run, decisions, &mut told).await?;
                decisions = rest;
                if !round.has_room() || told.len() >= FAULTS_TOLD_MAX {
                    break;
                }
            }
            if done < total {
                break Some((after, done));
            }
            let Some(next) = next else { break None };
            if run.heard > 2 * run.submitted + HEARD_BESIDE_MAX {
                note = "; more pages than there can be: the others are not read".to_owned();
                break None;
            }
            // An ask counts as well: a page may be empty.
            round.worked(1);
            if !round.has_room() || told.len() >= FAULTS_TOLD_MAX {
                break Some((Some(next), 0));
            }
            match self.ask(&run, Some(next.clone()), 0).await {
                Ok(Some(further)) => page = further,
                Ok(None) => break Some((Some(next), 0)),
                // What is decided so far is written down, and the next round asks again.
                Err(failure) => {
                    note = format!("; the next page: {}", failure.reason());
                    wait = failure.wait_at_least();
                    break Some((Some(next), 0));
                }
            }
        };
        let more = told.len().saturating_sub(FAULTS_TOLD_MAX);
        if more > 0 {
            told.truncate(FAULTS_TOLD_MAX);
            let sum = format!("and {more} more decisions of this page that fit no order");
            told.push(OrderDecided::broken(&run.run_id, sum));
        }
        let told = told.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let decided = run.accepted + run.rejected + run.undecidable;
        if let Some((after, offset)) = left {
            run.phase = Phase::Deciding { after, offset };
            return self.next_round(run, &format!("decided {decided} orders{note}"), wait, told).await;
        }
        if decided >= run.submitted && !run.is_uncertain {
            return self.end(run, told).await;
        }
        run.phase = Phase::Reconciling { page: 0 };
        let missing = run.submitted.saturating_sub(decided);
        let what = format!("decided {decided} orders, {missing} are missing or counted twice{note}");
        self.next_round(run, &what, Duration::ZERO, told).await
    }

    /// Commits these decisions and counts them; adds to `told` those that fit no order.
    async fn decide_slice(
        &self,
        run: &mut Run,
        slice: Vec<Decision>,
        told: &mut Vec<OrderDecided>,
    ) -> Result<(), Failure> {
        let mut places: HashMap<String, usize> = HashMap::with_capacity(slice.len());
        let mut decisions: Vec<Decision> = Vec::with_capacity(slice.len());
        for decision in slice {
            match places.get(&decision.record_id).map(|place| &decisions[*place]) {
                Some(first) if first.status != decision.status => {
                    told.push(OrderDecided::fault(&run.run_id, &decision.record_id, "conflicting_decision"));
                }
                Some(_) => {}
                None => {
                    places.insert(decision.record_id.clone(), decisions.len());
                    decisions.push(decision);
                }
            }
        }
        let ids: Vec<String> = decisions.iter().map(|decision| decision.record_id.clone()).collect();
        let run_id = run.run_id.clone();
        let change = |at: usize, order| applied(&run_id, order, &decisions[at]);
        for (applied, decision) in self.change_all(&ids, None, change).await?.into_iter().zip(&decisions) {
            let counted = match decision.status.as_deref() {
                Some("accepted") => &mut run.accepted,
                Some("rejected") => &mut run.rejected,
                _ => &mut run.undecidable,
            };
            match applied {
                Applied::Now(received_at) => {
                    *counted += 1;
                    measured(decision, received_at);
                }
                Applied::Before => {
                    *counted += 1;
                    run.is_uncertain = true;
                }
                Applied::Fault(fault) => {
                    told.push(OrderDecided::fault(&run_id, &decision.record_id, fault));
                }
            }
        }
        Ok(())
    }

    /// Names the orders of a page of the run that the platform said nothing about, and counts the others.
    pub async fn reconcile(&self, mut run: Item<Run>, page: u32) -> Done {
        // Of a page that can't be read, the log tells; its orders count as undecidable.
        let record_ids = match self.table.get_each::<Page>(&[Page::id_of(&run.run_id, page)]).await?.pop() {
            Some(Ok(Some(page))) => page.state.record_ids,
            _ => Vec::new(),
        };
        let run_id = run.run_id.clone();
        let missing = |_, order: Option<Item<Order>>| {
            let Some(mut order) = order.filter(|order| order.run_id.as_ref() == Some(&run_id)) else {
                return Ok((None, None));
            };
            let status = Some(order.status);
            if !order.is_undecided() {
                return Ok((None, status));
            }
            order.undecidable = Some(Cow::Borrowed("decision_missing"));
            order.decided_at = Some(now());
            let event = message(&OrderDecided::of(&order, &run_id))?;
            count("OrdersUndecidable");
            Ok((Some((order, "undecidable: decision_missing".to_owned(), vec![event])), status))
        };
        let statuses = self.change_all(&record_ids, None, missing).await?;
        if page == 0 {
            (run.accepted, run.rejected) = (0, 0);
        }
        let with = |wanted| statuses.iter().filter(|status| **status == Some(wanted)).count() as u64;
        run.accepted += with(OrderStatus::Accepted);
        run.rejected += with(OrderStatus::Rejected);
        if page + 1 < run.pages {
            run.phase = Phase::Reconciling { page: page + 1 };
            let what = "looking for orders whose decision is missing";
            return self.next_round(run, what, Duration::ZERO, Vec::new()).await;
        }
        // Counted at the end: a repeated page would not find again what it named before.
        run.undecidable = run.submitted.saturating_sub(run.accepted + run.rejected);
        self.end(run, Vec::new()).await
    }
}

/// What a decision does to its order.
fn applied(
    run_id: &str,
    order: Option<Item<Order>>,
    decision: &Decision,
) -> Result<Change<Applied>, Failure> {
    let Some(mut order) = order.filter(|order| order.run_id.as_deref() == Some(run_id)) else {
        return Ok((None, Applied::Fault("unknown_order")));
    };
    let (status, undecidable) = match decision.status.as_deref() {
        Some("accepted") => (OrderStatus::Accepted, None),
        Some("rejected") => (OrderStatus::Rejected, None),
        Some(_) => (order.status, Some("unknown_status")),
        None => (order.status, Some("decision_missing")),
    };
    if !order.is_undecided() {
        let is_same = order.status == status && order.undecidable.as_deref() == undecidable;
        let applied = if is_same { Applied::Before } else { Applied::Fault("conflicting_decision") };
        return Ok((None, applied));
    }
    order.status = status;
    order.power.clone_from(&decision.power);
    order.undecidable = undecidable.map(Cow::Borrowed);
    order.platform_status = undecidable.and_then(|_| decision.status.clone());
    order.decided_at = Some(now());
    let event = message(&OrderDecided::of(&order, run_id))?;
    let what = match undecidable {
        None => status.as_str().to_owned(),
        Some(reason) => format!("undecidable: {reason}"),
    };
    let applied = Applied::Now(order.received_at);
    Ok((Some((order, what, vec![event])), applied))
}

fn measured(decision: &Decision, received_at: Timestamp) {
    match decision.status.as_deref() {
        Some("accepted") => count("OrdersAccepted"),
        Some("rejected") => count("OrdersRejected"),
        _ => return count("OrdersUndecidable"),
    }
    took("ReceivedToDecided", received_at);
}
