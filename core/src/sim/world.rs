//! The world of a simulation, or of a folder, as properties see it.

use super::{
    known::{Entities, Known},
    ledger::Book,
    snapshot::Snapshot,
};
use crate::{
    choreography::{Choreography, EntityView},
    dead_letter::DeadLetter,
    entity::{Entity, key_of},
    event::Envelope,
    memory::Memory,
    port::{Message, Queue},
    stored::Stored,
    system::{Demo, Evidence},
    timestamp::Timestamp,
};
use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use std::{borrow::Cow, cell::Cell, collections::BTreeMap, fmt, future::Future, sync::Arc};

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

/// Something that a service was asked, over its [`Wire`](crate::Wire).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// What, as the service wrote it down.
    pub what: String,
}

/// Where what is no entity is found.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Memory(&'a Memory),
    Snapshot(&'a Snapshot),
}

/// Everything that is there: entities, dead letters, objects, what was published, what services were asked.
pub struct World<'a> {
    pub(super) source: Source<'a>,
    pub(super) choreography: &'a Choreography,
    pub(super) entities: &'a Entities,
    pub(super) asked: &'a BTreeMap<String, Vec<Asked>>,
    pub(super) posted: &'a [Posted],
    pub(super) now: Timestamp,
    /// Whether somebody wanted to know something that is not known here.
    pub(super) is_missed: Cell<bool>,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("system", &self.choreography.model().name)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What a call in memory answers, which never waits.
pub(super) fn at_once<T, E>(call: impl Future<Output = Result<T, E>>) -> Option<T> {
    call.now_or_never().and_then(Result::ok)
}

impl<'a> World<'a> {
    /// That of a simulation, of which this is written down.
    pub(super) fn of(
        memory: &'a Memory,
        book: &'a Book,
        choreography: &'a Choreography,
        posted: &'a [Posted],
        now: Timestamp,
    ) -> Self {
        let source = Source::Memory(memory);
        let (entities, asked, is_missed) = (&book.entities, &book.asked, Cell::new(false));
        Self { source, choreography, entities, asked, posted, now, is_missed }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What clients sent and had an answer to, in the order of the answers. Of a folder: the entities that a demonstration is
    /// about, each under its own id.
    pub fn posted(&self) -> &[Posted] {
        self.posted
    }

    /// The entity of this id; `None` where there is none, or it has expired.
    pub fn entity<E: Entity>(&self, id: &str) -> Option<Arc<Stored<E>>> {
        self.entities.of_key(&key_of::<E>(id), self.now)?.read()
    }

    /// All entities of a type.
    pub fn entities<E: Entity>(&self) -> Vec<Arc<Stored<E>>> {
        self.entities.of_kind(E::KIND, self.now).filter_map(Known::read).collect()
    }

    /// The dead letters of a dead-letter queue. Of exported entities nothing is known of what is beside them: queues, buckets, topics.
    /// A property that wants to know it is not seen there.
    pub fn dead_letters(&self, queue: &str) -> Vec<DeadLetter> {
        self.messages(queue).iter().map(DeadLetter::read).collect()
    }

    /// The messages that a queue holds, in flight or not.
    pub fn messages(&self, queue: &str) -> Cow<'a, [Message]> {
        match self.source {
            Source::Memory(memory) => {
                let queue = memory.ports_ref().queues.get(queue);
                Cow::Owned(queue.map(|queue| messages(&**queue)).unwrap_or_default())
            }
            Source::Snapshot(snapshot) => self.found(snapshot, &snapshot.queues, queue),
        }
    }

    /// The objects of a bucket: key and body.
    pub fn objects(&self, bucket: &str) -> Cow<'a, [(String, Vec<u8>)]> {
        let memory = match self.source {
            Source::Memory(memory) => memory,
            Source::Snapshot(snapshot) => return self.found(snapshot, &snapshot.objects, bucket),
        };
        let Some(port) = memory.ports_ref().buckets.get(bucket) else { return Cow::default() };
        let body = |key: String| Some((key.clone(), at_once(port.get(&key))??));
        Cow::Owned(self.keys(bucket).into_iter().filter_map(body).collect())
    }

    /// The keys of a bucket.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let memory = match self.source {
            Source::Memory(memory) => memory,
            Source::Snapshot(snapshot) => {
                let objects = self.found(snapshot, &snapshot.objects, bucket);
                return objects.iter().map(|(key, _)| key.clone()).collect();
            }
        };
        let Some(bucket) = memory.ports_ref().buckets.get(bucket) else { return Vec::new() };
        let (mut keys, mut after) = (Vec::new(), None::<String>);
        while let Some(page) = at_once(bucket.list("", after.as_deref(), PAGE)) {
            keys.extend(page.keys);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        keys
    }

    /// What was published to others by a topic or a bus.
    pub fn published(&self, outlet: &str) -> Vec<Envelope<Box<RawValue>>> {
        let kept = match self.source {
            Source::Memory(memory) => {
                let kept = memory.ports_ref().published.get(outlet);
                Cow::Owned(kept.map(|kept| messages(&**kept)).unwrap_or_default())
            }
            Source::Snapshot(snapshot) => self.found(snapshot, &snapshot.published, outlet),
        };
        kept.iter().filter_map(|message| Envelope::parse(&message.body).ok()).collect()
    }

    /// What a service was asked, in order, by the name of its trait. Of a folder nothing is known of it, and a property that wants to
    /// know it is not seen there.
    pub fn asked(&self, service: &str) -> &'a [Asked] {
        self.is_missed.set(self.is_missed.get() || matches!(self.source, Source::Snapshot(_)));
        self.asked.get(service).map_or(&[], Vec::as_slice)
    }

    /// The names of the ends that each of those that were taken has come to, as a demonstration counts them.
    pub(super) fn ends(&self, demo: &dyn Demo) -> Vec<(String, Vec<&'static str>)> {
        let taken = self.posted.iter().filter(|posted| posted.is_taken());
        let mut found: BTreeMap<String, Found> =
            taken.map(|posted| (posted.entity.clone(), Found::default())).collect();
        let model = self.choreography.model();
        for queue in model.dead_letter_queues() {
            for letter in self.dead_letters(queue) {
                if let Some(found) = letter.subject.and_then(|subject| found.get_mut(&subject)) {
                    found.dead_letters.push((queue.to_owned(), letter.reason));
                }
            }
        }
        for bucket in &model.buckets {
            for key in self.keys(&bucket.name) {
                if let Some(found) = demo.filed(&bucket.name, &key).and_then(|id| found.get_mut(&id)) {
                    found.objects.push((bucket.name.clone(), key));
                }
            }
        }
        for outlet in self.outlets() {
            for event in self.published(&outlet) {
                if let Some(found) = found.get_mut(&event.subject) {
                    found.publications.push((outlet.clone(), event.event_type.into_owned()));
                }
            }
        }
        for known in self.entities.of_kind(demo.kind(), self.now) {
            let view = self.choreography.view(&known.item).ok().filter(|view| view.kind == demo.kind());
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

    /// What a snapshot has under a name; nothing where it has entities alone.
    fn found<T: Clone>(&self, of: &Snapshot, all: &'a BTreeMap<String, Vec<T>>, name: &str) -> Cow<'a, [T]> {
        self.is_missed.set(self.is_missed.get() || of.is_of_entities);
        all.get(name).map_or_else(Cow::default, |found| Cow::Borrowed(found.as_slice()))
    }

    fn outlets(&self) -> Vec<String> {
        match self.source {
            Source::Memory(memory) => memory.ports_ref().published.keys().cloned().collect(),
            Source::Snapshot(snapshot) => snapshot.published.keys().cloned().collect(),
        }
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
