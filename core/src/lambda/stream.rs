//! Batches of a DynamoDB stream: the relay.

use super::{Deadlines, within};
use crate::{
    Pipeline,
    aws::table::stream_record,
    layout::{KEY, OUTBOX},
    metrics,
    port::{PortError, StreamRecord},
    relay,
};
use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use serde_dynamo::{AttributeValue, Item};

/// Sends on what the records carry, and reports the first one that was not sent on whole: from it on Lambda hands the
/// records in again, so that each entity's events keep their order. What was sent beyond it is sent twice then, which no
/// handler minds.
///
/// A record that can't be read is passed over, with an error in the log (`unreadable_record`) and the metric `PassedOver`.
/// It was not written by us, no attempt will ever read it, and reported failed it would hold up every flow behind it until
/// the mapping gives the batch up. Nothing is lost: the item keeps what it carries until its next commit.
pub(super) async fn forward(
    pipeline: &Pipeline,
    event: Event,
    deadlines: Deadlines,
) -> DynamoDbEventResponse {
    let mut sequence_numbers = Vec::with_capacity(event.records.len());
    let mut records = Vec::with_capacity(event.records.len());
    for record in event.records {
        let Some(sequence_number) = record.change.sequence_number.clone() else {
            unreadable(pipeline, &record, "it has no sequence number");
            continue;
        };
        match read(&record) {
            Ok(Some(read)) => {
                records.push(read);
                sequence_numbers.push(sequence_number);
            }
            Ok(None) => {}
            Err(why) => unreadable(pipeline, &record, &why.to_string()),
        }
    }
    let meter = &pipeline.invocation().meter;
    let model = pipeline.choreography().model();
    let forwarding = relay::forward(model, pipeline.ports(), &records, meter);
    let failed = match within(pipeline, deadlines, forwarding).await {
        Some(Ok(())) => None,
        Some(Err((at, failure))) => {
            tracing::warn!(%failure, "the relay could not send everything on; Lambda hands the rest in again");
            Some(at)
        }
        None => Some(0),
    };
    let mut response = DynamoDbEventResponse::default();
    if let Some(first) = failed.and_then(|at| sequence_numbers.get(at)) {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(first.clone());
        response.batch_item_failures.push(failure);
    }
    response
}

fn unreadable(pipeline: &Pipeline, record: &EventRecord, why: &str) {
    pipeline.invocation().meter.add(metrics::PASSED_OVER, 1.0);
    let sequence_number = record.change.sequence_number.as_deref().unwrap_or_default();
    let key = key_attribute(record);
    let key =
        text(&record.change.keys, key).or_else(|| text(&record.change.new_image, key)).unwrap_or_default();
    tracing::error!(
        reason = "unreadable_record",
        event_id = record.event_id,
        sequence_number,
        key,
        why,
        "a record of the stream can not be read and is passed over"
    );
}

/// The attribute of the partition key: a table has no other key, and its own name for it.
fn key_attribute(record: &EventRecord) -> &str {
    record.change.keys.keys().next().map_or(KEY, String::as_str)
}

/// What a record carries; `None` where there is nothing to send on: a removal, or a commit that emitted nothing.
fn read(record: &EventRecord) -> Result<Option<StreamRecord>, PortError> {
    let image = &record.change.new_image;
    if record.event_name == "REMOVE" || !image.contains_key(OUTBOX) {
        return Ok(None);
    }
    // Its place in the batch says it all: Lambda keeps the sequence.
    stream_record(0, key_attribute(record), |name| text(image, name)).map(Some)
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name) {
        Some(AttributeValue::S(text) | AttributeValue::N(text)) => Some(text),
        _ => None,
    }
}
