//! Settling: each message gets what its verdict says.

use super::{
    Pipeline,
    batch::{Work, Worked},
    observe::{Observation, known_by},
    verdict::Verdict,
};
use crate::{
    dead_letter::{DeadLetter, Identity},
    failure::Failure,
    model::StepModel,
    panics::caught_now,
    port::{Message, NewMessage, Receipt},
    relay,
    timestamp::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

/// What became of a batch that its caller acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The verdicts, in the order of the messages.
    pub verdicts: Vec<Verdict>,
    /// Which of the messages, by their place, must not be acknowledged: they are to come again.
    pub kept: Vec<usize>,
}

impl Delivered {
    /// The receipts of those of `messages` that are to be acknowledged.
    pub(crate) fn done(&self, messages: &[Message]) -> Vec<Receipt> {
        let mut kept = self.kept.iter().peekable();
        messages
            .iter()
            .enumerate()
            .filter(|(at, _)| kept.next_if(|kept| *kept == at).is_none())
            .map(|(_, message)| message.receipt.clone())
            .collect()
    }
}

/// A batch that is settled but for its acknowledgement, and what onlookers are to be told once that is done too.
pub(crate) struct Settled {
    pub(crate) delivered: Delivered,
    pub(crate) observations: Vec<Observation>,
}

impl Pipeline {
    /// Does with each message what its verdict says, but for deleting it. Returns which, by their place, are not to be
    /// deleted, in order.
    pub(super) async fn settle(&self, step: &StepModel, worked: &[&Worked<'_>]) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::new();
        let mut retries: Vec<(Receipt, Duration)> = Vec::new();
        let mut later: Vec<(usize, NewMessage)> = Vec::new();
        let mut dead: Vec<(usize, NewMessage)> = Vec::new();
        let now = self.ports.clock.now();
        // Before the dead letters: one whose event could not be sent comes again, and is given up again.
        let unfollowed = self.follow(step, worked, now).await;
        kept.extend(&unfollowed);
        for (at, Worked { work, verdict, .. }) in worked.iter().enumerate() {
            let message = work.message;
            match verdict {
                Verdict::Done | Verdict::Ended(_) => {}
                Verdict::DeadLetter(_) if unfollowed.contains(&at) => {}
                Verdict::Retry(after, _) => {
                    kept.push(at);
                    retries.push((message.receipt.clone(), *after));
                }
                Verdict::Later(delay) => {
                    let (body, attributes) = (message.body.clone(), message.attributes.clone());
                    later.push((at, NewMessage { body, attributes, delay: *delay }));
                }
                Verdict::DeadLetter(failure) => dead.push((at, dead_letter(step, work, failure, now))),
            }
        }
        // Sent on before deleted: in between, a crash leaves a message twice, never none.
        let redrive = self.choreography.model().queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
        match redrive {
            Some(redrive) => self.send_on(&redrive.dead_letter_queue, dead, worked, &mut kept).await,
            None => kept.extend(dead.into_iter().map(|(at, _)| at)),
        }
        self.send_on(&step.queue, later, worked, &mut kept).await;
        if !retries.is_empty()
            && let Err(error) = async { self.ports.queue(&step.queue)?.extend(&retries).await }.await
        {
            tracing::warn!(step = %step.name, %error, "backoffs could not be set; the visibility timeout gives the messages back");
        }
        kept.sort_unstable();
        kept
    }

    /// Sends the events that follow as messages are given up. Returns which of them, by their place, could not be followed by
    /// theirs, and are to stay where they are.
    async fn follow(&self, step: &StepModel, worked: &[&Worked<'_>], now: Timestamp) -> BTreeSet<usize> {
        let mut unfollowed = BTreeSet::new();
        let Some(event_type) = &step.given_up else { return unfollowed };
        let mut following = Vec::new();
        for (at, Worked { work, verdict, .. }) in worked.iter().enumerate() {
            let (Verdict::DeadLetter(failure) | Verdict::Ended(failure)) = verdict else { continue };
            // What can't be read has no event, and is followed by none.
            let Some(envelope) = &work.envelope else { continue };
            match caught_now(|| self.choreography.follow_up(&step.name, envelope, failure, now)) {
                Ok(Some(Ok(body))) => following.push((at, body)),
                Ok(None) => {}
                Ok(Some(Err(why))) => {
                    tracing::error!(step = %step.name, %why, "no event follows a message that is given up")
                }
                Err(why) => {
                    tracing::error!(step = %step.name, why, "no event follows a message that is given up")
                }
            }
        }
        if following.is_empty() {
            return unfollowed;
        }
        let model = self.choreography.model();
        for destination in model.destinations(event_type) {
            let message =
                |(_, body): &(usize, String)| NewMessage { body: body.clone(), ..NewMessage::default() };
            let sent =
                relay::send(model, &self.ports, destination, following.iter().map(message).collect()).await;
            for ((at, _), sent) in following.iter().zip(sent) {
                if let Err(error) = sent {
                    tracing::error!(step = %step.name, to = destination.name(), %error, "what follows a message that is given up could not be sent; it stays where it is");
                    unfollowed.insert(*at);
                }
            }
        }
        unfollowed
    }

    /// Sends messages on; those that can't be stay where they are.
    async fn send_on(
        &self,
        queue: &str,
        sending: Vec<(usize, NewMessage)>,
        worked: &[&Worked<'_>],
        kept: &mut Vec<usize>,
    ) {
        if sending.is_empty() {
            return;
        }
        let (places, new): (Vec<usize>, Vec<NewMessage>) = sending.into_iter().unzip();
        let sent = match self.ports.queue(queue) {
            Ok(queue) => queue.send(new).await,
            Err(error) => vec![Err(error); places.len()],
        };
        for (at, sent) in places.into_iter().zip(sent) {
            if let (Err(error), Some(Worked { work, .. })) = (sent, worked.get(at)) {
                let (correlation_id, trace) = known_by(work.envelope.as_ref());
                tracing::error!(queue, id = %work.message.id, correlation_id, trace_id = trace, %error, "a message could not be sent on; it stays where it is");
                kept.push(at);
            }
        }
    }
}

fn dead_letter(step: &StepModel, work: &Work<'_>, failure: &Failure, now: Timestamp) -> NewMessage {
    let envelope = work.envelope.as_ref();
    let identity = Identity {
        correlation_id: envelope.and_then(|envelope| envelope.correlationid.as_deref()),
        subject: envelope.map(|envelope| envelope.subject.as_str()),
    };
    DeadLetter::message(work.message, failure, &step.name, &step.queue, identity, now)
}
