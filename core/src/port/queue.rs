//! Queue: at-least-once delivery with visibility timeouts, delays, receive counts and a dead-letter queue.

use super::{PortError, Unreadable};
use crate::{dead_letter::DeadLetter, limits, timestamp::Timestamp};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

/// Messages looked at at once, where all of a queue are looked through.
const LOOKED_THROUGH: usize = 500;

/// Attributes of a message: text by name, at most 10.
pub type Attributes = BTreeMap<String, String>;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// Text, not empty, of the characters of XML 1.0; with the attributes at most 1 MiB.
    pub body: String,
    /// What can be read without opening the body.
    pub attributes: Attributes,
    /// How long it stays invisible, at most 900 s.
    pub delay: Duration,
    /// A received message that it stands for. An adapter that can deletes that one in the write that sends this one, and sends
    /// nothing where it is somebody else's by now. Others pass over it, and so do topics: the caller deletes it in any case.
    pub in_place_of: Option<Received>,
    /// What it is known by where a second one would say the same: an adapter that can drops it while the queue holds one of that
    /// key. Others pass over it, and so do topics.
    pub key: Option<String>,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The queue that it was received from.
    pub queue: String,
    /// The receive.
    pub receipt: Receipt,
}

/// The type that SQS and SNS give every attribute; its name counts as part of the message.
pub(crate) const ATTRIBUTE_TYPE: &str = "String";

impl NewMessage {
    /// Its size in bytes, as SQS and SNS count: the body, and name, type and value of each attribute.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().filter(|(_, value)| !value.is_empty());
        let attributes = attributes.map(|(name, value)| name.len() + ATTRIBUTE_TYPE.len() + value.len());
        self.body.len() + attributes.sum::<usize>()
    }

    /// The message as `port`, a queue or topic, takes it. What SQS and SNS would refuse every adapter refuses, by this. An
    /// attribute's empty value is left out, and a character of it that can't be sent is replaced, so that a dead letter's
    /// reason never stands in the way of the letter.
    ///
    /// # Errors
    /// A permanent [`PortError`]: over `bytes_max` bytes or `delay_max`, an empty body, one with a character that XML 1.0
    /// has not, more than 10 attributes, or a name that none can have.
    pub fn admitted(mut self, port: &str, bytes_max: usize, delay_max: Duration) -> Result<Self, PortError> {
        let refuse = |detail: fmt::Arguments<'_>| Err(PortError::permanent(port, detail));
        let (bytes, delay, names) = (self.bytes(), self.delay, self.attributes.keys());
        if bytes > bytes_max {
            return refuse(format_args!("a message of {bytes} bytes is over the limit of {bytes_max}"));
        }
        if delay > delay_max {
            return refuse(format_args!("a delay of {delay:?} is over the limit of {delay_max:?}"));
        }
        if self.body.is_empty() {
            return refuse(format_args!("a message with an empty body"));
        }
        if !is_sendable(&self.body)
            && let Some(other) = self.body.chars().find(|character| !is_taken(*character))
        {
            return refuse(format_args!("the body has the character {other:?}, which XML 1.0 has not"));
        }
        if names.len() > limits::MESSAGE_ATTRIBUTES_MAX {
            let (count, names) = (names.len(), names.map(String::as_str).collect::<Vec<_>>().join(", "));
            let max = limits::MESSAGE_ATTRIBUTES_MAX;
            return refuse(format_args!("{count} attributes ({names}); a message has at most {max}"));
        }
        if let Some(name) = self.attributes.keys().find(|name| !is_attribute_name(name)) {
            return refuse(format_args!("{name:?} can't be the name of an attribute"));
        }
        self.attributes.retain(|_, value| !value.is_empty());
        for value in self.attributes.values_mut().filter(|value| !is_sendable(value)) {
            *value = shown_sendable(value);
        }
        Ok(self)
    }
}

/// Whether every queue and topic takes each character of a text.
pub(crate) fn is_sendable(text: &str) -> bool {
    // Nearly every text is seen to be by its bytes alone, many at a time: U+FFFE and U+FFFF begin with 0xEF.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != 0xEF));
    is_plain || text.chars().all(is_taken)
}

/// A text for people to see, as every queue and topic takes it.
pub(crate) fn shown_sendable(text: &str) -> String {
    let shown = |character| if is_taken(character) { character } else { char::REPLACEMENT_CHARACTER };
    text.chars().map(shown).collect()
}

/// The characters of XML 1.0, which are those that SQS and SNS take.
fn is_taken(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Whether SQS takes a name of an attribute.
fn is_attribute_name(name: &str) -> bool {
    let shaped = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let lower = name.to_ascii_lowercase();
    shaped
        && (1..=limits::ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())
        && !(name.starts_with('.') || name.ends_with('.') || name.contains(".."))
        && !(lower.starts_with("aws.") || lower.starts_with("amazon."))
}

/// The handle of one receive of one message. A later receive of the message voids it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The queue's id of it. Changes with a redrive: no duplicate is to be recognised by it.
    pub id: String,
    /// What to extend or delete it with.
    pub receipt: Receipt,
    /// Text.
    pub body: String,
    /// Why body or attributes can't be read as they were sent; they are what can be read of them then.
    pub unreadable: Option<Unreadable>,
    /// Its attributes.
    pub attributes: Attributes,
    /// How often it has been received, this time included.
    pub receive_count: u32,
    /// When it was first sent. A message that the redrive policy moved keeps the time of its source queue, as on SQS.
    pub sent_at: Timestamp,
}

/// How many messages a queue holds. On SQS the figures are approximate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Depth {
    /// Ready to be received.
    pub visible: u64,
    /// Received, not yet deleted, their visibility timeout running.
    pub in_flight: u64,
    /// Sent with a delay that has not passed.
    pub delayed: u64,
}

impl Depth {
    /// All messages of the queue.
    pub fn total(self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// A queue.
///
/// A message is delivered at least once, in no promised order. Received, it is invisible for the visibility timeout;
/// not deleted by then, it is delivered again with a receive count one higher. A message received as often as the
/// queue's redrive policy allows goes to the dead-letter queue instead of being received once more.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends each message on its own; answers in their order. Acknowledged messages are durable. What is not
    /// [admitted](NewMessage::admitted) is a permanent error of that message.
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>>;

    /// Up to `max` visible messages; waits up to `wait` for the first. `visibility` is the timeout of this receive;
    /// `None` is the queue's own.
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError>;

    /// Sets the visibility timeout of received messages anew, from now on; zero makes them visible at once. A void
    /// receipt is passed over: its message is somebody else's now.
    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError>;

    /// Deletes received messages. A void receipt is passed over, as is a message already deleted.
    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError>;

    /// How many messages it holds.
    async fn depth(&self) -> Result<Depth, PortError>;

    /// How many messages it holds, whatever their state. Asked for again and again: an adapter that keeps the number answers without
    /// counting.
    async fn total(&self) -> Result<u64, PortError> {
        Ok(self.depth().await?.total())
    }

    /// How many messages are received and not settled. Asked for again and again, as [`total`](Self::total) is.
    async fn in_flight(&self) -> Result<u64, PortError> {
        Ok(self.depth().await?.in_flight)
    }

    /// Whether [`arrived`](Self::arrived) and [`receive_these`](Self::receive_these) are offered. Where they are not, a message can
    /// only be looked at by receiving it, and a receive that does not wait may answer nothing though there are messages (SQS asks a
    /// part of its servers).
    fn shows_arrivals(&self) -> bool {
        false
    }

    /// The messages that were sent to this queue behind the place `after` (0: from the beginning), at most `max`, in
    /// the order of their arrival and with their places. Looks without receiving: no visibility timeout starts, no
    /// receive is counted, and the receipt is empty. Messages since deleted do not appear; a message that the redrive
    /// policy moved here arrived when it was moved. For alarms on the adapters that have no alarm service of their
    /// own.
    ///
    /// # Errors
    /// Unless an adapter [offers](Self::shows_arrivals) it, a permanent [`PortError`].
    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        let _ = (after, max);
        Err(PortError::permanent("queue", "arrived: not offered by this adapter"))
    }

    /// Those of these messages that are visible, as [`receive`](Self::receive) would give them, in the order of their arrival and
    /// without a wait. For an operator who knows which messages he means: the others are not touched, however many there are.
    ///
    /// # Errors
    /// As of [`receive`](Self::receive); unless an adapter [offers](Self::shows_arrivals) it, a permanent [`PortError`].
    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let _ = (ids, visibility);
        Err(PortError::permanent("queue", "receive_these: not offered by this adapter"))
    }

    /// The latest `max` of those messages that are told to the entity of this id, the latest first; looked at as
    /// [`arrived`](Self::arrived) looks. Meant for dead-letter queues: an adapter may find them there without reading the others.
    ///
    /// # Errors
    /// As of [`arrived`](Self::arrived).
    async fn arrived_for(&self, subject: &str, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        let (mut latest, mut after) = (VecDeque::new(), 0);
        loop {
            let page = self.arrived(after, LOOKED_THROUGH).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let told = page.into_iter();
            latest.extend(
                told.filter(|(_, message)| DeadLetter::read(message).subject.as_deref() == Some(subject)),
            );
            latest.drain(..latest.len().saturating_sub(max));
        }
        Ok(latest.into_iter().rev().collect())
    }
}
