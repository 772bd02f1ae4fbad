//! Scenarios of the queue.

use super::{
    Violation, scenarios,
    stage::{Call, Stage, filled, holds, same, same_ids, together},
};
use crate::{
    limits::{MESSAGE_BYTES_MAX, QUEUE_DELAY_MAX, QUEUE_VISIBILITY_MAX},
    port::{Attributes, Damage, Depth, Message, NewMessage, PortError, Queue, Receipt, Received},
    timestamp::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A queue without a redrive policy.
pub(super) const QUEUE: &str = "work";
/// Another one, for the scenario that counts its messages.
pub(super) const COUNTED: &str = "counted";
/// A queue whose messages go to [`DEAD_LETTERS`] after [`RECEIVES_MAX`] receives.
pub(super) const REDRIVEN: &str = "redriven";
/// The dead-letter queue of [`REDRIVEN`].
pub(super) const DEAD_LETTERS: &str = "redriven-dlq";
/// A queue that keeps its messages for [`RETENTION`].
pub(super) const FORGETFUL: &str = "forgetful";
/// Receives before a message is dead-lettered.
pub(super) const RECEIVES_MAX: u32 = 3;
/// The shortest retention of SQS.
pub(super) const RETENTION: Duration = Duration::from_secs(60);
/// The queues' own visibility timeout.
pub(super) const VISIBILITY: Duration = Duration::from_secs(6);

const NO_WAIT: Duration = Duration::ZERO;
/// More looks than it takes to delete what earlier scenarios leave when they fail.
const LOOKS_MAX: usize = 1_000;
/// A visibility timeout that outlasts its scenario.
const LONG: Duration = Duration::from_secs(300);

scenarios!("queue":
    a_message_arrives_as_it_was_sent,
    a_thousand_messages_arrive_once,
    calls_with_nothing_do_nothing,
    a_delayed_message_is_hidden_until_it_is_due,
    a_delay_over_the_limit_is_refused_alone,
    a_message_over_the_limit_is_refused_alone,
    a_message_that_sqs_refuses_is_refused_alone,
    an_attribute_that_can_not_be_sent_never_stops_its_message,
    a_visibility_timeout_over_the_limit_is_refused,
    a_message_not_deleted_is_delivered_again,
    a_void_receipt_is_passed_over,
    extending_to_zero_shows_a_message_at_once,
    extending_hides_a_message_longer,
    a_deleted_message_never_comes_back,
    a_message_that_can_not_be_read_fails_alone needs damaged_messages,
    a_message_received_too_often_is_dead_lettered,
    a_message_past_its_retention_vanishes needs retention_within,
    depth_counts_visible_in_flight_and_delayed needs exact_depth,
    concurrent_receivers_never_hold_a_message_together,
    a_waiting_receive_is_woken_by_a_send,
    a_waiting_receive_is_woken_by_an_extension_to_zero,
    a_waiting_receive_answers_once_a_message_is_due,
    a_waiting_receive_ends_after_its_wait,
    arrivals_are_seen_without_receiving needs arrived,
    named_messages_are_received_and_no_others needs arrived,
    a_named_message_received_too_often_is_dead_lettered needs arrived,
    what_is_sent_in_place_of_a_message_takes_its_place_once needs moves,
);

/// A queue in the hands of one scenario. The bodies of its messages begin with the scenario's tag; others are left
/// from an earlier scenario that failed, and are deleted when met.
pub(super) struct Line<'a> {
    stage: &'a Stage<'a>,
    pub(super) queue: Arc<dyn Queue>,
    /// The id of each message that was met, by its body: another one of that body is a copy.
    met: Mutex<BTreeMap<String, String>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(stage: &'a Stage<'a>, name: &str) -> Result<Self, Violation> {
        Ok(Self { stage, queue: Arc::clone(stage.ports.queue(name)?), met: Mutex::default() })
    }

    /// A message of the scenario.
    pub(super) fn message(&self, text: &str) -> NewMessage {
        NewMessage { body: format!("{}/{text}", self.stage.tag), ..NewMessage::default() }
    }

    async fn send(&self, messages: Vec<NewMessage>) -> Result<(), Violation> {
        let count = messages.len();
        let answers = self.queue.send(messages).await;
        same("answers of a send", &count, &answers.len())?;
        answers.into_iter().try_for_each(|answer| answer.map_err(Violation::from))
    }

    /// Sends one message and receives it.
    async fn sent_and_received(&self, text: &str, visibility: Duration) -> Result<Message, Violation> {
        let message = self.message(text);
        self.send(vec![message.clone()]).await?;
        let received = self.receive_one("a message that was sent", Some(visibility)).await?;
        same("the body of a message", &message.body, &received.body)?;
        Ok(received)
    }

    /// Up to 10 messages of this scenario that are visible now.
    pub(super) async fn look(&self, visibility: Option<Duration>) -> Result<Vec<Message>, Violation> {
        for _ in 0..LOOKS_MAX {
            let received = self.queue.receive(10, NO_WAIT, visibility).await?;
            holds("a receive answers at most what was asked for", received.len() <= 10, received.len())?;
            let (own, strange): (Vec<Message>, Vec<Message>) =
                received.into_iter().partition(|message| message.body.contains(&self.stage.tag));
            let count = own.len();
            let own = self.without_copies(own).await?;
            self.delete(&strange).await?;
            if !own.is_empty() || (strange.is_empty() && count == 0) {
                return Ok(own);
            }
        }
        Err(Violation::differs("messages of earlier scenarios, deleted when met", "an end", "more and more"))
    }

    /// These messages without copies, which are deleted. Where a message comes once, there are none.
    async fn without_copies(&self, messages: Vec<Message>) -> Result<Vec<Message>, Violation> {
        if self.stage.claims.once {
            return Ok(messages);
        }
        let is_first = |message: &Message| {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            *met.entry(message.body.clone()).or_insert_with(|| message.id.clone()) == message.id
        };
        let (messages, copies): (Vec<Message>, Vec<Message>) = messages.into_iter().partition(is_first);
        self.delete(&copies).await?;
        Ok(messages)
    }

    /// Receives until there are `count` messages, or nothing has come for as long as the adapter may be late.
    pub(super) async fn receive(
        &self,
        count: usize,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, Violation> {
        let mut received = Vec::new();
        let mut patience = self.stage.patience();
        while received.len() < count {
            let more = self.look(visibility).await?;
            if !more.is_empty() {
                received.extend(more);
                patience = self.stage.patience();
            } else if !patience.wait().await {
                break;
            }
        }
        Ok(received)
    }

    async fn receive_one(&self, what: &str, visibility: Option<Duration>) -> Result<Message, Violation> {
        let mut received = self.receive(1, visibility).await?;
        match received.pop() {
            Some(message) if received.is_empty() => Ok(message),
            found => Err(Violation::differs(
                what,
                "one message",
                format_args!("{} more than {found:?}", received.len()),
            )),
        }
    }

    /// Asserts that nothing of this scenario is visible now.
    async fn shows_nothing(&self, what: &str) -> Result<(), Violation> {
        let found = self.look(Some(LONG)).await?;
        same_ids(what, Vec::new(), bodies(&found))
    }

    pub(super) async fn delete(&self, messages: &[Message]) -> Result<(), Violation> {
        let receipts: Vec<Receipt> = messages.iter().map(|message| message.receipt.clone()).collect();
        Ok(self.queue.delete(&receipts).await?)
    }

    async fn extend(&self, message: &Message, visibility: Duration) -> Result<(), Violation> {
        Ok(self.queue.extend(&[(message.receipt.clone(), visibility)]).await?)
    }
}

fn attributes<const N: usize>(attributes: [(&str, &str); N]) -> Attributes {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.body.clone()).collect()
}

/// Asserts that an answer is a permanent error.
pub(super) fn refused<T: std::fmt::Debug>(
    what: &str,
    answer: &Result<T, PortError>,
) -> Result<(), Violation> {
    match answer {
        Err(error) if !error.is_transient() => Ok(()),
        found => Err(Violation::differs(what, "a permanent error", found)),
    }
}

async fn a_message_arrives_as_it_was_sent(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let messages = vec![
        line.message("plain"),
        line.message("{\"quotes\":\"\\\"'`\",\"unicode\":\"é e\u{301} 日本 😀 \u{202e}\"}\r\n\t"),
        NewMessage {
            attributes: attributes([
                ("reason", "it's \"quoted\" & <tagged>"),
                ("detail", "é 😀\nline"),
                ("n-1_x.y", "1"),
            ]),
            ..line.message("with attributes")
        },
    ];
    let before = stage.now();
    line.send(messages.clone()).await?;
    let received = line.receive(messages.len(), Some(LONG)).await?;
    let describe = |body: &str, attributes: &Attributes| format!("{body:?} {attributes:?}");
    same_ids(
        "messages with their attributes",
        messages.iter().map(|message| describe(&message.body, &message.attributes)),
        received.iter().map(|message| describe(&message.body, &message.attributes)),
    )?;
    for message in &received {
        stage.received("the count of a first receive", 1, message.receive_count)?;
        // The cloud's clock and ours may differ a little.
        let slack = stage.claims.lateness;
        let timely = message.sent_at + slack >= before && message.sent_at <= stage.now() + slack;
        holds("a message knows when it was sent", timely, (before, message.sent_at))?;
    }
    let ids: BTreeSet<&String> = received.iter().map(|message| &message.id).collect();
    same("different ids of different messages", &received.len(), &ids.len())?;
    line.shows_nothing("messages received, their visibility timeout running").await?;
    line.delete(&received).await
}

async fn a_thousand_messages_arrive_once(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let messages: Vec<NewMessage> = (0..1_000).map(|at| line.message(&format!("{at:04}"))).collect();
    let sent: Vec<String> = messages.iter().map(|message| message.body.clone()).collect();
    for some in messages.chunks(250) {
        line.send(some.to_vec()).await?;
    }
    let received = line.receive(1_000, Some(LONG)).await?;
    same_ids("a thousand messages", sent, bodies(&received))?;
    line.shows_nothing("a queue of which all is received").await?;
    line.delete(&received).await
}

async fn calls_with_nothing_do_nothing(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    line.send(Vec::new()).await?;
    line.queue.delete(&[]).await?;
    Ok(line.queue.extend(&[]).await?)
}

async fn a_delayed_message_is_hidden_until_it_is_due(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let delay = Duration::from_secs(5);
    let before = stage.now();
    line.send(vec![NewMessage { delay, ..line.message("delayed") }, line.message("not delayed")]).await?;
    let now = line.receive_one("a message without a delay beside one with a delay", Some(LONG)).await?;
    same("the message without a delay", &line.message("not delayed").body, &now.body)?;
    while stage.now().since(before) < Duration::from_secs(4) {
        line.shows_nothing("a delayed message before it is due").await?;
        stage.pass(Duration::from_millis(500)).await;
    }
    let elapsed = stage.now().since(before);
    stage.pass(delay.saturating_sub(elapsed)).await;
    let due = line.receive_one("a delayed message once it is due", Some(LONG)).await?;
    same("the delayed message", &line.message("delayed").body, &due.body)?;
    stage.received("the receive count of a delayed message", 1, due.receive_count)?;
    line.delete(&[now, due]).await
}

async fn a_delay_over_the_limit_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let over = NewMessage { delay: QUEUE_DELAY_MAX + Duration::from_secs(1), ..line.message("over") };
    let answers = line.queue.send(vec![line.message("one"), over, line.message("other")]).await;
    same("answers of a send", &3, &answers.len())?;
    refused("a delay of 901 s", &answers[1])?;
    same("the messages beside it", &(&Ok(()), &Ok(())), &(&answers[0], &answers[2]))?;
    let received = line.receive(2, Some(LONG)).await?;
    let expected = vec![line.message("one").body, line.message("other").body];
    same_ids("messages beside a refused one", expected, bodies(&received))?;
    line.shows_nothing("a queue that refused a message").await?;
    line.delete(&received).await?;
    // The longest delay is taken: by a queue that forgets the message before anybody has to delete it.
    let forgetful = Line::new(stage, FORGETFUL)?;
    forgetful.send(vec![NewMessage { delay: QUEUE_DELAY_MAX, ..line.message("longest") }]).await?;
    forgetful.shows_nothing("a message with the longest delay").await
}

async fn a_message_over_the_limit_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let of_size =
        |bytes: usize| NewMessage { body: filled(line.message("").body, bytes), ..NewMessage::default() };
    let with_attribute = NewMessage {
        attributes: attributes([("name", "twenty bytes of text")]),
        ..of_size(MESSAGE_BYTES_MAX - 10)
    };
    let messages = vec![
        line.message("small"),
        of_size(MESSAGE_BYTES_MAX + 1),
        with_attribute,
        of_size(MESSAGE_BYTES_MAX),
    ];
    let expected = vec![messages[0].body.clone(), messages[3].body.clone()];
    let answers = line.queue.send(messages).await;
    same("answers of a send", &4, &answers.len())?;
    refused("a message of 1 MiB and a byte", &answers[1])?;
    refused("a message that is over 1 MiB with its attributes", &answers[2])?;
    same("a small message and one of 1 MiB", &(&Ok(()), &Ok(())), &(&answers[0], &answers[3]))?;
    let received = line.receive(2, Some(LONG)).await?;
    same_ids("messages beside refused ones", expected, bodies(&received))?;
    line.delete(&received).await
}

async fn a_message_that_sqs_refuses_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let attributes = |count: usize| {
        let attributes = (0..count).map(|number| (format!("name-{number}"), "text".to_owned())).collect();
        NewMessage { attributes, ..line.message("attributes") }
    };
    let named = |name: &str| NewMessage {
        attributes: [(name.to_owned(), "text".to_owned())].into(),
        ..line.message("")
    };
    // All that XML 1.0 has beside the letters, from one end of each of its ranges to the other.
    let odd = line.message("\t\n\r ~\u{7f}\u{85}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}");
    let (most, expected) = (attributes(10), vec![odd.body.clone(), attributes(10).body]);
    let mut refusals = vec![("an empty body", NewMessage::default()), ("11 attributes", attributes(11))];
    for character in ['\0', '\u{8}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
        refusals.push(("a character that XML 1.0 has not", line.message(&format!("a{character}z"))));
    }
    for name in ["", "a b", "aws.name", "Amazon.name", ".name", "na..me", &"n".repeat(257)] {
        refusals.push(("a name that no attribute can have", named(name)));
    }
    let (what, messages): (Vec<&str>, Vec<NewMessage>) = refusals.into_iter().unzip();
    let mut answers = line.queue.send([vec![odd], messages, vec![most]].concat()).await;
    same("answers of a send", &(what.len() + 2), &answers.len())?;
    same("the messages beside it", &(Some(Ok(())), Ok(())), &(answers.pop(), answers.remove(0)))?;
    what.iter().zip(&answers).try_for_each(|(what, answer)| refused(what, answer))?;
    let received = line.receive(2, Some(LONG)).await?;
    same_ids("messages beside refused ones", expected, bodies(&received))?;
    line.shows_nothing("a queue that refused messages").await?;
    line.delete(&received).await
}

async fn an_attribute_that_can_not_be_sent_never_stops_its_message(
    stage: &Stage<'_>,
) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let given = attributes([("empty", ""), ("odd", "a\0b\u{ffff}c")]);
    line.send(vec![NewMessage { attributes: given, ..line.message("attributes") }]).await?;
    let received = line.receive_one("a message with odd attributes", Some(LONG)).await?;
    same("its attributes", &attributes([("odd", "a\u{fffd}b\u{fffd}c")]), &received.attributes)?;
    line.delete(&[received]).await
}

async fn a_visibility_timeout_over_the_limit_is_refused(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let over = QUEUE_VISIBILITY_MAX + Duration::from_secs(1);
    refused(
        "a receive that hides messages for over 12 h",
        &line.queue.receive(1, NO_WAIT, Some(over)).await,
    )?;
    let message = line.sent_and_received("held", LONG).await?;
    let answer = line.queue.extend(&[(message.receipt.clone(), over)]).await;
    refused("an extension to over 12 h", &answer)?;
    line.shows_nothing("a message after a refused extension").await?;
    line.delete(&[message]).await
}

async fn a_message_not_deleted_is_delivered_again(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    // First by a timeout of the receive, then by the queue's own.
    for (name, visibility) in [("of a receive", Some(Duration::from_secs(4))), ("of the queue", None)] {
        let message = NewMessage { attributes: attributes([("name", "value")]), ..line.message(name) };
        line.send(vec![message.clone()]).await?;
        let before = stage.now();
        let first = line.receive_one("a message that was sent", visibility).await?;
        let timeout = visibility.unwrap_or(VISIBILITY);
        while stage.now().since(before) + Duration::from_secs(1) < timeout {
            line.shows_nothing("a message before its visibility timeout is over").await?;
            stage.pass(Duration::from_secs(1)).await;
        }
        let elapsed = stage.now().since(before);
        stage.pass(timeout.saturating_sub(elapsed)).await;
        let again = line.receive_one("a message whose visibility timeout is over", Some(LONG)).await?;
        stage.received("the receive count of a second receive", 2, again.receive_count)?;
        same(
            "the body and the attributes of a second receive",
            &(&message.body, &message.attributes),
            &(&again.body, &again.attributes),
        )?;
        same(
            "the id and the time of a second receive",
            &(&first.id, first.sent_at),
            &(&again.id, again.sent_at),
        )?;
        holds("a second receive has a receipt of its own", first.receipt != again.receipt, &again.receipt)?;
        line.delete(&[again]).await?;
    }
    Ok(())
}

async fn a_void_receipt_is_passed_over(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let old = line.sent_and_received("received twice", LONG).await?;
    line.extend(&old, NO_WAIT).await?;
    let timeout = Duration::from_secs(4);
    let before = stage.now();
    let current = line.receive_one("a message made visible", Some(timeout)).await?;
    line.delete(std::slice::from_ref(&old)).await?;
    line.extend(&old, NO_WAIT).await?;
    if stage.now().since(before) < timeout {
        line.shows_nothing("a message that a void receipt would make visible").await?;
    }
    line.extend(&old, LONG).await?;
    stage.pass(timeout).await;
    let again =
        line.receive_one("a message that a void receipt would delete, or hide longer", Some(LONG)).await?;
    stage.received("the receive count of a third receive", 3, again.receive_count)?;
    line.delete(&[old, current, again]).await
}

async fn extending_to_zero_shows_a_message_at_once(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let first = line.sent_and_received("shown", LONG).await?;
    line.extend(&first, NO_WAIT).await?;
    let again = line.receive_one("a message extended to zero", Some(LONG)).await?;
    stage.received("its receive count", 2, again.receive_count)?;
    line.delete(&[again]).await
}

async fn extending_hides_a_message_longer(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let first = line.sent_and_received("hidden", Duration::from_secs(3)).await?;
    stage.pass(Duration::from_secs(1)).await;
    let before = stage.now();
    line.extend(&first, Duration::from_secs(6)).await?;
    while stage.now().since(before) < Duration::from_secs(5) {
        line.shows_nothing("a message whose visibility timeout was extended").await?;
        stage.pass(Duration::from_secs(1)).await;
    }
    let elapsed = stage.now().since(before);
    stage.pass(Duration::from_secs(6).saturating_sub(elapsed)).await;
    let again =
        line.receive_one("a message once its extended visibility timeout is over", Some(LONG)).await?;
    stage.received("its receive count", 2, again.receive_count)?;
    line.delete(&[again]).await
}

async fn a_deleted_message_never_comes_back(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let message = line.sent_and_received("deleted", Duration::from_secs(2)).await?;
    line.delete(std::slice::from_ref(&message)).await?;
    line.delete(std::slice::from_ref(&message)).await?;
    line.extend(&message, NO_WAIT).await?;
    for _ in 0..4 {
        line.shows_nothing("a deleted message").await?;
        stage.pass(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn a_message_received_too_often_is_dead_lettered(stage: &Stage<'_>) -> Result<(), Violation> {
    let (line, dead_letters) = (Line::new(stage, REDRIVEN)?, Line::new(stage, DEAD_LETTERS)?);
    let message = NewMessage {
        attributes: attributes([("first-seen", "é 😀"), ("other", "\"'")]),
        ..line.message("poison 😀")
    };
    line.send(vec![message.clone()]).await?;
    for count in 1..=RECEIVES_MAX {
        let received = line.receive_one("a message received less often than allowed", Some(LONG)).await?;
        stage.received("its receive count", count, received.receive_count)?;
        dead_letters.shows_nothing("a dead-letter queue before the last receive").await?;
        line.extend(&received, NO_WAIT).await?;
    }
    line.shows_nothing("a message received as often as allowed").await?;
    let dead = dead_letters.receive_one("the dead-letter queue", Some(LONG)).await?;
    same(
        "the body and the attributes of a dead letter",
        &(&message.body, &message.attributes),
        &(&dead.body, &dead.attributes),
    )?;
    dead_letters.delete(&[dead]).await?;
    stage.pass(Duration::from_secs(1)).await;
    line.shows_nothing("the source queue of a dead letter").await
}

async fn a_message_past_its_retention_vanishes(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, FORGETFUL)?;
    line.send(vec![line.message("kept"), line.message("forgotten")]).await?;
    stage.pass(RETENTION / 2).await;
    let received = line.receive(2, Some(RETENTION / 6)).await?;
    let expected = vec![line.message("kept").body, line.message("forgotten").body];
    same_ids("messages within their retention", expected, bodies(&received))?;
    stage.pass(RETENTION / 2 + stage.claims.retention_within.unwrap_or_default()).await;
    let mut patience = stage.patience();
    while !line.look(Some(NO_WAIT)).await?.is_empty() && patience.wait().await {}
    line.shows_nothing("messages past their retention").await
}

async fn depth_counts_visible_in_flight_and_delayed(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, COUNTED)?;
    let depth = async |what: &str, visible, in_flight, delayed| {
        let depth = line.queue.depth().await?;
        same(what, &Depth { visible, in_flight, delayed }, &depth)?;
        same(&format!("{what}, in all"), &depth.total(), &line.queue.total().await?)
    };
    // What an earlier run left behind is deleted as it shows itself.
    for _ in 0..LONG.as_secs() {
        line.look(Some(NO_WAIT)).await?;
        if line.queue.depth().await?.total() == 0 {
            break;
        }
        stage.pass(Duration::from_secs(1)).await;
    }
    depth("the depth of an empty queue", 0, 0, 0).await?;
    let mut messages: Vec<NewMessage> = (0..7).map(|at| line.message(&format!("{at}"))).collect();
    messages[5].delay = Duration::from_secs(10);
    messages[6].delay = Duration::from_secs(10);
    line.send(messages).await?;
    depth("the depth after 5 messages and 2 delayed ones", 5, 0, 2).await?;
    let held = line.queue.receive(3, NO_WAIT, Some(Duration::from_secs(20))).await?;
    same("messages received", &3, &held.len())?;
    depth("the depth after 3 are received", 2, 3, 2).await?;
    line.delete(&held[..1]).await?;
    depth("the depth after one is deleted", 2, 2, 2).await?;
    line.extend(&held[1], NO_WAIT).await?;
    depth("the depth after one is given back", 3, 1, 2).await?;
    stage.pass(Duration::from_secs(11)).await;
    depth("the depth once the delayed ones are due", 5, 1, 0).await?;
    stage.pass(Duration::from_secs(10)).await;
    depth("the depth once the visibility timeout is over", 6, 0, 0).await?;
    let rest = line.receive(6, Some(LONG)).await?;
    depth("the depth after all are received", 0, 6, 0).await?;
    line.delete(&rest).await?;
    depth("the depth after all are deleted", 0, 0, 0).await
}

async fn concurrent_receivers_never_hold_a_message_together(stage: &Stage<'_>) -> Result<(), Violation> {
    const MESSAGES: usize = 200;
    let line = Line::new(stage, QUEUE)?;
    let messages: Vec<NewMessage> = (0..MESSAGES).map(|at| line.message(&format!("shared-{at}"))).collect();
    let sent: Vec<String> = messages.iter().map(|message| message.body.clone()).collect();
    line.send(messages).await?;
    let left = Arc::new(AtomicUsize::new(MESSAGES));
    let held: Arc<Mutex<Vec<Message>>> = Arc::default();
    let receiver = |_| {
        let (queue, left, held, tag) =
            (Arc::clone(&line.queue), Arc::clone(&left), Arc::clone(&held), stage.tag.clone());
        async move {
            // An empty answer may be luck where a queue is spread over machines, but not so often.
            let mut misses = 0;
            while left.load(Ordering::Relaxed) > 0 && misses < 50 {
                let mut received = queue.receive(7, NO_WAIT, Some(LONG)).await?;
                received.retain(|message| message.body.starts_with(&tag));
                misses = if received.is_empty() { misses + 1 } else { 0 };
                left.fetch_sub(received.len().min(left.load(Ordering::Relaxed)), Ordering::Relaxed);
                held.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
                tokio::task::yield_now().await;
            }
            Ok::<(), PortError>(())
        }
    };
    together((0..8).map(receiver)).await?.into_iter().collect::<Result<(), PortError>>()?;
    let held = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
    let mut held = line.without_copies(held).await?;
    held.extend(line.receive(MESSAGES.saturating_sub(held.len()), Some(LONG)).await?);
    same_ids("messages held by 8 receivers", sent, bodies(&held))?;
    line.delete(&held).await
}

/// A receive of one message that waits up to 20 s beside the scenario, and the time at which it answers.
fn waiting(line: &Line<'_>) -> Call<(Result<Vec<Message>, PortError>, Timestamp)> {
    let (queue, clock) = (Arc::clone(&line.queue), Arc::clone(&line.stage.ports.clock));
    Call::begin(async move { (queue.receive(1, Duration::from_secs(20), Some(LONG)).await, clock.now()) })
}

/// Deletes what is visible of earlier scenarios, so that a waiting receive has something to wait for.
async fn clear(line: &Line<'_>) -> Result<(), Violation> {
    if !line.stage.claims.once {
        // Copies may come late.
        line.stage.pass(line.stage.claims.lateness).await;
    }
    let left = line.look(Some(NO_WAIT)).await?;
    same_ids("messages before any was sent", Vec::new(), bodies(&left))
}

fn one_body(received: Result<Vec<Message>, PortError>) -> Result<(Vec<Message>, Vec<String>), Violation> {
    let received = received?;
    let bodies = bodies(&received);
    Ok((received, bodies))
}

async fn a_waiting_receive_is_woken_by_a_send(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    clear(&line).await?;
    let receiving = waiting(&line);
    stage.pass(Duration::from_millis(50)).await;
    line.send(vec![line.message("waking")]).await?;
    let (received, _) = stage.woken("a receive that waits while something is sent", receiving).await?;
    let (received, bodies) = one_body(received)?;
    same("what a waiting receive answers", &vec![line.message("waking").body], &bodies)?;
    line.delete(&received).await
}

async fn a_waiting_receive_is_woken_by_an_extension_to_zero(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    clear(&line).await?;
    let held = line.sent_and_received("given back", LONG).await?;
    let receiving = waiting(&line);
    stage.pass(Duration::from_millis(50)).await;
    line.extend(&held, NO_WAIT).await?;
    let (received, _) = stage.woken("a receive that waits while a message is given back", receiving).await?;
    let (received, bodies) = one_body(received)?;
    same("what a waiting receive answers", &vec![held.body], &bodies)?;
    line.delete(&received).await
}

async fn a_waiting_receive_answers_once_a_message_is_due(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    clear(&line).await?;
    let delay = Duration::from_secs(3);
    let sent = stage.now();
    line.send(vec![NewMessage { delay, ..line.message("due") }]).await?;
    let receiving = waiting(&line);
    stage.pass(Duration::from_millis(50)).await;
    let time = delay + stage.claims.lateness;
    let (received, at) =
        stage.answered("a receive that waits for a delayed message", receiving, time).await?;
    let (received, bodies) = one_body(received)?;
    same("what a waiting receive answers", &vec![line.message("due").body], &bodies)?;
    holds("a delayed message is not received before it is due", at.since(sent) >= delay, at.since(sent))?;
    line.delete(&received).await
}

async fn a_waiting_receive_ends_after_its_wait(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    clear(&line).await?;
    let begun = stage.now();
    let receiving = waiting(&line);
    let time = Duration::from_secs(21) + stage.claims.lateness;
    let (received, ended) = stage.answered("a receive that waits for nothing", receiving, time).await?;
    let (_, bodies) = one_body(received)?;
    same_ids("messages of a receive that waited for nothing", Vec::new(), bodies)?;
    let waited = ended.since(begun);
    holds("a receive waits as long as it was told to", waited >= Duration::from_secs(20), waited)
}

async fn arrivals_are_seen_without_receiving(stage: &Stage<'_>) -> Result<(), Violation> {
    let (line, dead_letters) = (Line::new(stage, REDRIVEN)?, Line::new(stage, DEAD_LETTERS)?);
    holds(
        "a queue that offers its arrivals says so",
        line.queue.shows_arrivals(),
        line.queue.shows_arrivals(),
    )?;
    let begin = last_arrival(&line).await?;
    let mut messages: Vec<NewMessage> = (0..6).map(|at| line.message(&format!("arriving-{at}"))).collect();
    messages[1].attributes = attributes([("name", "é \"value\"")]);
    messages[2].delay = LONG;
    line.send(messages[..4].to_vec()).await?;
    line.send(messages[4..].to_vec()).await?;

    let seen = arrivals(&line, begin, messages.len()).await?;
    let whole = |message: &Message| (message.body.clone(), message.attributes.clone());
    same(
        "arrivals in pages of 2, in their order",
        &messages.iter().map(|message| (message.body.clone(), message.attributes.clone())).collect(),
        &seen.iter().map(|(_, message)| whole(message)).collect::<Vec<_>>(),
    )?;
    holds(
        "places rise",
        seen.is_sorted_by(|one, next| one.0 < next.0),
        seen.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
    )?;
    for (_, message) in &seen {
        same(
            "the receipt and the receive count of an arrival",
            &("", 0),
            &(message.receipt.0.as_str(), message.receive_count),
        )?;
    }

    let received = line.receive(5, Some(LONG)).await?;
    same("messages visible after they were looked at", &5, &received.len())?;
    received
        .iter()
        .try_for_each(|message| stage.received("receives after a look", 1, message.receive_count))?;
    line.delete(&received[1..]).await?;
    let mut left = line.queue.arrived(begin, 100).await?;
    // A copy of what is deleted may be there, and will be a second arrival.
    left.retain(|(_, message)| stage.claims.once || seen.iter().any(|(_, known)| known.id == message.id));
    let left: Vec<String> = left.into_iter().map(|(_, message)| message.body).collect();
    same_ids("arrivals not deleted", [received[0].body.clone(), messages[2].body.clone()], left)?;

    // A dead letter arrives where it is moved to.
    let begin = last_arrival(&dead_letters).await?;
    let mut poison = received[0].clone();
    for _ in 1..RECEIVES_MAX {
        line.extend(&poison, NO_WAIT).await?;
        poison = line.receive_one("a message received less often than allowed", Some(LONG)).await?;
    }
    line.extend(&poison, NO_WAIT).await?;
    line.shows_nothing("a message received as often as allowed").await?;
    let arrived = dead_letters.queue.arrived(begin, 10).await?;
    same_ids(
        "arrivals of dead letters",
        [poison.body],
        arrived.into_iter().map(|(_, message)| message.body),
    )?;
    let dead = dead_letters.receive(1, Some(LONG)).await?;
    dead_letters.delete(&dead).await
}

async fn what_is_sent_in_place_of_a_message_takes_its_place_once(stage: &Stage<'_>) -> Result<(), Violation> {
    let (line, other) = (Line::new(stage, QUEUE)?, Line::new(stage, DEAD_LETTERS)?);
    let key = Some(format!("{}/key", stage.tag));
    let in_place_of = |received: &Message, key: &Option<String>| NewMessage {
        in_place_of: Some(Received { queue: QUEUE.to_owned(), receipt: received.receipt.clone() }),
        key: key.clone(),
        ..other.message("moved")
    };
    let first = line.sent_and_received("to be moved", LONG).await?;
    // Again, as after an answer that got lost: the receipt is void by then.
    for _ in 0..2 {
        other.send(vec![in_place_of(&first, &None)]).await?;
    }
    let moved = other.receive_one("what was sent twice in place of one message", Some(LONG)).await?;
    other.shows_nothing("what is sent again in place of a message that is gone").await?;
    other.delete(&[moved]).await?;
    let second = line.sent_and_received("to be moved too", LONG).await?;
    let third = line.sent_and_received("to be moved as well", LONG).await?;
    for received in [&second, &third] {
        other.send(vec![in_place_of(received, &key)]).await?;
    }
    for gone in [&first, &second, &third] {
        line.extend(gone, NO_WAIT).await?;
    }
    line.shows_nothing("messages in whose place another one was sent").await?;
    let moved = other.receive_one("two messages of one key", Some(LONG)).await?;
    other.shows_nothing("a second message of one key").await?;
    other.delete(&[moved]).await?;
    let lone = NewMessage { key: key.clone(), ..other.message("moved later") };
    other.send(vec![lone]).await?;
    let later = other.receive_one("a message of a key that is free again", Some(LONG)).await?;
    other.delete(&[later]).await
}

async fn named_messages_are_received_and_no_others(stage: &Stage<'_>) -> Result<(), Violation> {
    let line = Line::new(stage, QUEUE)?;
    let begin = last_arrival(&line).await?;
    let mut messages: Vec<NewMessage> = (0..6).map(|at| line.message(&format!("named-{at}"))).collect();
    messages[2].delay = LONG;
    line.send(messages.clone()).await?;
    let seen = arrivals(&line, begin, messages.len()).await?;
    let id_of = |at: usize| {
        let found = seen.iter().find(|(_, message)| message.body == messages[at].body);
        let id = found.map(|(_, message)| message.id.clone());
        id.ok_or_else(|| Violation::differs("arrivals", &messages[at].body, "none of that body"))
    };
    stage.pass(stage.claims.lateness).await;

    let held = Duration::from_secs(4);
    let before = stage.now();
    // Against their order; one that is delayed, and ones that no message has.
    let (strange, none) = ("no id".to_owned(), String::new());
    let wanted = [id_of(4)?, strange, id_of(2)?, "-1".to_owned(), id_of(1)?, none];
    let named = line.queue.receive_these(&wanted, Some(held)).await?;
    let named = line.without_copies(named).await?;
    let in_order = seen.iter().map(|(_, message)| message.body.clone());
    let in_order: Vec<String> =
        in_order.filter(|body| bodies_at(&messages, &[1, 4]).contains(body)).collect();
    same("named messages, in the order of their arrival", &in_order, &bodies(&named))?;
    named
        .iter()
        .try_for_each(|message| stage.received("receives of a named message", 1, message.receive_count))?;
    let again = line.queue.receive_these(&wanted, Some(LONG)).await?;
    if stage.now().since(before) < held {
        same_ids("named messages that are in flight", Vec::new(), bodies(&again))?;
    }
    stage.pass(held).await;
    let received = line.receive(5, Some(LONG)).await?;
    same_ids(
        "each message that is visible, once",
        bodies_at(&messages, &[0, 1, 3, 4, 5]),
        bodies(&received),
    )?;
    line.shows_nothing("messages after each of them was received").await?;
    // One that was received before it is named.
    let first = received.iter().find(|message| message.body == messages[0].body);
    let first = first.ok_or_else(|| Violation::differs("the first of them", "one", "none"))?;
    line.extend(first, NO_WAIT).await?;
    let shown = line.queue.receive_these(std::slice::from_ref(&first.id), Some(LONG)).await?;
    same("a named message that was shown again", &bodies_at(&messages, &[0]), &bodies(&shown))?;
    stage.received("its receives", 2, shown[0].receive_count)?;
    line.delete(&received).await?;
    line.delete(&shown).await
}

fn bodies_at(messages: &[NewMessage], places: &[usize]) -> Vec<String> {
    places.iter().map(|at| messages[*at].body.clone()).collect()
}

async fn a_named_message_received_too_often_is_dead_lettered(stage: &Stage<'_>) -> Result<(), Violation> {
    let (line, dead_letters) = (Line::new(stage, REDRIVEN)?, Line::new(stage, DEAD_LETTERS)?);
    let mut poison = line.sent_and_received("named poison", LONG).await?;
    for _ in 1..RECEIVES_MAX {
        line.extend(&poison, NO_WAIT).await?;
        let mut named = line.queue.receive_these(std::slice::from_ref(&poison.id), Some(LONG)).await?;
        poison = named.pop().ok_or_else(|| {
            Violation::differs("a named message received less often than allowed", "one", "none")
        })?;
    }
    line.extend(&poison, NO_WAIT).await?;
    let named = line.queue.receive_these(std::slice::from_ref(&poison.id), Some(LONG)).await?;
    same_ids("a named message received as often as allowed", Vec::new(), bodies(&named))?;
    let dead = dead_letters.receive(1, Some(LONG)).await?;
    same_ids("its dead letter", [poison.body], bodies(&dead))?;
    dead_letters.delete(&dead).await
}

/// What arrived behind the place `begin`, in pages of 2 and without copies.
async fn arrivals(line: &Line<'_>, begin: u64, count: usize) -> Result<Vec<(u64, Message)>, Violation> {
    let mut seen: Vec<(u64, Message)> = Vec::new();
    for _ in 0..2 * count {
        let after = seen.last().map_or(begin, |(place, _)| *place);
        let page = line.queue.arrived(after, 2).await?;
        holds("a page of arrivals is no longer than asked for", page.len() <= 2, page.len())?;
        seen.extend(page);
    }
    if !line.stage.claims.once {
        let mut met = BTreeSet::new();
        seen.retain(|(_, message)| met.insert(message.body.clone()));
    }
    Ok(seen)
}

/// The place behind all that has arrived.
async fn last_arrival(line: &Line<'_>) -> Result<u64, Violation> {
    let mut last = 0;
    loop {
        match line.queue.arrived(last, 1_000).await?.last() {
            Some((place, _)) if *place > last => last = *place,
            Some((place, _)) => {
                return Err(Violation::differs(
                    "a place of an arrival",
                    format_args!("behind {last}"),
                    place,
                ));
            }
            None => return Ok(last),
        }
    }
}

async fn a_message_that_can_not_be_read_fails_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let queue = stage.ports.queue(QUEUE)?;
    let bodies = ["one", "two", "three"].map(|name| format!("{}-{name}", stage.tag));
    let new = |body: &String| NewMessage { body: body.clone(), ..NewMessage::default() };
    for sent in queue.send(bodies.iter().map(new).collect()).await {
        sent?;
    }
    stage.damage(Damage::Message { queue: QUEUE, body: &bodies[1] }).await?;
    let is_own = |message: &Message| message.unreadable.is_some() || message.body.contains(&stage.tag);
    let (mut received, mut patience) = (Vec::new(), stage.patience());
    loop {
        received.extend(queue.receive(10, NO_WAIT, None).await?);
        received.retain(is_own);
        if received.len() >= 3 || !patience.wait().await {
            break;
        }
    }
    same("messages received", &3, &received.len())?;
    let whole = received.iter().filter(|message| message.unreadable.is_none());
    same_ids(
        "those that can be read",
        [&bodies[0], &bodies[2]].map(String::clone),
        whole.map(|message| message.body.clone()),
    )?;
    let receipts: Vec<Receipt> = received.into_iter().map(|message| message.receipt).collect();
    queue.delete(&receipts).await?;
    stage.pass(VISIBILITY).await;
    let left = queue.receive(10, NO_WAIT, None).await?;
    same("messages left", &0, &left.iter().filter(|message| is_own(message)).count())
}
