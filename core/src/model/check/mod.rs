//! The rules a definition is held to. Each has a name, and its message says how to mend the mistake.

mod edges;
mod names;
mod policies;
mod spread;
mod uses;

use super::Model;
use crate::limits;
use std::{fmt, time::Duration};

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
        "no_consumer: {emitter} emits {event_type:?}, which nobody consumes: add a consumer for it, say that it goes outside \
         (`publish`, `publish_to_bus`, `send_outside`), or don't emit it"
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
    /// A route that can't cancel what it says.
    #[error("cancels: {route} cancels entities of kind {kind:?}, and {what}")]
    Cancels {
        /// The route's handler.
        route: String,
        /// The kind.
        kind: String,
        /// What stands against it.
        what: &'static str,
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
    /// A service that nothing uses.
    #[error(
        "unused_service: nothing uses the service {service}: add `.service::<dyn {service}>()` to the uses of a handler, or \
         remove it"
    )]
    UnusedService {
        /// The service.
        service: String,
    },
    /// A setting that nothing reads.
    #[error(
        "unused_setting: nothing reads the setting {setting:?}: add `.setting({setting:?})` to the uses of a handler or a \
         service, or remove it"
    )]
    UnusedSetting {
        /// The setting.
        setting: String,
    },
    /// A setting whose default is none of its values.
    #[error("wrong_default: the default of a setting: {error}")]
    WrongDefault {
        /// What is wrong with it.
        error: crate::setting::SettingError,
    },
    /// A schedule whose times are not the same on one machine and on AWS, or that has none.
    #[error("schedule_times: schedule {schedule:?}: {error}")]
    ScheduleTimes {
        /// The schedule.
        schedule: String,
        /// What is wrong with its times.
        error: super::when::WhenError,
    },
    /// Waits between attempts that make no sense.
    #[error("senseless_waits: the waits of {step}: {problem}")]
    SenselessWaits {
        /// The consumer.
        step: String,
        /// What is wrong, and how to mend it.
        problem: &'static str,
    },
    /// A decoder or an event that follows is for another event than the one that the handler consumes.
    #[error(
        "other_event: {step} consumes {consumed:?}, and {what} is for {given:?}: both have to be for one event"
    )]
    OtherEvent {
        /// The consumer.
        step: String,
        /// The event it consumes.
        consumed: String,
        /// What is for another event.
        what: &'static str,
        /// That event.
        given: String,
    },
    /// A queue that is one's own and that of others.
    #[error("queue_of_others: {queue:?} is a queue of others and of {step}: give one of them another name")]
    QueueOfOthers {
        /// The queue.
        queue: String,
        /// The consumer.
        step: String,
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
    /// A rule that never matches the event it is for, or that a bus refuses.
    #[error(
        "unfit_rule: by its rule on the event bus {bus:?}, {step} never gets {event_type:?}: {problem}: mend the rule"
    )]
    UnfitRule {
        /// The consumer.
        step: String,
        /// The bus.
        bus: String,
        /// The event it consumes.
        event_type: String,
        /// What is wrong with the rule.
        problem: String,
    },
    /// A rule that matches events of another type than the one its step consumes.
    #[error(
        "rule_too_wide: the rule of {step} on the event bus {bus:?} also takes {other:?}, which {step} can't read: leave the \
         detail type out of the rule, or narrow it"
    )]
    RuleTooWide {
        /// The consumer.
        step: String,
        /// The bus.
        bus: String,
        /// The other event.
        other: String,
    },
    /// An event that is consumed from a table's stream and is not in it.
    #[error(
        "not_in_stream: {step} takes {event_type:?} from the stream of the table {table:?}, and {emitter} sends it without a \
         commit there, or may commit elsewhere: leave `from_stream` out, or emit it with commits to {table:?} alone"
    )]
    NotInStream {
        /// The consumer.
        step: String,
        /// The event it consumes.
        event_type: String,
        /// The table.
        table: String,
        /// Who sends it.
        emitter: String,
    },
    /// A stream with more readers than DynamoDB feeds.
    #[error(
        "stream_shared: {first} and {second} both read the stream of the table {table:?}, and so does the relay, where DynamoDB \
         feeds two readers: leave `from_stream` out of one of them"
    )]
    StreamShared {
        /// The table.
        table: String,
        /// One of the steps.
        first: String,
        /// Another one.
        second: String,
    },
    /// A step that reads a stream, and an event that is to follow when it gives up: Lambda gives a record up by itself.
    #[error(
        "given_up_from_stream: {step} reads the stream of the table {table:?}, whose records Lambda gives up by itself, so that \
         {event_type:?} would not follow: leave `from_stream` or `on_given_up` out"
    )]
    GivenUpFromStream {
        /// The step.
        step: String,
        /// The table.
        table: String,
        /// The event that is to follow.
        event_type: String,
    },
    /// A visibility timeout under 6 times the handler's timeout and the batch's window.
    #[error(
        "visibility_too_short: queue {queue:?} hides a message for {visibility:?}, less than 6 times the {timeout:?} that \
         {step} may take and the {window:?} of its batch's window: raise the visibility timeout to {} s or lower the timeout",
        timeout.saturating_mul(limits::VISIBILITY_PER_TIMEOUT_MIN).saturating_add(*window).as_millis().div_ceil(1000)
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
        /// The window of its batch.
        window: Duration,
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
    /// A number of places that is no whole number in a range.
    #[error(
        "spread_unsaid: {spread} by the setting {setting:?}, which is no whole number of 1 to {most}: declare it as \
         `Setting::integer({setting:?}).within(1..=…)` with a default"
    )]
    SpreadUnsaid {
        /// What is spread.
        spread: String,
        /// The setting.
        setting: String,
        /// The most places that may be.
        most: u64,
    },
    /// A handler that goes by a number of places, and does not read it.
    #[error(
        "spread_unread: {step} uses what is spread by the setting {setting:?} and does not read that, so that it would miss \
         some: add `.setting({setting:?})` to its uses"
    )]
    SpreadUnread {
        /// The handler.
        step: String,
        /// The setting.
        setting: String,
    },
    /// Provisioned pollers beside a maximum concurrency.
    #[error(
        "pollers_and_concurrency: {step} has provisioned pollers and a maximum concurrency, which exclude each other on \
         Lambda: leave `provisioned_pollers` or `maximum_concurrency` out"
    )]
    PollersAndConcurrency {
        /// The consumer.
        step: String,
    },
    /// A reason that ends a message with a dead letter, and without one.
    #[error(
        "ends_twice: {step} names {reason:?} among its `business_ends`, which are no dead letters, and among its \
         `dead_lettered_ends`: name it in one of them"
    )]
    EndsTwice {
        /// The consumer.
        step: String,
        /// The reason.
        reason: String,
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
    /// Retries that end long before the cycle's deadline: an outage that is shorter than the deadline costs messages.
    #[error(
        "retries_end_early: {step} gives a message up after {retries:?} of retries, though its flow has {deadline:?}: raise \
         its attempts or its waits until they last {needed:?}, or add `.gives_up_early()` where that is meant"
    )]
    RetriesEndEarly {
        /// The consumer.
        step: String,
        /// The sum of its waits.
        retries: Duration,
        /// The deadline of its cycle.
        deadline: Duration,
        /// How long its waits have to last.
        needed: Duration,
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

/// All mistakes of a model.
pub(crate) fn check(model: &Model) -> Vec<DefinitionError> {
    let mut errors = Vec::new();
    names::check(model, &mut errors);
    edges::check(model, &mut errors);
    uses::check(model, &mut errors);
    policies::check(model, &mut errors);
    spread::check(model, &mut errors);
    errors
}

fn undefined(user: &str, what: &'static str, name: &str) -> DefinitionError {
    DefinitionError::Undefined { user: user.to_owned(), what, name: name.to_owned() }
}
