//! The world of a simulation, as properties see it.

use crate::{
    choreography::{Choreography, EntityView},
    dead_letter::DeadLetter,
    entity::{Entity, key_of},
    event::Envelope,
    memory::Memory,
    port::{Item, Message, Queue},
    stored::Stored,
    system::{Demo, Evidence},
    timestamp::Timestamp,
};
use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, future::Future};

/// Items, messages and keys looked at by one call.
const PAGE: usize = 1_000;

/// Something that a client sent, and that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The id that it was sent under.
    pub id: String,
    /// The id of the entity that it becomes.
    pub entity: String,
    /// The status of the answer: 200 to 299 where it was taken, and another where it was refused for good.
    pub status: u16,
}

impl Posted {
    /// Whether it was taken.
    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Everything that is there: entities, dead letters, objects, and what was published.
#[derive(Debug)]
pub struct World<'a> {
    pub(super) memory: &'a Memory,
    pub(super) choreography: &'a Choreography,
    pub(super) posted: &'a [Posted],
    pub(super) now: Timestamp,
}

/// What a call in memory answers, which never waits.
fn at_once<T, E>(call: impl Future<Output = Result<T, E>>) -> Option<T> {
    call.now_or_never().and_then(Result::ok)
}

impl World<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What clients sent and had an answer to, in the order of the answers.
    pub fn posted(&self) -> &[Posted] {
        self.posted
    }

    /// The entity of this id; `None` where there is none, or it has expired.
    pub fn entity<E: Entity>(&self, id: &str) -> Option<Stored<E>> {
        let table = self.memory.ports().tables.get(self.choreography.model().table_of(E::KIND)?)?.clone();
        let item = at_once(table.get(&[key_of::<E>(id)]))?.pop().flatten()?;
        Stored::read(&item).ok()
    }

    /// All entities of a type.
    pub fn entities<E: Entity>(&self) -> Vec<Stored<E>> {
        let prefix = format!("{}/", E::KIND);
        let items = self.items(E::KIND).into_iter().filter(|item| item.key.starts_with(&prefix));
        items.filter_map(|item| Stored::read(&item).ok()).collect()
    }

    /// The dead letters of a dead-letter queue.
    pub fn dead_letters(&self, queue: &str) -> Vec<DeadLetter> {
        let letters = self.memory.ports().queues.get(queue).map(|queue| messages(&**queue));
        letters.unwrap_or_default().iter().map(DeadLetter::read).collect()
    }

    /// The objects of a bucket: key and body.
    pub fn objects(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        let ports = self.memory.ports();
        let Some(bucket) = ports.buckets.get(bucket) else { return Vec::new() };
        let (mut objects, mut after) = (Vec::new(), None::<String>);
        while let Some(page) = at_once(bucket.list("", after.as_deref(), PAGE)) {
            let body = |key: String| Some((key.clone(), at_once(bucket.get(&key))??));
            objects.extend(page.keys.into_iter().filter_map(body));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        objects
    }

    /// What was published to others by a topic or a bus.
    pub fn published(&self, outlet: &str) -> Vec<Envelope<Box<RawValue>>> {
        let kept = self.memory.ports().published.get(outlet).map(|kept| messages(&**kept));
        kept.unwrap_or_default().iter().filter_map(|message| Envelope::parse(&message.body).ok()).collect()
    }

    fn items(&self, kind: &str) -> Vec<Item> {
        let ports = self.memory.ports();
        let table = self.choreography.model().table_of(kind).and_then(|table| ports.tables.get(table));
        let Some(table) = table else { return Vec::new() };
        let (mut items, mut after) = (Vec::new(), None::<String>);
        while let Some(page) = at_once(table.scan(after.as_deref(), PAGE)) {
            items.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        items
    }

    /// The names of the ends that each of those that were taken has come to, as a demonstration counts them.
    pub(super) fn ends(&self, demo: &dyn Demo) -> Vec<(String, Vec<&'static str>)> {
        let taken = self.posted.iter().filter(|posted| posted.is_taken());
        let mut found: BTreeMap<String, Found> =
            taken.map(|posted| (posted.entity.clone(), Found::default())).collect();
        for queue in self.choreography.model().dead_letter_queues() {
            for letter in self.dead_letters(queue) {
                if let Some(found) = letter.subject.and_then(|subject| found.get_mut(&subject)) {
                    found.dead_letters.push((queue.to_owned(), letter.reason));
                }
            }
        }
        for bucket in self.memory.ports().buckets.keys() {
            for (key, _) in self.objects(bucket) {
                if let Some(found) = demo.filed(bucket, &key).and_then(|id| found.get_mut(&id)) {
                    found.objects.push((bucket.clone(), key));
                }
            }
        }
        for outlet in self.memory.ports().published.keys() {
            for event in self.published(outlet) {
                if let Some(found) = found.get_mut(&event.subject) {
                    found.publications.push((outlet.clone(), event.event_type.into_owned()));
                }
            }
        }
        for item in self.items(demo.kind()) {
            let view = self.choreography.view(&item).ok().filter(|view| view.kind == demo.kind());
            if let Some((found, view)) = view.and_then(|view| Some((found.get_mut(&view.id)?, view))) {
                found.entity = Some(view);
            }
        }
        let ends = |(id, found): (String, Found)| {
            let evidence = Evidence {
                id: &id,
                entity: found.entity.as_ref(),
                dead_letters: &found.dead_letters,
                objects: &found.objects,
                publications: &found.publications,
            };
            let counted = demo.counted(&evidence);
            let ends = counted.into_iter().filter(|name| demo.ends().contains(name)).collect();
            (id, ends)
        };
        found.into_iter().map(ends).collect()
    }
}

/// What is found of one that was posted.
#[derive(Default)]
struct Found {
    entity: Option<EntityView>,
    dead_letters: Vec<(String, String)>,
    objects: Vec<(String, String)>,
    publications: Vec<(String, String)>,
}

/// All messages of a queue.
fn messages(queue: &dyn Queue) -> Vec<Message> {
    let (mut all, mut after) = (Vec::new(), 0);
    while let Some(page) = at_once(queue.arrived(after, PAGE)) {
        let Some((last, _)) = page.last() else { break };
        after = *last;
        all.extend(page.into_iter().map(|(_, message)| message));
    }
    all
}
