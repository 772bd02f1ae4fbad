//! The fast path from a commit to a queue: past the change stream.
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
pub(super) struct FastPath {
    model: Arc<Model>,
    queues: Vec<(String, Arc<LocalQueue>)>,
}

impl FastPath {
    /// To those of `queues` that stand in `ports` themselves.
    pub(super) fn new(model: Arc<Model>, ports: &Ports, queues: &BTreeMap<String, Arc<LocalQueue>>) -> Self {
        let own = |name: &str, queue: &Arc<LocalQueue>| {
            let port = ports.queues.get(name).map(Arc::as_ptr);
            port.is_some_and(|port| std::ptr::addr_eq(port, Arc::as_ptr(queue)))
        };
        let queues = queues.iter().filter(|(name, queue)| own(name, queue));
        Self { model, queues: queues.map(|(name, queue)| (name.clone(), Arc::clone(queue))).collect() }
    }

    /// What puts events into their queues, on the store's thread.
    pub(super) fn enqueuer<'a>(&'a self, connection: &'a Connection, now: Timestamp) -> Enqueuer<'a> {
        let queues = self.queues.iter().map(|_| None).collect();
        Enqueuer { fast_path: self, routes: Routes::new(&self.model), connection, now, queues }
    }

    /// Wakes the receivers of what was enqueued, once that is durable.
    pub(super) fn wake(&self, enqueued: &Enqueued) {
        for place in &enqueued.0 {
            if let Some((_, queue)) = self.queues.get(*place) {
                queue.sent();
            }
        }
    }
}

/// Puts the events of one call into their queues.
pub(super) struct Enqueuer<'a> {
    fast_path: &'a FastPath,
    routes: Routes<'a>,
    connection: &'a Connection,
    now: Timestamp,
    /// By place; those that got something.
    queues: Vec<Option<Inserter<'a>>>,
}

/// One event on its way to one queue.
struct Sending<'a> {
    event: &'a str,
    /// The place of its queue.
    queue: usize,
    delay: Duration,
}

/// The places of the queues that got something.
pub(super) struct Enqueued(Vec<usize>);

impl Enqueuer<'_> {
    /// Puts the events of a write into their queues; false, and none of them is, where not all can take this way.
    pub(super) fn enqueue(&mut self, write: &Write) -> rusqlite::Result<bool> {
        let Some(sendings) = self.sendings(write) else { return Ok(false) };
        for Sending { event, queue, delay } in sendings {
            let slot = &mut self.queues[queue];
            let inserter = match slot {
                Some(inserter) => inserter,
                None => slot.insert(self.fast_path.queues[queue].1.file().inserter(self.connection)?),
            };
            inserter.insert(self.now, delay, None, event)?;
        }
        Ok(true)
    }

    fn sendings<'w>(&mut self, write: &'w Write) -> Option<Vec<Sending<'w>>> {
        let mut sendings = Vec::with_capacity(write.outbox.len());
        for event in write.outbox.iter().map(|event| event.get()) {
            let (destinations, head) = self.routes.of(event).ok()?;
            if destinations.is_empty() || !is_sendable(event) {
                return None;
            }
            for destination in destinations {
                let Destination::Queue(name) = destination else { return None };
                let queue = self.fast_path.queues.iter().position(|(other, _)| other == name)?;
                sendings.push(Sending { event, queue, delay: first_hop(head.notbefore, self.now) });
            }
        }
        Some(sendings)
    }

    pub(super) fn enqueued(self) -> Enqueued {
        let places = self.queues.iter().enumerate().filter(|(_, queue)| queue.is_some());
        Enqueued(places.map(|(place, _)| place).collect())
    }
}
