//! The relay: turns committed events into messages. It knows no domain: an event's type tells its destinations.

use crate::{
    Failure, Timestamp,
    choreography::{Destination, Model},
    limits::QUEUE_DELAY_MAX,
    port::{NewMessage, PortError, Ports, StreamRecord},
};
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

/// Sends the events of `records` on to their queues and topics. Returns how many of the records, from the first on,
/// were sent whole: what comes behind them has to be read again, so that each entity's order is kept.
///
/// # Errors
/// The first [`Failure`], with the number of records that went before it.
pub(crate) async fn forward(
    model: &Model,
    ports: &Ports,
    records: &[StreamRecord],
) -> Result<(), (usize, Failure)> {
    let now = ports.clock.now();
    let mut by_destination: BTreeMap<(bool, &str), (Vec<usize>, Vec<NewMessage>)> = BTreeMap::new();
    let mut routes: BTreeMap<String, Vec<Destination<'_>>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        for event in &record.outbox {
            let head: Head<'_> = match serde_json::from_str(event.get()) {
                Ok(head) => head,
                // A stream record comes from a commit of ours; one that can't be read can't be sent anywhere. Stopping
                // here for ever would stop every flow behind it.
                Err(error) => {
                    tracing::error!(key = %record.key, version = record.version, %error, "an unreadable event in the stream is passed over");
                    continue;
                }
            };
            if !routes.contains_key(head.event_type.as_ref()) {
                routes.insert(head.event_type.to_string(), model.destinations(&head.event_type));
            }
            for destination in routes.get(head.event_type.as_ref()).into_iter().flatten() {
                let (slot, delay) = match destination {
                    Destination::Queue(name) => ((false, *name), first_hop(head.notbefore, now)),
                    Destination::Topic(name) => ((true, *name), Duration::ZERO),
                };
                let (places, messages) = by_destination.entry(slot).or_default();
                places.push(at);
                messages.push(NewMessage {
                    body: event.get().to_owned(),
                    delay,
                    ..NewMessage::default()
                });
            }
        }
    }
    let mut first_failed: Option<(usize, Failure)> = None;
    for ((is_topic, name), (places, messages)) in by_destination {
        let count = messages.len();
        let sent = if is_topic {
            match ports.topic(name) {
                Ok(topic) => topic.publish(messages).await,
                Err(error) => vec![Err(error); count],
            }
        } else {
            match ports.queue(name) {
                Ok(queue) => queue.send(messages).await,
                Err(error) => vec![Err(error); count],
            }
        };
        for (at, error) in places
            .into_iter()
            .zip(sent)
            .filter_map(|(at, sent)| Some((at, sent.err()?)))
        {
            if first_failed.as_ref().is_none_or(|(first, _)| at < *first) {
                first_failed = Some((at, PortError::into(error)));
            }
        }
    }
    first_failed.map_or(Ok(()), Err)
}
