//! Topics and buses: what is published is in the same queues.

use super::{Both, all_alike, played, same, sequences};
use crate::queue::{Draft, draft};
use proptest::{collection::vec, prelude::*};
use quadrille::port::{BusEntry, Message, Ports, Receipt};
use std::time::Duration;

/// The queues behind the topic and the bus of the conformance suite's model.
const BEHIND: [&str; 6] = [
    "subscribed-one",
    "subscribed-two",
    "told-everything",
    "told-by-type",
    "told-by-number",
    "told-by-absence",
];

#[derive(Clone, Debug)]
enum Call {
    Publish(Vec<Draft>),
    Tell(Vec<BusEntry>),
    Reopen,
}

/// Entries of which each rule of the model takes some.
fn entry() -> impl Strategy<Value = BusEntry> {
    let source =
        prop_oneof![12 => Just("conformance"), 1 => Just("other"), 1 => Just(""), 1 => Just("aws.events")];
    let long = "t".repeat(129);
    let detail_type = prop_oneof![
        6 => Just("letter.sent".to_owned()), 6 => Just("parcel.sent".to_owned()), 2 => Just("parcel".to_owned()),
        1 => Just(String::new()), 1 => Just(long),
    ];
    let member = |name: &'static str, values: &'static [&'static str]| {
        let value = prop::sample::select(values);
        prop::option::of(value.prop_map(move |value| format!("\"{name}\":{value}")))
    };
    let data = (
        member("weight", &["1", "1.0", "1.5", "20", "20.5", "\"5\"", "[0, 5]", "{}", "null", "1e400", "-0"]),
        member("country", &["\"NO\"", "\"DK\"", "null", "[]", "[\"NO\", \"DK\"]", "{\"a\":1}", "5"]),
        member("fragile", &["true", "false", "[true]", "\"true\"", "null"]),
        member("fragile", &["true", "false"]),
    );
    let data = data.prop_map(|(weight, country, fragile, twice)| {
        let members: Vec<String> = [weight, country, fragile, twice].into_iter().flatten().collect();
        format!("{{\"data\":{{{}}}}}", members.join(","))
    });
    static ODD: [&str; 7] = [
        "",
        "[]",
        "null",
        "{",
        "{\"data\":[{\"fragile\":true}]}",
        "{\"data\":{\"country\":\"\u{1}\"}}",
        "{\"a\":\"\u{fffe}\"}",
    ];
    let detail = prop_oneof![10 => data, 3 => prop::sample::select(&ODD[..]).prop_map(str::to_owned)];
    (source, detail_type, detail).prop_map(|(source, detail_type, detail)| BusEntry {
        source: source.to_owned(),
        detail_type,
        detail,
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        5 => vec(draft(), 0..4).prop_map(Call::Publish),
        8 => vec(entry(), 0..4).prop_map(Call::Tell),
        1 => Just(Call::Reopen),
    ]
}

/// What is in the queues, in any order within each: none is promised. Nothing is left there for the next look.
async fn behind(ports: &Ports) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for queue in BEHIND.map(|name| &ports.queues[name]) {
        let found = queue.receive(1_000, Duration::ZERO, None).await.unwrap();
        let receipts: Vec<Receipt> = found.iter().map(|message| message.receipt.clone()).collect();
        queue.delete(&receipts).await.unwrap();
        let told =
            |message: Message| format!("{} {:?} {}", message.body, message.attributes, message.sent_at);
        let mut found: Vec<String> = found.into_iter().map(told).collect();
        found.sort();
        all.push(found);
    }
    all
}

async fn play(both: &mut Both, calls: Vec<Call>) -> Result<(), TestCaseError> {
    for (at, call) in calls.into_iter().enumerate() {
        let [memory, local] = both.ports();
        match &call {
            Call::Publish(drafts) => {
                let messages: Vec<_> =
                    drafts.iter().enumerate().map(|(place, draft)| draft.message(at * 10 + place)).collect();
                let first = memory.topics["published"].publish(messages.clone()).await;
                let second = local.topics["published"].publish(messages).await;
                same(&call, [all_alike(first), all_alike(second)])?;
            }
            Call::Tell(entries) => {
                let first = memory.buses["told"].publish(entries.clone()).await;
                let second = local.buses["told"].publish(entries.clone()).await;
                same(&call, [all_alike(first), all_alike(second)])?;
            }
            Call::Reopen => {
                drop((memory, local));
                both.reopen();
            }
        }
        let [memory, local] = both.ports();
        same((&call, "the queues behind"), [behind(&memory).await, behind(&local).await])?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(sequences(40))]

    #[test]
    fn topics_and_buses_send_the_same_to_the_same_queues(calls in vec(call(), 1..10)) {
        played(|both| both, async |both| play(both, calls).await)?;
    }
}
