//! Topic on SNS.
//!
//! A queue that is subscribed gets messages as they were published, with their attributes, if its subscription is set to
//! raw message delivery.

use super::{
    batch::{self, Answers, Batch, Refused, answers},
    fault::{Pace, fault},
};
use crate::{
    limits::NOTIFICATION_BYTES_MAX,
    port::{ATTRIBUTE_TYPE, NewMessage, PortError, Topic},
};
use async_trait::async_trait;
use aws_sdk_sns::{
    Client,
    error::BuildError,
    types::{BatchResultErrorEntry, MessageAttributeValue, PublishBatchRequestEntry},
};
use std::{collections::HashMap, time::Duration};

/// A topic.
pub(super) struct SnsTopic {
    client: Client,
    /// Its name in the model.
    name: String,
    arn: String,
    pace: Pace,
}

impl SnsTopic {
    pub(super) fn new(client: Client, name: String, arn: String, pace: Pace) -> Self {
        Self { client, name, arn, pace }
    }

    fn entry(&self, message: NewMessage) -> Result<PublishBatchRequestEntry, PortError> {
        let message = message.admitted(&self.name, NOTIFICATION_BYTES_MAX, Duration::ZERO)?;
        let NewMessage { body, attributes, delay: _, in_place_of: _, key: _ } = message;
        let permanent = |error: BuildError| PortError::permanent(&self.name, error);
        let attributes = attributes.into_iter().map(|(name, value)| {
            let value =
                MessageAttributeValue::builder().data_type(ATTRIBUTE_TYPE).string_value(value).build();
            Ok((name, value?))
        });
        let attributes: HashMap<_, _> = attributes.collect::<Result<_, BuildError>>().map_err(permanent)?;
        PublishBatchRequestEntry::builder()
            // Its place in the batch, which is not known yet.
            .id(String::new())
            .message(body)
            .set_message_attributes((!attributes.is_empty()).then_some(attributes))
            .build()
            .map_err(permanent)
    }
}

impl Batch for SnsTopic {
    type Entry = PublishBatchRequestEntry;

    async fn send(&self, entries: &[(usize, Self::Entry)]) -> Result<Answers, PortError> {
        let count = entries.len();
        let entries = entries.iter().enumerate().map(|(at, (_, entry))| {
            let mut entry = entry.clone();
            entry.id = at.to_string();
            entry
        });
        let request = self.client.publish_batch().topic_arn(&self.arn);
        let published = request.set_publish_batch_request_entries(Some(entries.collect())).send().await;
        let published = published.map_err(|error| fault(&self.name, &error))?;
        let (taken, failed) =
            (published.successful.unwrap_or_default(), published.failed.unwrap_or_default());
        let taken = taken.iter().filter_map(|entry| entry.id.as_deref());
        let refused =
            failed.iter().map(|BatchResultErrorEntry { id, code, message, sender_fault, .. }| Refused {
                id,
                code,
                message: message.as_deref(),
                is_ours: *sender_fault,
            });
        Ok(answers(&self.name, count, taken, refused))
    }
}

#[async_trait]
impl Topic for SnsTopic {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let entry = |message| self.entry(message);
        batch::send_messages(self, &self.pace, messages, NOTIFICATION_BYTES_MAX, entry).await
    }
}
