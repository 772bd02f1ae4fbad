//! What a process needs of a model, and what its environment tells it: the physical names behind the names of the model.

use crate::model::{
    BucketUse, BusUse, Destination, Model, QueueUse, ResourceKind, TableUse, TopicUse, Variable,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The tables, queues, buckets, topics and event buses of a model that a process touches, by their names in the model, and how it uses
/// each.
///
/// A process is told the physical names of these and of no others, and has the permissions of these uses and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tables.
    pub tables: BTreeMap<String, BTreeSet<TableUse>>,
    /// Queues, dead-letter queues among them.
    pub queues: BTreeMap<String, BTreeSet<QueueUse>>,
    /// Buckets.
    pub buckets: BTreeMap<String, BTreeSet<BucketUse>>,
    /// Of the buckets, those that are used only where a setting has a certain word: the setting and the word.
    pub buckets_where: BTreeMap<String, (String, String)>,
    /// Topics.
    pub topics: BTreeMap<String, BTreeSet<TopicUse>>,
    /// Event buses.
    pub buses: BTreeMap<String, BTreeSet<BusUse>>,
}

impl Needs {
    /// All that a model names, used in every way that a function may use it. An operator's commands need no other names, but
    /// more permissions.
    pub fn everything(model: &Model) -> Self {
        fn all<'a, U: Copy + Ord>(
            names: impl Iterator<Item = &'a String>,
            uses: &[U],
        ) -> BTreeMap<String, BTreeSet<U>> {
            names.map(|name| (name.clone(), uses.iter().copied().collect())).collect()
        }
        Self {
            tables: all(model.tables.iter().map(|table| &table.name), &TableUse::ALL),
            queues: all(model.queues.iter().map(|queue| &queue.name), &QueueUse::ALL),
            buckets: all(model.buckets.iter().map(|bucket| &bucket.name), &BucketUse::ALL),
            buckets_where: BTreeMap::new(),
            topics: all(model.topics.iter().map(|topic| &topic.name), &TopicUse::ALL),
            buses: all(model.buses.iter().map(|bus| &bus.name), &BusUse::ALL),
        }
    }

    /// What the step or the route's handler of that name needs; `None` where the model has neither.
    ///
    /// Both need what they [use](crate::Uses) of tables and buckets. A step also consumes its own queue, and sends dead letters
    /// to its dead-letter queue. Where somebody emits its event with a later time, it sends back to its own queue what has to
    /// wait longer than a queue's longest delay.
    pub fn of_step(model: &Model, step: &str) -> Option<Self> {
        model.uses_of(step)?;
        let (tables, buckets) = (model.tables_of(step), model.buckets_of(step));
        let used_where = |bucket: &String| Some((bucket.clone(), model.bucket_used_where(step, bucket)?));
        let buckets_where = buckets.keys().filter_map(used_where).collect();
        let mut needs = Self { tables, buckets, buckets_where, ..Self::default() };
        if let Some(step) = model.step(step) {
            needs.queues.insert(step.queue.clone(), [QueueUse::Consume].into());
            if model.may_be_early(&step.event_type) {
                needs.may_send(&step.queue);
            }
            let dead = model.queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
            needs
                .queues
                .extend(dead.map(|redrive| (redrive.dead_letter_queue.clone(), [QueueUse::Send].into())));
            step.given_up.iter().for_each(|event_type| needs.sends(model, event_type));
        }
        Some(needs)
    }

    /// What the relay needs: the queues, topics and event buses to which events go, and the dead-letter queues for what these refuse
    /// for good. No table: the change stream is handed to it.
    pub fn of_relay(model: &Model) -> Self {
        let mut needs = Self::default();
        for event_type in model.committed() {
            needs.sends(model, event_type);
            let sent = |destination: &Destination<'_>| !matches!(destination, Destination::Stream { .. });
            for destination in model.destinations(event_type).into_iter().filter(sent) {
                let refused = model.refused_to(destination).into_iter();
                refused.for_each(|queue| needs.may_send(queue));
            }
        }
        needs
    }

    /// What it takes to send events of a type to all their destinations.
    fn sends(&mut self, model: &Model, event_type: &str) {
        for destination in model.destinations(event_type) {
            match destination {
                Destination::Queue(queue) => self.may_send(queue),
                Destination::Topic(topic) => {
                    self.topics.insert(topic.to_owned(), [TopicUse::Publish].into());
                }
                // Lambda hands it the stream.
                Destination::Stream { .. } => {}
                Destination::Bus(bus) => {
                    self.buses.insert(bus.to_owned(), [BusUse::Publish].into());
                }
            }
        }
    }

    fn may_send(&mut self, queue: &str) {
        self.queues.entry(queue.to_owned()).or_default().insert(QueueUse::Send);
    }

    /// The environment variables that tell the physical names, in the order of tables, queues, buckets, topics and event buses.
    /// Those that have one of their own are told by that.
    pub fn variables(&self, model: &Model) -> Vec<Variable> {
        let named = |kind: ResourceKind, names: Vec<&String>| -> Vec<Variable> {
            let variable = |of: &String| Variable { name: model.variable_of(kind, of), kind, of: of.clone() };
            names.into_iter().map(variable).collect()
        };
        [
            named(ResourceKind::Table, self.tables.keys().collect()),
            named(ResourceKind::Queue, self.queues.keys().collect()),
            named(ResourceKind::Bucket, self.buckets.keys().collect()),
            named(ResourceKind::Topic, self.topics.keys().collect()),
            named(ResourceKind::Bus, self.buses.keys().collect()),
        ]
        .concat()
    }
}

/// The physical names behind the names of a model. As JSON, they are what the infrastructure leaves for an operator's
/// command: `{"tables":{..},"queues":{..},"buckets":{..},"topics":{..}}`, and `"buses":{..}` where there
/// are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// Names of DynamoDB tables.
    pub tables: BTreeMap<String, String>,
    /// URLs of SQS queues.
    pub queues: BTreeMap<String, String>,
    /// Names of S3 buckets.
    pub buckets: BTreeMap<String, String>,
    /// ARNs of SNS topics.
    pub topics: BTreeMap<String, String>,
    /// Names of event buses.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub buses: BTreeMap<String, String>,
}

/// Why the environment does not tell the physical names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Variables are missing or empty: all of them.
    #[error("the environment lacks {}: the infrastructure has to set them", .0.join(", "))]
    Missing(Vec<String>),
    /// Two names of the model, which differ in `-` and `_` alone, share a variable.
    #[error("{0} would name two of the model's things that differ in '-' and '_' alone: rename one")]
    Shared(String),
}

impl Names {
    /// From the environment variables that the infrastructure sets, named as [`ResourceKind::variable_of`] says.
    ///
    /// # Errors
    /// [`NamesError::Missing`] with every variable that is missing or empty; [`NamesError::Shared`].
    pub fn from_environment(model: &Model, needed: &Needs) -> Result<Self, NamesError> {
        Self::from_variables(model, needed, |name| std::env::var(name).ok())
    }

    /// [`from_environment`](Self::from_environment) with variables that `read` tells.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub fn from_variables(
        model: &Model,
        needed: &Needs,
        read: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, NamesError> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        let mut names = Self::default();
        for Variable { name, kind, of } in needed.variables(model) {
            match read(&name).filter(|value| !value.trim().is_empty()) {
                Some(value) => {
                    names.names_mut(kind).insert(of, value);
                }
                None => missing.push(name.clone()),
            }
            if let Some(shared) = seen.replace(name) {
                return Err(NamesError::Shared(shared));
            }
        }
        if missing.is_empty() { Ok(names) } else { Err(NamesError::Missing(missing)) }
    }

    fn names_mut(&mut self, kind: ResourceKind) -> &mut BTreeMap<String, String> {
        match kind {
            ResourceKind::Table => &mut self.tables,
            ResourceKind::Queue => &mut self.queues,
            ResourceKind::Bucket => &mut self.buckets,
            ResourceKind::Topic => &mut self.topics,
            ResourceKind::Bus => &mut self.buses,
        }
    }
}
