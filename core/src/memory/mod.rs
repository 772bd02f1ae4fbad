//! The in-memory adapter: every port in one process, nothing kept.
//!
//! For tests and for the simulator. It holds its user to AWS's limits and to AWS's freedoms: an expired item can
//! still be read for a while, a receipt is void once its message is received again, a dead letter keeps the time at
//! which it was first sent. With a [`VirtualClock`] and a [`SeededRandom`](crate::port::SeededRandom) a run is a
//! function of its calls. Nothing polls: who waits is woken by what it waits for, or by the clock.

mod bucket;
mod clock;
mod queue;
mod table;
mod topic;

pub use clock::{VirtualClock, all_wait};

use crate::{
    choreography::Model,
    port::{Bucket, ChangeStream, Clock, Ports, Queue, Random, Table, Topic},
    service::Services,
};
use bucket::MemoryBucket;
use queue::MemoryQueue;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use table::MemoryTable;
use topic::MemoryTopic;

/// All that a model names, in memory. Clones share it; it is gone with the last of them and of their [`Ports`].
#[derive(Clone, Debug)]
pub struct Memory {
    ports: Ports,
}

impl Memory {
    /// How long after its expiry an item is deleted: 1 h. Until then reads return it, as they do on DynamoDB, where
    /// it can take days.
    pub const EXPIRY_LAG: Duration = table::EXPIRY_LAG;

    /// Empty tables, queues, buckets and topics, as `model` names them. A topic sends to the queue of each step that
    /// names it.
    ///
    /// A redrive policy whose dead-letter queue is not in the model, which no built definition has, does not redrive.
    pub fn new(model: &Model, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let tables: BTreeMap<String, Arc<MemoryTable>> = model
            .tables
            .iter()
            .map(|table| {
                (table.name.clone(), Arc::new(MemoryTable::new(table.name.clone(), Arc::clone(&clock))))
            })
            .collect();
        let queues: BTreeMap<String, Arc<MemoryQueue>> = model
            .queues
            .iter()
            .map(|queue| {
                let made = MemoryQueue::new(queue, Arc::clone(&clock), Arc::clone(&random));
                (queue.name.clone(), Arc::new(made))
            })
            .collect();
        for queue in &model.queues {
            if let Some(redrive) = &queue.redrive
                && let Some(source) = queues.get(&queue.name)
                && let Some(dead_letters) = queues.get(&redrive.dead_letter_queue)
            {
                source.redrive_to(Arc::clone(dead_letters), redrive.receives_max);
            }
        }
        let topic = |name: &str| -> Arc<dyn Topic> {
            let steps = model.steps.iter().filter(|step| step.topic() == Some(name));
            let subscribed: BTreeSet<&str> = steps.map(|step| step.queue.as_str()).collect();
            let subscriptions =
                subscribed.into_iter().filter_map(|queue| queues.get(queue)).map(Arc::clone).collect();
            Arc::new(MemoryTopic::new(name.to_owned(), subscriptions))
        };
        let topics = model.topics.iter().map(|model| (model.name.clone(), topic(&model.name))).collect();
        let bucket = |name: &String| -> Arc<dyn Bucket> { Arc::new(MemoryBucket::new(name.clone())) };
        let ports = Ports {
            streams: tables
                .iter()
                .map(|(name, table)| (name.clone(), Arc::clone(table) as Arc<dyn ChangeStream>))
                .collect(),
            tables: tables.into_iter().map(|(name, table)| (name, table as Arc<dyn Table>)).collect(),
            queues: queues.into_iter().map(|(name, queue)| (name, queue as Arc<dyn Queue>)).collect(),
            buckets: model.buckets.iter().map(|model| (model.name.clone(), bucket(&model.name))).collect(),
            topics,
            clock,
            random,
            services: Services::new(),
            settings: Arc::default(),
        };
        Self { ports }
    }

    /// The ports to all of it.
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }
}
