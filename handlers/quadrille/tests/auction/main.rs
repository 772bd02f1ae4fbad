//! The auction from outside, as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod crash;
#[cfg(target_os = "linux")]
mod full;
mod input;
mod loss;
mod model;
mod orders;
mod platform;
#[path = "../support/mod.rs"]
mod support;
