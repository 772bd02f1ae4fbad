//! A choreography while it is being defined.

use super::{
    Bus, Choreography, ScheduledEvent,
    consumer::{Consumer, Decode, FollowUp},
    route::Route,
    table::{ReadEntity, Table},
    topic::Topic,
};
use crate::{
    event::{Envelope, Event},
    handler::{ErasedHandler, ErasedRoute},
    limits,
    model::{
        AlarmModel, BACKLOG_MAX, Backlog, BucketModel, DefinitionErrors, Model, OutletModel, OutletTarget,
        QueueModel, RedrivePolicy, ScheduleModel, Spread, TableUse, When, check,
    },
    notify,
    service::{Maker, Service},
    setting::Setting,
    timestamp::Timestamp,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// A choreography while it is being defined.
pub struct Definition {
    pub(super) model: Model,
    pub(super) handlers: BTreeMap<String, Arc<dyn ErasedHandler>>,
    pub(super) routes: BTreeMap<String, Arc<dyn ErasedRoute>>,
    pub(super) schedules: BTreeMap<String, ScheduledEvent>,
    pub(super) decoders: BTreeMap<String, Decode>,
    pub(super) follow_ups: BTreeMap<String, FollowUp>,
    pub(super) makers: BTreeMap<String, Arc<dyn Maker>>,
    pub(super) kinds: BTreeMap<String, ReadEntity>,
    alarm_topic: Option<String>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Definition {
    pub(super) fn new(name: String) -> Self {
        Self {
            model: Model { name, ..Model::default() },
            handlers: BTreeMap::new(),
            routes: BTreeMap::new(),
            schedules: BTreeMap::new(),
            decoders: BTreeMap::new(),
            follow_ups: BTreeMap::new(),
            makers: BTreeMap::new(),
            kinds: BTreeMap::new(),
            alarm_topic: None,
        }
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.model.tables.push(table.model);
        self.kinds.extend(table.kinds);
        self
    }

    /// Adds a bucket.
    #[must_use]
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.model.buckets.push(BucketModel { name: name.into(), spread: None });
        self
    }

    /// The keys of this bucket begin with as many different prefixes as the setting says, a whole number. S3 takes 3,500 puts a
    /// second under one prefix, and can't split one whose keys go on with the time. A handler that puts into the bucket has to
    /// read the setting.
    #[must_use]
    pub fn spread_bucket(mut self, bucket: &str, setting: impl Into<String>) -> Self {
        let setting = setting.into();
        for known in self.model.buckets.iter_mut().filter(|known| known.name == bucket) {
            known.spread = Some(Spread { setting: setting.clone(), kind: None });
        }
        self
    }

    /// Adds a topic.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Topic>) -> Self {
        self.model.topics.push(topic.into().model);
        self
    }

    /// Adds an event bus.
    #[must_use]
    pub fn bus(mut self, bus: impl Into<Bus>) -> Self {
        self.model.buses.push(bus.into().model);
        self
    }

    /// Adds a service.
    #[must_use]
    pub fn service<S: ?Sized + Send + Sync + 'static>(mut self, service: Service<S>) -> Self {
        let (model, maker) = service.into_parts();
        self.makers.insert(model.name.clone(), maker);
        self.model.services.push(model);
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, setting: Setting) -> Self {
        self.model.settings.push(setting.into_model());
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        let Route { model, handler } = route;
        self.routes.insert(model.step.clone(), handler);
        let is_known = self.model.settings.iter().any(|setting| setting.name == BACKLOG_MAX);
        let adds_setting = model.backlog.is_some() && !is_known;
        self.model.routes.push(model);
        if adds_setting { self.setting(Backlog::setting()) } else { self }
    }

    /// Sends an event made from the scheduled time to the queue of each consumer, at the times of `when`: the same after a
    /// restart, and on AWS.
    #[must_use]
    pub fn schedule<E: Event>(
        mut self,
        name: impl Into<String>,
        when: impl Into<When>,
        event: impl Fn(Timestamp) -> E + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        let event_type = E::TYPE.to_owned();
        self.model.schedules.push(ScheduleModel {
            name: name.clone(),
            when: when.into(),
            setting: None,
            event_type,
        });
        let choreography = self.model.name.clone();
        let schedule = name.clone();
        self.schedules.insert(
            name,
            Arc::new(move |scheduled| {
                let id = scheduled_id(&schedule, scheduled);
                let source = format!("/{choreography}/{schedule}");
                serde_json::to_string(&Envelope::first(id, source, scheduled, event(scheduled)))
            }),
        );
        self
    }

    /// The engine on one machine takes the time between two messages of `schedule` from this setting, a duration, so that
    /// nobody has to wait for it. (On AWS each schedule has a setting of the infrastructure.)
    #[must_use]
    pub fn schedule_setting(mut self, schedule: &str, setting: impl Into<String>) -> Self {
        let setting = setting.into();
        for known in self.model.schedules.iter_mut().filter(|known| known.name == schedule) {
            known.setting = Some(setting.clone());
        }
        self
    }

    /// Adds a consumer.
    #[must_use]
    pub fn on(mut self, consumer: Consumer) -> Self {
        let Consumer { mut step, handler, decode, follow_up, visibility, retention, .. } = consumer;
        if let Some(kind) = step.entity_kind.clone().filter(|_| step.batch > 1) {
            // What a batch loads and commits goes in as few requests as can be.
            let uses = step.uses.kind(&kind, TableUse::GetMany).kind(&kind, TableUse::ChangeMany);
            step.uses = if consumer.creates { uses.kind(&kind, TableUse::CreateMany) } else { uses };
        }
        let dead_letter_queue = consumer.dead_letter_queue.unwrap_or_else(|| format!("{}-dlq", step.queue));
        let least = step.timeout.saturating_mul(limits::VISIBILITY_PER_TIMEOUT_MIN);
        let visibility = visibility.unwrap_or(least.saturating_add(step.batch_window));
        self.model.queues.push(QueueModel {
            name: step.queue.clone(),
            visibility_timeout: visibility,
            retention,
            redrive: Some(RedrivePolicy {
                dead_letter_queue: dead_letter_queue.clone(),
                // More than the attempts: who gives a message up is the pipeline, which tells why, and what follows.
                receives_max: step.attempts.saturating_add(limits::SPARE_RECEIVES),
            }),
            physical: consumer.queue_physical,
            is_outside: false,
        });
        self.dead_letters(dead_letter_queue, consumer.dead_letter_queue_physical);
        self.handlers.insert(step.name.clone(), handler);
        self.decoders.extend(decode.map(|decode| (step.name.clone(), decode)));
        self.follow_ups.extend(follow_up.map(|follow_up| (step.name.clone(), follow_up)));
        self.model.steps.push(step);
        self
    }

    /// A dead-letter queue.
    fn dead_letters(&mut self, name: String, physical: Option<String>) {
        self.model.queues.push(QueueModel {
            name,
            visibility_timeout: Duration::from_secs(30),
            retention: limits::QUEUE_RETENTION_MAX,
            redrive: None,
            physical,
            is_outside: false,
        });
    }

    /// Events of type `E` go to this topic, to subscribers outside of the choreography. Those that the topic refuses for good
    /// go to the dead-letter queue `<topic>-dlq`.
    #[must_use]
    pub fn publish<E: Event>(self, topic: impl Into<String>) -> Self {
        self.outlet(E::TYPE, OutletTarget::Topic(topic.into()))
    }

    /// Events of type `E` go to this event bus, to whoever outside of the choreography has a rule for them. Those that the bus
    /// refuses for good go to the dead-letter queue `<bus>-dlq`.
    #[must_use]
    pub fn publish_to_bus<E: Event>(self, bus: impl Into<String>) -> Self {
        self.outlet(E::TYPE, OutletTarget::Bus(bus.into()))
    }

    /// Events of type `E` go to a queue that belongs to others and that they consume. It is not made with the
    /// infrastructure, which is told its name; those events that it refuses for good go to `<queue>-dlq`.
    #[must_use]
    pub fn send_outside<E: Event>(mut self, queue: impl Into<String>) -> Self {
        let queue = queue.into();
        if self.model.queue(&queue).is_none() {
            self.model.queues.push(QueueModel {
                name: queue.clone(),
                visibility_timeout: Duration::from_secs(30),
                retention: limits::QUEUE_RETENTION_MAX,
                redrive: None,
                physical: None,
                is_outside: true,
            });
        }
        self.outlet(E::TYPE, OutletTarget::Queue(queue))
    }

    fn outlet(mut self, event_type: &str, to: OutletTarget) -> Self {
        let dead_letter_queue = format!("{}-dlq", to.name());
        if self.model.queue(&dead_letter_queue).is_none() {
            self.dead_letters(dead_letter_queue.clone(), None);
        }
        self.model.outlets.push(OutletModel { event_type: event_type.to_owned(), to, dead_letter_queue });
        self
    }

    /// Every dead-letter queue's alarm goes to this topic, as [`Alert`](crate::Alert) events.
    #[must_use]
    pub fn alarm_to(mut self, topic: impl Into<String>) -> Self {
        self.alarm_topic = Some(topic.into());
        self
    }

    /// Tells people of every dead-letter queue's alarm: makes `topic`, sends the alarms there, and adds the step `notify`, which
    /// hands them to the service [`Notifier`](crate::notify::Notifier). By itself that is a webhook, whose URL is the setting
    /// `webhook`; the engine on one machine also writes them to the terminal and to a file, and on AWS the topic mails them.
    #[must_use]
    pub fn notify_by(self, topic: impl Into<String>) -> Self {
        let topic = topic.into();
        let consumer = notify::consumer(&topic);
        self.topic(topic.clone())
            .alarm_to(topic)
            .setting(notify::setting())
            .service(notify::service())
            .on(consumer)
    }

    /// Proves the definition.
    ///
    /// # Errors
    /// Every mistake in it, each with a name and how to mend it.
    pub fn build(mut self) -> Result<Choreography, DefinitionErrors> {
        if let Some(topic) = &self.alarm_topic {
            let dead =
                self.model.queues.iter().filter(|queue| self.model.redrive_target(&queue.name).is_some());
            self.model.alarms = dead
                .map(|queue| AlarmModel { dead_letter_queue: queue.name.clone(), topic: topic.clone() })
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
            decoders: Arc::new(self.decoders),
            follow_ups: Arc::new(self.follow_ups),
            makers: Arc::new(self.makers),
            kinds: Arc::new(self.kinds),
        })
    }
}

/// Before the name of a schedule in the id of its message.
const SCHEDULED: &str = "schedule/";

fn scheduled_id(schedule: &str, at: Timestamp) -> String {
    format!("{SCHEDULED}{schedule}@{at}")
}

/// The schedule whose message has this id; `None` where it is of none.
pub(crate) fn schedule_of(id: &str) -> Option<&str> {
    id.strip_prefix(SCHEDULED)?.rsplit_once('@').map(|(schedule, _)| schedule)
}
