//! Packages of the functions, as the command makes them.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Output},
};

/// What the binary of the auction's functions is called.
const FUNCTIONS: &str = "auction-functions";

fn package(binaries: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quadrille"));
    command.args(["package", "auction", "--binaries"]).arg(binaries).arg("--out").arg(out).args(more);
    command.output().unwrap()
}

/// The head of an executable of Linux for this machine, `machine` as ELF numbers them, and something behind it.
fn executable(machine: u8, of: &str) -> Vec<u8> {
    let mut executable = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
    executable.extend([machine, 0]);
    executable.extend(of.repeat(1_000).bytes());
    executable
}

const ARM64: u8 = 183;
const X86_64: u8 = 62;

#[test]
fn the_same_binary_makes_the_same_bytes() {
    let (one, other, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let binary = executable(ARM64, "functions");
    // As cargo lambda leaves it, and as cargo does; at different times, in different places, with other modes.
    fs::create_dir(one.path().join(FUNCTIONS)).unwrap();
    fs::write(one.path().join(FUNCTIONS).join("bootstrap"), &binary).unwrap();
    let file = fs::File::create(other.path().join(FUNCTIONS)).unwrap();
    std::io::Write::write_all(&mut &file, &binary).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (first, second) = (out.path().join("first"), out.path().join("second"));
    for (binaries, to) in [(one.path(), &first), (other.path(), &second)] {
        let packaged = package(binaries, to, &[]);
        assert!(packaged.status.success(), "{}", String::from_utf8_lossy(&packaged.stderr));
    }
    let bytes = fs::read(first.join("auction.zip")).unwrap();
    assert_eq!(bytes, fs::read(second.join("auction.zip")).unwrap());
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(zip.len(), 1);
    let mut entry = zip.by_index(0).unwrap();
    assert_eq!(
        (entry.name().unwrap().into_owned(), entry.unix_mode().unwrap() & 0o777),
        ("bootstrap".to_owned(), 0o755)
    );
    let mut unpacked = Vec::new();
    entry.read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, binary);
    let names: Vec<_> = fs::read_dir(&first).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["auction.zip"], "one for all functions, and nothing left over");
}

#[test]
fn an_unchanged_package_is_left_alone() {
    let (binaries, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let binary = |of: &str| fs::write(binaries.path().join(FUNCTIONS), executable(ARM64, of)).unwrap();
    binary("functions");
    let packaged = package(binaries.path(), out.path(), &["--json"]);
    let sizes: serde_json::Value = serde_json::from_slice(&packaged.stdout).unwrap();
    let zip = out.path().join("auction.zip");
    assert_eq!(sizes["auction"]["zipped"], fs::metadata(&zip).unwrap().len());
    assert_eq!(sizes["auction"]["bytes"], fs::metadata(binaries.path().join(FUNCTIONS)).unwrap().len());
    let long_ago = std::time::UNIX_EPOCH;
    fs::File::options().write(true).open(&zip).unwrap().set_modified(long_ago).unwrap();
    assert!(package(binaries.path(), out.path(), &[]).status.success());
    assert_eq!(fs::metadata(&zip).unwrap().modified().unwrap(), long_ago);
    binary("changed");
    assert!(package(binaries.path(), out.path(), &[]).status.success());
    assert!(fs::metadata(&zip).unwrap().modified().unwrap() > long_ago, "a changed one is packaged anew");
}

#[test]
fn what_would_not_start_is_refused_and_nothing_is_written() {
    let (binaries, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let missing = package(binaries.path(), out.path(), &[]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cargo lambda build"));
    fs::write(binaries.path().join(FUNCTIONS), executable(X86_64, "functions")).unwrap();
    let wrong = package(binaries.path(), out.path(), &[]);
    assert_eq!(wrong.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("arm64"));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    assert!(package(binaries.path(), out.path(), &["--any-machine"]).status.success());
}
