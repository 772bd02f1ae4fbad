//! The adapters of AWS over the wire protocols, on a peer that stands in for AWS (`peer.rs`).
//!
//! `.ci/aws-peer` installs the peer; without it these tests say that they are left out. `QUADRILLE_AWS_PEER` names one that
//! is running already (its URL), `QUADRILLE_PEER_PYTHON` a Python that has ministack installed, and with
//! `QUADRILLE_REQUIRE_PEER=1` a test without a peer fails.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod conforms;
mod environment;
mod faults;
mod peer;
mod proxy;
mod wire;
