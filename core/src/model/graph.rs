//! The flow as a graph, derived from the model: plain data for whoever draws it.

use super::{Model, OutletTarget, Passage, Path, Source, StepModel};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The node of the relay.
const RELAY: &str = "relay";

/// The flow as a graph.
///
/// A queue that has its handler's name has no node: the handler stands for both. What leaves a table goes through the relay, or
/// straight to a step that reads its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The nodes, each once.
    pub nodes: Vec<Node>,
    /// The edges.
    pub edges: Vec<Edge>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its id in the graph: letters, digits and `_`.
    pub id: String,
    /// What it is.
    pub sort: NodeSort,
    /// Its name.
    pub name: String,
    /// The address of a route, when a schedule sends.
    pub detail: Option<String>,
    /// The queue that it is, or whose messages it takes.
    pub queue: Option<String>,
    /// Where what it gives up goes.
    pub dead_letter_queue: Option<String>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeSort {
    /// A handler of requests.
    Route,
    /// A handler of messages.
    Step,
    /// A queue.
    Queue,
    /// A dead-letter queue.
    DeadLetterQueue,
    /// A table.
    Table,
    /// The relay, which sends on what was committed.
    Relay,
    /// A topic.
    Topic,
    /// An event bus.
    Bus,
    /// A bucket.
    Bucket,
    /// A schedule.
    Schedule,
    /// Somebody outside of the choreography.
    Outside,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// From the node of this id.
    pub from: String,
    /// To the node of this id.
    pub to: String,
    /// What goes along it.
    pub label: Option<String>,
    /// What it is.
    pub sort: EdgeSort,
    /// The step whose messages go along it.
    pub step: Option<String>,
}

/// What an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeSort {
    /// Messages.
    Message,
    /// The changes of a table.
    Stream,
    /// Commits to a table.
    Commit,
    /// Reads of a table.
    Read,
    /// Objects put into a bucket.
    Write,
    /// What is given up.
    Fail,
    /// The event that follows what is given up.
    GivenUp,
    /// What a target refuses for good.
    Refuse,
    /// An alarm.
    Alarm,
}

/// How a node or an edge is marked that an entity has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It was passed.
    Done,
    /// Something failed there.
    Failed,
}

/// The way of an entity through the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The nodes it passed, by their ids.
    pub nodes: BTreeMap<String, Mark>,
    /// The edges it passed, by their places.
    pub edges: BTreeMap<usize, Mark>,
}

impl Graph {
    /// The graph of `model`.
    pub(crate) fn of(model: &Model) -> Self {
        let mut graph = Self::default();
        graph.entrances(model);
        graph.handlers(model);
        graph.resources(model);
        graph.entries(model);
        graph.relayed(model);
        model.steps.iter().for_each(|step| graph.step(model, step));
        graph.alarms(model);
        graph
    }

    fn add(&mut self, sort: NodeSort, name: &str) -> &mut Node {
        let id = id(sort, name);
        let place = self.nodes.iter().position(|node| node.id == id).unwrap_or(self.nodes.len());
        if place == self.nodes.len() {
            let is_queue = matches!(sort, NodeSort::Queue | NodeSort::DeadLetterQueue);
            let (name, queue) = (name.to_owned(), is_queue.then(|| name.to_owned()));
            self.nodes.push(Node { id, sort, name, detail: None, queue, dead_letter_queue: None });
        }
        &mut self.nodes[place]
    }

    fn link(&mut self, from: &str, to: &str, sort: EdgeSort) -> &mut Edge {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.edges.push(Edge { from, to, label: None, sort, step: None });
        let last = self.edges.len() - 1;
        &mut self.edges[last]
    }

    fn entrances(&mut self, model: &Model) {
        for route in &model.routes {
            self.add(NodeSort::Route, &route.step).detail = Some(route.address());
        }
        for schedule in &model.schedules {
            self.add(NodeSort::Schedule, &schedule.name).detail = Some(schedule.when.to_string());
        }
        for table in &model.tables {
            self.add(NodeSort::Table, &table.name);
        }
        if !relayed(model).is_empty() {
            self.add(NodeSort::Relay, RELAY);
        }
    }

    fn handlers(&mut self, model: &Model) {
        for step in &model.steps {
            if step.queue != step.name {
                self.add(NodeSort::Queue, &step.queue);
            }
            let dead = dead_letter_queue(model, step);
            let node = self.add(NodeSort::Step, &step.name);
            (node.queue, node.dead_letter_queue) = (Some(step.queue.clone()), dead.map(str::to_owned));
            if let Some(dead) = dead {
                self.add(NodeSort::DeadLetterQueue, dead);
            }
        }
    }

    fn resources(&mut self, model: &Model) {
        for bucket in &model.buckets {
            self.add(NodeSort::Bucket, &bucket.name);
        }
        for topic in &model.topics {
            self.add(NodeSort::Topic, &topic.name);
        }
        for bus in &model.buses {
            self.add(NodeSort::Bus, &bus.name);
        }
        for dead in refused(model).into_values() {
            self.add(NodeSort::DeadLetterQueue, dead);
        }
        for outside in model.queues.iter().filter(|queue| queue.is_outside) {
            self.add(NodeSort::Queue, &outside.name).detail = Some("of others".to_owned());
        }
        if model.outlets.iter().any(|outlet| is_published(&outlet.to)) {
            self.add(NodeSort::Outside, SUBSCRIBERS);
        }
        if model.steps.iter().any(is_fed_from_outside) {
            self.add(NodeSort::Outside, OTHERS);
        }
    }

    fn entries(&mut self, model: &Model) {
        for route in &model.routes {
            self.used(model, &route.step, NodeSort::Route);
        }
        for schedule in &model.schedules {
            for step in model.steps.iter().filter(|step| step.is_told(&schedule.event_type)) {
                let from = id(NodeSort::Schedule, &schedule.name);
                self.link(&from, &inbox(step), EdgeSort::Message).step = Some(step.name.clone());
            }
        }
    }

    fn relayed(&mut self, model: &Model) {
        let edges = relayed(model);
        for table in model.tables.iter().filter(|_| !edges.is_empty()) {
            self.link(&id(NodeSort::Table, &table.name), RELAY, EdgeSort::Stream);
        }
        for (event_type, to) in edges {
            let step = fed(model, event_type, &to);
            let edge = self.link(RELAY, &to, EdgeSort::Message);
            (edge.label, edge.step) = (Some(event_type.to_owned()), step);
        }
        let published = model.outlets.iter().filter(|outlet| is_published(&outlet.to));
        let published: BTreeSet<String> = published.map(|outlet| end(&outlet.to)).collect();
        for end in published {
            self.link(&end, &id(NodeSort::Outside, SUBSCRIBERS), EdgeSort::Message);
        }
        for (end, dead) in refused(model) {
            self.link(&end, &id(NodeSort::DeadLetterQueue, dead), EdgeSort::Refuse);
        }
    }

    fn step(&mut self, model: &Model, step: &StepModel) {
        let node = id(NodeSort::Step, &step.name);
        let named = Some(step.name.clone());
        if let Some(topic) = step.topic() {
            self.link(&id(NodeSort::Topic, topic), &inbox(step), EdgeSort::Message).step.clone_from(&named);
        }
        if let Some((bus, _)) = step.bus() {
            self.link(&id(NodeSort::Bus, bus), &inbox(step), EdgeSort::Message).step.clone_from(&named);
        }
        if let Some(table) = step.stream() {
            let edge = self.link(&id(NodeSort::Table, table), &inbox(step), EdgeSort::Stream);
            (edge.label, edge.step) = (Some(step.event_type.clone()), named.clone());
        }
        if is_fed_from_outside(step) {
            let others = id(NodeSort::Outside, OTHERS);
            self.link(&others, &inbox(step), EdgeSort::Message).step.clone_from(&named);
        }
        if step.queue != step.name {
            self.link(&inbox(step), &node, EdgeSort::Message).step.clone_from(&named);
        }
        self.used(model, &step.name, NodeSort::Step);
        if let Some(dead) = dead_letter_queue(model, step) {
            self.link(&node, &id(NodeSort::DeadLetterQueue, dead), EdgeSort::Fail).step.clone_from(&named);
        }
        if let Some(event_type) = &step.given_up {
            for to in consumers(model, event_type) {
                self.link(&node, &to, EdgeSort::GivenUp).label = Some(event_type.clone());
            }
        }
    }

    /// What a handler uses.
    fn used(&mut self, model: &Model, step: &str, sort: NodeSort) {
        let node = id(sort, step);
        for (table, uses) in model.tables_of(step) {
            let sort = match uses.iter().any(|used| used.is_commit()) {
                true => EdgeSort::Commit,
                false => EdgeSort::Read,
            };
            self.link(&node, &id(NodeSort::Table, &table), sort).step = Some(step.to_owned());
        }
        for bucket in model.buckets_of(step).keys() {
            self.link(&node, &id(NodeSort::Bucket, bucket), EdgeSort::Write).step = Some(step.to_owned());
        }
    }

    fn alarms(&mut self, model: &Model) {
        for topic in &model.topics {
            for alarm in model.alarms.iter().filter(|alarm| alarm.topic == topic.name) {
                let dead = id(NodeSort::DeadLetterQueue, &alarm.dead_letter_queue);
                self.link(&dead, &id(NodeSort::Topic, &topic.name), EdgeSort::Alarm);
            }
        }
    }

    /// The way of an entity of `path`.
    pub(crate) fn marks(&self, model: &Model, path: &Path) -> Marks {
        let mut marks = Marks::default();
        for name in model.handlers() {
            let Some(passage) = path.passage(name) else { continue };
            let step = model.step(name);
            let node = id(if step.is_some() { NodeSort::Step } else { NodeSort::Route }, name);
            let tables = model.tables_of(name).into_iter();
            let committed = tables.filter(|(_, uses)| uses.iter().any(|used| used.is_commit()));
            committed.for_each(|(table, _)| marks.put(id(NodeSort::Table, &table), Mark::Done));
            if let Some(step) = step {
                marks.source(model, step);
            }
            match passage {
                Passage::Done => marks.put(node, Mark::Done),
                Passage::Failed { is_dead_lettered } => {
                    marks.put(node, Mark::Failed);
                    let step = step.filter(|_| is_dead_lettered);
                    if let Some(dead) = step.and_then(|step| dead_letter_queue(model, step)) {
                        marks.put(id(NodeSort::DeadLetterQueue, dead), Mark::Failed);
                    }
                }
            }
        }
        let edges = self.edges.iter().enumerate();
        marks.edges = edges.filter_map(|(place, edge)| Some((place, marks.of_edge(edge)?))).collect();
        marks
    }
}

impl Marks {
    /// The way of a message to a step.
    fn source(&mut self, model: &Model, step: &StepModel) {
        if step.queue != step.name {
            self.put(inbox(step), Mark::Done);
        }
        match &step.source {
            Source::Topic(topic) => self.put(id(NodeSort::Topic, topic), Mark::Done),
            Source::Bus { bus, .. } => self.put(id(NodeSort::Bus, bus), Mark::Done),
            Source::Outside(_) => self.put(id(NodeSort::Outside, OTHERS), Mark::Done),
            Source::Events | Source::Stream(_) => {}
        }
        if relayed(model).iter().any(|(event_type, _)| *event_type == step.event_type) {
            self.put(RELAY.to_owned(), Mark::Done);
        }
    }

    /// A node that failed once is marked so, whatever else is said of it.
    fn put(&mut self, node: String, mark: Mark) {
        let known = self.nodes.entry(node).or_insert(mark);
        *known = mark.max(*known);
    }

    /// An edge is passed where both its ends are, and failed where it leaves what failed, which commits nothing.
    fn of_edge(&self, edge: &Edge) -> Option<Mark> {
        let (from, _) = (*self.nodes.get(&edge.from)?, self.nodes.get(&edge.to)?);
        let commits = matches!(edge.sort, EdgeSort::Commit | EdgeSort::Read);
        (from == Mark::Done || !commits).then_some(from)
    }
}

/// Whoever subscribes outside.
const SUBSCRIBERS: &str = "subscribers outside";

/// Whoever sends from outside.
const OTHERS: &str = "others";

fn id(sort: NodeSort, name: &str) -> String {
    let sort = match sort {
        NodeSort::Route | NodeSort::Step => "step_",
        NodeSort::Queue | NodeSort::DeadLetterQueue => "queue_",
        NodeSort::Table => "table_",
        NodeSort::Topic => "topic_",
        NodeSort::Bus => "bus_",
        NodeSort::Bucket => "bucket_",
        NodeSort::Schedule => "schedule_",
        NodeSort::Relay => return RELAY.to_owned(),
        NodeSort::Outside => return name.split(' ').next().unwrap_or(name).to_owned(),
    };
    [sort, &name.replace('-', "_")].concat()
}

/// The node that a step's messages arrive at.
fn inbox(step: &StepModel) -> String {
    match step.queue == step.name {
        true => id(NodeSort::Step, &step.name),
        false => id(NodeSort::Queue, &step.queue),
    }
}

fn dead_letter_queue<'a>(model: &'a Model, step: &StepModel) -> Option<&'a str> {
    model.queue(&step.queue)?.redrive.as_ref().map(|redrive| redrive.dead_letter_queue.as_str())
}

/// The step that takes an event of this type at this node, where it is one.
fn fed(model: &Model, event_type: &str, to: &str) -> Option<String> {
    let mut steps = model.steps.iter().filter(|step| step.event_type == event_type && inbox(step) == to);
    let step = steps.next()?;
    steps.next().is_none().then(|| step.name.clone())
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
        Source::Topic(topic) => Some(id(NodeSort::Topic, topic)),
        Source::Bus { bus, .. } => Some(id(NodeSort::Bus, bus)),
        Source::Stream(_) => None,
        Source::Outside(_) => None,
    });
    let outlets = model.outlets.iter().filter(|outlet| outlet.event_type == event_type);
    inside.chain(outlets.map(|outlet| end(&outlet.to))).collect()
}

/// The node at which an event leaves the choreography.
fn end(to: &OutletTarget) -> String {
    match to {
        OutletTarget::Topic(topic) => id(NodeSort::Topic, topic),
        OutletTarget::Bus(bus) => id(NodeSort::Bus, bus),
        OutletTarget::Queue(queue) => id(NodeSort::Queue, queue),
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

fn is_fed_from_outside(step: &StepModel) -> bool {
    matches!(step.source, Source::Outside(_))
}
