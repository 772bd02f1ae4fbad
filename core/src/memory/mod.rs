//! The in-memory adapter: every port in one process, nothing kept.
//!
//! For tests and for the simulator. It holds its user to AWS's limits and to AWS's freedoms. An expired item can
//! still be read for a while, a receipt is void once its message is received again, a dead letter keeps the time at
//! which it was first sent. With a [`VirtualClock`] and a [`SeededRandom`](crate::port::SeededRandom) a run is a
//! function of its calls. Nothing polls: who waits is woken by what it waits for, or by the clock.
//!
//! # A test of a choreography
//!
//! [`put`](Memory::put) an entity, [`send`](Memory::send) an event, let time [`pass`](VirtualClock::pass), and look at what is
//! there: the entities that [`get`](Memory::get) finds, the [`dead_letters`](Memory::dead_letters), and what was
//! [`published`](Memory::published). A handler has to take a
//! message that comes again: with [`deliver_twice`](Memory::deliver_twice) each one does.
//!
//! ```
//! use quadrille::{
//!     Choreography, Consumer, Context, Failure, Handled, Outcome, Pipeline, Stored, Table, Timestamp, Uses,
//!     engine::Engine,
//!     memory::{Memory, VirtualClock},
//!     port::SeededRandom,
//! };
//! use serde::{Deserialize, Serialize};
//! use std::{error::Error, sync::Arc, time::Duration};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Pot { day: String, cups: u32 }
//! quadrille::entity!(Pot: "pot", by day);
//!
//! #[derive(Serialize, Deserialize)]
//! struct TeaTime { day: String }
//! quadrille::event!(TeaTime: "tea.time", to Pot by day);
//!
//! #[derive(Serialize, Deserialize)]
//! struct Steeped { day: String }
//! quadrille::event!(Steeped: "tea.steeped", to Pot by day);
//!
//! async fn brew(pot: Option<Stored<Pot>>, event: TeaTime, _: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
//!     if pot.is_some() { return Ok(Handled::already("brewed")) }
//!     let pot = Stored::new(Pot { day: event.day.clone(), cups: 0 });
//!     Ok(pot.commit("steeping").emit_after(Duration::from_secs(240), Steeped { day: event.day }).into())
//! }
//!
//! async fn serve(mut pot: Stored<Pot>, _: Steeped, _: Context<()>) -> Outcome<()> {
//!     if pot.cups == 4 { return Ok(Handled::already("served")) }
//!     if pot.cups > 4 { return Err(Failure::permanent("broken_pot", "a pot has four cups")) }
//!     pot.cups = 4;
//!     Ok(pot.commit("served").into())
//! }
//!
//! fn tea_shop() -> Result<Choreography, Box<dyn Error>> {
//!     Ok(Choreography::define("tea-shop")
//!         .table(Table::new("pots").holds::<Pot>())
//!         .schedule("tea-time", Duration::from_secs(86_400), |at| TeaTime { day: at.to_string() })
//!         .on(Consumer::new("brew", brew).uses(Uses::new().emits_later::<Steeped>()))
//!         .on(Consumer::new("serve", serve))
//!         .build()?)
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! #     tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test())
//! # }
//! // #[tokio::test]
//! # async fn test() -> Result<(), Box<dyn Error>> { a_pot_is_served_once_after_four_minutes().await }
//! async fn a_pot_is_served_once_after_four_minutes() -> Result<(), Box<dyn Error>> {
//!     let tea_shop = tea_shop()?;
//!     let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-20T16:00:00Z")?));
//!     let memory = Memory::new(tea_shop.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
//!     memory.deliver_twice();
//!     memory.put(Pot { day: "sunday".into(), cups: 5 }).await?;
//!     let engine = Engine::start(Pipeline::new(tea_shop, memory.ports()));
//!
//!     memory.send(TeaTime { day: "monday".into() }).await?;
//!     memory.send(Steeped { day: "sunday".into() }).await?;
//!     clock.pass(Duration::from_secs(239)).await;
//!     let pot = memory.get::<Pot>("monday").await?.ok_or("no pot was brewed")?;
//!     assert_eq!((pot.cups, pot.version()), (0, 1));
//!
//!     clock.pass(Duration::from_secs(1)).await;
//!     let pot = memory.get::<Pot>("monday").await?.ok_or("the pot is gone")?;
//!     assert_eq!((pot.cups, pot.version()), (4, 2));
//!
//!     let dead = memory.dead_letters::<Steeped>("serve").await?;
//!     assert_eq!((dead[0].0.day.as_str(), dead[0].1.reason.as_str()), ("sunday", "broken_pot"));
//!     engine.stop().await;
//!     Ok(())
//! }
//! ```

mod bucket;
mod bus;
mod clock;
mod queue;
mod table;
mod testing;
mod topic;

pub use clock::{VirtualClock, all_wait};

use crate::{
    model::{Model, QueueModel, Rule},
    port::{Bucket, Bus, ChangeStream, Clock, Ports, Queue, Random, Table, Topic},
    services::Services,
};
use bucket::MemoryBucket;
use bus::MemoryBus;
use queue::MemoryQueue;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use table::MemoryTable;
use topic::MemoryTopic;

/// Queues by name.
type Queues = BTreeMap<String, Arc<MemoryQueue>>;

/// All that a model names, in memory. Clones share it; it is gone with the last of them and of their [`Ports`].
#[derive(Clone)]
pub struct Memory {
    ports: Ports,
    model: Arc<Model>,
    tables: BTreeMap<String, Arc<MemoryTable>>,
    queues: Queues,
    /// How many events [`send`](Self::send) has sent.
    sent: Arc<AtomicU64>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Memory {
    /// How long after its expiry an item is deleted: 1 h. Until then reads return it, as they do on DynamoDB, where
    /// it can take days.
    pub const EXPIRY_LAG: Duration = table::EXPIRY_LAG;

    /// Empty tables, queues, buckets, topics and event buses, as `model` names them. A topic sends to the queue of
    /// each step that names it, and so does a bus what matches the step's rule.
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
        let queues: Queues = model
            .queues
            .iter()
            .map(|queue| {
                let made = MemoryQueue::new(queue, Arc::clone(&clock), Arc::clone(&random));
                (queue.name.clone(), Arc::new(made))
            })
            .collect();
        for queue in queues.values() {
            queue.beside(queues.iter().map(|(name, queue)| (name.clone(), Arc::downgrade(queue))).collect());
        }
        for queue in &model.queues {
            if let Some(redrive) = &queue.redrive
                && let Some(source) = queues.get(&queue.name)
                && let Some(dead_letters) = queues.get(&redrive.dead_letter_queue)
            {
                source.redrive_to(Arc::clone(dead_letters), redrive.receives_max);
            }
        }
        let kept = |(name, queue): (&str, QueueModel)| {
            let made = MemoryQueue::new(&queue, Arc::clone(&clock), Arc::clone(&random));
            (name.to_owned(), Arc::new(made))
        };
        let published: Queues = model.published().into_iter().map(kept).collect();
        let bucket = |name: &String| -> Arc<dyn Bucket> { Arc::new(MemoryBucket::new(name.clone())) };
        let ports = Ports {
            streams: tables
                .iter()
                .map(|(name, table)| (name.clone(), Arc::clone(table) as Arc<dyn ChangeStream>))
                .collect(),
            tables: tables
                .iter()
                .map(|(name, table)| (name.clone(), Arc::clone(table) as Arc<dyn Table>))
                .collect(),
            queues: queues
                .iter()
                .map(|(name, queue)| (name.clone(), Arc::clone(queue) as Arc<dyn Queue>))
                .collect(),
            buckets: model.buckets.iter().map(|model| (model.name.clone(), bucket(&model.name))).collect(),
            topics: topics(model, &queues, &published),
            buses: buses(model, &queues, &published),
            published: published.into_iter().map(|(name, queue)| (name, queue as Arc<dyn Queue>)).collect(),
            clock,
            random,
            services: Services::new(),
            settings: Arc::default(),
        };
        Self { ports, model: Arc::new(model.clone()), tables, queues, sent: Arc::default() }
    }

    /// From now on each message that any queue is sent arrives so much later.
    #[cfg(feature = "sim")]
    pub(crate) fn deliver_late(&self, by: Duration) {
        self.queues.values().for_each(|queue| queue.deliver_late(by));
    }

    /// From now on an item of any table is deleted so long after its expiry.
    #[cfg(feature = "sim")]
    pub(crate) fn expire_after(&self, lag: Duration) {
        self.tables.values().for_each(|table| table.expire_after(lag));
    }

    /// Counts what arrives in a queue and what is deleted; `None` where there is no such queue.
    #[cfg(feature = "sim")]
    pub(crate) fn watched(&self, queue: &str) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.queues.get(queue).map(|queue| queue.watched())
    }

    #[cfg(feature = "sim")]
    pub(crate) fn ports_ref(&self) -> &Ports {
        &self.ports
    }

    /// The ports to all of it.
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }
}

/// Topics, each with the queues of the steps that name it, and of what left by it.
fn topics(model: &Model, queues: &Queues, published: &Queues) -> BTreeMap<String, Arc<dyn Topic>> {
    let topic = |name: &str| -> Arc<dyn Topic> {
        let steps = model.steps.iter().filter(|step| step.topic() == Some(name));
        let subscribed: BTreeSet<&str> = steps.map(|step| step.queue.as_str()).collect();
        let subscribed = subscribed.into_iter().filter_map(|queue| queues.get(queue));
        let subscriptions = subscribed.chain(published.get(name)).map(Arc::clone).collect();
        Arc::new(MemoryTopic::new(name.to_owned(), subscriptions))
    };
    model.topics.iter().map(|model| (model.name.clone(), topic(&model.name))).collect()
}

/// Event buses, each with the rules of the steps that name it, and one for each event that leaves by it.
fn buses(model: &Model, queues: &Queues, published: &Queues) -> BTreeMap<String, Arc<dyn Bus>> {
    let bus = |name: &str| -> Arc<dyn Bus> {
        let rules = model.steps.iter().filter_map(|step| {
            let (_, rule) = step.bus().filter(|(bus, _)| *bus == name)?;
            Some((rule.clone(), Arc::clone(queues.get(&step.queue)?)))
        });
        let kept = model.leave_by_bus(name).filter_map(|event_type| {
            Some((Rule::new().or_type(event_type), Arc::clone(published.get(name)?)))
        });
        Arc::new(MemoryBus { name: name.to_owned(), targets: rules.chain(kept).collect() })
    };
    model.buses.iter().map(|model| (model.name.clone(), bus(&model.name))).collect()
}
