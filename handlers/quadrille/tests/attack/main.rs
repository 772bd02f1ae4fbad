//! Attacks from outside on every system: bodies that are wrong in a drawn way, and bodies that never end.
//!
//! `cargo test` runs a share of them. `ATTACK_BODIES` is how many bodies are sent in all, `ATTACK_SEED` draws others,
//! `ATTACK_SYSTEM` names one of the systems:
//!
//! ```sh
//! ATTACK_BODIES=1000000 cargo test -p quadrille-command --test attack -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod bodies;
mod mutate;
mod stalled;
mod wire;

#[path = "../../../cli/tests/support/mod.rs"]
mod support;

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");
