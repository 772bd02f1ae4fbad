//! Logs of a program with the local engine. A process has one subscriber: the program is this test once more.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use quadrille::{Choreography, Definition, LogFormat, LogLevel, System, init_logging};
use std::process::Command;

/// How the program is told to write its lines.
const FORMAT: &str = "QUADRILLE_TEST_FORMAT";

/// What the program writes to standard error.
fn written(format: &str) -> Vec<String> {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "the_program", "--ignored", "--nocapture"]).env(FORMAT, format);
    let output = program.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "the program that the others start"]
fn the_program() {
    let format = if std::env::var(FORMAT).unwrap() == "json" { LogFormat::Json } else { LogFormat::Text };
    assert!(init_logging(LogLevel::INFO, format, &["tea_shop"]));
    assert!(!init_logging(LogLevel::TRACE, LogFormat::Text, &[]), "the first one stays");
    let span = tracing::info_span!(target: "tea_shop", "brewing", pot = 7);
    span.in_scope(|| tracing::info!(target: "tea_shop::brew", leaves = 3, "steeping"));
    tracing::debug!(target: "tea_shop", "too much detail");
    tracing::info!(target: "quadrille::pipeline", "handled");
    tracing::info!(target: "hyper", "the bytes of a request");
    tracing::warn!(target: "hyper", "no answer");
}

#[test]
fn a_program_writes_its_own_lines_and_the_warnings_of_others() {
    let lines = written("text");
    let said: Vec<&str> = ["steeping", "handled", "no answer"].into();
    assert_eq!(lines.len(), said.len(), "{lines:?}");
    for (line, said) in lines.iter().zip(said) {
        assert!(line.contains(said) && !line.contains('\u{1b}'), "{line}");
    }
    assert!(lines[0].contains("brewing{pot=7}") && lines[0].contains("leaves=3"), "{lines:?}");
}

struct TeaShop;

impl System for TeaShop {
    fn name(&self) -> &'static str {
        "tea-shop"
    }

    fn about(&self) -> &'static str {
        "Serves tea."
    }

    fn define(&self) -> Definition {
        Choreography::define(self.name())
    }
}

#[test]
fn the_lines_of_a_system_are_those_of_the_crate_that_its_type_is_of() {
    let system: &dyn System = &TeaShop;
    assert_eq!(system.log_target(), "logging");
}

#[test]
fn as_json_each_line_is_an_object_with_its_fields_beside_the_message() {
    let lines: Vec<serde_json::Value> =
        written("json").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["message"], &line["level"]), (&"steeping".into(), &"INFO".into()));
    assert_eq!((&line["leaves"], &line["span"]["pot"]), (&3.into(), &7.into()));
    assert!(line["timestamp"].is_string() && line["target"] == "tea_shop::brew", "{line}");
}
