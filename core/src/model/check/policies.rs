//! Timeouts, retries, retentions and budgets fit together.

use super::DefinitionError;
use crate::{
    limits,
    model::{Model, QueueModel, StepModel},
};
use std::time::Duration;

/// Retries last for this part of the flow's deadline at least.
const RETRIES_PART: u32 = 10;

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    for step in &model.steps {
        ranges(step, errors);
        batch(step, errors);
        waits(step, errors);
        ends(step, errors);
        if let Some(queue) = model.queue(&step.queue) {
            of_queue(step, queue, errors);
            budget(model, step, queue, errors);
        }
    }
    cycles(model, errors);
    retentions(model, errors);
}

fn ranges(step: &StepModel, errors: &mut Vec<DefinitionError>) {
    let mut range = |what, value: String, allowed, fits: bool| {
        if !fits {
            errors.push(DefinitionError::OutOfRange { name: step.name.clone(), what, value, allowed });
        }
    };
    let timeout = step.timeout;
    let whole = timeout >= Duration::from_secs(1) && timeout <= limits::FUNCTION_TIMEOUT_MAX;
    range("the timeout", format!("{timeout:?}"), "1 s to 900 s (Lambda)", whole);
    if let Some(memory) = step.memory {
        let fits = limits::FUNCTION_MEMORY.contains(&memory);
        range("the memory", format!("{memory} MB"), "128 to 10,240 MB (Lambda)", fits);
    }
    let batch = (1..=limits::CONSUMER_BATCH_MAX).contains(&step.batch);
    range("the batch", step.batch.to_string(), "1 to 10,000 messages (Lambda)", batch);
    let window = format!("{:?}", step.batch_window);
    let gathered = step.batch <= limits::CONSUMER_BATCH_WITHOUT_WINDOW_MAX
        || step.batch_window >= Duration::from_secs(1);
    range("the batch window", window.clone(), "1 s or more for a batch over 10 (Lambda)", gathered);
    let short = step.batch_window <= Duration::from_secs(300);
    range("the batch window", window, "at most 300 s (Lambda)", short);
    range("the concurrency", step.concurrency.to_string(), "1 or more", step.concurrency > 0);
    range("the workers", step.workers.to_string(), "1 or more", step.workers > 0);
    let attempts = (1..=limits::ATTEMPTS_MAX).contains(&step.attempts);
    range(
        "the attempts",
        step.attempts.to_string(),
        "1 to 997 (SQS: 1,000, of which 3 are kept to give a message up)",
        attempts,
    );
    // A message is hidden for 12 h at most, counted from its receive: the handler's own time is part of that.
    let wait = if step.attempts > 1 { step.waits.longest_of(step.attempts - 1) } else { Duration::ZERO };
    let hidden = wait.saturating_add(timeout);
    range(
        "the longest backoff, with the timeout",
        format!("{hidden:?}"),
        "at most 12 h (SQS)",
        hidden <= limits::QUEUE_VISIBILITY_MAX,
    );
}

fn batch(step: &StepModel, errors: &mut Vec<DefinitionError>) {
    let Some(time) = step.time_per_message else { return };
    let rounds = u32::try_from(step.batch.div_ceil(step.concurrency.max(1))).unwrap_or(u32::MAX);
    let needed = time.saturating_mul(rounds);
    if needed > step.timeout {
        let (step, batch, timeout) = (step.name.clone(), step.batch, step.timeout);
        errors.push(DefinitionError::BatchTooSlow { step, batch, needed, timeout });
    }
}

fn waits(step: &StepModel, errors: &mut Vec<DefinitionError>) {
    if let Some(problem) = step.waits.problem() {
        errors.push(DefinitionError::SenselessWaits { step: step.name.clone(), problem });
    }
}

/// An end is a dead letter, or it is none.
fn ends(step: &StepModel, errors: &mut Vec<DefinitionError>) {
    for reason in step.business_ends.intersection(&step.dead_lettered_ends) {
        errors.push(DefinitionError::EndsTwice { step: step.name.clone(), reason: reason.clone() });
    }
}

fn of_queue(step: &StepModel, queue: &QueueModel, errors: &mut Vec<DefinitionError>) {
    let (visibility, timeout, window) = (queue.visibility_timeout, step.timeout, step.batch_window);
    let least = timeout.saturating_mul(limits::VISIBILITY_PER_TIMEOUT_MIN).saturating_add(window);
    if visibility < least {
        let (queue, step) = (queue.name.clone(), step.name.clone());
        errors.push(DefinitionError::VisibilityTooShort { queue, visibility, step, timeout, window });
    }
    if visibility > limits::QUEUE_VISIBILITY_MAX {
        errors.push(DefinitionError::OutOfRange {
            name: queue.name.clone(),
            what: "the visibility timeout",
            value: format!("{visibility:?}"),
            allowed: "at most 12 h (SQS)",
        });
    }
    if queue.retention < Duration::from_secs(60) {
        errors.push(DefinitionError::OutOfRange {
            name: queue.name.clone(),
            what: "the retention",
            value: format!("{:?}", queue.retention),
            allowed: "60 s to 14 days (SQS)",
        });
    }
}

/// Retries fit into the deadline, last for a part of it, and the queue keeps a message for longer than both.
fn budget(model: &Model, step: &StepModel, queue: &QueueModel, errors: &mut Vec<DefinitionError>) {
    let backoff = step.waits.total(step.attempts);
    let deadline = model.budget_of(step).map(|budget| budget.deadline);
    if let Some(deadline) = deadline.filter(|deadline| backoff > *deadline) {
        errors.push(DefinitionError::BackoffBeyondDeadline { step: step.name.clone(), backoff, deadline });
    }
    // A step that reads a stream is called again by Lambda, whose waits are not the definition's.
    let can_wait = step.stream().is_none() && !step.gives_up_early;
    if let Some(deadline) = deadline.filter(|_| can_wait) {
        let needed = deadline / RETRIES_PART;
        if backoff < needed {
            let (step, retries) = (step.name.clone(), backoff);
            errors.push(DefinitionError::RetriesEndEarly { step, retries, deadline, needed });
        }
    }
    let needed = backoff.max(deadline.unwrap_or_default());
    if needed > queue.retention {
        let (step, queue, retention) = (step.name.clone(), queue.name.clone(), queue.retention);
        errors.push(DefinitionError::BeyondRetention { step, queue, needed, retention });
    }
}

fn cycles(model: &Model, errors: &mut Vec<DefinitionError>) {
    for step in model.steps.iter().filter(|step| step.cycle.as_ref() == Some(&step.name)) {
        if model.budget_of(step).is_none() {
            errors.push(DefinitionError::CycleWithoutBudget { step: step.name.clone() });
        }
    }
}

fn retentions(model: &Model, errors: &mut Vec<DefinitionError>) {
    for source in &model.queues {
        let dead = source.redrive.as_ref().and_then(|redrive| model.queue(&redrive.dead_letter_queue));
        if let Some(dead) = dead.filter(|dead| dead.retention <= source.retention) {
            errors.push(DefinitionError::DeadLettersForgotten {
                queue: dead.name.clone(),
                retention: dead.retention,
                source_retention: source.retention,
            });
        }
    }
}
