//! The flow as a picture, derived from the model: a Mermaid flowchart for documents, lines of text for a terminal.

use super::{Model, OutletTarget, Source, StepModel, TableUse};
use std::{collections::BTreeSet, fmt::Write as _};

/// Boxes are handlers, with the route of those that answer requests; flags are queues and dead-letter queues, the
/// cylinder is a table, the hexagon a topic, the trapezoid an event bus, the parallelogram a bucket. A queue that has its handler's name is not drawn:
/// the handler stands for both. What leaves a table goes through the relay, or straight
/// to a step that reads its stream. Dotted lines are for what failed, and for
/// reading.
pub(crate) fn mermaid(model: &Model) -> String {
    let mut chart = Chart(String::from("flowchart TD\n"));
    chart.nodes(model);
    chart.entries(model);
    chart.relayed(model);
    model.steps.iter().for_each(|step| chart.step(model, step));
    chart.alarms(model);
    chart.0
}

struct Chart(String);

impl Chart {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "    {text}");
    }

    fn nodes(&mut self, model: &Model) {
        for route in &model.routes {
            let id = node("step", &route.step);
            self.line(format_args!("{id}[\"{}<br>{}\"]", route.step, route.address()));
        }
        for schedule in &model.schedules {
            let (id, when) = (node("schedule", &schedule.name), &schedule.when);
            self.line(format_args!("{id}([\"{}<br>{when}\"])", schedule.name));
        }
        for table in &model.tables {
            self.line(format_args!("{}[(\"{}\")]", node("table", &table.name), table.name));
        }
        if !relayed(model).is_empty() {
            self.line(format_args!("relay((\"relay\"))"));
        }
        for step in &model.steps {
            if step.queue != step.name {
                self.line(format_args!("{}>\"{}\"]", node("queue", &step.queue), step.queue));
            }
            self.line(format_args!("{}[\"{}\"]", node("step", &step.name), step.name));
            if let Some(dead) = dead_letter_queue(model, step) {
                self.line(format_args!("{}>\"{dead}\"]", node("queue", dead)));
            }
        }
        for bucket in &model.buckets {
            self.line(format_args!("{}[/\"{}\"/]", node("bucket", &bucket.name), bucket.name));
        }
        for topic in &model.topics {
            self.line(format_args!("{}{{{{\"{}\"}}}}", node("topic", &topic.name), topic.name));
        }
        for bus in &model.buses {
            self.line(format_args!("{}[/\"{}\"\\]", node("bus", &bus.name), bus.name));
        }
        for outside in outside(model) {
            self.line(format_args!("{}>\"{outside}, of others\"]", node("queue", outside)));
        }
        if model.outlets.iter().any(|outlet| is_published(&outlet.to)) {
            self.line(format_args!("subscribers([\"subscribers outside\"])"));
        }
        if model.steps.iter().any(is_fed_from_outside) {
            self.line(format_args!("others([\"others\"])"));
        }
    }

    fn entries(&mut self, model: &Model) {
        for route in &model.routes {
            self.used(model, &route.step);
        }
        for schedule in &model.schedules {
            for step in model.steps.iter().filter(|step| step.is_told(&schedule.event_type)) {
                self.line(format_args!("{} --> {}", node("schedule", &schedule.name), inbox(step)));
            }
        }
    }

    fn relayed(&mut self, model: &Model) {
        let edges = relayed(model);
        for table in model.tables.iter().filter(|_| !edges.is_empty()) {
            self.line(format_args!("{} == stream ==> relay", node("table", &table.name)));
        }
        for (event_type, to) in edges {
            self.line(format_args!("relay -- {event_type} --> {to}"));
        }
        let published: BTreeSet<String> = model
            .outlets
            .iter()
            .filter(|outlet| is_published(&outlet.to))
            .map(|outlet| end(&outlet.to))
            .collect();
        for end in published {
            self.line(format_args!("{end} --> subscribers"));
        }
    }

    fn step(&mut self, model: &Model, step: &StepModel) {
        let id = node("step", &step.name);
        if let Some(topic) = step.topic() {
            self.line(format_args!("{} --> {}", node("topic", topic), inbox(step)));
        }
        if let Some((bus, _)) = step.bus() {
            self.line(format_args!("{} --> {}", node("bus", bus), inbox(step)));
        }
        if let Some(table) = step.stream() {
            self.line(format_args!("{} == {} ==> {}", node("table", table), step.event_type, inbox(step)));
        }
        if is_fed_from_outside(step) {
            self.line(format_args!("others --> {}", inbox(step)));
        }
        if step.queue != step.name {
            self.line(format_args!("{} --> {id}", inbox(step)));
        }
        self.used(model, &step.name);
        if let Some(dead) = dead_letter_queue(model, step) {
            self.line(format_args!("{id} -. fails .-> {}", node("queue", dead)));
        }
        if let Some(event_type) = &step.given_up {
            for to in consumers(model, event_type) {
                self.line(format_args!("{id} -. given up: {event_type} .-> {to}"));
            }
        }
    }

    /// What a handler uses.
    fn used(&mut self, model: &Model, step: &str) {
        let id = node("step", step);
        for (table, uses) in model.tables_of(step) {
            let arrow = if uses.contains(&TableUse::Commit) { "-- commits -->" } else { "-. reads .->" };
            self.line(format_args!("{id} {arrow} {}", node("table", &table)));
        }
        for bucket in model.buckets_of(step).keys() {
            self.line(format_args!("{id} --> {}", node("bucket", bucket)));
        }
    }

    fn alarms(&mut self, model: &Model) {
        for topic in &model.topics {
            let told = model.alarms.iter().filter(|alarm| alarm.topic == topic.name);
            let queues: Vec<String> = told.map(|alarm| node("queue", &alarm.dead_letter_queue)).collect();
            if !queues.is_empty() {
                self.line(format_args!("{} -. alarm .-> {}", queues.join(" & "), node("topic", &topic.name)));
            }
        }
    }
}

/// The node that a step's messages arrive at.
fn inbox(step: &StepModel) -> String {
    if step.queue == step.name { node("step", &step.name) } else { node("queue", &step.queue) }
}

fn dead_letter_queue<'a>(model: &'a Model, step: &StepModel) -> Option<&'a str> {
    model.queue(&step.queue)?.redrive.as_ref().map(|redrive| redrive.dead_letter_queue.as_str())
}

/// What the relay sends on, and to which node.
fn relayed(model: &Model) -> BTreeSet<(&str, String)> {
    let by_steps = model.steps.iter().flat_map(|step| &step.emits);
    let emitted: BTreeSet<&str> =
        by_steps.chain(model.routes.iter().flat_map(|route| &route.emits)).map(String::as_str).collect();
    let edges =
        emitted.into_iter().map(|event| consumers(model, event).into_iter().map(move |to| (event, to)));
    edges.flatten().collect()
}

/// The nodes that events of a type go to.
fn consumers(model: &Model, event_type: &str) -> BTreeSet<String> {
    let steps = model.steps.iter().filter(|step| step.event_type == event_type);
    let inside = steps.filter_map(|step| match &step.source {
        Source::Events => Some(inbox(step)),
        Source::Topic(topic) => Some(node("topic", topic)),
        Source::Bus { bus, .. } => Some(node("bus", bus)),
        Source::Stream(_) => None,
        Source::Outside(_) => None,
    });
    let outlets = model.outlets.iter().filter(|outlet| outlet.event_type == event_type);
    inside.chain(outlets.map(|outlet| end(&outlet.to))).collect()
}

/// The node at which an event leaves the choreography.
fn end(to: &OutletTarget) -> String {
    match to {
        OutletTarget::Topic(topic) => node("topic", topic),
        OutletTarget::Bus(bus) => node("bus", bus),
        OutletTarget::Queue(queue) => node("queue", queue),
    }
}

/// Whether whoever wants gets what leaves there.
fn is_published(to: &OutletTarget) -> bool {
    matches!(to, OutletTarget::Topic(_) | OutletTarget::Bus(_))
}

/// The queues of others that events go to.
fn outside(model: &Model) -> BTreeSet<&str> {
    model.queues.iter().filter(|queue| queue.is_outside).map(|queue| queue.name.as_str()).collect()
}

fn is_fed_from_outside(step: &StepModel) -> bool {
    matches!(step.source, Source::Outside(_))
}

/// The flow as lines of text, for a terminal.
pub(crate) fn text(model: &Model) -> String {
    let mut lines: Vec<String> = Vec::new();
    let tables: Vec<String> = model.tables.iter().map(|table| format!("[table {}]", table.name)).collect();
    let tables = tables.join(" ");
    for route in &model.routes {
        let used = used(model, &route.step);
        lines.push(format!("{} ─▶ {}{used}", route.address(), route.step));
    }
    for schedule in &model.schedules {
        for step in model.steps.iter().filter(|step| step.is_told(&schedule.event_type)) {
            lines.push(format!("schedule {} ─▶ ({})", schedule.name, step.queue));
        }
    }
    for step in &model.steps {
        let from = match &step.source {
            Source::Events => String::new(),
            Source::Topic(topic) => format!("{{topic {topic}}} ─▶ "),
            Source::Bus { bus, .. } => format!("{{bus {bus}}} ─▶ "),
            Source::Stream(table) => format!("[table {table}] ─ stream ─ {} ─▶ ", step.event_type),
            Source::Outside(_) => "others ─▶ ".to_owned(),
        };
        let used = used(model, &step.name);
        lines.push(format!("{from}({}) ─▶ {}{used}", step.queue, step.name));
    }
    let emitted = model.emitted();
    for step in model.steps.iter().filter(|step| step.source == Source::Events) {
        if emitted.contains(step.event_type.as_str()) {
            lines.push(format!("{tables} ─ stream ─▶ relay ─ {} ─▶ ({})", step.event_type, step.queue));
        }
    }
    for outlet in &model.outlets {
        let to = match &outlet.to {
            OutletTarget::Topic(topic) => format!("{{topic {topic}}} ─▶ subscribers outside"),
            OutletTarget::Bus(bus) => format!("{{bus {bus}}} ─▶ subscribers outside"),
            OutletTarget::Queue(queue) => format!("({queue}), of others"),
        };
        lines.push(format!("{tables} ─ stream ─▶ relay ─ {} ─▶ {to}", outlet.event_type));
    }
    for step in &model.steps {
        lines.extend(step.given_up.iter().map(|event| format!("{} ┄ given up: {event} ┄▶", step.name)));
    }
    for alarm in &model.alarms {
        if let Some(source) = model.source_of(&alarm.dead_letter_queue) {
            let dead = &alarm.dead_letter_queue;
            lines
                .push(format!("({}) ┄ failed ┄▶ ({dead}) ┄ alarm ┄▶ {{topic {}}}", source.name, alarm.topic));
        }
    }
    lines.join("\n")
}

/// The tables and buckets that a handler uses, as they stand behind its name in a line of text.
fn used(model: &Model, step: &str) -> String {
    let tables = model.tables_of(step).into_keys().map(|table| format!("[table {table}]"));
    let tables = tables.collect::<Vec<_>>().join(" ");
    let buckets = model.buckets_of(step).into_keys().map(|bucket| format!(" + /bucket {bucket}/"));
    let arrow = if tables.is_empty() { "" } else { " ─▶ " };
    format!("{arrow}{tables}{}", buckets.collect::<String>())
}

fn node(sort: &str, name: &str) -> String {
    format!("{sort}_{}", name.replace('-', "_"))
}
