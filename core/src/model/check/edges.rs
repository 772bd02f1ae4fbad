//! Every event has somebody who emits it and an end; every name that is used is defined.

use super::{DefinitionError, undefined};
use crate::{
    alarm::Alert,
    event::Event as _,
    model::{Model, OutletTarget, Source, StepModel},
};
use std::collections::BTreeSet;

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    events(model, errors);
    for step in &model.steps {
        source(model, step, errors);
    }
    topics(model, errors);
    buses(model, errors);
    streams(model, errors);
    queues_of_others(model, errors);
    for schedule in &model.schedules {
        if let Err(error) = schedule.when.to_aws() {
            errors.push(DefinitionError::ScheduleTimes { schedule: schedule.name.clone(), error });
        }
        if let Some(setting) = &schedule.setting
            && !model.settings.iter().any(|known| known.name == *setting)
        {
            errors.push(undefined(&format!("schedule {}", schedule.name), "setting", setting));
        }
    }
}

/// Nobody emits what nobody consumes, and nobody consumes what nobody emits.
fn events(model: &Model, errors: &mut Vec<DefinitionError>) {
    let outside = model.outlets.iter().map(|outlet| outlet.event_type.as_str());
    let inside = model.steps.iter().filter(|step| !matches!(step.source, Source::Outside(_)));
    let consumed: BTreeSet<&str> = inside.map(|step| step.event_type.as_str()).chain(outside).collect();
    let by_steps = model.steps.iter().map(|step| (&step.name, step.may_cause().collect::<Vec<_>>()));
    let by_routes = model.routes.iter().map(|route| (&route.step, route.emits.iter().collect()));
    let mut produced = BTreeSet::new();
    for (emitter, events) in by_steps.chain(by_routes) {
        for event_type in events {
            produced.insert(event_type.as_str());
            if !consumed.contains(event_type.as_str()) {
                let (emitter, event_type) = (emitter.clone(), event_type.clone());
                errors.push(DefinitionError::NoConsumer { emitter, event_type });
            }
        }
    }
    for schedule in &model.schedules {
        produced.insert(&schedule.event_type);
        // A schedule sends to queues of the choreography, and to nothing outside.
        if !model.steps.iter().any(|step| step.is_told(&schedule.event_type)) {
            let (emitter, event_type) = (format!("schedule {}", schedule.name), schedule.event_type.clone());
            errors.push(DefinitionError::NoConsumer { emitter, event_type });
        }
    }
    if !model.alarms.is_empty() {
        produced.insert(Alert::TYPE);
    }
    let fed_from_outside = |step: &&StepModel| {
        let bus = step.bus().and_then(|(bus, _)| model.bus(bus));
        matches!(step.source, Source::Outside(_)) || bus.is_some_and(|bus| bus.is_outside)
    };
    for step in model.steps.iter().filter(|step| !fed_from_outside(step)) {
        if !produced.contains(step.event_type.as_str()) {
            let (step, event_type) = (step.name.clone(), step.event_type.clone());
            errors.push(DefinitionError::NoProducer { step, event_type });
        }
    }
    for outlet in model.outlets.iter().filter(|outlet| !produced.contains(outlet.event_type.as_str())) {
        let (step, event_type) = (format!("{:?} outside", outlet.to.name()), outlet.event_type.clone());
        errors.push(DefinitionError::NoProducer { step, event_type });
    }
}

fn source(model: &Model, step: &StepModel, errors: &mut Vec<DefinitionError>) {
    match &step.source {
        Source::Events => {}
        Source::Topic(topic) => {
            if !model.topics.iter().any(|defined| defined.name == *topic) {
                errors.push(undefined(&step.name, "topic", topic));
            }
        }
        Source::Bus { bus, rule } => match model.bus(bus) {
            None => errors.push(undefined(&step.name, "event bus", bus)),
            Some(defined) => {
                if let Some(problem) = rule.problem(&model.name, &step.event_type, defined.is_outside) {
                    let (step, bus, event_type) = (step.name.clone(), bus.clone(), step.event_type.clone());
                    errors.push(DefinitionError::UnfitRule { step, bus, event_type, problem });
                }
            }
        },
        Source::Stream(table) => {
            if model.tables.iter().any(|defined| defined.name == *table) {
                in_stream(model, step, table, errors);
            } else {
                errors.push(undefined(&step.name, "table", table));
            }
        }
        Source::Outside(decoded) => {
            if *decoded != step.event_type {
                errors.push(DefinitionError::OtherEvent {
                    step: step.name.clone(),
                    consumed: step.event_type.clone(),
                    what: "its decoder",
                    given: decoded.clone(),
                });
            }
        }
    }
}

/// No queue is both one that a step consumes and one that others do.
fn queues_of_others(model: &Model, errors: &mut Vec<DefinitionError>) {
    let of_others: BTreeSet<&str> = model
        .outlets
        .iter()
        .filter_map(|outlet| match &outlet.to {
            OutletTarget::Queue(name) => Some(name.as_str()),
            OutletTarget::Topic(_) | OutletTarget::Bus(_) => None,
        })
        .collect();
    for step in model.steps.iter().filter(|step| of_others.contains(step.queue.as_str())) {
        let (queue, step) = (step.queue.clone(), step.name.clone());
        errors.push(DefinitionError::QueueOfOthers { queue, step });
    }
}

/// What a step takes from the stream of a table is in it: whoever emits it commits to that table, and to no other. And what
/// Lambda gives up by itself needs no event to follow.
fn in_stream(model: &Model, step: &StepModel, table: &str, errors: &mut Vec<DefinitionError>) {
    if let Some(event_type) = &step.given_up {
        let (step, table, event_type) = (step.name.clone(), table.to_owned(), event_type.clone());
        errors.push(DefinitionError::GivenUpFromStream { step, table, event_type });
    }
    let by_steps = model.steps.iter().map(|other| (&other.name, &other.emits));
    let by_routes = model.routes.iter().map(|route| (&route.step, &route.emits));
    let emitters = by_steps.chain(by_routes).filter(|(_, emits)| emits.contains(&step.event_type));
    let commits_elsewhere = |emitter: &&String| {
        let tables = model.tables_of(emitter).into_iter();
        let committed =
            tables.filter(|(_, uses)| uses.iter().any(|used| used.is_commit())).map(|(table, _)| table);
        committed.collect::<Vec<_>>() != [table]
    };
    let givers_up = model.steps.iter().filter(|other| other.given_up.as_ref() == Some(&step.event_type));
    let without = emitters.map(|(name, _)| name).filter(commits_elsewhere);
    let without: BTreeSet<&String> = without.chain(givers_up.map(|other| &other.name)).collect();
    for emitter in without {
        let (step, event_type) = (step.name.clone(), step.event_type.clone());
        let (table, emitter) = (table.to_owned(), emitter.clone());
        errors.push(DefinitionError::NotInStream { step, event_type, table, emitter });
    }
}

/// No stream has more readers than DynamoDB feeds: the relay, and one step.
fn streams(model: &Model, errors: &mut Vec<DefinitionError>) {
    for table in &model.tables {
        let mut readers = model.steps.iter().filter(|step| step.stream() == Some(&table.name));
        if let (Some(first), Some(second)) = (readers.next(), readers.next()) {
            let (first, second) = (first.name.clone(), second.name.clone());
            errors.push(DefinitionError::StreamShared { table: table.name.clone(), first, second });
        }
    }
}

/// A bus that events go to is there, and no rule on a bus takes events that its step can't read.
fn buses(model: &Model, errors: &mut Vec<DefinitionError>) {
    for outlet in &model.outlets {
        if let OutletTarget::Bus(bus) = &outlet.to
            && model.bus(bus).is_none()
        {
            errors.push(undefined(&outlet.event_type, "event bus", bus));
        }
    }
    for (step, (bus, rule)) in model.steps.iter().filter_map(|step| Some((step, step.bus()?))) {
        let inside = model.steps.iter().filter(|other| other.bus().is_some_and(|(of, _)| of == bus));
        let outside = model.outlets.iter().filter(|outlet| outlet.to == OutletTarget::Bus(bus.to_owned()));
        let carried: BTreeSet<&String> =
            inside.map(|other| &other.event_type).chain(outside.map(|outlet| &outlet.event_type)).collect();
        let mut others = carried.into_iter().filter(|other| **other != step.event_type);
        if let Some(other) = others.find(|other| rule.may_take(&model.name, other)) {
            let (step, bus, other) = (step.name.clone(), bus.to_owned(), other.clone());
            errors.push(DefinitionError::RuleTooWide { step, bus, other });
        }
    }
}

/// A topic that is used is there, and carries events of one type.
fn topics(model: &Model, errors: &mut Vec<DefinitionError>) {
    let is_defined = |name: &String| model.topics.iter().any(|topic| topic.name == *name);
    let topics: BTreeSet<&String> = model.alarms.iter().map(|alarm| &alarm.topic).collect();
    for topic in topics.into_iter().filter(|name| !is_defined(name)) {
        errors.push(undefined("the alarm", "topic", topic));
    }
    for outlet in &model.outlets {
        if let OutletTarget::Topic(topic) = &outlet.to
            && !is_defined(topic)
        {
            errors.push(undefined(&outlet.event_type, "topic", topic));
        }
    }
    for topic in &model.topics {
        let subscribers = model.steps.iter().filter(|step| step.topic() == Some(&topic.name));
        let alarms = model.alarms.iter().filter(|alarm| alarm.topic == topic.name).map(|_| Alert::TYPE);
        let outlets = model
            .outlets
            .iter()
            .filter(|outlet| matches!(&outlet.to, OutletTarget::Topic(name) if *name == topic.name));
        let carried: BTreeSet<&str> = subscribers
            .map(|step| step.event_type.as_str())
            .chain(alarms)
            .chain(outlets.map(|outlet| outlet.event_type.as_str()))
            .collect();
        let mut carried = carried.into_iter().map(str::to_owned);
        if let (Some(first), Some(second)) = (carried.next(), carried.next()) {
            errors.push(DefinitionError::TopicShared { topic: topic.name.clone(), first, second });
        }
    }
}
