//! Queue on SQS.
//!
//! SQS counts in whole seconds: a delay, a visibility timeout or a wait with a fraction is rounded up. A batch whose
//! answer was lost may be sent again, and its messages are then there twice, as any message may be.

use super::{
    ATTEMPT_TIMEOUT, CALL_TIMEOUT, CONNECT_TIMEOUT,
    batch::{self, Answers, Batch, ENTRIES_MAX, Refused, answers},
    fault::{Pace, fault},
};
use crate::{
    limits::{MESSAGE_BYTES_MAX, QUEUE_DELAY_MAX, QUEUE_VISIBILITY_MAX},
    port::{ATTRIBUTE_TYPE, Attributes, Depth, Message, NewMessage, PortError, Queue, Receipt, Unreadable},
    timestamp::Timestamp,
};
use async_trait::async_trait;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::{
    Client,
    config::Config,
    error::BuildError,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        Message as SqsMessage, MessageAttributeValue, MessageSystemAttributeName as SystemName,
        QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use std::{collections::HashMap, time::Duration};

/// Longest wait of one receive (SQS); longer ones are several.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What SQS says of a receipt whose message is somebody else's by now, or gone; and of one whose message would be hidden for
/// more than 12 h in all, which then comes when its present timeout is over.
const VOID_RECEIPT: &[&str] = &["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"];

/// A queue.
pub(super) struct SqsQueue {
    client: Client,
    /// Its name in the model.
    name: String,
    url: String,
    pace: Pace,
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

impl SqsQueue {
    pub(super) fn new(client: Client, name: String, url: String, pace: Pace) -> Self {
        Self { client, name, url, pace }
    }

    fn permanent(&self, detail: impl std::fmt::Display) -> PortError {
        PortError::permanent(&self.name, detail)
    }

    fn check_visibility(&self, visibility: Duration) -> Result<(), PortError> {
        if visibility <= QUEUE_VISIBILITY_MAX {
            return Ok(());
        }
        let detail = "a visibility timeout of";
        Err(self
            .permanent(format_args!("{detail} {visibility:?} is over the limit of {QUEUE_VISIBILITY_MAX:?}")))
    }

    fn entry(&self, message: NewMessage) -> Result<SendMessageBatchRequestEntry, PortError> {
        let message = message.admitted(&self.name, MESSAGE_BYTES_MAX, QUEUE_DELAY_MAX)?;
        let NewMessage { body, attributes, delay, in_place_of: _, key: _ } = message;
        let attributes = attributes.into_iter().map(|(name, value)| {
            let value =
                MessageAttributeValue::builder().data_type(ATTRIBUTE_TYPE).string_value(value).build();
            Ok((name, value?))
        });
        let attributes: HashMap<_, _> =
            attributes.collect::<Result<_, BuildError>>().map_err(|error| self.permanent(error))?;
        SendMessageBatchRequestEntry::builder()
            // Its place in the batch, which is not known yet.
            .id(String::new())
            .message_body(body)
            .set_delay_seconds((!delay.is_zero()).then(|| seconds(delay)))
            .set_message_attributes((!attributes.is_empty()).then_some(attributes))
            .build()
            .map_err(|error| self.permanent(error))
    }

    /// What became of settlements: of a receipt that is void there is nothing left to settle.
    fn settled<'a>(
        &self,
        count: usize,
        taken: impl Iterator<Item = &'a str>,
        failed: &'a [BatchResultErrorEntry],
    ) -> Answers {
        let is_void = |entry: &&BatchResultErrorEntry| {
            let code = entry.code.rsplit(['#', '.']).next().unwrap_or(&entry.code);
            VOID_RECEIPT.contains(&code)
        };
        let (void, failed): (Vec<_>, Vec<_>) = failed.iter().partition(is_void);
        let taken = taken.chain(void.into_iter().map(|entry| entry.id.as_str()));
        answers(&self.name, count, taken, failed.into_iter().map(refused))
    }

    async fn receive_once(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let wait = seconds(wait.min(WAIT_MAX));
        let timeouts = TimeoutConfig::builder()
            // The same as everywhere, so that the connections are shared.
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT + Duration::from_secs(wait.unsigned_abs().into()))
            .operation_timeout(CALL_TIMEOUT + Duration::from_secs(wait.unsigned_abs().into()))
            .build();
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.min(ENTRIES_MAX)).unwrap_or(1))
            .wait_time_seconds(wait)
            .set_visibility_timeout(visibility.map(seconds))
            .message_system_attribute_names(SystemName::ApproximateReceiveCount)
            .message_system_attribute_names(SystemName::SentTimestamp)
            .message_attribute_names("All")
            .customize()
            .config_override(Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| fault(&self.name, &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().map(message).collect())
    }
}

fn refused(entry: &BatchResultErrorEntry) -> Refused<'_> {
    let BatchResultErrorEntry { id, code, message, sender_fault, .. } = entry;
    Refused { id, code, message: message.as_deref(), is_ours: *sender_fault }
}

/// A message as the port has it.
fn message(message: SqsMessage) -> Message {
    let system = message.attributes.unwrap_or_default();
    let number = |name: &SystemName| system.get(name).and_then(|value| value.parse::<i64>().ok());
    let receive_count = number(&SystemName::ApproximateReceiveCount).unwrap_or(1);
    let attributes: Attributes = message
        .message_attributes
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.string_value?)))
        .collect();
    Message {
        id: message.message_id.unwrap_or_default(),
        receipt: Receipt(message.receipt_handle.unwrap_or_default()),
        unreadable: message.body.is_none().then(|| Unreadable::new("it has no body")),
        body: message.body.unwrap_or_default(),
        attributes,
        receive_count: u32::try_from(receive_count).unwrap_or(1),
        sent_at: Timestamp::from_millis(number(&SystemName::SentTimestamp).unwrap_or(0)),
    }
}

struct Sends<'a>(&'a SqsQueue);

impl Batch for Sends<'_> {
    type Entry = SendMessageBatchRequestEntry;

    async fn send(&self, entries: &[(usize, Self::Entry)]) -> Result<Answers, PortError> {
        let count = entries.len();
        let entries = entries.iter().enumerate().map(|(at, (_, entry))| {
            let mut entry = entry.clone();
            entry.id = at.to_string();
            entry
        });
        let request = self.0.client.send_message_batch().queue_url(&self.0.url);
        let sent = request.set_entries(Some(entries.collect())).send().await;
        let sent = sent.map_err(|error| fault(&self.0.name, &error))?;
        let taken = sent.successful.iter().map(|entry| entry.id.as_str());
        Ok(answers(&self.0.name, count, taken, sent.failed.iter().map(refused)))
    }
}

struct Extensions<'a>(&'a SqsQueue);

impl Batch for Extensions<'_> {
    type Entry = (Receipt, i32);

    async fn send(&self, entries: &[(usize, Self::Entry)]) -> Result<Answers, PortError> {
        let count = entries.len();
        let entries = entries.iter().enumerate().map(|(at, (_, (receipt, timeout)))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(*timeout)
                .build()
        });
        let entries = entries.collect::<Result<_, BuildError>>().map_err(|error| self.0.permanent(error))?;
        let request = self.0.client.change_message_visibility_batch().queue_url(&self.0.url);
        let sent = request.set_entries(Some(entries)).send().await;
        let sent = sent.map_err(|error| fault(&self.0.name, &error))?;
        let taken = sent.successful.iter().map(|entry| entry.id.as_str());
        Ok(self.0.settled(count, taken, &sent.failed))
    }
}

struct Deletions<'a>(&'a SqsQueue);

impl Batch for Deletions<'_> {
    type Entry = Receipt;

    async fn send(&self, entries: &[(usize, Self::Entry)]) -> Result<Answers, PortError> {
        let count = entries.len();
        let entries = entries.iter().enumerate().map(|(at, (_, receipt))| {
            DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(&receipt.0).build()
        });
        let entries = entries.collect::<Result<_, BuildError>>().map_err(|error| self.0.permanent(error))?;
        let request = self.0.client.delete_message_batch().queue_url(&self.0.url);
        let sent = request.set_entries(Some(entries)).send().await;
        let sent = sent.map_err(|error| fault(&self.0.name, &error))?;
        let taken = sent.successful.iter().map(|entry| entry.id.as_str());
        Ok(self.0.settled(count, taken, &sent.failed))
    }
}

/// The first of what was given up, for a call that answers as a whole.
fn first_error(given_up: Vec<(usize, PortError)>) -> Result<(), PortError> {
    given_up.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let entry = |message| self.entry(message);
        batch::send_messages(&Sends(self), &self.pace, messages, MESSAGE_BYTES_MAX, entry).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        visibility.map_or(Ok(()), |visibility| self.check_visibility(visibility))?;
        if max == 0 {
            return Ok(Vec::new());
        }
        let until = self.pace.clock().now() + wait;
        let mut received = Vec::new();
        loop {
            let left = until.since(self.pace.clock().now());
            received.extend(self.receive_once(max, left, visibility).await?);
            if !received.is_empty() || until <= self.pace.clock().now() {
                break;
            }
        }
        // More is asked for as long as each answer is full. What came before an error is not lost with it: it comes
        // again after its visibility timeout, but there is no need to wait for that.
        let mut full = received.len() == ENTRIES_MAX;
        while full && received.len() < max {
            match self.receive_once(max - received.len(), Duration::ZERO, visibility).await {
                Ok(more) => {
                    full = more.len() == ENTRIES_MAX;
                    received.extend(more);
                }
                Err(_) => break,
            }
        }
        Ok(received)
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        receipts.iter().try_for_each(|(_, visibility)| self.check_visibility(*visibility))?;
        let entries =
            receipts.iter().map(|(receipt, visibility)| (0, 0, (receipt.clone(), seconds(*visibility))));
        first_error(batch::send(&Extensions(self), &self.pace, batch::batches(entries, usize::MAX)).await)
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        let entries = receipts.iter().map(|receipt| (0, 0, receipt.clone()));
        first_error(batch::send(&Deletions(self), &self.pace, batch::batches(entries, usize::MAX)).await)
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        const COUNTS: [QueueAttributeName; 3] = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let told = request.set_attribute_names(Some(COUNTS.to_vec())).send().await;
        let told = told.map_err(|error| fault(&self.name, &error))?.attributes.unwrap_or_default();
        let [visible, in_flight, delayed] =
            COUNTS.map(|name| told.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0));
        Ok(Depth { visible, in_flight, delayed })
    }
}
