//! What is spread over places is spread by a number that everybody reads; and what Lambda and DynamoDB take of the numbers that
//! scale a flow.

use super::DefinitionError;
use crate::{
    limits,
    model::{Model, StepModel, TableModel, TableUse},
    setting::SettingKind,
};
use std::ops::RangeInclusive;

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    for table in &model.tables {
        units(table, errors);
        let Some(spread) = &table.spread else { continue };
        let kind = spread.kind.as_deref().unwrap_or_default();
        if !table.kinds.iter().any(|held| held == kind) {
            errors.push(super::undefined(&format!("the spread of {}", table.name), "kind", kind));
        }
        setting(model, &format!("the index of {} is spread", table.name), &spread.setting, errors);
        let queries = |step: &&String| {
            let uses = model.uses_of(step).and_then(|uses| uses.kinds().get(kind));
            uses.is_some_and(|uses| uses.contains(&TableUse::Query))
        };
        unread(model, model.handlers().filter(queries), &spread.setting, errors);
    }
    for bucket in &model.buckets {
        let Some(spread) = &bucket.spread else { continue };
        setting(model, &format!("the bucket {} is spread", bucket.name), &spread.setting, errors);
        let puts = |step: &&String| {
            model.uses_of(step).is_some_and(|uses| uses.buckets().contains_key(&bucket.name))
        };
        unread(model, model.handlers().filter(puts), &spread.setting, errors);
    }
    for step in &model.steps {
        pollers(step, errors);
        if let Some(rows) = &step.workload.in_turn {
            setting(model, &format!("the messages of {} are divided", step.name), rows, errors);
            unread(model, std::iter::once(&step.name), rows, errors);
        }
    }
}

/// The setting is a whole number of places, and has a default.
fn setting(model: &Model, spread: &str, name: &str, errors: &mut Vec<DefinitionError>) {
    let Some(setting) = model.settings.iter().find(|setting| setting.name == name) else {
        return errors.push(super::undefined(spread, "setting", name));
    };
    let whole = match &setting.kind {
        SettingKind::Integer(range) => *range.start() >= 1 && *range.end() <= limits::SPREAD_MAX,
        _ => false,
    };
    if !whole || setting.default.is_none() {
        let (spread, setting, most) = (spread.to_owned(), name.to_owned(), limits::SPREAD_MAX);
        errors.push(DefinitionError::SpreadUnsaid { spread, setting, most });
    }
}

fn unread<'a>(
    model: &Model,
    steps: impl Iterator<Item = &'a String>,
    setting: &str,
    errors: &mut Vec<DefinitionError>,
) {
    let reads = |step: &str| model.settings_of(step).iter().any(|read| read.name == setting);
    for step in steps.filter(|step| !reads(step)) {
        errors.push(DefinitionError::SpreadUnread { step: step.clone(), setting: setting.to_owned() });
    }
}

fn within(
    of: &str,
    what: &'static str,
    number: u32,
    range: &RangeInclusive<u32>,
    allowed: &'static str,
    errors: &mut Vec<DefinitionError>,
) {
    if !range.contains(&number) {
        let (name, value) = (of.to_owned(), number.to_string());
        errors.push(DefinitionError::OutOfRange { name, what, value, allowed });
    }
}

fn pollers(step: &StepModel, errors: &mut Vec<DefinitionError>) {
    if step.pollers.is_some() && step.maximum_concurrency.is_some() {
        errors.push(DefinitionError::PollersAndConcurrency { step: step.name.clone() });
    }
    if let Some((least, most)) = step.pollers {
        let name = &step.name;
        within(name, "the least pollers", least, &limits::POLLERS_LEAST, "2 to 200 (Lambda)", errors);
        let range = least..=*limits::POLLERS_MOST.end();
        within(name, "the most pollers", most, &range, "from the least to 2,000 (Lambda)", errors);
    }
    if let Some(number) = step.maximum_concurrency {
        let range = limits::MAXIMUM_CONCURRENCY;
        within(&step.name, "the maximum concurrency", number, &range, "2 to 1,000 (Lambda)", errors);
    }
}

/// A table is never ready for less than it is by itself, and may use what it is ready for.
fn units(table: &TableModel, errors: &mut Vec<DefinitionError>) {
    let name = &table.name;
    if let Some(warm) = table.warm {
        let reads = limits::WARM_READS_MIN..=u32::MAX;
        within(name, "the warm read units", warm.reads, &reads, "12,000 or more (DynamoDB)", errors);
        let writes = limits::WARM_WRITES_MIN..=u32::MAX;
        within(name, "the warm write units", warm.writes, &writes, "4,000 or more (DynamoDB)", errors);
    }
    if let Some(most) = table.at_most {
        let some = 1..=u32::MAX;
        within(name, "the most read units", most.reads, &some, "1 or more (DynamoDB)", errors);
        within(name, "the most write units", most.writes, &some, "1 or more (DynamoDB)", errors);
    }
}
