//! The environment variables of a system's processes: no two things of a definition have the same.

use super::Model;
use std::collections::BTreeSet;

/// The variable that says which function a process is: the name of a handler, or `relay`.
pub const FUNCTION: &str = "QUADRILLE_FUNCTION";

/// An environment variable that tells a physical name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its own name: `QUADRILLE_TABLE_TEA_POTS`.
    pub name: String,
    /// What it names.
    pub kind: ResourceKind,
    /// The name in the model: `tea-pots`.
    pub of: String,
}

/// What a variable names, and what its value therefore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A DynamoDB table, by its name.
    Table,
    /// An SQS queue, by its URL.
    Queue,
    /// An S3 bucket, by its name.
    Bucket,
    /// An SNS topic, by its ARN.
    Topic,
    /// An event bus of EventBridge, by its name.
    Bus,
}

impl ResourceKind {
    /// The variable for the physical name of what the model calls `name`: `QUADRILLE_TABLE_<NAME>`, and `QUEUE`, `BUCKET`,
    /// `TOPIC` or `BUS` in place of `TABLE`. `<NAME>` is the name in upper case, with `_` for `-`.
    pub fn variable_of(self, name: &str) -> String {
        let kind = match self {
            Self::Table => "TABLE",
            Self::Queue => "QUEUE",
            Self::Bucket => "BUCKET",
            Self::Topic => "TOPIC",
            Self::Bus => "BUS",
        };
        format!("QUADRILLE_{kind}_{}", name.to_ascii_uppercase().replace('-', "_"))
    }
}

impl Model {
    /// The variable for the physical name of what the model calls `name`: its own, where it has one.
    pub fn variable_of(&self, kind: ResourceKind, name: &str) -> String {
        let own = match kind {
            ResourceKind::Table => {
                self.tables.iter().find(|table| table.name == name).map(|table| &table.variable)
            }
            ResourceKind::Topic => {
                self.topics.iter().find(|topic| topic.name == name).map(|topic| &topic.variable)
            }
            ResourceKind::Bus => self.buses.iter().find(|bus| bus.name == name).map(|bus| &bus.variable),
            ResourceKind::Queue | ResourceKind::Bucket => None,
        };
        own.cloned().flatten().unwrap_or_else(|| kind.variable_of(name))
    }
}

/// The variables that the functions of a model have, and the command for its settings. A name stands twice where two things would
/// have the same.
pub(super) fn all(model: &Model) -> Vec<String> {
    let mut things: BTreeSet<(&str, String)> = BTreeSet::new();
    let named: [(ResourceKind, Vec<&String>); 5] = [
        (ResourceKind::Table, model.tables.iter().map(|table| &table.name).collect()),
        (ResourceKind::Queue, model.queues.iter().map(|queue| &queue.name).collect()),
        (ResourceKind::Bucket, model.buckets.iter().map(|bucket| &bucket.name).collect()),
        (ResourceKind::Topic, model.topics.iter().map(|topic| &topic.name).collect()),
        (ResourceKind::Bus, model.buses.iter().map(|bus| &bus.name).collect()),
    ];
    for (kind, names) in named {
        things.extend(names.into_iter().map(|name| (name.as_str(), model.variable_of(kind, name))));
    }
    for setting in &model.settings {
        // One that is no secret has one variable, and one thing has it.
        things.insert((&setting.name, setting.variable()));
        things.insert((&setting.name, setting.function_variable()));
    }
    std::iter::once(FUNCTION.to_owned()).chain(things.into_iter().map(|(_, variable)| variable)).collect()
}
