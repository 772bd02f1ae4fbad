//! The files of the repository, and a fault found in one.

use crate::rust;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A text file.
pub struct File {
    /// Relative to the root, with slashes: `core/src/lib.rs`.
    pub path: String,
    pub text: String,
    code: OnceLock<String>,
    product: OnceLock<String>,
}

impl File {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), code: OnceLock::new(), product: OnceLock::new() }
    }

    /// The code of a file of Rust: comments and the insides of strings are spaces, so that every byte is where it was.
    pub fn code(&self) -> &str {
        self.code.get_or_init(|| rust::code(&self.text))
    }

    /// Its code without its tests.
    pub fn product(&self) -> &str {
        let is_test = self.path.ends_with("/tests.rs");
        self.product.get_or_init(|| if is_test { String::new() } else { rust::without_tests(self.code()) })
    }

    /// A file of Rust in the `src` of one of the workspace's packages.
    pub fn is_source(&self) -> bool {
        let package = self.path.split_once("/src/").map_or("", |(package, _)| package);
        let is_package =
            package == "core" || package.strip_prefix("handlers/").is_some_and(|it| !it.contains('/'));
        is_package && self.path.ends_with(".rs")
    }

    /// A fault at the byte `at`.
    pub fn fault(&self, at: usize, found: impl Into<String>, instead: impl Into<String>) -> Fault {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        Fault { path: self.path.clone(), line, found: found.into(), instead: instead.into() }
    }
}

/// A place that breaks a rule.
#[derive(Debug)]
pub struct Fault {
    pub path: String,
    pub line: usize,
    pub found: String,
    /// What to do instead.
    pub instead: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.found, self.instead)
    }
}

/// Every text file of the repository, read once.
pub fn repository() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut paths = Vec::new();
        gather(root, &mut paths);
        paths.sort();
        let relative = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        // What is not text has no words.
        paths
            .iter()
            .filter_map(|path| Some(File::new(relative(path), fs::read_to_string(path).ok()?)))
            .collect()
    })
}

/// Folders that git ignores, and git's own.
const IGNORED: [&str; 4] = [".git", ".quadrille", "packages", "target"];

fn gather(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let is_folder = entry.file_type().unwrap().is_dir();
        let is_ignored = IGNORED.iter().any(|name| entry.file_name() == *name);
        match (is_folder, is_ignored) {
            (true, true) => {}
            (true, false) => gather(&entry.path(), paths),
            // In a worktree, `.git` is a file.
            (false, _) if entry.file_name() == ".git" => {}
            (false, _) => paths.push(entry.path()),
        }
    }
}

#[test]
fn a_fault_says_where_it_is_and_what_to_do() {
    let fault = File::new("core/src/a.rs", "one\ntwo\n").fault(5, "two", "write three");
    assert_eq!(fault.to_string(), "core/src/a.rs:2: two: write three");
}

#[test]
fn the_repository_has_sources_and_documents_but_nothing_that_was_built() {
    let has = |path: &str| repository().iter().any(|file| file.path == path);
    assert!(has("core/tests/tidy/repository.rs") && has("README.md"));
    assert!(repository().iter().all(|file| !file.path.starts_with("target/")));
    assert!(repository().iter().filter(|file| file.is_source()).count() > 100);
}
