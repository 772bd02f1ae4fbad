//! A handler of events, with the policy its messages are consumed by.

use crate::{
    backoff::Waits,
    entity::Entity as _,
    event::{Envelope, Event},
    failure::Failure,
    handler::{Erased, ErasedHandler, Handler, Signature},
    limits,
    model::{Budget, Rule, Source, StepModel, TableUse, Uses, Workload},
    timestamp::Timestamp,
};
use serde_json::value::RawValue;
use std::{fmt, sync::Arc, time::Duration};

/// A handler with the policy its messages are consumed by. Every default can be set.
pub struct Consumer {
    pub(super) step: StepModel,
    pub(super) handler: Arc<dyn ErasedHandler>,
    /// It may make the entity that is loaded for it.
    pub(super) creates: bool,
    pub(super) decode: Option<Decode>,
    pub(super) follow_up: Option<FollowUp>,
    pub(super) visibility: Option<Duration>,
    pub(super) retention: Duration,
    pub(super) dead_letter_queue: Option<String>,
    pub(super) queue_physical: Option<String>,
    pub(super) dead_letter_queue_physical: Option<String>,
}

/// Turns the body of a queue that others write to, sent at a time, into the envelope of an event.
pub(crate) type Decode =
    Arc<dyn Fn(&str, Timestamp) -> Result<Envelope<Box<RawValue>>, Failure> + Send + Sync>;

/// Makes the body of the event that follows when a message is given up.
pub(crate) type FollowUp =
    Arc<dyn Fn(&Envelope<Box<RawValue>>, &Failure, Timestamp) -> Result<String, Failure> + Send + Sync>;

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Consumer {
    /// The step `name`, run by `handler`. Defaults: a queue of the step's name, 30 s timeout, batches of 10, 10
    /// messages at a time, 5 attempts with the default [`Backoff`](crate::Backoff), retention of 4 days, a dead-letter queue
    /// `<queue>-dlq`.
    pub fn new<A: 'static, H: Handler<A>>(name: impl Into<String>, handler: H) -> Self {
        let (name, signature) = (name.into(), Signature::of::<A, H>());
        // Loaded before the handler runs, committed with what it returns, and told of its dead letter.
        let uses = signature.entity_kind.map_or_else(Uses::new, |kind| {
            Uses::new().kind(kind, TableUse::Get).kind(kind, TableUse::Commit)
        });
        Self {
            step: StepModel {
                queue: name.clone(),
                name,
                physical: None,
                event_type: signature.event_type.to_owned(),
                source: Source::Events,
                entity_kind: signature.entity_kind.map(str::to_owned),
                emits: signature.emits.into_iter().map(str::to_owned).collect(),
                given_up: None,
                business_ends: std::collections::BTreeSet::new(),
                dead_lettered_ends: std::collections::BTreeSet::new(),
                uses,
                timeout: Duration::from_secs(30),
                memory: None,
                batch: limits::CONSUMER_BATCH_WITHOUT_WINDOW_MAX,
                batch_window: Duration::ZERO,
                time_per_message: None,
                concurrency: 10,
                workers: 1,
                maximum_concurrency: None,
                pollers: None,
                workload: Workload::new(),
                attempts: 5,
                waits: Waits::default(),
                gives_up_early: false,
                budget: None,
                cycle: None,
            },
            handler: Arc::new(Erased::<H, A>::new(handler)),
            creates: signature.creates,
            decode: None,
            follow_up: None,
            visibility: None,
            retention: Duration::from_secs(4 * 86_400),
            dead_letter_queue: None,
            queue_physical: None,
            dead_letter_queue_physical: None,
        }
    }

    /// Its messages come from this topic: the topic sends them to the step's queue.
    #[must_use]
    pub fn from_topic(mut self, topic: impl Into<String>) -> Self {
        self.step.source = Source::Topic(topic.into());
        self
    }

    /// Its messages come from this event bus: what matches `rule` the bus sends to the step's queue. [`Rule::new`] takes all
    /// events of the step's type.
    #[must_use]
    pub fn from_bus(mut self, bus: impl Into<String>, rule: Rule) -> Self {
        self.step.source = Source::Bus { bus: bus.into(), rule: rule.or_type(&self.step.event_type) };
        self
    }

    /// Its messages come straight from the change stream of this table: what commits to it emit for the step. On AWS neither
    /// relay nor queue is on the way: Lambda hands the step the stream's records in batches, and hands a batch in again from
    /// the first event that failed. After the step's attempts it tells the dead-letter queue which records were given up. On
    /// one machine and in memory there is no such reader, and the relay hands the event to the step's queue.
    ///
    /// The queue is there on AWS as well, for what does not come from the stream: a dead letter that is redriven, and an event
    /// that has to wait for its time.
    #[must_use]
    pub fn from_stream(mut self, table: impl Into<String>) -> Self {
        self.step.source = Source::Stream(table.into());
        self
    }

    /// Others write to its queue, in a form of their own. `decode` turns a body into the event.
    ///
    /// The event's id is derived from the body: the same body twice is the same event. A body that `decode` refuses is
    /// dead-lettered with the reason of its failure, which should be permanent.
    #[must_use]
    pub fn from_outside<E: Event>(
        mut self,
        decode: impl Fn(&str) -> Result<E, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.step.source = Source::Outside(E::TYPE.to_owned());
        let queue = self.step.queue.clone();
        self.decode = Some(Arc::new(move |body, sent_at| {
            let event = decode(body)?;
            let source = format!("/{queue}");
            Envelope::first(outside_id(&queue, body), source, sent_at, event).into_raw()
        }));
        self
    }

    /// The queue's name, where it is not to be the step's. Its dead-letter queue is `<queue>-dlq`.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.step.queue = name.into();
        self
    }

    /// The dead-letter queue's name.
    #[must_use]
    pub fn dead_letter_queue(mut self, name: impl Into<String>) -> Self {
        self.dead_letter_queue = Some(name.into());
        self
    }

    /// The name of its function on AWS, where that can't be `<choreography>-<stack>-<step>`. There is then one stack an account
    /// and region.
    #[must_use]
    pub fn physical_name(mut self, name: impl Into<String>) -> Self {
        self.step.physical = Some(name.into());
        self
    }

    /// The queue's name on AWS, where that can't be `<choreography>-<stack>-<queue>`. There is then one stack an account and region.
    #[must_use]
    pub fn queue_physical_name(mut self, name: impl Into<String>) -> Self {
        self.queue_physical = Some(name.into());
        self
    }

    /// The dead-letter queue's name on AWS: see [`queue_physical_name`](Self::queue_physical_name).
    #[must_use]
    pub fn dead_letter_queue_physical_name(mut self, name: impl Into<String>) -> Self {
        self.dead_letter_queue_physical = Some(name.into());
        self
    }

    /// The longest a batch may take, up to 900 s (Lambda). The visibility timeout is 6 times it, and the batch's window.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.step.timeout = timeout;
        self
    }

    /// The memory of its function on AWS, 128 to 10,240 MB (Lambda), where it is not what all functions have.
    #[must_use]
    pub fn memory(mut self, megabytes: u32) -> Self {
        self.step.memory = Some(megabytes);
        self
    }

    /// The queue's visibility timeout; at least 6 times the timeout, and the batch's window.
    #[must_use]
    pub fn visibility_timeout(mut self, visibility: Duration) -> Self {
        self.visibility = Some(visibility);
        self
    }

    /// Messages a handler's process is given at once, 1 to 10,000. Above 10, Lambda gathers them for `window`
    /// (1 s to 300 s) where fewer are there; the local engine does not wait.
    #[must_use]
    pub fn batch(mut self, messages: usize, window: Duration) -> Self {
        (self.step.batch, self.step.batch_window) = (messages, window);
        self
    }

    /// How long one message takes at most; a batch of them, `concurrency` at a time, must fit in the timeout.
    #[must_use]
    pub fn time_per_message(mut self, time: Duration) -> Self {
        self.step.time_per_message = Some(time);
        self
    }

    /// Messages of a batch worked at the same time; at least 1. Messages told to one entity are worked in turn.
    #[must_use]
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.step.concurrency = messages;
        self
    }

    /// Batches worked at the same time by the local engine; at least 1. On Lambda as many, unless
    /// [`maximum_concurrency`](Self::maximum_concurrency) says otherwise.
    #[must_use]
    pub fn workers(mut self, batches: usize) -> Self {
        self.step.workers = batches;
        self
    }

    /// Batches worked at the same time on Lambda, 2 to 1,000, where that is not [`workers`](Self::workers). A stack may set
    /// another number.
    #[must_use]
    pub fn maximum_concurrency(mut self, batches: u32) -> Self {
        self.step.maximum_concurrency = Some(batches);
        self
    }

    /// Lambda keeps so many pollers for its queue (provisioned mode, charged by the hour): at least 2 to 200, at most 2 to 2,000.
    /// They take up load three times as fast as Lambda does by itself, up to 10 batches each. Lambda takes no maximum
    /// concurrency beside them. A stack may set other numbers.
    #[must_use]
    pub fn provisioned_pollers(mut self, least: u32, most: u32) -> Self {
        self.step.pollers = Some((least, most));
        self
    }

    /// How its work grows with what enters the flow, for the command's word `scale`.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.step.workload = workload;
        self
    }

    /// Receives of a message, the first included, before it is given up, 1 to 997; and the waits between: a
    /// [`Backoff`](crate::Backoff), or a list of waits.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, waits: impl Into<Waits>) -> Self {
        (self.step.attempts, self.step.waits) = (attempts, waits.into());
        self
    }

    /// Its retries may end long before the deadline of its cycle. Without this, the proof asks for retries that outlast an
    /// outage of some time.
    ///
    /// This is for a step whose failure is better told soon than waited out. A customer stands at the till while the card is
    /// charged: after ten seconds [`on_given_up`](Self::on_given_up) asks for another card, though the order has a day.
    #[must_use]
    pub fn gives_up_early(mut self) -> Self {
        self.step.gives_up_early = true;
        self
    }

    /// Reasons of failures that are an end as good as any other: a payment that was declined, an article that is sold out.
    /// A message that ends so is done: it is neither tried again nor dead-lettered, no warning is logged, no alarm
    /// tells of it. The entity's trail does, and the event of [`on_given_up`](Self::on_given_up) follows.
    #[must_use]
    pub fn business_ends<R: Into<String>>(mut self, reasons: impl IntoIterator<Item = R>) -> Self {
        self.step.business_ends.extend(reasons.into_iter().map(Into::into));
        self
    }

    /// Reasons of failures that are an end of business, and dead letters all the same: an order that was rejected, and that
    /// somebody is to be told of. A redrive would only repeat such an end, so it leaves these letters where they are,
    /// unless it is asked for them: by their reason, or by `--with-ends`.
    #[must_use]
    pub fn dead_lettered_ends<R: Into<String>>(mut self, reasons: impl IntoIterator<Item = R>) -> Self {
        self.step.dead_lettered_ends.extend(reasons.into_iter().map(Into::into));
        self
    }

    /// The event that follows when a message of this step is given up, for whatever reason: a permanent failure, its
    /// attempts used up, a timeout, a process that died. Its handler makes good what was begun.
    ///
    /// `follow` makes it of the event that was given up and of the failure. It is sent before the message is deleted, under
    /// an id derived from that of the message and from what it says: it may come twice, and never not at all. A message that is
    /// given up again for another reason may be followed by another event. A message that can't be read has no event, and is
    /// followed by none.
    #[must_use]
    pub fn on_given_up<E: Event, F: Event>(
        mut self,
        follow: impl Fn(&E, &Failure) -> F + Send + Sync + 'static,
    ) -> Self {
        self.step.given_up = Some(F::TYPE.to_owned());
        let step = self.step.name.clone();
        self.follow_up = Some(Arc::new(move |given_up, failure, now| {
            let event: E = given_up.data_as()?;
            let next = follow(&event, failure);
            let is_same_entity = E::Entity::KIND == F::Entity::KIND && next.subject() == given_up.subject;
            Envelope::following(given_up, &step, now, next, is_same_entity)?.to_text()
        }));
        self
    }

    /// How long the queue keeps a message, up to 14 days (SQS).
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// The budget of the cycle this step stands on.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.step.budget = Some(budget);
        self
    }

    /// It makes no entity, though the one that its event is told to may be missing.
    #[must_use]
    pub fn creates_none(mut self) -> Self {
        self.creates = false;
        self
    }

    /// What the handler uses besides the entity that is loaded for it. Said twice, it uses both.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.step.uses = self.step.uses.and(uses);
        self
    }
}

/// The id of what came in with this body: the same body is the same event. Of 128 bits, so that two bodies do not meet.
fn outside_id(queue: &str, body: &str) -> String {
    let (one, other) = (
        crate::port::stable_hash(body.as_bytes()),
        crate::port::stable_hash([body, queue].concat().as_bytes()),
    );
    format!("{queue}/{one:016x}{other:016x}")
}
