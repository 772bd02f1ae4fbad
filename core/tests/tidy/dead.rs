//! Files that nothing uses.

use crate::{
    repository::{Fault, File},
    rust,
};
use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

/// Files of Rust that no `mod` reaches from a root of their package: they look like code, and nothing compiles them.
pub fn sources(files: &[File]) -> Vec<Fault> {
    let all: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<&File> = files.iter().filter(|file| file.is_source() && is_root(&file.path)).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file.path.clone()) {
            let next =
                modules(file).into_iter().chain(included(file)).filter(|path| all.contains(path.as_str()));
            open.extend(next.flat_map(|path| files.iter().filter(move |file| file.path == path)));
        }
    }
    let dead = files.iter().filter(|file| file.is_source() && !reached.contains(&file.path));
    dead.map(|file| {
        file.fault(0, "no `mod` reaches this file", "declare it in its parent module, or delete it")
    })
    .collect()
}

fn is_root(path: &str) -> bool {
    let name = path.split_once("/src/").map_or("", |(_, name)| name);
    name == "lib.rs" || name == "main.rs" || name.strip_prefix("bin/").is_some_and(|name| !name.contains('/'))
}

/// Where the files may be that the `mod name;` of a file declare.
fn modules(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or_default();
    let is_folder = is_root(&file.path) || name == "mod.rs";
    let inner = if is_folder { folder.to_owned() } else { file.path.trim_end_matches(".rs").to_owned() };
    let code = file.code();
    let declared =
        rust::places(code, "mod ").into_iter().filter_map(|at| code[at + "mod ".len()..].split_once(';'));
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let names = declared.map(|(name, _)| name).filter(|name| is_name(name));
    names.flat_map(|name| [format!("{inner}/{name}.rs"), format!("{inner}/{name}/mod.rs")]).collect()
}

/// The files that a file names by their path: `#[path = "…"]`, `include!("…")`.
fn included(file: &File) -> Vec<String> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let marks = ["#[path = \"", "include!(\"", "include_str!(\""];
    let named =
        marks.iter().flat_map(|mark| file.text.split(mark).skip(1)).filter_map(|rest| rest.split('"').next());
    named.map(|path| resolved(&folder.join(path))).collect()
}

/// A path without `..`.
fn resolved(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            part => parts.push(part.as_os_str().to_string_lossy()),
        }
    }
    parts.join("/")
}

/// Fixtures and templates that neither a test nor a source names.
pub fn fixtures(files: &[File]) -> Vec<Fault> {
    let code: Vec<&File> = files.iter().filter(|file| file.path.ends_with(".rs")).collect();
    let is_named = |name: &str| code.iter().any(|file| file.text.contains(name));
    let is_used = |path: &str| {
        if let Some(at) = path.find("/templates/") {
            return is_named(&path[at..]);
        }
        // By its name, or by what it is a version of: a test reads it as `{name}.v1.json`, or `{name}.json`.
        let name = path.rsplit('/').next().unwrap_or_default();
        let of = name.split(".v").next().unwrap_or_default().trim_end_matches(".json");
        is_named(name) || is_named(&format!("\"{of}\""))
    };
    let is_fixture = |path: &str| path.contains("/tests/fixtures/") && !path.ends_with("/README.md");
    let kept = files
        .iter()
        .filter(|file| is_fixture(&file.path) || file.path.starts_with("handlers/cli/templates/"));
    let unused = kept.filter(|file| !is_used(&file.path));
    unused
        .map(|file| file.fault(0, "neither a test nor a source names this file", "use it, or delete it"))
        .collect()
}

/// Pages that no reader finds, for no other page links to them.
pub fn pages(files: &[File]) -> Vec<Fault> {
    let documents = || files.iter().filter(|file| file.path.ends_with(".md"));
    let linked: BTreeSet<String> = documents().flat_map(links).collect();
    let unlinked = documents().filter(|file| file.path.starts_with("docs/") && !linked.contains(&file.path));
    unlinked
        .map(|file| file.fault(0, "no page links to this one", "link it from README.md, or delete it"))
        .collect()
}

/// The files that a page links to, but itself.
fn links(page: &File) -> Vec<String> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.map(|target| resolved(&folder.join(target))).filter(|target| *target != page.path).collect()
}

#[test]
fn a_source_that_no_mod_reaches_is_found() {
    let files = [
        File::new("core/src/lib.rs", "mod a;\npub mod b;\n// mod d;\n#[path = \"odd/e.rs\"]\nmod e;"),
        File::new("core/src/a.rs", "mod c;"),
        File::new("core/src/a/c.rs", ""),
        File::new("core/src/b/mod.rs", "mod c;\nmod inline { }"),
        File::new("core/src/b/c.rs", ""),
        File::new("core/src/odd/e.rs", ""),
        File::new("core/src/d.rs", "mod f;"),
        File::new("core/src/f.rs", ""),
        File::new("handlers/lambda/src/bin/g.rs", ""),
    ];
    let found: Vec<String> = sources(&files).into_iter().map(|fault| fault.path).collect();
    assert_eq!(found, ["core/src/d.rs", "core/src/f.rs"]);
}

#[test]
fn a_fixture_or_a_template_that_nothing_names_is_found() {
    let used = "include_str!(\"fixtures/event.v1.json\"); fixture(\"alarm\"); include_str!(\"../templates/new/lib.rs\")";
    let files = [
        File::new("core/tests/a.rs", used),
        File::new("core/tests/fixtures/event.v1.json", "{}"),
        File::new("core/tests/fixtures/event.v2.json", "{}"),
        File::new("handlers/lambda/tests/fixtures/alarm.json", "{}"),
        File::new("handlers/cli/templates/new/lib.rs", ""),
        File::new("handlers/cli/templates/old/lib.rs", ""),
    ];
    let found: Vec<String> = fixtures(&files).into_iter().map(|fault| fault.path).collect();
    assert_eq!(found, ["core/tests/fixtures/event.v2.json", "handlers/cli/templates/old/lib.rs"]);
}

#[test]
fn a_page_that_no_other_links_to_is_found() {
    let files = [
        File::new("README.md", "[one](docs/one.md#first)"),
        File::new("docs/one.md", "[two](two.md), [home](../README.md)"),
        File::new("docs/two.md", ""),
        File::new("docs/three.md", "[itself](three.md)"),
    ];
    let found: Vec<String> = pages(&files).into_iter().map(|fault| fault.path).collect();
    assert_eq!(found, ["docs/three.md"]);
}
