//! Topic in memory.

use super::queue::MemoryQueue;
use crate::{
    limits::NOTIFICATION_BYTES_MAX,
    port::{NewMessage, PortError, Queue as _, Topic},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// A topic and the queues subscribed to it.
pub(super) struct MemoryTopic {
    name: String,
    subscriptions: Vec<Arc<MemoryQueue>>,
}

impl MemoryTopic {
    pub(super) fn new(name: String, subscriptions: Vec<Arc<MemoryQueue>>) -> Self {
        Self { name, subscriptions }
    }
}

#[async_trait]
impl Topic for MemoryTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut published = Vec::with_capacity(messages.len());
        for message in messages {
            let admitted = message.admitted(&self.name, NOTIFICATION_BYTES_MAX, Duration::ZERO);
            let mut outcome = Ok(());
            match admitted {
                Ok(message) => {
                    // Of several copies none stands for a message alone.
                    let message = NewMessage { in_place_of: None, key: None, ..message };
                    for queue in &self.subscriptions {
                        let sent = queue.send(vec![message.clone()]).await;
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
