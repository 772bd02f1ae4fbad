//! Names that AWS takes, and no two alike; routes that can be told apart.

use super::DefinitionError;
use crate::{
    layout::{self, DOCUMENT, EXPIRES_AT, EXPIRES_AT_MILLIS, INDEX_PARTITION, INDEX_SORT, OUTBOX, VERSION},
    limits,
    model::{Model, RouteModel, TableModel, variable},
};
use std::{collections::BTreeSet, time::Duration};

/// The name of the function that sends committed events on.
const RELAY: &str = "relay";

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    let sorts: [(&'static str, Vec<&String>); 9] = [
        ("choreography", vec![&model.name]),
        ("table", model.tables.iter().map(|table| &table.name).collect()),
        ("queue", model.queues.iter().map(|queue| &queue.name).collect()),
        ("topic", model.topics.iter().map(|topic| &topic.name).collect()),
        ("event bus", model.buses.iter().map(|bus| &bus.name).collect()),
        ("bucket", model.buckets.iter().map(|bucket| &bucket.name).collect()),
        ("setting", model.settings.iter().map(|setting| &setting.name).collect()),
        ("schedule", model.schedules.iter().map(|schedule| &schedule.name).collect()),
        ("step", model.handlers().collect()),
    ];
    for (what, names) in sorts {
        unique(what, names.iter().map(|name| name.as_str()), errors);
        for name in names {
            let is_taken = what == "step" && name == RELAY;
            if !is_shaped(name) || is_taken || (what == "setting" && name.contains('-')) {
                errors.push(DefinitionError::InvalidName { what, name: name.clone() });
            }
        }
    }
    model.tables.iter().for_each(|table| attributes(table, errors));
    // What is no name makes no variable.
    if !errors.iter().any(|error| matches!(error, DefinitionError::InvalidName { .. })) {
        unique("environment variable", variable::all(model).iter().map(String::as_str), errors);
    }
    unique("service", model.services.iter().map(|service| service.name.as_str()), errors);
    unique("entity kind", model.tables.iter().flat_map(|table| &table.kinds).map(String::as_str), errors);
    let routes: Vec<String> = model
        .routes
        .iter()
        .filter_map(|route| Some(format!("{} {}", route.method, shape(route.path.as_ref()?))))
        .collect();
    unique("route", routes.iter().map(String::as_str), errors);
    model.routes.iter().for_each(|route| of_route(route, errors));
}

/// The attributes that have names of their own: such that a statement can hold, and that no other attribute has. Keys without a
/// kind are of one kind.
fn attributes(table: &TableModel, errors: &mut Vec<DefinitionError>) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let mut range = |what, value: String, allowed| {
        errors.push(DefinitionError::OutOfRange { name: table.name.clone(), what, value, allowed });
    };
    let key = table.key_attribute.as_ref().map(|name| ("the key attribute", name));
    let named = key.into_iter().chain(table.shows.iter().map(|name| ("a field that is shown", name)));
    for (what, name) in named.clone() {
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.bytes().all(plain) {
            range(what, format!("{name:?}"), "1 to 40 of a-z, A-Z, 0-9, '_', '-' and '.'");
        }
    }
    if table.has_bare_keys && table.kinds.len() != 1 {
        range("the number of kinds under bare keys", table.kinds.len().to_string(), "1");
    }
    let ours = [
        VERSION,
        DOCUMENT,
        EXPIRES_AT,
        EXPIRES_AT_MILLIS,
        INDEX_PARTITION,
        INDEX_SORT,
        OUTBOX,
        layout::RELAY,
    ];
    let default_key = table.key_attribute.is_none().then_some(layout::KEY);
    let all = ours.into_iter().chain(default_key).chain(named.map(|(_, name)| name.as_str()));
    unique("attribute of a table", all, errors);
}

fn is_shaped(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= limits::NAME_BYTES_MAX
}

fn of_route(route: &RouteModel, errors: &mut Vec<DefinitionError>) {
    let mut range = |what, value: String, allowed, fits: bool| {
        if !fits {
            errors.push(DefinitionError::OutOfRange { name: route.step.clone(), what, value, allowed });
        }
    };
    if let Some(path) = &route.path {
        range("the path", format!("{path:?}"), "a path that begins with '/'", path.starts_with('/'));
    }
    let timeout = route.timeout;
    let whole = timeout >= Duration::from_secs(1) && timeout <= limits::ROUTE_TIMEOUT_MAX;
    range("the timeout", format!("{timeout:?}"), "1 s to 30 s (API Gateway answers after 30 s)", whole);
    if let Some(memory) = route.memory {
        let fits = limits::FUNCTION_MEMORY.contains(&memory);
        range("the memory", format!("{memory} MB"), "128 to 10,240 MB (Lambda)", fits);
    }
}

/// A path without the names of its parameters: what tells two routes apart.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>, errors: &mut Vec<DefinitionError>) {
    let mut seen = BTreeSet::new();
    let mut told = BTreeSet::new();
    for name in names {
        if !seen.insert(name) && told.insert(name) {
            errors.push(DefinitionError::NameUsedTwice { what, name: name.to_owned() });
        }
    }
}
