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

/// How much longer than it can be told beforehand a task may wait or work: its reads, its commits and what it sends on take time.
const MARGIN: Duration = Duration::from_secs(60);

/// The tasks of a process, as they are. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals(Arc<Mutex<Tasks>>);

#[derive(Debug, Default)]
struct Tasks {
    so_far: u64,
    tasks: BTreeMap<u64, Task>,
}

#[derive(Debug)]
struct Task {
    name: String,
    state: State,
    /// What it does is over by then, unless some call gives it no answer.
    until: Option<Duration>,
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
        tasks.tasks.insert(task, Task { name: name.to_owned(), state: State::Works, until: None });
        drop(tasks);
        Vital { vitals: self.clone(), task, clock: Arc::clone(clock) }
    }

    /// The names of the tasks that stand.
    pub(crate) fn standing(&self, clock: &dyn Clock) -> BTreeSet<String> {
        let now = clock.uptime();
        let stands = |task: &&Task| match task.state {
            _ if task.until.is_some_and(|until| now > until) => true,
            State::Works => false,
            State::Fails(times, last) => times >= FAILURES && now.saturating_sub(last) < FORGOTTEN_AFTER,
            State::Over => true,
        };
        let tasks = self.tasks();
        tasks.tasks.values().filter(stands).map(|task| task.name.clone()).collect()
    }

    /// How many tasks of a name there are that will have a further turn.
    #[cfg(feature = "server")]
    pub(crate) fn alive(&self, name: &str) -> usize {
        let is_alive = |task: &&Task| task.name == name && !matches!(task.state, State::Over);
        self.tasks().tasks.values().filter(is_alive).count()
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
    /// What it does now, a wait or work, is over within `time` and [`MARGIN`], or some call gives no answer: then it stands.
    pub(crate) fn within(&self, time: Duration) {
        let until = self.clock.uptime().saturating_add(time).saturating_add(MARGIN);
        self.change(|task| task.until = Some(until));
    }

    /// A turn was well.
    pub(crate) fn works(&self) {
        self.change(|task| task.state = State::Works);
    }

    /// A turn failed.
    pub(crate) fn fails(&self) {
        let now = self.clock.uptime();
        self.change(|task| {
            task.until = None;
            task.state = match task.state {
                State::Fails(times, last) if now.saturating_sub(last) < FORGOTTEN_AFTER => {
                    State::Fails(times.saturating_add(1), now)
                }
                _ => State::Fails(1, now),
            };
        });
    }

    /// There will be no further turn.
    pub(crate) fn is_over(&self) {
        self.change(|task| task.state = State::Over);
    }

    fn change(&self, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.vitals.tasks().tasks.get_mut(&self.task) {
            change(task);
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
