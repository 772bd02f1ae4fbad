//! A definition as plain data.

pub(crate) mod advice;
mod backlog;
pub(crate) mod check;
pub(crate) mod diagram;
mod graph;
mod path;
mod rule;
mod uses;
mod variable;
mod when;
mod workload;

pub use advice::Advice;
pub use backlog::{BACKLOG_MAX, Backlog};
pub use check::{DefinitionError, DefinitionErrors};
pub use graph::{Edge, EdgeSort, Graph, Mark, Marks, Node, NodeSort};
pub use path::{Passage, Path};
pub use rule::{Comparison, Match, Rule};
pub use uses::{BucketUse, BusUse, QueueUse, TableUse, TopicUse, Uses};
pub use variable::{FUNCTION, ResourceKind, Variable};
pub use when::{Cron, When, WhenError};
pub use workload::{Spread, Throughput, Workload};

use crate::{
    backoff::Waits, commit::Carried, http::Method, limits, path_parameters::parameter, planted::planted,
    setting::SettingModel, timestamp::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// All that a choreography consists of. The same whoever asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Tables.
    pub tables: Vec<TableModel>,
    /// Queues, each consumer's and each dead-letter queue.
    pub queues: Vec<QueueModel>,
    /// Topics.
    pub topics: Vec<TopicModel>,
    /// Event buses.
    pub buses: Vec<BusModel>,
    /// Buckets.
    pub buckets: Vec<BucketModel>,
    /// Services.
    pub services: Vec<ServiceModel>,
    /// Settings.
    pub settings: Vec<SettingModel>,
    /// Schedules.
    pub schedules: Vec<ScheduleModel>,
    /// Handlers of requests.
    pub routes: Vec<RouteModel>,
    /// Handlers of events.
    pub steps: Vec<StepModel>,
    /// Ends of events outside of the choreography.
    pub outlets: Vec<OutletModel>,
    /// Alarms.
    pub alarms: Vec<AlarmModel>,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableModel {
    /// Its name.
    pub name: String,
    /// The kinds of entities it holds.
    pub kinds: Vec<String>,
    /// Its name on AWS, where it is not derived.
    pub physical: Option<String>,
    /// The attribute of its partition key on DynamoDB, where it is not the library's.
    pub key_attribute: Option<String>,
    /// Whether a partition key on DynamoDB is the id alone, and not `kind/id`.
    pub has_bare_keys: bool,
    /// Fields of the entities' states that are attributes of their own on DynamoDB.
    pub shows: Vec<String>,
    /// Whether trails keep what handlers were given and made of it.
    pub keeps_details: bool,
    /// The environment variable that tells a function its name on AWS, where it is not derived.
    pub variable: Option<String>,
    /// What spreads index entries over partitions, where a setting does.
    pub spread: Option<Spread>,
    /// What the table and its index are kept warm for on AWS, where that is said.
    pub warm: Option<Throughput>,
    /// What the table and its index may use at most on AWS, where that is said.
    pub at_most: Option<Throughput>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueModel {
    /// Its name.
    pub name: String,
    /// How long a received message stays invisible.
    pub visibility_timeout: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// Where its messages go after too many receives; `None` for a dead-letter queue.
    pub redrive: Option<RedrivePolicy>,
    /// Its name on AWS, where it is not derived.
    pub physical: Option<String>,
    /// Whether it belongs to others, who consume it: it is not made with the infrastructure.
    pub is_outside: bool,
}

/// A queue's redrive policy.
#[derive(Clone, Debug, PartialEq)]
pub struct RedrivePolicy {
    /// The dead-letter queue.
    pub dead_letter_queue: String,
    /// Receives, the first included, before the queue itself sends a message there: some more than a consumer's attempts, as
    /// the consumer gives a message up by itself.
    pub receives_max: u32,
}

/// A topic. Its subscriptions are the steps that name it; others may subscribe as well.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicModel {
    /// Its name.
    pub name: String,
    /// Its name on AWS, where it is not derived.
    pub physical: Option<String>,
    /// The environment variable that tells a function its ARN on AWS, where it is not derived.
    pub variable: Option<String>,
}

/// An event bus. Its rules are those of the steps that name it; others may have rules on it as well.
#[derive(Clone, Debug, PartialEq)]
pub struct BusModel {
    /// Its name.
    pub name: String,
    /// Its name on AWS, where it is not derived.
    pub physical: Option<String>,
    /// The environment variable that tells a function its name on AWS, where it is not derived.
    pub variable: Option<String>,
    /// Whether it belongs to others, who may publish to it: it is not made with the infrastructure.
    pub is_outside: bool,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketModel {
    /// Its name.
    pub name: String,
    /// What spreads its objects over prefixes, where a setting does.
    pub spread: Option<Spread>,
}

/// A service, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceModel {
    /// The name of its trait.
    pub name: String,
    /// What it uses itself.
    pub uses: Uses,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleModel {
    /// Its name.
    pub name: String,
    /// The times of its messages.
    pub when: When,
    /// The setting by which an engine on one machine takes another time between two messages.
    pub setting: Option<String>,
    /// The event it sends.
    pub event_type: String,
}

impl ScheduleModel {
    /// How CloudWatch is to watch that its messages are handled; `None` where they come too seldom for it.
    pub(crate) fn watch(&self) -> Option<ScheduleWatch> {
        let unit = limits::ALARM_PERIOD_UNIT;
        let units = self.when.longest_gap()?.as_millis().div_ceil(u128::from(unit) * 1_000).max(1);
        let period = u64::try_from(units).ok()?.checked_mul(unit)?;
        let periods = (limits::ALARM_WINDOW_MAX / period).min(u64::from(limits::SILENT_PERIODS));
        (periods >= limits::SILENT_PERIODS_MIN).then_some(ScheduleWatch { period, periods })
    }
}

/// An alarm over the messages of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScheduleWatch {
    /// In seconds.
    pub(crate) period: u64,
    /// After so many periods without any it goes off.
    pub(crate) periods: u64,
}

/// A handler of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteModel {
    /// Method.
    pub method: Method,
    /// Path, `{name}` for a parameter; none where its function is only invoked directly.
    pub path: Option<String>,
    /// The handler's name.
    pub step: String,
    /// The name of its function on AWS, where it is not derived.
    pub physical: Option<String>,
    /// Events it may emit.
    pub emits: Vec<String>,
    /// What it uses.
    pub uses: Uses,
    /// The longest a request may take.
    pub timeout: Duration,
    /// The memory of its function, in MB, where it is not what all functions have.
    pub memory: Option<u32>,
    /// What counts as waiting of what it takes in, where that is bounded.
    pub backlog: Option<Backlog>,
    /// How its work grows with what enters.
    pub workload: Workload,
    /// The kind of entity that it cancels.
    pub cancels: Option<String>,
}

/// A handler of events, with the policy its messages are consumed by.
#[derive(Clone, Debug, PartialEq)]
pub struct StepModel {
    /// Its name.
    pub name: String,
    /// The name of its function on AWS, where it is not derived.
    pub physical: Option<String>,
    /// The event it consumes.
    pub event_type: String,
    /// The queue it consumes from.
    pub queue: String,
    /// What feeds the queue.
    pub source: Source,
    /// The kind of entity loaded for it.
    pub entity_kind: Option<String>,
    /// Events it may emit.
    pub emits: Vec<String>,
    /// The event that follows when a message is given up.
    pub given_up: Option<String>,
    /// Reasons of failures that are an end like any other, and no fault.
    pub business_ends: BTreeSet<String>,
    /// Reasons of dead letters that are an end of business: a redrive would only repeat it.
    pub dead_lettered_ends: BTreeSet<String>,
    /// What it uses, the entity that is loaded for it included.
    pub uses: Uses,
    /// The longest a batch may take.
    pub timeout: Duration,
    /// The memory of its function, in MB, where it is not what all functions have.
    pub memory: Option<u32>,
    /// Messages in a batch.
    pub batch: usize,
    /// How long Lambda gathers a batch.
    pub batch_window: Duration,
    /// The longest one message takes, where it was said.
    pub time_per_message: Option<Duration>,
    /// Messages of a batch worked at the same time.
    pub concurrency: usize,
    /// Batches worked at the same time.
    pub workers: usize,
    /// Batches worked at the same time on Lambda at most, where it is not the workers.
    pub maximum_concurrency: Option<u32>,
    /// How many pollers Lambda keeps for its queue, from the least to the most, where that is said.
    pub pollers: Option<(u32, u32)>,
    /// How its work grows with what enters.
    pub workload: Workload,
    /// Receives before a message is given up.
    pub attempts: u32,
    /// Waits between them.
    pub waits: Waits,
    /// Whether its retries may end long before the deadline of its cycle.
    pub gives_up_early: bool,
    /// The budget of the cycle it stands on.
    pub budget: Option<Budget>,
    /// Which cycle it stands on: the first step of it.
    pub cycle: Option<String>,
}

/// What feeds the queue of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Events of this choreography: the relay sends them to the queue, or a schedule does.
    Events,
    /// A topic sends what is published to the queue.
    Topic(String),
    /// An event bus sends to the queue what matches a rule.
    Bus {
        /// The bus.
        bus: String,
        /// The rule.
        rule: Rule,
    },
    /// The change stream of a table, of which the step takes the events of its type.
    Stream(String),
    /// Others write to the queue, in a form of their own that is decoded to events of this type.
    Outside(String),
}

/// What bounds a cycle: its events carry what is left, and running out is a permanent failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the first event of the cycle to its last.
    pub deadline: Duration,
    /// Events along the cycle after the one that enters it: a round of a cycle of two steps is two.
    pub hops: u32,
}

/// An end of an event outside of the choreography.
#[derive(Clone, Debug, PartialEq)]
pub struct OutletModel {
    /// The event.
    pub event_type: String,
    /// Where it goes.
    pub to: OutletTarget,
    /// Where it goes when that refuses it for good.
    pub dead_letter_queue: String,
}

/// Where an event leaves the choreography.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutletTarget {
    /// To a topic, which has subscribers outside.
    Topic(String),
    /// To an event bus, which has rules of others.
    Bus(String),
    /// To a queue of others.
    Queue(String),
}

impl OutletTarget {
    /// Its name in the definition.
    pub fn name(&self) -> &str {
        match self {
            Self::Topic(name) | Self::Bus(name) | Self::Queue(name) => name,
        }
    }

    pub(crate) fn destination(&self) -> Destination<'_> {
        match self {
            Self::Topic(name) => Destination::Topic(name),
            Self::Bus(name) => Destination::Bus(name),
            Self::Queue(name) => Destination::Queue(name),
        }
    }
}

impl RouteModel {
    /// The parameter of its path, where there is just one.
    pub fn one_parameter(&self) -> Option<&str> {
        let mut parameters = self.path.as_deref()?.split('/').filter_map(parameter);
        parameters.next().filter(|_| parameters.next().is_none())
    }

    /// How it is reached: `POST /orders`, or `invoke make_tea`.
    pub fn address(&self) -> String {
        match &self.path {
            Some(path) => format!("{} {path}", self.method),
            None => format!("invoke {}", self.step),
        }
    }
}

impl StepModel {
    /// The topic that feeds it, where one does.
    pub fn topic(&self) -> Option<&str> {
        match &self.source {
            Source::Topic(topic) => Some(topic),
            _ => None,
        }
    }

    /// The bus that feeds it, where one does, and the rule by which it does.
    pub fn bus(&self) -> Option<(&str, &Rule)> {
        match &self.source {
            Source::Bus { bus, rule } => Some((bus, rule)),
            _ => None,
        }
    }

    /// The table whose change stream feeds it, where one does.
    pub fn stream(&self) -> Option<&str> {
        match &self.source {
            Source::Stream(table) => Some(table),
            _ => None,
        }
    }

    /// Whether it consumes events of this type that the choreography itself sends.
    pub fn is_told(&self, event_type: &str) -> bool {
        self.event_type == event_type && !matches!(self.source, Source::Outside(_))
    }

    /// The events that may follow a message of it: what its handler emits, and what follows when it is given up.
    pub fn may_cause(&self) -> impl Iterator<Item = &String> {
        self.emits.iter().chain(&self.given_up)
    }
}

/// An alarm: a dead-letter queue that is not empty tells a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmModel {
    /// The queue watched.
    pub dead_letter_queue: String,
    /// The topic told.
    pub topic: String,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination<'a> {
    Queue(&'a str),
    Topic(&'a str),
    Bus(&'a str),
    /// A step that takes the event from the stream of this table; where nobody hands it the stream, its queue.
    Stream {
        table: &'a str,
        queue: &'a str,
    },
}

impl<'a> Destination<'a> {
    /// Its name in the definition.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Queue(name) | Self::Topic(name) | Self::Bus(name) | Self::Stream { queue: name, .. } => {
                name
            }
        }
    }
}

impl Model {
    /// The table that holds entities of `kind`.
    pub fn table_of(&self, kind: &str) -> Option<&str> {
        self.tables
            .iter()
            .find(|table| table.kinds.iter().any(|held| held == kind))
            .map(|table| table.name.as_str())
    }

    /// Whether trails of entities of `kind` keep details.
    pub(crate) fn keeps_details(&self, kind: &str) -> bool {
        self.tables.iter().any(|table| table.keeps_details && table.kinds.iter().any(|held| held == kind))
    }

    /// The event bus of that name.
    pub fn bus(&self, name: &str) -> Option<&BusModel> {
        self.buses.iter().find(|bus| bus.name == name)
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Option<&QueueModel> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&StepModel> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What the step or the route's handler of that name uses; `None` where there is neither.
    pub fn uses_of(&self, step: &str) -> Option<&Uses> {
        let of_route = || self.routes.iter().find(|route| route.step == step).map(|route| &route.uses);
        self.step(step).map(|step| &step.uses).or_else(of_route)
    }

    /// The tables that the step or the route's handler of that name uses, and how; none where there is neither.
    pub fn tables_of(&self, step: &str) -> BTreeMap<String, BTreeSet<TableUse>> {
        let mut tables: BTreeMap<String, BTreeSet<TableUse>> = BTreeMap::new();
        for (kind, uses) in self.uses_of(step).into_iter().flat_map(Uses::kinds) {
            if let Some(table) = self.table_of(kind) {
                tables.entry(table.to_owned()).or_default().extend(uses);
            }
        }
        tables
    }

    /// The buckets that the step or the route's handler of that name uses, itself or by its services, and how; none where
    /// there is neither.
    pub fn buckets_of(&self, step: &str) -> BTreeMap<String, BTreeSet<BucketUse>> {
        let mut buckets: BTreeMap<String, BTreeSet<BucketUse>> = BTreeMap::new();
        for uses in self.uses_of(step).into_iter().chain(self.services_of(step).map(|service| &service.uses))
        {
            for (bucket, uses) in uses.buckets() {
                buckets.entry(bucket.clone()).or_default().extend(uses);
            }
        }
        buckets
    }

    /// The setting and its word without which the handler does not use this bucket; `None` where it always does.
    pub fn bucket_used_where(&self, step: &str, bucket: &str) -> Option<(String, String)> {
        let of_services = self.services_of(step).map(|service| &service.uses);
        let all = self.uses_of(step).into_iter().chain(of_services);
        let uses = all.filter(|uses| uses.buckets().contains_key(bucket)).cloned().reduce(Uses::and)?;
        uses.used_where(bucket).map(|(setting, word)| (setting.to_owned(), word.to_owned()))
    }

    /// Whether an event of this type may reach its consumer before its time: somebody emits it with a later one.
    pub fn may_be_early(&self, event_type: &str) -> bool {
        self.handlers()
            .filter_map(|handler| self.uses_of(handler))
            .any(|uses| uses.later().contains(event_type))
    }

    /// The services that the step or the route's handler of that name uses.
    pub fn services_of(&self, step: &str) -> impl Iterator<Item = &ServiceModel> {
        let uses = self.uses_of(step);
        self.services
            .iter()
            .filter(move |service| uses.is_some_and(|uses| uses.services().contains(&service.name)))
    }

    /// The settings that the step or the route's handler of that name reads, itself or by its services.
    pub fn settings_of(&self, step: &str) -> Vec<&SettingModel> {
        let own = self.uses_of(step).into_iter().flat_map(Uses::settings);
        let read: BTreeSet<&String> =
            own.chain(self.services_of(step).flat_map(|service| service.uses.settings())).collect();
        self.settings.iter().filter(|setting| read.contains(&setting.name)).collect()
    }

    /// The names of all handlers, of requests and of events.
    pub fn handlers(&self) -> impl Iterator<Item = &String> {
        self.routes.iter().map(|route| &route.step).chain(self.steps.iter().map(|step| &step.name))
    }

    /// All events that a commit of some handler may hold, or that follow when a message is given up.
    pub(crate) fn emitted(&self) -> BTreeSet<&str> {
        let by_steps = self.steps.iter().flat_map(StepModel::may_cause);
        by_steps.chain(self.routes.iter().flat_map(|route| &route.emits)).map(String::as_str).collect()
    }

    /// All events that a commit of some handler may hold: those that the relay sends on. What follows as a message is given up,
    /// the step sends itself.
    pub(crate) fn committed(&self) -> BTreeSet<&str> {
        let by_steps = self.steps.iter().flat_map(|step| &step.emits);
        by_steps.chain(self.routes.iter().flat_map(|route| &route.emits)).map(String::as_str).collect()
    }

    /// The queue whose dead letters go to `dead_letter_queue`.
    pub fn source_of(&self, dead_letter_queue: &str) -> Option<&QueueModel> {
        self.queues.iter().find(|queue| {
            queue.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_queue == dead_letter_queue)
        })
    }

    /// Whether a step that `dead_letter_queue` holds dead letters of counts any reason as an end of business.
    pub fn has_dead_lettered_ends(&self, dead_letter_queue: &str) -> bool {
        let Some(source) = self.source_of(dead_letter_queue) else { return false };
        self.steps.iter().any(|step| step.queue == source.name && !step.dead_lettered_ends.is_empty())
    }

    /// Whether the step `handler` counts the dead letters of this reason as an end of business.
    pub(crate) fn is_dead_lettered_end(&self, handler: &str, reason: &str) -> bool {
        self.step(handler).is_some_and(|step| step.dead_lettered_ends.contains(reason))
    }

    /// The queues that hold dead letters.
    pub fn dead_letter_queues(&self) -> impl Iterator<Item = &str> {
        let names = self.queues.iter().map(|queue| queue.name.as_str());
        names.filter(|name| self.redrive_target(name).is_some())
    }

    /// Where a redrive sends the letters of `dead_letter_queue`: to the queue they came from, or to what refused them;
    /// `None` where no queue of that name holds dead letters.
    pub(crate) fn redrive_target(&self, dead_letter_queue: &str) -> Option<Destination<'_>> {
        let source = self.source_of(dead_letter_queue).map(|queue| Destination::Queue(&queue.name));
        let outlet = || self.outlets.iter().find(|outlet| outlet.dead_letter_queue == dead_letter_queue);
        source.or_else(|| outlet().map(|outlet| outlet.to.destination()))
    }

    /// Where events of a type go: to the queue of each consumer, to each topic that has subscribers for it and each bus that has rules,
    /// outside.
    pub(crate) fn destinations(&self, event_type: &str) -> Vec<Destination<'_>> {
        let steps = self.steps.iter().filter(|step| step.event_type == event_type);
        let inside = steps.filter_map(|step| match &step.source {
            Source::Events => Some(Destination::Queue(&step.queue)),
            Source::Topic(topic) => Some(Destination::Topic(topic)),
            Source::Bus { bus, .. } => Some(Destination::Bus(bus)),
            Source::Stream(table) => Some(Destination::Stream { table, queue: &step.queue }),
            Source::Outside(_) => None,
        });
        let outlets = self.outlets.iter().filter(|outlet| outlet.event_type == event_type);
        let mut destinations = Vec::new();
        for destination in inside.chain(outlets.map(|outlet| outlet.to.destination())) {
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        destinations
    }

    /// For each topic and each bus that events leave the choreography by, the queue that keeps what it published where nobody
    /// outside subscribes. Its name is no queue's of a definition.
    pub(crate) fn published(&self) -> BTreeMap<&str, QueueModel> {
        let outlets = self.outlets.iter().filter_map(|outlet| match &outlet.to {
            OutletTarget::Topic(name) | OutletTarget::Bus(name) => Some(name.as_str()),
            OutletTarget::Queue(_) => None,
        });
        let queue = |name: &str| QueueModel {
            name: ["published/", name].concat(),
            visibility_timeout: Duration::from_secs(30),
            retention: limits::QUEUE_RETENTION_MAX,
            redrive: None,
            physical: None,
            is_outside: false,
        };
        outlets.map(|name| (name, queue(name))).collect()
    }

    /// The types of events that leave the choreography by this bus.
    pub(crate) fn leave_by_bus(&self, bus: &str) -> impl Iterator<Item = &str> {
        let outlets =
            self.outlets.iter().filter(move |outlet| outlet.to.destination() == Destination::Bus(bus));
        outlets.map(|outlet| outlet.event_type.as_str())
    }

    /// The dead-letter queues for what `destination` refuses for good: of the steps behind it, and of its outlets.
    pub(crate) fn refused_to(&self, destination: Destination<'_>) -> BTreeSet<&str> {
        let steps = self.steps.iter().filter(|step| match destination {
            Destination::Queue(name) => step.source == Source::Events && step.queue == name,
            Destination::Topic(name) => step.topic() == Some(name),
            Destination::Stream { queue, .. } => step.stream().is_some() && step.queue == queue,
            Destination::Bus(name) => step.bus().is_some_and(|(bus, _)| bus == name),
        });
        let of_steps = steps.filter_map(|step| {
            let redrive = self.queue(&step.queue)?.redrive.as_ref()?;
            Some(redrive.dead_letter_queue.as_str())
        });
        let outlets = self.outlets.iter().filter(|outlet| outlet.to.destination() == destination);
        of_steps.chain(outlets.map(|outlet| outlet.dead_letter_queue.as_str())).collect()
    }

    /// Where the relay tells of events of a `kind` that it can't read: nobody knows where they were to go. It is the first, by
    /// name, of the dead-letter queues that such events can end in, as far as the relay `sends` there.
    pub(crate) fn unreadable_to(&self, kind: &str, sends: impl Fn(&Destination<'_>) -> bool) -> Option<&str> {
        let commits = |handler: &str| {
            let uses = self.uses_of(handler).and_then(|uses| uses.kinds().get(kind));
            uses.is_some_and(|uses| uses.iter().any(|of| of.is_commit()))
        };
        let by_steps = self.steps.iter().filter(|step| commits(&step.name)).flat_map(|step| &step.emits);
        let by_routes =
            self.routes.iter().filter(|route| commits(&route.step)).flat_map(|route| &route.emits);
        let queues = |event_types: BTreeSet<&str>| {
            let destinations = event_types.into_iter().flat_map(|event_type| self.destinations(event_type));
            destinations.filter(&sends).flat_map(|destination| self.refused_to(destination)).min()
        };
        queues(by_steps.chain(by_routes).map(String::as_str).collect()).or_else(|| queues(self.committed()))
    }

    /// The names of the steps that consume what `step` emits.
    fn next_of<'a>(&'a self, step: &'a StepModel) -> impl Iterator<Item = &'a StepModel> {
        self.steps.iter().filter(|next| {
            !matches!(next.source, Source::Outside(_))
                && step.may_cause().any(|event| *event == next.event_type)
        })
    }

    fn reaches(&self, from: &StepModel, to: &str) -> bool {
        let mut seen = Vec::new();
        let mut left: Vec<&StepModel> = self.next_of(from).collect();
        while let Some(step) = left.pop() {
            if step.name == to {
                return true;
            }
            if !seen.contains(&&step.name) {
                seen.push(&step.name);
                left.extend(self.next_of(step));
            }
        }
        false
    }

    /// Marks every step that can reach itself with the first step of its cycle.
    pub(crate) fn find_cycles(&mut self) {
        let cycles: Vec<Option<String>> = self
            .steps
            .iter()
            .map(|step| {
                let together =
                    |other: &&StepModel| self.reaches(step, &other.name) && self.reaches(other, &step.name);
                self.steps.iter().find(together).map(|first| first.name.clone())
            })
            .collect();
        for (step, cycle) in self.steps.iter_mut().zip(cycles) {
            step.cycle = cycle;
        }
    }

    /// The budget of the cycle that `step` stands on: its own, or that of another step of the cycle.
    pub(crate) fn budget_of(&self, step: &StepModel) -> Option<Budget> {
        let cycle = step.cycle.as_ref()?;
        step.budget.or_else(|| {
            self.steps.iter().filter(|other| other.cycle.as_ref() == Some(cycle)).find_map(|s| s.budget)
        })
    }

    /// What an event of `event_type` carries of a budget when `from` emits it. Where it stays on the cycle, that is the
    /// rest of the one that `from` was called with; where it enters a cycle, a fresh one; off all cycles, nothing.
    pub(crate) fn carried(&self, from: &str, carried: Carried, event_type: &str, now: Timestamp) -> Carried {
        let Some(to) = self.steps.iter().find(|step| step.event_type == event_type && step.cycle.is_some())
        else {
            return Carried::default();
        };
        let stays =
            self.step(from).is_some_and(|from| from.cycle == to.cycle) && !planted("budget_not_carried");
        if stays {
            return Carried {
                deadline: carried.deadline,
                hops: Some(carried.hops.unwrap_or(0).saturating_add(1)),
            };
        }
        self.entering(to, now)
    }

    /// A fresh budget for an event that enters the cycle of `step` at `now`.
    pub(crate) fn entering(&self, step: &StepModel, now: Timestamp) -> Carried {
        self.budget_of(step).map_or_else(Carried::default, |budget| Carried {
            deadline: Some(now + budget.deadline),
            hops: Some(0),
        })
    }
}
