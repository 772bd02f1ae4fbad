//! The short way from a commit to a queue.
//!
//! Tables and queues are in one database. So while an engine runs, an event whose destination is a queue of the folder is
//! put there in the transaction of its commit: it is neither written to the change stream, nor read again by the relay, nor
//! deleted from the stream. By which rule it goes where is the relay's, and whatever is not as simple goes by the stream,
//! as on AWS: an event for a topic, one that nobody consumes or that no queue takes as it is, one whose queue somebody has
//! put a port of their own in front of, and all while the stream still has what is to be sent on before.

use super::queue::{Inserter, LocalQueue};
use crate::{
    Timestamp,
    choreography::{Destination, Model},
    limits,
    port::{Ports, Write, is_sendable},
    relay::{Routes, first_hop},
};
use rusqlite::Connection;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What an item may emit, a message may hold.
const _: () = assert!(limits::ITEM_BYTES_MAX <= limits::MESSAGE_BYTES_MAX);

/// The queues that can be reached by it, and the model that tells which event goes where.
pub(super) struct ShortWay {
    model: Arc<Model>,
    queues: Vec<(String, Arc<LocalQueue>)>,
}

/// One event of a write, on its way to one queue.
pub(super) struct Parcel {
    /// Its place in the outbox.
    event: usize,
    /// The place of its queue.
    queue: usize,
    delay: Duration,
}

impl ShortWay {
    /// To those of `queues` that stand in `ports` themselves.
    pub(super) fn new(model: Arc<Model>, ports: &Ports, queues: &BTreeMap<String, Arc<LocalQueue>>) -> Self {
        let own = |name: &str, queue: &Arc<LocalQueue>| {
            let port = ports.queues.get(name).map(Arc::as_ptr);
            port.is_some_and(|port| std::ptr::addr_eq(port, Arc::as_ptr(queue)))
        };
        let queues = queues.iter().filter(|(name, queue)| own(name, queue));
        Self { model, queues: queues.map(|(name, queue)| (name.clone(), Arc::clone(queue))).collect() }
    }

    pub(super) fn routes(&self) -> Routes<'_> {
        Routes::new(&self.model)
    }

    /// Where the events of a write go; `None` where not all of them can take this way.
    pub(super) fn parcels(
        &self,
        routes: &mut Routes<'_>,
        write: &Write,
        now: Timestamp,
    ) -> Option<Vec<Parcel>> {
        let mut parcels = Vec::with_capacity(write.outbox.len());
        for (event, text) in write.outbox.iter().map(|event| event.get()).enumerate() {
            let (destinations, head) = routes.of(text).ok()?;
            if destinations.is_empty() || !is_sendable(text) {
                return None;
            }
            for destination in destinations {
                let Destination::Queue(name) = destination else { return None };
                let queue = self.queues.iter().position(|(other, _)| other == name)?;
                parcels.push(Parcel { event, queue, delay: first_hop(head.notbefore, now) });
            }
        }
        Some(parcels)
    }

    /// What delivers on the store's thread.
    pub(super) fn delivery<'a>(&'a self, connection: &'a Connection, now: Timestamp) -> Delivery<'a> {
        Delivery { short_way: self, connection, now, queues: self.queues.iter().map(|_| None).collect() }
    }

    /// Wakes the receivers of what was delivered, once that is durable.
    pub(super) fn wake(&self, delivered: &Delivered) {
        for place in &delivered.0 {
            if let Some((_, queue)) = self.queues.get(*place) {
                queue.sent();
            }
        }
    }
}

/// The deliveries of one call.
pub(super) struct Delivery<'a> {
    short_way: &'a ShortWay,
    connection: &'a Connection,
    now: Timestamp,
    /// By place; those that got something.
    queues: Vec<Option<Inserter<'a>>>,
}

/// The places of the queues that got something.
pub(super) struct Delivered(Vec<usize>);

impl Delivery<'_> {
    pub(super) fn deliver(&mut self, write: &Write, parcels: &[Parcel]) -> rusqlite::Result<()> {
        for Parcel { event, queue, delay } in parcels {
            let (slot, text) = (&mut self.queues[*queue], write.outbox[*event].get());
            let inserter = match slot {
                Some(inserter) => inserter,
                None => slot.insert(self.short_way.queues[*queue].1.file().inserter(self.connection)?),
            };
            inserter.insert(self.now, *delay, None, text)?;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Delivered {
        let places = self.queues.iter().enumerate().filter(|(_, queue)| queue.is_some());
        Delivered(places.map(|(place, _)| place).collect())
    }
}
