//! What is no mistake in a definition, and still worth a second look.

use super::{Model, Source};
use std::{fmt, time::Duration};

/// Retries that end before this part of the flow's deadline are told of.
const DEADLINE_PART: u32 = 10;

/// A piece of advice about a definition that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Dead-letter queues, and nobody is told of what lies in them.
    NoAlarm {
        /// How many there are.
        dead_letter_queues: usize,
    },
    /// Retries that end long before the flow's deadline: an outage that is shorter than the deadline costs messages.
    RetriesEndEarly {
        /// The consumer.
        step: String,
        /// The sum of its waits.
        retries: Duration,
        /// The deadline of its cycle.
        deadline: Duration,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAlarm { dead_letter_queues } => write!(
                f,
                "no_alarm: nobody is told of what lies in {dead_letter_queues} dead-letter queue(s): add a topic and \
                 `.alarm_to(…)`"
            ),
            Self::RetriesEndEarly { step, retries, deadline } => write!(
                f,
                "retries_end_early: {step} gives a message up after {retries:?} of retries, though its flow has {deadline:?}: \
                 raise its attempts or its waits, so that an outage of a few minutes costs nothing"
            ),
        }
    }
}

pub(crate) fn of(model: &Model) -> Vec<Advice> {
    let mut advice = Vec::new();
    let dead = model.queues.iter().filter(|queue| model.redrive_target(&queue.name).is_some()).count();
    if model.alarms.is_empty() && dead > 0 {
        advice.push(Advice::NoAlarm { dead_letter_queues: dead });
    }
    for step in model.steps.iter().filter(|step| step.source == Source::Events) {
        let retries = step.waits.total(step.attempts);
        let deadline = model.budget_of(step).map(|budget| budget.deadline);
        if let Some(deadline) = deadline.filter(|deadline| retries.saturating_mul(DEADLINE_PART) < *deadline)
        {
            advice.push(Advice::RetriesEndEarly { step: step.name.clone(), retries, deadline });
        }
    }
    advice
}
