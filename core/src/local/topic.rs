//! Topic: a message goes to the queue of every subscription.

use super::queue::LocalQueue;
use crate::{
    limits,
    port::{NewMessage, PortError, Queue as _, Topic},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// A topic, which is the queues of its subscriptions.
pub(super) struct LocalTopic {
    pub(super) name: String,
    pub(super) subscriptions: Vec<Arc<LocalQueue>>,
}

#[async_trait]
impl Topic for LocalTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut answers: Vec<Result<(), PortError>> = Vec::with_capacity(messages.len());
        let (mut places, mut admitted) = (Vec::new(), Vec::new());
        for message in messages {
            let message =
                message.admitted(&self.name, limits::NOTIFICATION_BYTES_MAX, Duration::ZERO).map(|message| {
                    places.push(answers.len());
                    // Of several copies none stands for a message alone.
                    admitted.push(NewMessage { in_place_of: None, key: None, ..message });
                });
            answers.push(message);
        }
        for queue in &self.subscriptions {
            for (at, sent) in places.iter().zip(queue.send(admitted.clone()).await) {
                if sent.is_err() {
                    answers[*at] = sent;
                }
            }
        }
        answers
    }
}
