//! Dead letters: a message that could not be handled, with the reason beside it.

use crate::{
    failure::Failure,
    port::{Attributes, Message, NewMessage},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What stands beside a dead letter's body, in the message's attributes. A letter that the queue's own redrive policy
/// moved (its consumer died on every receive) has none of it but what was there before: its reason is
/// [`RECEIVES_EXHAUSTED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Machine name of the cause.
    pub reason: String,
    /// A sentence about it.
    pub detail: String,
    /// The handler that gave it up.
    pub handler: String,
    /// The queue it came from.
    pub source_queue: String,
    /// What its flow is known by.
    pub correlation_id: Option<String>,
    /// The entity it is told to.
    pub subject: Option<String>,
    /// Receives, the last included.
    pub attempts: u32,
    /// When it was first sent.
    pub first_seen: Timestamp,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// The reason of a dead letter that the queue's redrive policy moved: every receive ended without an answer.
pub const RECEIVES_EXHAUSTED: &str = "receives_exhausted";

const REASON: &str = "reason";
const DETAIL: &str = "detail";
const HANDLER: &str = "handler";
const SOURCE_QUEUE: &str = "source-queue";
const CORRELATION_ID: &str = "correlation-id";
const SUBJECT: &str = "subject";
const ATTEMPTS: &str = "attempts";
const FIRST_SEEN: &str = "first-seen";
const DEAD_AT: &str = "dead-at";

/// What a message that is given up belongs to, as its envelope says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity<'a> {
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
}

impl DeadLetter {
    /// The dead letter of `message`, which `handler` gives up.
    pub(crate) fn message(
        message: &Message,
        failure: &Failure,
        handler: &str,
        source_queue: &str,
        identity: Identity<'_>,
        now: Timestamp,
    ) -> NewMessage {
        let first_seen =
            message.attributes.get(FIRST_SEEN).cloned().unwrap_or_else(|| message.sent_at.to_string());
        let mut attributes = Attributes::from([
            (REASON.to_owned(), failure.reason().to_owned()),
            (DETAIL.to_owned(), failure.detail().to_owned()),
            (HANDLER.to_owned(), handler.to_owned()),
            (SOURCE_QUEUE.to_owned(), source_queue.to_owned()),
            (ATTEMPTS.to_owned(), message.receive_count.to_string()),
            (FIRST_SEEN.to_owned(), first_seen),
            (DEAD_AT.to_owned(), now.to_string()),
        ]);
        for (name, value) in [(CORRELATION_ID, identity.correlation_id), (SUBJECT, identity.subject)] {
            if let Some(value) = value {
                attributes.insert(name.to_owned(), crate::failure::excerpt(value, 300));
            }
        }
        NewMessage { body: message.body.clone(), attributes, delay: Duration::ZERO }
    }

    /// The message that a redrive sends back: the body, and when it was first seen.
    pub(crate) fn redriven(message: &Message) -> NewMessage {
        let kept = message.attributes.get(FIRST_SEEN).map(|seen| (FIRST_SEEN.to_owned(), seen.clone()));
        NewMessage {
            body: message.body.clone(),
            attributes: kept.into_iter().collect(),
            delay: Duration::ZERO,
        }
    }

    /// Reads what stands beside a message of a dead-letter queue.
    pub fn read(message: &Message) -> Self {
        let text = |name: &str| message.attributes.get(name).cloned();
        let time =
            |name: &str| text(name).and_then(|at| Timestamp::parse(&at).ok()).unwrap_or(message.sent_at);
        Self {
            reason: text(REASON).unwrap_or_else(|| RECEIVES_EXHAUSTED.to_owned()),
            detail: text(DETAIL).unwrap_or_default(),
            handler: text(HANDLER).unwrap_or_default(),
            source_queue: text(SOURCE_QUEUE).unwrap_or_default(),
            correlation_id: text(CORRELATION_ID),
            subject: text(SUBJECT).or_else(|| subject_of(&message.body)),
            attempts: text(ATTEMPTS).and_then(|count| count.parse().ok()).unwrap_or(message.receive_count),
            first_seen: time(FIRST_SEEN),
            dead_at: time(DEAD_AT),
        }
    }
}

fn subject_of(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        subject: String,
    }
    serde_json::from_str::<Head>(body).ok().map(|head| crate::failure::excerpt(&head.subject, 300))
}
