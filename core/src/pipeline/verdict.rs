//! What is to become of a message.

use super::Pipeline;
use crate::{failure::Failure, model::StepModel, port::Message};
use std::time::Duration;

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handled, or nothing to do: delete it.
    Done,
    /// Not now: sent on with a delay, then deleted.
    Later(Duration),
    /// A transient failure: again after this long.
    Retry(Duration, Failure),
    /// An end that the step counts among its business: done, with the failure as its reason.
    Ended(Failure),
    /// A permanent failure, or the last attempt: to the dead-letter queue.
    DeadLetter(Failure),
}

impl Pipeline {
    pub(super) fn verdict(&self, step: &StepModel, receive_count: u32, failure: Failure) -> Verdict {
        if is_business_end(step, &failure) {
            return Verdict::Ended(failure);
        }
        if failure.is_permanent() {
            return Verdict::DeadLetter(failure);
        }
        if is_given_up(step, receive_count, &failure) {
            let detail = format!("{}{}", last_attempt(step, receive_count), failure.detail());
            return Verdict::DeadLetter(Failure::permanent(failure.reason().to_owned(), detail));
        }
        self.again(step, receive_count, failure)
    }

    /// Again after the step's wait, or as late as the failure asks for.
    pub(super) fn again(&self, step: &StepModel, receive_count: u32, failure: Failure) -> Verdict {
        let wait = step.waits.after(receive_count, &*self.ports.random);
        Verdict::Retry(wait.max(failure.wait_at_least()), failure)
    }

    /// What becomes of a message of which nobody can find out whether it is done: it comes again. One that has used up its attempts
    /// is sent on, and has them anew: behind its last receive the queue would give it up by itself, with nothing that follows.
    pub(super) fn kept(&self, step: &StepModel, message: &Message, failure: Failure) -> Verdict {
        // What comes by no queue has no receipt, and whoever hands it in does so again.
        let is_last = message.receive_count >= step.attempts && !message.receipt.0.is_empty();
        match self.again(step, message.receive_count, failure) {
            Verdict::Retry(wait, _) if is_last => Verdict::Later(wait),
            verdict => verdict,
        }
    }
}

/// How the detail of a message begins that is given up since its attempts are used up.
pub(super) fn last_attempt(step: &StepModel, receive_count: u32) -> String {
    format!("attempt {receive_count} of {} failed: ", step.attempts)
}

/// Whether a message is given up for a failure, and not tried again.
pub(super) fn is_given_up(step: &StepModel, receive_count: u32, failure: &Failure) -> bool {
    failure.is_permanent() || receive_count >= step.attempts || is_business_end(step, failure)
}

/// Whether a failure is an end like any other, and no fault.
pub(super) fn is_business_end(step: &StepModel, failure: &Failure) -> bool {
    step.business_ends.contains(failure.reason())
}
