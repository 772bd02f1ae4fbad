//! Snacks in this process: their ports, their kitchen and their time are the tests'.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod cancel;
mod create;
mod process;
mod world;
