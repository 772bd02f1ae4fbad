//! Logs of a program with the local engine. A process has one subscriber: the program is this test once more.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use quadrille::{Choreography, Definition, LogFormat, LogLevel, System, init_logging};
use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

/// The program is to write many lines.
const LINES: &str = "QUADRILLE_TEST_LINES";

/// Many more than a pipe takes, and than wait to be written at most.
const LINES_MANY: u32 = 10_000;

/// The program has written them.
const DONE: &str = "all lines are logged";

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
    let logs = init_logging(LogLevel::INFO, format, &["tea_shop"]).unwrap();
    assert!(init_logging(LogLevel::TRACE, LogFormat::Text, &[]).is_none(), "the first one stays");
    if std::env::var_os(LINES).is_some() {
        let panicked = std::thread::spawn(|| panic!("a\u{1b}panic")).join();
        assert!(panicked.is_err());
        for line in 0..LINES_MANY {
            tracing::info!(target: "tea_shop", line, "a line of some length, so that they fill a pipe: {:>200}", "");
        }
        println!("{DONE}");
        std::io::stdout().flush().unwrap();
        return drop(logs);
    }
    let span = tracing::info_span!(target: "tea_shop", "brewing", pot = 7);
    span.in_scope(|| tracing::info!(target: "tea_shop::brew", leaves = 3, "steeping"));
    tracing::debug!(target: "tea_shop", "too much detail");
    tracing::info!(target: "quadrille::pipeline", "handled");
    tracing::info!(target: "hyper", "the bytes of a request");
    tracing::warn!(target: "hyper", "no answer");
}

/// The program that writes many lines to `stderr`.
fn writing_many(stderr: Stdio) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "the_program", "--ignored", "--nocapture"]);
    program.env(FORMAT, "json").env(LINES, "1").stdout(Stdio::piped()).stderr(stderr);
    program
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up_and_the_lines_that_are_lost_are_counted() {
    let mut program = writing_many(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (program.stdout.take().unwrap(), program.stderr.take().unwrap());
    // Until it has ended: without its bound it would never say so.
    let (mut told, mut lines) = (String::new(), String::new());
    stdout.read_to_string(&mut told).unwrap();
    assert!(told.contains(DONE) && program.wait().unwrap().success(), "{told}");
    stderr.read_to_string(&mut lines).unwrap();
    let first = lines.lines().next().unwrap();
    assert!(first.starts_with("panicked at ") && first.ends_with("a\\u{1b}panic"), "{first}");
    assert!(lines.lines().count() < LINES_MANY as usize);
}

#[test]
fn a_log_that_is_read_late_tells_how_many_lines_are_lost() {
    let mut program = writing_many(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (program.stdout.take().unwrap(), program.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains(DONE) {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        told.push(char::from(byte[0]));
    }
    let mut lines = String::new();
    stderr.read_to_string(&mut lines).unwrap();
    assert!(program.wait().unwrap().success());
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (lost, written): (Vec<_>, Vec<_>) = lines.partition(|line| line["lines"].is_u64());
    let lost: u64 = lost.iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert!(lost > 0);
    assert_eq!(written.len() as u64 + lost, u64::from(LINES_MANY));
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_can_not_be_written_takes_nothing_down() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = writing_many(full.into()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.contains(DONE), "{told}");
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
