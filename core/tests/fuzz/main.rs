//! Texts of others that the library reads, fuzzed: see `support/fuzz.rs`. Each target says what must hold of whatever is read,
//! beside that nothing panics. The events of Lambda are in `core/src/lambda/tests.rs`, the systems' own in
//! `handlers/systems/tests/fuzz`.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod delivered;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod input;
mod kept;
mod rule;

use std::{cell::Cell, path::Path};

/// Fuzzes a target with its corpus. `check` answers whether it could read what it was given, which it has to, often enough to have
/// looked at more than errors.
fn fuzzed(target: &str, check: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let read = Cell::new(0);
    fuzz::fuzz(&folder, |document| read.set(read.get() + u32::from(check(document))));
    assert!(read.get() >= READ_MIN, "of {target} {} documents could be read", read.get());
}

/// Documents that a target has to read of those that it is given.
const READ_MIN: u32 = 10;
