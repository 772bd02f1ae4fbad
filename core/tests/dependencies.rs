//! What each crate of the workspace is built of, as `cargo tree` tells: who wants the library, or the command, does not
//! get an SDK or a database that was not asked for.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use std::process::Command;

/// Every way in which a package comes to depend on another, from the root to the dependency: `quadrille > time > …`.
fn ways(package: &str, options: &[&str]) -> Vec<Vec<String>> {
    // With depths, so that the way to each crate can be told; not deduplicated, so that no way is left out.
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "depth", "--no-dedupe"])
        .args(["--format", "|{p}", "--package", package])
        .args(options)
        .output()
        .unwrap();
    let (tree, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cargo tree: {errors}");
    let mut way: Vec<String> = Vec::new();
    let mut ways = Vec::new();
    for line in tree.lines() {
        let (depth, dependency) = line.split_once('|').unwrap();
        way.truncate(depth.parse().unwrap());
        way.push(dependency.split(' ').next().unwrap().to_owned());
        ways.push(way.clone());
    }
    assert_eq!(ways.first().map(|way| way.join(" > ")).as_deref(), Some(package), "{tree}");
    ways
}

/// The ways to crates that `is` names.
fn ways_to(is: impl Fn(&str) -> bool, ways: &[Vec<String>]) -> Vec<String> {
    let ends = |way: &&Vec<String>| way.last().is_some_and(|last| is(last));
    ways.iter().filter(ends).map(|way| way.join(" > ")).collect()
}

fn of_aws(name: &str) -> bool {
    name.starts_with("aws-")
}

/// Asserts that a package contains no crate that `is` names, or says what pulled it in.
#[track_caller]
fn assert_free_of(what: &str, is: impl Fn(&str) -> bool, package: &str, ways: &[Vec<String>]) {
    let found = ways_to(is, ways);
    assert!(found.is_empty(), "{package} contains {what}, pulled in by:\n  {}", found.join("\n  "));
}

#[test]
fn the_library_by_itself_contains_no_database_no_server_and_no_sdk() {
    let ways = ways("quadrille", &[]);
    assert_free_of("a crate of AWS's", of_aws, "quadrille", &ways);
    for name in ["rusqlite", "libsqlite3-sys", "hyper", "hyper-util", "rustix"] {
        assert_free_of(name, |dependency| dependency == name, "quadrille", &ways);
    }
}

#[test]
fn the_command_contains_no_sdk() {
    assert_free_of("a crate of AWS's", of_aws, "quadrille-command", &ways("quadrille-command", &[]));
}

#[test]
fn the_functions_are_empty_unless_they_are_asked_for() {
    // So that a test of the whole workspace compiles no crate of AWS's. With the feature, their own tests look.
    assert_free_of("a crate of AWS's", of_aws, "lambdas", &ways("lambdas", &[]));
    assert_free_of("the runtime", |name| name == "lambda_runtime", "lambdas", &ways("lambdas", &[]));
}

#[test]
fn with_the_features_that_ask_for_them_database_and_server_are_there() {
    // What shows that the tests above would find them.
    let ways = ways("quadrille", &["--features", "local,server"]);
    for name in ["rusqlite", "hyper"] {
        let found = ways_to(|dependency| dependency == name, &ways);
        assert!(found.contains(&format!("quadrille > {name}")), "{found:?}");
    }
    let found = ways_to(|dependency| dependency == "libsqlite3-sys", &ways);
    assert_eq!(found, ["quadrille > rusqlite > libsqlite3-sys"]);
    assert_free_of("a crate of AWS's", of_aws, "quadrille", &ways);
    // Either is there without the other.
    let of_server = |name: &str| ["hyper", "hyper-util", "http-body-util"].contains(&name);
    assert_free_of("the server", of_server, "quadrille", &self::ways("quadrille", &["--features", "local"]));
    let of_database = |name: &str| ["rusqlite", "libsqlite3-sys"].contains(&name);
    assert_free_of(
        "the database",
        of_database,
        "quadrille",
        &self::ways("quadrille", &["--features", "server"]),
    );
}

// Asks for crates that the workspace's tests do without: `cargo test --workspace` does not even fetch them.
#[cfg(feature = "aws")]
#[test]
fn with_the_adapters_of_aws_come_no_database_and_one_cryptography() {
    let ways = ways("quadrille", &["--features", "aws"]);
    let found = ways_to(|dependency| dependency == "aws-sdk-dynamodb", &ways);
    assert_eq!(found, ["quadrille > aws-sdk-dynamodb"]);
    assert!(!ways_to(|dependency| dependency == "ring", &ways).is_empty());
    // aws-lc-rs would be a second one beside ring; single sign-on is not for a function.
    for name in
        ["rusqlite", "libsqlite3-sys", "rustix", "aws-lc-rs", "aws-lc-sys", "aws-sdk-sso", "aws-sdk-ssooidc"]
    {
        assert_free_of(name, |dependency| dependency == name, "quadrille", &ways);
    }
}
