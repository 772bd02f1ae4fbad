//! A folder, or any ports, at one time: the same properties are seen of it as of a simulation.

use super::{
    known::{Entities, Known},
    ledger::{LETTERS, ONE_END, TRAIL, Violation, untold},
    property::{Holds, Property},
    world::{Posted, Source, World},
};
use crate::{
    choreography::Choreography,
    dead_letter::DeadLetter,
    failure::Failure,
    operator::ExportedItem,
    port::{Bucket, Item, Message, Ports, Queue},
    system::{DEAD_LETTERED, Demo, System},
    timestamp::Timestamp,
};
use std::{cell::Cell, collections::BTreeMap};

/// Items, messages and keys read by one call.
const PAGE: usize = 1_000;

/// Everything that ports hold at one time, read once.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) entities: Entities,
    pub(super) queues: BTreeMap<String, Vec<Message>>,
    pub(super) published: BTreeMap<String, Vec<Message>>,
    pub(super) objects: BTreeMap<String, Vec<(String, Vec<u8>)>>,
    /// Entities that can't be read, by their keys.
    unreadable: Vec<String>,
    /// Nothing is known of what is beside the entities.
    pub(super) is_of_entities: bool,
    now: Timestamp,
}

/// What a property came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The property's name.
    pub property: String,
    /// What shows that it does not hold; `None` where it does.
    pub broken: Option<String>,
}

impl Snapshot {
    /// Reads all of it: as much memory is used as there is. Queues that don't show their messages without a receive are left out.
    ///
    /// # Errors
    /// A [`Failure`] of a port.
    pub async fn of(choreography: &Choreography, ports: &Ports) -> Result<Self, Failure> {
        let mut snapshot = Self { now: ports.clock.now(), ..Self::default() };
        let model = choreography.model();
        for table in &model.tables {
            let port = ports.table(&table.name)?;
            let mut after: Option<String> = None;
            loop {
                let page = port.scan(after.as_deref(), PAGE).await?;
                page.items.into_iter().for_each(|item| snapshot.add(item));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        for (name, queue) in &ports.queues {
            snapshot.queues.insert(name.clone(), messages(&**queue).await?);
        }
        for (name, queue) in &ports.published {
            snapshot.published.insert(name.clone(), messages(&**queue).await?);
        }
        for (name, bucket) in &ports.buckets {
            snapshot.objects.insert(name.clone(), objects(&**bucket).await?);
        }
        Ok(snapshot)
    }

    /// Entities alone, as they were exported at this time.
    pub fn of_export(items: impl IntoIterator<Item = ExportedItem>, at: Timestamp) -> Self {
        let mut snapshot = Self { now: at, is_of_entities: true, ..Self::default() };
        items.into_iter().for_each(|item| snapshot.add(item.into()));
        snapshot
    }

    fn add(&mut self, item: Item) {
        if item.document.text().is_err() {
            self.unreadable.push(item.key.clone());
        }
        self.entities.0.insert(item.key.clone(), Known::new(item));
    }

    /// How many entities there are.
    pub fn entities(&self) -> usize {
        self.entities.0.len()
    }

    /// Whether nothing is under way: what holds only in the end is seen only then. Of an export nobody knows, and it is not.
    pub fn is_quiet(&self, choreography: &Choreography) -> bool {
        if self.is_of_entities {
            return false;
        }
        let mut steps = choreography.model().steps.iter();
        steps.all(|step| self.queues.get(&step.queue).is_none_or(Vec::is_empty))
    }

    /// Which properties hold: those that the system states, and those of every system that can be seen of what is there. What is
    /// about a commit, or about what services were asked, can't. `is_quiet` says whether nothing is under way.
    pub fn check(&self, system: &dyn System, choreography: &Choreography, is_quiet: bool) -> Vec<Checked> {
        let demo = system.demo();
        let posted = demo.as_deref().map(|demo| self.posted(demo)).unwrap_or_default();
        let asked = BTreeMap::new();
        let world = World {
            source: Source::Snapshot(self),
            choreography,
            entities: &self.entities,
            asked: &asked,
            posted: &posted,
            now: self.now,
            is_missed: Cell::new(false),
        };
        let mut checked = Vec::new();
        let mut told = |property: &str, broken: Option<String>| {
            checked.push(Checked { property: property.to_owned(), broken });
        };
        told("each entity can be read", self.unreadable.first().map(|key| format!("{key} can't be read")));
        told(TRAIL, self.entities.0.values().find_map(|known| untold(&known.item)));
        if !self.is_of_entities {
            told(LETTERS, unexplained(&world));
        }
        if let Some(demo) = demo.as_deref().filter(|_| is_quiet && !self.is_of_entities) {
            told(ONE_END, not_one_end(&world, demo).map(|violation| violation.detail));
        }
        let is_seen = |property: &&Property| match property.holds {
            Holds::Always => true,
            Holds::Eventually => is_quiet,
            Holds::OfEachCommit | Holds::Sometimes => false,
        };
        for property in system.properties().iter().filter(is_seen) {
            let broken = property.check(&world).err();
            if !world.is_missed.take() {
                told(property.name, broken);
            }
        }
        checked
    }

    /// The entities that a demonstration is about, as though a client had posted them.
    fn posted(&self, demo: &dyn Demo) -> Vec<Posted> {
        let prefix = format!("{}/", demo.kind());
        let ids = self.entities.of_kind(demo.kind(), self.now);
        let ids = ids.filter_map(|known| known.item.key.strip_prefix(&prefix).map(str::to_owned));
        ids.map(|id| Posted { id: id.clone(), entity: id, status: 200 }).collect()
    }
}

/// One that has not come to one end. A dead letter is an end where there is no other: of a message that came twice, one may be
/// worked and the other given up.
pub(super) fn not_one_end(world: &World<'_>, demo: &dyn Demo) -> Option<Violation> {
    let count = |ends: &[&str]| {
        let others = ends.iter().filter(|end| **end != DEAD_LETTERED).count();
        if others > 0 { others } else { ends.len() }
    };
    let (id, ends) = world.ends(demo).into_iter().find(|(_, ends)| count(ends) != 1)?;
    let detail = format!("{} {id} came to {} ends: {}", demo.kind(), ends.len(), ends.join(", "));
    Some(Violation::in_the_end(ONE_END, detail))
}

/// A dead letter that does not say why it is there, or by whom.
pub(super) fn unexplained(world: &World<'_>) -> Option<String> {
    let model = world.choreography.model();
    let mut letters = model.dead_letter_queues().flat_map(|queue| world.messages(queue).into_owned());
    letters.find_map(|message| {
        let letter = DeadLetter::read(&message);
        // Its reason is read as that of a letter which the queue itself moved, where it has none.
        let is_explained = message.attributes.contains_key("reason") || letter.handler.is_empty();
        let is_known =
            matches!(letter.handler.as_str(), "relay" | "") || model.step(&letter.handler).is_some();
        let lacks =
            || format!("a letter says {:?}, by {:?}: {}", letter.reason, letter.handler, message.body);
        (!is_explained || letter.reason.is_empty() || !is_known).then(lacks)
    })
}

async fn messages(queue: &dyn Queue) -> Result<Vec<Message>, Failure> {
    let (mut all, mut after) = (Vec::new(), 0);
    while queue.shows_arrivals() {
        let page = queue.arrived(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        all.extend(page.into_iter().map(|(_, message)| message));
    }
    Ok(all)
}

async fn objects(bucket: &dyn Bucket) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let (mut objects, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = bucket.list("", after.as_deref(), PAGE).await?;
        for key in page.keys {
            if let Some(body) = bucket.get(&key).await? {
                objects.push((key, body));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(objects);
        }
    }
}
