//! The lines that a system's author writes for a step, and what the same step takes by hand.

use super::{MEND, read, root, shows};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

const SYSTEMS: &str = "handlers/systems/src";
const BY_HAND: &str = "handlers/lambda/examples/by_hand";

/// Lines of a file: from the item that the first text is in, before the item that the second is in.
type Part = (&'static str, Option<&'static str>, Option<&'static str>);

const fn whole(file: &'static str) -> Part {
    (file, None, None)
}

const fn from(file: &'static str, item: &'static str) -> Part {
    (file, Some(item), None)
}

const fn until(file: &'static str, item: &'static str) -> Part {
    (file, None, Some(item))
}

const fn between(file: &'static str, item: &'static str, end: &'static str) -> Part {
    (file, Some(item), Some(end))
}

/// A step, and where its author wrote it. A folder stands for all files in it. By hand it is the file or the folder of its name.
struct Step {
    system: &'static str,
    /// The steps of the definition that it is.
    names: &'static [&'static str],
    parts: &'static [Part],
    /// What it has by hand beside that.
    beside: &'static [&'static str],
}

const fn step(system: &'static str, names: &'static [&'static str], parts: &'static [Part]) -> Step {
    Step { system, names, parts, beside: &[] }
}

const STEPS: [Step; 22] = [
    step("auction", &["post_orders"], &[until("orders.rs", "fn get_order(")]),
    step("auction", &["get_order"], &[between("orders.rs", "fn get_order(", "fn withdraw_order(")]),
    step("auction", &["withdraw_order"], &[from("orders.rs", "fn withdraw_order(")]),
    step("auction", &["store_result"], &[whole("results.rs")]),
    // By hand a round that is given up leaves its run in place of a step of its own.
    step(
        "auction",
        &["poll_auction", "leave_run"],
        &[whole("run"), between("mod.rs", "async fn poll(", "const STATUSES")],
    ),
    step("snacks", &["order_creator"], &[until("orders.rs", "fn no_such_order(")]),
    step("snacks", &["get_order"], &[between("orders.rs", "fn no_such_order(", "fn cancel_order(")]),
    step("snacks", &["cancel_order"], &[from("orders.rs", "fn cancel_order(")]),
    step("snacks", &["order_processor"], &[whole("processing.rs")]),
    step("orders", &["create_order"], &[until("create.rs", "fn get_order(")]),
    step("orders", &["get_order"], &[from("create.rs", "fn get_order(")]),
    step("orders", &["process_order"], &[whole("process.rs")]),
    step("checkout", &["create_order"], &[between("intake.rs", "fn create_order(", "fn get_order(")]),
    step(
        "checkout",
        &["receive_order"],
        &[until("intake.rs", "fn create_order("), until("events.rs", "struct OrderReceived")],
    ),
    step("checkout", &["get_order"], &[from("intake.rs", "fn get_order(")]),
    step("checkout", &["put_product"], &[until("products.rs", "struct OnSale")]),
    step("checkout", &["get_product"], &[from("products.rs", "struct OnSale")]),
    Step {
        system: "checkout",
        names: &["validate_order"],
        parts: &[
            whole("validate.rs"),
            until("stock.rs", "fn return_stock("),
            until("fail.rs", "fn not_paid("),
            between("events.rs", "struct OrderReceived", "struct PaymentDue"),
        ],
        beside: &["stock.rs"],
    },
    step(
        "checkout",
        &["process_payment"],
        &[
            until("pay.rs", "fn void_payment("),
            between("fail.rs", "fn not_paid(", "fn failing("),
            between("events.rs", "struct PaymentDue", "struct OrderFailing"),
            from("events.rs", "struct OrderEnded"),
        ],
    ),
    step(
        "checkout",
        &["fail_order"],
        &[from("fail.rs", "fn failing("), between("events.rs", "struct OrderFailing", "struct StockReturn")],
    ),
    step(
        "checkout",
        &["return_stock"],
        &[
            from("stock.rs", "fn return_stock("),
            between("events.rs", "struct StockReturn", "struct PaymentVoid"),
        ],
    ),
    step(
        "checkout",
        &["void_payment"],
        &[
            from("pay.rs", "fn void_payment("),
            between("events.rs", "struct PaymentVoid", "struct OrderEnded"),
        ],
    ),
];

/// Files of a system that are no step: its definition, and what both ways use or neither has.
const BESIDE_STEPS: [&str; 9] = [
    "mod.rs",
    "infrastructure.rs",
    "metrics.rs",
    "demo.rs",
    "properties.rs",
    "bench",
    "platform",
    "kitchen.rs",
    "gateway",
];

/// What the definition of a system is: by hand, the programs for Pulumi and the dashboard stand in its place.
const DEFINITION: [&str; 3] = ["mod.rs", "infrastructure.rs", "metrics.rs"];

/// The files that steps by hand share, and the call by which one is seen to need them.
const SHARED: [(&str, &[&str]); 5] = [
    ("shared/mod.rs", &["config()"]),
    ("shared/table.rs", &["Table::new("]),
    ("shared/http.rs", &["serve("]),
    ("shared/queue.rs", &["Queue::new(", "DeadLetters::new("]),
    ("shared/relay.rs", &["Message::new("]),
];

/// Steps that are over what they take by hand without their part of what is shared. `docs/systems.md` says why.
const OVER_ALONE: [&str; 1] = ["poll_auction"];

/// The lines of a text that its author wrote: no tests, imports, comments and blank lines.
fn written(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut is_import = false;
    for line in text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
        let code = line.trim_start();
        let is_first = ["use ", "pub use ", "pub(crate) use "].iter().any(|word| code.starts_with(word));
        is_import |= is_first;
        if !is_import && !code.is_empty() && !code.starts_with("//") {
            lines.push(line);
        }
        is_import &= !code.ends_with(';');
    }
    lines
}

/// Where the item begins that `name` is in: at its first attribute.
fn item(lines: &[&str], file: &str, name: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(name));
    let mut at = found.unwrap_or_else(|| panic!("{file} has no {name}"));
    while at > 0 && lines[at - 1].starts_with("#[") {
        at -= 1;
    }
    at
}

/// The files of Rust at a path, which may be a folder.
fn files(path: &str) -> Vec<String> {
    if !root().join(path).is_dir() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(root().join(path)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut found: Vec<String> =
        entries.flat_map(|name| files(&format!("{path}/{}", name.to_str().unwrap()))).collect();
    found.sort();
    found
}

fn lines_at(path: &str) -> usize {
    files(path).iter().map(|file| written(&read(file)).len()).sum()
}

impl Step {
    /// Lines on the library, by file.
    fn ours(&self) -> Vec<(String, usize)> {
        let part = |(file, first, end): &Part| {
            let path = format!("{SYSTEMS}/{}/{file}", self.system);
            let (Some(first), end) = (first.or(Some("")), end) else { return (path, 0) };
            if first.is_empty() && end.is_none() {
                return (path.clone(), lines_at(&path));
            }
            let text = read(&path);
            let lines = written(&text);
            let first = if first.is_empty() { 0 } else { item(&lines, file, first) };
            let end = end.map_or(lines.len(), |end| item(&lines, file, end));
            (path, end - first)
        };
        self.parts.iter().map(part).collect()
    }

    /// Its own files by hand.
    fn by_hand(&self) -> Vec<String> {
        let own = format!("{BY_HAND}/{}/{}", self.system, self.names[0]);
        let own = if root().join(&own).is_dir() { own } else { format!("{own}.rs") };
        let beside = self.beside.iter().map(|file| format!("{BY_HAND}/{}/{file}", self.system));
        std::iter::once(own).chain(beside).flat_map(|path| files(&path)).collect()
    }

    /// Whether it needs a shared file.
    fn needs(&self, calls: &[&str]) -> bool {
        let files = self.by_hand();
        files.iter().any(|file| calls.iter().any(|call| read(file).contains(call)))
    }
}

/// Lines of a step: on the library, by hand, and its part of what the steps of its system share by hand.
struct Count {
    ours: usize,
    own: usize,
    part: usize,
}

fn count(step: &Step) -> Count {
    let ours = step.ours().iter().map(|(_, lines)| lines).sum();
    let own = step.by_hand().iter().map(|file| lines_at(file)).sum();
    let mut part = 0;
    for (file, calls) in SHARED.iter().filter(|(_, calls)| step.needs(calls)) {
        let users = STEPS.iter().filter(|other| other.system == step.system && other.needs(calls));
        part += lines_at(&format!("{BY_HAND}/{file}")) / users.count();
    }
    Count { ours, own, part }
}

#[test]
fn no_step_has_more_lines_than_by_hand_and_the_page_shows_both() {
    let counts: Vec<(&Step, Count)> = STEPS.iter().map(|step| (step, count(step))).collect();
    let mut text = "| system | step | lines | by hand | and its part of what is shared |\n\
         | --- | --- | ---: | ---: | ---: |\n"
        .to_owned();
    for (step, Count { ours, own, part }) in &counts {
        let (system, name) = (step.system, step.names[0]);
        writeln!(text, "| {system} | `{name}` | {ours} | {own} | {} |", own + part).unwrap();
        let most = if OVER_ALONE.contains(&name) { own + part } else { *own };
        assert!(*ours <= most, "{system}, {name}: {ours} lines on the library, and by hand it takes {most}");
    }
    let over: Vec<String> = counts
        .iter()
        .filter(|(_, count)| count.ours > count.own)
        .map(|(step, count)| {
            format!("`{}` of {} has {} more", step.names[0], step.system, count.ours - count.own)
        })
        .collect();
    let over = if over.is_empty() { "none".to_owned() } else { over.join(", ") };
    writeln!(text, "\nOver the lines of the step alone, without its part of what is shared: {over}.\n")
        .unwrap();
    text += "| system | steps | definition | steps by hand | shared by hand |\n\
         | --- | ---: | ---: | ---: | ---: |\n";
    for system in systems::ALL.iter().map(|system| system.name()) {
        let of = |lines: fn(&Count) -> usize| -> usize {
            let counts = counts.iter().filter(|(step, _)| step.system == system);
            counts.map(|(_, count)| lines(count)).sum()
        };
        let all: usize = DEFINITION.iter().map(|file| lines_at(&format!("{SYSTEMS}/{system}/{file}"))).sum();
        let of_steps =
            counts.iter().filter(|(step, _)| step.system == system).flat_map(|(step, _)| step.ours());
        let of_steps = of_steps.filter(|(path, _)| path.ends_with(&format!("{system}/mod.rs")));
        let definition = all - of_steps.map(|(_, lines)| lines).sum::<usize>();
        let shared: usize = SHARED
            .iter()
            .filter(|(_, calls)| STEPS.iter().any(|step| step.system == system && step.needs(calls)))
            .map(|(file, _)| lines_at(&format!("{BY_HAND}/{file}")))
            .sum();
        let (ours, own) = (of(|count| count.ours), of(|count| count.own));
        writeln!(text, "| {system} | {ours} | {definition} | {own} | {shared} |").unwrap();
    }
    assert!(shows("docs/systems.md", "lines", &text), "docs/systems.md has no <!-- lines --> ({MEND})");
}

#[test]
fn every_step_and_every_file_of_a_system_is_counted_once() {
    for system in systems::ALL {
        let choreography = system.define().build().unwrap();
        let counted: Vec<&Step> = STEPS.iter().filter(|step| step.system == system.name()).collect();
        let names: BTreeSet<&str> = counted.iter().flat_map(|step| step.names).copied().collect();
        let of_its_own = choreography.model().handlers().filter(|step| *step != "notify");
        for step in of_its_own {
            assert!(names.contains(step.as_str()), "{}: the step {step} is not counted", system.name());
        }
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for (file, count) in counted.iter().flat_map(|step| step.ours()) {
            *lines.entry(file).or_default() += count;
        }
        let folder = format!("{SYSTEMS}/{}", system.name());
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !BESIDE_STEPS.contains(&name.as_str()) {
                let file = format!("{folder}/{name}");
                let all = lines_at(&file);
                assert_eq!(lines.get(&file), Some(&all), "{file}: its steps are to have all its lines");
            }
        }
        let by_hand: BTreeSet<String> = counted.iter().flat_map(|step| step.by_hand()).collect();
        let all = files(&format!("{BY_HAND}/{}", system.name()));
        let only_names = |file: &&String| file.ends_with(&format!("{}/mod.rs", system.name()));
        for file in all.iter().filter(|file| !only_names(file)) {
            assert!(by_hand.contains(file), "{file}: no step has its lines");
        }
    }
}

#[test]
fn tests_imports_comments_and_blank_lines_are_not_counted() {
    let text = "//! a\nuse b::c;\nuse d::{\n    e,\n    f,\n};\n\n#[derive(Debug)]\nstruct G; // h\n/// i\nfn j() {\n    // k\n}\n\
                #[cfg(test)]\nmod tests {}\n";
    assert_eq!(written(text), ["#[derive(Debug)]", "struct G; // h", "fn j() {", "}"]);
    assert_eq!(item(&written(text), "g.rs", "struct G"), 0);
    assert_eq!(item(&written(text), "g.rs", "fn j("), 2);
}
