//! Bus on EventBridge.
//!
//! A queue behind a rule gets the detail of an entry and not what is around it, if its target has the input path `$.detail`.

use super::{
    batch::{self, Answers, Batch},
    fault::{Pace, answered, fault},
};
use crate::{
    limits::BUS_ENTRY_BYTES_MAX,
    port::{Bus, BusEntry, PortError},
};
use async_trait::async_trait;
use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};

/// A bus.
pub(super) struct EventBridgeBus {
    client: Client,
    /// Its name in the model.
    name: String,
    /// Its name in the account.
    bus: String,
    pace: Pace,
}

impl EventBridgeBus {
    pub(super) fn new(client: Client, name: String, bus: String, pace: Pace) -> Self {
        Self { client, name, bus, pace }
    }

    fn entry(&self, entry: BusEntry) -> PutEventsRequestEntry {
        let BusEntry { source, detail_type, detail } = entry;
        let request = PutEventsRequestEntry::builder().source(source).detail_type(detail_type);
        request.detail(detail).event_bus_name(&self.bus).build()
    }
}

impl Batch for EventBridgeBus {
    type Entry = PutEventsRequestEntry;

    async fn send(&self, entries: &[(usize, Self::Entry)]) -> Result<Answers, PortError> {
        let request = entries.iter().map(|(_, entry)| entry.clone()).collect();
        let published = self.client.put_events().set_entries(Some(request)).send().await;
        let published = published.map_err(|error| fault(&self.name, &error))?;
        let results = published.entries.unwrap_or_default();
        if results.len() != entries.len() {
            let detail = format_args!("{} results of {} entries", results.len(), entries.len());
            return Err(PortError::transient(&self.name, detail));
        }
        // A result stands where its entry stood. One that tells neither an id nor an error confirms nothing.
        let answers = results.iter().map(|result| match (&result.error_code, &result.event_id) {
            (Some(code), _) => Err(answered(&self.name, code, result.error_message.as_deref())),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(PortError::transient(&self.name, "an answer without an event's id")),
        });
        Ok(answers.collect())
    }
}

#[async_trait]
impl Bus for EventBridgeBus {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::with_capacity(entries.len());
        let mut admitted = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            let bytes = entry.bytes();
            let entry = entry.admitted(&self.name);
            answers.push(entry.map(|entry| admitted.push((at, bytes, self.entry(entry)))));
        }
        // A call takes no more than the largest entry.
        for (at, error) in batch::send(self, &self.pace, batch::batches(admitted, BUS_ENTRY_BYTES_MAX)).await
        {
            answers[at] = Err(error);
        }
        answers
    }
}
