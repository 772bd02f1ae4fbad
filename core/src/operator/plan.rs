//! A redrive that is planned: which letters, each with what this build would do with it; and the redrive of just these.

use super::{
    Filter, LOOKED_AT, PAGE_MAX, RECEIVED_MAX, RECEIVED_MIN, WAIT, dead_letter_queue,
    trial::{Trial, TrialOutcome},
    walk::{HELD, PASSED_OVER},
};
use crate::{
    dead_letter::{DeadLetter, Redriven},
    failure::Failure,
    model::{Destination, Model},
    pipeline::Pipeline,
    planted::planted,
    port::{Message, NewMessage, Received, stable_hash},
    relay,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Plans that are being made at once: of one that is older, the letters that follow are tried without those before them.
const PLANS_MAX: usize = 2;

/// A letter of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The dead-letter queue.
    pub queue: String,
    /// The message's id in it.
    pub id: String,
    /// Why it is there, and by whom.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// When the queue drops it.
    pub deadline: Timestamp,
    /// It is an end of business.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_end: bool,
    /// A hash of its body, by which it is known again.
    pub content: String,
    /// The body that is sent in place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What this build would do with it.
    pub trial: TrialOutcome,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A page of a plan.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlanPage {
    /// The letters.
    pub letters: Vec<Planned>,
    /// Letters that were left out for being an end of business.
    #[serde(default)]
    pub ends_left: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
    /// As of a [`DeadLetterPage`](super::DeadLetterPage).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// What the next page is asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// What [`plan`] is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanAsk {
    /// The dead-letter queue.
    pub queue: String,
    /// Which letters.
    #[serde(default)]
    pub filter: Filter,
    /// From this place on.
    #[serde(default)]
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// Bodies that stand in place of those of letters, by their ids.
    #[serde(default)]
    pub bodies: BTreeMap<String, String>,
    /// The plan that this goes on with: the [`PlanPage::plan`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// Plans that are being made, each with what its letters would have written so far: those of the next page are tried behind them.
#[derive(Default)]
pub struct Plans(Mutex<VecDeque<(String, Trial)>>);

impl std::fmt::Debug for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plans").finish_non_exhaustive()
    }
}

impl Plans {
    fn plans(&self) -> MutexGuard<'_, VecDeque<(String, Trial)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else goes on with it meanwhile.
    fn take(&self, name: &str) -> Option<Trial> {
        let mut plans = self.plans();
        let at = plans.iter().position(|(known, _)| known == name)?;
        plans.remove(at).map(|(_, trial)| trial)
    }

    fn put(&self, name: String, trial: Trial) {
        let mut plans = self.plans();
        plans.push_back((name, trial));
        if plans.len() > PLANS_MAX {
            plans.pop_front();
        }
    }
}

/// The letters of a dead-letter queue from a place on, each with what this build would do with it. Nothing is changed. Each letter
/// is tried behind those before it, as a redrive would work them: those of earlier pages where `plans` still knows the plan.
///
/// # Errors
/// `no_such_queue`, `invalid_request` for a setting that is of no use, or a [`Failure`] of the queue.
pub async fn plan(pipeline: &Pipeline, plans: &Plans, ask: &PlanAsk) -> Result<PlanPage, Failure> {
    let (dead, _) = dead_letter_queue(pipeline, &ask.queue)?;
    let model = pipeline.choreography().model();
    let invalid = |error| Failure::permanent("invalid_request", error);
    let known = ask.plan.as_ref().and_then(|name| Some((name.clone(), plans.take(name)?)));
    let (name, mut trial) = match known {
        Some(known) => known,
        None => {
            let name = format!("{:016x}", pipeline.ports().random.next_u64());
            (name, Trial::over(pipeline).map_err(invalid)?)
        }
    };
    let retention = model.queue(&ask.queue).map_or(Duration::ZERO, |queue| queue.retention);
    let limit = ask.limit.clamp(1, PAGE_MAX);
    let mut page = PlanPage::default();
    let messages: Vec<(u64, Message)> = if dead.shows_arrivals() {
        let arrived = dead.arrived(ask.after, limit).await?;
        page.next = arrived.last().map(|(place, _)| *place).filter(|_| arrived.len() == limit);
        arrived
    } else {
        let received = dead.receive(limit.min(RECEIVED_MAX), WAIT, Some(LOOKED_AT)).await?;
        let behind = ask.after.saturating_add(received.len() as u64);
        page.next = (!received.is_empty()).then_some(behind);
        page.held = received.iter().map(|message| message.receipt.0.clone()).collect();
        received.into_iter().map(|message| (0, message)).collect()
    };
    for (_, message) in messages {
        let letter = DeadLetter::read(&message);
        if !ask.filter.takes(model, &letter) {
            page.ends_left += u64::from(ask.filter.leaves(model, &letter));
            continue;
        }
        let body = ask.bodies.get(&message.id).cloned();
        let trial = trial.of(&ask.queue, &message, body.as_deref()).await;
        page.letters.push(Planned {
            queue: ask.queue.clone(),
            is_end: model.is_dead_lettered_end(&letter.handler, &letter.reason),
            deadline: message.sent_at + retention,
            content: content_of(&message.body),
            id: message.id,
            letter,
            body,
            trial,
        });
    }
    if page.next.is_some() {
        page.plan = Some(name.clone());
        plans.put(name, trial);
    }
    Ok(page)
}

/// What a letter's body is known by.
fn content_of(body: &str) -> String {
    format!("{:016x}", stable_hash(body.as_bytes()))
}

/// One letter that is to be sent back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What its body is known by, as planned: a letter that is another one by now stays.
    pub content: String,
    /// The body that is sent in place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Wanted {
    /// The letter of this body, which is sent as it is.
    pub fn of(body: &str) -> Self {
        Self { content: content_of(body), body: None }
    }
}

/// What [`redrive_planned`] is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveAsk {
    /// The dead-letter queue.
    pub queue: String,
    /// The letters, by their ids.
    pub letters: BTreeMap<String, Wanted>,
    /// At most so many of them.
    pub limit: usize,
    /// The queue that they are sent to, where it is not the one that they came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who sends them back.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum LetterResult {
    /// It was sent.
    Sent,
    /// It could not be sent, and stays.
    Failed {
        /// Why.
        why: String,
    },
    /// It is another letter than was planned, or damaged, and stays.
    Left {
        /// Why.
        why: String,
    },
}

/// What one call of [`redrive_planned`] did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Redriving {
    /// What became of the letters that were met, by their ids.
    pub results: BTreeMap<String, LetterResult>,
    /// Nothing was left to look at.
    pub done: bool,
    /// Letters that nobody can look at now, where none of these was met: whoever looked at them last was broken off, or still looks.
    #[serde(default)]
    pub hidden: u64,
    /// The receipts of letters that were received and stay. They are hidden for a while: see
    /// [`Moved::passed_over`](super::Moved::passed_over).
    pub passed_over: Vec<String>,
}

/// Sends letters back that a plan names, in the order of their arrival, and no others. Each is sent before it is deleted.
///
/// # Errors
/// `no_such_queue`, or a [`Failure`] of a queue: what was not sent is still there.
pub async fn redrive_planned(pipeline: &Pipeline, ask: &RedriveAsk) -> Result<Redriving, Failure> {
    let (dead, source) = dead_letter_queue(pipeline, &ask.queue)?;
    let (model, now) = (pipeline.choreography().model(), pipeline.ports().clock.now());
    let to = ask.to.as_deref().map(|name| named(model, name)).transpose()?.unwrap_or(source);
    let max = ask.limit.clamp(1, PAGE_MAX);
    let messages = if dead.shows_arrivals() {
        let ids: Vec<String> = ask.letters.keys().take(PAGE_MAX).cloned().collect();
        dead.receive_these(&ids, Some(HELD)).await?
    } else {
        dead.receive(max.max(RECEIVED_MIN), WAIT, Some(PASSED_OVER)).await?
    };
    let mut redriving = Redriving { done: messages.is_empty(), ..Redriving::default() };
    let (mut chosen, mut again) = (Vec::<(Message, NewMessage)>::new(), Vec::new());
    for message in messages {
        let Some(wanted) = ask.letters.get(&message.id) else {
            redriving.passed_over.push(message.receipt.0);
            continue;
        };
        if let Some(why) = unfit(&message, wanted) {
            redriving.results.insert(message.id, LetterResult::Left { why });
            redriving.passed_over.push(message.receipt.0);
        } else if chosen.len() == max {
            again.push((message.receipt, Duration::ZERO));
        } else {
            let sent = sent_back(ask, &message, wanted, now);
            chosen.push((message, sent));
        }
    }
    dead.extend(&again).await?;
    if chosen.is_empty() && redriving.results.is_empty() {
        redriving.hidden = dead.depth().await?.in_flight;
    }
    if planted("redrive_deletes_first") {
        dead.delete(&chosen.iter().map(|(message, _)| message.receipt.clone()).collect::<Vec<_>>()).await?;
    }
    let letters = chosen.iter().map(|(_, sent)| sent.clone()).collect();
    let mut gone = Vec::with_capacity(chosen.len());
    let sent = relay::send(model, pipeline.ports(), to, letters).await;
    for ((message, _), sent) in chosen.into_iter().zip(sent) {
        let result = match sent {
            Ok(()) => {
                gone.push(message.receipt);
                LetterResult::Sent
            }
            Err(error) => {
                redriving.passed_over.push(message.receipt.0);
                LetterResult::Failed { why: error.to_string() }
            }
        };
        redriving.results.insert(message.id, result);
    }
    dead.delete(&gone).await?;
    Ok(redriving)
}

/// The queue of this name.
fn named<'a>(model: &Model, name: &'a str) -> Result<Destination<'a>, Failure> {
    let missing = || {
        let detail = format_args!("no queue of the choreography is named {name:?}");
        Failure::permanent("no_such_queue", detail)
    };
    model.queue(name).map(|_| Destination::Queue(name)).ok_or_else(missing)
}

/// Why a letter is not the one that was planned.
fn unfit(message: &Message, wanted: &Wanted) -> Option<String> {
    if content_of(&message.body) != wanted.content {
        return Some("its content is another one than was planned".to_owned());
    }
    let is_damaged = wanted.body.is_none() && DeadLetter::read(message).is_damaged();
    is_damaged.then(|| "what it holds is damaged".to_owned())
}

fn sent_back(ask: &RedriveAsk, message: &Message, wanted: &Wanted, now: Timestamp) -> NewMessage {
    let received = Received { queue: ask.queue.clone(), receipt: message.receipt.clone() };
    let times = DeadLetter::read(message).redriven.map_or(0, |redriven| redriven.times);
    let redriven = Redriven::new(times.saturating_add(1), now, &ask.by, &ask.why);
    let again = DeadLetter::redriven_by(message, &redriven);
    let body = wanted.body.clone().unwrap_or(again.body);
    NewMessage { body, in_place_of: Some(received), ..again }
}
