//! The relay: turns committed events into messages. It knows no domain: an event's type tells its destinations.

use crate::{
    dead_letter::{DeadLetter, Identity, UNREADABLE_RECORD},
    event::Envelope,
    failure::Failure,
    limits::QUEUE_DELAY_MAX,
    metrics::{self, Meter},
    model::{Destination, Model},
    planted::planted,
    port::{
        Attributes, Bus, BusEntry, Message, NewMessage, PortError, Ports, Receipt, StreamRecord, Unreadable,
        Write, is_sendable,
    },
    timestamp::Timestamp,
    trace::trace_id,
};
use futures_util::future::join_all;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// What the relay reads of an event.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    notbefore: Option<Timestamp>,
}

/// How long a queue is asked to hold back a message that is not to be handled before `not_before`: the first hop where
/// that is longer than the queue's maximum (900 s on SQS).
pub(crate) fn first_hop(not_before: Option<Timestamp>, now: Timestamp) -> Duration {
    not_before.map_or(Duration::ZERO, |at| at.since(now).min(QUEUE_DELAY_MAX))
}

/// Where events go, each type looked up once.
struct Routes<'a> {
    model: &'a Model,
    known: BTreeMap<String, Vec<Destination<'a>>>,
}

impl<'a> Routes<'a> {
    fn new(model: &'a Model) -> Self {
        Self { model, known: BTreeMap::new() }
    }

    /// The destinations of an event, none where nobody consumes it, with what was read of it.
    fn of<'e>(&mut self, event: &'e str) -> serde_json::Result<(&[Destination<'a>], Head<'e>)> {
        let head: Head<'_> = serde_json::from_str(event)?;
        if !self.known.contains_key(head.event_type.as_ref()) {
            self.known.insert(head.event_type.to_string(), self.model.destinations(&head.event_type));
        }
        let destinations = self.known.get(head.event_type.as_ref()).map(Vec::as_slice).unwrap_or_default();
        Ok((destinations, head))
    }
}

/// Sends the events of `records` on to their queues, topics and event buses. What a step takes from the stream of a table
/// itself is sent to its queue where `hands_on` says so of the table. Returns how many of the records, from the first on,
/// were sent whole: what comes behind them has to be read again, so that each entity's order is kept.
///
/// # Errors
/// The first [`Failure`], with the number of records that went before it.
pub(crate) async fn forward(
    model: &Model,
    ports: &Ports,
    records: &[StreamRecord],
    meter: &Meter,
    hands_on: impl Fn(&str) -> bool,
) -> Result<(), (usize, Failure)> {
    let now = ports.clock.now();
    let mut by_destination: BTreeMap<Destination<'_>, Vec<Sending<'_>>> = BTreeMap::new();
    let mut routes = Routes::new(model);
    let mut unreadable = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let outbox = match &record.outbox {
            Ok(outbox) => outbox.as_slice(),
            Err(outbox) => {
                unreadable.push((at, outbox.why.clone(), outbox.text.as_str()));
                continue;
            }
        };
        for event in outbox.iter().map(|event| event.get()) {
            let (destinations, head) = match routes.of(event) {
                Ok(read) => read,
                Err(error) => {
                    unreadable.push((at, Unreadable::new(format_args!("an event: {error}")), event));
                    continue;
                }
            };
            if destinations.is_empty() {
                // Its consumer was taken out of the definition while it was on its way.
                meter.add(metrics::PASSED_OVER, 1.0);
                let (key, version, event_type) = (&record.key, record.version, &head.event_type);
                tracing::error!(%key, version, %event_type, "an event that nobody consumes is passed over");
            }
            for destination in destinations {
                let delay = match destination {
                    Destination::Stream { table, .. } if !hands_on(table) => continue,
                    Destination::Queue(_) | Destination::Stream { .. } => first_hop(head.notbefore, now),
                    Destination::Topic(_) | Destination::Bus(_) => Duration::ZERO,
                };
                let event = renamed(sendable(event), now);
                by_destination.entry(*destination).or_default().push(Sending { at, event, delay });
            }
        }
    }
    let reaches = |to: &Destination<'_>| !matches!(to, Destination::Stream { table, .. } if !hands_on(table));
    let mut first_failed = pass_over_all(model, ports, records, &unreadable, reaches, meter).await;
    let mut refused: Vec<(Destination<'_>, &Sending<'_>, Failure)> = Vec::new();
    // All at once: a store takes them with one flush.
    let sends = by_destination
        .iter()
        .map(|(to, sending)| send(model, ports, *to, sending.iter().map(Sending::message).collect()));
    let sent = believed(join_all(sends).await);
    for ((destination, sending), sent) in by_destination.iter().zip(sent) {
        for (sending, sent) in sending.iter().zip(sent) {
            let Err(error) = sent else {
                meter.add(metrics::RELAYED, 1.0);
                continue;
            };
            let failure = Failure::from(error);
            if failure.is_permanent() {
                refused.push((*destination, sending, failure));
            } else if first_failed.as_ref().is_none_or(|(first, _)| sending.at < *first) {
                first_failed = Some((sending.at, failure));
            }
        }
    }
    give_up_all(model, ports, refused, now, first_failed).await
}

/// Sends the events of writes that are not applied yet, as a mistake of a pipeline would have it.
pub(crate) async fn send_before_commit(model: &Model, ports: &Ports, writes: &[Result<Write, Failure>]) {
    let events = writes.iter().flatten().flat_map(|write| &write.outbox);
    for event in events.map(|event| event.get()) {
        let mut routes = Routes::new(model);
        let Ok((destinations, _)) = routes.of(event) else { continue };
        for destination in destinations {
            let message = NewMessage { body: event.to_owned(), ..NewMessage::default() };
            send(model, ports, *destination, vec![message]).await;
        }
    }
}

/// An event with its id and its data, as a mistake of a relay would have them.
fn renamed(event: Cow<'_, str>, now: Timestamp) -> Cow<'_, str> {
    if planted("event_told_anew") {
        return event.replacen("\"data\":{", &format!("\"data\":{{\"sent\":{},", now.as_millis()), 1).into();
    }
    if !planted("event_id_of_each_sending") {
        return event;
    }
    event.replacen("\"id\":\"", &format!("\"id\":\"{}-", now.as_millis()), 1).into()
}

/// The answers of destinations, as mistakes of a relay would have them.
fn believed(mut sent: Vec<Vec<Result<(), PortError>>>) -> Vec<Vec<Result<(), PortError>>> {
    if planted("relay_skips_on_error") {
        sent.iter_mut().for_each(|answers| answers.fill(Ok(())));
    }
    if planted("unconfirmed_entry_counted_as_sent") {
        let some = sent.iter_mut().filter(|answers| answers.iter().any(Result::is_ok));
        some.for_each(|answers| answers.fill(Ok(())));
    }
    sent
}

/// Gives up what was refused for good before the first record that failed. What stands behind that one comes again with it: it is
/// given up then, and not each time.
async fn give_up_all(
    model: &Model,
    ports: &Ports,
    mut refused: Vec<(Destination<'_>, &Sending<'_>, Failure)>,
    now: Timestamp,
    mut first_failed: Option<(usize, Failure)>,
) -> Result<(), (usize, Failure)> {
    refused.sort_by_key(|(_, sending, _)| sending.at);
    for (destination, sending, failure) in refused {
        if first_failed.as_ref().is_none_or(|(first, _)| sending.at < *first)
            && !give_up(model, ports, destination, &sending.event, &failure, now).await
        {
            first_failed = Some((sending.at, failure));
        }
    }
    first_failed.map_or(Ok(()), Err)
}

/// An event on its way to one destination.
struct Sending<'a> {
    /// The place of its record.
    at: usize,
    event: Cow<'a, str>,
    delay: Duration,
}

/// The event as every queue, topic and bus takes it. SQS and SNS refuse U+FFFE and U+FFFF; in JSON these can only stand inside
/// a string, where an escape says the same. Other characters that they refuse JSON has as escapes already.
fn sendable(event: &str) -> Cow<'_, str> {
    if is_sendable(event) {
        return event.into();
    }
    event.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff").into()
}

impl Sending<'_> {
    fn message(&self) -> NewMessage {
        NewMessage { body: self.event.clone().into_owned(), delay: self.delay, ..NewMessage::default() }
    }
}

/// Sends events to one destination; answers in their order.
pub(crate) async fn send(
    model: &Model,
    ports: &Ports,
    destination: Destination<'_>,
    messages: Vec<NewMessage>,
) -> Vec<Result<(), PortError>> {
    let count = messages.len();
    let none = |error: PortError| vec![Err(error); count];
    match destination {
        Destination::Queue(name) | Destination::Stream { queue: name, .. } => match ports.queue(name) {
            Ok(queue) => queue.send(messages).await,
            Err(error) => none(error),
        },
        Destination::Topic(name) => match ports.topic(name) {
            Ok(topic) => topic.publish(messages).await,
            Err(error) => none(error),
        },
        Destination::Bus(name) => match ports.bus(name) {
            Ok(bus) => publish(&model.name, bus.as_ref(), messages).await,
            Err(error) => none(error),
        },
    }
}

/// Publishes events to a bus; answers in their order.
async fn publish(source: &str, bus: &dyn Bus, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
    let mut answers = Vec::with_capacity(messages.len());
    let (mut places, mut entries) = (Vec::new(), Vec::new());
    for (at, message) in messages.into_iter().enumerate() {
        answers.push(BusEntry::of_event(source, message.body).map(|entry| {
            places.push(at);
            entries.push(entry);
        }));
    }
    for (at, published) in places.into_iter().zip(bus.publish(entries).await) {
        answers[at] = published;
    }
    answers
}

/// Passes over what can't be read, each by the place of its record; answers the first that could not be told of.
async fn pass_over_all(
    model: &Model,
    ports: &Ports,
    records: &[StreamRecord],
    unreadable: &[(usize, Unreadable, &str)],
    reaches: impl Fn(&Destination<'_>) -> bool,
    meter: &Meter,
) -> Option<(usize, Failure)> {
    for (at, why, text) in unreadable {
        if let Err(error) = pass_over(model, ports, &records[*at], why, text, &reaches, meter).await {
            return Some((*at, error.into()));
        }
    }
    None
}

/// What can't be read of a commit's events can't be sent anywhere. It goes to a dead-letter queue as it is, under the key of its
/// entity, and holds nothing up, be it of the same entity: no queue promises an order. Stopping here would stop every flow
/// behind it for ever.
async fn pass_over(
    model: &Model,
    ports: &Ports,
    record: &StreamRecord,
    why: &Unreadable,
    text: &str,
    sends: impl Fn(&Destination<'_>) -> bool,
    meter: &Meter,
) -> Result<(), PortError> {
    let (key, version, now) = (&record.key, record.version, ports.clock.now());
    let kind = key.split_once('/').map_or("", |(kind, _)| kind);
    let queue = model.unreadable_to(kind, sends);
    if let Some(queue) = queue {
        let message = Message {
            id: String::new(),
            receipt: Receipt(String::new()),
            body: text.to_owned(),
            unreadable: Some(why.clone()),
            attributes: Attributes::new(),
            receive_count: 0,
            sent_at: now,
        };
        let failure =
            Failure::permanent(UNREADABLE_RECORD, format_args!("{key} at version {version}: {why}"));
        let identity = Identity { correlation_id: None, subject: Some(key) };
        let source = model.redrive_target(queue).map_or("", |source| source.name());
        let letter = DeadLetter::message(&message, &failure, "relay", source, identity, now);
        for sent in ports.queue(queue)?.send(vec![letter]).await {
            sent?;
        }
    }
    meter.add(metrics::PASSED_OVER, 1.0);
    let queue = queue.unwrap_or_default();
    tracing::error!(reason = UNREADABLE_RECORD, %key, version, %why, queue, "an unreadable record of the stream is passed over");
    Ok(())
}

/// An event that its destination will never take (too large for a topic, say) is dead-lettered where its consumers' dead
/// letters go, and where its outlets say, so that it neither is lost nor stops what comes behind it. True: it is there.
async fn give_up(
    model: &Model,
    ports: &Ports,
    destination: Destination<'_>,
    event: &str,
    failure: &Failure,
    now: Timestamp,
) -> bool {
    let message = Message {
        id: String::new(),
        receipt: Receipt(String::new()),
        body: event.to_owned(),
        unreadable: None,
        attributes: Attributes::new(),
        receive_count: 0,
        sent_at: now,
    };
    let envelope = Envelope::parse(event).ok();
    let identity = Identity {
        correlation_id: envelope.as_ref().and_then(|envelope| envelope.correlationid.as_deref()),
        subject: envelope.as_ref().map(|envelope| envelope.subject.as_str()),
    };
    let dead_letter_queues = model.refused_to(destination);
    // Nowhere to go: it stays where it is, and is tried again.
    let mut all = !dead_letter_queues.is_empty();
    for queue in dead_letter_queues {
        // Where a redrive would send it.
        let source = model.redrive_target(queue).map_or(destination.name(), Destination::name);
        let letter = DeadLetter::message(&message, failure, "relay", source, identity, now);
        let sent = match ports.queue(queue) {
            Ok(queue) => queue.send(vec![letter]).await.into_iter().all(|sent| sent.is_ok()),
            Err(_) => false,
        };
        let correlation_id = identity.correlation_id.unwrap_or_default();
        let trace = envelope.as_ref().and_then(|envelope| trace_id(envelope.traceparent.as_deref()?));
        tracing::error!(queue, correlation_id, trace_id = trace.unwrap_or_default(), %failure, dead_lettered = sent, "an event was refused for good");
        all &= sent;
    }
    all
}
