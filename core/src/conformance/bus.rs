//! Scenarios of the event bus.

use super::{
    Violation,
    queue::{Line, refused},
    scenarios,
    stage::{Stage, same, same_ids},
};
use crate::{
    limits::{BUS_DETAIL_TYPE_MAX, BUS_ENTRY_BYTES_MAX},
    model::{Comparison, Match, Rule},
    port::{Bus, BusEntry, PortError},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const BUS: &str = "told";

/// The queues behind the rules of [`BUS`].
pub(super) const TARGETS: [&str; 4] =
    ["told-everything", "told-by-type", "told-by-number", "told-by-absence"];

const LONG: Duration = Duration::from_secs(300);

/// The rule by which the bus sends to a queue of [`TARGETS`].
pub(super) fn rule(queue: &str) -> Rule {
    let rule = Rule::new().source("conformance");
    match queue {
        "told-by-type" => rule.detail_type("letter.sent").detail_type(Match::Prefix("parcel.".into())),
        "told-by-number" => rule
            .detail("data.weight", Match::Number(vec![(Comparison::Above, 1.0), (Comparison::AtMost, 20.0)]))
            .detail("data.country", Match::AnythingBut(vec!["NO".into(), "SE".into()])),
        "told-by-absence" => rule.detail("data.country", Match::Exists(false)).detail("data.fragile", true),
        _ => rule,
    }
}

scenarios!("bus":
    every_rule_takes_what_it_matches_and_nothing_else,
    a_target_gets_the_detail_as_it_was_published,
    what_a_bus_does_not_take_is_refused_alone,
    calls_with_nothing_do_nothing,
);

impl Stage<'_> {
    fn bus(&self) -> Result<&Arc<dyn Bus>, Violation> {
        Ok(self.ports.bus(BUS)?)
    }

    fn entry(&self, detail_type: &str, data: &Value) -> BusEntry {
        let detail = json!({ "subject": self.tag, "data": data }).to_string();
        BusEntry { source: "conformance".to_owned(), detail_type: detail_type.to_owned(), detail }
    }

    async fn tell(&self, entries: Vec<BusEntry>) -> Result<Vec<Result<(), PortError>>, Violation> {
        let count = entries.len();
        let answers = self.bus()?.publish(entries).await;
        same("answers of a publication", &count, &answers.len())?;
        Ok(answers)
    }

    /// Asserts that the queue gets these details, and no others, as JSON.
    async fn is_told(&self, queue: &str, details: &[&String]) -> Result<(), Violation> {
        let line = Line::new(self, queue)?;
        let received = line.receive(details.len(), Some(LONG)).await?;
        let more = line.look(Some(LONG)).await?;
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default().to_string();
        same_ids(
            &format!("details at {queue}"),
            details.iter().map(|detail| read(detail)),
            received.iter().chain(&more).map(|message| read(&message.body)),
        )?;
        line.delete(&received).await
    }
}

async fn every_rule_takes_what_it_matches_and_nothing_else(stage: &Stage<'_>) -> Result<(), Violation> {
    // Which of the targets besides the first, which takes everything of ours.
    let told: [(BusEntry, &[usize]); 9] = [
        (stage.entry("letter.sent", &json!({"country": "NO", "weight": 0.1})), &[1]),
        (stage.entry("letter.lost", &json!({"country": "NO", "weight": 2})), &[]),
        (stage.entry("parcel.sent", &json!({"country": "DK", "weight": 20})), &[1, 2]),
        (stage.entry("parcel.lost", &json!({"country": "DK", "weight": 20.5})), &[1]),
        (stage.entry("letter.", &json!({"country": ["NO", "DK"], "weight": [1, 1.5]})), &[2]),
        (stage.entry("letter.", &json!({"country": null, "weight": "2"})), &[]),
        (stage.entry("letter.", &json!({"weight": 2, "fragile": true})), &[3]),
        (stage.entry("letter.", &json!({"country": [], "fragile": [true]})), &[3]),
        (stage.entry("letter.", &json!({"country": null, "fragile": true})), &[]),
    ];
    let of_others = BusEntry { source: "others".to_owned(), ..told[2].0.clone() };
    let entries = told.iter().map(|(entry, _)| entry.clone()).chain([of_others]).collect();
    stage.tell(entries).await?.into_iter().collect::<Result<(), PortError>>()?;
    for (at, queue) in TARGETS.into_iter().enumerate() {
        let taken = told.iter().filter(|(_, targets)| at == 0 || targets.contains(&at));
        let details: Vec<&String> = taken.map(|(entry, _)| &entry.detail).collect();
        stage.is_told(queue, &details).await?;
    }
    Ok(())
}

async fn a_target_gets_the_detail_as_it_was_published(stage: &Stage<'_>) -> Result<(), Violation> {
    let data = json!({"text": "é \"😀\" 日本\r\n\t", "number": 2.5, "list": [1, null, {}], "flag": false});
    let entries: Vec<BusEntry> =
        (0..25).map(|at| stage.entry("letter.filed", &json!({"at": at, "data": data}))).collect();
    stage.tell(entries.clone()).await?.into_iter().collect::<Result<(), PortError>>()?;
    stage.is_told(TARGETS[0], &entries.iter().map(|entry| &entry.detail).collect::<Vec<_>>()).await
}

async fn what_a_bus_does_not_take_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let good = stage.entry("letter.filed", &json!({}));
    let filled = |bytes: usize| {
        let bare = stage.entry("letter.filed", &json!({"text": ""}));
        let text = "x".repeat(bytes.saturating_sub(bare.bytes()));
        stage.entry("letter.filed", &json!({ "text": text }))
    };
    let largest = filled(BUS_ENTRY_BYTES_MAX);
    let refusals = [
        ("an entry of 256 KiB and a byte", filled(BUS_ENTRY_BYTES_MAX + 1)),
        ("an entry without a source", BusEntry { source: String::new(), ..good.clone() }),
        ("an entry with a source of AWS", BusEntry { source: "aws.ec2".to_owned(), ..good.clone() }),
        ("an entry without a detail type", BusEntry { detail_type: String::new(), ..good.clone() }),
        (
            "an entry with too long a detail type",
            BusEntry { detail_type: "x".repeat(BUS_DETAIL_TYPE_MAX + 1), ..good.clone() },
        ),
        ("an entry whose detail is a list", BusEntry { detail: "[]".to_owned(), ..good.clone() }),
        ("an entry whose detail is no JSON", BusEntry { detail: "{".to_owned(), ..good.clone() }),
    ];
    let (whats, bad): (Vec<&str>, Vec<BusEntry>) = refusals.into_iter().unzip();
    let entries = [vec![good.clone()], bad, vec![largest.clone()]].concat();
    let answers = stage.tell(entries).await?;
    for (what, answer) in whats.iter().zip(&answers[1..]) {
        refused(what, answer)?;
    }
    same("the entries beside them", &(Some(&Ok(())), Some(&Ok(()))), &(answers.first(), answers.last()))?;
    stage.is_told(TARGETS[0], &[&good.detail, &largest.detail]).await
}

async fn calls_with_nothing_do_nothing(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.tell(Vec::new()).await.map(drop)
}
