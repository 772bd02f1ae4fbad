//! Dead letters: a message that could not be handled, with the reason beside it.

use crate::{
    failure::{Failure, excerpt},
    ids::uuid,
    limits::MESSAGE_BYTES_MAX,
    planted::planted,
    port::{Attributes, Message, NewMessage, shown_sendable},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What stands beside a dead letter's body, in the message's attributes. A letter that the queue's own redrive policy
/// moved (its consumer died on every receive) has none of it but what was there before: its reason is
/// [`RECEIVES_EXHAUSTED`]. One that EventBridge could not deliver has EventBridge's own words: its reason is [`UNDELIVERED`].
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
    /// How it was sent back last, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven: Option<Redriven>,
}

/// How a dead letter was sent back, in one attribute of the message: it stays with the message, and with the letter that it may become
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How often, this time included.
    pub times: u32,
    /// When.
    pub at: Timestamp,
    /// Who did it, as that person says; at most 100 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why, in the words of that person; at most 300 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Redriven {
    pub(crate) fn new(times: u32, at: Timestamp, by: &str, why: &str) -> Self {
        Self { times, at, by: excerpt(by, 100), why: excerpt(why, 300) }
    }

    pub(crate) fn of(message: &Message) -> Option<Self> {
        serde_json::from_str(message.attributes.get(REDRIVEN)?).ok()
    }
}

/// The reason of a dead letter that the queue's redrive policy moved: every receive ended without an answer.
pub const RECEIVES_EXHAUSTED: &str = "receives_exhausted";

/// The reason of a dead letter that an event bus or a scheduler could not hand to its queue, after all its own retries.
pub const UNDELIVERED: &str = "undelivered";

/// What EventBridge puts beside a message that it dead-letters itself.
const ERROR_CODE: &str = "ERROR_CODE";
const ERROR_MESSAGE: &str = "ERROR_MESSAGE";
const RETRY_ATTEMPTS: &str = "RETRY_ATTEMPTS";

/// The reason of a message that can't be read as it was sent. What is left of it is no message: a redrive leaves the letter.
pub const UNREADABLE_MESSAGE: &str = "unreadable_message";

/// The reason of a dead letter that tells of a commit whose events can't be read, or of one of them. There is no message to send
/// again: a redrive leaves the letter.
pub const UNREADABLE_RECORD: &str = "unreadable_record";

/// Bytes of a damaged text that a letter holds at most.
const DAMAGED_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

const REASON: &str = "reason";
const DETAIL: &str = "detail";
const HANDLER: &str = "handler";
const SOURCE_QUEUE: &str = "source-queue";
const CORRELATION_ID: &str = "correlation-id";
const SUBJECT: &str = "subject";
const ATTEMPTS: &str = "attempts";
const FIRST_SEEN: &str = "first-seen";
const DEAD_AT: &str = "dead-at";
const REDRIVEN: &str = "redriven";

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
                attributes.insert(name.to_owned(), excerpt(value, 300));
            }
        }
        if let Some(redriven) = message.attributes.get(REDRIVEN) {
            attributes.insert(REDRIVEN.to_owned(), redriven.clone());
        }
        if planted("reason_dropped") {
            attributes.remove(REASON);
        }
        let damaged = message.unreadable.as_ref().map(|_| shown(&message.body));
        let body = damaged.unwrap_or_else(|| message.body.clone());
        // A message that comes twice, as each may, is given up twice.
        let key = Some(uuid(&[source_queue, "/", handler].concat(), &body));
        NewMessage { body, attributes, key, ..NewMessage::default() }
    }

    /// Whether what the letter holds is damaged, so that nobody is to work it.
    pub fn is_damaged(&self) -> bool {
        is_damage(&self.reason)
    }

    /// Why a message is not to be worked, if so: it can't be read, or a service moved a damaged letter back here.
    pub(crate) fn damage(message: &Message) -> Option<Failure> {
        if let Some(why) = &message.unreadable {
            return Some(Failure::permanent(UNREADABLE_MESSAGE, why));
        }
        let reason = message.attributes.get(REASON).filter(|reason| is_damage(reason))?;
        let detail = message.attributes.get(DETAIL).map(String::as_str).unwrap_or_default();
        Some(Failure::permanent(reason.clone(), detail))
    }

    /// The message that a redrive sends back: the body, and when it was first seen.
    pub(crate) fn redriven(message: &Message) -> NewMessage {
        let seen = message.attributes.get(FIRST_SEEN);
        let seen = seen.cloned().unwrap_or_else(|| message.sent_at.to_string());
        NewMessage {
            body: message.body.clone(),
            attributes: Attributes::from([(FIRST_SEEN.to_owned(), seen)]),
            ..NewMessage::default()
        }
    }

    /// The same, with how it is sent back.
    pub(crate) fn redriven_by(message: &Message, redriven: &Redriven) -> NewMessage {
        let mut again = Self::redriven(message);
        // Numbers, times and texts are always written.
        if let Ok(text) = serde_json::to_string(redriven) {
            again.attributes.insert(REDRIVEN.to_owned(), text);
        }
        again
    }

    /// Whether a message was a dead letter once, and is sent again: by a redrive, or by a service that moved it back.
    pub(crate) fn is_redriven(message: &Message) -> bool {
        message.attributes.contains_key(FIRST_SEEN)
    }

    /// What tells of a message that can't be read, where nobody gave it up: a queue moved it.
    #[cfg(feature = "local")]
    pub(crate) fn unreadable(why: &crate::port::Unreadable) -> Attributes {
        let (reason, detail) = (UNREADABLE_MESSAGE.to_owned(), why.to_string());
        Attributes::from([(REASON.to_owned(), reason), (DETAIL.to_owned(), detail)])
    }

    /// Reads what stands beside a message of a dead-letter queue. Where Lambda gave up records of a stream itself, it tells of
    /// them in the body, and has put none of them there.
    pub fn read(message: &Message) -> Self {
        if !message.attributes.contains_key(REASON)
            && message.unreadable.is_none()
            && let Ok(notice) = serde_json::from_str::<Notice<'_>>(&message.body)
        {
            return notice.letter(message);
        }
        let text = |name: &str| message.attributes.get(name).cloned();
        let time =
            |name: &str| text(name).and_then(|at| Timestamp::parse(&at).ok()).unwrap_or(message.sent_at);
        let error = text(ERROR_CODE).map(|code| match text(ERROR_MESSAGE) {
            Some(message) => format!("{code}: {message}"),
            None => code,
        });
        let (unsaid, why) = match (&message.unreadable, error) {
            (Some(why), _) => (UNREADABLE_MESSAGE, Some(why.to_string())),
            (None, Some(error)) => (UNDELIVERED, Some(error)),
            (None, None) => (RECEIVES_EXHAUSTED, None),
        };
        let attempts = text(ATTEMPTS).or_else(|| text(RETRY_ATTEMPTS));
        Self {
            // Whatever it was given up for, it is damaged now.
            reason: text(REASON)
                .filter(|_| message.unreadable.is_none())
                .unwrap_or_else(|| unsaid.to_owned()),
            detail: text(DETAIL).filter(|_| message.unreadable.is_none()).or(why).unwrap_or_default(),
            handler: text(HANDLER).unwrap_or_default(),
            source_queue: text(SOURCE_QUEUE).unwrap_or_default(),
            correlation_id: text(CORRELATION_ID),
            // The event tells it as it is; the attribute holds what a queue takes of it.
            subject: subject_of(&message.body).or_else(|| text(SUBJECT)),
            attempts: attempts.and_then(|count| count.parse().ok()).unwrap_or(message.receive_count),
            first_seen: time(FIRST_SEEN),
            dead_at: time(DEAD_AT),
            redriven: Redriven::of(message),
        }
    }
}

fn is_damage(reason: &str) -> bool {
    matches!(reason, UNREADABLE_MESSAGE | UNREADABLE_RECORD)
}

/// A damaged text as every queue takes it.
fn shown(text: &str) -> String {
    let shown = excerpt(text, DAMAGED_BYTES_MAX);
    if shown.is_empty() { "(nothing)".to_owned() } else { shown_sendable(&shown) }
}

/// What Lambda tells of records of a stream that it gave up.
#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(rename = "requestContext", borrow)]
    request: NoticeRequest<'a>,
    #[serde(rename = "DDBStreamBatchInfo", borrow)]
    batch: NoticeBatch<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NoticeRequest<'a> {
    function_arn: Cow<'a, str>,
    /// Why: `RetryAttemptsExhausted`.
    condition: Cow<'a, str>,
    #[serde(default)]
    approximate_invoke_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NoticeBatch<'a> {
    shard_id: Cow<'a, str>,
    start_sequence_number: Cow<'a, str>,
    end_sequence_number: Cow<'a, str>,
    batch_size: u64,
}

impl Notice<'_> {
    fn letter(&self, message: &Message) -> DeadLetter {
        let mut reason = String::new();
        for letter in self.request.condition.chars() {
            if letter.is_ascii_uppercase() && !reason.is_empty() {
                reason.push('_');
            }
            reason.push(letter.to_ascii_lowercase());
        }
        let NoticeBatch { shard_id, start_sequence_number, end_sequence_number, batch_size } = &self.batch;
        // The version of a function stands behind its name.
        let function = self.request.function_arn.split(':').nth(6).unwrap_or_default();
        let detail = format!(
            "Lambda gave up {batch_size} record(s) of the shard {shard_id}, {start_sequence_number} to {end_sequence_number}"
        );
        DeadLetter {
            reason: excerpt(&reason, 100),
            detail: excerpt(&detail, 300),
            handler: excerpt(function, 100),
            source_queue: String::new(),
            correlation_id: None,
            subject: None,
            attempts: self.request.approximate_invoke_count,
            first_seen: message.sent_at,
            dead_at: message.sent_at,
            redriven: Redriven::of(message),
        }
    }
}

/// The subject of an event, or of the one that EventBridge has put its own around.
fn subject_of(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        subject: String,
    }
    #[derive(Deserialize)]
    struct Whole {
        detail: Head,
    }
    let head = serde_json::from_str::<Head>(body).ok();
    let head = head.or_else(|| Some(serde_json::from_str::<Whole>(body).ok()?.detail));
    head.map(|head| head.subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Receipt;

    /// As the Developer Guide of Lambda has it ("Retain discarded batch records for a DynamoDB event source").
    const NOTICE: &str = r#"{
        "requestContext": {
            "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
            "functionArn": "arn:aws:lambda:us-east-2:123456789012:function:myfunction:$LATEST",
            "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0", "timestamp": "2019-11-14T00:13:49.717Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-00000001573689847184-864758bb", "startSequenceNumber": "800000000003126276362",
            "endSequenceNumber": "800000000003126276362", "batchSize": 1,
            "approximateArrivalOfFirstRecord": "2019-11-14T00:13:19Z",
            "approximateArrivalOfLastRecord": "2019-11-14T00:13:19Z",
            "streamArn": "arn:aws:dynamodb:us-east-2:123456789012:table/mytable/stream/2019-11-14T00:04:06.388"
        }
    }"#;

    fn message(body: &str, attributes: &[(&str, &str)]) -> Message {
        Message {
            id: "1".into(),
            body: body.into(),
            attributes: attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            sent_at: Timestamp::from_millis(1_000),
            receive_count: 4,
            receipt: Receipt("1".into()),
            unreadable: None,
        }
    }

    #[test]
    fn what_eventbridge_could_not_deliver_is_told_with_its_error() {
        let whole = r#"{"detail-type": "sent", "detail": {"subject": "parcel 1"}}"#;
        // The attributes of EventBridge's own dead letters, as its User Guide names them.
        let error = [
            ("RULE_ARN", "arn:aws:events:eu-west-1:123456789012:rule/town/sort"),
            ("TARGET_ARN", "arn:aws:sqs:eu-west-1:123456789012:sort"),
            ("ERROR_CODE", "NO_PERMISSIONS"),
            ("ERROR_MESSAGE", "the target may not be sent to"),
            ("RETRY_ATTEMPTS", "185"),
        ];
        let letter = DeadLetter::read(&message(whole, &error));
        assert_eq!((letter.reason.as_str(), letter.attempts), (UNDELIVERED, 185));
        assert_eq!(letter.detail, "NO_PERMISSIONS: the target may not be sent to");
        assert_eq!(letter.subject.as_deref(), Some("parcel 1"));

        let moved = DeadLetter::read(&message(r#"{"subject": "parcel 2"}"#, &[]));
        assert_eq!((moved.reason.as_str(), moved.attempts), (RECEIVES_EXHAUSTED, 4));
        assert_eq!(moved.subject.as_deref(), Some("parcel 2"));
    }

    #[test]
    fn what_lambda_tells_of_records_that_it_gave_up_has_its_reason() {
        let letter = DeadLetter::read(&message(NOTICE, &[]));
        assert_eq!(
            (letter.reason.as_str(), letter.attempts, letter.handler.as_str(), letter.subject),
            ("retry_attempts_exhausted", 4, "myfunction", None)
        );
        assert!(letter.detail.contains("gave up 1 record(s)"), "{}", letter.detail);
        assert!(letter.detail.contains("800000000003126276362"), "{}", letter.detail);
        assert_eq!(DeadLetter::read(&message("{}", &[])).reason, RECEIVES_EXHAUSTED);
        let given_up = message(NOTICE, &[(REASON, "malformed")]);
        assert_eq!(DeadLetter::read(&given_up).reason, "malformed");
    }
}
