//! What the compiler says of a handler that is none: which part is off, and what a handler looks like.
//!
//! Each file of `mistakes/` is one, beside it the compiler's words about it. Texts of ours stand among the compiler's own, which
//! differ by its version: Rust 1.89 lists other types, and writes `std::string::String` for `String`. So this test is for the
//! compiler that CI has, and says so where there is another one. After a change of either,
//! `TRYBUILD=overwrite cargo test -p messages` writes the words down: look at what changed.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use std::process::Command;

const CI: &str = include_str!("../../../.github/workflows/ci.yml");

#[test]
fn a_mistake_in_a_handler_is_told_by_its_part() {
    let named = CI.lines().find_map(|line| line.trim().strip_prefix("RUSTUP_TOOLCHAIN: "));
    let wanted = named.unwrap().trim_matches('"');
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("--version").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    if told.split(' ').nth(1) != Some(wanted) {
        eprintln!("left out: the messages are those of Rust {wanted}, not of {told}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
