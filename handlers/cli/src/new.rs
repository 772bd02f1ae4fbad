//! `new`: a crate with a choreography of one's own.
//!
//! The files of `templates/new` are those of a crate named `tea-shop`; that name is all that is put in, with the place of the
//! library.

use crate::{App, args, error::CommandError, print::line};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The longest name: 32 bytes. Ours: beside it, the stack's and the longest function's, `notify`, fit in the 64 bytes of a Lambda
/// function's name.
const NAME_BYTES_MAX: usize = 32;

/// What the templates are called.
const TEMPLATE: &str = "tea-shop";

/// The files, each with its place in the crate.
const FILES: [(&str, &str); 9] = [
    (".cargo/config.toml", include_str!("../templates/new/cargo-config.toml")),
    (".gitignore", include_str!("../templates/new/gitignore")),
    ("Cargo.toml", include_str!("../templates/new/Cargo.toml.template")),
    ("README.md", include_str!("../templates/new/README.md")),
    ("clippy.toml", include_str!("../templates/new/clippy.toml")),
    ("src/bin/functions.rs", include_str!("../templates/new/src/bin/functions.rs")),
    ("src/lib.rs", include_str!("../templates/new/src/lib.rs")),
    ("src/main.rs", include_str!("../templates/new/src/main.rs")),
    ("tests/orders.rs", include_str!("../templates/new/tests/orders.rs")),
];

/// Names that cargo refuses, or that another crate of the same program has: no crate can be called so.
const TAKEN: [&str; 15] = [
    "alloc",
    "async-trait",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "quadrille",
    "quadrille-cli",
    "serde",
    "serde-json",
    "std",
    "test",
    "tokio",
];

/// Rust's keywords (reference, "Keywords"), which a name without a hyphen can meet.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Where the crate finds the library.
#[derive(Debug, PartialEq, Eq)]
enum Library {
    /// In a clone of its repository, on this machine.
    Clone(PathBuf),
    /// In its repository.
    Repository(&'static str),
}

pub fn new(_: &App<'_>, args: &args::New) -> Result<(), CommandError> {
    let name = &args.name;
    check_name(name)?;
    let folder = args.dir.join(name);
    refuse_occupied(&folder)?;
    let library = library(args.library.as_deref())?;
    let io = |what: &str, path: &Path| CommandError::io(format!("{what} {}", path.display()));
    fs::create_dir_all(&folder).map_err(io("making", &folder))?;
    // As it was told: an absolute path stays one, a relative one leads from the crate to the clone.
    let library = match library {
        Library::Clone(clone) if args.library.as_ref().is_some_and(|told| told.is_absolute()) => {
            Library::Clone(clone)
        }
        Library::Clone(clone) => {
            let from = fs::canonicalize(&folder).map_err(io("looking for", &folder))?;
            Library::Clone(relative(&from, &clone))
        }
        library => library,
    };
    line(format_args!("{}", folder.display()));
    for (file, template) in FILES {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io("making", parent))?;
        }
        fs::write(&path, filled(template, name, &library)).map_err(io("writing", &path))?;
        line(format_args!("  {file}"));
    }
    if let Library::Clone(clone) = &library {
        // The versions that the library is tested with. Cargo takes what the crate needs, and adds the crate itself.
        let (from, to) = (folder.join(clone).join("Cargo.lock"), folder.join("Cargo.lock"));
        if from.is_file() {
            fs::copy(&from, &to).map_err(io("copying", &from))?;
            line("  Cargo.lock");
        }
    }
    line(format_args!("\nThe library: {}.", library.note()));
    line(format_args!("\nNext:\n  cd {}\n  cargo run -- demo\n  cargo test", folder.display()));
    Ok(())
}

fn check_name(name: &str) -> Result<(), CommandError> {
    let is_shaped = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && name.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_shaped || name.len() > NAME_BYTES_MAX {
        return Err(CommandError::Usage(format!(
            "{name:?} is no name for a crate and its choreography: take a-z, 0-9 and '-', a letter first, at most \
             {NAME_BYTES_MAX} of them"
        )));
    }
    if TAKEN.contains(&name) || KEYWORDS.contains(&name) {
        return Err(CommandError::Usage(format!(
            "no crate can be called {name:?}, which cargo or Rust knows already: take another name, such as \"my-{name}\""
        )));
    }
    Ok(())
}

/// Refuses a folder that has something in it, or a file of that name.
fn refuse_occupied(folder: &Path) -> Result<(), CommandError> {
    let occupied = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(CommandError::io(format!("looking into {}", folder.display()))(error)),
    };
    if occupied {
        return Err(CommandError::Refused(format!(
            "{} is there and not empty: take another name, or say --dir; nothing was written",
            folder.display()
        )));
    }
    Ok(())
}

/// The library: in the clone that was told, or that this command runs in; else in the repository, where one is known.
fn library(told: Option<&Path>) -> Result<Library, CommandError> {
    if let Some(told) = told {
        let clone = fs::canonicalize(told).ok().filter(|folder| is_clone(folder));
        return clone.map(Library::Clone).ok_or_else(|| {
            CommandError::NotFound(format!(
                "{} is no clone of the library's repository: it has no core/Cargo.toml and handlers/cli/Cargo.toml",
                told.display()
            ))
        });
    }
    let here = std::env::current_dir().map_err(CommandError::io("the current folder"))?;
    if let Some(clone) = here.ancestors().find(|folder| is_clone(folder)) {
        return Ok(Library::Clone(clone.to_path_buf()));
    }
    match env!("CARGO_PKG_REPOSITORY") {
        // By version alone, cargo would fetch whatever another person publishes under the name.
        "" => Err(CommandError::Usage(
            "the library's crates are not published: clone its repository, and say --library CLONE, or run this in the clone"
                .into(),
        )),
        repository => Ok(Library::Repository(repository)),
    }
}

fn is_clone(folder: &Path) -> bool {
    ["core/Cargo.toml", "handlers/cli/Cargo.toml"].iter().all(|file| folder.join(file).is_file())
}

/// The way from one folder to another; both are absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    up.chain(to[common..].iter().copied()).collect()
}

impl Library {
    /// How the manifest names its crate that lies in `folder`.
    fn dependency(&self, folder: &str) -> String {
        match self {
            Self::Clone(clone) => format!("path = {:?}", clone.join(folder).to_string_lossy()),
            Self::Repository(url) => format!("git = {url:?}, tag = \"v{}\"", env!("CARGO_PKG_VERSION")),
        }
    }

    /// What people are told about it.
    fn note(&self) -> String {
        match self {
            Self::Clone(clone) => format!(
                "its crates are not published, so that `Cargo.toml` names a clone of its repository, at `{}`",
                clone.display()
            ),
            Self::Repository(url) => {
                format!("its crates are not published, so that `Cargo.toml` names {url}")
            }
        }
    }
}

/// A template with the name and the library put in.
fn filled(template: &str, name: &str, library: &Library) -> String {
    template
        .replace(TEMPLATE, name)
        .replace(&TEMPLATE.replace('-', "_"), &name.replace('-', "_"))
        .replace("LIBRARY/core", &library.dependency("core"))
        .replace("LIBRARY/handlers/cli", &library.dependency("handlers/cli"))
        .replace("LIBRARY-NOTE", &library.note())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_that_no_crate_or_choreography_can_have() {
        for name in ["a", "tea-shop", "order", "x2", &"a".repeat(NAME_BYTES_MAX)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in
            ["", "Tea", "2x", "-x", "tea_shop", "tea shop", "../x", "té", "self", "serde-json", "test", &long]
        {
            assert!(matches!(check_name(name), Err(CommandError::Usage(_))), "{name}");
        }
    }

    #[test]
    fn the_way_from_the_crate_to_the_clone_is_relative() {
        let way = |from, to| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/clones/tea-shop", "/clones/quadrille"), Path::new("../quadrille"));
        assert_eq!(way("/clone/tea-shop", "/clone"), Path::new(".."));
        assert_eq!(way("/a/b", "/c/d"), Path::new("../../c/d"));
    }

    #[test]
    fn a_crate_far_from_any_clone_names_the_repository_at_the_version_of_the_command() {
        let library = Library::Repository("https://example.org/q");
        let manifest = filled("quadrille = { LIBRARY/core }\n", "x", &library);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            manifest,
            format!("quadrille = {{ git = \"https://example.org/q\", tag = \"v{version}\" }}\n")
        );
    }

    #[test]
    fn sqlite_is_built_as_in_the_librarys_own_workspace() {
        let flags = |text: &str| text.split_once("[env]").map(|(_, flags)| flags.to_owned());
        let ours = include_str!("../../../.cargo/config.toml");
        let made = include_str!("../templates/new/cargo-config.toml");
        assert_eq!(flags(made), flags(ours));
        assert!(flags(made).is_some());
    }
}
