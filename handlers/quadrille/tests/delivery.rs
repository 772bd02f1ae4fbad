//! The scripts of `.ci/` that tell people of a delivery, with stand-ins for `gh` and `curl` before them on the path.
#![allow(clippy::unwrap_used, clippy::panic)] // A panic is how a test fails.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A folder with the stand-ins: `gh` says which run is the newest, and `curl` keeps what it was to send.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(newest: u32) -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        stage.stand_in(
            "gh",
            &format!("printf '%s\\n' \"$*\" >\"{}/asked\"\necho {newest}", stage.path().display()),
        );
        stage.stand_in("curl", &format!("cat >\"{}/sent\"", stage.path().display()));
        stage
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn stand_in(&self, name: &str, script: &str) {
        let file = self.path().join(name);
        fs::write(&file, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Tells of run 7.
    fn tell(&self, commit: &str, results: &str, webhook: &str) -> Output {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.ci/tell-failure");
        let path = format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap());
        Command::new(script)
            .args(["The delivery", commit, results])
            .env("PATH", path)
            .env("SLACK_WEBHOOK", webhook)
            .env("TMPDIR", self.path())
            .envs([("GITHUB_REPOSITORY", "o/n"), ("GITHUB_REF_NAME", "main"), ("GITHUB_RUN_NUMBER", "7")])
            .envs([("GITHUB_RUN_ID", "70"), ("GITHUB_SERVER_URL", "https://git.example")])
            .env("GITHUB_WORKFLOW_REF", "o/n/.github/workflows/ci.yml@refs/heads/main")
            .output()
            .unwrap()
    }

    /// What Slack was told.
    fn told(&self) -> Option<String> {
        let text = fs::read_to_string(self.path().join("sent")).ok()?;
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        Some(told["text"].as_str().unwrap().to_owned())
    }
}

/// The scripts need it; where it is not installed, they are not run either.
fn has_jq() -> bool {
    let is_there = Command::new("jq").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("LEFT OUT: jq is not here");
    }
    is_there
}

fn told(newest: u32, commit: &str, results: &str) -> Option<String> {
    let stage = Stage::new(newest);
    let done = stage.tell(commit, results, "https://hooks.example/secret");
    assert!(done.status.success(), "{done:?}");
    assert!(!format!("{done:?}").contains("secret"), "{done:?}");
    stage.told()
}

#[test]
fn a_failure_is_told_with_the_commit_that_it_was_about() {
    if !has_jq() {
        return;
    }
    let run = "https://git.example/o/n/actions/runs/70";
    let failed = told(9, COMMIT, r#"["success","failure","skipped"]"#);
    assert_eq!(failed, Some(format!("The delivery failed at 0123456: {run}")), "newer run or not");
    let unknown = told(7, "none", r#"["failure"]"#);
    assert_eq!(unknown, Some(format!("The delivery failed: {run}")), "no commit was found");
    let typed = told(7, "$(reboot) <!channel>", r#"["failure"]"#);
    assert_eq!(typed, Some(format!("The delivery failed: {run}")), "what somebody typed goes nowhere");
}

#[test]
fn of_a_run_that_a_newer_one_superseded_nobody_is_told() {
    if !has_jq() {
        return;
    }
    assert_eq!(told(8, COMMIT, r#"["success","cancelled"]"#), None);
    let cut_off = told(7, COMMIT, r#"["success","cancelled"]"#);
    let run = "https://git.example/o/n/actions/runs/70";
    assert_eq!(cut_off, Some(format!("The delivery was cut off at 0123456: {run}")), "its time was over");
    assert_eq!(told(7, COMMIT, r#"["success","skipped"]"#), None);
    let stage = Stage::new(8);
    stage.tell(COMMIT, r#"["cancelled"]"#, "https://hooks.example/secret");
    let asked = fs::read_to_string(stage.path().join("asked")).unwrap();
    assert!(asked.contains("--workflow ci.yml --branch main"), "{asked}");
}

#[test]
fn without_a_webhook_nobody_is_told_and_that_is_said() {
    if !has_jq() {
        return;
    }
    let stage = Stage::new(7);
    let done = stage.tell(COMMIT, r#"["failure"]"#, "");
    assert!(
        done.status.success() && String::from_utf8_lossy(&done.stdout).contains("no secret SLACK_WEBHOOK")
    );
    assert_eq!(stage.told(), None);
}
