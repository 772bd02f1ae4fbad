//! Texts that are kept: items, dead letters, the tape of a simulation.

use crate::{fuzz::is_shown, fuzzed};
use quadrille::{
    DeadLetter, Stored,
    domain::checkout::Order,
    port::{Attributes, Item, Message, Receipt, Unreadable},
    sim::Choice,
};
use serde::Deserialize;

#[test]
fn an_item_is_read_or_refused_by_name_and_is_told_as_json() {
    fuzzed("item", |document| {
        let document = String::from_utf8_lossy(document).into_owned();
        let item = Item {
            key: "order/1".into(),
            version: 3,
            document: document.into(),
            expires_at: None,
            index: None,
        };
        match Stored::<Order>::read(&item) {
            Ok(stored) => {
                assert_eq!(stored.version(), 3);
                let told = serde_json::to_value(stored.told()).unwrap();
                assert_eq!(told["orderId"], stored.order_id.as_str());
                // A trail that can't be read is one of nothing, and so is bounded in any case.
                assert!(stored.trace_id().is_none_or(|id| id.len() == 32), "{:?}", stored.trace_id());
                true
            }
            Err(failure) => {
                assert_eq!((failure.reason(), failure.is_permanent()), ("unreadable_entity", true));
                is_shown(failure.detail(), 1_024);
                false
            }
        }
    });
}

/// A message of a dead-letter queue, as the corpus has it.
#[derive(Deserialize)]
struct Letter {
    body: String,
    attributes: Attributes,
    #[serde(default)]
    unreadable: Option<String>,
}

#[test]
fn whatever_lies_in_a_dead_letter_queue_has_a_reason_and_its_letter_reads_the_same_again() {
    fuzzed("dead-letter", |document| {
        let Ok(Letter { body, attributes, unreadable }) = serde_json::from_slice(document) else {
            return false;
        };
        let message = Message {
            id: "1".into(),
            receipt: Receipt("1".into()),
            unreadable: unreadable.map(Unreadable::new),
            body,
            attributes,
            receive_count: 4,
            sent_at: quadrille::Timestamp::from_millis(1_800_000_000_000),
        };
        let letter = DeadLetter::read(&message);
        assert!(
            !letter.reason.is_empty() || message.attributes.get("reason").is_some_and(String::is_empty),
            "{letter:?}"
        );
        assert!(message.unreadable.is_none() || letter.is_damaged(), "{letter:?}");
        let written = serde_json::to_string(&letter).unwrap();
        assert_eq!(serde_json::from_str::<DeadLetter>(&written).unwrap(), letter);
        true
    });
}

#[test]
fn a_line_of_a_tape_is_a_choice_that_is_written_as_it_was_read_or_a_short_error() {
    fuzzed("tape", |document| {
        let mut is_any = false;
        for line in String::from_utf8_lossy(document).split('\n') {
            match line.parse::<Choice>() {
                Ok(choice) => {
                    assert!(choice.bound == 0 || choice.value < choice.bound, "{choice:?}");
                    assert_eq!(choice.to_string().parse::<Choice>(), Ok(choice));
                    is_any = true;
                }
                Err(error) => is_shown(&error.to_string(), 300),
            }
        }
        is_any
    });
}
