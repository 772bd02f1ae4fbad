//! The auction in this process: its ports, its platform and its time are the tests'.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod cost;
mod duplicates;
mod left;
mod load;
mod parts;
mod platform;
#[path = "../../../cli/tests/support/server.rs"]
mod server;
mod time;
mod withdrawn;
mod world;

use quadrille::{Choreography, Settings, setting::Place, system::choreography};
use std::collections::BTreeMap;
use systems::auction::Auction;

/// The auction.
fn auction() -> Choreography {
    choreography(&Auction).unwrap()
}

/// The values of its settings, those of `said` among them.
fn settings(auction: &Choreography, said: &[(&str, &str)]) -> Settings {
    let said: BTreeMap<&str, &str> = said.iter().copied().collect();
    let value = |name: &str| said.get(name).map(|value| (*value).to_owned());
    Settings::read(Place::Command, &auction.model().settings, |setting| value(&setting.name)).unwrap()
}
