//! The infrastructure that is derived: what is committed is what the code derives, it is sound by the provider's own
//! vocabulary, and each function may do what it needs and nothing else.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod deployment;
mod permissions;
mod program;

use program::Program;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const QUADRILLE: &str = env!("CARGO_BIN_EXE_quadrille");

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn quadrille(arguments: &[&str]) -> Output {
    Command::new(QUADRILLE).args(arguments).current_dir(root()).output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The program of the auction as it is committed.
fn committed() -> Vec<(String, String)> {
    committed_of("auction")
}

/// The program of a system as it is committed.
fn committed_of(system: &str) -> Vec<(String, String)> {
    let folder = root().join("infra").join(system);
    let mut files: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn read(files: &[(String, String)]) -> Program {
    Program::read(files).unwrap()
}

#[test]
fn what_is_committed_is_what_the_definition_derives() {
    let checked = quadrille(&["infra", "check"]);
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
}

#[test]
fn a_change_that_is_not_rendered_is_shown_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, out) = (folder.path().to_str().unwrap(), folder.path().join("auction"));
    let rendered = quadrille(&["infra", "render", "auction", "--out", out.to_str().unwrap()]);
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    assert!(text(&rendered.stdout).contains("Pulumi.prod.yaml"));
    let check = |expected: Option<i32>| {
        let checked = quadrille(&["infra", "check", "auction", "--dir", dir]);
        assert_eq!(checked.status.code(), expected, "{}", text(&checked.stderr));
        text(&checked.stdout)
    };
    check(Some(0));
    let program = out.join("Pulumi.yaml");
    let whole = fs::read_to_string(&program).unwrap();
    fs::write(&program, whole.replacen("visibilityTimeoutSeconds: 360", "visibilityTimeoutSeconds: 60", 1))
        .unwrap();
    let diff = check(Some(1));
    assert!(
        diff.contains("-      visibilityTimeoutSeconds: 60\n+      visibilityTimeoutSeconds: 360\n"),
        "{diff}"
    );
    fs::remove_file(&program).unwrap();
    assert!(check(Some(1)).contains("+name: quadrille-auction"));
    fs::write(&program, whole).unwrap();
    fs::write(out.join("Pulumi.forgotten.yaml"), "config: {}\n").unwrap();
    assert!(check(Some(1)).contains("Pulumi.forgotten.yaml"));
}

#[test]
fn for_scripts_the_names_of_what_differs_are_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let check = || quadrille(&["infra", "check", "--dir", dir, "--json"]);
    assert_eq!(check().status.code(), Some(3), "there is not even a folder for it");
    for system in systems::ALL {
        fs::create_dir(folder.path().join(system.name())).unwrap();
    }
    let checked = check();
    assert_eq!(checked.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let different = told["different"].as_array().unwrap();
    assert_eq!(Some(different.len() as u64), told["checked"].as_u64());
    assert!(different.len() > 2, "{told}");
}

#[test]
fn the_programs_are_sound() {
    for system in systems::ALL {
        assert_eq!(read(&committed_of(system.name())).faults(), Vec::<String>::new(), "{}", system.name());
    }
}

/// A mistake in the program, and what it is called.
#[track_caller]
fn broken(what: &str, from: &str, to: &str, expected: &str) {
    let mut files = committed();
    let broken = files.iter_mut().any(|(_, text)| {
        let found = text.contains(from);
        if found {
            *text = text.replacen(from, to, 1);
        }
        found
    });
    assert!(broken, "{what}: {from:?} is not in the program");
    let faults = match Program::read(&files) {
        Ok(program) => program.faults(),
        Err(error) => vec![error],
    };
    assert!(faults.iter().any(|fault| fault.contains(expected)), "{what}: {faults:?}");
}

#[test]
fn a_broken_program_is_caught() {
    broken("a wrong property", "billingMode:", "billingmode:", "no property \"billingmode\"");
    broken("a wrong type", "batchSize: 1\n", "batchSize: one\n", "\"one\" is no \"integer\"");
    broken(
        "a text for a boolean",
        "sqsManagedSseEnabled: true",
        "sqsManagedSseEnabled: 'true'",
        "is no \"boolean\"",
    );
    broken(
        "a setting of another type",
        "memorySize: ${functionMemory}",
        "memorySize: ${alarmEmail}",
        "the setting is",
    );
    broken("a missing property", "      role: ${postOrdersRole.arn}\n", "", "\"role\" is missing");
    broken("a required property", "hashKey: key\n", "hash: key\n", "no property \"hash\"");
    broken("a dangling reference", "${ordersTable.arn}", "${ordersTabel.arn}", "nothing has that name");
    broken("no such output", "${ordersTable.arn}", "${ordersTable.arm}", "no output \"arm\"");
    broken(
        "a dangling dependency",
        "dependsOn: [\"${relayPolicy}\"]",
        "dependsOn: [\"${relayPolicies}\"]",
        "no resource",
    );
    broken(
        "an alarm before its topic's policy",
        "dependsOn: [\"${alertsTopicPolicy}\", \"${notifySubscription}\"]",
        "dependsOn: [\"${notifySubscription}\"]",
        "may go off before ${alertsTopicPolicy} is there",
    );
    broken("an unknown builtin", "fn::toJSON:", "fn::toJson:", "no builtin");
    broken("an unknown type", "type: aws:sqs:Queue\n", "type: aws:sqs:Que\n", "no resource type");
    broken("an unknown key", "outputs:", "output:", "no key \"output\"");
    broken("another version", "version: \"7.51.1\"", "version: \"7.0.0\"", "version is not");
    broken("a key twice", "runtime: yaml\n", "runtime: yaml\nruntime: yaml\n", "duplicate");
    broken("an action that is not named", "s3:PutObject", "s3:*", "not named");
    broken(
        "a right twice",
        "[xray:PutTelemetryRecords, xray:PutTraceSegments]",
        "[xray:PutTraceSegments, xray:PutTraceSegments]",
        "xray:PutTraceSegments on * \"Allow\" null null is there twice",
    );
    broken(
        "a setting nobody has",
        "quadrille-auction:logRetentionDays:",
        "quadrille-auction:logDays:",
        "no setting",
    );
    broken(
        "a setting that is missing",
        "quadrille-auction:alarmEmail:",
        "quadrille-auction:email:",
        "does not set alarmEmail",
    );
}
