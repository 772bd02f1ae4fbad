//! `new`: the files of the crate that it makes, and what it refuses. That the crate compiles and runs is what `.ci/new` and
//! `.ci/tutorial` show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use std::{collections::BTreeMap, fs, path::Path};
use support::{Done, command, quadrille, run};

const CLONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// `new`, run in `folder`.
fn new(folder: &Path, arguments: &[&str]) -> Done {
    let mut command = command(&[&["new"], arguments].concat());
    command.current_dir(folder);
    run(command, b"")
}

/// The files below a folder, by their places in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let place = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.insert(place, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_crate_is_made_whole_with_its_name_and_the_way_to_the_library_put_in() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    let told = quadrille(&["new", "corner-shop", "--dir", dir, "--library", CLONE]).ok();
    let files = files(&root.path().join("corner-shop"));
    let places: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        ".cargo/config.toml",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "clippy.toml",
        "src/bin/functions.rs",
        "src/lib.rs",
        "src/main.rs",
        "tests/orders.rs",
    ];
    assert_eq!(places, expected);
    assert!(expected.iter().all(|place| told.contains(place)), "{told}");
    assert!(told.contains("cargo run -- demo"), "{told}");

    for (place, text) in files.iter().filter(|(place, _)| *place != "Cargo.lock") {
        assert!(
            !["tea-shop", "tea_shop", "LIBRARY"].iter().any(|left| text.contains(left)),
            "{place}: {text}"
        );
    }
    let clone = fs::canonicalize(CLONE).unwrap();
    let manifest = &files["Cargo.toml"];
    assert!(
        manifest.contains("name = \"corner-shop\"") && manifest.contains("\n[workspace]\n"),
        "{manifest}"
    );
    for folder in ["core", "handlers/cli"] {
        let path = format!("path = {:?}", clone.join(folder).to_str().unwrap());
        assert!(manifest.contains(&path), "{path}: {manifest}");
    }
    assert!(files["src/main.rs"].contains("quadrille_cli::main(&[&corner_shop::Shop])"));
    assert!(files["src/bin/functions.rs"].contains("quadrille::lambda::main(&corner_shop::Shop)"));
}

#[test]
fn a_relative_way_to_the_library_leads_there_from_the_crate() {
    let root = tempfile::tempdir().unwrap();
    for file in ["clone/core/Cargo.toml", "clone/handlers/cli/Cargo.toml"] {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    new(root.path(), &["one", "--library", "clone"]).ok();
    new(&root.path().join("clone/core"), &["two", "--dir", ".."]).ok();
    for (made, way) in [("one", "../clone/core"), ("clone/two", "../core")] {
        let manifest = fs::read_to_string(root.path().join(made).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("quadrille = {{ path = {way:?} }}")), "{manifest}");
    }
}

#[test]
fn what_is_refused_leaves_everything_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("full")).unwrap();
    fs::write(root.path().join("full/notes.txt"), "mine").unwrap();
    fs::write(root.path().join("file"), "mine").unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    let long = "a".repeat(33);
    for (arguments, code) in [
        (&["full", "--library", CLONE][..], 4),
        (&["file", "--library", CLONE], 4),
        (&["Tea", "--library", CLONE], 2),
        (&["tea_shop", "--library", CLONE], 2),
        (&["../tea", "--library", CLONE], 2),
        (&["self", "--library", CLONE], 2),
        (&[&long, "--library", CLONE], 2),
        (&["tea", "--library", "empty"], 3),
        // No clone is known: nothing is guessed from a registry.
        (&["tea"], 2),
    ] {
        let done = new(root.path(), arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        let left = files(root.path());
        assert_eq!(left.keys().collect::<Vec<_>>(), ["file", "full/notes.txt"], "{arguments:?}");
        assert!(!root.path().join("tea").exists(), "{arguments:?}");
    }
    new(root.path(), &["empty", "--library", CLONE]).ok();
}
