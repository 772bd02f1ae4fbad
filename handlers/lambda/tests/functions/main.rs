//! Every function as the process that Lambda would run. A small Lambda Runtime API starts the binary with nothing in its
//! environment but what Lambda and the infrastructure would set, and feeds it with events as AWS documents them. Behind it is
//! a small AWS that can throttle, fail, hang, or keep its answer to itself.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod aws;
mod function;
mod http;
mod logs;
mod poll;
mod queue;
mod server;
mod start;
mod stream;
mod throttled;
mod topic;

#[path = "../shared/fixture.rs"]
mod documented;

use documented::fixture;

/// The binary of all functions.
const BINARY: &str = env!("CARGO_BIN_EXE_auction-functions");
