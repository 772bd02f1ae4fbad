//! Places that exist on one machine only.

use crate::repository::{Fault, File};

/// Not written out, or this file would break its own rule.
const PLACES: [[&str; 2]; 7] = [
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/ho", "me/"],
    ["index.crates", ".io"],
    ["static.crates", ".io"],
    ["pypi", ".org"],
    ["registry.npmjs", ".org"],
];

/// Paths of a machine, and hosts of package registries: each tool knows its registry, and a network may have another.
pub fn of_a_machine(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for place in PLACES.map(|parts| parts.concat()) {
            // `…/network/` is no such path: the folder stands at the beginning.
            let begins =
                |at: &usize| !file.text[..*at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c));
            for at in file.text.match_indices(&place).map(|(at, _)| at).filter(begins) {
                let instead = "name it relative to the repository, or leave it to the tool";
                faults.push(file.fault(at, format!("`{place}`"), instead));
            }
        }
    }
    faults
}

#[test]
fn a_path_of_a_machine_is_found() {
    let [path, host] = [PLACES[2].concat(), PLACES[5].concat()];
    let text = format!("cd target/tools\ncd {path}me\ncd src{path}\ncurl https://{host}/simple\n");
    let found: Vec<usize> =
        of_a_machine(&[File::new(".ci/run", &text)]).iter().map(|fault| fault.line).collect();
    assert_eq!(found, [2, 4]);
}
