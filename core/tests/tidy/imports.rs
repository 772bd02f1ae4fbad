//! Where a module takes its names from.

use crate::{
    repository::{Fault, File},
    rust,
};

/// Names that a module of the library takes from the front page, which is for its users: whoever reads the module should
/// see which other one it needs.
pub fn by_the_front_page(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("core/src/") && file.path.ends_with(".rs")) {
        let code = file.code();
        for at in rust::places(code, "crate::").into_iter().filter(|at| !code[..*at].ends_with('$')) {
            let path = &code[at + "crate::".len()..];
            for name in first_names(path).into_iter().filter(|name| name.starts_with(char::is_uppercase)) {
                let found = format!("`{name}` by `crate::{name}`");
                faults.push(file.fault(
                    at,
                    found,
                    "name the module that defines it (`crate::failure::Failure`)",
                ));
            }
        }
    }
    faults
}

/// What a path begins with: one name, or those between its braces.
fn first_names(path: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let Some(group) = path.strip_prefix('{') else {
        return path.split(|c| !is_part(c)).take(1).collect();
    };
    let (mut depth, mut names, mut begins) = (0_usize, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(group[begins..at].trim());
                begins = at + 1;
            }
            '}' => depth -= 1,
            _ => {}
        }
        if c == '}' && begins == at + 1 {
            break;
        }
    }
    names
}

#[test]
fn a_name_of_the_front_page_is_found() {
    let text = "use crate::{\n    Failure,\n    port::{Bucket, Queue},\n    limits,\n    Timestamp as Time,\n};\n\
                fn a() -> crate::Entity { $crate::Event }\nuse crate::alarm::Alert; // crate::Alert\n";
    let faults = by_the_front_page(&[File::new("core/src/a.rs", text)]);
    let found: Vec<(usize, &str)> = faults.iter().map(|fault| (fault.line, fault.found.as_str())).collect();
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 1, 7], "{found:?}");
}
