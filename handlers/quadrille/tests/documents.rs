//! What the documents show is what the code says: the flow, the first choreography, the tests that are named, the links.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "documents/lines.rs"]
mod lines;

use quadrille::{
    System,
    setting::{Place, SettingModel},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Set, it makes the tests mend the documents where they can.
const MEND: &str = "MEND_DOCUMENTS";

const HOW: &str = "run `MEND_DOCUMENTS=1 cargo test -p quadrille-command --test documents`, look at the change, and commit it";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// README.md, CHANGELOG.md, CONTRIBUTING.md, and everything in `docs/`, relative to the root.
fn documents() -> Vec<String> {
    let of = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".md"));
        names.map(|name| format!("{folder}{name}")).collect::<Vec<_>>()
    };
    let mut all = [of(""), of("docs/"), of("docs/systems/")].concat();
    all.sort();
    all
}

/// Asserts that what stands between the markers of `name` in `document` is `wanted`; mends it where it may. False: the
/// document has no such markers.
fn shows(document: &str, name: &str, wanted: &str) -> bool {
    let text = read(document);
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let Some((before, rest)) = text.split_once(&begin) else {
        return false;
    };
    let (shown, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{document}: there is no {end}"));
    if shown == wanted {
        return true;
    }
    if std::env::var_os(MEND).is_some() {
        fs::write(root().join(document), format!("{before}{begin}{wanted}{end}{after}")).unwrap();
        return true;
    }
    panic!("{document}: what stands at <!-- {name} --> is not what the code says; {HOW}\n{wanted}");
}

#[test]
fn the_documents_show_the_flow_as_it_is_defined() {
    for system in systems::ALL {
        let mut diagram = Command::new(env!("CARGO_BIN_EXE_quadrille"));
        let output = diagram.args(["diagram", system.name()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let derived = String::from_utf8(output.stdout).unwrap();
        assert!(derived.starts_with("flowchart "), "{derived}");
        let (marker, wanted) = (format!("flow:{}", system.name()), format!("```mermaid\n{derived}```\n"));
        let shown: Vec<String> =
            documents().into_iter().filter(|document| shows(document, &marker, &wanted)).collect();
        assert!(!shown.is_empty(), "no document has <!-- {marker} -->");
    }
}

/// The settings of a system as a table, as they are declared.
fn settings(system: &dyn System) -> String {
    let choreography = system.define().build().unwrap();
    let model = choreography.model();
    let read: BTreeSet<&str> = model
        .handlers()
        .flat_map(|step| model.settings_of(step))
        .map(|setting| setting.name.as_str())
        .collect();
    let default = |setting: &SettingModel, place| match setting.default_in(place) {
        Some(value) => format!("`{value}`"),
        None if setting.is_optional => "none".to_owned(),
        None => "to be said".to_owned(),
    };
    let mut table =
        "| option | variable of the function | config key | value | default | on one machine | |\n"
            .to_owned();
    table += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for setting in &model.settings {
        let option = setting.option();
        let words = setting.words.iter().map(|word| format!(", or `{word}`")).collect::<String>();
        // One that no function reads is the engine's on one machine.
        let (variable, key, on_aws) = match read.contains(setting.name.as_str()) {
            true => (
                format!("`{}`", setting.function_variable()),
                match setting.is_secret {
                    true => format!("the secret `{}-STACK-{option}`", system.name()),
                    false => format!("`{}`", setting.key()),
                },
                default(setting, Place::Stack),
            ),
            false => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        table += &format!(
            "| `--{option}` | {variable} | {key} | {}{words} | {on_aws} | {} | {} |\n",
            setting.kind.expected(),
            default(setting, Place::Command),
            setting.about
        );
    }
    table
}

#[test]
fn the_documents_show_the_settings_as_they_are_declared() {
    for system in systems::ALL {
        let marker = format!("settings:{}", system.name());
        let wanted = settings(*system);
        let shown = documents().into_iter().filter(|document| shows(document, &marker, &wanted)).count();
        assert!(shown > 0, "no document has <!-- {marker} -->");
    }
}

/// What is wider than a resource of what a deployment may do, as a table.
fn wide() -> String {
    let mut table = "   | of | may | anywhere, because |\n   | --- | --- | --- |\n".to_owned();
    for (kind, actions, why) in quadrille::infrastructure::wide() {
        let actions: Vec<String> = actions.into_iter().map(|action| format!("`{action}`")).collect();
        table += &format!("   | `{kind}` | {} | {why} |\n", actions.join(", "));
    }
    // The marker behind it is indented as well.
    table + "   "
}

#[test]
fn the_documents_show_which_rights_of_a_deployment_are_wider_than_a_resource() {
    assert!(shows("docs/delivery.md", "wide", &wide()), "docs/delivery.md has no <!-- wide -->");
}

/// The blocks of code in a crate's own documentation, without the lines that rustdoc hides.
fn examples(source: &str) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let (mut blocks, mut block) = (Vec::new(), None::<String>);
    for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
        match &mut block {
            None if line.starts_with("```") => block = Some(String::new()),
            None => {}
            Some(_) if line.starts_with("```") => blocks.extend(block.take()),
            Some(_) if line == "#" || line.starts_with("# ") => {}
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    blocks
}

#[test]
fn the_first_choreography_is_the_crates_own_example() {
    let examples = examples(&read("core/src/lib.rs"));
    let first = examples.iter().find(|example| example.contains("Choreography::define"));
    let first = first.expect("core/src/lib.rs has an example that defines a choreography");
    let wanted = format!("```rust\n{first}```\n");
    assert!(
        shows("README.md", "first-choreography", &wanted),
        "README.md has no <!-- first-choreography -->"
    );
}

/// The lines of `source` between `begin: name` and `end: name`, moved to the left.
fn part(source: &str, name: &str) -> Option<String> {
    let (_, rest) = source.split_once(&format!("// begin: {name}\n"))?;
    let (part, _) = rest.split_once(&format!("// end: {name}\n"))?;
    // What is left of the line that ends it is its indentation, and so that of them all.
    let (part, indentation) = part.rsplit_once('\n')?;
    Some(
        part.lines()
            .map(|line| line.strip_prefix(indentation).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n"),
    )
}

#[test]
fn the_code_that_documents_show_is_run_by_a_test() {
    let mut shown = 0;
    for document in documents() {
        let text = read(&document);
        for marker in text.lines().filter_map(|line| line.strip_prefix("<!-- code: ")?.strip_suffix(" -->")) {
            let (path, name) = marker.split_once('#').unwrap_or_else(|| panic!("{document}: {marker}: no #"));
            let part = part(&read(path), name).unwrap_or_else(|| panic!("{document}: {path} has no {name}"));
            assert!(shows(&document, &format!("code: {marker}"), &format!("```rust\n{part}```\n")));
            shown += 1;
        }
    }
    assert!(shown > 4, "{shown} parts are shown");
}

#[test]
fn the_runbook_names_every_alarm() {
    let runbook = read("docs/operations.md");
    let rows: Vec<&str> = runbook.lines().filter(|line| line.starts_with("| `")).collect();
    for system in systems::ALL {
        let program = read(&format!("infra/{}/Pulumi.yaml", system.name()));
        let mut named = 0;
        for alarm in program.split("type: aws:cloudwatch:MetricAlarm\n").skip(1) {
            let name = alarm.lines().find_map(|line| line.trim().strip_prefix("name: ${prefix}-"));
            let name = name.unwrap_or_else(|| panic!("an alarm without a name: {alarm}"));
            let of_a_function = ["errors", "throttles", "unreadable"]
                .into_iter()
                .find(|end| name.ends_with(&format!("-{end}")));
            let row = of_a_function.map_or(format!("`{name}`"), |end| format!("`<function>-{end}`"));
            assert!(rows.iter().any(|text| text.contains(&row)), "docs/operations.md has no row for {row}");
            named += 1;
        }
        assert!(named > 10, "{}: {named} alarms are named", system.name());
    }
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    for document in documents() {
        let text = read(&document);
        for (path, name) in text.lines().flat_map(quoted).filter_map(|text| text.split_once("::")) {
            let word = match path.rsplit_once('.') {
                Some((_, "rs")) => "fn",
                Some((_, "py")) => "def",
                _ => continue,
            };
            let source = read(path);
            let (function, scenario) = (format!("{word} {name}("), format!("{name},"));
            let defined = source.lines().map(str::trim_start);
            let mut defined = defined.filter(|line| {
                line.contains(&function)
                    || line.strip_prefix("server_test!(").unwrap_or(line).starts_with(&scenario)
            });
            assert!(defined.next().is_some(), "{document}: {path} has no test {name}");
            named += 1;
        }
    }
    assert!(named > 20, "{named} tests are named");
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let is_elsewhere = target.contains("://") || file.is_empty();
            assert!(is_elsewhere || folder.join(file).exists(), "{document} links to {target}");
        }
    }
}

#[test]
fn the_page_of_the_simulator_names_every_fault_and_every_mistake_that_is_planted() {
    let page = fs::read_to_string(root().join("docs/simulation.md")).unwrap();
    let general = quadrille::planted::MISTAKES.iter().map(|(name, _)| *name);
    let own = systems::planted::PLANTED.iter().map(|(_, name, _)| *name);
    let faults = quadrille::sim::Fault::ALL.iter().map(|fault| fault.as_str());
    for name in general.chain(own).chain(faults) {
        assert!(page.contains(&format!("`{name}`")), "docs/simulation.md does not name {name}");
    }
}
