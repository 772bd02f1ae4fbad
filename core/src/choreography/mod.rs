//! The definition: one value from which everything else follows.
//!
//! [`Choreography::define`] gathers tables, buckets, topics, event buses, services, settings, routes, schedules and consumers; queues with
//! their dead-letter queues follow from the consumers. [`Definition::build`] proves it: a mistake is a named
//! [`DefinitionError`] at start. What it proved is a [`Model`], plain data, from which diagrams and infrastructure
//! are derived, and to which the adapters are opened. Nothing in it depends on who looks at it.

mod bus;
mod consumer;
mod definition;
mod route;
mod table;
mod topic;

pub use crate::model::{
    Advice, AlarmModel, BACKLOG_MAX, Backlog, BucketModel, BucketUse, Budget, BusModel, BusUse, Comparison,
    Cron, DefinitionError, DefinitionErrors, Edge, EdgeSort, FUNCTION, Graph, Mark, Marks, Match, Model,
    Node, NodeSort, OutletModel, OutletTarget, Passage, Path, QueueModel, QueueUse, RedrivePolicy,
    ResourceKind, RouteModel, Rule, ScheduleModel, ServiceModel, Source, Spread, StepModel, TableModel,
    TableUse, TopicModel, TopicUse, Uses, Variable, When, WhenError, Workload,
};
pub use bus::Bus;
pub use consumer::Consumer;
pub(crate) use consumer::{Decode, FollowUp};
pub use definition::Definition;
pub(crate) use definition::schedule_of;
pub use route::Route;
pub(crate) use table::ReadEntity;
pub use table::{EntityView, Table};
pub use topic::Topic;

use crate::{
    event::Envelope,
    failure::Failure,
    handler::{ErasedHandler, ErasedRoute},
    model,
    port::{Item, Ports},
    service::{self, Maker},
    setting::{SettingError, Settings},
    timestamp::Timestamp,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A proved choreography: the model and the handlers.
#[derive(Clone)]
pub struct Choreography {
    model: Arc<Model>,
    pub(crate) handlers: Arc<BTreeMap<String, Arc<dyn ErasedHandler>>>,
    pub(crate) routes: Arc<BTreeMap<String, Arc<dyn ErasedRoute>>>,
    schedules: Arc<BTreeMap<String, ScheduledEvent>>,
    decoders: Arc<BTreeMap<String, Decode>>,
    follow_ups: Arc<BTreeMap<String, FollowUp>>,
    makers: Arc<BTreeMap<String, Arc<dyn Maker>>>,
    kinds: Arc<BTreeMap<String, ReadEntity>>,
}

/// What a bus puts around an entry. A rule sends on the detail alone; into its dead-letter queue, for what it could not send,
/// EventBridge puts the whole, and from there it comes back with a redrive.
#[derive(Deserialize)]
struct BusEvent<'a> {
    #[serde(rename = "detail-type")]
    _type: serde::de::IgnoredAny,
    #[serde(borrow)]
    detail: &'a RawValue,
}

impl<'a> BusEvent<'a> {
    fn detail_of(body: &'a str) -> Option<&'a str> {
        serde_json::from_str::<BusEvent<'a>>(body).ok().map(|event| event.detail.get())
    }
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
        Definition::new(name.into())
    }

    /// What was defined, as plain data.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The flow as a Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        model::diagram::mermaid(&self.model)
    }

    /// The flow as a Mermaid flowchart, with the path that an entity has taken: green where it passed, red where it failed.
    pub fn to_mermaid_of(&self, path: &Path) -> String {
        model::diagram::mermaid_of(&self.model, path)
    }

    /// The flow as a graph.
    pub fn graph(&self) -> Graph {
        Graph::of(&self.model)
    }

    /// Of the nodes and edges of the [graph](Self::graph), those that an entity of this path has passed.
    pub fn marks_of(&self, path: &Path) -> Marks {
        self.graph().marks(&self.model, path)
    }

    /// The flow as lines of text, for a terminal.
    pub fn to_text(&self) -> String {
        let lines = model::diagram::lines(&self.model).into_iter().map(|(line, _)| line);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same line by line, each with how an entity of this path has passed the handler that the line is about.
    pub fn to_lines_of(&self, path: &Path) -> Vec<(String, Option<Passage>)> {
        let passed = |handler: Option<&str>| handler.and_then(|handler| path.passage(handler));
        model::diagram::lines(&self.model)
            .into_iter()
            .map(|(line, handler)| (line, passed(handler)))
            .collect()
    }

    /// What is no mistake, and still worth a second look.
    pub fn advice(&self) -> Vec<Advice> {
        model::advice::of(&self.model)
    }

    /// Ports with all that the handlers need besides: the values of the settings, and the services, each made once as the
    /// definition says. A service that is there already stays.
    ///
    /// # Errors
    /// The first [`SettingError`] of a service that can't be made.
    pub fn equip(&self, ports: Ports, settings: Settings) -> Result<Ports, SettingError> {
        self.equip_those(ports, settings, |_| true)
    }

    /// [`equip`](Self::equip) for one function: with the services that the handler `step` uses, and no others.
    ///
    /// # Errors
    /// As [`equip`](Self::equip).
    pub fn equip_for(&self, step: &str, ports: Ports, settings: Settings) -> Result<Ports, SettingError> {
        let uses = self.model.uses_of(step);
        self.equip_those(ports, settings, |service| {
            uses.is_some_and(|uses| uses.services().contains(service))
        })
    }

    /// Ports with the services that are safe to try, made of the settings that are there.
    ///
    /// # Errors
    /// The first [`SettingError`] of a service that can't be made.
    pub(crate) fn equip_to_try(&self, mut ports: Ports) -> Result<Ports, SettingError> {
        let mut services = std::mem::take(&mut ports.services);
        service::complete_to_try(&mut services, &self.model, &self.makers, &ports)?;
        ports.services = services;
        Ok(ports)
    }

    fn equip_those(
        &self,
        mut ports: Ports,
        settings: Settings,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Ports, SettingError> {
        let mut services = std::mem::take(&mut ports.services);
        service::complete(&mut services, &self.model, &self.makers, wanted, &settings, &ports)?;
        ports.services = services;
        ports.settings = Arc::new(settings);
        Ok(ports)
    }

    /// The entity of an item, as people are shown it.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `no_kind` where no table holds its kind, `unreadable_entity`.
    pub fn view(&self, item: &Item) -> Result<EntityView, Failure> {
        let kind = item.key.split_once('/').map_or("", |(kind, _)| kind);
        let read = self.kinds.get(kind);
        let read = read
            .ok_or_else(|| Failure::permanent("no_kind", format_args!("no table holds the kind {kind:?}")))?;
        read(item)
    }

    /// The message that schedule `name` sends at `scheduled`, and the queues it goes to: each consumer's. Its id is derived
    /// from the scheduled time: a repeated one is the same event.
    ///
    /// # Errors
    /// A permanent [`Failure`] where there is no such schedule or its event can't be written.
    pub fn scheduled_message(
        &self,
        name: &str,
        scheduled: Timestamp,
    ) -> Result<(Vec<String>, String), Failure> {
        let unknown = || Failure::permanent("no_schedule", format_args!("no schedule is named {name:?}"));
        let make = self.schedules.get(name).ok_or_else(unknown)?;
        let schedule =
            self.model.schedules.iter().find(|schedule| schedule.name == name).ok_or_else(unknown)?;
        let consumers = self.model.steps.iter().filter(|step| step.is_told(&schedule.event_type));
        let queues = consumers.map(|step| step.queue.clone()).collect();
        let body = make(scheduled).map_err(|error| Failure::permanent("unwritable", error))?;
        Ok((queues, body))
    }

    /// The envelope of a message of `step`, sent at that time: its body, or what is made of it where others write to the
    /// step's queue.
    ///
    /// # Errors
    /// A permanent [`Failure`] that says what is wrong with it.
    pub(crate) fn envelope(
        &self,
        step: &str,
        body: &str,
        sent_at: Timestamp,
    ) -> Result<Envelope<Box<RawValue>>, Failure> {
        if let Some(decode) = self.decoders.get(step) {
            return decode(body, sent_at);
        }
        let read = Envelope::parse(body);
        let is_of_bus = || self.model.step(step).is_some_and(|step| step.bus().is_some());
        match read {
            Err(_) if is_of_bus() => BusEvent::detail_of(body).map_or(read, Envelope::parse),
            read => read,
        }
    }

    /// The body of the event that follows as `step` gives up a message; `None` where none follows.
    pub(crate) fn follow_up(
        &self,
        step: &str,
        given_up: &Envelope<Box<RawValue>>,
        failure: &Failure,
        now: Timestamp,
    ) -> Option<Result<String, Failure>> {
        self.follow_ups.get(step).map(|follow| follow(given_up, failure, now))
    }
}
