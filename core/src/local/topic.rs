//! Topic: a message goes to the queue of every subscription.

use super::queue::LocalQueue;
use crate::{
    limits,
    port::{NewMessage, PortError, Queue as _, Topic},
};
use async_trait::async_trait;
use std::sync::Arc;

/// A topic, which is the queues of its subscriptions.
pub(super) struct LocalTopic {
    pub(super) subscriptions: Vec<Arc<LocalQueue>>,
}

#[async_trait]
impl Topic for LocalTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut answers: Vec<Result<(), PortError>> = messages
            .iter()
            .map(|message| {
                if message.body.len() > limits::NOTIFICATION_BYTES_MAX {
                    let detail =
                        format_args!("a notification has at most {} bytes", limits::NOTIFICATION_BYTES_MAX);
                    return Err(PortError::permanent("topic", detail));
                }
                if message.delay.is_zero() {
                    Ok(())
                } else {
                    Err(PortError::permanent("topic", "a topic has no delays"))
                }
            })
            .collect();
        let (places, messages): (Vec<usize>, Vec<NewMessage>) =
            messages.into_iter().enumerate().filter(|(at, _)| answers[*at].is_ok()).unzip();
        for queue in &self.subscriptions {
            for (at, sent) in places.iter().zip(queue.send(messages.clone()).await) {
                if sent.is_err() {
                    answers[*at] = sent;
                }
            }
        }
        answers
    }
}
