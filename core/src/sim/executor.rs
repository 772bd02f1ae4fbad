//! The executor: one thread, no timer of its own. The next task is picked by choice, and time moves only once all wait.

use super::tape::{Kind, Tape};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::ThreadId,
};

pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks, each of a process.
pub(super) struct Executor {
    tape: Tape,
    ready: Arc<Ready>,
    tasks: BTreeMap<u64, Task>,
    so_far: u64,
}

struct Task {
    process: usize,
    future: TaskFuture,
    waker: Waker,
}

/// The tasks that can go on, by number: in which order they were woken is nothing that a run depends on.
pub(super) struct Ready {
    tasks: Mutex<BTreeSet<u64>>,
    thread: ThreadId,
    /// Somebody on another thread woke a task: it waits for what no tape knows.
    is_foreign: AtomicBool,
}

impl Ready {
    /// Whether somebody else can go on.
    pub(super) fn has_some(&self) -> bool {
        !self.tasks().is_empty()
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    ready: Arc<Ready>,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if std::thread::current().id() != self.ready.thread {
            self.ready.is_foreign.store(true, Ordering::Relaxed);
        }
        self.ready.tasks().insert(self.task);
    }
}

impl Executor {
    pub(super) fn new(tape: &Tape) -> Self {
        let ready = Ready {
            tasks: Mutex::default(),
            thread: std::thread::current().id(),
            is_foreign: AtomicBool::new(false),
        };
        Self { tape: tape.clone(), ready: Arc::new(ready), tasks: BTreeMap::new(), so_far: 0 }
    }

    /// The tasks that can go on.
    pub(super) fn ready(&self) -> Arc<Ready> {
        Arc::clone(&self.ready)
    }

    pub(super) fn spawn(&mut self, process: usize, future: TaskFuture) {
        self.so_far += 1;
        let waker = Waker::from(Arc::new(TaskWaker { ready: Arc::clone(&self.ready), task: self.so_far }));
        self.ready.tasks().insert(self.so_far);
        self.tasks.insert(self.so_far, Task { process, future, waker });
    }

    /// Picks a task that can go on, and tells its process; `None` where all wait.
    pub(super) fn pick(&self) -> Option<(u64, usize)> {
        let mut ready = self.ready.tasks();
        loop {
            let count = ready.len() as u64;
            let at = match count {
                0 => return None,
                1 => 0,
                _ => self.tape.choose(Kind::Task, count),
            };
            let task = *ready.iter().nth(usize::try_from(at).unwrap_or(0))?;
            ready.remove(&task);
            // One whose process is dead, or that is over.
            if let Some(found) = self.tasks.get(&task) {
                return Some((task, found.process));
            }
        }
    }

    /// Lets a task go on until it waits.
    pub(super) fn go_on(&mut self, task: u64) {
        let Some(found) = self.tasks.get_mut(&task) else { return };
        let mut context = Context::from_waker(&found.waker);
        if found.future.as_mut().poll(&mut context) == Poll::Ready(()) {
            self.tasks.remove(&task);
        }
    }

    /// Drops all tasks of a process, wherever they wait.
    pub(super) fn kill(&mut self, process: usize) {
        self.tasks.retain(|_, task| task.process != process);
    }

    /// Whether something outside of the simulation woke a task.
    pub(super) fn is_foreign(&self) -> bool {
        self.ready.is_foreign.load(Ordering::Relaxed)
    }
}

/// Lets another task go on first: a place where one may be picked, or a process die.
#[derive(Default)]
pub(super) struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(seed: u64) -> Vec<u8> {
        let (mut executor, order) = (Executor::new(&Tape::of_seed(seed)), Arc::new(Mutex::new(Vec::new())));
        for name in 0..4 {
            let order = Arc::clone(&order);
            executor.spawn(
                0,
                Box::pin(async move {
                    for _ in 0..3 {
                        order.lock().unwrap().push(name);
                        Pause::default().await;
                    }
                }),
            );
        }
        while let Some((task, _)) = executor.pick() {
            executor.go_on(task);
        }
        let order = order.lock().unwrap().clone();
        assert_eq!(order.len(), 12);
        order
    }

    #[test]
    fn tasks_go_on_in_an_order_that_the_tape_alone_says() {
        assert_eq!(order_of(1), order_of(1));
        assert_ne!(order_of(1), order_of(2));
    }

    #[test]
    fn of_a_process_that_is_killed_nothing_goes_on() {
        let mut executor = Executor::new(&Tape::of_seed(1));
        let went_on = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&went_on);
        executor.spawn(
            3,
            Box::pin(async move {
                Pause::default().await;
                flag.store(true, Ordering::Relaxed);
            }),
        );
        let (task, process) = executor.pick().unwrap();
        executor.go_on(task);
        executor.kill(process);
        assert!(executor.pick().is_none() && !went_on.load(Ordering::Relaxed));
    }

    #[test]
    fn a_task_that_another_thread_wakes_is_found_out() {
        let mut executor = Executor::new(&Tape::of_seed(1));
        let (wake, woken) = tokio::sync::oneshot::channel();
        executor.spawn(0, Box::pin(async move { woken.await.unwrap() }));
        let (task, _) = executor.pick().unwrap();
        executor.go_on(task);
        std::thread::spawn(move || wake.send(()).unwrap()).join().unwrap();
        assert!(executor.is_foreign() && executor.pick().is_some());
    }
}
