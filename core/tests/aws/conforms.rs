//! The conformance suite.

use crate::peer;
use async_trait::async_trait;
use quadrille::{
    aws,
    conformance::{self, Capabilities, World},
    port::Ports,
};
use std::time::Duration;

/// The adapters on the peer, in real time.
struct OnThePeer(Ports);

#[async_trait]
impl World for OnThePeer {
    fn ports(&self) -> Ports {
        self.0.clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // A peer may count exactly, which SQS does not: so this shows that the adapter reads the right figures.
            exact_depth: peer::kind().can.contains(&peer::Can::CountExactly),
            lateness: peer::kind().lateness,
            ..Capabilities::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapters_of_aws_conform() {
    let Some(url) = peer::require("the_adapters_of_aws_conform") else { return };
    let model = conformance::model();
    let config = peer::configuration(url).await;
    let names = peer::provision(&model, &config).await;
    let world = OnThePeer(aws::ports(&model, &names, &config));
    let report = conformance::run(&world).await;
    let peer = peer::kind().name;
    println!("aws on {peer}:\n{report}\n");
    assert!(report.failures().is_empty(), "aws on {peer}:\n{report}");
    for scenario in report.skipped() {
        if let conformance::Outcome::Skipped(why) = &scenario.outcome {
            peer::aloud(&format!("LEFT OUT on {peer}: {}: {why}", scenario.name));
        }
    }
    // The stream is Lambda's to read. The index may lag on AWS, where the peer's does not. The peer looks for what has
    // expired once a minute and SQS for what is past its retention when it likes: longer than a test is to take.
    let left_out: Vec<&str> = report.skipped().iter().map(|scenario| scenario.name).collect();
    let others: Vec<&str> = left_out.into_iter().filter(|name| !name.starts_with("stream::")).collect();
    let expected = [
        ("table::an_expired_item_is_deleted", None),
        ("index::a_commit_is_listed_at_once", None),
        ("queue::a_message_past_its_retention_vanishes", None),
        ("queue::depth_counts_visible_in_flight_and_delayed", Some(peer::Can::CountExactly)),
        ("queue::arrivals_are_seen_without_receiving", None),
    ];
    let is_lacking = |can: &Option<peer::Can>| can.is_none_or(|can| !peer::kind().can.contains(&can));
    let expected = expected.iter().filter(|(_, can)| is_lacking(can)).map(|(name, _)| *name);
    assert_eq!(others, expected.collect::<Vec<_>>());
}
