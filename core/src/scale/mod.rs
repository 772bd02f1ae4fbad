//! What a flow meets on AWS when so many enter a second: each limit, what the flow needs of it, what AWS gives, and what to set.
//!
//! It is computed from the model alone, so that it holds for any system. What the model does not say it assumes, and tells: how
//! long a batch takes, how many messages one that enters makes. [`Workload`](crate::model::Workload) says it in the definition.
//!
//! ```
//! use quadrille::{Choreography, scale::{Question, ScaleError, scale}};
//!
//! fn bottleneck(choreography: &Choreography) -> Result<Option<String>, ScaleError> {
//!     let answer = scale(choreography.model(), &Question::new(1_000.0))?;
//!     Ok(answer.bottleneck.map(|row| format!("{}: {}", row.at, row.limit)))
//! }
//! ```

mod flow;
mod quota;
mod rows;

use crate::{infrastructure::RELAY, model::Model};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What is to be found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// How many enter a second.
    pub per_second: f64,
    /// The handler by which they enter; where none is named, the first one that takes requests and does not only read, or the
    /// first whose queue others write to.
    pub enters: Option<String>,
    /// How long a full batch of a step, a request of a route, or 100 events of the relay take, where that is not what is declared.
    pub times: BTreeMap<String, Duration>,
    /// What a stack sets, by the key of the configuration.
    pub values: BTreeMap<String, u64>,
    /// How long it takes from the commit of an event until its consumer has it.
    pub hop: Duration,
}

impl Question {
    /// That many, with what holds where nothing is said.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            enters: None,
            times: BTreeMap::new(),
            values: BTreeMap::new(),
            hop: Duration::from_millis(500),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// A name that no handler has.
    #[error("no_such_step: there is no step and no route {0:?}")]
    NoSuchStep(String),
    /// Nothing enters the flow.
    #[error("nothing_enters: the definition has no handler")]
    NothingEnters,
    /// A rate that is none.
    #[error(
        "no_rate: {0} is no number of what enters a second: it is more than 0, and at most 1,000,000,000"
    )]
    NoRate(String),
}

/// What is to be done about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing.
    Fits,
    /// A setting or a key of the configuration is to be set.
    Set,
    /// AWS is to be asked for more.
    Raise,
    /// It can't be met: neither a setting nor AWS gives so much.
    Over,
}

/// A limit that the flow meets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Where: a step, a table, a queue.
    pub at: String,
    /// What is limited.
    pub limit: &'static str,
    /// What the flow needs.
    pub needs: f64,
    /// What there is, by default or as it is set.
    pub gives: f64,
    /// Of what.
    pub unit: &'static str,
    /// How many may enter a second until it is reached.
    pub carries: f64,
    /// How many may enter a second whatever is set; none where AWS gives more to who asks.
    pub carries_at_most: Option<f64>,
    /// What is to be done.
    pub verdict: Verdict,
    /// What to set, by the key of the configuration: what is needed, and a quarter more.
    pub set: BTreeMap<String, u64>,
    /// What has to stand in the definition before that can be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<String>,
    /// Whether AWS raises the limit for who asks.
    pub can_be_raised: bool,
    /// What the figure rests on.
    pub assumes: String,
    /// Where AWS says so.
    pub source: &'static str,
}

/// What a flow meets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// How many enter a second.
    pub per_second: f64,
    /// By which handler.
    pub enters: String,
    /// Each limit.
    pub rows: Vec<Row>,
    /// What is reached first as things are set.
    pub bottleneck: Option<Row>,
    /// What is reached first of what limits a single step: a handler, or the relay.
    pub slowest_step: Option<Row>,
    /// What is reached first of all that can't be raised, once all is set.
    pub ceiling: Option<Row>,
    /// Handlers that nothing is counted of: other ways in, what only follows a failure, who tells people of alarms.
    pub not_counted: Vec<String>,
}

impl Answer {
    /// The limits that can't be met.
    pub fn over(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Over)
    }

    /// All that is to be set, by the key of the configuration: of each key the largest number.
    pub fn set(&self) -> BTreeMap<&str, u64> {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, value) in self.rows.iter().flat_map(|row| &row.set) {
            let known = all.entry(key).or_default();
            *known = (*known).max(*value);
        }
        all
    }
}

/// What `model` meets on AWS.
///
/// # Errors
/// [`ScaleError`]: a question that names what there is not.
pub fn scale(model: &Model, question: &Question) -> Result<Answer, ScaleError> {
    if !(question.per_second > 0.0 && question.per_second <= 1e9) {
        return Err(ScaleError::NoRate(question.per_second.to_string()));
    }
    let flow = flow::of(model, question)?;
    let rows = rows::of(model, question, &flow);
    let least = |carries: &dyn Fn(&Row) -> Option<f64>| {
        let with = rows.iter().filter_map(|row| Some((carries(row)?, row)));
        with.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row.clone())
    };
    let is_step = |row: &Row| row.at == RELAY || model.handlers().any(|name| *name == row.at);
    let bottleneck = least(&|row| Some(row.carries));
    let slowest_step = least(&|row| is_step(row).then_some(row.carries));
    let ceiling = least(&|row| row.carries_at_most);
    Ok(Answer {
        per_second: question.per_second,
        enters: flow.enters.to_owned(),
        bottleneck,
        slowest_step,
        ceiling,
        not_counted: flow.not_counted.iter().map(|name| (*name).to_owned()).collect(),
        rows,
    })
}
