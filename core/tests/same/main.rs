//! The local engine beside the one in memory: the same calls at the same times, drawn at random, have the same answers. A
//! sequence of calls that they answer differently is shrunk to its shortest. `PROPTEST_CASES=10000` tries more of them, each
//! time others.
//!
//! What the ports leave to an adapter is made alike before it is compared, and each such place says so.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod bucket;
mod published;
mod queue;
mod table;

use proptest::{prelude::*, test_runner::RngSeed};
use quadrille::{
    Choreography, Failure, Timestamp,
    choreography::Model,
    conformance,
    local::{AlarmPolicy, Local},
    memory::{Memory, VirtualClock},
    port::{CommitError, PortError, Ports, SeededRandom},
};
use std::{cell::RefCell, fmt::Debug, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_123);

/// So many sequences of the same seed, so that every run of the tests is the same; others where more are asked for.
fn sequences(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return asked;
    }
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(21), failure_persistence: None, ..asked }
}

/// Sequences that share a folder: to open one costs more than a sequence does.
const SHARE: usize = 8;

/// The conformance suite's model, with tables and queues of its own for each sequence that shares a folder.
fn shared() -> Model {
    let mut all = conformance::model();
    for (turn, one) in std::iter::repeat_n(all.clone(), SHARE).enumerate() {
        all.tables.extend(one.tables.into_iter().map(|mut table| {
            table.name = own(&table.name, turn);
            table
        }));
        all.queues.extend(one.queues.into_iter().map(|mut queue| {
            queue.name = own(&queue.name, turn);
            if let Some(redrive) = &mut queue.redrive {
                redrive.dead_letter_queue = own(&redrive.dead_letter_queue, turn);
            }
            queue
        }));
    }
    all
}

/// What a name of the suite's model is for the sequence of a turn.
fn own(name: &str, turn: usize) -> String {
    format!("{name}-{turn}")
}

/// A folder for data, in memory where the system offers that: to wait for a disk's flushes proves nothing here.
fn folder() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { TempDir::new_in(in_memory) } else { TempDir::new() };
    made.unwrap()
}

/// Both adapters, on one clock.
struct Both {
    clock: Arc<VirtualClock>,
    memory: Memory,
    folder: TempDir,
    local: Option<Local>,
    turn: usize,
}

impl Both {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(START));
        let memory = Memory::new(&shared(), Arc::clone(&clock) as _, Arc::new(SeededRandom::new(1)));
        let mut both = Self { clock, memory, folder: folder(), local: None, turn: 0 };
        both.reopen();
        both
    }

    /// Closes the local engine's folder and opens it again. Memory goes on.
    fn reopen(&mut self) {
        self.local = None;
        let (clock, random) = (Arc::clone(&self.clock) as _, Arc::new(SeededRandom::new(1)));
        self.local = Some(Local::open(self.folder.path(), &shared(), clock, random).unwrap());
    }

    fn local(&self) -> &Local {
        self.local.as_ref().unwrap()
    }

    /// What a table or a queue of the suite's model is called in this sequence.
    fn own(&self, name: &str) -> String {
        own(name, self.turn)
    }

    /// The ports in memory, and the local ones.
    fn ports(&self) -> [Ports; 2] {
        [self.memory.ports(), self.local().ports().clone()]
    }

    /// Has the local engine delete what has expired, which it looks for when it starts. In memory that is gone by itself.
    async fn sweep(&self) {
        let idle = Choreography::define("idle").build().unwrap();
        let local = self.local();
        local.start(&local.pipeline(&idle), AlarmPolicy::default()).stop().await;
    }
}

thread_local! {
    /// What the sequences of a test share, each of which runs in a thread of its own.
    static BOTH: RefCell<Option<Both>> = const { RefCell::new(None) };
}

/// Plays a sequence on both.
fn played<S: Into<Both>>(
    start: impl FnOnce(Both) -> S,
    play: impl AsyncFnOnce(&mut S) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let shared = BOTH.take().filter(|both| both.turn < SHARE).unwrap_or_else(Both::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stage = start(shared);
    let answered = runtime.block_on(play(&mut stage));
    let mut both: Both = stage.into();
    both.turn += 1;
    BOTH.set(Some(both));
    answered
}

/// An answer as both have to give it: the words of an error are an adapter's own.
fn alike<T>(answer: Result<T, PortError>) -> Result<T, String> {
    answer.map_err(|error| {
        let failure = Failure::from(error.clone());
        format!("{:?} {} denied: {}", failure.kind(), failure.reason(), error.is_denied())
    })
}

fn all_alike<T>(answers: Vec<Result<T, PortError>>) -> Vec<Result<T, String>> {
    answers.into_iter().map(alike).collect()
}

fn commits_alike(answers: Vec<Result<(), CommitError>>) -> Vec<Result<(), String>> {
    let told = |error| match error {
        CommitError::Port(error) => alike::<()>(Err(error)).unwrap_err(),
        other => other.to_string(),
    };
    answers.into_iter().map(|answer| answer.map_err(told)).collect()
}

/// Asserts that both answered the same.
fn same<T: PartialEq + Debug>(what: impl Debug, [memory, local]: [T; 2]) -> Result<(), TestCaseError> {
    prop_assert_eq!(&memory, &local, "{:?}: memory answers the first, the local engine the second", what);
    Ok(())
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
