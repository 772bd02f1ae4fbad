//! Bus: an entry to everybody whose rule matches it.

use super::{PortError, queue::is_sendable};
use crate::limits;
use async_trait::async_trait;
use serde::{Deserialize, de::IgnoredAny};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// An entry of a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusEntry {
    /// Who publishes it: of the relay, the choreography's name.
    pub source: String,
    /// Of what type it is: of the relay, the event's type.
    pub detail_type: String,
    /// What it says, a JSON object: of the relay, the event's envelope.
    pub detail: String,
}

impl BusEntry {
    /// The entry of an event that `source` publishes.
    ///
    /// # Errors
    /// A permanent [`PortError`] where `envelope` is none.
    pub(crate) fn of_event(source: &str, envelope: String) -> Result<Self, PortError> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            event_type: Cow<'a, str>,
        }
        let detail_type = match serde_json::from_str::<Head<'_>>(&envelope) {
            Ok(head) => head.event_type.into_owned(),
            Err(error) => return Err(PortError::permanent(source, format_args!("not an event: {error}"))),
        };
        Ok(Self { source: source.to_owned(), detail_type, detail: envelope })
    }

    /// Its size in bytes, as EventBridge counts: source, detail type and detail.
    pub fn bytes(&self) -> usize {
        self.source.len() + self.detail_type.len() + self.detail.len()
    }

    /// The entry as the bus `port` takes it. What EventBridge, or the queue behind it, would refuse, every adapter refuses, by
    /// this.
    ///
    /// # Errors
    /// A permanent [`PortError`]: over 256 KiB, no source or one of AWS's own, no detail type or one over 128 characters, a
    /// detail that is no JSON object or has a character that XML 1.0 has not.
    pub fn admitted(self, port: &str) -> Result<Self, PortError> {
        let refuse = |detail: fmt::Arguments<'_>| Err(PortError::permanent(port, detail));
        let (bytes, max) = (self.bytes(), limits::BUS_ENTRY_BYTES_MAX);
        if bytes > max {
            return refuse(format_args!("an entry of {bytes} bytes is over the limit of {max}"));
        }
        if self.source.is_empty() || self.source.starts_with("aws.") {
            return refuse(format_args!("{:?} can't be the source of an entry", self.source));
        }
        if !(1..=limits::BUS_DETAIL_TYPE_MAX).contains(&self.detail_type.chars().count()) {
            return refuse(format_args!("{:?} can't be the detail type of an entry", self.detail_type));
        }
        if serde_json::from_str::<BTreeMap<Cow<'_, str>, IgnoredAny>>(&self.detail).is_err() {
            return refuse(format_args!("the detail of an entry is no JSON object"));
        }
        if !is_sendable(&self.detail) {
            return refuse(format_args!("the detail of an entry has a character that XML 1.0 has not"));
        }
        Ok(self)
    }
}

/// An event bus. Whoever has a rule on it that matches an entry gets the entry at least once, in no promised order.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes each entry on its own; answers in their order. What is not [admitted](BusEntry::admitted) is a permanent
    /// error of that entry.
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>>;
}
