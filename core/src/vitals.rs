//! Signs of life of the tasks that work: what `GET /healthz` tells of them.

use crate::port::Clock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A task stands once so many of its turns in a row have failed: one may fail by chance.
const FAILURES: u32 = 3;

/// A task that has not failed again for so long waits for work, and stands no longer. Longer than a turn that fails takes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The tasks of a process, as they are. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals(Arc<Mutex<Tasks>>);

#[derive(Debug, Default)]
struct Tasks {
    so_far: u64,
    tasks: BTreeMap<u64, (String, State)>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Works,
    /// So many turns in a row failed, the last one then.
    Fails(u32, Duration),
    /// It does nothing any more.
    Over,
}

impl Vitals {
    /// Follows a task of that name.
    pub(crate) fn follow(&self, name: &str, clock: &Arc<dyn Clock>) -> Vital {
        let mut tasks = self.tasks();
        tasks.so_far += 1;
        let task = tasks.so_far;
        tasks.tasks.insert(task, (name.to_owned(), State::Works));
        drop(tasks);
        Vital { vitals: self.clone(), task, clock: Arc::clone(clock) }
    }

    /// The names of the tasks that stand.
    pub(crate) fn standing(&self, clock: &dyn Clock) -> BTreeSet<String> {
        let now = clock.uptime();
        let stands = |state: &State| match state {
            State::Works => false,
            State::Fails(times, last) => *times >= FAILURES && now.saturating_sub(*last) < FORGOTTEN_AFTER,
            State::Over => true,
        };
        let tasks = self.tasks();
        let standing = tasks.tasks.values().filter(|(_, state)| stands(state));
        standing.map(|(name, _)| name.clone()).collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task. Dropped by a panic it is a task that does nothing any more, otherwise one that was ended.
pub(crate) struct Vital {
    vitals: Vitals,
    task: u64,
    clock: Arc<dyn Clock>,
}

impl Vital {
    /// A turn was well.
    pub(crate) fn works(&self) {
        self.change(|_| State::Works);
    }

    /// A turn failed.
    pub(crate) fn fails(&self) {
        let now = self.clock.uptime();
        self.change(|state| match state {
            State::Fails(times, last) if now.saturating_sub(last) < FORGOTTEN_AFTER => {
                State::Fails(times.saturating_add(1), now)
            }
            _ => State::Fails(1, now),
        });
    }

    /// There will be no further turn.
    pub(crate) fn is_over(&self) {
        self.change(|_| State::Over);
    }

    fn change(&self, to: impl FnOnce(State) -> State) {
        if let Some((_, state)) = self.vitals.tasks().tasks.get_mut(&self.task) {
            *state = to(*state);
        }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.is_over();
        } else {
            self.vitals.tasks().tasks.remove(&self.task);
        }
    }
}
