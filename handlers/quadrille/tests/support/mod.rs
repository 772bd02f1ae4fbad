//! What the end-to-end tests of this command share: those of every command, and a file for each system.

#![allow(unused_imports)] // Each test binary uses a part of it.

mod auction;
#[path = "../../../cli/tests/support/mod.rs"]
mod general;

pub use auction::*;
pub use general::*;

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");
