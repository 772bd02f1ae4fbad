//! Rights as documents that IAM takes: as few statements as say it, in as many policies as its limit asks for.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Longest managed policy, in characters without white space (IAM).
pub const POLICY_BYTES_MAX: usize = 6_144;

/// Actions on one ARN.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) actions: &'static [&'static str],
    pub(super) on: String,
    pub(super) condition: Option<Condition>,
}

/// What has to hold for a right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// Keys that have these values, which may have `*` in them.
    Equal(BTreeMap<String, String>),
    /// The call concerns one of these functions. Where it names none, IAM can't tell.
    Functions(BTreeSet<String>),
}

impl Condition {
    pub(super) fn equal(keys: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::Equal(keys.into_iter().collect())
    }

    pub(super) fn function(arn: String) -> Self {
        Self::Functions(BTreeSet::from([arn]))
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Equal(mut keys), Self::Equal(more)) => {
                keys.extend(more);
                Self::Equal(keys)
            }
            (one, _) => one,
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Equal(keys) => {
                let test = if keys.values().any(|value| value.contains('*')) {
                    "StringLike"
                } else {
                    "StringEquals"
                };
                json!({ test: keys })
            }
            Self::Functions(arns) => json!({ "ArnLikeIfExists": { "lambda:FunctionArn": arns } }),
        }
    }
}

/// Rights, each once.
#[derive(Clone, Debug, Default)]
pub struct Rights(BTreeMap<(Option<Condition>, String), BTreeSet<&'static str>>);

/// A statement before it is written: the actions on the ARNs.
#[derive(Clone, Debug)]
struct Statement {
    condition: Option<Condition>,
    actions: BTreeSet<&'static str>,
    on: BTreeSet<String>,
}

impl Statement {
    fn value(&self) -> Value {
        let mut statement = Map::new();
        statement.insert("Effect".into(), "Allow".into());
        statement.insert("Action".into(), json!(self.actions));
        statement.insert("Resource".into(), json!(self.on));
        if let Some(condition) = &self.condition {
            statement.insert("Condition".into(), condition.value());
        }
        Value::Object(statement)
    }

    fn bytes(&self) -> usize {
        self.value().to_string().len()
    }

    /// The same in parts that fit in a policy each.
    fn parts(self, room: usize) -> Vec<Self> {
        if self.bytes() <= room {
            return vec![self];
        }
        let halves: [Self; 2] = match &self.condition {
            _ if self.on.len() > 1 => halved(self.on.clone()).map(|on| Self { on, ..self.clone() }),
            Some(Condition::Functions(arns)) if arns.len() > 1 => halved(arns.clone())
                .map(|arns| Self { condition: Some(Condition::Functions(arns)), ..self.clone() }),
            _ => return vec![self],
        };
        halves.into_iter().flat_map(|half| half.parts(room)).collect()
    }
}

/// Both halves of a set.
fn halved(mut first: BTreeSet<String>) -> [BTreeSet<String>; 2] {
    let middle = first.iter().nth(first.len() / 2).cloned().unwrap_or_default();
    let second = first.split_off(&middle);
    [first, second]
}

impl Rights {
    pub(super) fn add(&mut self, granted: Granted) {
        let Granted { actions, on, condition } = granted;
        self.0.entry((condition, on)).or_default().extend(actions);
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (on, actions) in other.0 {
            self.0.entry(on).or_default().extend(actions);
        }
        self
    }

    /// Each action with the ARN that it is allowed on.
    pub fn allowed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().flat_map(|((_, on), actions)| actions.iter().map(|action| (*action, on.as_str())))
    }

    /// What has the same condition and the same actions is one statement.
    fn statements(&self) -> Vec<Statement> {
        let mut by_functions: BTreeMap<(String, BTreeSet<&str>), BTreeSet<String>> = BTreeMap::new();
        let mut together: BTreeMap<(Option<Condition>, BTreeSet<&'static str>), BTreeSet<String>> =
            BTreeMap::new();
        // The same right for several functions is one, with all of them in its condition.
        for ((condition, on), actions) in &self.0 {
            match condition {
                Some(Condition::Functions(arns)) => {
                    let functions = by_functions.entry((on.clone(), actions.clone())).or_default();
                    functions.extend(arns.iter().cloned());
                }
                other => {
                    let arns = together.entry((other.clone(), actions.clone())).or_default();
                    arns.insert(on.clone());
                }
            }
        }
        for ((on, actions), functions) in by_functions {
            let key = (Some(Condition::Functions(functions)), actions);
            together.entry(key).or_default().insert(on);
        }
        together.into_iter().map(|((condition, actions), on)| Statement { condition, actions, on }).collect()
    }

    /// The policies, as JSON without white space: as many as [`POLICY_BYTES_MAX`] asks for.
    pub fn policies(&self) -> Vec<String> {
        let frame = json!({ "Version": "2012-10-17", "Statement": [] }).to_string().len();
        let room = POLICY_BYTES_MAX - frame;
        let parts = self.statements().into_iter().flat_map(|statement| statement.parts(room));
        let mut parts: Vec<(usize, Statement)> = parts.map(|part| (part.bytes() + 1, part)).collect();
        // The largest first: so the small ones fill what is left.
        parts.sort_by(|(one, _), (other, _)| other.cmp(one));
        let mut policies: Vec<(usize, Vec<Value>)> = Vec::new();
        for (bytes, part) in parts {
            let place = policies.iter_mut().find(|(taken, _)| taken + bytes <= room);
            match place {
                Some((taken, statements)) => {
                    *taken += bytes;
                    statements.push(part.value());
                }
                None => policies.push((bytes, vec![part.value()])),
            }
        }
        let document =
            |statements: Vec<Value>| json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        policies.into_iter().map(|(_, statements)| document(statements)).collect()
    }
}
