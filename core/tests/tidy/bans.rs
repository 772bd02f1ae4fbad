//! Names that may not stand in some files, and the files that are excepted, each with its reason.

use crate::{
    repository::{Fault, File},
    rust,
};

/// Names, and where they may not stand.
pub struct Ban {
    /// Each found where it begins a word.
    pub names: &'static [&'static str],
    /// The beginnings of the paths of the files that are looked at.
    pub within: &'static [&'static str],
    /// Beginnings of paths that may have the names, with the reason.
    pub except: &'static [(&'static str, &'static str)],
    /// What to write instead.
    pub instead: &'static str,
}

impl Ban {
    /// The names where they stand in code that is no test, and exceptions that nothing needs any longer.
    pub fn faults(&self, files: &[File]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut needed = vec![false; self.except.len()];
        for file in
            files.iter().filter(|file| file.path.ends_with(".rs") && starts_with_any(&file.path, self.within))
        {
            let code = file.product();
            let found = self
                .names
                .iter()
                .flat_map(|name| rust::places(code, name).into_iter().map(move |at| (at, name)));
            let found =
                found.map(|(at, name)| file.fault(at, format!("`{name}`"), self.instead)).collect::<Vec<_>>();
            match self.except.iter().position(|(path, _)| file.path.starts_with(path)) {
                Some(exception) => needed[exception] |= !found.is_empty(),
                None => faults.extend(found),
            }
        }
        let unneeded = self.except.iter().zip(needed).filter(|(_, needed)| !needed);
        faults.extend(unneeded.map(|((path, reason), _)| Fault {
            path: (*path).to_owned(),
            line: 1,
            found: format!("an exception that nothing needs ({reason}, for {})", self.names.join(", ")),
            instead: "remove it from core/tests/tidy".to_owned(),
        }));
        faults
    }
}

pub fn starts_with_any(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}

#[test]
fn a_banned_name_is_found_but_in_tests_strings_and_excepted_files() {
    let ban = Ban {
        names: &["dice::"],
        within: &["core/src/"],
        except: &[("core/src/chance.rs", "the port of chance")],
        instead: "draw from the port",
    };
    let text = "// dice::\nfn a() { dice::roll(\"dice::\") }\n#[cfg(test)]\nmod tests { use dice::roll; }";
    let files = [
        File::new("core/src/a.rs", text),
        File::new("core/src/chance.rs", text),
        File::new("core/src/a.md", text),
        File::new("core/tests/a.rs", text),
    ];
    let faults: Vec<String> = ban.faults(&files).iter().map(ToString::to_string).collect();
    assert_eq!(faults, ["core/src/a.rs:2: `dice::`: draw from the port"]);
}

#[test]
fn an_exception_that_nothing_needs_is_a_fault() {
    let ban = Ban {
        names: &["dice::"],
        within: &["core/src/"],
        except: &[("core/src/chance.rs", "the port of chance")],
        instead: "draw from the port",
    };
    let faults = ban.faults(&[File::new("core/src/chance.rs", "// no dice")]);
    assert!(faults[0].found.contains("nothing needs (the port of chance"), "{faults:?}");
}
