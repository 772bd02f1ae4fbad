//! What the compiler says of a handler that is none: which part is off, and what a handler looks like.
//!
//! Each file of `messages/` is a mistake; what has to stand in the compiler's messages about it follows `//~`. The texts are
//! ours: the compiler's own differ by its version.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the cases speak of, which compiles.
const COMMON: &str = "tea";

/// Cases that end a compilation before types are looked at: each is a crate of its own.
const EARLY: [&str; 1] = ["macros"];

#[derive(Deserialize)]
struct Line {
    target: Target,
    message: Message,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    rendered: String,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    is_primary: bool,
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// A crate that has all cases, outside the workspace but with its lock file.
fn crate_of(names: &[String]) -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages");
    let source = folder.join("src");
    // What an earlier run wrote is not a case any more.
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(source.join("bin")).unwrap();
    let manifest = format!(
        "[package]\nname = \"messages\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         quadrille = {{ path = {core:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(core.join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let module =
        |name: &str| format!("#[path = {:?}]\npub mod {name};\n", cases().join(format!("{name}.rs")));
    let (early, late): (Vec<_>, Vec<_>) = names.iter().partition(|name| EARLY.contains(&name.as_str()));
    let program = |names: String| names + "fn main() {}\n";
    // A program and not a library, which the other programs would wait for.
    let all: String = late.into_iter().map(|name| module(name)).collect();
    fs::write(source.join("main.rs"), program(all)).unwrap();
    for name in early {
        let alone = module(COMMON) + &module(name);
        fs::write(source.join(format!("bin/{name}.rs")), program(alone)).unwrap();
    }
    folder
}

/// The compiler's errors about each file.
fn errors(folder: &Path) -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["check", "--offline", "--keep-going", "--message-format", "json"])
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("RUSTFLAGS", "")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors: BTreeMap<String, String> = BTreeMap::new();
    for Line { target, message } in lines.filter(|line| line.message.level == "error") {
        // An error of a macro lies where the macro is defined.
        if EARLY.contains(&target.name.as_str()) {
            *errors.entry(target.name).or_default() += &message.rendered;
            continue;
        }
        for span in message.spans.iter().filter(|span| span.is_primary) {
            *errors.entry(stem(Path::new(&span.file_name))).or_default() += &message.rendered;
        }
    }
    assert!(!errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    errors
}

/// A text without what differs by the compiler's version: breaks of lines, signs at their beginning, paths before names.
fn plain(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !matches!(*word, "|" | "="));
    let text = words.collect::<Vec<_>>().join(" ");
    let mut plain = String::with_capacity(text.len());
    for part in text.split_inclusive("::") {
        let kept = part
            .strip_suffix("::")
            .map(|path| path.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_'));
        plain += kept.unwrap_or(part);
    }
    plain
}

#[test]
fn a_mistake_in_a_handler_is_told_by_its_part() {
    let mut names: Vec<String> =
        fs::read_dir(cases()).unwrap().map(|entry| stem(&entry.unwrap().path())).collect();
    names.sort();
    let errors = errors(&crate_of(&names));
    assert!(!errors.contains_key(COMMON), "{}", errors[COMMON]);
    let mut wrong = String::new();
    for name in names.iter().filter(|name| *name != COMMON) {
        let source = fs::read_to_string(cases().join(format!("{name}.rs"))).unwrap();
        let said = plain(errors.get(name).map(String::as_str).unwrap_or_default());
        let wanted: Vec<&str> = source.lines().filter_map(|line| line.trim().strip_prefix("//~ ")).collect();
        assert!(!wanted.is_empty(), "{name}: nothing is wanted");
        for text in wanted.iter().filter(|text| !said.contains(&plain(text))) {
            wrong += &format!("{name}: nothing says {text:?}:\n{said}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
