//! What the functions are built of, as `cargo tree` tells. Here and not beside the library's own such tests: it takes the
//! crates of AWS, which the workspace's tests do without.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use std::process::Command;

#[test]
fn the_functions_contain_no_database_no_second_tls_and_no_command_line() {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--package", "lambdas", "--features", "aws"])
        .output()
        .unwrap();
    let (tree, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cargo tree: {errors}");
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    // What shows that it would find them.
    assert!(names.contains(&"lambda_runtime") && names.contains(&"aws-sdk-dynamodb"), "{tree}");
    for name in ["rusqlite", "libsqlite3-sys", "aws-lc-rs", "aws-lc-sys", "openssl-sys", "clap"] {
        assert!(
            !names.contains(&name),
            "the functions contain {name}: `cargo tree -p lambdas --features aws -i {name}`"
        );
    }
}
