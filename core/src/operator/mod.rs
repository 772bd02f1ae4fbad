//! What an operator does with a running choreography: looks at queues, lists dead letters, sends them back or purges them.
//! Over the ports, so that it works alike on every adapter. Nothing is deleted before it has been sent on; every call is
//! bounded, and safe to interrupt and to repeat.

#[cfg(feature = "server")]
mod api;
mod export;
mod groups;
mod plan;
mod status;
mod story;
mod trial;
mod walk;

#[cfg(feature = "server")]
pub use api::{Api, EntityPage, GiveBack, OPERATOR, UnreadableEntity};

pub use export::{ExportHead, ExportPage, ExportedItem};
pub use groups::{LetterAge, LetterAges, LetterGroup, LetterGroups, dead_letter_groups};
pub use plan::{
    LetterResult, PlanAsk, PlanPage, Planned, Plans, RedriveAsk, Redriving, Wanted, plan, redrive_planned,
};
pub use status::{ScheduleStatus, Status, status};
pub use story::{EntityName, NextRun, Story, StoryLetter, Untold, Waiting, story};
pub use trial::TrialOutcome;
pub use walk::{Act, Moved, Walk, give_back, walk};

use crate::{
    dead_letter::DeadLetter,
    failure::{Failure, excerpt},
    model::{Destination, Model},
    pipeline::Pipeline,
    port::{Depth, Message, Queue},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Dead letters a single call looks at, at most.
pub const PAGE_MAX: usize = 500;

/// How long a dead letter stays hidden that had to be received to be looked at, unless it is given back before.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// Dead letters of one page where they have to be received: each may have 1 MiB.
const RECEIVED_MAX: usize = 100;

/// Dead letters received at once by a walk that may move fewer, where a receive takes a network's time: as many as SQS
/// gives for one request.
const RECEIVED_MIN: usize = 10;

/// Bytes of a damaged text that are shown.
const DAMAGED_BYTES_MAX: usize = 100_000;

/// How long a receive waits where one that does not wait may miss messages.
const WAIT: Duration = Duration::from_secs(1);

/// A queue, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub depth: Depth,
    /// Its dead-letter queue.
    pub dead_letter_queue: String,
    /// What that holds.
    pub dead: u64,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only those of this reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only those that this handler gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Only those told to the entity of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only those given up at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those given up by this time, and not sent back since: what fails again while a redrive goes on is left for the next one,
    /// though whoever gave it up may have a clock that is behind.
    #[serde(default)]
    pub before: Option<Timestamp>,
    /// Without those that are an end of business ([`Consumer::dead_lettered_ends`](crate::Consumer::dead_lettered_ends)).
    #[serde(default)]
    pub leaves_ends: bool,
}

impl Filter {
    fn takes(&self, model: &Model, letter: &DeadLetter) -> bool {
        self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self.handler.as_ref().is_none_or(|handler| *handler == letter.handler)
            && self.subject.as_ref().is_none_or(|subject| Some(subject) == letter.subject.as_ref())
            && self.since.is_none_or(|since| letter.dead_at >= since)
            && self.before.is_none_or(|before| {
                let sent_back = letter.redriven.as_ref().map(|redriven| redriven.at);
                letter.dead_at <= before && sent_back.is_none_or(|at| at < before)
            })
            && !self.leaves(model, letter)
    }

    /// Whether it leaves a letter for being an end of business.
    fn leaves(&self, model: &Model, letter: &DeadLetter) -> bool {
        self.leaves_ends && model.is_dead_lettered_end(&letter.handler, &letter.reason)
    }
}

/// A dead letter as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The message's id in its queue.
    pub id: String,
    /// Why it is there.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// It is an end of business: a redrive leaves it, unless it is asked for it.
    #[serde(default)]
    pub is_end: bool,
    /// When the queue drops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The message.
    pub body: String,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<Listed>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
    /// The receipts of all that was looked at, where the queue shows no message without a receive (SQS). They are hidden
    /// from everybody for a minute, so that the next page goes on behind them; when the listing is over, [`give_back`]
    /// shows them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

/// Every queue that has consumers, with its dead-letter queue.
///
/// # Errors
/// A [`Failure`] of a queue.
pub async fn queues(pipeline: &Pipeline) -> Result<Vec<QueueStatus>, Failure> {
    let mut statuses = Vec::new();
    for queue in &pipeline.choreography().model().queues {
        let Some(redrive) = &queue.redrive else { continue };
        let depth = pipeline.ports().queue(&queue.name)?.depth().await?;
        let dead = pipeline.ports().queue(&redrive.dead_letter_queue)?.depth().await?.total();
        let dead_letter_queue = redrive.dead_letter_queue.clone();
        statuses.push(QueueStatus { name: queue.name.clone(), depth, dead_letter_queue, dead });
    }
    Ok(statuses)
}

/// What left the choreography by a topic, a bus or a queue of others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    /// Its place among the others; rises.
    pub place: u64,
    /// When it was published.
    pub at: Timestamp,
    /// The event, CloudEvents JSON. What is left of one that can't be read is a text.
    pub event: Box<RawValue>,
    /// Why it can't be read, where it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// What was published to `outlet`, the name of a topic, a bus or a queue of others, behind place `after`, at most `limit`:
/// the latest `limit` where `after` is `None`. In the order in which it was published.
///
/// # Errors
/// `no_outlet` where no event leaves by that name; `not_kept` where others subscribe, and nobody keeps it for us (AWS); or a
/// [`Failure`] of the queue.
pub async fn publications(
    pipeline: &Pipeline,
    outlet: &str,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Publication>, Failure> {
    let (model, ports) = (pipeline.choreography().model(), pipeline.ports());
    if !model.outlets.iter().any(|known| known.to.name() == outlet) {
        let names: BTreeSet<&str> = model.outlets.iter().map(|outlet| outlet.to.name()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let detail = format_args!("no event leaves by {outlet:?}; events leave by: {names}");
        return Err(Failure::permanent("no_outlet", detail));
    }
    let kept = ports.published.get(outlet).or_else(|| ports.queues.get(outlet));
    let Some(kept) = kept.filter(|queue| queue.shows_arrivals()) else {
        let detail = format_args!("nobody keeps what {outlet} publishes: subscribe to it");
        return Err(Failure::permanent("not_kept", detail));
    };
    let mut found: VecDeque<(u64, Message)> = VecDeque::new();
    let mut place = after.unwrap_or(0);
    loop {
        let page = kept.arrived(place, PAGE_MAX).await?;
        let Some((last, _)) = page.last() else { break };
        place = *last;
        found.extend(page);
        match after {
            Some(_) if found.len() >= limit => break,
            Some(_) => {}
            None => drop(found.drain(..found.len().saturating_sub(limit))),
        }
    }
    found.truncate(limit);
    found.into_iter().map(publication).collect()
}

fn publication((place, message): (u64, Message)) -> Result<Publication, Failure> {
    let Message { body, sent_at: at, unreadable, .. } = message;
    let why = match (&unreadable, serde_json::from_str::<&RawValue>(&body)) {
        (Some(why), _) => why.to_string(),
        (None, Err(error)) => error.to_string(),
        (None, Ok(event)) => return Ok(Publication { place, at, event: event.to_owned(), unreadable: None }),
    };
    let event = serde_json::value::to_raw_value(&excerpt(&body, DAMAGED_BYTES_MAX));
    let event = event.map_err(|error| Failure::permanent("unwritable", error))?;
    Ok(Publication { place, at, event, unreadable: Some(why) })
}

fn dead_letter_queue<'a>(
    pipeline: &'a Pipeline,
    name: &str,
) -> Result<(&'a Arc<dyn Queue>, Destination<'a>), Failure> {
    let source = pipeline.choreography().model().redrive_target(name).ok_or_else(|| {
        Failure::permanent(
            "no_such_queue",
            format_args!("no dead-letter queue of the choreography is named {name:?}"),
        )
    })?;
    Ok((pipeline.ports().queue(name)?, source))
}

/// Dead letters of `queue`, from place `after` on, at most `limit` that the filter takes; looks at 500 at most.
///
/// A queue that does not [show its arrivals](Queue::shows_arrivals) is received from, and hides what was looked at for a
/// minute: see [`DeadLetterPage::held`]. A listing that takes longer may meet a letter twice. Receives do no harm to a
/// dead letter, as its queue has no redrive policy of its own.
///
/// # Errors
/// `no_such_queue`, or a [`Failure`] of the queue.
pub async fn dead_letters(
    pipeline: &Pipeline,
    queue: &str,
    filter: &Filter,
    after: u64,
    limit: usize,
) -> Result<DeadLetterPage, Failure> {
    let (dead, _) = dead_letter_queue(pipeline, queue)?;
    let model = pipeline.choreography().model();
    let retention = model.queue(queue).map_or(Duration::ZERO, |queue| queue.retention);
    let listed = |message| listed(model, filter, retention, message);
    if !dead.shows_arrivals() {
        return received_letters(dead.as_ref(), listed, after, limit).await;
    }
    let arrived = dead.arrived(after, PAGE_MAX).await?;
    let whole = arrived.len() == PAGE_MAX;
    let mut page = DeadLetterPage::default();
    let mut last = None;
    for (place, message) in arrived {
        if page.letters.len() == limit {
            return Ok(DeadLetterPage { next: last, ..page });
        }
        last = Some(place);
        page.letters.extend(listed(message));
    }
    page.next = last.filter(|_| whole);
    Ok(page)
}

/// [`dead_letters`] of a queue that has to be received from.
async fn received_letters(
    queue: &dyn Queue,
    listed: impl Fn(Message) -> Option<Listed>,
    after: u64,
    limit: usize,
) -> Result<DeadLetterPage, Failure> {
    let messages = queue.receive(limit.min(RECEIVED_MAX), WAIT, Some(LOOKED_AT)).await?;
    let mut page = DeadLetterPage {
        next: (!messages.is_empty()).then_some(after.saturating_add(messages.len() as u64)),
        ..DeadLetterPage::default()
    };
    for message in messages {
        page.held.push(message.receipt.0.clone());
        page.letters.extend(listed(message));
    }
    Ok(page)
}

/// A dead letter as it is listed; `None` where the filter does not take it.
fn listed(model: &Model, filter: &Filter, retention: Duration, message: Message) -> Option<Listed> {
    let letter = DeadLetter::read(&message);
    let is_end = model.is_dead_lettered_end(&letter.handler, &letter.reason);
    let deadline = Some(message.sent_at + retention);
    let listed = Listed { id: message.id, letter, is_end, deadline, body: message.body };
    filter.takes(model, &listed.letter).then_some(listed)
}
