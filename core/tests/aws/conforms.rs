//! The conformance suite.

use crate::peer;
use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, primitives::Blob, types::AttributeValue};
use quadrille::{
    aws::{self, Names},
    conformance::{self, Capabilities, World},
    layout,
    port::{Damage, Ports},
};
use std::{collections::BTreeSet, time::Duration};

/// The adapters on the peer, in real time.
struct OnThePeer {
    ports: Ports,
    tables: Client,
    names: Names,
}

#[async_trait]
impl World for OnThePeer {
    fn ports(&self) -> Ports {
        self.ports.clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // A peer may count exactly, which SQS does not: so this shows that the adapter reads the right figures.
            exact_depth: peer::kind().can.contains(&peer::Can::CountExactly),
            // So does a peer deliver and count receives.
            once: true,
            exact_receives: true,
            damaged_items: true,
            lateness: peer::kind().lateness,
            ..Capabilities::default()
        }
    }

    async fn damage(&self, damage: Damage<'_>) -> bool {
        let Damage::Item { table, key } = damage else { return false };
        let bytes = AttributeValue::B(Blob::new([0xFF]));
        let update = self.tables.update_item().table_name(&self.names.tables[table]);
        let update = update.key(layout::KEY, AttributeValue::S(key.to_owned()));
        let update = update.update_expression("SET #document = :bytes");
        let update = update.expression_attribute_names("#document", layout::DOCUMENT);
        update.expression_attribute_values(":bytes", bytes).send().await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapters_of_aws_conform() {
    let Some(url) = peer::require("the_adapters_of_aws_conform") else { return };
    let model = conformance::model();
    let config = peer::configuration(url).await;
    let names = peer::provision(&model, &config).await;
    let ports = aws::ports(&model, &names, &config);
    let world = OnThePeer { ports, tables: Client::new(&config), names };
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
        ("index::a_partition_is_counted_alone_and_no_further_than_asked", None),
        ("queue::a_message_past_its_retention_vanishes", None),
        ("queue::a_message_that_can_not_be_read_fails_alone", None),
        ("queue::depth_counts_visible_in_flight_and_delayed", Some(peer::Can::CountExactly)),
        ("queue::arrivals_are_seen_without_receiving", None),
        ("queue::named_messages_are_received_and_no_others", None),
        ("queue::a_named_message_received_too_often_is_dead_lettered", None),
        ("queue::what_is_sent_in_place_of_a_message_takes_its_place_once", None),
    ];
    let is_lacking = |can: &Option<peer::Can>| can.is_none_or(|can| !peer::kind().can.contains(&can));
    let expected = expected.iter().filter(|(_, can)| is_lacking(can)).map(|(name, _)| *name);
    assert_eq!(others.into_iter().collect::<BTreeSet<_>>(), expected.collect());
}
