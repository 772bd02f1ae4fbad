//! What is to become of a message.

use super::Pipeline;
use crate::{failure::Failure, model::StepModel};
use std::time::Duration;

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handled, or nothing to do: delete it.
    Done,
    /// Not before its time: sent on with what is left of the delay, then deleted.
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
            let detail = format!("attempt {receive_count} of {} failed: {}", step.attempts, failure.detail());
            return Verdict::DeadLetter(Failure::permanent(failure.reason().to_owned(), detail));
        }
        self.again(step, receive_count, failure)
    }

    /// Again after the step's wait, or as late as the failure asks for.
    pub(super) fn again(&self, step: &StepModel, receive_count: u32, failure: Failure) -> Verdict {
        let wait = step.waits.after(receive_count, &*self.ports.random);
        Verdict::Retry(wait.max(failure.wait_at_least()), failure)
    }

    /// The last receive of a message: behind it, the queue gives it up by itself, without a reason and with nothing that follows.
    pub(super) fn receives_max(&self, step: &StepModel) -> u32 {
        let queue = self.choreography.model().queue(&step.queue);
        queue.and_then(|queue| queue.redrive.as_ref()).map_or(u32::MAX, |redrive| redrive.receives_max)
    }
}

/// Whether a message is given up for a failure, and not tried again.
pub(super) fn is_given_up(step: &StepModel, receive_count: u32, failure: &Failure) -> bool {
    failure.is_permanent() || receive_count >= step.attempts || is_business_end(step, failure)
}

/// Whether a failure is an end like any other, and no fault.
pub(super) fn is_business_end(step: &StepModel, failure: &Failure) -> bool {
    step.business_ends.contains(failure.reason())
}
