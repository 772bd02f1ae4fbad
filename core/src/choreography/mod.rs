//! The definition: one value from which everything else follows.
//!
//! [`Choreography::define`] gathers tables, buckets, topics, routes, schedules and consumers; queues with their
//! dead-letter queues follow from the consumers. [`Definition::build`] proves it: a mistake is a named
//! [`DefinitionError`] at start. What it proved is a [`Model`], plain data, from which diagrams and infrastructure
//! are derived, and to which the adapters are opened.

mod check;
mod diagram;
mod model;
mod uses;

pub use check::{DefinitionError, DefinitionErrors};
pub(crate) use model::Destination;
pub use model::{
    AlarmModel, BucketModel, Model, QueueModel, RedrivePolicy, RouteModel, ScheduleModel, StepModel,
    TableModel, TopicModel,
};
pub use uses::{BucketUse, QueueUse, TableUse, TopicUse, Uses};

use crate::{
    Backoff, Emits, Entity, Event, Timestamp,
    event::Envelope,
    handler::{Erased, ErasedHandler, ErasedRoute, Handler, RouteHandler, Signature},
    http::Method,
    limits,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// A proved choreography: the model and the handlers.
#[derive(Clone)]
pub struct Choreography {
    model: Arc<Model>,
    pub(crate) handlers: Arc<BTreeMap<String, Arc<dyn ErasedHandler>>>,
    pub(crate) routes: Arc<BTreeMap<String, Arc<dyn ErasedRoute>>>,
    pub(crate) schedules: Arc<BTreeMap<String, ScheduledEvent>>,
}

/// Makes the message of a schedule from the scheduled time.
pub(crate) type ScheduledEvent = Arc<dyn Fn(Timestamp) -> Result<String, serde_json::Error> + Send + Sync>;

impl fmt::Debug for Choreography {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choreography").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Choreography {
    /// Begins the definition of the choreography `name`.
    pub fn define(name: impl Into<String>) -> Definition {
        Definition {
            model: Model { name: name.into(), ..Model::default() },
            handlers: BTreeMap::new(),
            routes: BTreeMap::new(),
            schedules: BTreeMap::new(),
            alarm_topic: None,
        }
    }

    /// What was defined, as plain data.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The flow as a Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        diagram::mermaid(&self.model)
    }

    /// The flow as lines of text, for a terminal.
    pub fn to_text(&self) -> String {
        diagram::text(&self.model)
    }

    /// The message that schedule `name` sends at `scheduled`, and the queues it goes to: each consumer's. Its id is derived
    /// from the scheduled time: a repeated one is the same event.
    ///
    /// # Errors
    /// A permanent [`Failure`](crate::Failure) where there is no such schedule or its event can't be written.
    pub fn scheduled_message(
        &self,
        name: &str,
        scheduled: Timestamp,
    ) -> Result<(Vec<String>, String), crate::Failure> {
        let unknown =
            || crate::Failure::permanent("no_schedule", format_args!("no schedule is named {name:?}"));
        let make = self.schedules.get(name).ok_or_else(unknown)?;
        let schedule =
            self.model.schedules.iter().find(|schedule| schedule.name == name).ok_or_else(unknown)?;
        let consumers = self.model.steps.iter().filter(|step| step.event_type == schedule.event_type);
        let queues = consumers.map(|step| step.queue.clone()).collect();
        let body = make(scheduled).map_err(|error| crate::Failure::permanent("unwritable", error))?;
        Ok((queues, body))
    }
}

/// A choreography while it is being defined.
pub struct Definition {
    model: Model,
    handlers: BTreeMap<String, Arc<dyn ErasedHandler>>,
    routes: BTreeMap<String, Arc<dyn ErasedRoute>>,
    schedules: BTreeMap<String, ScheduledEvent>,
    alarm_topic: Option<String>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("model", &self.model).finish_non_exhaustive()
    }
}

/// A table, and the kinds of entities it holds.
#[derive(Clone, Debug)]
pub struct Table {
    model: TableModel,
}

impl Table {
    /// A table named `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { model: TableModel { name: name.into(), kinds: Vec::new() } }
    }

    /// It holds entities of type `E`.
    #[must_use]
    pub fn holds<E: Entity>(mut self) -> Self {
        self.model.kinds.push(E::KIND.to_owned());
        self
    }
}

/// A handler with the policy its messages are consumed by. Every default can be set.
pub struct Consumer {
    step: StepModel,
    handler: Arc<dyn ErasedHandler>,
    visibility: Option<Duration>,
    retention: Duration,
    dead_letter_queue: Option<String>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Consumer {
    /// The step `name`, run by `handler`. Defaults: a queue of the step's name, 30 s timeout, batches of 10, 10
    /// messages at a time, 5 attempts with the default [`Backoff`], retention of 4 days, a dead-letter queue
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
                event_type: signature.event_type.to_owned(),
                topic: None,
                entity_kind: signature.entity_kind.map(str::to_owned),
                emits: signature.emits.into_iter().map(str::to_owned).collect(),
                uses,
                timeout: Duration::from_secs(30),
                batch: limits::CONSUMER_BATCH_WITHOUT_WINDOW_MAX,
                batch_window: Duration::ZERO,
                time_per_message: None,
                concurrency: 10,
                workers: 1,
                attempts: 5,
                backoff: Backoff::default(),
                budget: None,
                cycle: None,
            },
            handler: Arc::new(Erased::<H, A>::new(handler)),
            visibility: None,
            retention: Duration::from_secs(4 * 86_400),
            dead_letter_queue: None,
        }
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

    /// The longest a batch may take, up to 900 s (Lambda). The visibility timeout is 6 times it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.step.timeout = timeout;
        self
    }

    /// The queue's visibility timeout; at least 6 times the timeout.
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

    /// Batches worked at the same time by the local engine; at least 1 (on Lambda: the maximum concurrency).
    #[must_use]
    pub fn workers(mut self, batches: usize) -> Self {
        self.step.workers = batches;
        self
    }

    /// Receives of a message, the first included, before it is dead-lettered, 1 to 1,000; and the waits between.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, backoff: Backoff) -> Self {
        (self.step.attempts, self.step.backoff) = (attempts, backoff);
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

    /// What the handler uses besides the entity that is loaded for it. Said twice, it uses both.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.step.uses = self.step.uses.and(uses);
        self
    }
}

/// A handler of HTTP requests with its method and path. Every default can be set.
pub struct Route {
    model: RouteModel,
    handler: Arc<dyn ErasedRoute>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Route {
    /// GET requests for `path`, which may hold parameters (`/orders/{record_id}`), answered by `handler`; `step` names it.
    /// Defaults: 29 s timeout, uses nothing.
    pub fn get<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Get, path.into(), step.into(), handler)
    }

    /// POST requests; else as [`get`](Self::get).
    pub fn post<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Post, path.into(), step.into(), handler)
    }

    fn new<Em: Emits, H: RouteHandler<Em>>(method: Method, path: String, step: String, handler: H) -> Self {
        let emits = Em::types().into_iter().map(str::to_owned).collect();
        let model =
            RouteModel { method, path, step, emits, uses: Uses::new(), timeout: limits::ROUTE_TIMEOUT_MAX };
        Self { model, handler: Arc::new(Erased::<H, Em>::new(handler)) }
    }

    /// What the handler uses. Said twice, it uses both.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.model.uses = self.model.uses.and(uses);
        self
    }

    /// The longest a request may take, 1 s to 29 s; then it is answered with 503.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.model.timeout = timeout;
        self
    }
}

/// What bounds a cycle: its events carry what is left, and running out is a permanent failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the first event of the cycle to its last.
    pub deadline: Duration,
    /// Events along the cycle after the one that enters it: a round of a cycle of two steps is two.
    pub hops: u32,
}

impl Definition {
    /// Adds a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.model.tables.push(table.model);
        self
    }

    /// Adds a bucket.
    #[must_use]
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.model.buckets.push(BucketModel { name: name.into() });
        self
    }

    /// Adds a topic.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.model.topics.push(TopicModel { name: name.into() });
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        let Route { model, handler } = route;
        self.routes.insert(model.step.clone(), handler);
        self.model.routes.push(model);
        self
    }

    /// Sends an event made from the scheduled time to the queue of each consumer, `every` so often (counted from the
    /// epoch: the same times after a restart).
    #[must_use]
    pub fn schedule<E: Event>(
        mut self,
        name: impl Into<String>,
        every: Duration,
        event: impl Fn(Timestamp) -> E + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        self.model.schedules.push(ScheduleModel {
            name: name.clone(),
            every,
            event_type: E::TYPE.to_owned(),
        });
        let choreography = self.model.name.clone();
        let schedule = name.clone();
        self.schedules.insert(
            name,
            Arc::new(move |scheduled| {
                let id = format!("schedule/{schedule}@{scheduled}");
                let source = format!("/{choreography}/{schedule}");
                serde_json::to_string(&Envelope::first(id, source, scheduled, event(scheduled)))
            }),
        );
        self
    }

    /// Adds a consumer: its event goes to its queue.
    #[must_use]
    pub fn on(mut self, consumer: Consumer) -> Self {
        self.add(consumer, None);
        self
    }

    /// Adds a subscriber of a topic: the topic's messages go to its queue.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<String>, consumer: Consumer) -> Self {
        self.add(consumer, Some(topic.into()));
        self
    }

    fn add(&mut self, consumer: Consumer, topic: Option<String>) {
        let Consumer { mut step, handler, visibility, retention, dead_letter_queue } = consumer;
        step.topic = topic;
        let dead_letter_queue = dead_letter_queue.unwrap_or_else(|| format!("{}-dlq", step.queue));
        let visibility = visibility.unwrap_or(step.timeout * limits::VISIBILITY_PER_TIMEOUT_MIN);
        self.model.queues.push(QueueModel {
            name: step.queue.clone(),
            visibility_timeout: visibility,
            retention,
            redrive: Some(RedrivePolicy {
                dead_letter_queue: dead_letter_queue.clone(),
                receives_max: step.attempts,
            }),
        });
        self.model.queues.push(QueueModel {
            name: dead_letter_queue,
            visibility_timeout: Duration::from_secs(30),
            retention: limits::QUEUE_RETENTION_MAX,
            redrive: None,
        });
        self.handlers.insert(step.name.clone(), handler);
        self.model.steps.push(step);
    }

    /// Every dead-letter queue's alarm goes to this topic, as [`Alert`](crate::Alert) events.
    #[must_use]
    pub fn alarm_to(mut self, topic: impl Into<String>) -> Self {
        self.alarm_topic = Some(topic.into());
        self
    }

    /// Proves the definition.
    ///
    /// # Errors
    /// Every mistake in it, each with a name and how to mend it.
    pub fn build(mut self) -> Result<Choreography, DefinitionErrors> {
        if let Some(topic) = &self.alarm_topic {
            let dead = self.model.queues.iter().filter_map(|queue| queue.redrive.as_ref());
            self.model.alarms = dead
                .map(|redrive| AlarmModel {
                    dead_letter_queue: redrive.dead_letter_queue.clone(),
                    topic: topic.clone(),
                })
                .collect();
        }
        self.model.find_cycles();
        let errors = check::check(&self.model);
        if !errors.is_empty() {
            return Err(DefinitionErrors(errors));
        }
        Ok(Choreography {
            model: Arc::new(self.model),
            handlers: Arc::new(self.handlers),
            routes: Arc::new(self.routes),
            schedules: Arc::new(self.schedules),
        })
    }
}
