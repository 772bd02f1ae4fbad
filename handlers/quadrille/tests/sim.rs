//! `sim`, as a script uses it: the same seed makes the same run in two processes.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use serde_json::Value;
use std::process::{Command, Output};

fn sim(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quadrille"));
    command.arg("sim").args(arguments).current_dir(folder).env_remove("QUADRILLE_LOG");
    command.output().unwrap()
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Each process has hash seeds of its own: what depended on them would differ.
#[test]
fn the_same_seeds_make_the_same_runs_in_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    for (system, seeds) in [("auction", "2"), ("snacks", "8"), ("orders", "8"), ("checkout", "4")] {
        let run = |from: &str| {
            let arguments = [system, "--seeds", seeds, "--from", from, "--orders", "6", "--json"];
            let summary = summary(&sim(folder.path(), &arguments));
            assert_eq!(summary["system"], system);
            assert!(summary["taken"].as_u64().unwrap() > 0, "{summary}");
            summary["trace_hash"].clone()
        };
        assert_eq!(run("1"), run("1"), "{system}");
        assert_ne!(run("1"), run("101"), "{system}");
    }
}

#[test]
fn without_faults_every_system_holds() {
    let folder = tempfile::tempdir().unwrap();
    for system in ["auction", "snacks", "orders", "checkout"] {
        let output =
            sim(folder.path(), &[system, "--seeds", "2", "--orders", "8", "--faults", "none", "--json"]);
        let summary = summary(&output);
        assert_eq!((output.status.code(), &summary["failed"]), (Some(0), &0.into()), "{summary}");
        assert_eq!(summary["faults"], Value::Object(serde_json::Map::new()));
    }
}

#[test]
fn a_fault_that_there_is_not_and_a_tape_that_is_none_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("no.tape"), "x").unwrap();
    for (arguments, said) in
        [(["orders", "--faults", "flood"], "flood"), (["orders", "--tape", "no.tape"], "no.tape")]
    {
        let output = sim(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said));
    }
}
