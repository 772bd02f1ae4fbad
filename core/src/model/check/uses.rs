//! What handlers and services use is there, and what is there is used.

use super::{DefinitionError, undefined};
use crate::{
    http::Method,
    model::{BACKLOG_MAX, Model, uses::Uses},
    setting::{Place, SettingError, parse},
};
use std::collections::BTreeSet;

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    let by_steps = model.steps.iter().map(|step| (&step.name, &step.uses));
    let by_routes = model.routes.iter().map(|route| (&route.step, &route.uses));
    let by_services = model.services.iter().map(|service| (&service.name, &service.uses));
    let all: Vec<(&String, &Uses)> = by_steps.chain(by_routes).chain(by_services).collect();
    for (user, uses) in &all {
        for kind in uses.kinds().keys().filter(|kind| model.table_of(kind).is_none()) {
            errors.push(DefinitionError::NoTable { step: (*user).clone(), kind: kind.clone() });
        }
        let named = |what, names: Vec<&String>, defined: Vec<&String>| {
            let missing = names.into_iter().filter(move |name| !defined.contains(name));
            missing.map(move |name| undefined(user, what, name)).collect::<Vec<_>>()
        };
        errors.extend(named(
            "bucket",
            uses.buckets().keys().collect(),
            model.buckets.iter().map(|b| &b.name).collect(),
        ));
        errors.extend(named(
            "service",
            uses.services().iter().collect(),
            model.services.iter().map(|service| &service.name).collect(),
        ));
        errors.extend(named(
            "setting",
            uses.settings().iter().collect(),
            model.settings.iter().map(|setting| &setting.name).collect(),
        ));
    }
    unused(model, &all, errors);
    defaults(model, errors);
    cancelling(model, errors);
}

/// Whoever cancels an entity knows its id, and is the only one.
fn cancelling(model: &Model, errors: &mut Vec<DefinitionError>) {
    let mut kinds = BTreeSet::new();
    for route in &model.routes {
        let Some(kind) = &route.cancels else { continue };
        let what = if !kinds.insert(kind) {
            "another route does so too: leave one of them"
        } else if route.one_parameter().is_none() {
            "its path does not name one: give it one parameter, the id (`/orders/{id}/cancel`)"
        } else if route.method == Method::Get {
            "a GET changes nothing: make it a POST or a DELETE"
        } else if !route.uses.kinds().get(kind).is_some_and(|uses| uses.iter().any(|used| used.is_commit())) {
            "it commits none: say so by its uses"
        } else {
            continue;
        };
        errors.push(DefinitionError::Cancels { route: route.step.clone(), kind: kind.clone(), what });
    }
}

/// Of two of one name, which is a mistake of its own, it is said once.
fn unused(model: &Model, all: &[(&String, &Uses)], errors: &mut Vec<DefinitionError>) {
    let mut used: BTreeSet<&String> = all.iter().flat_map(|(_, uses)| uses.buckets().keys()).collect();
    for bucket in model.buckets.iter().map(|bucket| &bucket.name) {
        if used.insert(bucket) {
            errors.push(DefinitionError::UnusedBucket { bucket: bucket.clone() });
        }
    }
    let mut used: BTreeSet<&String> = all.iter().flat_map(|(_, uses)| uses.services()).collect();
    for service in model.services.iter().map(|service| &service.name) {
        if used.insert(service) {
            errors.push(DefinitionError::UnusedService { service: service.clone() });
        }
    }
    let of_schedules = model.schedules.iter().filter_map(|schedule| schedule.setting.as_ref());
    let mut used: BTreeSet<&str> =
        all.iter().flat_map(|(_, uses)| uses.settings()).chain(of_schedules).map(String::as_str).collect();
    used.extend(model.routes.iter().filter_map(|route| route.backlog.as_ref()).map(|_| BACKLOG_MAX));
    for setting in model.settings.iter().map(|setting| &setting.name) {
        if used.insert(setting) {
            errors.push(DefinitionError::UnusedSetting { setting: setting.clone() });
        }
    }
}

fn defaults(model: &Model, errors: &mut Vec<DefinitionError>) {
    for setting in &model.settings {
        let defaults = [(Place::Function, &setting.default), (Place::Command, &setting.default_locally)];
        for (place, default) in defaults {
            let Some(default) = default else { continue };
            if let Err(error) = parse(setting, place, default) {
                errors.push(DefinitionError::WrongDefault { error });
            } else if setting.is_secret {
                let error = SettingError::Wrong {
                    name: place.name_of(setting),
                    value: None,
                    problem: "is a secret and has a default".into(),
                    cure: "remove the default: a secret in a program's text is none".into(),
                };
                errors.push(DefinitionError::WrongDefault { error });
            }
        }
    }
}
