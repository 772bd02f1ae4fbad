//! The adapters of AWS over the wire protocols, on a peer that stands in for AWS (`peer.rs`).
//!
//! `.ci/aws-peer` installs the peer; without it these tests say that they are left out. `QUADRILLE_PEER_PYTHON` names a
//! Python that has ministack installed, and with `QUADRILLE_REQUIRE_PEER=1` a test without a peer fails.
//!
//! Another peer is given by `AWS_ENDPOINT_URL`, with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and for HTTPS with a
//! certificate of its own `SSL_CERT_FILE`. `QUADRILLE_PEER` names its kind, one of those in `peer.rs`: what that can't do is
//! left out aloud.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod actions;
mod bus;
mod conforms;
mod endpoint;
mod environment;
mod faults;
mod peer;
mod proxy;
mod wire;

use quadrille::choreography::{BucketModel, BusModel, Model, QueueModel, TableModel, TopicModel};
use std::time::Duration;

/// A table, a queue, a bucket, a topic and an event bus, each by the name of what it is.
fn one_of_each() -> Model {
    let queue = QueueModel {
        name: "queue".to_owned(),
        visibility_timeout: Duration::from_secs(60),
        retention: Duration::from_secs(600),
        redrive: None,
        physical: None,
        is_outside: false,
    };
    Model {
        tables: vec![TableModel {
            name: "table".to_owned(),
            kinds: vec!["thing".to_owned()],
            ..TableModel::default()
        }],
        queues: vec![queue],
        buckets: vec![BucketModel { name: "bucket".to_owned(), spread: None }],
        topics: vec![TopicModel { name: "topic".to_owned(), physical: None, variable: None }],
        buses: vec![BusModel { name: "bus".to_owned(), physical: None, variable: None, is_outside: false }],
        ..Model::default()
    }
}
