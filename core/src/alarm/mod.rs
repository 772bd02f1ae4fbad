//! Alarms: what a topic is told of a dead-letter queue. No payload, only ids, counts and reasons.

#[cfg(any(feature = "local", feature = "sim"))]
mod watch;

#[cfg(any(feature = "local", feature = "sim"))]
pub use watch::AlarmPolicy;
#[cfg(any(feature = "local", feature = "sim"))]
pub(crate) use watch::{Telling, Told, Watch};

use crate::{event::Event, timestamp::Timestamp};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// What changed about a dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is no longer empty.
    Alarm,
    /// It is still not empty, and more arrived: an alarm that stays red must not hide them.
    Digest,
    /// It is empty again.
    Ok,
}

/// Most ids an [`Alert`] names; the count is always whole.
pub const ALERT_SUBJECTS_MAX: usize = 20;

/// A notification about a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The choreography.
    pub choreography: String,
    /// The dead-letter queue.
    pub queue: String,
    /// What changed.
    pub state: AlertState,
    /// When it was seen.
    pub at: Timestamp,
    /// Messages in the queue.
    pub depth: u64,
    /// Dead letters that arrived since the last notification.
    pub arrived: u64,
    /// Those, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// The entities they are told to, the first 20 of them.
    pub subjects: Vec<String>,
    /// What an alarm of CloudWatch says, where the notification comes from one; it knows counts at best, no reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Event for Alert {
    const TYPE: &'static str = "quadrille.alert";
    type Entity = ();
    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.queue)
    }
}

impl Alert {
    /// One line for people.
    pub fn summary(&self) -> String {
        let reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        if let Some(detail) = &self.detail {
            let state = if self.state == AlertState::Ok { "OK" } else { "ALARM" };
            return format!("{state} {}: {}: {detail}", self.choreography, self.queue);
        }
        match self.state {
            AlertState::Alarm => {
                format!(
                    "ALARM {}: {} dead letter(s) in {}{reasons}",
                    self.choreography, self.arrived, self.queue
                )
            }
            AlertState::Digest => format!(
                "ALARM {}: {} more dead letter(s) in {}, {} in all{reasons}",
                self.choreography, self.arrived, self.queue, self.depth
            ),
            AlertState::Ok => format!("OK {}: {} is empty again", self.choreography, self.queue),
        }
    }
}
