//! Settling: each message gets what its verdict says.

use super::{
    Pipeline,
    batch::{Work, Worked},
    observe::{Observation, known_by},
    verdict::Verdict,
};
use crate::{
    dead_letter::{DeadLetter, Identity},
    event::Envelope,
    failure::Failure,
    model::StepModel,
    panics::caught_now,
    port::{Message, NewMessage, PortError, Receipt, Received},
    relay,
    timestamp::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

/// The reason of a failure of a port.
const PORT_UNAVAILABLE: &str = "port_unavailable";

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
    /// Those of the messages kept that can be settled as soon as a port takes it.
    pub(crate) unsettled: Option<Unsettled>,
    pub(crate) observations: Vec<Observation>,
}

/// Messages whose verdicts could not be carried out, as a port took nothing.
pub(crate) struct Unsettled {
    messages: Vec<Message>,
    verdicts: Vec<Verdict>,
    /// When the verdicts were given.
    at: Timestamp,
}

impl Unsettled {
    /// Those at `places` of a batch; none where there are no places.
    pub(super) fn of(
        places: &BTreeSet<usize>,
        messages: &[Message],
        verdicts: &[Verdict],
        at: Timestamp,
    ) -> Option<Self> {
        let (messages, verdicts): (Vec<_>, Vec<_>) = places
            .iter()
            .filter_map(|at| Some((messages.get(*at)?.clone(), verdicts.get(*at)?.clone())))
            .unzip();
        (!messages.is_empty()).then_some(Self { messages, verdicts, at })
    }
}

/// How a batch is settled.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// The receipts are the queue's, so that what is sent on can take the place of its message. Where somebody else
    /// acknowledges, they are his.
    pub(super) in_place: bool,
    /// When the verdicts were given.
    pub(super) at: Timestamp,
    /// Once before, a port did not take it.
    pub(super) again: bool,
}

/// Which messages of a batch, by their place, must not be acknowledged.
#[derive(Default)]
pub(super) struct Kept {
    /// All of them.
    pub(super) all: BTreeSet<usize>,
    /// Those that could not be settled now, but can be once their port takes it.
    pub(super) unsettled: BTreeSet<usize>,
}

impl Kept {
    /// A message stays, for what a port answered.
    fn refused(&mut self, at: usize, error: &PortError) {
        self.all.insert(at);
        if error.is_transient() {
            self.unsettled.insert(at);
        }
    }
}

impl Pipeline {
    /// Does with each message what its verdict says, but for deleting it. Returns which, by their place, are not to be
    /// deleted, in order.
    pub(super) async fn settle(&self, step: &StepModel, worked: &[&Worked<'_>], how: How) -> Kept {
        let mut retries: Vec<(usize, (Receipt, Duration))> = Vec::new();
        let mut later: Vec<(usize, NewMessage)> = Vec::new();
        let mut dead: Vec<(usize, NewMessage)> = Vec::new();
        let now = self.ports.clock.now();
        // Before the dead letters: one whose event could not be sent comes again, and is given up again.
        let mut kept = self.follow(step, worked, how.at).await;
        for (at, Worked { work, verdict, .. }) in worked.iter().enumerate() {
            let message = work.message;
            let in_place_of = how
                .in_place
                .then(|| Received { queue: step.queue.clone(), receipt: message.receipt.clone() });
            match verdict {
                Verdict::Done | Verdict::Ended(_) => {}
                Verdict::DeadLetter(_) if kept.all.contains(&at) => {}
                Verdict::Retry(after, failure) => {
                    kept.all.insert(at);
                    // One that failed for the port's sake alone is given back as soon as that takes it.
                    let is_ports = how.again && failure.reason() == PORT_UNAVAILABLE;
                    let left = if is_ports { Duration::ZERO } else { (how.at + *after).since(now) };
                    retries.push((at, (message.receipt.clone(), left)));
                }
                Verdict::Later(delay) => {
                    let (body, attributes) = (message.body.clone(), message.attributes.clone());
                    let delay = (how.at + *delay).since(now);
                    later.push((at, NewMessage { body, attributes, delay, in_place_of, key: None }));
                }
                Verdict::DeadLetter(failure) => {
                    let letter = dead_letter(step, work, failure, how.at);
                    dead.push((at, NewMessage { in_place_of, ..letter }));
                }
            }
        }
        // Sent on before deleted where it can't be at once: in between, a crash leaves a message twice, never none.
        let redrive = self.choreography.model().queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
        match redrive {
            Some(redrive) => self.send_on(&redrive.dead_letter_queue, dead, worked, &mut kept).await,
            None => kept.all.extend(dead.into_iter().map(|(at, _)| at)),
        }
        self.send_on(&step.queue, later, worked, &mut kept).await;
        self.hide(step, retries, &mut kept).await;
        kept
    }

    /// Hides messages for their backoff.
    async fn hide(&self, step: &StepModel, retries: Vec<(usize, (Receipt, Duration))>, kept: &mut Kept) {
        if retries.is_empty() {
            return;
        }
        let (places, retries): (Vec<usize>, Vec<_>) = retries.into_iter().unzip();
        if let Err(error) = async { self.ports.queue(&step.queue)?.extend(&retries).await }.await {
            tracing::warn!(step = %step.name, %error, "backoffs could not be set; the visibility timeout gives the messages back at the latest");
            places.into_iter().for_each(|at| kept.refused(at, &error));
        }
    }

    /// Carries verdicts out that could not be before. Returns the receipts of what is to be acknowledged now, and what is left.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step.
    pub(crate) async fn settle_again(
        &self,
        step: &str,
        unsettled: &Unsettled,
    ) -> Result<(Vec<Receipt>, Option<Unsettled>), Failure> {
        let (step, Unsettled { messages, verdicts, at }) = (self.step(step)?, unsettled);
        let envelope = |message: &Message| {
            let read = caught_now(|| self.choreography.envelope(&step.name, &message.body, message.sent_at));
            read.ok()?.ok()
        };
        let again = messages.iter().zip(verdicts).map(|(message, verdict)| Worked {
            work: Work { message, envelope: envelope(message) },
            verdict: verdict.clone(),
            note: None,
        });
        let again: Vec<Worked<'_>> = again.collect();
        let how = How { in_place: true, at: *at, again: true };
        let kept = self.settle(step, &again.iter().collect::<Vec<_>>(), how).await;
        let left = Unsettled::of(&kept.unsettled, messages, verdicts, *at);
        let kept = kept.all.into_iter().collect();
        Ok((Delivered { verdicts: Vec::new(), kept }.done(messages), left))
    }

    /// Sends the events that follow as messages are given up. Returns which of them could not be followed by theirs, and are
    /// to stay where they are.
    async fn follow(&self, step: &StepModel, worked: &[&Worked<'_>], now: Timestamp) -> Kept {
        let mut unfollowed = Kept::default();
        let Some(event_type) = &step.given_up else { return unfollowed };
        let mut following = Vec::new();
        for (at, Worked { work, verdict, .. }) in worked.iter().enumerate() {
            let (Verdict::DeadLetter(failure) | Verdict::Ended(failure)) = verdict else { continue };
            // What can't be read has no event, and is followed by none.
            let Some(envelope) = &work.envelope else { continue };
            let context = self.context(step, work.message, Some(envelope));
            let envelope = Envelope { traceparent: Some(context), ..envelope.clone() };
            match caught_now(|| self.choreography.follow_up(&step.name, &envelope, failure, now)) {
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
                    unfollowed.refused(*at, &error);
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
        kept: &mut Kept,
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
                kept.refused(at, &error);
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
