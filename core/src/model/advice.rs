//! What is no mistake in a definition, and still worth a second look.

use super::Model;
use std::fmt;

/// A piece of advice about a definition that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Dead-letter queues, and nobody is told of what lies in them.
    NoAlarm {
        /// How many there are.
        dead_letter_queues: usize,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAlarm { dead_letter_queues } => write!(
                f,
                "no_alarm: nobody is told of what lies in {dead_letter_queues} dead-letter queue(s): add a topic and \
                 `.alarm_to(…)`"
            ),
        }
    }
}

pub(crate) fn of(model: &Model) -> Vec<Advice> {
    let dead_letter_queues = model.dead_letter_queues().count();
    let nobody_is_told = model.alarms.is_empty() && dead_letter_queues > 0;
    nobody_is_told.then_some(Advice::NoAlarm { dead_letter_queues }).into_iter().collect()
}
