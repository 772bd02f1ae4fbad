//! Batches of a DynamoDB stream: the relay, and steps that read the stream themselves.

use super::{Deadlines, within};
use crate::{
    aws::table::stream_record,
    failure::Failure,
    layout::{DOCUMENT, KEY, OUTBOX, VERSION},
    pipeline::Pipeline,
    port::{Attributes, Message, Receipt, StreamRecord, Unreadable, UnreadableOutbox},
    relay,
    timestamp::Timestamp,
};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// Sends on what the records carry, and reports the first one that was not sent on whole: from it on Lambda hands the
/// records in again, so that each entity's events keep their order. What was sent beyond it is sent twice then, which no
/// handler minds.
///
/// A record that can't be read is dead-lettered as it is (`unreadable_record`) and counted by the metric `PassedOver`. No attempt
/// will ever read it, and reported failed it would hold up every flow behind it until the mapping gives the batch up.
pub(super) async fn forward(
    pipeline: &Pipeline,
    records: &[&RawValue],
    deadlines: Deadlines,
) -> DynamoDbEventResponse {
    let (sequence_numbers, records): (Vec<_>, Vec<StreamRecord>) = all(records).into_iter().unzip();
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
    response(failed.map(|at| from(&sequence_numbers, at)))
}

/// What a step reads of an event to tell whether it is its own.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
}

/// Works the events that the records carry for `step`, and reports the first record that has to come again, with all behind it.
/// A record that can't be read is dead-lettered by itself.
pub(super) async fn deliver(
    pipeline: &Pipeline,
    step: &str,
    records: &[&RawValue],
    deadlines: Deadlines,
) -> Result<DynamoDbEventResponse, Failure> {
    let consumed = pipeline.choreography().model().step(step).map(|step| step.event_type.as_str());
    let now = pipeline.ports().clock.now();
    let records = all(records);
    let (mut sequence_numbers, mut messages) = (Vec::new(), Vec::new());
    for (sequence_number, record) in &records {
        let outbox = match &record.outbox {
            Ok(outbox) => outbox.as_slice(),
            Err(UnreadableOutbox { why, text }) => {
                // Whose it was is not known: it may have been for this step.
                let why =
                    Unreadable::new(format_args!("{} at version {}: {why}", record.key, record.version));
                sequence_numbers.push(sequence_number.clone());
                messages.push(Message { unreadable: Some(why), ..message(text, now) });
                continue;
            }
        };
        for event in outbox.iter().map(|event| event.get()) {
            // What is for others is not looked at further, whether it can be read or not.
            let is_own = serde_json::from_str::<Head<'_>>(event)
                .is_ok_and(|head| Some(head.event_type.as_ref()) == consumed);
            if is_own {
                sequence_numbers.push(sequence_number.clone());
                messages.push(message(event, now));
            }
        }
    }
    let failed = match within(pipeline, deadlines, pipeline.deliver_in_order(step, &messages)).await {
        Some(failed) => failed?,
        None => Some(0).filter(|_| !messages.is_empty()),
    };
    Ok(response(failed.map(|at| from(&sequence_numbers, at))))
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

/// The sequence number from which on records are handed in again so that the one at `at` is among them. One that has no number
/// comes with the one before it; an empty number has Lambda hand in the whole batch.
fn from(sequence_numbers: &[Option<String>], at: usize) -> String {
    let before = sequence_numbers.iter().take(at + 1).rev();
    before.flatten().next().cloned().unwrap_or_default()
}

/// The answer that has Lambda hand in again all records from `failed` on.
fn response(failed: Option<String>) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    if let Some(first) = failed {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(first);
        response.batch_item_failures.push(failure);
    }
    response
}

/// What is needed of a record. Each is read by itself, and of its image no attribute but those that are asked for.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "eventName", default, borrow)]
    event_name: Option<&'a RawValue>,
    #[serde(borrow)]
    dynamodb: Change<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change<'a> {
    #[serde(default, borrow)]
    keys: Option<&'a RawValue>,
    #[serde(default, borrow)]
    new_image: Option<&'a RawValue>,
    #[serde(default, borrow)]
    sequence_number: Option<&'a RawValue>,
}

/// What the records of a batch carry, with their sequence numbers; those that carry nothing are left out.
fn all(records: &[&RawValue]) -> Vec<(Option<String>, StreamRecord)> {
    records.iter().filter_map(|record| read(record)).collect()
}

/// What a record carries; `None` where there is nothing to send on: a removal, or a commit that emitted nothing.
fn read(record: &RawValue) -> Option<(Option<String>, StreamRecord)> {
    let unreadable = |error: serde_json::Error| {
        let outbox = UnreadableOutbox { why: Unreadable::new(error), text: record.get().to_owned() };
        StreamRecord { sequence: 0, key: String::new(), version: 0, outbox: Err(outbox) }
    };
    let Record { event_name, dynamodb: Change { keys, new_image, sequence_number } } =
        match serde_json::from_str(record.get()) {
            Ok(read) => read,
            Err(error) => return Some((None, unreadable(error))),
        };
    let sequence_number = sequence_number.and_then(|number| serde_json::from_str(number.get()).ok());
    if event_name.is_some_and(|name| name.get() == "\"REMOVE\"") {
        return None;
    }
    let image = match new_image.map(|image| serde_json::from_str::<BTreeMap<String, &RawValue>>(image.get()))
    {
        Some(Ok(image)) => image,
        Some(Err(error)) => return Some((sequence_number, unreadable(error))),
        None => return None,
    };
    if !image.contains_key(OUTBOX) {
        return None;
    }
    // A table has no other key, and its own name for it.
    let keys: BTreeMap<String, &RawValue> =
        keys.and_then(|keys| serde_json::from_str(keys.get()).ok()).unwrap_or_default();
    let key = keys.keys().next().map_or(KEY, String::as_str);
    let texts: BTreeMap<&str, String> = [key, VERSION, DOCUMENT, OUTBOX]
        .into_iter()
        .filter_map(|name| Some((name, text(image.get(name).or_else(|| keys.get(name))?)?)))
        .collect();
    // Its place in the batch says it all: Lambda keeps the sequence.
    let mut read = stream_record(0, key, |name| texts.get(name).map(String::as_str));
    if let Err(outbox) = &mut read.outbox
        && outbox.text.is_empty()
    {
        outbox.text = record.get().to_owned();
    }
    Some((sequence_number, read))
}

/// The text of an attribute, of a number too.
fn text(attribute: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    enum Text<'a> {
        #[serde(borrow)]
        S(Cow<'a, str>),
        #[serde(borrow)]
        N(Cow<'a, str>),
    }
    match serde_json::from_str(attribute.get()) {
        Ok(Text::S(text) | Text::N(text)) => Some(text.into_owned()),
        Err(_) => None,
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
