//! Every event has somebody who emits it and an end; every name that is used is defined.

use super::{DefinitionError, undefined};
use crate::{
    alarm::Alert,
    choreography::model::{Model, OutletTarget, Source, StepModel},
    event::Event as _,
};
use std::collections::BTreeSet;

pub(super) fn check(model: &Model, errors: &mut Vec<DefinitionError>) {
    events(model, errors);
    for step in &model.steps {
        source(model, step, errors);
    }
    topics(model, errors);
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
    let fed_from_outside = |step: &&StepModel| matches!(step.source, Source::Outside(_));
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
            OutletTarget::Topic(_) => None,
        })
        .collect();
    for step in model.steps.iter().filter(|step| of_others.contains(step.queue.as_str())) {
        let (queue, step) = (step.queue.clone(), step.name.clone());
        errors.push(DefinitionError::QueueOfOthers { queue, step });
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
