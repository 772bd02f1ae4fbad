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
    /// A schedule whose messages come too seldom for an alarm of CloudWatch to miss them.
    NoSilenceAlarm {
        /// The schedule.
        schedule: String,
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
            Self::NoSilenceAlarm { schedule } => write!(
                f,
                "no_silence_alarm: on AWS nobody is told where {schedule:?} stops, for an alarm looks back 7 days at most, and two of its \
                 periods are longer: look at it by hand, or let it come more often"
            ),
        }
    }
}

pub(crate) fn of(model: &Model) -> Vec<Advice> {
    let dead_letter_queues = model.dead_letter_queues().count();
    let nobody_is_told = model.alarms.is_empty() && dead_letter_queues > 0;
    let too_seldom = model.schedules.iter().filter(|schedule| schedule.watch().is_none());
    let too_seldom = too_seldom.filter(|_| !model.alarms.is_empty());
    let no_silence = too_seldom.map(|schedule| Advice::NoSilenceAlarm { schedule: schedule.name.clone() });
    let no_alarm = nobody_is_told.then_some(Advice::NoAlarm { dead_letter_queues });
    no_alarm.into_iter().chain(no_silence).collect()
}
