//! Notifications of SNS, and the alarms of CloudWatch that come by them.

use super::{Deadlines, within};
use crate::{
    alarm::{Alert, AlertState},
    event::{Envelope, Event as _},
    failure::Failure,
    pipeline::{Pipeline, Verdict},
    port::{Attributes, Message, Receipt, Unreadable},
    timestamp::Timestamp,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Works the notifications of an event. A transient failure is one of the invocation, which Lambda then tries again
/// (twice, unless it is told otherwise) before it sends the event to the function's on-failure destination. A permanent one
/// is dead-lettered as a queue's message would be.
pub(super) async fn deliver(
    pipeline: &Pipeline,
    step: &str,
    records: &[&RawValue],
    deadlines: Deadlines,
) -> Result<(), Failure> {
    let model = pipeline.choreography().model();
    let is_alerted = model.step(step).is_some_and(|step| step.event_type == Alert::TYPE);
    let now = pipeline.ports().clock.now();
    let messages: Vec<Message> = records
        .iter()
        .map(|record| {
            let (sns, unreadable) = match serde_json::from_str::<Record<'_>>(record.get()) {
                Ok(record) => (record.sns, None),
                Err(error) => {
                    let message = Cow::Borrowed(record.get());
                    (Notification { message, ..Notification::default() }, Some(Unreadable::new(error)))
                }
            };
            let sent_at = sns.timestamp.and_then(|at| Timestamp::parse(&at).ok()).unwrap_or(now);
            let body = sns.message.into_owned();
            Message {
                id: sns.message_id.unwrap_or_default().into_owned(),
                receipt: Receipt(String::new()),
                body: if is_alerted && unreadable.is_none() {
                    alert_event(&model.name, body, sent_at)
                } else {
                    body
                },
                unreadable,
                attributes: Attributes::new(),
                receive_count: 1,
                sent_at,
            }
        })
        .collect();
    let late =
        || Failure::transient("timeout", "the function's time was over before the notification was told");
    let verdicts = within(pipeline, deadlines, pipeline.deliver_unreceived(step, &messages))
        .await
        .unwrap_or_else(|| Err(late()))?;
    let transient = verdicts.into_iter().find_map(|verdict| match verdict {
        Verdict::Retry(_, failure) => Some(failure),
        _ => None,
    });
    transient.map_or(Ok(()), Err)
}

/// What is needed of a notification. Each is read by itself.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "Sns", borrow)]
    sns: Notification<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default, borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    timestamp: Option<Cow<'a, str>>,
}

/// An alarm as CloudWatch publishes it. Everything else in it is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    alarm_name: String,
    #[serde(default)]
    alarm_description: Option<String>,
    new_state_value: String,
    #[serde(default)]
    new_state_reason: String,
    #[serde(default)]
    state_change_time: String,
}

/// A notification as SNS wraps it for a queue that did not ask for the raw message.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wrapped {
    #[serde(rename = "Type")]
    kind: String,
    message: String,
}

/// The event [`Alert`] that a notification tells: its own message where that is one, or what an alarm of CloudWatch says.
/// Anything else is left as it is, for the pipeline to call it malformed.
pub(super) fn alert_event(choreography: &str, body: String, sent_at: Timestamp) -> String {
    let wrapped = serde_json::from_str::<Wrapped>(&body).ok();
    let body =
        wrapped.filter(|wrapped| wrapped.kind == "Notification").map_or(body, |wrapped| wrapped.message);
    let Ok(alarm) = serde_json::from_str::<Alarm>(&body) else { return body };
    let (name, changed) = (&alarm.alarm_name, &alarm.state_change_time);
    let id = format!("alarm/{name}@{changed}.{}", alarm.new_state_value);
    let source = format!("/{choreography}/alarm");
    let alert = alert(choreography, &alarm, sent_at);
    serde_json::to_string(&Envelope::first(id, source, alert.at, alert)).unwrap_or(body)
}

fn alert(choreography: &str, alarm: &Alarm, sent_at: Timestamp) -> Alert {
    let state = match alarm.new_state_value.as_str() {
        "OK" => AlertState::Ok,
        // An alarm that lacks its data is not known to be well.
        _ => AlertState::Alarm,
    };
    let description = alarm.alarm_description.as_deref().filter(|text| !text.is_empty());
    let detail = match description {
        Some(description) => format!("{description} ({})", alarm.new_state_reason),
        None => alarm.new_state_reason.clone(),
    };
    Alert {
        choreography: choreography.to_owned(),
        queue: alarm.alarm_name.clone(),
        state,
        at: changed_at(&alarm.state_change_time).unwrap_or(sent_at),
        depth: 0,
        arrived: 0,
        reasons: Default::default(),
        subjects: Vec::new(),
        detail: Some(detail),
    }
}

/// CloudWatch writes the offset without a colon: `2015-06-03T17:43:27.123+0000`.
fn changed_at(text: &str) -> Option<Timestamp> {
    let utc = text.strip_suffix("+0000").map(|time| format!("{time}Z"));
    Timestamp::parse(utc.as_deref().unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SENT: Timestamp = Timestamp::from_millis(1_000);

    fn read(body: String) -> Alert {
        Envelope::parse(&body).unwrap().data_as::<Alert>().unwrap()
    }

    #[test]
    fn an_alarm_of_cloudwatch_becomes_an_alert() {
        let alarm = json!({"AlarmName": "dlq", "AlarmDescription": "Dead letters.", "NewStateValue": "ALARM",
            "NewStateReason": "Threshold crossed.", "StateChangeTime": "2015-06-03T17:43:27.123+0000"});
        let body = alert_event("shop", alarm.to_string(), SENT);
        let alert = read(body.clone());
        assert_eq!((alert.queue.as_str(), alert.state), ("dlq", AlertState::Alarm));
        assert_eq!(alert.at, Timestamp::parse("2015-06-03T17:43:27.123Z").unwrap());
        assert_eq!(alert.summary(), "ALARM shop: dlq: Dead letters. (Threshold crossed.)");
        let wrapped = json!({"Type": "Notification", "Message": alarm.to_string(), "TopicArn": "arn"});
        assert_eq!(alert_event("shop", wrapped.to_string(), SENT), body, "wrapped or raw, the same event");
        let ok = json!({"AlarmName": "dlq", "NewStateValue": "OK"});
        let ok = read(alert_event("shop", ok.to_string(), SENT));
        assert_eq!((ok.state, ok.at), (AlertState::Ok, SENT));
    }

    #[test]
    fn what_is_no_alarm_is_left_as_it_is() {
        for body in
            ["", "{}", r#"{"specversion":"1.0"}"#, r#"{"Type":"SubscriptionConfirmation","Message":"x"}"#]
        {
            assert_eq!(alert_event("shop", body.to_owned(), SENT), body);
        }
        assert_eq!(
            alert_event("shop", json!({"Type": "Notification", "Message": "x"}).to_string(), SENT),
            "x"
        );
    }
}
