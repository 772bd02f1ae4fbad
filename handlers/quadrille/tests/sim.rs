//! `sim`, as a script uses it: the same seed makes the same run in two processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../../cli/tests/support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use support::{Watcher, ask, command};

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");

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

/// The objects of a bucket in a data folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn what_has_to_hold_is_seen_of_a_real_folder_and_what_is_broken_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quadrille"));
        command.args(arguments).current_dir(folder.path()).env_remove("QUADRILLE_LOG").output().unwrap()
    };
    for system in ["auction", "snacks", "orders", "checkout"] {
        let demo = command(&["demo", system, "--orders", "20", "--data", system, "--json"]);
        assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
        let check = command(&["check", system, "--data", system, "--json"]);
        let told = summary(&check);
        assert_eq!((check.status.code(), &told["quiet"]), (Some(0), &true.into()), "{told}");
        assert!(told["properties"].as_array().unwrap().len() > 4, "{told}");
        // Of its entities alone less is seen, and it holds as well.
        let file = format!("{system}.jsonl");
        let export = command(&["export", system, "--data", system]);
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        std::fs::write(folder.path().join(&file), export.stdout).unwrap();
        let check = command(&["check", system, "--trails", &file, "--ended", "--json"]);
        let of_trails = summary(&check);
        assert_eq!(
            (check.status.code(), &of_trails["entities"]),
            (Some(0), &told["entities"]),
            "{of_trails}"
        );
        let count = |told: &Value| told["properties"].as_array().unwrap().len();
        assert!((2..count(&told)).contains(&count(&of_trails)), "{of_trails}");
    }
    // A trail that lacks a commit, a file of another system, and one that is no export.
    let text = std::fs::read_to_string(folder.path().join("orders.jsonl")).unwrap();
    let (head, order) = text.split_once('\n').unwrap();
    let mut order: Value = serde_json::from_str(order.lines().next().unwrap()).unwrap();
    order["version"] = (order["version"].as_u64().unwrap() + 1).into();
    std::fs::write(folder.path().join("lacks.jsonl"), format!("{head}\n{order}\n")).unwrap();
    std::fs::write(folder.path().join("none.jsonl"), format!("{head}\nnothing\n")).unwrap();
    let lacks = command(&["check", "orders", "--trails", "lacks.jsonl", "--json"]);
    assert_eq!((lacks.status.code(), &summary(&lacks)["broken"]), (Some(6), &1.into()));
    for (system, file, said) in
        [("snacks", "orders.jsonl", "is of orders"), ("orders", "none.jsonl", "line 2")]
    {
        let refused = command(&["check", system, "--trails", file]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said));
    }
    // An order that is accepted, and filed nowhere.
    let filed = files(&folder.path().join("auction/bucket/order-results/orders"));
    std::fs::remove_file(filed.first().unwrap()).unwrap();
    let check = command(&["check", "auction", "--data", "auction", "--json"]);
    assert_eq!((check.status.code(), &summary(&check)["quiet"]), (Some(6), &true.into()));
    let text = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(text.contains("properties don't hold"), "{text}");
    assert_eq!(command(&["check", "auction", "--data", "nowhere"]).status.code(), Some(3));
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
    // A fault beyond every promise makes a tape, which plays with its own system alone.
    let arguments = ["checkout", "--from", "4", "--seeds", "1", "--faults", "records-lost"];
    let failed = sim(folder.path(), &arguments);
    assert_eq!(failed.status.code(), Some(6));
    let text = String::from_utf8_lossy(&failed.stdout).into_owned();
    let again = text.lines().find_map(|line| line.strip_prefix("Again: `quadrille sim ")).unwrap();
    let again: Vec<&str> = again.trim_end_matches('`').split(' ').collect();
    assert_eq!(sim(folder.path(), &again).status.code(), Some(6), "{again:?}");
    let other = sim(folder.path(), &["orders", "--tape", again.last().unwrap()]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("checkout"));
}

/// A run is looked at in a browser: by steps, by time, and back.
#[test]
fn a_console_of_a_run_goes_on_step_by_step_and_back() {
    let mut command = command(&["sim", "checkout", "--from", "7", "--console", "--port", "0"]);
    command.env_remove("QUADRILLE_LOG");
    let serving = Watcher::start(command);
    let address = serving
        .out
        .find(|line| Some(line.split_once("http://")?.1.trim_end_matches('/').to_owned()))
        .unwrap();
    let clock = |method: &str, body: &str| {
        let answer = ask(&address, method, "/_quadrille/clock", &[], Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let queues = || ask(&address, "GET", "/_quadrille/queues", &[], None).unwrap().text();
    let end = clock("GET", "");
    let steps = end["steps"].as_u64().unwrap();
    assert_eq!((&end["is_at_end"], end["step"].as_u64()), (&json!(true), Some(steps)));
    let middle = clock("POST", &format!(r#"{{"to_step":{}}}"#, steps / 2));
    let there = queues();
    assert_eq!((middle["step"].as_u64(), &middle["is_at_end"]), (Some(steps / 2), &json!(false)));
    assert_eq!(clock("POST", r#"{"by_steps":1}"#)["step"], steps / 2 + 1);
    let begin = clock("POST", r#"{"to_step":0}"#);
    assert_eq!(begin["step"], 0);
    let skipped = clock("POST", &format!(r#"{{"to_time":{}}}"#, middle["now"]));
    assert_eq!(skipped["now"], middle["now"]);
    assert_eq!(clock("POST", &format!(r#"{{"to_step":{}}}"#, steps / 2)), middle);
    assert_eq!(queues(), there);
    let system = ask(&address, "GET", "/_quadrille/system", &[], None).unwrap().json();
    assert_eq!((&system["target"], &system["allows_actions"]), (&json!("simulated"), &json!(false)));
    for (body, status) in [("{}", 400), (r#"{"to_step":-1}"#, 400), (r#"{"to_time":"yesterday"}"#, 400)] {
        let answer = ask(&address, "POST", "/_quadrille/clock", &[], Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, status, "{body}");
    }
    assert_eq!(serving.terminate().code, 0);
}
