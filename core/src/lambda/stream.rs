//! Batches of a DynamoDB stream: the relay, and steps that read the stream themselves.

use super::{Deadlines, within};
use crate::{
    aws::table::stream_record,
    failure::Failure,
    layout::{KEY, OUTBOX},
    metrics,
    pipeline::Pipeline,
    port::{Attributes, Message, Receipt, StreamRecord},
    relay,
    timestamp::Timestamp,
};
use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use serde::Deserialize;
use serde_dynamo::{AttributeValue, Item};
use std::borrow::Cow;

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
    let (sequence_numbers, records): (Vec<String>, Vec<StreamRecord>) =
        all(pipeline, &event).into_iter().unzip();
    let meter = &pipeline.invocation().meter;
    let model = pipeline.choreography().model();
    let forwarding = relay::forward(model, pipeline.ports(), &records, meter, |_| false);
    let failed = match within(pipeline, deadlines, forwarding).await {
        Some(Ok(())) => None,
        Some(Err((at, failure))) => {
            tracing::warn!(%failure, "the relay could not send everything on; Lambda hands the rest in again");
            Some(at)
        }
        None => Some(0),
    };
    response(failed.and_then(|at| sequence_numbers.get(at)))
}

/// What a step reads of an event to tell whether it is its own.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
}

/// Works the events that the records carry for `step`, and reports the first record that has to come again, with all behind it.
pub(super) async fn deliver(
    pipeline: &Pipeline,
    step: &str,
    event: Event,
    deadlines: Deadlines,
) -> Result<DynamoDbEventResponse, Failure> {
    let consumed = pipeline.choreography().model().step(step).map(|step| step.event_type.as_str());
    let now = pipeline.ports().clock.now();
    let records = all(pipeline, &event);
    let (mut sequence_numbers, mut messages) = (Vec::new(), Vec::new());
    for (sequence_number, record) in &records {
        for event in record.outbox.iter().flatten().map(|event| event.get()) {
            // What is for others is not looked at further, whether it can be read or not.
            let is_own = serde_json::from_str::<Head<'_>>(event)
                .is_ok_and(|head| Some(head.event_type.as_ref()) == consumed);
            if is_own {
                sequence_numbers.push(sequence_number);
                messages.push(message(event, now));
            }
        }
    }
    let failed = match within(pipeline, deadlines, pipeline.deliver_in_order(step, &messages)).await {
        Some(failed) => failed?,
        None => Some(0),
    };
    Ok(response(failed.and_then(|at| sequence_numbers.get(at).copied())))
}

/// An event as a message. How often Lambda has handed it in it does not tell: each time is the first.
fn message(event: &str, now: Timestamp) -> Message {
    Message {
        id: String::new(),
        receipt: Receipt(String::new()),
        body: event.to_owned(),
        unreadable: None,
        attributes: Attributes::new(),
        receive_count: 1,
        sent_at: now,
    }
}

/// The answer that has Lambda hand in again all records from `failed` on.
fn response(failed: Option<&String>) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    if let Some(first) = failed {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(first.clone());
        response.batch_item_failures.push(failure);
    }
    response
}

/// What the records of a batch carry, with their sequence numbers; those that carry nothing are left out.
fn all(pipeline: &Pipeline, event: &Event) -> Vec<(String, StreamRecord)> {
    let mut records = Vec::with_capacity(event.records.len());
    for record in &event.records {
        let Some(sequence_number) = record.change.sequence_number.clone() else {
            unreadable(pipeline, record, "it has no sequence number");
            continue;
        };
        match read(record) {
            Some(read) => records.push((sequence_number, read)),
            None => {}
        }
    }
    records
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
fn read(record: &EventRecord) -> Option<StreamRecord> {
    let image = &record.change.new_image;
    if record.event_name == "REMOVE" || !image.contains_key(OUTBOX) {
        return None;
    }
    // Its place in the batch says it all: Lambda keeps the sequence.
    Some(stream_record(0, key_attribute(record), |name| text(image, name)))
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name) {
        Some(AttributeValue::S(text) | AttributeValue::N(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Function, Runtime};
    use super::*;
    use crate::{
        choreography::{Choreography, Consumer, Route, Table},
        commit::{Handled, Outcome},
        context::Context,
        dead_letter::DeadLetter,
        entity::Entity,
        event::{Envelope, Event as _},
        http::{Request, Response},
        memory::{Memory, VirtualClock},
        model::Uses,
        port::{Ports, SeededRandom},
        stored::Stored,
    };
    use serde::Serialize;
    use serde_json::{Value, json};
    use std::{sync::Arc, time::Duration};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[derive(Serialize, Deserialize)]
    struct Bell {
        name: String,
        rings: u32,
    }
    crate::entity!(Bell: "bell", by name);

    #[derive(Serialize, Deserialize)]
    struct Rung {
        bell: String,
    }
    crate::event!(Rung: "bell.rung", to Bell by bell);

    #[derive(Serialize, Deserialize)]
    struct Cast {
        bell: String,
    }
    crate::event!(Cast: "bell.cast", to Bell by bell);

    async fn hear(bell: Option<Stored<Bell>>, event: Rung, _: Context<()>) -> Outcome<()> {
        match event.bell.as_str() {
            "muffled" => return Err(Failure::transient("unheard", "a cloth is around it")),
            "cracked" => return Err(Failure::permanent("unbearable", "nobody can hear that")),
            _ => {}
        }
        let mut bell = bell.unwrap_or_else(|| Stored::new(Bell { name: event.bell, rings: 0 }));
        bell.rings += 1;
        Ok(bell.commit("rung").into())
    }

    async fn ring(_: Request, _: Context<(Rung, Cast)>) -> Result<Response, Failure> {
        Ok(Response::json(200, &()))
    }

    async fn look(_: Cast, _: Context<()>) -> Outcome<()> {
        Ok(Handled::Done)
    }

    fn tower() -> (Ports, Runtime) {
        let choreography = Choreography::define("tower")
            .table(Table::new("bells").holds::<Bell>())
            .route(Route::post("/bells", "ring", ring).uses(Uses::new().commits::<Bell>()))
            .on(Consumer::new("hear", hear).from_stream("bells"))
            .on(Consumer::new("look", look))
            .build()
            .unwrap();
        let (clock, random) = (Arc::new(VirtualClock::new(NOW)), Arc::new(SeededRandom::new(1)));
        let ports = Memory::new(choreography.model(), clock, random).ports();
        (ports.clone(), Runtime::new(Pipeline::new(choreography, ports), Function::Step("hear".into())))
    }

    fn rung(bell: &str) -> Value {
        let id = format!("{}/{bell}", Bell::KIND);
        serde_json::to_value(Envelope::first(id, "/test".into(), NOW, Rung { bell: bell.into() })).unwrap()
    }

    fn record(at: usize, outbox: &Value) -> Value {
        json!({"eventID": at.to_string(), "eventName": "MODIFY", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1", "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/bells/stream/1",
            "dynamodb": {"Keys": {"key": {"S": "bell/x"}}, "SequenceNumber": format!("{at}00"), "SizeBytes": 1,
                "StreamViewType": "NEW_IMAGE", "NewImage": {"key": {"S": "bell/x"}, "version": {"N": "1"},
                    "document": {"S": "{}"}, "relay": {"S": "1"}, "outbox": {"S": outbox.to_string()}}}})
    }

    async fn hand_in(runtime: &Runtime, outboxes: &[Value]) -> Vec<String> {
        let records: Vec<Value> =
            outboxes.iter().enumerate().map(|(at, outbox)| record(at, outbox)).collect();
        let payload = json!({ "Records": records }).to_string();
        let deadlines = Deadlines::of(NOW + Duration::from_secs(60), NOW);
        let answer = runtime.answer(&runtime.pipeline, &payload, deadlines).await.unwrap();
        let Answer::Stream(response) = answer else { panic!("not the answer to a stream: {answer:?}") };
        response.batch_item_failures.into_iter().filter_map(|failure| failure.item_identifier).collect()
    }

    async fn rings(ports: &Ports, bell: &str) -> u32 {
        let items = ports.table("bells").unwrap().get(&[format!("bell/{bell}")]).await.unwrap();
        let item = items.into_iter().flatten().next();
        item.map_or(0, |item| Stored::<Bell>::read(&item).unwrap().rings)
    }

    #[tokio::test]
    async fn a_step_works_its_own_events_of_a_stream_and_passes_over_the_others() {
        let (ports, runtime) = tower();
        let cast = Envelope::first("1".into(), "/test".into(), NOW, Cast { bell: "new".into() });
        let unreadable = json!([{ "type": 3 }]);
        let outboxes =
            [json!([rung("great"), cast]), json!([cast]), unreadable, json!([rung("small"), rung("great")])];
        assert!(hand_in(&runtime, &outboxes).await.is_empty());
        assert_eq!((rings(&ports, "great").await, rings(&ports, "small").await), (2, 1));
        assert_eq!(ports.queue("look").unwrap().depth().await.unwrap().total(), 0, "that is the relay's");
    }

    #[tokio::test]
    async fn a_stream_comes_again_from_the_first_event_that_failed_and_what_is_permanent_is_dead_lettered() {
        let (ports, runtime) = tower();
        let outboxes = ["great", "cracked", "muffled", "small", "cracked"].map(|bell| json!([rung(bell)]));
        assert_eq!(hand_in(&runtime, &outboxes).await, ["200"]);
        let dead = ports.queue("hear-dlq").unwrap().arrived(0, 10).await.unwrap();
        // The one behind the failed event comes again, and is dead-lettered then.
        let reasons: Vec<String> = dead.iter().map(|(_, letter)| DeadLetter::read(letter).reason).collect();
        assert_eq!(reasons, ["unbearable"]);
        assert!(dead[0].1.body.contains(Rung::TYPE), "the letter holds the event");
    }

    #[tokio::test]
    async fn an_event_of_a_stream_that_has_to_wait_waits_in_the_queue() {
        let (ports, runtime) = tower();
        let mut early = rung("great");
        early["notbefore"] = json!(NOW + Duration::from_secs(60));
        assert!(hand_in(&runtime, &[json!([early])]).await.is_empty());
        assert_eq!(rings(&ports, "great").await, 0);
        assert_eq!(ports.queue("hear").unwrap().depth().await.unwrap().delayed, 1);
    }
}
