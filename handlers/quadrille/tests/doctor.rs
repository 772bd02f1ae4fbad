//! `doctor`: what it finds well, what it warns of, what fails, and that it changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use support::{Done, Engine, command, files, orders, run};

/// What `doctor` tells, its exit code first.
fn doctor(args: &[&str], variables: &[(&str, &str)]) -> (i32, Value) {
    let mut command = command(&[&["doctor"], args, &["--json"]].concat());
    command.envs(variables.iter().copied());
    let Done { code, out, err } = run(command, b"");
    let told = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    (code, told)
}

/// The state of a check and what was found; the first of that name.
fn check<'a>(told: &'a Value, name: &str) -> (&'a str, &'a str) {
    let checks = told["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} is not told of: {told:#}"));
    (found["state"].as_str().unwrap(), found["found"].as_str().unwrap())
}

#[track_caller]
fn fails(told: &(i32, Value), name: &str, says: &str) {
    let (state, found) = check(&told.1, name);
    assert!(told.0 == 1 && state == "fail" && found.contains(says), "{name}: {}: {:#}", told.0, told.1);
    assert_eq!(told.1["ok"], false);
}

#[track_caller]
fn is(told: &(i32, Value), name: &str, state: &str, says: &str) {
    let found = check(&told.1, name);
    assert!(told.0 == 0 && found.0 == state && found.1.contains(says), "{name}: {found:?} {:#}", told.1);
}

fn held(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

/// A folder with a dead letter and an order that waits.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--seed", "7", "--not-ready", "0"]);
    let all = orders("order-", 12);
    engine.take(&all);
    engine.kickoff();
    engine.settled(12);
    engine.terminate();
    folder
}

#[test]
fn what_runs_and_what_is_at_rest_is_told_and_nothing_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let none = root.path().join("data");
    let data = none.to_str().unwrap();
    let told = doctor(&["--data", data, "--port", "0"], &[]);
    is(&told, "folder", "warn", "holds nothing yet");
    is(&told, "port", "ok", "is free");
    is(&told, "disk", "ok", "GB are free");
    is(&told, "token", "ok", "none");
    is(&told, "versions", "ok", env!("CARGO_PKG_VERSION"));
    assert!(!none.exists());

    let folder = folder();
    let before = held(folder.path());
    let data = folder.path().to_str().unwrap();
    let told = doctor(&["--data", data, "--port", "0"], &[]);
    is(&told, "folder", "ok", "is of auction, format 2, whole, and nobody has it");
    is(&told, "clock", "ok", "was last written at");
    is(&told, "dead letters", "warn", "`quadrille dlq list --queue auction-results-dlq` tells why");
    is(&told, "waiting", "ok", "no message waits");
    assert_eq!(held(folder.path()), before);

    let engine = Engine::up(folder.path(), &[]);
    for args in [["--data", data], ["--url", &format!("http://{}", engine.address)]] {
        let told = doctor(&args, &[]);
        is(&told, "engine", "ok", "answers, and runs auction");
        is(&told, "health", "ok", "");
        is(&told, "engine's version", "ok", env!("CARGO_PKG_VERSION"));
        is(&told, "dead letters", "warn", "auction-results-dlq");
    }
    let text = run(command(&["doctor", "--data", data]), b"").ok();
    assert!(text.contains("ok    engine: ") && text.contains("warn  dead letters: "), "{text}");
    assert!(text.contains("configuration:\n") && text.contains("  every = 30s  (default)"), "{text}");
    // Of another system.
    fails(&doctor(&["snacks", "--data", data], &[]), "engine", "runs \"auction\" and not \"snacks\"");
    let port = engine.address.rsplit(':').next().unwrap();
    let told = doctor(&["--data", none.to_str().unwrap(), "--port", port], &[]);
    fails(&told, "port", "the engine of auction on another folder answers");
    engine.terminate();
    fails(&doctor(&["snacks", "--data", data], &[]), "folder", "belongs to the choreography `auction`");
}

#[test]
fn what_keeps_a_system_from_running_fails_with_a_way_out() {
    let folder = folder();
    let data = folder.path().to_str().unwrap();
    let here = |args: &[&str]| doctor(&[&["--data", data, "--port", "0"], args].concat(), &[]);
    assert_eq!(here(&[]).0, 0);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    fails(&doctor(&["--data", data, "--port", &port], &[]), "port", "another port with --port");
    drop(listener);
    fails(&here(&["--url", "http://127.0.0.1:1"]), "engine", "mend --url");
    fails(&here(&["--every", "soon"]), "settings", "--every");
    fails(&here(&["--token-file", "nowhere"]), "token", "--token-file");
    let file = folder.path().with_extension("token");
    fs::write(&file, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    is(&here(&["--token-file", file.to_str().unwrap()]), "token", "warn", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    is(&here(&["--token-file", file.to_str().unwrap()]), "token", "ok", "the mode 600");
    fs::write(&file, "short").unwrap();
    fails(&here(&["--token-file", file.to_str().unwrap()]), "token", "16 to 4096 visible ASCII characters");
    fs::write(&file, "dta = 1").unwrap();
    fails(&here(&["--config", file.to_str().unwrap()]), "configuration file", "line 1: dta is no key here");
    fs::remove_file(&file).unwrap();

    let mark = folder.path().join("quadrille.mark");
    let kept = fs::read(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    fails(&here(&[]), "folder", "quadrille.mark");
    fs::write(&mark, kept).unwrap();
    assert_eq!(here(&[]).0, 0);
    // A page in the middle of the database.
    let mut database = fs::OpenOptions::new().write(true).open(folder.path().join("quadrille.db")).unwrap();
    let length = database.metadata().unwrap().len();
    database.seek(SeekFrom::Start(length / 8_192 / 2 * 8_192)).unwrap();
    database.write_all(&[0xA5; 8_192]).unwrap();
    drop(database);
    fails(&here(&[]), "folder", "damaged");
}

#[test]
fn each_value_in_force_is_told_with_where_it_comes_from_and_no_secret_is() {
    let root = tempfile::tempdir().unwrap();
    let (file, hook) = (root.path().join("q.toml"), root.path().join("hook"));
    fs::write(&hook, "http://hooks.test/geheim").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    let text =
        "data = \"kept\"\n[auction]\nseed = 9\nnot_ready = 6\nevery = \"21s\"\nwebhook_file = \"hook\"\n";
    fs::write(&file, text).unwrap();
    let variables = [("QUADRILLE_NOT_READY", "4"), ("QUADRILLE_SEED", "8"), ("QUADRILLE_BACKOFF", "")];
    let told = doctor(&["--config", file.to_str().unwrap(), "--seed", "5", "--port", "0"], &variables);
    let in_force = |key: &str| {
        let values = told.1["configuration"].as_array().unwrap();
        let found = values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("{key}"));
        (found["value"].as_str().unwrap().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    let shown = file.display();
    let data = root.path().join("kept");
    for (key, value, from) in [
        ("seed", "5", "the option --seed".to_owned()),
        ("not_ready", "4", "the variable QUADRILLE_NOT_READY".to_owned()),
        ("every", "21s", format!("{shown}, line 5")),
        ("backoff", "200ms", "default".to_owned()),
        ("data", data.to_str().unwrap(), format!("{shown}, line 1")),
        ("webhook", "a secret", format!("{shown}, line 6")),
        ("target", "local", "default".to_owned()),
        ("url", "not set", "default".to_owned()),
    ] {
        assert_eq!(in_force(key), (value.to_owned(), from), "{key}");
    }
    is(&told, "secret", "warn", "chmod 600");
    assert!(!told.1.to_string().contains("geheim"), "{:#}", told.1);
}
