//! Topic in memory.

use super::queue::MemoryQueue;
use crate::{
    limits::NOTIFICATION_BYTES_MAX,
    port::{NewMessage, PortError, Queue as _, Topic},
};
use async_trait::async_trait;
use std::sync::Arc;

/// A topic and the queues subscribed to it.
pub(super) struct MemoryTopic {
    name: String,
    subscriptions: Vec<Arc<MemoryQueue>>,
}

impl MemoryTopic {
    pub(super) fn new(name: String, subscriptions: Vec<Arc<MemoryQueue>>) -> Self {
        Self { name, subscriptions }
    }

    fn check(&self, message: &NewMessage) -> Result<(), PortError> {
        let attributes: usize = message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = message.body.len() + attributes;
        if bytes > NOTIFICATION_BYTES_MAX {
            let detail =
                format_args!("a notification of {bytes} bytes is over the limit of {NOTIFICATION_BYTES_MAX}");
            return Err(PortError::permanent(&self.name, detail));
        }
        if !message.delay.is_zero() {
            return Err(PortError::permanent(&self.name, "a topic has no delays"));
        }
        Ok(())
    }
}

#[async_trait]
impl Topic for MemoryTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut published = Vec::with_capacity(messages.len());
        for message in messages {
            let mut outcome = self.check(&message);
            if outcome.is_ok() {
                for queue in &self.subscriptions {
                    let sent = queue.send(vec![message.clone()]).await;
                    outcome = sent.into_iter().fold(outcome, Result::and);
                }
            }
            published.push(outcome);
        }
        published
    }
}
