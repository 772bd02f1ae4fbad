//! The flow as a picture, derived from the model: a Mermaid flowchart for documents, lines of text for a terminal.

use super::{
    Model, OutletTarget, Path, Source,
    graph::{Edge, EdgeSort, Graph, Mark, Node, NodeSort},
};
use std::fmt::Write as _;

/// Boxes are handlers, with the route of those that answer requests; flags are queues and dead-letter queues, the
/// cylinder is a table, the hexagon a topic, the trapezoid an event bus, the parallelogram a bucket. Dotted lines are for what
/// failed, and for reading.
pub(crate) fn mermaid(model: &Model) -> String {
    drawn(&Graph::of(model))
}

/// The same with the path of an entity: what it has passed is green, what failed it is red.
pub(crate) fn mermaid_of(model: &Model, path: &Path) -> String {
    let graph = Graph::of(model);
    let mut text = drawn(&graph);
    let marks = graph.marks(model, path);
    for (class, colours, mark) in [
        ("done", "fill:#dafbe1,stroke:#1a7f37", Mark::Done),
        ("failed", "fill:#ffebe9,stroke:#cf222e", Mark::Failed),
    ] {
        let marked = marks.nodes.iter().filter(|(_, marked)| **marked == mark);
        let nodes: Vec<&str> = marked.map(|(node, _)| node.as_str()).collect();
        if !nodes.is_empty() {
            add(&mut text, format_args!("classDef {class} {colours},stroke-width:3px,color:#1f2328"));
            add(&mut text, format_args!("class {} {class}", nodes.join(",")));
        }
    }
    for (colour, mark) in [("#1a7f37", Mark::Done), ("#cf222e", Mark::Failed)] {
        let marked = marks.edges.iter().filter(|(_, marked)| **marked == mark);
        let edges: Vec<String> = marked.map(|(place, _)| place.to_string()).collect();
        if !edges.is_empty() {
            add(&mut text, format_args!("linkStyle {} stroke:{colour},stroke-width:3px", edges.join(",")));
        }
    }
    text
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "    {line}");
}

/// Mermaid counts edges in the order in which they are written here.
fn drawn(graph: &Graph) -> String {
    let mut text = String::from("flowchart TD\n");
    graph.nodes.iter().for_each(|node| add(&mut text, format_args!("{}", shape(node))));
    let mut edges = graph.edges.iter().peekable();
    while let Some(edge) = edges.next() {
        let mut from = edge.from.clone();
        let is_of_line =
            |next: &&Edge| edge.sort == EdgeSort::Alarm && next.sort == edge.sort && next.to == edge.to;
        while let Some(next) = edges.next_if(is_of_line) {
            from = [&from, " & ", &next.from].concat();
        }
        add(&mut text, format_args!("{from} {} {}", arrow(edge), edge.to));
    }
    text
}

fn shape(node: &Node) -> String {
    let Node { id, name, detail, .. } = node;
    let second = detail.as_ref().map(|detail| format!("<br>{detail}")).unwrap_or_default();
    match node.sort {
        NodeSort::Route | NodeSort::Step => format!("{id}[\"{name}{second}\"]"),
        NodeSort::Queue | NodeSort::DeadLetterQueue => {
            let detail = detail.as_ref().map(|detail| format!(", {detail}")).unwrap_or_default();
            format!("{id}>\"{name}{detail}\"]")
        }
        NodeSort::Table => format!("{id}[(\"{name}\")]"),
        NodeSort::Relay => format!("{id}((\"{name}\"))"),
        NodeSort::Topic => format!("{id}{{{{\"{name}\"}}}}"),
        NodeSort::Bus => format!("{id}[/\"{name}\"\\]"),
        NodeSort::Bucket => format!("{id}[/\"{name}\"/]"),
        NodeSort::Schedule => format!("{id}([\"{name}{second}\"])"),
        NodeSort::Outside => format!("{id}([\"{name}\"])"),
    }
}

fn arrow(edge: &Edge) -> String {
    let label = edge.label.as_deref();
    match (edge.sort, label) {
        (EdgeSort::Message, Some(label)) => format!("-- {label} -->"),
        (EdgeSort::Message | EdgeSort::Write, _) => "-->".to_owned(),
        (EdgeSort::Stream, label) => format!("== {} ==>", label.unwrap_or("stream")),
        (EdgeSort::Commit, _) => "-- commits -->".to_owned(),
        (EdgeSort::Read, _) => "-. reads .->".to_owned(),
        (EdgeSort::Fail, _) => "-. fails .->".to_owned(),
        (EdgeSort::GivenUp, label) => format!("-. given up: {} .->", label.unwrap_or_default()),
        (EdgeSort::Refuse, _) => "-. refuses .->".to_owned(),
        (EdgeSort::Alarm, _) => "-. alarm .->".to_owned(),
    }
}

/// The flow as lines of text, for a terminal, each with the handler that it is about.
pub(crate) fn lines(model: &Model) -> Vec<(String, Option<&str>)> {
    let mut lines: Vec<(String, Option<&str>)> = Vec::new();
    let tables: Vec<String> = model.tables.iter().map(|table| format!("[table {}]", table.name)).collect();
    let tables = tables.join(" ");
    for route in &model.routes {
        let used = used(model, &route.step);
        lines.push((format!("{} ─▶ {}{used}", route.address(), route.step), Some(&route.step)));
    }
    for schedule in &model.schedules {
        for step in model.steps.iter().filter(|step| step.is_told(&schedule.event_type)) {
            lines.push((format!("schedule {} ─▶ ({})", schedule.name, step.queue), None));
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
        lines.push((format!("{from}({}) ─▶ {}{used}", step.queue, step.name), Some(&step.name)));
    }
    let emitted = model.emitted();
    for step in model.steps.iter().filter(|step| emitted.contains(step.event_type.as_str())) {
        let to = match &step.source {
            Source::Events => format!("({})", step.queue),
            Source::Topic(topic) => format!("{{topic {topic}}}"),
            Source::Bus { bus, .. } => format!("{{bus {bus}}}"),
            Source::Stream(_) | Source::Outside(_) => continue,
        };
        let line = format!("{tables} ─ stream ─▶ relay ─ {} ─▶ {to}", step.event_type);
        lines.push((line, Some(&step.name)));
    }
    for outlet in &model.outlets {
        let to = match &outlet.to {
            OutletTarget::Topic(topic) => format!("{{topic {topic}}} ─▶ subscribers outside"),
            OutletTarget::Bus(bus) => format!("{{bus {bus}}} ─▶ subscribers outside"),
            OutletTarget::Queue(queue) => format!("({queue}), of others"),
        };
        lines.push((format!("{tables} ─ stream ─▶ relay ─ {} ─▶ {to}", outlet.event_type), None));
    }
    for step in &model.steps {
        let given_up = step.given_up.iter().map(|event| format!("{} ┄ given up: {event} ┄▶", step.name));
        lines.extend(given_up.map(|line| (line, None)));
    }
    for alarm in &model.alarms {
        if let Some(source) = model.source_of(&alarm.dead_letter_queue) {
            let dead = &alarm.dead_letter_queue;
            let line = format!("({}) ┄ failed ┄▶ ({dead}) ┄ alarm ┄▶ {{topic {}}}", source.name, alarm.topic);
            lines.push((line, None));
        }
    }
    lines
}

/// The tables and buckets that a handler uses, as they stand behind its name in a line of text.
fn used(model: &Model, step: &str) -> String {
    let tables = model.tables_of(step).into_keys().map(|table| format!("[table {table}]"));
    let tables = tables.collect::<Vec<_>>().join(" ");
    let buckets = model.buckets_of(step).into_keys().map(|bucket| format!(" + /bucket {bucket}/"));
    let arrow = if tables.is_empty() { "" } else { " ─▶ " };
    format!("{arrow}{tables}{}", buckets.collect::<String>())
}
