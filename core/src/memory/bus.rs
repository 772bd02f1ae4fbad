//! Bus in memory.

use super::queue::MemoryQueue;
use crate::{
    model::Rule,
    port::{Bus, BusEntry, NewMessage, PortError, Queue as _},
};
use async_trait::async_trait;
use std::sync::Arc;

/// A bus, and the queues behind its rules. A queue gets the detail of an entry.
pub(super) struct MemoryBus {
    pub(super) name: String,
    pub(super) targets: Vec<(Rule, Arc<MemoryQueue>)>,
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        let mut published = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut outcome = Ok(());
            match entry.admitted(&self.name) {
                Ok(entry) => {
                    for (_, queue) in self.targets.iter().filter(|(rule, _)| rule.matches(&entry)) {
                        let message = NewMessage { body: entry.detail.clone(), ..NewMessage::default() };
                        let sent = queue.send(vec![message]).await;
                        outcome = sent.into_iter().fold(outcome, Result::and);
                    }
                }
                Err(error) => outcome = Err(error),
            }
            published.push(outcome);
        }
        published
    }
}
