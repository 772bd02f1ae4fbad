//! Batches of SQS.

use super::{Deadlines, topic, within};
use crate::{
    alarm::Alert,
    event::Event as _,
    failure::Failure,
    pipeline::{Delivered, Pipeline},
    port::{Attributes, Message, Receipt, Unreadable},
    timestamp::Timestamp,
};
use aws_lambda_events::sqs::SqsBatchResponse;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// Works a batch and reports what is not to be deleted. All of it, where the function's time ran out.
pub(super) async fn deliver(
    pipeline: &Pipeline,
    step: &str,
    records: &[&RawValue],
    deadlines: Deadlines,
) -> Result<SqsBatchResponse, Failure> {
    let model = pipeline.choreography().model();
    let is_alerted = model.step(step).is_some_and(|step| step.event_type == Alert::TYPE);
    let now = pipeline.ports().clock.now();
    let mut messages = Vec::with_capacity(records.len());
    for record in records {
        let mut message = message(record, now)?;
        if is_alerted && message.unreadable.is_none() {
            message.body = topic::alert_event(&model.name, message.body, message.sent_at);
        }
        messages.push(message);
    }
    let working = pipeline.deliver_unacknowledged(step, &messages);
    let kept = match within(pipeline, deadlines, working).await {
        Some(delivered) => {
            let Delivered { kept, .. } = delivered?;
            kept
        }
        None => (0..messages.len()).collect(),
    };
    let mut response = SqsBatchResponse::default();
    response
        .set_failures(kept.into_iter().filter_map(|at| messages.get(at)).map(|message| message.id.clone()));
    Ok(response)
}

/// What is needed of a message. Each is read by itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    receipt_handle: Cow<'a, str>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    #[serde(default, borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message_attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribute {
    string_value: String,
}

/// What stands by its name in an object; what is of another type is left out.
fn named<'a, T: Deserialize<'a>>(object: Option<&'a RawValue>) -> BTreeMap<String, T> {
    let members: Option<BTreeMap<String, &RawValue>> =
        object.and_then(|object| serde_json::from_str(object.get()).ok());
    let read = |(name, value): (String, &'a RawValue)| Some((name, serde_json::from_str(value.get()).ok()?));
    members.unwrap_or_default().into_iter().filter_map(read).collect()
}

/// A message that has no id can't be reported failed alone, and SQS sends none such: the batch fails as a whole.
fn message(record: &RawValue, now: Timestamp) -> Result<Message, Failure> {
    let none =
        |error| Failure::permanent("unexpected_event", format_args!("not a message of a queue: {error}"));
    let record: Record<'_> = serde_json::from_str(record.get()).map_err(none)?;
    let known: BTreeMap<String, String> = named(record.attributes);
    let number = |name: &str| known.get(name).and_then(|value| value.parse::<i64>().ok());
    let receive_count = number("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok());
    let sent_at = number("SentTimestamp").map_or(now, Timestamp::from_millis);
    let attributes: BTreeMap<String, Attribute> = named(record.message_attributes);
    let attributes: Attributes =
        attributes.into_iter().map(|(name, attribute)| (name, attribute.string_value)).collect();
    let body = record.body.map(RawValue::get).unwrap_or_default();
    let (body, unreadable) = match serde_json::from_str(body) {
        Ok(text) => (text, None),
        Err(error) => (body.to_owned(), Some(Unreadable::new(format_args!("its body: {error}")))),
    };
    Ok(Message {
        id: record.message_id.into_owned(),
        receipt: Receipt(record.receipt_handle.into_owned()),
        body,
        unreadable,
        attributes,
        receive_count: receive_count.unwrap_or(1).max(1),
        sent_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        choreography::{Choreography, Consumer},
        commit::{Handled, Outcome},
        context::Context,
        event::{Envelope, Event},
        memory::{Memory, VirtualClock},
        port::SeededRandom,
    };
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use std::{borrow::Cow, sync::Arc, time::Duration};

    #[derive(Serialize, Deserialize)]
    struct Rung {
        bell: String,
    }

    impl Event for Rung {
        const TYPE: &'static str = "bell.rung";
        type Entity = ();

        fn subject(&self) -> Cow<'_, str> {
            Cow::Borrowed(&self.bell)
        }
    }

    async fn hear(event: Rung, _: Context<()>) -> Outcome<()> {
        assert_ne!(event.bell, "cracked", "a sound that nobody can bear");
        Ok(Handled::Done)
    }

    #[tokio::test]
    async fn a_handler_that_panics_fails_its_message_and_not_its_batch() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let choreography = Choreography::define("tower")
            .schedule("hourly", Duration::from_secs(3_600), |at| Rung { bell: at.to_string() })
            .on(Consumer::new("hear", hear))
            .build()
            .unwrap();
        let (clock, random) = (Arc::new(VirtualClock::new(now)), Arc::new(SeededRandom::new(1)));
        let ports = Memory::new(choreography.model(), clock, random).ports();
        let pipeline = Pipeline::new(choreography, ports);
        let records = ["great", "cracked", "small"].map(|bell| {
            let event = Envelope::first(bell.into(), "/test".into(), now, Rung { bell: bell.into() });
            json!({"messageId": bell, "receiptHandle": bell, "body": serde_json::to_string(&event).unwrap(),
                "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {}})
        });
        let records: Vec<Box<RawValue>> =
            records.iter().map(|record| RawValue::from_string(record.to_string()).unwrap()).collect();
        let records: Vec<&RawValue> = records.iter().map(|record| &**record).collect();
        let deadlines = Deadlines::of(now + Duration::from_secs(60), now);
        let response = deliver(&pipeline, "hear", &records, deadlines).await.unwrap();
        let failed: Vec<&str> =
            response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        assert_eq!(failed, ["cracked"]);
    }
}
