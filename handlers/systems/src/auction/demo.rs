//! The auction's demonstration: orders are posted, a run is started, and each order is followed to its end.

use super::{KICKOFF, results::RESULTS_BUCKET, run::Run};
use async_trait::async_trait;
use quadrille::{
    Failure, Pipeline, Stored,
    domain::auction::record_of_result,
    system::{Demo, Evidence},
};
use serde_json::{Map, Value, json};

/// Orders in one request.
const BATCH: usize = 1_000;

/// Runs looked at for the number of asks.
const RUNS_MAX: usize = 1_000;

/// How many orders there are to each that is withdrawn as soon as it is posted. The few of a first look are none of them.
const KEPT_TO_EACH_WITHDRAWN: u64 = 97;

/// The first of those.
const FIRST_WITHDRAWN: u64 = 13;

pub(super) struct AuctionDemo;

fn number(id: &str) -> u64 {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[async_trait]
impl Demo for AuctionDemo {
    fn subjects(&self) -> &'static str {
        "orders"
    }

    fn title(&self) -> &'static str {
        "An energy-market auction on one machine"
    }

    fn kind(&self) -> &'static str {
        "order"
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn step(&self) -> &'static str {
        "post_orders"
    }

    fn body(&self, ids: &[String]) -> Value {
        let order = |id: &String| json!({ "record_id": id, "parameter_1": format!("plant-{}", number(id) % 7), "parameter_2": number(id) });
        ids.iter().map(order).collect()
    }

    fn then(&self, ids: &[String]) -> Vec<(&'static str, Value)> {
        let withdrawn = ids.iter().filter(|id| number(id) % KEPT_TO_EACH_WITHDRAWN == FIRST_WITHDRAWN);
        withdrawn.map(|id| ("withdraw_order", json!({ "record_id": id }))).collect()
    }

    fn triggers(&self) -> &'static [&'static str] {
        &[KICKOFF]
    }

    fn ends(&self) -> &'static [&'static str] {
        &["stored", "dead_lettered", "withdrawn"]
    }

    fn counts(&self) -> &'static [&'static str] {
        &["accepted", "rejected", "stored", "dead_lettered", "withdrawn"]
    }

    fn counted(&self, evidence: &Evidence<'_>) -> Vec<&'static str> {
        let status = evidence.entity.and_then(|order| order.status.as_deref());
        let decided = match status {
            Some("accepted") => Some("accepted"),
            Some("rejected") => Some("rejected"),
            Some("withdrawn") => Some("withdrawn"),
            _ => None,
        };
        let filed = (!evidence.objects.is_empty()).then_some("stored");
        // A decision that contradicts the first one is a dead letter, and no end of its order.
        let is_end = |(_, reason): &(String, String)| reason != "conflicting_decision";
        let dead = evidence.dead_letters.iter().any(is_end).then_some("dead_lettered");
        decided.into_iter().chain(filed).chain(dead).collect()
    }

    fn filed(&self, bucket: &str, key: &str) -> Option<String> {
        if bucket == RESULTS_BUCKET { record_of_result(key) } else { None }
    }

    async fn summary(&self, pipeline: &Pipeline) -> Result<Map<String, Value>, Failure> {
        let table = pipeline.ports().table("orders")?;
        let mut polls = 0;
        let mut after: Option<String> = None;
        for _ in 0..RUNS_MAX {
            let page = table.scan(after.as_deref(), 1_000).await?;
            for item in page.items.iter().filter(|item| item.key.starts_with("run/")) {
                let run: Stored<Run> = Stored::read(item)?;
                // The ask that was answered counts as well.
                polls += run.polls + 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(Map::from_iter([("polls".to_owned(), json!(polls))]))
    }
}
