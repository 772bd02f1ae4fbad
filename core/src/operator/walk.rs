//! A redrive or purge of the dead letters that a filter takes, a part a call.

use super::{Filter, PAGE_MAX, RECEIVED_MIN, WAIT, dead_letter_queue};
use crate::{
    dead_letter::{DeadLetter, Redriven},
    failure::Failure,
    model::Model,
    pipeline::Pipeline,
    planted::planted,
    port::{Message, NewMessage, Queue, Receipt, Received},
    relay,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// How long letters stay hidden that are being moved, where that is broken off.
pub(super) const HELD: Duration = Duration::from_secs(30);

/// How long a dead letter that was received and left stays hidden, where a receive takes a network's time. The walk has to be through
/// before it meets the first of them again.
pub(super) const PASSED_OVER: Duration = Duration::from_secs(600);

/// What one call of a redrive or purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Letters looked at.
    pub examined: u64,
    /// Letters sent back, or purged.
    pub moved: u64,
    /// Letters left for being an end of business.
    #[serde(default)]
    pub ends_left: u64,
    /// Letters that could not be sent back, and stay, by what was said of them.
    #[serde(default)]
    pub failed: BTreeMap<String, u64>,
    /// Of some of these, because a permission is missing.
    #[serde(default)]
    pub is_denied: bool,
    /// Letters that were left for what they hold is damaged: nobody is to work it.
    #[serde(default)]
    pub unreadable: u64,
    /// Letters that were meant, and are in somebody else's hands: whoever moves them, or did until he was broken off.
    #[serde(default)]
    pub hidden: u64,
    /// Where the next call goes on, where the queue shows its messages without a receive; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Nothing was left to look at.
    pub done: bool,
    /// When the call began, by the clock that dead letters are dated with: the `before` of the calls that follow it.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The receipts of those that were received to be looked at, and left (SQS). They stay hidden for a while, so that the walk goes
    /// on behind them; when it is over, [`give_back`] shows them again.
    #[serde(default)]
    pub passed_over: Vec<String>,
}

/// Which dead letters a call of a redrive or purge is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walk {
    /// The dead-letter queue.
    pub queue: String,
    /// Which letters.
    #[serde(default)]
    pub filter: Filter,
    /// At most so many of them, 500 at most.
    pub limit: usize,
    /// From this place on: the [`Moved::next`] of the call before. Where letters have to be received, it means nothing.
    #[serde(default, skip_serializing_if = "is_start")]
    pub after: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn is_start(place: &u64) -> bool {
    *place == 0
}

/// What is done with the dead letters that a walk meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Back to the queue they came from.
    Redrive,
    /// Deleted.
    Purge,
}

/// Redrives or purges up to `limit` dead letters of a queue; a call looks at 500 at most. Call it again from where it ended until it is
/// done, then [`give_back`] what all the calls passed over.
///
/// # Errors
/// `no_such_queue`, or a [`Failure`] of a queue: what was not sent on is still there.
pub async fn walk(pipeline: &Pipeline, asked: &Walk, act: Act) -> Result<Moved, Failure> {
    let queue = asked.queue.as_str();
    let (dead, source) = dead_letter_queue(pipeline, queue)?;
    let (model, now) = (pipeline.choreography().model(), pipeline.ports().clock.now());
    let mut moved = Moved { at: Some(now), ..Moved::default() };
    let part = Part { model, dead: dead.as_ref(), asked, act };
    let chosen = match dead.shows_arrivals() {
        true => part.named(&mut moved).await?,
        false => part.met(&mut moved).await?,
    };
    let (mut gone, mut stay) = (Vec::with_capacity(chosen.len()), Vec::new());
    match act {
        Act::Purge => gone.extend(chosen.into_iter().map(|message| message.receipt)),
        Act::Redrive => {
            let letters = chosen.iter().map(|message| sent_back(queue, message, now)).collect();
            if planted("redrive_deletes_first") {
                dead.delete(&chosen.iter().map(|message| message.receipt.clone()).collect::<Vec<_>>())
                    .await?;
            }
            let sent = relay::send(model, pipeline.ports(), source, letters).await;
            for (message, sent) in chosen.into_iter().zip(sent) {
                match sent {
                    Ok(()) => gone.push(message.receipt),
                    Err(error) => {
                        tracing::warn!(queue, id = %message.id, %error, "a dead letter could not be sent back; it stays");
                        moved.is_denied |= error.is_denied();
                        *moved.failed.entry(error.to_string()).or_default() += 1;
                        stay.push(message.receipt);
                    }
                }
            }
        }
    }
    dead.delete(&gone).await?;
    moved.moved = gone.len() as u64;
    if dead.shows_arrivals() {
        // The walk goes on behind them in any case.
        show(dead.as_ref(), queue, stay).await;
    } else {
        moved.passed_over.extend(stay.into_iter().map(|receipt| receipt.0));
    }
    Ok(moved)
}

/// What one call is about.
struct Part<'a> {
    model: &'a Model,
    dead: &'a dyn Queue,
    asked: &'a Walk,
    act: Act,
}

impl Part<'_> {
    /// Most letters that are taken.
    fn max(&self) -> usize {
        self.asked.limit.clamp(1, PAGE_MAX)
    }

    /// Whether a letter is taken; where it is not, why is counted.
    fn takes(&self, message: &Message, moved: &mut Moved) -> bool {
        let (letter, filter) = (DeadLetter::read(message), &self.asked.filter);
        if !filter.takes(self.model, &letter) {
            moved.ends_left += u64::from(filter.leaves(self.model, &letter));
            return false;
        }
        let is_damaged = self.act == Act::Redrive && letter.is_damaged();
        if is_damaged {
            let (queue, id, reason) = (&self.asked.queue, &message.id, letter.reason);
            tracing::warn!(queue, %id, reason, "a dead letter is damaged, and is not sent back; it stays");
            moved.unreadable += 1;
        }
        !is_damaged
    }

    /// The letters that are taken of a queue that shows them: they are looked at, and just these are received.
    async fn named(&self, moved: &mut Moved) -> Result<Vec<Message>, Failure> {
        let arrived = self.dead.arrived(self.asked.after, PAGE_MAX).await?;
        let is_whole = arrived.len() < PAGE_MAX;
        let (mut ids, mut last) = (Vec::new(), None);
        for (place, message) in arrived {
            if ids.len() == self.max() {
                moved.next = last;
                break;
            }
            moved.examined += 1;
            last = Some(place);
            if self.takes(&message, moved) {
                ids.push(message.id);
            }
        }
        moved.next = moved.next.or(last.filter(|_| !is_whole));
        moved.done = moved.next.is_none();
        let chosen = self.dead.receive_these(&ids, Some(HELD)).await?;
        moved.hidden = (ids.len() as u64).saturating_sub(chosen.len() as u64);
        Ok(chosen)
    }

    /// The letters that are taken of a queue that shows none: as many are received as one request gives. Those beyond the limit are
    /// shown again, and those that are left stay hidden, so that the walk goes on behind them.
    async fn met(&self, moved: &mut Moved) -> Result<Vec<Message>, Failure> {
        let messages = self.dead.receive(self.max().max(RECEIVED_MIN), WAIT, Some(PASSED_OVER)).await?;
        moved.done = messages.is_empty();
        let (mut chosen, left): (Vec<Message>, Vec<Message>) =
            messages.into_iter().partition(|message| self.takes(message, moved));
        let beyond = chosen.split_off(chosen.len().min(self.max())).into_iter();
        moved.examined = (chosen.len() + left.len()) as u64;
        let beyond = beyond.map(|message| message.receipt).collect();
        let not_shown = show(self.dead, &self.asked.queue, beyond).await.into_iter();
        let left = left.into_iter().map(|message| message.receipt).chain(not_shown);
        moved.passed_over.extend(left.map(|receipt| receipt.0));
        Ok(chosen)
    }
}

/// Shows received letters again. Answers those that could not be shown: they show themselves a little later.
async fn show(dead: &dyn Queue, queue: &str, receipts: Vec<Receipt>) -> Vec<Receipt> {
    let shown: Vec<(Receipt, Duration)> =
        receipts.iter().map(|receipt| (receipt.clone(), Duration::ZERO)).collect();
    match dead.extend(&shown).await {
        Ok(()) => Vec::new(),
        Err(error) => {
            tracing::debug!(queue, %error, "dead letters are shown again only a little later");
            receipts
        }
    }
}

/// The message that a dead letter of `queue` becomes again.
fn sent_back(queue: &str, message: &Message, now: Timestamp) -> NewMessage {
    let received = Received { queue: queue.to_owned(), receipt: message.receipt.clone() };
    let times = DeadLetter::read(message).redriven.map_or(0, |redriven| redriven.times);
    let redriven = Redriven::new(times.saturating_add(1), now, "", "");
    NewMessage { in_place_of: Some(received), ..DeadLetter::redriven_by(message, &redriven) }
}

/// Shows dead letters of `queue` again that a walk passed over, by their receipts.
///
/// # Errors
/// `no_such_queue`, or a [`Failure`] of the queue: what was not given back shows itself again a little later.
pub async fn give_back(pipeline: &Pipeline, queue: &str, receipts: Vec<String>) -> Result<(), Failure> {
    let (dead, _) = dead_letter_queue(pipeline, queue)?;
    let receipts: Vec<(Receipt, Duration)> =
        receipts.into_iter().map(|receipt| (Receipt(receipt), Duration::ZERO)).collect();
    Ok(dead.extend(&receipts).await?)
}
