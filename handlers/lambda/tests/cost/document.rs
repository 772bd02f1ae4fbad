//! The tables of `docs/cost.md`, read, checked, and with `MEND_DOCUMENTS=1` written anew.

use crate::meter::Counts;
use std::{collections::BTreeMap, path::PathBuf};

/// How far a measured figure may be from what the document says.
const TOLERANCE: f64 = 0.011;

/// By what part a figure may differ where orders race for something.
const RACES: f64 = 0.34;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/cost.md")
}

/// Works the rows of the table behind the line `<!-- table: NAME -->`, cell by cell, but for its head.
fn rows(lines: &mut [String], name: &str, mut work: impl FnMut(&mut Vec<String>)) {
    let marker = format!("<!-- table: {name} -->");
    let at = lines.iter().position(|line| *line == marker).unwrap_or_else(|| panic!("no line {marker}"));
    let table = lines[at + 1..].iter_mut().skip_while(|line| !line.starts_with('|')).skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let mut cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        work(&mut cells);
        *line = format!("| {} |", cells.join(" | "));
    }
}

fn number(cell: &str) -> f64 {
    cell.trim_matches('*').parse().unwrap_or_else(|error| panic!("{cell:?}: {error}"))
}

/// Asserts that the document has what an order of each system was measured to use, and that this is within the budget beside it.
/// A column is what its head says.
pub fn check_systems(measured: &BTreeMap<&str, Counts>, columns: &[&str]) {
    let mends = std::env::var_os("MEND_DOCUMENTS").is_some_and(|value| value == "1");
    let before = std::fs::read_to_string(path()).unwrap();
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    let (mut faults, mut over) = (Vec::new(), Vec::new());
    let mut told = Vec::new();
    rows(&mut lines, "systems", |cells| {
        let (system, budget) = (cells[0].clone(), cells[1] == "at most");
        let Some(counts) = measured.get(system.as_str()) else { panic!("{system} was not measured") };
        told.push((system.clone(), budget));
        for (column, what) in columns.iter().enumerate() {
            let (measured, cell) = (counts.get(*what).copied().unwrap_or(0.0), &mut cells[column + 2]);
            if budget && measured > number(cell) {
                over.push(format!("{system}: {what}: {measured:.3}, the budget is {cell}"));
            } else if !budget && mends {
                *cell = format!("{measured:.3}");
            } else if !budget && (number(cell) - measured).abs() > TOLERANCE.max(measured * RACES) {
                faults.push(format!("{system}: {what}: {measured:.3} measured, the document says {cell}"));
            }
        }
    });
    assert_eq!(told.len(), 2 * measured.len(), "each system has a budget and what was measured: {told:?}");
    if mends {
        std::fs::write(path(), lines.join("\n") + "\n").unwrap();
    }
    assert_eq!(over, Vec::<String>::new());
    assert_eq!(faults, Vec::<String>::new(), "MEND_DOCUMENTS=1 writes what is measured");
}

/// Asserts that the document has what was measured, and that this is within its budget.
pub fn check(accepted: &Counts, rejected: &Counts) {
    let mends = std::env::var_os("MEND_DOCUMENTS").is_some_and(|value| value == "1");
    let before = std::fs::read_to_string(path()).unwrap();
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    let mut faults = Vec::new();
    let count = |counts: &Counts, what: &str| counts.get(what).copied().unwrap_or(0.0);
    let mut told = |what: &str, cell: &mut String, measured: f64, decimals: usize| {
        if mends {
            *cell = format!("{measured:.decimals$}");
        } else if (number(cell) - measured).abs() > TOLERANCE {
            faults.push(format!("{what}: {measured:.decimals$} measured, the document says {cell}"));
        }
    };
    let mut over = Vec::new();
    rows(&mut lines, "budget", |cells| {
        let what = cells[0].clone();
        for (column, counts) in [(2, accepted), (3, rejected)] {
            let measured = count(counts, &what);
            told(&what, &mut cells[column], measured, 3);
            if measured > number(&cells[1]) {
                over.push(format!("{what}: {measured:.3}, the budget is {}", cells[1]));
            }
        }
    });
    // The price of a million orders is the price of a million of what one uses, times how many of it one uses.
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    rows(&mut lines, "price", |cells| {
        let what = cells[0].clone();
        for (column, priced, counts) in
            [(3, 1, accepted), (4, 2, accepted), (5, 1, rejected), (6, 2, rejected)]
        {
            if what == "**sum**" {
                let mut cell = cells[column].trim_matches('*').to_owned();
                told("the sum", &mut cell, sums[&column], 2);
                cells[column] = format!("**{cell}**");
            } else {
                let price = number(&cells[priced]) * count(counts, &what);
                *sums.entry(column).or_default() += price;
                told(&what, &mut cells[column], price, 3);
            }
        }
    });
    rows(&mut lines, "beside", |cells| {
        if cells[0] == "this" {
            told("this", &mut cells[2], sums[&3], 2);
        }
    });
    if mends {
        std::fs::write(path(), lines.join("\n") + "\n").unwrap();
    }
    assert_eq!(over, Vec::<String>::new());
    assert_eq!(faults, Vec::<String>::new(), "MEND_DOCUMENTS=1 writes what is measured");
}
