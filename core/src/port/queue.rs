//! Queue: at-least-once delivery with visibility timeouts, delays, receive counts and a dead-letter queue.

use super::PortError;
use crate::Timestamp;
use async_trait::async_trait;
use std::{collections::BTreeMap, time::Duration};

/// Attributes of a message: text by name. At most 10 on SQS.
pub type Attributes = BTreeMap<String, String>;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// Text; with the attributes at most 1 MiB.
    pub body: String,
    /// What can be read without opening the body.
    pub attributes: Attributes,
    /// How long it stays invisible, at most 900 s.
    pub delay: Duration,
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
    /// Sends each message on its own; answers in their order. Acknowledged messages are durable. A delay over the
    /// maximum or a body over the limit is a permanent error of that message.
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

    /// Whether [`arrived`](Self::arrived) is offered. Where it is not, a message can only be looked at by receiving it,
    /// and a receive that does not wait may answer nothing though there are messages (SQS asks a part of its servers).
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
}
