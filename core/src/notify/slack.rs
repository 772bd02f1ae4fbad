//! An alert as a message to Slack.

use crate::{
    alarm::{ALERT_SUBJECTS_MAX, Alert, AlertState},
    failure::excerpt,
};
use serde_json::{Value, json};

/// The longest id, reason or name in a message to a webhook, in bytes before it is escaped. Our own limit.
const NAME_BYTES_MAX: usize = 100;

/// The longest list in a message to a webhook, in bytes. Just under Slack's own limit of 3,000 characters for a text
/// object (docs.slack.dev, "Text object"), with room left for the title.
const LIST_BYTES_MAX: usize = 2_900;

/// The alert as a message to a Slack incoming webhook: `text` for notifications and for those who show no blocks,
/// `blocks` for all others. What comes from outside is cut, escaped, and shown as code, so that it can neither mention
/// anyone nor become a link.
pub fn slack_message(alert: &Alert) -> Value {
    if let Some(detail) = &alert.detail {
        return cloudwatch_message(alert, detail);
    }
    let headline = match alert.state {
        AlertState::Alarm => ":rotating_light: *Dead letters*",
        AlertState::Digest => ":rotating_light: *More dead letters*",
        AlertState::Ok => ":white_check_mark: *Empty again*",
    };
    let fields = [
        format!("*Choreography*\n{}", code(&alert.choreography)),
        format!("*Queue*\n{}", code(&alert.queue)),
        format!("*Arrived*\n{}", alert.arrived),
        format!("*In the queue*\n{}", alert.depth),
    ];
    let mut blocks =
        vec![section(headline), json!({"type": "section", "fields": fields.map(|field| mrkdwn(&field))})];
    let reasons = alert.reasons.iter().map(|(reason, count)| format!("{} {count}", code(reason)));
    if let Some(list) = list(reasons, "\n") {
        blocks.push(section(&format!("*Reasons*\n{list}")));
    }
    let subjects = alert.subjects.iter().take(ALERT_SUBJECTS_MAX).map(|subject| code(subject));
    if let Some(list) = list(subjects, ", ") {
        blocks.push(section(&format!("*Entities*\n{list}")));
    }
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&alert.at.to_string())]}));
    json!({"text": escape(&excerpt(&alert.summary(), LIST_BYTES_MAX / 5)), "blocks": blocks})
}

/// An alarm of CloudWatch, which may be about anything and says itself what.
fn cloudwatch_message(alert: &Alert, detail: &str) -> Value {
    let headline = match alert.state {
        AlertState::Alarm | AlertState::Digest => ":rotating_light: *Alarm*",
        AlertState::Ok => ":white_check_mark: *Alarm over*",
    };
    let fields = [
        format!("*Choreography*\n{}", code(&alert.choreography)),
        format!("*Alarm*\n{}", code(&alert.queue)),
    ];
    let detail = escape(&excerpt(detail, LIST_BYTES_MAX / 5));
    json!({
        "text": escape(&excerpt(&alert.summary(), LIST_BYTES_MAX / 5)),
        "blocks": [
            section(headline),
            {"type": "section", "fields": fields.map(|field| mrkdwn(&field))},
            section(&detail),
            {"type": "context", "elements": [mrkdwn(&alert.at.to_string())]},
        ],
    })
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

/// A text object. Verbatim, or Slack would make links and mentions of plain words.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

/// The entries up to Slack's limit, and how many were left out; none where there are none.
fn list(entries: impl Iterator<Item = String>, separator: &str) -> Option<String> {
    let (mut list, mut left_out) = (String::new(), 0_usize);
    for entry in entries {
        if left_out > 0 || list.len() + separator.len() + entry.len() > LIST_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if !list.is_empty() {
            list.push_str(separator);
        }
        list.push_str(&entry);
    }
    if left_out > 0 {
        list.push_str(&format!("{separator}and {left_out} more"));
    }
    (!list.is_empty()).then_some(list)
}

/// A name from outside as code. A backtick would end it and can't be escaped, so it is shown as an apostrophe.
fn code(name: &str) -> String {
    format!("`{}`", escape(&excerpt(name, NAME_BYTES_MAX).replace('`', "'")))
}

/// The three characters Slack wants escaped (docs.slack.dev, "Formatting message text").
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::example as alert;
    use std::collections::BTreeMap;

    #[test]
    fn a_slack_message_is_exactly_this() {
        let text = |text: &str| json!({"type": "mrkdwn", "text": text, "verbatim": true});
        let expected = json!({
            "text": "ALARM shop: 3 dead letter(s) in results-dlq (rejected 2, undecided 1)",
            "blocks": [
                {"type": "section", "text": text(":rotating_light: *Dead letters*")},
                {"type": "section", "fields": [
                    text("*Choreography*\n`shop`"),
                    text("*Queue*\n`results-dlq`"),
                    text("*Arrived*\n3"),
                    text("*In the queue*\n5"),
                ]},
                {"type": "section", "text": text("*Reasons*\n`rejected` 2\n`undecided` 1")},
                {"type": "section", "text": text("*Entities*\n`order-1`, `&lt;!channel&gt; &amp; 'x'\\u{1b}`")},
                {"type": "context", "elements": [text("2026-11-20T09:15:00.000Z")]},
            ],
        });
        assert_eq!(slack_message(&alert()), expected);
    }

    #[test]
    fn an_empty_queue_is_a_short_message() {
        let ok = Alert { state: AlertState::Ok, reasons: BTreeMap::new(), subjects: vec![], ..alert() };
        let message = slack_message(&ok);
        assert_eq!(message["text"], "OK shop: results-dlq is empty again");
        assert_eq!(message["blocks"].as_array().unwrap().len(), 3);
        assert_eq!(message["blocks"][0]["text"]["text"], ":white_check_mark: *Empty again*");
    }

    #[test]
    fn a_message_stays_within_slacks_limits() {
        let hostile = "&".repeat(5_000);
        let long = Alert {
            choreography: hostile.clone(),
            queue: hostile.clone(),
            reasons: (0..100).map(|n| (format!("{n:03}{hostile}"), u64::MAX)).collect(),
            subjects: vec![hostile; 100],
            ..alert()
        };
        let message = slack_message(&long);
        assert!(message["text"].as_str().unwrap().len() <= 3_000);
        for block in message["blocks"].as_array().unwrap() {
            let fields =
                block["fields"].as_array().or(block["elements"].as_array()).cloned().unwrap_or_default();
            assert!(
                fields.len() <= 10
                    && fields.iter().all(|field| field["text"].as_str().unwrap().len() <= 2_000)
            );
            assert!(block["text"]["text"].as_str().is_none_or(|text| text.len() <= 3_000), "{block}");
        }
        let subjects = message["blocks"][3]["text"]["text"].as_str().unwrap();
        assert!(subjects.ends_with(" more"), "{subjects}");
    }
}
