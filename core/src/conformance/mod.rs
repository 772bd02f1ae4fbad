//! The conformance suite: what the ports promise, asserted on any adapter of them.
//!
//! Whoever writes an adapter hands over a [`World`], which is the adapter opened to [`model`], a way to let time pass,
//! and what the adapter claims; [`run`] plays every scenario on it and answers with a [`Report`]. No scenario can be
//! forgotten, and one whose [`Capabilities`] are not claimed is skipped aloud. One and the same suite on every adapter
//! is what makes a test on one of them say something about the others.
//!
//! The suite can be run again on the same world, reopened for example: every scenario uses names of its own, drawn
//! from the world's [`Random`](crate::port::Random) and its clock. Nothing else may use the world meanwhile. The time
//! that a hanging call gets is real: run the suite on a Tokio runtime whose own clock is not paused.
//!
//! ```
//! use quadrille::{Timestamp, conformance::{self, Capabilities, World}, memory::{Memory, VirtualClock}};
//! use quadrille::port::{Clock, Ports, SeededRandom};
//! use std::{sync::Arc, time::Duration};
//!
//! struct InMemory(Memory, Arc<VirtualClock>);
//!
//! #[async_trait::async_trait]
//! impl World for InMemory {
//!     fn ports(&self) -> Ports {
//!         self.0.ports()
//!     }
//!     async fn pass(&self, time: Duration) {
//!         self.1.advance(time);
//!         tokio::task::yield_now().await;
//!     }
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities { exact_depth: true, readable_stream: true, ..Capabilities::default() }
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_800_000_000_000)));
//! let memory = Memory::new(&conformance::model(), clock.clone(), Arc::new(SeededRandom::new(1)));
//! let report = conformance::run(&InMemory(memory, clock)).await;
//! assert!(report.failures().is_empty(), "{report}");
//! # });
//! ```

mod bucket;
mod bus;
mod index;
mod queue;
mod report;
mod stage;
mod stream;
mod table;
mod topic;

pub use report::{Outcome, Report, ScenarioReport, Violation};

use crate::{
    backoff::Waits,
    model::{
        BucketModel, BusModel, Model, QueueModel, RedrivePolicy, Source, StepModel, TableModel, TopicModel,
        Uses, Workload,
    },
    port::{Damage, Ports},
};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use stage::Stage;
use std::{collections::BTreeSet, future::Future, panic::AssertUnwindSafe, pin::Pin, time::Duration};

/// An adapter as the suite sees it.
#[async_trait]
pub trait World: Send + Sync {
    /// Its ports, opened to [`model`]. All answers give the same ports.
    fn ports(&self) -> Ports;

    /// Lets `time` pass on the clock of [`ports`](Self::ports): waits for it, or advances a virtual clock and then
    /// yields, so that who was woken gets to run.
    async fn pass(&self, time: Duration);

    /// What the adapter claims beyond the promises of the ports.
    fn capabilities(&self) -> Capabilities;

    /// Damages what is stored, where the [`Capabilities`] claim that it can; whether that was there.
    async fn damage(&self, damage: Damage<'_>) -> bool {
        let _ = damage;
        false
    }
}

/// What an adapter claims. The default claims nothing; what is not claimed is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
    /// The index shows a commit as soon as it is acknowledged. Otherwise it does so within the
    /// [`lateness`](Self::lateness).
    pub consistent_index: bool,
    /// [`Table::count`](crate::port::Table::count) counts the entries of an index.
    pub counted_index: bool,
    /// [`Queue::depth`](crate::port::Queue::depth) counts exactly and at once.
    pub exact_depth: bool,
    /// [`Ports::streams`] holds the change streams, to be read here. Otherwise the cloud reads them for us.
    pub readable_stream: bool,
    /// The change stream has the commits of all entities in the order in which they were applied, not only those of
    /// each entity.
    pub ordered_stream: bool,
    /// A bucket takes every key. Otherwise it may refuse two kinds of them with a permanent error: those whose `..` are more
    /// than the segments before them, as S3 does, and those of white space alone, as its SDK does.
    pub every_key: bool,
    /// [`Queue::arrived`](crate::port::Queue::arrived) and [`Queue::receive_these`](crate::port::Queue::receive_these) are offered.
    pub arrived: bool,
    /// A message that is sent once comes once. Otherwise copies of it may come too, each a message of its own: the suite deletes
    /// them where it meets them.
    pub once: bool,
    /// A receive count is exact. Otherwise it may be one too high or too low, as SQS's is about.
    pub exact_receives: bool,
    /// What is checkpointed is not read again. Otherwise it may be, as Lambda may hand over a batch again.
    pub kept_checkpoints: bool,
    /// What is sent in place of a message takes its place in one write, and of messages of one key a queue holds one.
    pub moves: bool,
    /// [`World::damage`] damages items.
    pub damaged_items: bool,
    /// [`World::damage`] damages records of the change stream, which is to be read here.
    pub damaged_records: bool,
    /// [`World::damage`] damages messages.
    pub damaged_messages: bool,
    /// How long after its expiry an item is deleted at the latest; `None` where that may take longer than a test.
    pub expiry_within: Option<Duration>,
    /// How long after a queue's retention a message has vanished at the latest; `None` where that may take longer than
    /// a test.
    pub retention_within: Option<Duration>,
    /// How late at most something due is seen: a delayed message, a commit in the stream or the index. Zero on a
    /// virtual clock.
    pub lateness: Duration,
}

impl Capabilities {
    /// All that can be claimed, of an adapter that is never late and deletes an item so long after its expiry at the latest.
    pub fn everything(expiry_within: Duration) -> Self {
        Self {
            consistent_index: true,
            counted_index: true,
            exact_depth: true,
            readable_stream: true,
            ordered_stream: true,
            every_key: true,
            arrived: true,
            once: true,
            exact_receives: true,
            kept_checkpoints: true,
            moves: true,
            damaged_items: true,
            damaged_records: true,
            damaged_messages: true,
            expiry_within: Some(expiry_within),
            retention_within: Some(Duration::ZERO),
            lateness: Duration::ZERO,
        }
    }
}

/// The model that the ports of a [`World`] are opened to: what the scenarios need, and no choreography to be run.
pub fn model() -> Model {
    let table = |name: &str, kind: &str| TableModel {
        name: name.to_owned(),
        kinds: vec![kind.to_owned()],
        ..TableModel::default()
    };
    let redrive = RedrivePolicy {
        dead_letter_queue: queue::DEAD_LETTERS.to_owned(),
        receives_max: queue::RECEIVES_MAX,
    };
    Model {
        name: "conformance".to_owned(),
        tables: vec![table(table::TABLE, table::KIND), table(stream::TABLE, stream::KIND)],
        queues: vec![
            plain_queue(queue::QUEUE),
            plain_queue(queue::COUNTED),
            QueueModel { redrive: Some(redrive), ..plain_queue(queue::REDRIVEN) },
            plain_queue(queue::DEAD_LETTERS),
            QueueModel { retention: queue::RETENTION, ..plain_queue(queue::FORGETFUL) },
            plain_queue(topic::SUBSCRIPTIONS[0]),
            plain_queue(topic::SUBSCRIPTIONS[1]),
        ]
        .into_iter()
        .chain(bus::TARGETS.map(plain_queue))
        .collect(),
        topics: vec![TopicModel { name: topic::TOPIC.to_owned(), physical: None, variable: None }],
        buckets: vec![BucketModel { name: bucket::BUCKET.to_owned(), spread: None }],
        buses: vec![BusModel {
            name: bus::BUS.to_owned(),
            physical: None,
            variable: None,
            is_outside: false,
        }],
        steps: topic::SUBSCRIPTIONS
            .iter()
            .map(|queue| fed(queue, Source::Topic(topic::TOPIC.to_owned())))
            .chain(
                bus::TARGETS.iter().map(|queue| {
                    fed(queue, Source::Bus { bus: bus::BUS.to_owned(), rule: bus::rule(queue) })
                }),
            )
            .collect(),
        ..Model::default()
    }
}

fn plain_queue(name: &str) -> QueueModel {
    QueueModel {
        name: name.to_owned(),
        visibility_timeout: queue::VISIBILITY,
        retention: Duration::from_secs(4 * 86_400),
        redrive: None,
        physical: None,
        is_outside: false,
    }
}

/// A step that consumes from `queue` what `source` sends there.
fn fed(queue: &str, source: Source) -> StepModel {
    StepModel {
        name: queue.to_owned(),
        physical: None,
        event_type: "conformance.published".to_owned(),
        queue: queue.to_owned(),
        source,
        given_up: None,
        business_ends: BTreeSet::new(),
        dead_lettered_ends: BTreeSet::new(),
        memory: None,
        entity_kind: None,
        emits: Vec::new(),
        uses: Uses::new(),
        timeout: Duration::from_secs(1),
        batch: 10,
        batch_window: Duration::ZERO,
        time_per_message: None,
        concurrency: 1,
        workers: 1,
        maximum_concurrency: None,
        pollers: None,
        workload: Workload::new(),
        attempts: queue::RECEIVES_MAX,
        waits: Waits::default(),
        gives_up_early: false,
        budget: None,
        cycle: None,
    }
}

/// How long a scenario may take, in real time, before it counts as hanging; the longest waits for a world in real time
/// among them.
const SCENARIO_TIME_MAX: Duration = Duration::from_secs(900);

/// Plays every scenario, one after the other. A failed one does not keep the others from being played.
pub async fn run(world: &dyn World) -> Report {
    let mut scenarios = Vec::new();
    for scenario in [
        table::SCENARIOS,
        index::SCENARIOS,
        stream::SCENARIOS,
        queue::SCENARIOS,
        bucket::SCENARIOS,
        topic::SCENARIOS,
        bus::SCENARIOS,
    ]
    .concat()
    {
        let outcome = play(world, &scenario).await;
        scenarios.push(ScenarioReport { name: scenario.name, outcome });
    }
    Report { scenarios }
}

async fn play(world: &dyn World, scenario: &Scenario) -> Outcome {
    if let Some((claim, is_claimed)) = scenario.needs
        && !is_claimed(&world.capabilities())
    {
        return Outcome::Skipped(format!("{claim} is not claimed"));
    }
    let stage = Stage::new(world, scenario.name);
    // A scenario leaves nothing behind that the next one uses, so that an adapter's panic is one more way to fail.
    let playing = AssertUnwindSafe((scenario.play)(&stage)).catch_unwind();
    match tokio::time::timeout(SCENARIO_TIME_MAX, playing).await {
        Ok(Ok(Ok(()))) => Outcome::Passed,
        Ok(Ok(Err(violation))) => Outcome::Failed(violation),
        Ok(Err(panic)) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Outcome::Failed(Violation::Panics { message: message.unwrap_or_default() })
        }
        Err(_) => {
            Outcome::Failed(Violation::Hangs { what: "the scenario".to_owned(), time: SCENARIO_TIME_MAX })
        }
    }
}

/// The name of a capability, and whether it is claimed.
type Need = (&'static str, fn(&Capabilities) -> bool);

type Playing<'a> = Pin<Box<dyn Future<Output = Result<(), Violation>> + Send + 'a>>;

/// A scenario: its name, the capability without which it is skipped, and how to play it.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    needs: Option<Need>,
    play: for<'a> fn(&'a Stage<'a>) -> Playing<'a>,
}

/// The scenarios of one port. A function that is left out is dead code, which the compiler reports.
macro_rules! scenarios {
    ($port:literal: $($name:ident $(needs $claim:ident)?,)+) => {
        pub(super) const SCENARIOS: &[super::Scenario] = &[$(super::Scenario {
            name: concat!($port, "::", stringify!($name)),
            needs: scenarios!(@needs $($claim)?),
            play: |stage| Box::pin($name(stage)),
        }),+];
    };
    (@needs) => { None };
    (@needs $claim:ident) => {
        Some((stringify!($claim), |capabilities| super::Claim::is_made(&capabilities.$claim)))
    };
}
use scenarios;

/// A capability that is either claimed or not.
trait Claim {
    fn is_made(&self) -> bool;
}

impl Claim for bool {
    fn is_made(&self) -> bool {
        *self
    }
}

impl Claim for Option<Duration> {
    fn is_made(&self) -> bool {
        self.is_some()
    }
}
