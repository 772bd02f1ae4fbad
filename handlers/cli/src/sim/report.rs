//! What runs found, for people and for scripts.

use super::build::identity;
use crate::{
    App,
    print::{Shown, line, shown},
    story::Story,
};
use quadrille::{
    excerpt,
    sim::{Explored, Failed, Options, Run},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::Path};

/// Lines that are shown of what happened in a run that failed.
const LINES_SHOWN: usize = 60;

/// Lines of a process between a fault and the line that it is shown with.
const NEAR: usize = 3;

/// Failures that are told one by one.
const FAILURES_SHOWN: usize = 5;

#[allow(clippy::cast_precision_loss)] // Figures for people.
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

/// For people: how much was tried, and which fault struck how often at which step.
pub fn report(explored: &Explored, seconds: f64) {
    let hours = explored.time.as_secs_f64() / 3_600.0;
    line(format_args!(
        "{} runs in {seconds:.1} s ({:.0}/s), {hours:.0} hours of simulated time ({:.0} a second), {} turns of tasks; {} posted \
         were taken, {} refused",
        explored.seeds,
        rate(explored.seeds, seconds),
        hours / seconds.max(0.001),
        explored.turns,
        explored.taken,
        explored.refused
    ));
    line("");
    line(shown("Faults by step", Shown::Bold));
    let mut steps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((fault, step), count) in explored.faults.iter().filter(|(_, count)| **count > 0) {
        steps.entry(step).or_default().push(format!("{fault} {count}"));
    }
    for (step, faults) in steps {
        line(format_args!("  {step}: {}", faults.join(", ")));
    }
    let mut spared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (fault, step) in explored.spared() {
        spared.entry(fault.as_str()).or_default().push(step);
    }
    for (fault, steps) in spared {
        let text = format!("  {fault} could have struck {}, and never did", steps.join(", "));
        line(shown(&text, Shown::Dim));
    }
    line("");
    line(shown("Properties", Shown::Bold));
    for (property, tried) in &explored.tried {
        line(format_args!("  {property}: tried {tried} times"));
    }
    line("");
}

/// The first of the failures.
pub fn tell_failures(failures: &[Failed]) {
    for Failed { seed, violation } in failures.iter().take(FAILURES_SHOWN) {
        line(format_args!(
            "{} seed {seed}: {}: {}",
            shown("FAILED", Shown::Bad),
            violation.property,
            excerpt(&violation.detail, 1_000)
        ));
    }
}

/// Tells the smallest run that fails in the same way.
pub fn tell_smallest(app: &App<'_>, run: &Run, failed: &Failed, smallest: &Options, tape: &Path) {
    line("");
    let names: Vec<&str> = smallest.faults.iter().map(|fault| fault.as_str()).collect();
    line(format_args!(
        "The smallest run found of seed {}: {} orders in {} minutes, with {} strikes at most of {}",
        failed.seed,
        smallest.orders,
        smallest.minutes,
        smallest.strikes_max,
        if names.is_empty() { "no fault".to_owned() } else { names.join(", ") }
    ));
    show(run);
    line("");
    line(format_args!("Build: {}", identity()));
    let named = if app.systems.len() > 1 { format!("{} ", app.system.name()) } else { String::new() };
    line(format_args!("Again: {}", app.typed(&format!("sim {named}--tape {}", tape.display()))));
}

/// The story of the entity concerned, what happened around it with the faults where they struck, and what does not hold.
pub fn show(run: &Run) {
    if let Some((entity, related)) = &run.concerned {
        line("");
        Story::new(entity.clone(), related.clone()).print(None, None, false);
    }
    line("");
    let trace = run.trace.as_deref().unwrap_or_default();
    let lines: Vec<&str> = trace.lines().collect();
    let ids = run.concerned.iter().flat_map(|(entity, related)| std::iter::once(entity).chain(related));
    let ids: Vec<&str> = ids.map(|entity| entity.id.as_str()).collect();
    let told = around(&lines, &ids);
    let left_out = told.len().saturating_sub(LINES_SHOWN);
    if left_out > 0 {
        line(format_args!("  … {left_out} lines before"));
    }
    for text in &told[left_out..] {
        let how = if is_fault(text) { Shown::Bad } else { Shown::Dim };
        line(format_args!("  {}", shown(&excerpt(text, 400), how)));
    }
    if let Some(violation) = &run.violation {
        let detail = excerpt(&violation.detail, 2_000);
        line(format_args!("{}: {}: {detail}", shown("FAILED", Shown::Bad), violation.property));
    }
}

/// Whether a line tells of a fault.
fn is_fault(text: &str) -> bool {
    let mut words = text.split("  ").skip(2);
    words.next().is_some_and(|word| matches!(word, "fault" | "dies"))
}

/// The process that a line is of.
fn process(text: &str) -> &str {
    text.split("  ").nth(1).unwrap_or_default()
}

/// The lines that name one of these ids, each with the faults that struck its process right before or after; all of them where
/// none does.
fn around<'a>(lines: &[&'a str], ids: &[&str]) -> Vec<&'a str> {
    let is_named = |text: &str| ids.iter().any(|id| text.contains(id));
    if !lines.iter().any(|text| is_named(text)) {
        return lines.to_vec();
    }
    let near = |at: usize| {
        let of = process(lines[at]);
        let behind = lines[at + 1..].iter().filter(|text| process(text) == of).take(NEAR);
        let before = lines[..at].iter().rev().filter(|text| process(text) == of).take(NEAR);
        behind.chain(before).any(|text| is_named(text))
    };
    let told = |(at, text): &(usize, &&str)| is_named(text) || (is_fault(text) && near(*at));
    lines.iter().enumerate().filter(told).map(|(_, text)| *text).collect()
}

/// For scripts.
pub fn summary(
    app: &App<'_>,
    explored: &Explored,
    seconds: f64,
    never: &[&str],
    tape: Option<&Path>,
) -> Value {
    let mut faults: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for ((fault, step), count) in explored.faults.iter().filter(|(_, count)| **count > 0) {
        faults.entry(fault.as_str()).or_default().insert(step.to_string(), json!(count));
    }
    let failures = explored.failed.iter().take(FAILURES_SHOWN).map(|Failed { seed, violation }| {
        json!({ "seed": seed, "property": violation.property, "step": violation.step, "detail": violation.detail })
    });
    let spared = explored.spared().into_iter().map(|(fault, step)| json!([fault.as_str(), step]));
    json!({
        "system": app.system.name(), "seeds": explored.seeds, "taken": explored.taken, "refused": explored.refused,
        "failed": explored.failed.len(), "seconds": (seconds * 1_000.0).round() / 1_000.0,
        "seeds_per_second": rate(explored.seeds, seconds).round(), "simulated_seconds": explored.time.as_secs(),
        "trace_hash": format!("{:016x}", explored.trace_hash), "faults": faults, "spared": spared.collect::<Vec<_>>(),
        "properties": explored.tried, "never": never, "failures": failures.collect::<Vec<_>>(), "tape": tape,
        "build": identity(),
    })
}
