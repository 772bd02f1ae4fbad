//! The delivery pipeline over the in-memory adapter, called directly: no engine runs unless a test starts one, and time
//! stands still unless a test moves it.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod backlog;
mod budget;
mod ended;
mod failing;
mod given_up;
mod gone;
mod http;
mod invocation;
mod many;
mod merged;
mod outside;
mod panics;
mod reading;
mod services;
mod settling;
mod silence;
#[path = "../support/mod.rs"]
mod support;
mod traces;
mod turns;
mod uses;
mod waiting;

use quadrille::{Consumer, Handler, Uses};
use support::{BACKOFF, Loaded, Parcel, Scanned, World, parcels};

/// A world with one consumer, `scan`, which gives a message up after 3 attempts. What its handler may emit is consumed
/// by `load`, which does nothing.
fn scanning<A: 'static, H: Handler<A, Event = Scanned>>(handler: H) -> World {
    let uses = Uses::new().creates::<Parcel>();
    let scan = Consumer::new("scan", handler).attempts(3, BACKOFF).uses(uses);
    World::new(parcels::<(Scanned, Loaded)>().on(scan).on(Consumer::new("load", support::idle::<Loaded>)))
}
