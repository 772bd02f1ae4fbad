//! The rules a definition is held to. Each has a name, and its message says how to mend the mistake.

use super::model::Model;
use crate::{Event as _, alarm::Alert, limits};
use std::{collections::BTreeSet, fmt, time::Duration};

/// A mistake in a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A name that AWS would not take everywhere it is used.
    #[error("invalid_name: {what} {name:?}: use 1 to 40 of a-z, 0-9 and '-' or '_', a letter first")]
    InvalidName {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two things of one sort with one name.
    #[error("name_used_twice: there are two of {what} {name:?}: rename one")]
    NameUsedTwice {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An event nobody consumes.
    #[error(
        "no_consumer: {emitter} emits {event_type:?}, which nobody consumes: add a consumer for it, or don't emit it"
    )]
    NoConsumer {
        /// Who emits it.
        emitter: String,
        /// The event.
        event_type: String,
    },
    /// A consumer that nothing feeds.
    #[error(
        "no_producer: {step} consumes {event_type:?}, which nothing emits: emit it, schedule it, or remove the consumer"
    )]
    NoProducer {
        /// The consumer.
        step: String,
        /// The event.
        event_type: String,
    },
    /// An entity that no table holds.
    #[error(
        "no_table: {step} uses entities of kind {kind:?}, which no table holds: add `.holds::<…>()` to one"
    )]
    NoTable {
        /// The consumer, or the route's handler.
        step: String,
        /// The kind.
        kind: String,
    },
    /// A name that was used but not defined.
    #[error("undefined: {user} uses the {what} {name:?}, which is not defined: add it, or mend the name")]
    Undefined {
        /// Who uses it.
        user: String,
        /// What it would be.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A bucket that nothing uses.
    #[error(
        "unused_bucket: nothing uses the bucket {bucket:?}: add `.puts({bucket:?})`, `.reads({bucket:?})` or \
         `.lists({bucket:?})` to the uses of a handler, or remove it"
    )]
    UnusedBucket {
        /// The bucket.
        bucket: String,
    },
    /// A topic that carries events of several types, of which its subscribers would get each other's.
    #[error(
        "topic_shared: topic {topic:?} carries {first:?} and {second:?}, and every subscriber gets both: give each its own topic"
    )]
    TopicShared {
        /// The topic.
        topic: String,
        /// One of the events.
        first: String,
        /// Another one.
        second: String,
    },
    /// A visibility timeout under 6 times the handler's timeout.
    #[error(
        "visibility_too_short: queue {queue:?} hides a message for {visibility:?}, less than 6 times the {timeout:?} that \
         {step} may take: raise the visibility timeout to {} s or lower the timeout",
        timeout.saturating_mul(limits::VISIBILITY_PER_TIMEOUT_MIN).as_millis().div_ceil(1000)
    )]
    VisibilityTooShort {
        /// The queue.
        queue: String,
        /// Its visibility timeout.
        visibility: Duration,
        /// The consumer.
        step: String,
        /// Its timeout.
        timeout: Duration,
    },
    /// A number outside what AWS or the library takes.
    #[error("out_of_range: {what} of {name} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Of what.
        name: String,
        /// Which number.
        what: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A batch that does not fit in the timeout.
    #[error(
        "batch_too_slow: {step} takes up to {needed:?} for a batch of {batch}, more than its timeout of {timeout:?}: lower \
         the batch, raise the concurrency or the timeout"
    )]
    BatchTooSlow {
        /// The consumer.
        step: String,
        /// Messages in a batch.
        batch: usize,
        /// What it may take.
        needed: Duration,
        /// What it has.
        timeout: Duration,
    },
    /// A cycle that nothing bounds.
    #[error(
        "cycle_without_budget: {step} can cause itself to run again without end: give it a `Budget` (deadline and hops)"
    )]
    CycleWithoutBudget {
        /// The first step of the cycle.
        step: String,
    },
    /// Retries that last longer than the cycle's deadline.
    #[error(
        "backoff_beyond_deadline: the retries of {step} can take {backoff:?}, longer than its deadline of {deadline:?}: lower \
         the attempts or the backoff, or raise the deadline"
    )]
    BackoffBeyondDeadline {
        /// The consumer.
        step: String,
        /// The sum of its waits.
        backoff: Duration,
        /// The deadline.
        deadline: Duration,
    },
    /// Waits that last longer than the queue keeps the message.
    #[error(
        "beyond_retention: {step} may need a message for {needed:?}, queue {queue:?} keeps it for {retention:?}: raise the \
         retention (at most 14 days) or shorten the backoff or the deadline"
    )]
    BeyondRetention {
        /// The consumer.
        step: String,
        /// Its queue.
        queue: String,
        /// How long the message may be needed.
        needed: Duration,
        /// How long it is kept.
        retention: Duration,
    },
    /// A dead-letter queue that forgets before its source does.
    #[error(
        "dead_letters_forgotten: dead-letter queue {queue:?} keeps messages for {retention:?}, not longer than its source's \
         {source_retention:?}, and a dead letter keeps the time it was first sent: lower the source's retention"
    )]
    DeadLettersForgotten {
        /// The dead-letter queue.
        queue: String,
        /// Its retention.
        retention: Duration,
        /// The source's.
        source_retention: Duration,
    },
}

/// All mistakes of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionErrors(pub Vec<DefinitionError>);

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the definition has {} mistake(s)", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for DefinitionErrors {}

pub(super) fn check(model: &Model) -> Vec<DefinitionError> {
    let mut errors = Vec::new();
    names(model, &mut errors);
    edges(model, &mut errors);
    uses(model, &mut errors);
    for step in &model.steps {
        policies(model, step, &mut errors);
    }
    cycles(model, &mut errors);
    retentions(model, &mut errors);
    errors
}

fn names(model: &Model, errors: &mut Vec<DefinitionError>) {
    let steps = model.steps.iter().map(|step| &step.name).chain(model.routes.iter().map(|route| &route.step));
    let sorts: [(&'static str, Vec<&String>); 7] = [
        ("choreography", vec![&model.name]),
        ("table", model.tables.iter().map(|table| &table.name).collect()),
        ("queue", model.queues.iter().map(|queue| &queue.name).collect()),
        ("topic", model.topics.iter().map(|topic| &topic.name).collect()),
        ("bucket", model.buckets.iter().map(|bucket| &bucket.name).collect()),
        ("schedule", model.schedules.iter().map(|schedule| &schedule.name).collect()),
        ("step", steps.collect()),
    ];
    for (what, names) in sorts {
        unique(what, names.iter().map(|name| name.as_str()), errors);
        for name in names {
            let shaped = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
                && name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.len() <= limits::NAME_BYTES_MAX;
            if !shaped {
                errors.push(DefinitionError::InvalidName { what, name: name.clone() });
            }
        }
    }
    unique("entity kind", model.tables.iter().flat_map(|table| &table.kinds).map(String::as_str), errors);
    let routes: Vec<String> =
        model.routes.iter().map(|route| format!("{} {}", route.method, shape(&route.path))).collect();
    unique("route", routes.iter().map(String::as_str), errors);
    for route in &model.routes {
        let mut range = |what, value: String, allowed, fits: bool| {
            if !fits {
                errors.push(DefinitionError::OutOfRange { name: route.step.clone(), what, value, allowed });
            }
        };
        let rooted = route.path.starts_with('/');
        range("the path", format!("{:?}", route.path), "a path that begins with '/'", rooted);
        let timeout = route.timeout;
        let whole = timeout >= Duration::from_secs(1) && timeout <= limits::ROUTE_TIMEOUT_MAX;
        range("the timeout", format!("{timeout:?}"), "1 s to 29 s (API Gateway answers after 30 s)", whole);
    }
}

/// A path without the names of its parameters: what tells two routes apart.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>, errors: &mut Vec<DefinitionError>) {
    let mut seen = BTreeSet::new();
    let mut told = BTreeSet::new();
    for name in names {
        if !seen.insert(name) && told.insert(name) {
            errors.push(DefinitionError::NameUsedTwice { what, name: name.to_owned() });
        }
    }
}

fn edges(model: &Model, errors: &mut Vec<DefinitionError>) {
    let consumed: BTreeSet<&str> = model.steps.iter().map(|step| step.event_type.as_str()).collect();
    let by_steps = model.steps.iter().map(|step| (&step.name, &step.emits));
    let by_routes = model.routes.iter().map(|route| (&route.step, &route.emits));
    let mut produced = BTreeSet::new();
    for (emitter, emits) in by_steps.chain(by_routes) {
        for event_type in emits {
            produced.insert(event_type.as_str());
            if !consumed.contains(event_type.as_str()) {
                errors.push(DefinitionError::NoConsumer {
                    emitter: emitter.clone(),
                    event_type: event_type.clone(),
                });
            }
        }
    }
    for schedule in &model.schedules {
        produced.insert(&schedule.event_type);
        if !consumed.contains(schedule.event_type.as_str()) {
            let (emitter, event_type) = (format!("schedule {}", schedule.name), schedule.event_type.clone());
            errors.push(DefinitionError::NoConsumer { emitter, event_type });
        }
        if schedule.every.is_zero() {
            errors.push(DefinitionError::OutOfRange {
                name: format!("schedule {}", schedule.name),
                what: "the time between two messages",
                value: "0".into(),
                allowed: "more than 0",
            });
        }
    }
    if !model.alarms.is_empty() {
        produced.insert(Alert::TYPE);
    }
    for step in model.steps.iter().filter(|step| !produced.contains(step.event_type.as_str())) {
        let (step, event_type) = (step.name.clone(), step.event_type.clone());
        errors.push(DefinitionError::NoProducer { step, event_type });
    }
    for step in &model.steps {
        if let Some(topic) = step.topic.as_ref().filter(|name| !model.topics.iter().any(|t| &t.name == *name))
        {
            errors.push(undefined(&step.name, "topic", topic));
        }
    }
    let topics: BTreeSet<&String> = model.alarms.iter().map(|alarm| &alarm.topic).collect();
    for topic in topics.into_iter().filter(|name| !model.topics.iter().any(|topic| &topic.name == *name)) {
        errors.push(undefined("the alarm", "topic", topic));
    }
    for topic in &model.topics {
        let subscribers = model.steps.iter().filter(|step| step.topic.as_ref() == Some(&topic.name));
        let alarms = model.alarms.iter().filter(|alarm| alarm.topic == topic.name).map(|_| Alert::TYPE);
        let carried: BTreeSet<&str> =
            subscribers.map(|step| step.event_type.as_str()).chain(alarms).collect();
        let mut carried = carried.into_iter().map(str::to_owned);
        if let (Some(first), Some(second)) = (carried.next(), carried.next()) {
            errors.push(DefinitionError::TopicShared { topic: topic.name.clone(), first, second });
        }
    }
}

fn undefined(user: &str, what: &'static str, name: &str) -> DefinitionError {
    DefinitionError::Undefined { user: user.to_owned(), what, name: name.to_owned() }
}

fn uses(model: &Model, errors: &mut Vec<DefinitionError>) {
    let by_steps = model.steps.iter().map(|step| (&step.name, &step.uses));
    let by_routes = model.routes.iter().map(|route| (&route.step, &route.uses));
    let mut used = BTreeSet::new();
    for (step, uses) in by_steps.chain(by_routes) {
        for kind in uses.kinds().keys().filter(|kind| model.table_of(kind).is_none()) {
            errors.push(DefinitionError::NoTable { step: step.clone(), kind: kind.clone() });
        }
        for bucket in uses.buckets().keys() {
            if !model.buckets.iter().any(|defined| &defined.name == bucket) {
                errors.push(undefined(step, "bucket", bucket));
            }
            used.insert(bucket);
        }
    }
    for bucket in model.buckets.iter().map(|bucket| &bucket.name) {
        // Of two of one name, which is a mistake of its own, it is said once.
        if used.insert(bucket) {
            errors.push(DefinitionError::UnusedBucket { bucket: bucket.clone() });
        }
    }
}

fn policies(model: &Model, step: &super::StepModel, errors: &mut Vec<DefinitionError>) {
    let mut range = |what, value: String, allowed, fits: bool| {
        if !fits {
            errors.push(DefinitionError::OutOfRange { name: step.name.clone(), what, value, allowed });
        }
    };
    let (timeout, batch) = (step.timeout, step.batch);
    let whole = timeout >= Duration::from_secs(1) && timeout <= limits::FUNCTION_TIMEOUT_MAX;
    range("the timeout", format!("{timeout:?}"), "1 s to 900 s (Lambda)", whole);
    range(
        "the batch",
        batch.to_string(),
        "1 to 10,000 messages (Lambda)",
        (1..=limits::CONSUMER_BATCH_MAX).contains(&batch),
    );
    let gathered =
        batch <= limits::CONSUMER_BATCH_WITHOUT_WINDOW_MAX || step.batch_window >= Duration::from_secs(1);
    range(
        "the batch window",
        format!("{:?}", step.batch_window),
        "1 s or more for a batch over 10 (Lambda)",
        gathered,
    );
    let window = step.batch_window <= Duration::from_secs(300);
    range("the batch window", format!("{:?}", step.batch_window), "at most 300 s (Lambda)", window);
    range("the concurrency", step.concurrency.to_string(), "1 or more", step.concurrency > 0);
    range("the workers", step.workers.to_string(), "1 or more", step.workers > 0);
    range(
        "the attempts",
        step.attempts.to_string(),
        "1 to 1,000 (SQS)",
        (1..=1_000).contains(&step.attempts),
    );
    // A message is hidden for 12 h at most, counted from its receive: the handler's own time is part of that.
    let wait = if step.attempts > 1 { step.backoff.longest(step.attempts - 1) } else { Duration::ZERO };
    let hidden = wait.saturating_add(timeout);
    range(
        "the longest backoff, with the timeout",
        format!("{hidden:?}"),
        "at most 12 h (SQS)",
        hidden <= limits::QUEUE_VISIBILITY_MAX,
    );
    if let Some(time) = step.time_per_message {
        let rounds = u32::try_from(step.batch.div_ceil(step.concurrency.max(1))).unwrap_or(u32::MAX);
        let needed = time.saturating_mul(rounds);
        if needed > timeout {
            let step = step.name.clone();
            errors.push(DefinitionError::BatchTooSlow { step, batch, needed, timeout });
        }
    }
    let Some(queue) = model.queue(&step.queue) else {
        return;
    };
    let visibility = queue.visibility_timeout;
    if visibility < timeout.saturating_mul(limits::VISIBILITY_PER_TIMEOUT_MIN) {
        let (queue, step) = (queue.name.clone(), step.name.clone());
        errors.push(DefinitionError::VisibilityTooShort { queue, visibility, step, timeout });
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
    let backoff = step.backoff.total(step.attempts);
    let deadline = model.budget_of(step).map(|budget| budget.deadline);
    if let Some(deadline) = deadline.filter(|deadline| backoff > *deadline) {
        errors.push(DefinitionError::BackoffBeyondDeadline { step: step.name.clone(), backoff, deadline });
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
