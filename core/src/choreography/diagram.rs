//! The flow as a picture, derived from the model: a Mermaid flowchart for documents, lines of text for a terminal.

use super::{Model, StepModel, TableUse};
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

/// Boxes are handlers, with the route of those that answer requests; flags are queues and dead-letter queues, the
/// cylinder is a table, the hexagon a topic, the parallelogram a bucket. A queue that has its handler's name is not drawn:
/// the handler stands for both. What leaves a table goes through the relay. Dotted lines are for what failed, and for
/// reading.
pub(super) fn mermaid(model: &Model) -> String {
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
            let (id, path) = (node("step", &route.step), &route.path);
            self.line(format_args!("{id}[\"{}<br>{} {path}\"]", route.step, route.method));
        }
        for schedule in &model.schedules {
            let (id, every) = (node("schedule", &schedule.name), words(schedule.every));
            self.line(format_args!("{id}([\"{}<br>every {every}\"])", schedule.name));
        }
        for table in &model.tables {
            self.line(format_args!("{}[(\"{}\")]", node("table", &table.name), table.name));
        }
        if model.steps.iter().any(|step| is_emitted(model, &step.event_type)) {
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
    }

    fn entries(&mut self, model: &Model) {
        for route in &model.routes {
            self.used(model, &route.step);
        }
        for schedule in &model.schedules {
            for step in model.steps.iter().filter(|step| step.event_type == schedule.event_type) {
                self.line(format_args!("{} --> {}", node("schedule", &schedule.name), inbox(step)));
            }
        }
    }

    fn relayed(&mut self, model: &Model) {
        let emitted = model.steps.iter().filter(|step| is_emitted(model, &step.event_type));
        let edges: BTreeSet<(&str, String)> = emitted
            .map(|step| {
                let topic = step.topic.as_ref().map(|topic| node("topic", topic));
                (step.event_type.as_str(), topic.unwrap_or_else(|| inbox(step)))
            })
            .collect();
        for table in model.tables.iter().filter(|_| !edges.is_empty()) {
            self.line(format_args!("{} == stream ==> relay", node("table", &table.name)));
        }
        for (event_type, to) in edges {
            self.line(format_args!("relay -- {event_type} --> {to}"));
        }
    }

    fn step(&mut self, model: &Model, step: &StepModel) {
        let id = node("step", &step.name);
        if let Some(topic) = &step.topic {
            self.line(format_args!("{} --> {}", node("topic", topic), inbox(step)));
        }
        if step.queue != step.name {
            self.line(format_args!("{} --> {id}", inbox(step)));
        }
        self.used(model, &step.name);
        if let Some(dead) = dead_letter_queue(model, step) {
            self.line(format_args!("{id} -. fails .-> {}", node("queue", dead)));
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

/// Whether a commit of some handler may hold events of this type.
fn is_emitted(model: &Model, event_type: &str) -> bool {
    let by_steps = model.steps.iter().flat_map(|step| &step.emits);
    by_steps.chain(model.routes.iter().flat_map(|route| &route.emits)).any(|emitted| emitted == event_type)
}

/// A duration in the largest unit that it is a whole number of.
fn words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", millis / unit),
        None => format!("{millis} ms"),
    }
}

/// The flow as lines of text, for a terminal.
pub(super) fn text(model: &Model) -> String {
    let mut lines: Vec<String> = Vec::new();
    let tables: Vec<String> = model.tables.iter().map(|table| format!("[table {}]", table.name)).collect();
    let tables = tables.join(" ");
    for route in &model.routes {
        let used = used(model, &route.step);
        lines.push(format!("{} {} ─▶ {}{used}", route.method, route.path, route.step));
    }
    for schedule in &model.schedules {
        for step in model.steps.iter().filter(|step| step.event_type == schedule.event_type) {
            lines.push(format!("schedule {} ─▶ ({})", schedule.name, step.queue));
        }
    }
    for step in &model.steps {
        let from = step.topic.as_ref().map_or_else(String::new, |topic| format!("{{topic {topic}}} ─▶ "));
        let used = used(model, &step.name);
        lines.push(format!("{from}({}) ─▶ {}{used}", step.queue, step.name));
    }
    for step in model.steps.iter().filter(|step| step.topic.is_none()) {
        if is_emitted(model, &step.event_type) {
            lines.push(format!("{tables} ─ stream ─▶ relay ─ {} ─▶ ({})", step.event_type, step.queue));
        }
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
