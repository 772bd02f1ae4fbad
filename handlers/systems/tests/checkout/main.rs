//! The checkout in this process: its ports, its gateway and its time are the tests'.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod bank;
mod crashes;
mod flow;
mod gateway;
mod hot;
mod interleaved;
mod products;
#[path = "../../../cli/tests/support/server.rs"]
mod server;
mod world;
