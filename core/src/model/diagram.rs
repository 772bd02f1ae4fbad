//! The flow as a picture, derived from the model: a Mermaid flowchart for documents, lines of text for a terminal.

use super::{Model, OutletTarget, Passage, Path, Source, StepModel};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// The node of the relay.
const RELAY: &str = "relay";

/// Boxes are handlers, with the route of those that answer requests; flags are queues and dead-letter queues, the
/// cylinder is a table, the hexagon a topic, the trapezoid an event bus, the parallelogram a bucket. A queue that has its handler's name is not drawn:
/// the handler stands for both. What leaves a table goes through the relay, or straight
/// to a step that reads its stream. Dotted lines are for what failed, and for
/// reading.
pub(crate) fn mermaid(model: &Model) -> String {
    chart(model).text
}

/// The same with the path of an entity: what it has passed is green, what failed it is red.
pub(crate) fn mermaid_of(model: &Model, path: &Path) -> String {
    let mut chart = chart(model);
    let marks = Marks::of(model, path);
    for (class, colours, mark) in [
        ("done", "fill:#dafbe1,stroke:#1a7f37", Mark::Done),
        ("failed", "fill:#ffebe9,stroke:#cf222e", Mark::Failed),
    ] {
        let nodes: Vec<&str> = marks.nodes(mark).collect();
        if !nodes.is_empty() {
            chart.line(format_args!("classDef {class} {colours},stroke-width:3px,color:#1f2328"));
            chart.line(format_args!("class {} {class}", nodes.join(",")));
        }
    }
    for (colour, mark) in [("#1a7f37", Mark::Done), ("#cf222e", Mark::Failed)] {
        let links =
            chart.links.iter().enumerate().filter(|(_, (from, to))| marks.of_link(from, to) == Some(mark));
        let links: Vec<String> = links.map(|(at, _)| at.to_string()).collect();
        if !links.is_empty() {
            chart.line(format_args!("linkStyle {} stroke:{colour},stroke-width:3px", links.join(",")));
        }
    }
    chart.text
}

fn chart(model: &Model) -> Chart {
    let mut chart = Chart { text: String::from("flowchart TD\n"), links: Vec::new() };
    chart.nodes(model);
    chart.entries(model);
    chart.relayed(model);
    model.steps.iter().for_each(|step| chart.step(model, step));
    chart.alarms(model);
    chart
}

struct Chart {
    text: String,
    /// From which node to which, in the order in which Mermaid counts them.
    links: Vec<(String, String)>,
}

impl Chart {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "    {text}");
    }

    fn link(&mut self, from: &str, arrow: &str, to: &str) {
        self.line(format_args!("{from} {arrow} {to}"));
        self.links.push((from.to_owned(), to.to_owned()));
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
            self.line(format_args!("{RELAY}((\"relay\"))"));
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
        for dead in refused(model).into_values() {
            self.line(format_args!("{}>\"{dead}\"]", node("queue", dead)));
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
                self.link(&node("schedule", &schedule.name), "-->", &inbox(step));
            }
        }
    }

    fn relayed(&mut self, model: &Model) {
        let edges = relayed(model);
        for table in model.tables.iter().filter(|_| !edges.is_empty()) {
            self.link(&node("table", &table.name), "== stream ==>", RELAY);
        }
        for (event_type, to) in edges {
            self.link(RELAY, &format!("-- {event_type} -->"), &to);
        }
        let published: BTreeSet<String> = model
            .outlets
            .iter()
            .filter(|outlet| is_published(&outlet.to))
            .map(|outlet| end(&outlet.to))
            .collect();
        for end in published {
            self.link(&end, "-->", "subscribers");
        }
        for (end, dead) in refused(model) {
            self.link(&end, "-. refuses .->", &node("queue", dead));
        }
    }

    fn step(&mut self, model: &Model, step: &StepModel) {
        let id = node("step", &step.name);
        if let Some(topic) = step.topic() {
            self.link(&node("topic", topic), "-->", &inbox(step));
        }
        if let Some((bus, _)) = step.bus() {
            self.link(&node("bus", bus), "-->", &inbox(step));
        }
        if let Some(table) = step.stream() {
            self.link(&node("table", table), &format!("== {} ==>", step.event_type), &inbox(step));
        }
        if is_fed_from_outside(step) {
            self.link("others", "-->", &inbox(step));
        }
        if step.queue != step.name {
            self.link(&inbox(step), "-->", &id);
        }
        self.used(model, &step.name);
        if let Some(dead) = dead_letter_queue(model, step) {
            self.link(&id, "-. fails .->", &node("queue", dead));
        }
        if let Some(event_type) = &step.given_up {
            for to in consumers(model, event_type) {
                self.link(&id, &format!("-. given up: {event_type} .->"), &to);
            }
        }
    }

    /// What a handler uses.
    fn used(&mut self, model: &Model, step: &str) {
        let id = node("step", step);
        for (table, uses) in model.tables_of(step) {
            let arrow =
                if uses.iter().any(|used| used.is_commit()) { "-- commits -->" } else { "-. reads .->" };
            self.link(&id, arrow, &node("table", &table));
        }
        for bucket in model.buckets_of(step).keys() {
            self.link(&id, "-->", &node("bucket", bucket));
        }
    }

    fn alarms(&mut self, model: &Model) {
        for topic in &model.topics {
            let told = model.alarms.iter().filter(|alarm| alarm.topic == topic.name);
            let queues: Vec<String> = told.map(|alarm| node("queue", &alarm.dead_letter_queue)).collect();
            if !queues.is_empty() {
                // One line, and a link of each.
                let to = node("topic", &topic.name);
                self.line(format_args!("{} -. alarm .-> {to}", queues.join(" & ")));
                self.links.extend(queues.into_iter().map(|queue| (queue, to.clone())));
            }
        }
    }
}

/// How a node or a link is marked that an entity has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Done,
    Failed,
}

/// The nodes that an entity has passed.
struct Marks(BTreeMap<String, Mark>);

impl Marks {
    fn of(model: &Model, path: &Path) -> Self {
        let mut marks = Self(BTreeMap::new());
        for name in model.handlers() {
            let Some(passage) = path.passage(name) else { continue };
            let id = node("step", name);
            let tables = model
                .tables_of(name)
                .into_iter()
                .filter(|(_, uses)| uses.iter().any(|used| used.is_commit()));
            tables.for_each(|(table, _)| marks.put(node("table", &table), Mark::Done));
            let step = model.step(name);
            if let Some(step) = step {
                marks.source(model, step);
            }
            match passage {
                Passage::Done => marks.put(id, Mark::Done),
                Passage::Failed { is_dead_lettered } => {
                    marks.put(id, Mark::Failed);
                    let dead =
                        step.filter(|_| is_dead_lettered).and_then(|step| dead_letter_queue(model, step));
                    dead.into_iter().for_each(|dead| marks.put(node("queue", dead), Mark::Failed));
                }
            }
        }
        marks
    }

    /// The way of a message to a step.
    fn source(&mut self, model: &Model, step: &StepModel) {
        if step.queue != step.name {
            self.put(inbox(step), Mark::Done);
        }
        match &step.source {
            Source::Topic(topic) => self.put(node("topic", topic), Mark::Done),
            Source::Bus { bus, .. } => self.put(node("bus", bus), Mark::Done),
            Source::Outside(_) => self.put("others".to_owned(), Mark::Done),
            Source::Events | Source::Stream(_) => {}
        }
        if relayed(model).iter().any(|(event_type, _)| *event_type == step.event_type) {
            self.put(RELAY.to_owned(), Mark::Done);
        }
    }

    /// A node that failed once is marked so, whatever else is said of it.
    fn put(&mut self, node: String, mark: Mark) {
        let known = self.0.entry(node).or_insert(mark);
        *known = mark.max(*known);
    }

    fn nodes(&self, mark: Mark) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, marked)| **marked == mark).map(|(node, _)| node.as_str())
    }

    /// A link is passed where both its ends are, and failed where it leaves what failed, which commits nothing.
    fn of_link(&self, from: &str, to: &str) -> Option<Mark> {
        let (from, _) = (*self.0.get(from)?, self.0.get(to)?);
        (from == Mark::Done || !to.starts_with("table_")).then_some(from)
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

/// The dead-letter queue of what each of these nodes refuses for good.
fn refused(model: &Model) -> BTreeMap<String, &str> {
    model.outlets.iter().map(|outlet| (end(&outlet.to), outlet.dead_letter_queue.as_str())).collect()
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

fn node(sort: &str, name: &str) -> String {
    format!("{sort}_{}", name.replace('-', "_"))
}
