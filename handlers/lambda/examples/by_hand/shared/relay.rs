//! The relay: a function on a table's stream, which sends the messages that were written with the items.

use super::{
    log,
    table::{Message, To},
    unavailable, variable,
};
use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use quadrille::Failure;
use serde_json::json;

/// The longest delay of a message of SQS, in seconds.
const DELAY_MAX: u64 = 900;

struct Relay {
    queues: aws_sdk_sqs::Client,
    topics: aws_sdk_sns::Client,
    buses: aws_sdk_eventbridge::Client,
}

/// Works the stream until Lambda ends the process.
pub async fn run() -> Result<(), Error> {
    let config = super::config().await;
    let relay = &Relay {
        queues: aws_sdk_sqs::Client::new(&config),
        topics: aws_sdk_sns::Client::new(&config),
        buses: aws_sdk_eventbridge::Client::new(&config),
    };
    let batch = move |event: LambdaEvent<Event>| async move {
        for record in event.payload.records {
            if let Err(failure) = relay.forward(&record).await {
                log(json!({ "level": "WARN", "record": record.event_id, "reason": failure.reason() }));
                return Ok(from(&record));
            }
        }
        Ok::<_, Error>(DynamoDbEventResponse::default())
    };
    lambda_runtime::run(service_fn(batch)).await
}

/// The answer that has Lambda hand in all records from this one on again.
pub fn from(record: &EventRecord) -> DynamoDbEventResponse {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier.clone_from(&record.change.sequence_number);
    let mut response = DynamoDbEventResponse::default();
    response.batch_item_failures.push(failure);
    response
}

/// The messages that an item was written with; none of a removal.
pub fn messages(record: &EventRecord) -> Result<Vec<Message>, Failure> {
    match record.change.new_image.get("outbox") {
        Some(serde_dynamo::AttributeValue::S(outbox)) => {
            serde_json::from_str(outbox).map_err(|error| Failure::permanent("unreadable_record", error))
        }
        _ => Ok(Vec::new()),
    }
}

impl Relay {
    async fn forward(&self, record: &EventRecord) -> Result<(), Failure> {
        for message in messages(record)? {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Failure> {
        let place = |name: &str| variable(name).map_err(|error| Failure::transient("unset", error));
        match message.to {
            To::Queue(name) => {
                let delay = i32::try_from(message.delay.as_secs().min(DELAY_MAX)).unwrap_or_default();
                let send = self.queues.send_message().queue_url(place(&name)?).delay_seconds(delay);
                let sent = send.message_body(message.body).send().await;
                sent.map_err(|error| unavailable("queue", &error))?;
            }
            To::Topic(name) => {
                let publish = self.topics.publish().topic_arn(place(&name)?).message(message.body);
                let sent = publish.send().await;
                sent.map_err(|error| unavailable("topic", &error))?;
            }
            To::Bus(name) => {
                let entry = PutEventsRequestEntry::builder().event_bus_name(place(&name)?).source("by-hand");
                let entry = entry.detail_type(message.name).detail(message.body).build();
                let put = self.buses.put_events().entries(entry).send().await;
                let put = put.map_err(|error| unavailable("bus", &error))?;
                if put.failed_entry_count > 0 {
                    return Err(Failure::transient("bus", "the entry was not taken"));
                }
            }
            To::Stream => {}
        }
        Ok(())
    }
}
