//! `docs/metrics.md` names every metric of the library and of each system with its unit, and no other.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use quadrille::metrics::Metric;
use std::collections::BTreeMap;

/// The heading of a table, and what stands in it.
fn declared() -> BTreeMap<&'static str, Vec<Metric>> {
    BTreeMap::from([
        ("the library", quadrille::metrics::ALL.to_vec()),
        ("the auction", systems::auction::metrics::ALL.to_vec()),
        ("orders", systems::orders::metrics::ALL.to_vec()),
        ("the checkout", systems::checkout::metrics::ALL.to_vec()),
        ("snacks", systems::snacks::metrics::ALL.to_vec()),
    ])
}

#[test]
fn the_documentation_names_every_metric_with_its_unit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut documented: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for section in text.split("\n## Of ").skip(1) {
        let (heading, rest) = section.split_once('\n').unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let rows = rows.filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0)));
        documented.insert(heading, rows.collect());
    }
    let mut wanted: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (heading, metrics) in declared() {
        let rows: BTreeMap<&str, &str> =
            metrics.iter().map(|metric| (metric.name(), metric.unit().as_str())).collect();
        assert_eq!(rows.len(), metrics.len(), "{heading}: a name used twice");
        wanted.insert(heading, rows);
    }
    assert_eq!(documented, wanted);
    // Beside the library's and one for each system.
    assert_eq!(documented.len(), systems::ALL.len() + 1);
}
