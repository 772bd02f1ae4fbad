//! What a process is told by its environment: the physical names behind the names of a model.

use crate::choreography::Model;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The tables, queues, buckets and topics of a model that a process touches, by their names in the model.
///
/// A process is told the physical names of these and of no others, and has a permission for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tables.
    pub tables: BTreeSet<String>,
    /// Queues, dead-letter queues among them.
    pub queues: BTreeSet<String>,
    /// Buckets.
    pub buckets: BTreeSet<String>,
    /// Topics.
    pub topics: BTreeSet<String>,
}

impl Needs {
    /// All that a model names: what an operator's command needs.
    pub fn everything(model: &Model) -> Self {
        Self {
            tables: model.tables.iter().map(|table| table.name.clone()).collect(),
            queues: model.queues.iter().map(|queue| queue.name.clone()).collect(),
            buckets: model.buckets.iter().map(|bucket| bucket.name.clone()).collect(),
            topics: model.topics.iter().map(|topic| topic.name.clone()).collect(),
        }
    }

    /// What the step or the route's handler of that name needs; `None` where the model has neither.
    ///
    /// Both need every table, for a handler may read and commit entities of any kind. A step needs its own queue, where
    /// what has to wait longer than a queue's longest delay hops, its dead-letter queue, and the buckets it names. A
    /// route's handler needs every bucket, for a route does not say which it uses.
    pub fn of_step(model: &Model, step: &str) -> Option<Self> {
        let tables = model.tables.iter().map(|table| table.name.clone()).collect();
        if let Some(step) = model.step(step) {
            let mut queues = BTreeSet::from([step.queue.clone()]);
            queues.extend(dead_letter_queue(model, &step.queue));
            let buckets = step.buckets.iter().cloned().collect();
            return Some(Self { tables, queues, buckets, topics: BTreeSet::new() });
        }
        model.routes.iter().find(|route| route.step == step)?;
        let buckets = model.buckets.iter().map(|bucket| bucket.name.clone()).collect();
        Some(Self { tables, buckets, ..Self::default() })
    }

    /// What the relay needs: the queues and topics to which events go, and the dead-letter queues for what these refuse
    /// for good. No table: the change stream is handed to it.
    pub fn of_relay(model: &Model) -> Self {
        let mut needs = Self::default();
        let of_routes = model.routes.iter().flat_map(|route| &route.emits);
        let emitted: BTreeSet<&String> =
            model.steps.iter().flat_map(|step| &step.emits).chain(of_routes).collect();
        for step in model.steps.iter().filter(|step| emitted.contains(&step.event_type)) {
            match &step.topic {
                Some(topic) => needs.topics.insert(topic.clone()),
                None => needs.queues.insert(step.queue.clone()),
            };
            needs.queues.extend(dead_letter_queue(model, &step.queue));
        }
        needs
    }

    /// The environment variables that tell the physical names, in the order of tables, queues, buckets and topics.
    pub fn variables(&self) -> Vec<String> {
        let kinds =
            [(TABLE, &self.tables), (QUEUE, &self.queues), (BUCKET, &self.buckets), (TOPIC, &self.topics)];
        kinds
            .into_iter()
            .flat_map(|(kind, names)| names.iter().map(move |name| variable(kind, name)))
            .collect()
    }
}

fn dead_letter_queue(model: &Model, queue: &str) -> Option<String> {
    Some(model.queue(queue)?.redrive.as_ref()?.dead_letter_queue.clone())
}

const TABLE: &str = "TABLE";
const QUEUE: &str = "QUEUE";
const BUCKET: &str = "BUCKET";
const TOPIC: &str = "TOPIC";

/// The variable for the physical name of `name`.
fn variable(kind: &str, name: &str) -> String {
    format!("QUADRILLE_{kind}_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The physical names behind the names of a model. As JSON, they are what the infrastructure leaves for an operator's
/// command: `{"tables":{..},"queues":{..},"buckets":{..},"topics":{..}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Names of DynamoDB tables.
    pub tables: BTreeMap<String, String>,
    /// URLs of SQS queues.
    pub queues: BTreeMap<String, String>,
    /// Names of S3 buckets.
    pub buckets: BTreeMap<String, String>,
    /// ARNs of SNS topics.
    pub topics: BTreeMap<String, String>,
}

/// Why the environment does not tell the physical names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Variables are missing or empty: all of them.
    #[error("the environment lacks {}: the infrastructure has to set them", .0.join(", "))]
    Missing(Vec<String>),
    /// Two names of the model, which differ in `-` and `_` alone, share a variable.
    #[error("{0} would name two of the model's things that differ in '-' and '_' alone: rename one")]
    Shared(String),
}

impl Settings {
    /// From the environment variables that the infrastructure sets: `QUADRILLE_TABLE_<NAME>` and
    /// `QUADRILLE_BUCKET_<NAME>` hold names, `QUADRILLE_QUEUE_<NAME>` a URL and `QUADRILLE_TOPIC_<NAME>` an ARN. `<NAME>`
    /// is the name in the model in upper case, with `_` for `-`.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] with every variable that is missing or empty; [`SettingsError::Shared`].
    pub fn from_environment(needed: &Needs) -> Result<Self, SettingsError> {
        Self::from_variables(needed, |name| std::env::var(name).ok())
    }

    /// [`from_environment`](Self::from_environment) with variables that `read` tells.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub fn from_variables(
        needed: &Needs,
        read: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut variables = needed.variables();
        variables.sort_unstable();
        if let Some(shared) = variables.windows(2).find(|two| two[0] == two[1]) {
            return Err(SettingsError::Shared(shared[0].clone()));
        }
        let mut missing = Vec::new();
        let mut told = |kind: &str, names: &BTreeSet<String>| {
            let mut physical = BTreeMap::new();
            for name in names {
                let variable = variable(kind, name);
                match read(&variable).filter(|value| !value.trim().is_empty()) {
                    Some(value) => {
                        physical.insert(name.clone(), value);
                    }
                    None => missing.push(variable),
                }
            }
            physical
        };
        let settings = Self {
            tables: told(TABLE, &needed.tables),
            queues: told(QUEUE, &needed.queues),
            buckets: told(BUCKET, &needed.buckets),
            topics: told(TOPIC, &needed.topics),
        };
        if missing.is_empty() { Ok(settings) } else { Err(SettingsError::Missing(missing)) }
    }
}
