//! House rules: what a reviewer would have to look for in every change, each a function over the repository's files. A rule
//! that is broken names file and line, and says what to do instead. Beside each rule stands a test over an example that breaks it.
#![allow(clippy::unwrap_used, clippy::panic)] // A panic is how a test fails.

mod absences;
mod bans;
mod calls;
mod dead;
mod functions;
mod imports;
mod places;
mod prose;
mod repository;
mod rust;

use repository::{Fault, File, repository};

/// Asserts that the files keep a rule, or lists every place that breaks it.
#[track_caller]
fn assert_kept(rule: impl Fn(&[File]) -> Vec<Fault>) {
    let faults: Vec<String> = rule(repository()).iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{} places break a house rule:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn only_a_system_knows_that_system() {
    assert_kept(absences::systems);
}

#[test]
fn what_the_architecture_says_is_absent_is_absent() {
    assert_kept(absences::names);
}

#[test]
fn time_random_numbers_and_tasks_come_from_ports_and_engine() {
    assert_kept(calls::banned);
}

#[test]
fn no_select_draws_lots() {
    assert_kept(calls::unbiased_select);
}

#[test]
fn modules_import_from_where_a_name_is_at_home() {
    assert_kept(imports::by_the_front_page);
}

#[test]
fn functions_fit_on_a_page() {
    assert_kept(functions::long);
}

#[test]
fn every_source_file_is_compiled() {
    assert_kept(dead::sources);
}

#[test]
fn every_fixture_and_template_is_used() {
    assert_kept(dead::fixtures);
}

#[test]
fn every_page_is_linked() {
    assert_kept(dead::pages);
}

#[test]
fn the_documents_are_plain_english() {
    assert_kept(prose::sentences);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    assert_kept(places::of_a_machine);
}
