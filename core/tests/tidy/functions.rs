//! The length of functions.

use crate::{
    repository::{Fault, File},
    rust,
};

/// Lines from `fn` to the closing brace: what a screen shows at once.
const LINES_MAX: usize = 70;

/// Functions that are too long to be read at once. Tests may be: they are read from top to bottom.
pub fn long(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_source()) {
        let code = file.product();
        for at in rust::places(code, "fn ") {
            let function = &code[at..];
            let name = function["fn ".len()..].split(['(', '<']).next().unwrap_or_default();
            let lines = function[..rust::item_end(function)].lines().count();
            if lines > LINES_MAX {
                let found = format!("`{name}` has {lines} lines");
                let instead = format!("split it by what it does: no function has more than {LINES_MAX}");
                faults.push(file.fault(at, found, instead));
            }
        }
    }
    faults
}

#[test]
fn a_long_function_is_found_by_its_own_lines() {
    let body = |lines: usize| "    let a = \"}\"; // }\n".repeat(lines);
    let text = format!(
        "trait A {{ fn a(&self) -> [u8; 2]; }}\nfn b() {{\n{}}}\nfn c() {{\n{}}}\n#[cfg(test)]\nmod tests {{\nfn d() {{\n{}}}\n}}",
        body(68),
        body(69),
        body(99)
    );
    let faults = long(&[File::new("core/src/a.rs", &text)]);
    let found: Vec<(usize, &str)> = faults.iter().map(|fault| (fault.line, fault.found.as_str())).collect();
    assert_eq!(found, [(72, "`c` has 71 lines")]);
}
