//! Attacks from outside: bodies that are wrong in a drawn way, bodies that never end, and data folders that were damaged.
//!
//! `cargo test` runs a share of them. `ATTACK_BODIES`, `ATTACK_STALLED` and `ATTACK_VARIANTS` say how many there are of each,
//! `ATTACK_SEED` draws others, `ATTACK_SYSTEM` names one of the systems:
//!
//! ```sh
//! ATTACK_BODIES=1000000 cargo test -p quadrille-command --test attack bodies -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod bodies;
mod mutate;
mod stalled;
mod variants;
mod wire;

#[path = "../../../cli/tests/support/mod.rs"]
mod support;

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");
