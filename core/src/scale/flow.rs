//! How much each handler has to do when so many enter a second.

use super::{Question, ScaleError};
use crate::{
    http::Method,
    model::{Destination, Model, RouteModel, Source, StepModel, TableUse, Workload},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the relay takes for 100 events, where nobody says: ten calls of SQS or SNS, and the rest.
const RELAY_TIME: Duration = Duration::from_millis(60);
const RELAY_EVENTS: f64 = 100.0;

/// A query reads that many items for a read unit: items under 1 KB, read at half the price.
const ITEMS_PER_UNIT: f64 = 8.0;

/// The work of a handler.
pub(super) struct Work<'a> {
    pub(super) name: &'a str,
    /// Its messages, or requests, a second.
    pub(super) messages: f64,
    /// Messages of a full batch.
    pub(super) batch: f64,
    /// Seconds that a full batch takes.
    pub(super) time: f64,
    /// Whose word that time is.
    pub(super) says: String,
    pub(super) workload: &'a Workload,
    pub(super) step: Option<&'a StepModel>,
    pub(super) route: Option<&'a RouteModel>,
}

impl Work<'_> {
    /// Invocations a second.
    pub(super) fn invocations(&self) -> f64 {
        self.messages / self.batch
    }

    /// Invocations at once.
    pub(super) fn at_once(&self) -> f64 {
        self.invocations() * self.time
    }
}

/// The units that tables need.
#[derive(Default)]
pub(super) struct Units {
    pub(super) reads: f64,
    pub(super) writes: f64,
    pub(super) index_writes: f64,
    pub(super) index_reads: f64,
}

/// All that is done.
pub(super) struct Flow<'a> {
    pub(super) works: Vec<Work<'a>>,
    pub(super) tables: BTreeMap<&'a str, Units>,
    /// Events that the relay sends on, a second, and the seconds that it takes for one.
    pub(super) relayed: f64,
    pub(super) relay_time: f64,
    pub(super) relay_says: String,
    /// Events to each topic and each bus, a second.
    pub(super) published: BTreeMap<&'a str, f64>,
    /// Handlers that nothing is counted of.
    pub(super) not_counted: Vec<&'a str>,
    /// Where it enters.
    pub(super) enters: &'a str,
}

/// What is done when `question.per_second` enter.
pub(super) fn of<'a>(model: &'a Model, question: &Question) -> Result<Flow<'a>, ScaleError> {
    let enters = entrance(model, question)?;
    let counted = reached(model, enters);
    if let Some(unknown) = question
        .times
        .keys()
        .find(|name| !model.handlers().any(|known| known == *name) && *name != crate::infrastructure::RELAY)
    {
        return Err(ScaleError::NoSuchStep(unknown.clone()));
    }
    let mut works = Vec::new();
    for route in model.routes.iter().filter(|route| route.step == enters) {
        works.push(of_route(route, question));
    }
    for step in model.steps.iter().filter(|step| counted.contains(step.name.as_str())) {
        works.push(of_step(step, question));
    }
    let not_counted = model.handlers().map(String::as_str);
    let not_counted = not_counted.filter(|name| !works.iter().any(|work| work.name == *name)).collect();
    let tables = tables(model, &works, question.per_second);
    let (relayed, published) = relayed(model, &works, question.per_second);
    let said = question.times.get(crate::infrastructure::RELAY);
    let relay_says = match said {
        Some(time) => format!("{time:?} for 100 events, as said"),
        None => format!("{RELAY_TIME:?} for 100 events, assumed"),
    };
    let relay_time = said.unwrap_or(&RELAY_TIME).as_secs_f64() / RELAY_EVENTS;
    Ok(Flow { works, tables, relayed, relay_time, relay_says, published, not_counted, enters })
}

/// The handler by which they enter: the one that is said, or the first that takes requests and does not only read, or the first
/// that others write to.
fn entrance<'a>(model: &'a Model, question: &Question) -> Result<&'a str, ScaleError> {
    let handlers = || model.handlers().map(String::as_str);
    if let Some(said) = &question.enters {
        let found = handlers().find(|name| name == said);
        return found.ok_or_else(|| ScaleError::NoSuchStep(said.clone()));
    }
    let takes = model.routes.iter().find(|route| route.method != Method::Get);
    let outside = || model.steps.iter().find(|step| matches!(step.source, Source::Outside(_)));
    let of_step = || outside().or(model.steps.first()).map(|step| step.name.as_str());
    takes.map(|route| route.step.as_str()).or_else(of_step).ok_or(ScaleError::NothingEnters)
}

/// The steps that what enters passes: what follows by events, and what schedules begin. What follows only when a message is
/// given up is not the way.
fn reached<'a>(model: &'a Model, enters: &'a str) -> BTreeSet<&'a str> {
    let alarmed = |step: &&StepModel| {
        !step.topic().is_some_and(|topic| model.alarms.iter().any(|alarm| alarm.topic == topic))
    };
    let steps = || model.steps.iter().filter(alarmed);
    let mut events: Vec<&str> = model.schedules.iter().map(|schedule| schedule.event_type.as_str()).collect();
    let of_route = model.routes.iter().filter(|route| route.step == enters);
    events.extend(of_route.flat_map(|route| route.emits.iter().map(String::as_str)));
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut add = |step: &'a StepModel, events: &mut Vec<&'a str>| {
        if found.insert(&step.name) {
            events.extend(step.emits.iter().map(String::as_str));
        }
    };
    for step in steps().filter(|step| step.name == enters) {
        add(step, &mut events);
    }
    while let Some(event) = events.pop() {
        for step in steps().filter(|step| step.is_told(event)) {
            add(step, &mut events);
        }
    }
    found
}

fn number(number: Option<u32>, otherwise: usize) -> f64 {
    number.map_or_else(|| f64::from(u32::try_from(otherwise).unwrap_or(u32::MAX)), f64::from)
}

fn of_route<'a>(route: &'a RouteModel, question: &Question) -> Work<'a> {
    let workload = &route.workload;
    let (time, says) = match (question.times.get(&route.step), workload.time) {
        (Some(said), _) => (*said, format!("{said:?} a request, as said")),
        (None, Some(time)) => (time, format!("{time:?} a request, as declared")),
        (None, None) => (route.timeout, format!("{:?} a request, its timeout, at worst", route.timeout)),
    };
    Work {
        name: &route.step,
        messages: question.per_second / number(workload.per_message, 1) * number(workload.passes, 1),
        batch: 1.0,
        time: time.as_secs_f64(),
        says,
        workload,
        step: None,
        route: Some(route),
    }
}

fn of_step<'a>(step: &'a StepModel, question: &Question) -> Work<'a> {
    let workload = &step.workload;
    let turns = u32::try_from(step.batch.div_ceil(step.concurrency.max(1))).unwrap_or(u32::MAX);
    let by_message = step.time_per_message.map(|time| time.saturating_mul(turns));
    let (time, says) = match (question.times.get(&step.name), workload.time, by_message) {
        (Some(said), ..) => (*said, format!("{said:?} a batch of {}, as said", step.batch)),
        (None, Some(time), _) => (time, format!("{time:?} a batch of {}, as declared", step.batch)),
        (None, None, Some(time)) => {
            (time, format!("{time:?} a batch of {}, by time_per_message", step.batch))
        }
        (None, None, None) => {
            (step.timeout, format!("{:?} a batch of {}, its timeout, at worst", step.timeout, step.batch))
        }
    };
    Work {
        name: &step.name,
        messages: question.per_second / number(workload.per_message, 1) * number(workload.passes, 1),
        batch: number(None, step.batch),
        time: time.as_secs_f64(),
        says,
        workload,
        step: Some(step),
        route: None,
    }
}

/// The units a second of each table, for items of up to 1 KB.
fn tables<'a>(model: &'a Model, works: &[Work<'_>], per_second: f64) -> BTreeMap<&'a str, Units> {
    let mut tables: BTreeMap<&str, Units> = BTreeMap::new();
    for table in &model.tables {
        let units = tables.entry(&table.name).or_default();
        for work in works {
            let Some(uses) = model.uses_of(work.name) else { continue };
            let kinds = |wanted: fn(TableUse) -> bool| {
                let held = uses.kinds().iter().filter(|(kind, _)| table.kinds.contains(kind));
                held.filter(|(_, uses)| uses.iter().copied().any(wanted)).count()
            };
            let (commits, gets, queries) = (
                kinds(TableUse::is_commit),
                kinds(|of| matches!(of, TableUse::Get | TableUse::GetMany)),
                kinds(|of| of == TableUse::Query),
            );
            if commits > 0 {
                units.writes += number(work.workload.commits, commits) * per_second;
            }
            if gets > 0 {
                units.reads += number(work.workload.reads, gets) * per_second;
            }
            if queries > 0 {
                units.index_reads += per_second / ITEMS_PER_UNIT;
            }
        }
        if table.spread.is_some() {
            // Each enters the index, and leaves it.
            units.index_writes += 2.0 * per_second;
        }
    }
    tables
}

/// Events a second that the relay sends on, and those that go to each topic and bus.
fn relayed<'a>(model: &'a Model, works: &[Work<'_>], per_second: f64) -> (f64, BTreeMap<&'a str, f64>) {
    let emitted: BTreeSet<&str> = works
        .iter()
        .flat_map(|work| {
            let by_step = work.step.map(|step| &step.emits);
            by_step.or(work.route.map(|route| &route.emits)).into_iter().flatten()
        })
        .map(String::as_str)
        .collect();
    let (mut sum, mut published) = (0.0, BTreeMap::new());
    // Of what the model itself names, so that the names live as long.
    let known = model.steps.iter().map(|step| &step.event_type);
    let known: BTreeSet<&String> =
        known.chain(model.outlets.iter().map(|outlet| &outlet.event_type)).collect();
    for event in known.into_iter().filter(|event| emitted.contains(event.as_str())) {
        for destination in model.destinations(event) {
            let consumer = works.iter().find(|work| work.step.is_some_and(|step| step.is_told(event)));
            let rate = consumer.map_or(per_second, |work| work.messages);
            match destination {
                Destination::Stream { .. } => {}
                Destination::Queue(_) => sum += rate,
                Destination::Topic(name) | Destination::Bus(name) => {
                    sum += rate;
                    *published.entry(name).or_default() += rate;
                }
            }
        }
    }
    (sum, published)
}
